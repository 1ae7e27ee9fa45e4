from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from xpcs_assets.errors import MetadataError, RawDataError
from xpcs_assets.readers.metadata import find_metadata, read_acquisition, read_fields
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.testing.writers_files import write_npy
from xpcs_assets_tests.unit.readers.conftest import N_FRAMES, SHAPE, dense, read_all, sparse_frames

SIDECAR = {"frame_time_s": 0.002, "count_time_s": 0.0019, "energy_kev": 8.0, "frames": 30, "detector_name": "sCMOS"}


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    path = tmp_path / "a.npy"
    write_npy(path, SHAPE, sparse_frames(42), SIDECAR, bad=np.array([4, 9]))
    return path


def say(stack: Path, **changes: object) -> None:
    stack.with_suffix(".json").write_text(json.dumps({**SIDECAR, **changes}))


@pytest.mark.parametrize("max_bytes", [1, 1000, 64 << 20])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "int32", "uint32", "int64"])
def test_frames_come_back_as_saved(tmp_path: Path, dtype: str, max_bytes: int) -> None:
    path = tmp_path / "a.npy"
    write_npy(path, SHAPE, sparse_frames(42), SIDECAR, dtype=dtype)
    with open_raw(path) as series:
        assert (series.info.format, series.info.shape, series.info.n_recorded) == ("npy", SHAPE, N_FRAMES)
        assert (series.info.frame_time_s, series.info.integrating) == (0.002, False)
        counts, valid = read_all(series, 0, N_FRAMES, max_bytes=max_bytes)
    np.testing.assert_array_equal(counts, dense(sparse_frames(42), 42))
    assert valid.all()


def test_the_sidecar_is_the_runs_metadata(stack: Path) -> None:
    sidecar = stack.with_suffix(".json")
    assert find_metadata(stack) == sidecar
    read = read_acquisition(sidecar)
    assert (read.frame_time_s, read.count_time_s, read.energy_kev) == (0.002, 0.0019, 8.0)
    assert (read.n_frames, read.dark_frames, read.detector_name) == (30, 0, "sCMOS")
    assert {field.path: field.value for field in read_fields(sidecar)}["/energy_kev"] == 8.0


def test_the_mask_tells_the_good_pixels(stack: Path) -> None:
    with open_raw(stack) as series:
        good = series.info.good_pixels
    assert good is not None
    assert np.flatnonzero(~good).tolist() == [4, 9]


def test_an_integrating_detectors_negative_values_count(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([[[-5, 7]]], np.int16))
    path.with_suffix(".json").write_text('{"frame_time_s": 1, "integrating": true}')
    with open_raw(path) as series:
        (chunk,) = series.chunks(0, 1)
    assert chunk.counts.tolist() == [[-5.0, 7.0]]
    assert chunk.counts.dtype == np.float32


def test_without_a_sidecar_there_is_no_frame_time(stack: Path) -> None:
    stack.with_suffix(".json").unlink()
    assert find_metadata(stack) is None
    with open_raw(stack) as series:
        assert series.info.frame_time_s is None


def test_a_json_file_of_another_kind_is_no_sidecar(stack: Path) -> None:
    stack.with_suffix(".json").write_text('{"report": 1}')
    assert find_metadata(stack) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"frame_time": 1}, "unknown key 'frame_time'"),
        ({"frame_time_s": 0}, "frame_time_s is '0', not a number above 0"),
        ({"frame_time_s": True}, "not a number above 0"),
        ({"frame_time_s": float("inf")}, "not a number above 0"),
        ({"energy_kev": "8"}, "energy_kev is '8'"),
        ({"frames": -1}, "not a whole number"),
        ({"integrating": "yes"}, "not true or false"),
        ({"good_pixels": "../a_mask.npy"}, "the name of a file"),
        ({"good_pixels": "other.npy"}, r"the name of a file \*_mask\.npy"),
    ],
)
def test_a_wrong_sidecar_is_refused_with_the_key(stack: Path, changes: dict[str, object], reason: str) -> None:
    say(stack, **changes)
    for use in (open_raw, lambda path: read_acquisition(path.with_suffix(".json"))):
        with pytest.raises(MetadataError, match=reason) as caught:
            use(stack)
        assert caught.value.where == str(stack.with_suffix(".json"))


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"energy_kev": 8}', "[" * 100_000, "\xff"])
def test_a_text_that_is_no_sidecar_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(MetadataError, match=r"no JSON|no frame_time_s"):
        read_acquisition(path)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 5), np.uint16), "2 dimensions, not 3"),
        (np.zeros((0, 4, 5), np.uint16), "shape is"),
        (np.zeros((1, 2, 3), np.complex64), "its numbers are complex64"),
        (np.zeros((1, 2, 3), bool), "its numbers are bool"),
        (np.asfortranarray(np.zeros((4, 5, 6), np.uint16)), "Fortran"),
        (np.zeros((2, 2, 2), [("a", "u2")]), "damaged or of no plain array"),
        (np.array([None, {}], object), "damaged or of no plain array"),
    ],
)
def test_what_is_no_stack_of_numbers_is_refused(tmp_path: Path, array: np.ndarray, reason: str) -> None:
    path = tmp_path / "a.npy"
    np.save(path, array)
    with pytest.raises(RawDataError, match=reason):
        open_raw(path)


@pytest.mark.parametrize("change", [-7, 5])
def test_a_file_that_is_too_short_or_too_long_is_refused(stack: Path, change: int) -> None:
    content = stack.read_bytes()
    stack.write_bytes(content[:change] if change < 0 else content + bytes(change))
    with pytest.raises(RawDataError, match="the file holds"):
        open_raw(stack)


def test_a_header_that_claims_more_than_there_is_costs_no_memory(stack: Path) -> None:
    stack.write_bytes(stack.read_bytes().replace(b"(23, 6, 7)", b"(999999999, 6, 7)"))
    with pytest.raises(RawDataError, match=r"damaged|the file holds"):
        open_raw(stack)


def test_a_mask_of_another_shape_is_refused(stack: Path) -> None:
    np.save(stack.with_name("other_mask.npy"), np.ones((3, 3), np.bool_))
    say(stack, good_pixels="other_mask.npy")
    with pytest.raises(RawDataError, match=r"the mask is \(3, 3\), the frames are \(6, 7\)"):
        open_raw(stack)


def test_the_real_frames_are_read(shared_data: Path) -> None:
    path = shared_data / "real" / "xpcs_frames_100x256x256_uint16.npy"
    with open_raw(path) as series:
        assert (series.info.shape, series.info.n_recorded) == ((256, 256), 100)
        counts, _ = read_all(series, 0, 100)
    np.testing.assert_array_equal(counts, np.load(path).reshape(100, -1))
