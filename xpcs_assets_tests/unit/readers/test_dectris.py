from __future__ import annotations

from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers.hdf5 import DATASET
from xpcs_assets.readers.metadata import find_metadata, read_acquisition
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.testing.writers import AcquisitionFacts
from xpcs_assets.testing.writers_hdf5 import write_dectris
from xpcs_assets_tests.unit.readers.conftest import N_FRAMES, SHAPE, dense, read_all, sparse_frames

FACTS = AcquisitionFacts("Eiger 4M", N_FRAMES, 2e-3, 1.9e-3, 8.0, (3.0, 2.0), 75e-6, 4.0, "2026-11-20T10:00:00")
SPECIFIC = "/entry/instrument/detector/detectorSpecific"


@pytest.fixture
def master(tmp_path: Path) -> Path:
    path = tmp_path / "a_master.h5"
    write_dectris(path, SHAPE, sparse_frames(42), FACTS, per_file=10, bad=np.array([3, 17]))
    return path


def part(master: Path, number: int) -> Path:
    return master.with_name(f"a_data_{number:06d}.h5")


@pytest.mark.parametrize("max_bytes", [1, 3000, 64 << 20])
def test_the_frames_of_all_data_files_come_in_order(master: Path, max_bytes: int) -> None:
    with open_raw(master) as series:
        assert (series.info.format, series.info.shape, series.info.n_recorded) == ("dectris", SHAPE, N_FRAMES)
        assert [path.name for path in series.info.files] == ["a_master.h5", *(part(master, n).name for n in (1, 2, 3))]
        counts, valid = read_all(series, 0, N_FRAMES, max_bytes=max_bytes)
        across, _ = read_all(series, 8, 12, max_bytes=max_bytes)
    expected = dense(sparse_frames(42), 42)
    expected[:, [3, 17]] = -1
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(across, expected[8:12])
    assert valid.all()


def test_master_and_data_files_may_be_given_together(master: Path) -> None:
    with open_raw(sorted(master.parent.iterdir())) as series:
        assert series.info.n_recorded == N_FRAMES


def test_the_pixel_mask_tells_the_good_pixels(master: Path) -> None:
    with open_raw(master) as series:
        good = series.info.good_pixels
    assert good is not None
    assert np.flatnonzero(~good).tolist() == [3, 17]


def test_a_mask_of_another_shape_is_not_used_and_said(master: Path) -> None:
    with h5py.File(master, "a") as file:
        del file[f"{SPECIFIC}/pixel_mask"]
        file[f"{SPECIFIC}/pixel_mask"] = np.zeros((3, 3), np.uint32)
    with open_raw(master) as series:
        assert series.info.good_pixels is None
        assert "(3, 3)" in str(series.info.extra["flags"])


def test_a_mask_that_cannot_be_read_is_an_error_and_not_no_mask(master: Path) -> None:
    mask = np.arange(42, dtype=np.uint32).reshape(SHAPE)
    with h5py.File(master, "a") as file:
        del file[f"{SPECIFIC}/pixel_mask"]
        packed = file.create_dataset(f"{SPECIFIC}/pixel_mask", data=mask, chunks=SHAPE, **hdf5plugin.Bitshuffle())
        place = packed.id.get_chunk_info(0).byte_offset
    content = bytearray(master.read_bytes())
    content[place : place + 8] = b"\xff" * 8
    master.write_bytes(content)
    with pytest.raises(RawDataError, match="cannot be read") as caught:
        open_raw(master)
    assert "pixel_mask" in caught.value.where


def test_the_master_serves_as_metadata(master: Path) -> None:
    assert find_metadata(master) == master
    read = read_acquisition(master)
    assert (read.frame_time_s, read.count_time_s, read.n_frames) == (2e-3, 1.9e-3, N_FRAMES)
    assert read.energy_kev == pytest.approx(8.0)
    assert (read.detector_name, read.start_time) == ("Eiger 4M", "2026-11-20T10:00:00")


def test_the_energy_may_come_from_the_wavelength(master: Path) -> None:
    with h5py.File(master, "a") as file:
        del file[f"{SPECIFIC}/photon_energy"]
        file["/entry/instrument/beam/incident_wavelength"] = 1.0
    assert read_acquisition(master).energy_kev == pytest.approx(12.39841984)


def test_links_of_2014_straight_under_the_entry_are_followed(master: Path) -> None:
    with h5py.File(master, "a") as file:
        for number in (1, 2, 3):
            file[f"/entry/data_{number:06d}"] = h5py.ExternalLink(part(master, number).name, DATASET)
        del file["/entry/data"]
    with open_raw(master) as series:
        assert series.info.n_recorded == N_FRAMES


def test_several_triggers_of_several_images_are_bursts(master: Path) -> None:
    with h5py.File(master, "a") as file:
        file[f"{SPECIFIC}/nimages"][()] = 5
        file[f"{SPECIFIC}/ntrigger"][()] = 6
    with open_raw(master) as series:
        assert series.info.frames_per_burst == 5
        assert series.info.extra["frames_claimed"] == 30


def test_image_numbers_that_leave_some_out_make_invalid_frames(master: Path) -> None:
    for number, shift in ((2, 4), (3, 4)):
        with h5py.File(part(master, number), "a") as file:
            for name in ("image_nr_low", "image_nr_high"):
                file[DATASET].attrs[name] += shift
    with open_raw(master) as series:
        assert series.info.n_recorded == N_FRAMES + 4
        assert series.info.extra["missing_frames"] == 4
        _, valid = read_all(series, 0, N_FRAMES + 4)
    assert np.flatnonzero(~valid).tolist() == [10, 11, 12, 13]


def test_image_numbers_that_go_backwards_are_refused(master: Path) -> None:
    with h5py.File(part(master, 2), "a") as file:
        file[DATASET].attrs["image_nr_low"], file[DATASET].attrs["image_nr_high"] = 1, 10
    with pytest.raises(RawDataError, match="comes after"):
        open_raw(master)


def test_a_missing_data_file_is_named(master: Path) -> None:
    part(master, 2).unlink()
    with pytest.raises(RawDataError, match=r"'a_data_000002\.h5' that it links to is missing") as caught:
        open_raw(master)
    assert "data_000002" in caught.value.where
    assert "data files" in caught.value.remedy


def test_a_missing_link_is_named(master: Path) -> None:
    with h5py.File(master, "a") as file:
        del file["/entry/data/data_000002"]
    with pytest.raises(RawDataError, match="no link to data_000002"):
        open_raw(master)


@pytest.mark.parametrize("target", ["../a_data_000001.h5", "/etc/a.h5", "sub/../../a.h5"])
def test_a_link_that_leaves_the_folder_is_refused(master: Path, target: str) -> None:
    with h5py.File(master, "a") as file:
        del file["/entry/data/data_000001"]
        file["/entry/data/data_000001"] = h5py.ExternalLink(target, DATASET)
    with pytest.raises(RawDataError, match="leaves the master's folder"):
        open_raw(master)


def test_a_data_file_that_leads_on_to_another_is_refused(master: Path, tmp_path: Path) -> None:
    with h5py.File(part(master, 1), "a") as file:
        del file[DATASET]
        file[DATASET] = h5py.ExternalLink("elsewhere.h5", "/secret")
    with pytest.raises(RawDataError, match=r"leads into another file, 'elsewhere\.h5'"):
        open_raw(master)


def test_a_data_file_of_another_shape_is_refused(master: Path) -> None:
    with h5py.File(part(master, 3), "w") as file:
        file[DATASET] = np.zeros((3, 5, 5), np.uint32)
    with pytest.raises(RawDataError, match="those of the first file"):
        open_raw(master)


def test_a_truncated_data_file_is_refused(master: Path) -> None:
    content = part(master, 2).read_bytes()
    part(master, 2).write_bytes(content[:-200])
    with pytest.raises(RawDataError, match="does not open") as caught:
        open_raw(master)
    assert "a_data_000002" in caught.value.where


def test_a_damaged_frame_is_named_with_its_file(master: Path) -> None:
    with h5py.File(part(master, 2), "r") as file:
        place = file[DATASET].id.get_chunk_info(4)
    content = bytearray(part(master, 2).read_bytes())
    content[place.byte_offset : place.byte_offset + 16] = b"\xff" * 16
    part(master, 2).write_bytes(content)
    with open_raw(master) as series, pytest.raises(RawDataError, match="cannot be read") as caught:
        list(series.chunks(0, N_FRAMES))
    assert caught.value.where == f"{part(master, 2)}:{DATASET}, frame 4"
