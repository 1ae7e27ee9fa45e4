from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers.als7011 import DATASET, DETECTOR
from xpcs_assets.readers.metadata import find_metadata, read_acquisition
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.readers.series import Frames
from xpcs_assets.testing.writers import AcquisitionFacts
from xpcs_assets.testing.writers_hdf5 import write_als7011
from xpcs_assets_tests.unit.readers.conftest import N_FRAMES, SHAPE, dense, sparse_frames

FACTS = AcquisitionFacts("MTE3", N_FRAMES, 0.5, 0.4, 0.778, (3, 3), 15e-6, 0.208, "2026-11-20T10:00:00", "Fe/Gd")


def frames_of(path: Path, max_bytes: int = 1 << 20) -> np.ndarray:
    with open_raw(path) as series:
        chunks = list(series.chunks(0, series.info.n_recorded, max_bytes=max_bytes))
    assert all(isinstance(chunk, Frames) and chunk.counts.dtype == np.float32 for chunk in chunks)
    return np.concatenate([chunk.counts for chunk in chunks if isinstance(chunk, Frames)])


def write(path: Path, **options: object) -> Path:
    write_als7011(path, SHAPE, sparse_frames(42), FACTS, **options)
    return path


@pytest.mark.parametrize("max_bytes", [1, 2000, 64 << 20])
@pytest.mark.parametrize("exposures", [1, 4, 23])
def test_points_and_exposures_are_one_series(tmp_path: Path, exposures: int, max_bytes: int) -> None:
    path = write(tmp_path / "a.h5", exposures=exposures)
    n = N_FRAMES // exposures * exposures
    np.testing.assert_array_equal(frames_of(path, max_bytes), dense(sparse_frames(42), 42)[:n])


def test_signed_values_of_a_subtracted_dark_stay_values(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", adu_per_photon=38.0, offset_adu=-20.0, dtype="float32")
    np.testing.assert_array_equal(frames_of(path), dense(sparse_frames(42), 42) * 38.0 - 20.0)
    with open_raw(path) as series:
        assert series.info.integrating


def test_a_saturated_pixel_of_an_unsigned_file_is_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", dtype="uint16")
    with h5py.File(path, "a") as file:
        file[DATASET][2, 0, 1, 1] = 65_535
    frames = frames_of(path)
    assert np.argwhere(np.isnan(frames)).tolist() == [[2, 8]]


def test_the_older_exporters_frames_without_exposures_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        frames = file[DATASET][:, 0].astype(np.float32)
        del file[DATASET]
        file[DATASET] = frames
    np.testing.assert_array_equal(frames_of(path), dense(sparse_frames(42), 42))


@pytest.mark.parametrize("camera", ["Princeton Instruments MTE3", "Andor CCD"])
def test_the_exposure_is_in_milliseconds_for_one_camera_only(tmp_path: Path, camera: str) -> None:
    path = write(tmp_path / "a.h5", camera=camera)
    with h5py.File(path, "r") as file:
        assert file[f"{DETECTOR}/count_time"][()] == pytest.approx(400.0 if "MTE3" in camera else 0.4)
    assert find_metadata(path) == path
    read = read_acquisition(path)
    assert (read.frame_time_s, read.count_time_s) == (pytest.approx(0.5), pytest.approx(0.4))
    assert read.energy_kev == pytest.approx(0.778)
    assert (read.detector_name, read.start_time) == (camera, "2026-11-20T10:00:00")


def test_a_period_of_zero_is_flagged(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_als7011(path, SHAPE, sparse_frames(42), replace(FACTS, count_time_s=0.5))
    with open_raw(path) as series:
        assert series.info.frame_time_s == pytest.approx(0.5)
        assert "period is 0" in str(series.info.extra["flags"])


def test_an_energy_that_is_scanned_is_none_and_its_range_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file["/entry1/instrument_1/source_1/energy"][()] *= np.linspace(1, 1.1, N_FRAMES)
    assert read_acquisition(path).energy_kev is None
    with open_raw(path) as series:
        assert series.info.extra["energy_range_kev"] == "0.778 to 0.8558"


def test_a_file_without_its_times_has_no_frame_time(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        del file[f"{DETECTOR}/count_time"]
    with open_raw(path) as series:
        assert series.info.frame_time_s is None
        assert "frame time" in str(series.info.extra["flags"])
    assert find_metadata(path) is None


def test_data_that_are_no_frames_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        del file[DATASET]
        file[DATASET] = np.zeros((5, 5), np.uint16)
    with pytest.raises(RawDataError, match="2 dimensions, not 3 or 4"):
        open_raw(path)


def test_a_text_whose_list_is_damaged_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", camera="Andor CCD")
    content = bytearray(path.read_bytes())
    heap = content.find(b"GCOL")
    content[heap + 8 : heap + 16] = (2**60).to_bytes(8, "little")
    path.write_bytes(content)
    assert read_acquisition(path).detector_name == ""


def test_the_real_file_of_the_beamline_is_read(shared_data: Path) -> None:
    path = shared_data / "als-7.0.1.1" / "uncorrupted_frames__nexus16x16.h5"
    with open_raw(path) as series:
        assert (series.info.format, series.info.shape, series.info.n_recorded) == ("als7011", (16, 16), 71)
        assert series.info.frame_time_s == pytest.approx(5.0)
        flags, energy = str(series.info.extra["flags"]), series.info.extra["energy_range_kev"]
    assert "ms" in flags
    assert "period is 0" in flags
    assert energy == "0.715004 to 0.750005"
    frames = frames_of(path)
    with h5py.File(path, "r") as file:
        np.testing.assert_array_equal(frames, file[DATASET][()].reshape(71, 256))
