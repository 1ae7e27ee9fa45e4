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


def test_a_pixel_written_twice_in_a_frame_is_summed_and_counted(tmp_path: Path) -> None:
    words = [(0, 7, 1), (0, 9, 5), (0, 7, 2), (1, 7, 4), (1, 7, 4095), (1, 7, 1), (2, 9, 1)]
    path = write_words(tmp_path / "a.bin", [word(*event) for event in words])
    assert read(path, 0, 3)[0] == [(0, 7, 3), (0, 9, 5), (1, 7, 4100), (2, 9, 1)]
    with open_raw(path) as series:
        for _ in range(2):  # a second pass counts nothing twice
            list(series.chunks(0, 3))
        assert series.info.extra["repeated_pixels"] == 3


def test_a_stream_puts_its_pixels_where_it_is_told_and_leaves_some_out(tmp_path: Path) -> None:
    path = write_words(tmp_path / "a.bin", [word(0, 7, 1), word(0, 9, 2), word(3, 8, 3), word(4, 7, 4)])
    place = np.full(512 * 1024, -1, np.int32)
    place[[7, 8]] = [3_000_000, 5]
    with rigaku.RigakuStream(path, place) as stream:
        chunk = stream.events(0, 4)
        assert (stream.n_words, stream.n_recorded) == (4, 5)
        assert stream.events(4, 9).count.tolist() == [4]
    assert (chunk.begin, chunk.end, chunk.valid.tolist()) == (0, 4, [True] * 4)
    assert chunk.frame.tolist() == [0, 3]
    assert chunk.pixel.tolist() == [3_000_000, 5]
    assert chunk.count.tolist() == [1, 3]


def test_a_stream_is_cut_where_a_frame_ends_near_the_wanted_number_of_events(tmp_path: Path) -> None:
    path = write_words(tmp_path / "a.bin", [word(frame, pixel, 1) for frame in (0, 1, 5) for pixel in range(10)])
    with rigaku.RigakuStream(path) as stream:
        assert stream.next_frame(0, 6, 15) == 1
        assert stream.next_frame(0, 6, 25) == 5
        assert stream.next_frame(0, 6, 1) == 1  # a frame is never cut
        assert stream.next_frame(1, 100, 60) == 61
        assert stream.events(1, 5).pixel.tolist() == list(range(10))


def test_streams_of_several_modules_merge_in_order_of_frames(tmp_path: Path) -> None:
    events = [
        [(0, 3, 1), (2, 4, 1), (2, 5, 1)],
        [(1, 3, 2), (2, 0, 2)],
        [(0, 8, 3), (5, 1, 3)],
    ]
    parts = []
    for number, module in enumerate(events):
        path = write_words(tmp_path / f"{number}.bin", [word(*event) for event in module])
        place = (np.arange(512 * 1024) + 1_000_000 * number).astype(np.int32)
        with rigaku.RigakuStream(path, place) as stream:
            parts.append(stream.events(0, 6))
    merged = rigaku.merge_streams(parts)
    expected = sorted(
        ((f, p + 1_000_000 * number, c) for number, module in enumerate(events) for f, p, c in module),
        key=lambda event: event[0],
    )
    assert list(zip(merged.frame.tolist(), merged.pixel.tolist(), merged.count.tolist(), strict=True)) == expected
    assert (merged.begin, merged.end, merged.valid.all()) == (0, 6, True)


def test_a_file_is_found_by_content_without_its_name(tmp_path: Path) -> None:
    path = tmp_path / "fast_mode"
    write_rigaku(path, sparse_frames(5000))
    with open_raw(path) as series:
        assert series.info.format == "rigaku500k"
