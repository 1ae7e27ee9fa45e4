from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xpcs_assets.errors import NoFrameYetError, RawDataError
from xpcs_assets.readers import rigaku
from xpcs_assets.readers.growing import Present, files_of, is_closed, open_growing
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.testing.writers import write_imm, write_rigaku
from xpcs_assets.testing.writers_files import write_rigaku3m
from xpcs_assets_tests.unit.readers.conftest import N_FRAMES, SHAPE, dense, read_all, sparse_frames
from xpcs_assets_tests.unit.readers.swmr_writer import writing


def cut(path: Path, size_bytes: int) -> Path:
    """The first bytes of a file, under another name beside it."""
    part = path.with_name("growing" + path.suffix)
    part.write_bytes(path.read_bytes()[:size_bytes])
    return part


@pytest.mark.parametrize("fixture", ["sparse_imm", "dense_imm"])
def test_an_imm_file_cut_at_any_byte_gives_its_whole_frames(fixture: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(fixture)
    expected = dense(sparse_frames(42), 42)
    size_bytes, seen = path.stat().st_size, set()
    for end in [1, 1000, 1024, *range(1031, size_bytes, 397), size_bytes]:
        part = cut(path, end)
        try:
            with open_growing([part]) as series:
                n_frames = series.info.n_recorded
                counts, valid = read_all(series, 0, n_frames)
        except NoFrameYetError:
            assert end < 1024 + 8 * 42
            continue
        seen.add(n_frames)
        assert valid.all()
        np.testing.assert_array_equal(counts, expected[:n_frames])
    assert seen == set(range(1, N_FRAMES + 1))


def test_a_closed_imm_file_that_is_cut_stays_an_error(sparse_imm: Path) -> None:
    part = cut(sparse_imm, 3000)
    open_growing([part]).close()
    with pytest.raises(RawDataError, match=r"cut off|ends \d+ bytes into a header"):
        open_raw(part)


def test_an_impossible_header_of_a_growing_file_is_an_error(sparse_imm: Path) -> None:
    damaged = bytearray(sparse_imm.read_bytes())
    damaged[108:112] = (-5).to_bytes(4, "little", signed=True)
    sparse_imm.write_bytes(damaged)
    with pytest.raises(RawDataError, match="the frame header is impossible") as error:
        open_growing([sparse_imm])
    assert not isinstance(error.value, NoFrameYetError)


def test_a_rigaku_frame_is_whole_when_a_later_one_has_begun(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    frames = sparse_frames(300)
    write_rigaku(path, frames)
    words = np.frombuffer(path.read_bytes(), "<u8")
    for end in range(1, path.stat().st_size + 1, 501):
        last_begun = int(words[: end // 8][-1] >> 40) if end >= 8 else 0
        part = cut(path, end)
        if last_begun == 0:
            with pytest.raises(NoFrameYetError, match="no frame in it is known to be whole"):
                open_growing([part])
            continue
        with open_growing([part]) as series:
            assert series.info.n_recorded == last_begun
            events = list(series.chunks(0, last_begun, max_bytes=4000))
        pixel = np.concatenate([chunk.pixel for chunk in events])
        np.testing.assert_array_equal(pixel, np.concatenate([pixel for pixel, _ in frames[:last_begun]]))


def test_a_rigaku_3m_ends_where_its_slowest_module_is(tmp_path: Path) -> None:
    paths = [tmp_path / f"A1.bin.00{module}" for module in range(6)]
    every_module = np.sort(np.concatenate([_first_pixels(module) for module in range(6)]))
    write_rigaku3m(paths, [(every_module, np.ones(every_module.size, np.int64))] * 9)
    content = paths[2].read_bytes()
    paths[2].write_bytes(content[: 5 * 3 * 8 + 3])
    with open_growing([paths[0]]) as series:
        assert series.info.n_recorded == 4
        chunks = list(series.chunks(0, 4))
    assert sum(chunk.pixel.size for chunk in chunks) == 4 * every_module.size
    paths[4].unlink()
    with pytest.raises(NoFrameYetError, match="it holds no byte yet"):
        open_growing([paths[0]])


def _first_pixels(module: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    from xpcs_assets.readers.rigaku3m import module_place

    return module_place(module)[:3].astype(np.int64)


def test_a_growing_hdf5_file_gives_the_chunks_that_are_full(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    expected = dense(sparse_frames(42), 42)
    with writing(path, expected.reshape(-1, *SHAPE).astype(np.uint16), layer=4) as writer:
        with pytest.raises(NoFrameYetError, match="no whole frame was recorded yet"):
            open_growing([path])
        writer.put(3)
        with pytest.raises(NoFrameYetError, match="no whole frame was recorded yet"):
            open_growing([path])
        writer.put(10)
        with open_growing([path]) as series:
            assert series.info.n_recorded == 8
            counts, valid = read_all(series, 0, 8)
        assert valid.all()
        np.testing.assert_array_equal(counts, expected[:8])
        assert not is_closed([path])
        writer.close()
        assert is_closed([path])


def test_a_frame_that_is_an_hdf5_chunk_of_its_own_is_whole_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with writing(path, dense(sparse_frames(42), 42).reshape(-1, *SHAPE).astype(np.uint16), layer=1) as writer:
        writer.put(5)
        with open_growing([path]) as series:
            assert series.info.n_recorded == 5


def test_an_hdf5_file_that_its_writer_keeps_to_itself_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with writing(path, np.ones((4, *SHAPE), np.uint16), layer=1, mode="plain") as writer:
        writer.put(4)
        with pytest.raises(RawDataError, match="only where its writer is in SWMR mode"):
            open_growing([path])
        assert not is_closed([path])


@pytest.mark.parametrize("name", ["a.npy", "a.edf", "a.tpx3"])
def test_other_formats_are_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x93NUMPY" + bytes(2000))
    with pytest.raises(RawDataError, match="a run of this format cannot be followed"):
        open_growing([tmp_path / name])


def test_several_files_are_refused(tmp_path: Path) -> None:
    paths = [tmp_path / "a_1.imm", tmp_path / "a_2.imm"]
    for path in paths:
        write_imm(path, SHAPE, sparse_frames(42, 3), frame_time_s=1e-3)
    with pytest.raises(RawDataError, match="cannot be followed"):
        open_growing(paths)


def test_files_that_are_not_there_have_no_length(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(rigaku.WORD_BYTES))
    assert Present.of(tmp_path / "a.bin") == (8, (tmp_path / "a.bin").stat().st_ino)
    assert Present.of(tmp_path / "b.bin") == (0, 0)
    assert [path.name for path in files_of([tmp_path / "r.bin.003"])] == [f"r.bin.00{n}" for n in range(6)]
    assert not is_closed([tmp_path / "a.bin"])
    with pytest.raises(NoFrameYetError):
        open_growing([tmp_path / "b.bin"])
