from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers import rigaku
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.testing.writers import Sparse, write_rigaku
from xpcs_assets_tests.unit.readers.conftest import N_FRAMES, sparse_frames


def word(frame: int, pixel: int, count: int) -> int:
    return frame << 40 | pixel << 16 | count


def write_words(path: Path, words: list[int]) -> Path:
    path.write_bytes(np.array(words, "<u8").tobytes())
    return path


def events_of(frames: list[Sparse]) -> list[tuple[int, int, int]]:
    return [
        (number, int(p), int(c))
        for number, (pixel, count) in enumerate(frames)
        for p, c in zip(pixel, count, strict=True)
    ]


def read(path: Path, begin: int, end: int, max_bytes: int = 64 << 20) -> tuple[list[tuple[int, int, int]], int]:
    """All events and the number of valid frames, checking that the chunks follow each other."""
    events, valid, at = [], 0, begin
    with open_raw(path) as series:
        assert isinstance(series, rigaku.RigakuSeries)
        for chunk in series.chunks(begin, end, max_bytes=max_bytes):
            assert chunk.begin == at < chunk.end
            assert ((chunk.frame >= chunk.begin) & (chunk.frame < chunk.end)).all()
            assert chunk.valid.size == chunk.end - chunk.begin
            events += list(zip(chunk.frame.tolist(), chunk.pixel.tolist(), chunk.count.tolist(), strict=True))
            valid += int(chunk.valid.sum())
            at = chunk.end
    assert at == end
    return events, valid


@pytest.mark.parametrize("max_bytes", [1, 4000, 64 << 20])
def test_events_come_back_as_written_whatever_the_chunks(rigaku_bin: Path, max_bytes: int) -> None:
    expected = events_of(sparse_frames(300))
    events, valid = read(rigaku_bin, 0, N_FRAMES, max_bytes)
    assert events == expected
    assert valid == N_FRAMES
    part, _ = read(rigaku_bin, 5, 11, max_bytes)
    assert part == [event for event in expected if 5 <= event[0] < 11]


def test_the_last_event_tells_the_number_of_frames(tmp_path: Path) -> None:
    path = write_words(tmp_path / "a.bin", [word(2, 0, 1), word(40, 524287, 3)])
    with open_raw(path) as series:
        assert series.info.n_recorded == 41
        assert series.info.shape == (512, 1024)
        assert series.info.kind == "events"


def test_all_twelve_bits_of_the_count_are_kept(tmp_path: Path) -> None:
    path = write_words(tmp_path / "a.bin", [word(0, 7, 256), word(0, 9, 4095)])
    assert read(path, 0, 1)[0] == [(0, 7, 256), (0, 9, 4095)]


def test_frames_without_photons_are_valid_and_cost_no_memory(tmp_path: Path) -> None:
    path = write_words(tmp_path / "a.bin", [word(0, 1, 1), word(16_000_000, 2, 1)])
    with open_raw(path) as series:
        sizes = [chunk.end - chunk.begin for chunk in series.chunks(0, 16_000_001, max_bytes=1 << 20)]
    assert sum(sizes) == 16_000_001
    assert max(sizes) <= 1 << 20
    assert read(path, 10, 20) == ([], 10)


def test_frames_asked_for_beyond_the_last_event_are_valid_and_empty(rigaku_bin: Path) -> None:
    events, valid = read(rigaku_bin, N_FRAMES, N_FRAMES + 9)
    assert (events, valid) == ([], 9)


@pytest.mark.parametrize("max_bytes", [1, 64 << 20])
def test_a_frame_that_goes_backwards_in_mid_file_is_refused_with_its_offset(tmp_path: Path, max_bytes: int) -> None:
    words = [word(i, 1, 1) for i in range(20_000)]
    words[10_000] = word(9_000, 1, 1)
    path = write_words(tmp_path / "a.bin", words)
    with pytest.raises(RawDataError, match="frame 9000 comes after frame") as caught:
        read(path, 0, 20_000, max_bytes)
    assert "byte 80000" in caught.value.where


def test_a_frame_beyond_the_last_one_is_refused(tmp_path: Path) -> None:
    words = [word(i, 1, 1) for i in range(20_000)]
    words[10_000] = word(30_000, 1, 1)
    path = write_words(tmp_path / "a.bin", words)
    with pytest.raises(RawDataError, match="comes after"):
        read(path, 0, 20_000)


@pytest.mark.parametrize(
    "words",
    [
        [word(3, 1, 1), word(2, 1, 1)],
        [word(0, 512 * 1024, 1)],
        [word(0, 1, 0)],
        [0] * 100,
    ],
    ids=["backwards", "pixel outside", "no photon", "zeros"],
)
def test_words_that_are_no_events_are_refused(tmp_path: Path, words: list[int]) -> None:
    with pytest.raises(RawDataError, match="no photon events"):
        open_raw(write_words(tmp_path / "a.bin", words))


def test_a_pixel_outside_the_detector_in_mid_file_is_refused(tmp_path: Path) -> None:
    words = [word(i, 1, 1) for i in range(20_000)]
    words[10_000] = word(10_000, 600_000, 1)
    with pytest.raises(RawDataError, match="pixel 600000 lies outside") as caught:
        read(write_words(tmp_path / "a.bin", words), 0, 20_000)
    assert "frame 10000" in caught.value.where


def test_a_file_that_ends_in_mid_word_names_the_offset(rigaku_bin: Path) -> None:
    whole = rigaku_bin.read_bytes()
    rigaku_bin.write_bytes(whole[:-3])
    with pytest.raises(RawDataError, match="5 bytes into a word") as caught:
        open_raw(rigaku_bin)
    assert caught.value.where == f"{rigaku_bin}, byte {len(whole) - 8}"


def test_a_word_written_twice_is_refused(tmp_path: Path) -> None:
    path = write_words(tmp_path / "a.bin", [word(0, 7, 1), word(0, 7, 2)])
    with pytest.raises(RawDataError, match="comes twice"):
        read(path, 0, 1)


def test_a_file_is_found_by_content_without_its_name(tmp_path: Path) -> None:
    path = tmp_path / "fast_mode"
    write_rigaku(path, sparse_frames(5000))
    with open_raw(path) as series:
        assert series.info.format == "rigaku500k"
