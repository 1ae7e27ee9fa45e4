from __future__ import annotations

import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers.hdf5 import DATASET, MASKS, being_written
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.readers.series import Frames
from xpcs_assets.testing.writers import write_nexus
from xpcs_assets_tests.unit.readers.conftest import N_FRAMES, SHAPE, dense, read_all, sparse_frames


def write(path: Path, data: object, **options: object) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset(DATASET, data=data, **options)
    return path


@pytest.mark.parametrize("max_bytes", [1, 2000, 64 << 20])
@pytest.mark.parametrize(("dtype", "lz4"), [("uint32", False), ("uint16", True), ("uint8", False)])
def test_frames_come_back_as_written_whatever_the_chunks(tmp_path: Path, dtype: str, lz4: bool, max_bytes: int) -> None:
    path = tmp_path / "a.h5"
    write_nexus(path, SHAPE, sparse_frames(42), dtype=dtype, lz4=lz4)
    with open_raw(path) as series:
        assert (series.info.format, series.info.kind, series.info.dtype) == ("nexus_hdf5", "frames", dtype)
        assert (series.info.shape, series.info.n_recorded) == (SHAPE, N_FRAMES)
        counts, valid = read_all(series, 0, N_FRAMES, max_bytes=max_bytes)
        part, _ = read_all(series, 4, 8, max_bytes=max_bytes)
    assert valid.all()
    np.testing.assert_array_equal(counts, dense(sparse_frames(42), 42))
    np.testing.assert_array_equal(part, counts[4:8])


@pytest.mark.parametrize(
    ("dtype", "stored", "expected"),
    [
        ("uint8", [0, 254, 255], [0, 254, -1]),
        ("uint16", [0, 40_000, 65_535], [0, 40_000, -1]),
        ("uint32", [0, 100_000, 2**32 - 1], [0, 100_000, -1]),
        ("int16", [-5, 100, 32_767], [-5, 100, -1]),
        ("int64", [3, 2**40, 2**63 - 1], [3, -1, -1]),
        (">u2", [1, 256, 65_535], [1, 256, -1]),
        (">u4", [1, 256, 2**32 - 1], [1, 256, -1]),
    ],
)
def test_the_largest_value_of_a_type_is_no_count(
    tmp_path: Path, dtype: str, stored: list[int], expected: list[int]
) -> None:
    path = write(tmp_path / "a.h5", np.array(stored, dtype).reshape(1, 1, 3))
    with open_raw(path) as series:
        (chunk,) = series.chunks(0, 1)
    assert isinstance(chunk, Frames)
    assert chunk.counts.tolist() == [expected]


def test_floats_stay_floats_and_what_is_not_finite_is_no_count(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", np.array([0.5, np.nan, np.inf]).reshape(1, 1, 3))
    with open_raw(path) as series:
        (chunk,) = series.chunks(0, 1)
    assert isinstance(chunk, Frames)
    assert chunk.counts.dtype == np.float32
    np.testing.assert_array_equal(chunk.counts, [[0.5, np.nan, np.nan]])


@pytest.mark.parametrize("name", ["a.imm", "a.bin", "a"])
def test_hdf5_is_found_by_content_whatever_the_name(tmp_path: Path, nexus: Path, name: str) -> None:
    with open_raw(nexus.rename(tmp_path / name)) as series:
        assert series.info.format == "nexus_hdf5"


def test_chunks_hold_no_more_bytes_than_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", np.ones((64, 32, 32), np.uint16), chunks=(4, 32, 32))
    with open_raw(path) as series:
        chunks = [chunk for chunk in series.chunks(2, 64, max_bytes=50_000) if isinstance(chunk, Frames)]
    assert all(chunk.counts.nbytes * 1.5 <= 50_000 for chunk in chunks)
    assert all(chunk.begin % 4 == 0 for chunk in chunks[1:])


def test_frames_that_were_never_written_are_invalid(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset(DATASET, shape=(100, *SHAPE), chunks=(1, *SHAPE), dtype="u2")
        for frame in (0, 1, 2, 5):
            data[frame] = frame + 1
    with open_raw(path) as series:
        assert series.info.n_recorded == 6
        assert series.info.extra["unwritten_frames"] == 96
        counts, valid = read_all(series, 0, 6)
        with pytest.raises(RawDataError, match="the file holds 6"):
            list(series.chunks(0, 100))
    assert valid.tolist() == [True, True, True, False, False, True]
    assert counts[:, 0].tolist() == [1, 2, 3, 0, 0, 6]


def test_a_header_that_claims_a_billion_frames_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset(DATASET, shape=(10**9, *SHAPE), chunks=(1, *SHAPE), dtype="u2")
        data[0] = 1
    with open_raw(path) as series:
        assert series.info.n_recorded == 1


@pytest.mark.parametrize("chunks", [None, (1, 6, 7)])
def test_a_file_without_a_written_frame_is_refused(tmp_path: Path, chunks: tuple[int, ...] | None) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(DATASET, shape=(10, *SHAPE), chunks=chunks, dtype="u2")
    with pytest.raises(RawDataError, match="no frame was recorded"):
        open_raw(path)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (np.zeros((4, 5), "u2"), "2 dimensions, not 3"),
        (np.zeros((0, 4, 5), "u2"), r"shape is \(0, 4, 5\)"),
        (np.full((2, 2, 2), b"x"), "its numbers are"),
        (np.zeros((1, 1, 1), "c8"), "its numbers are complex"),
    ],
)
def test_data_that_are_no_frames_are_refused(tmp_path: Path, data: object, reason: str) -> None:
    with pytest.raises(RawDataError, match=reason):
        open_raw(write(tmp_path / "a.h5", data))


def test_a_detector_too_large_to_be_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(DATASET, shape=(1, 10**5, 10**5), chunks=(1, 100, 100), dtype="u2")
    with pytest.raises(RawDataError, match="its shape is"):
        open_raw(path)


def test_frames_that_lie_in_other_files_are_refused(tmp_path: Path, nexus: Path) -> None:
    layout = h5py.VirtualLayout(shape=(N_FRAMES, *SHAPE), dtype="u4")
    layout[:] = h5py.VirtualSource(str(nexus), DATASET, shape=(N_FRAMES, *SHAPE))
    path = tmp_path / "virtual.h5"
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset(DATASET, layout)
    with pytest.raises(RawDataError, match="other files"):
        open_raw(path)


def test_a_file_without_the_dataset_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_group(DATASET)
    with pytest.raises(RawDataError, match="there is no dataset /entry/data/data"):
        open_raw(path)


def test_a_truncated_file_is_refused(nexus: Path) -> None:
    nexus.write_bytes(nexus.read_bytes()[:-100])
    with pytest.raises(RawDataError, match="does not open"):
        open_raw(nexus)


def test_a_damaged_frame_is_named(nexus: Path) -> None:
    with h5py.File(nexus, "r") as file:
        chunk = file[DATASET].id.get_chunk_info(13)
    content = bytearray(nexus.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + 16] = b"\xff" * 16
    nexus.write_bytes(content)
    with open_raw(nexus) as series, pytest.raises(RawDataError, match="cannot be read") as caught:
        list(series.chunks(0, N_FRAMES))
    assert caught.value.where == f"{nexus}:{DATASET}, frame 13"


def test_the_golden_run_reads_as_it_was_made(shared_data: Path) -> None:
    path = shared_data / "golden" / "eiger_aging" / "A002_gold_a0001_f000600_r00001.h5"
    with open_raw(path) as series:
        assert (series.info.shape, series.info.n_recorded) == ((96, 128), 600)
        chunks = [chunk for chunk in series.chunks(0, 600, max_bytes=1 << 20) if isinstance(chunk, Frames)]
    total = sum(int(chunk.counts[chunk.counts > 0].sum()) for chunk in chunks)
    assert total == 2_584_756


def _hold_open(path: Path, swmr: bool, pipe: Connection) -> None:
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset(DATASET, shape=(0, 2, 2), maxshape=(None, 2, 2), chunks=(1, 2, 2), dtype="u2")
        file.flush()
        if swmr:
            file.swmr_mode = True
        pipe.send("open")
        pipe.recv()
        if not swmr:
            os._exit(1)  # the writer dies without closing


@pytest.mark.parametrize("swmr", [True, False])
def test_a_file_that_another_process_writes_is_being_written(tmp_path: Path, swmr: bool) -> None:
    path = tmp_path / "a.h5"
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    writer = context.Process(target=_hold_open, args=(path, swmr, there))
    writer.start()
    assert here.poll(30)
    assert here.recv() == "open"
    assert being_written(path)
    here.send("close")
    writer.join(30)
    # After a proper end it is a file; after a crash its header still says that it is written.
    assert being_written(path) is not swmr


def test_an_unfinished_file_is_being_written_and_a_whole_one_is_not(nexus: Path) -> None:
    whole = nexus.read_bytes()
    assert not being_written(nexus)
    for part in (b"", whole[:3], whole[: len(whole) // 2], whole[:-1], bytes(4096)):
        nexus.write_bytes(part)
        assert being_written(nexus)


def test_a_file_that_is_no_hdf5_will_never_be_one(sparse_imm: Path) -> None:
    assert not being_written(sparse_imm)


def test_a_vanished_file_is_said_to_be_gone(tmp_path: Path) -> None:
    with pytest.raises(RawDataError, match="no such file"):
        being_written(tmp_path / "gone.h5")


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_in_the_file_tells_the_good_pixels(nexus: Path, name: str) -> None:
    mask = np.zeros(SHAPE, np.uint32)
    mask[2, 3] = 8
    with h5py.File(nexus, "a") as file:
        file[name] = mask
    with open_raw(nexus) as series:
        good = series.info.good_pixels
    assert good is not None
    assert np.argwhere(~good).tolist() == [[2, 3]]


def test_a_file_that_tells_its_frame_time_gives_it(nexus: Path) -> None:
    with h5py.File(nexus, "a") as file:
        file["/entry/instrument/detector/frame_time"] = 0.002
        file["/entry/instrument/detector/count_time"] = 0.0019
    with open_raw(nexus) as series:
        assert (series.info.frame_time_s, series.info.extra["count_time_s"]) == (0.002, 0.0019)


def test_frames_in_one_piece_that_the_file_is_too_short_for_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", np.ones((5, 3, 4), np.uint16))
    content = path.read_bytes()
    # The length of the data in the header's layout, 120 bytes, said to be longer.
    path.write_bytes(content.replace((120).to_bytes(8, "little"), (120 << 20).to_bytes(8, "little")))
    with pytest.raises(RawDataError):
        open_raw(path)
