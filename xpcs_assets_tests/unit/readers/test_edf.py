from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers.metadata import find_metadata, read_acquisition, read_fields
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.testing.writers_files import write_edf
from xpcs_assets_tests.unit.readers.conftest import N_FRAMES, SHAPE, dense, read_all, sparse_frames

HEADER = 1024
FRAME_BYTES = 42 * 2


def series_of(folder: Path, numbers: list[int]) -> list[Path]:
    """One file of one frame for each number; frame n of the sparse frames has number n."""
    frames = sparse_frames(42)
    paths = [folder / f"a_{number:04d}.edf" for number in numbers]
    for number, path in zip(numbers, paths, strict=True):
        write_edf(path, SHAPE, [frames[number]], fields={"time_of_frame": number * 0.25})
    return paths


@pytest.mark.parametrize("max_bytes", [1, 1000, 64 << 20])
@pytest.mark.parametrize(
    ("dtype", "big_endian"), [("uint16", False), ("uint16", True), ("int32", True), ("uint32", False)]
)
def test_frames_of_one_file_come_back_as_written(tmp_path: Path, dtype: str, big_endian: bool, max_bytes: int) -> None:
    path = tmp_path / "a.edf"
    write_edf(path, SHAPE, sparse_frames(42), dtype=dtype, big_endian=big_endian)
    with open_raw(path) as series:
        assert (series.info.format, series.info.dtype, series.info.shape) == ("edf", dtype, SHAPE)
        assert series.info.n_recorded == N_FRAMES
        counts, valid = read_all(series, 0, N_FRAMES, max_bytes=max_bytes)
    np.testing.assert_array_equal(counts, dense(sparse_frames(42), 42))
    assert valid.all()


def test_floats_stay_floats(tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    write_edf(path, SHAPE, [(np.array([0, 1, 2]), np.array([-1.5, np.nan, 2.0]))], dtype="float32")
    with open_raw(path) as series:
        (chunk,) = series.chunks(0, 1)
    np.testing.assert_array_equal(chunk.counts[0, :4], np.array([-1.5, np.nan, 2.0, 0.0], np.float32))


@pytest.mark.parametrize("how", ["all", "shuffled", "first"])
def test_a_series_is_given_as_its_files_or_as_the_first(tmp_path: Path, how: str) -> None:
    paths = series_of(tmp_path, list(range(12)))
    write_edf(tmp_path / "dark_0000.edf", (2, 2), [(np.array([0]), np.array([1]))])
    given = {"all": paths, "shuffled": paths[::-1], "first": paths[:1]}[how]
    with open_raw(given) as series:
        assert list(series.info.files) == paths
        counts, valid = read_all(series, 0, 12)
        assert series.info.frame_time_s == pytest.approx(0.25)
        np.testing.assert_allclose(series.info.time_s, np.arange(12) * 0.25)
    np.testing.assert_array_equal(counts, dense(sparse_frames(42)[:12], 42))
    assert valid.all()


def test_numbers_that_are_missing_among_single_frames_are_dropped_frames(tmp_path: Path) -> None:
    numbers = [2, 3, 5, 8, 9]
    paths = series_of(tmp_path, numbers)
    with open_raw(paths[0]) as series:
        assert series.info.extra["missing_frames"] == 3
        counts, valid = read_all(series, 0, 8, max_bytes=1)
    assert np.flatnonzero(valid).tolist() == [0, 1, 3, 6, 7]
    np.testing.assert_array_equal(counts[valid], dense([sparse_frames(42)[n] for n in numbers], 42))


def test_a_missing_file_of_many_frames_is_refused_by_name(tmp_path: Path) -> None:
    for number in (0, 1, 3):
        write_edf(tmp_path / f"a_{number:04d}.edf", SHAPE, sparse_frames(42)[:4])
    with pytest.raises(RawDataError, match=r"the file after 'a_0001\.edf' is missing"):
        open_raw(sorted(tmp_path.iterdir()))


def test_files_of_different_series_are_refused(tmp_path: Path) -> None:
    for name in ("a_0000.edf", "b_0001.edf"):
        write_edf(tmp_path / name, SHAPE, sparse_frames(42)[:1])
    with pytest.raises(RawDataError, match="no files of one numbered series"):
        open_raw(sorted(tmp_path.iterdir()))


def test_a_frame_of_another_shape_is_refused(tmp_path: Path) -> None:
    series_of(tmp_path, [0, 1])
    write_edf(tmp_path / "a_0002.edf", (3, 3), [(np.array([0]), np.array([1]))])
    with pytest.raises(RawDataError, match="those of the first file") as caught:
        open_raw(tmp_path / "a_0000.edf")
    assert "a_0002.edf" in caught.value.where


def test_the_dummy_value_marks_no_count_and_a_dummy_of_zero_does_not(tmp_path: Path) -> None:
    frame = [(np.array([0, 1]), np.array([10, 12]))]
    for dummy, expected in ((10, [-1, 12, 0]), (0, [10, 12, 0])):
        path = tmp_path / f"dummy{dummy}x.edf"
        write_edf(path, SHAPE, frame, dtype="int32", fields={"Dummy": dummy, "DDummy": 0.1})
        with open_raw(path) as series:
            (chunk,) = series.chunks(0, 1)
            assert ("Dummy is 0" in str(series.info.extra.get("flags", ""))) is (dummy == 0)
        assert chunk.counts[0, :3].tolist() == expected


def test_the_header_serves_as_metadata_where_it_tells_the_times(tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    write_edf(path, SHAPE, sparse_frames(42), fields={"acq_expo_time": 0.1, "acq_latency_time": 0.02})
    assert find_metadata(path) == path
    read = read_acquisition(path)
    assert (read.frame_time_s, read.count_time_s) == (pytest.approx(0.12), pytest.approx(0.1))
    assert {field.path: field.value for field in read_fields(path)}["/acq_expo_time"] == "0.1"


def test_a_sidecar_comes_before_the_header(tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    write_edf(path, SHAPE, sparse_frames(42), fields={"acq_expo_time": 0.1, "acq_latency_time": 0.02})
    path.with_suffix(".json").write_text('{"frame_time_s": 0.2, "integrating": true}')
    assert find_metadata(path) == path.with_suffix(".json")
    with open_raw(path) as series:
        assert (series.info.frame_time_s, series.info.integrating) == (0.2, True)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"UnsignedShort", b"QuantumNumber", "DataType is 'quantumnumber'"),
        (b"LowByteFirst", b"AnyByteFirst", "ByteOrder is 'anybytefirst'"),
        (b"Dim_1 = 7", b"Dim_1 = 0", "Dim_1, Dim_2"),
        (b"Dim_1 = 7", b"Dim_1 = x", "Dim_1, Dim_2"),
        (b"Dim_2 = 6 ;", b"Dim_2 = 6999999999 ;", "Dim_1, Dim_2"),
        (b"Size = 84", b"Size = 10", "its frames take 84 bytes, the file has 10"),
        (b"Image = 1 ;", b"Compression = GzipCompression ;", "packed"),
    ],
)
def test_an_impossible_header_is_refused(tmp_path: Path, old: bytes, new: bytes, reason: str) -> None:
    path = tmp_path / "a.edf"
    write_edf(path, SHAPE, sparse_frames(42)[:2])
    content = path.read_bytes()
    assert old in content
    changed = content.replace(old, new, 1)
    path.write_bytes(changed.replace(b" " * (len(new) - len(old)) + b"}\n", b"}\n", 1))
    with pytest.raises(RawDataError, match=reason) as caught:
        open_raw(path)
    assert "byte" in caught.value.where


@pytest.mark.parametrize("keep", [HEADER - 5, HEADER + 5, HEADER + FRAME_BYTES + 7])
def test_a_cut_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.edf"
    write_edf(path, SHAPE, sparse_frames(42)[:2])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RawDataError, match=r"its frames take|no end|no header") as caught:
        open_raw(path)
    assert "byte" in caught.value.where


def test_a_packed_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    path.write_bytes(gzip.compress(b"{ HeaderID = 1 ;}\n" * 40))
    with pytest.raises(RawDataError, match="gzip") as caught:
        open_raw(path)
    assert "gunzip" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "dtype"), [("maxipix22_ff_June2012.edf", "float32"), ("maxipix2x2_mask12.edf", "int16")]
)
def test_the_real_files_of_a_maxipix_hold_one_image_each(shared_data: Path, name: str, dtype: str) -> None:
    path = shared_data / "maxipix" / name
    with open_raw(path) as series:
        # The flat field's file has a second block, of its errors, which is no frame.
        assert (series.info.shape, series.info.n_recorded, series.info.dtype) == ((516, 516), 1, dtype)
        (chunk,) = series.chunks(0, 1)
    stored = np.frombuffer(path.read_bytes()[-516 * 516 * 2 :], "<i2") if dtype == "int16" else None
    if stored is not None:
        np.testing.assert_array_equal(chunk.counts[0], stored)
    else:
        assert float(np.median(chunk.counts)) == pytest.approx(1.0, abs=0.2)
