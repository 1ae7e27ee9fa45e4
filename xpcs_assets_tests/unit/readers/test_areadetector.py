from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.errors import MetadataError, RawDataError
from xpcs_assets.readers.hdf5 import DATASET
from xpcs_assets.readers.metadata import find_metadata, read_acquisition
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.testing.writers_hdf5 import write_areadetector
from xpcs_assets_tests.unit.readers.conftest import N_FRAMES, SHAPE, dense, read_all, sparse_frames

ATTRIBUTES = "/entry/instrument/NDAttributes"
IDS = f"{ATTRIBUTES}/NDArrayUniqueId"
DROPPED = frozenset({7, 8, 15})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.h5"
    write_areadetector(path, SHAPE, sparse_frames(42), frame_time_s=0.5, dropped=DROPPED)
    return path


def replace(path: Path, name: str, values: object) -> None:
    with h5py.File(path, "a") as file:
        del file[name]
        if values is not None:
            file[name] = values


@pytest.mark.parametrize("max_bytes", [1, 3000, 64 << 20])
def test_dropped_frames_are_invalid_and_the_others_keep_their_time(path: Path, max_bytes: int) -> None:
    with open_raw(path) as series:
        assert (series.info.format, series.info.n_recorded) == ("areadetector", N_FRAMES)
        assert series.info.extra["missing_frames"] == len(DROPPED)
        counts, valid = read_all(series, 0, N_FRAMES, max_bytes=max_bytes)
    expected = dense(sparse_frames(42), 42)
    assert set(np.flatnonzero(~valid).tolist()) == DROPPED
    np.testing.assert_array_equal(counts[valid], expected[valid])


def test_the_time_stamps_lie_at_the_frames_places(path: Path) -> None:
    with open_raw(path) as series:
        time_s, frame_time_s = series.info.time_s, series.info.frame_time_s
    assert time_s is not None
    assert set(np.flatnonzero(np.isnan(time_s)).tolist()) == DROPPED
    kept = [number for number in range(N_FRAMES) if number not in DROPPED]
    np.testing.assert_allclose(time_s[kept], np.array(kept) * 0.5, atol=1e-6)
    assert frame_time_s == pytest.approx(0.5)


def test_the_detectors_own_period_comes_before_the_stamps(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file[f"{ATTRIBUTES}/AcquirePeriod"] = np.full(N_FRAMES, 0.4)
        file[f"{ATTRIBUTES}/AcquireTime"] = np.full(N_FRAMES, 0.3)
    read = read_acquisition(path)
    assert (read.frame_time_s, read.count_time_s) == (pytest.approx(0.4), pytest.approx(0.3))


def test_the_file_serves_as_metadata_unless_others_lie_beside_it(path: Path) -> None:
    assert find_metadata(path) == path
    assert read_acquisition(path).frame_time_s == pytest.approx(0.5)
    beside = path.with_name("a_metadata.hdf")
    beside.touch()
    assert find_metadata(path) == beside


def test_without_time_stamps_there_is_no_frame_time(path: Path) -> None:
    for name in ("NDArrayTimeStamp", "NDArrayEpicsTSSec"):
        replace(path, f"{ATTRIBUTES}/{name}", None)
    with open_raw(path) as series:
        assert (series.info.time_s, series.info.frame_time_s) == (None, None)
    assert find_metadata(path) is None
    with pytest.raises(MetadataError, match="does not tell its frame time") as caught:
        read_acquisition(path)
    assert "a.json" in caught.value.remedy


def test_numbers_that_go_backwards_are_refused(path: Path) -> None:
    replace(path, IDS, np.r_[5:15, 3:13].astype(np.int32))
    with pytest.raises(RawDataError, match="frame number 3 comes after 14") as caught:
        open_raw(path)
    assert "NDArrayUniqueId, frame 10" in caught.value.where


def test_a_counter_that_stands_still_counts_nothing(path: Path) -> None:
    replace(path, IDS, np.zeros(N_FRAMES - len(DROPPED), np.int32))
    with open_raw(path) as series:
        assert series.info.n_recorded == N_FRAMES - len(DROPPED)


@pytest.mark.parametrize("values", [np.arange(5), "no numbers"])
def test_numbers_that_are_not_one_a_frame_are_refused(path: Path, values: object) -> None:
    replace(path, IDS, values)
    with pytest.raises(RawDataError, match=r"values for 20 frames"):
        open_raw(path)


def test_the_filling_after_the_last_frame_is_left_out(path: Path) -> None:
    with h5py.File(path, "r") as file:
        ids = file[IDS][()]
    replace(path, IDS, np.r_[ids, np.zeros(44, np.int32)])
    with open_raw(path) as series:
        assert series.info.n_recorded == N_FRAMES


def test_the_real_file_of_als_is_read(shared_data: Path) -> None:
    path = shared_data / "als-7.0.1.1" / "missing_frames__ccd_data16x16_2.h5"
    with open_raw(path) as series:
        assert (series.info.format, series.info.shape, series.info.n_recorded) == ("areadetector", (16, 16), 539)
        assert series.info.frame_time_s == pytest.approx(3.3209, abs=1e-4)
        time_s = series.info.time_s
        counts, valid = read_all(series, 0, 539)
    assert time_s is not None
    # The camera paused now and then: its numbers have no gap there, its times do.
    assert valid.all()
    assert np.diff(time_s).max() == pytest.approx(9.1434, abs=1e-3)
    with h5py.File(path, "r") as file:
        np.testing.assert_array_equal(counts, file[DATASET][()].reshape(539, 256))
