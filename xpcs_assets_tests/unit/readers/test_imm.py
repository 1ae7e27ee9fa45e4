from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers import imm
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.readers.series import Events, RawSeries
from xpcs_assets.testing.writers import write_imm
from xpcs_assets_tests.unit.readers.conftest import N_FRAMES, SHAPE, dense, read_all, sparse_frames

ROWS, BYTES, DLEN, BUFFER_NUMBER, IMMVERSION = 108, 116, 152, 160, 616


def patch(path: Path, offset: int, value: int) -> None:
    content = bytearray(path.read_bytes())
    struct.pack_into("<i", content, offset, value)
    path.write_bytes(content)


def frame_offset(frame: int) -> int:
    return sum(imm.HEADER_BYTES + 6 * pixel.size for pixel, _ in sparse_frames(42)[:frame])


def number_frames(path: Path, numbers: list[int]) -> None:
    for frame, number in enumerate(numbers):
        patch(path, frame_offset(frame) + BUFFER_NUMBER, number)


@pytest.mark.parametrize("max_bytes", [1, 5000, 64 << 20])
@pytest.mark.parametrize("fixture", ["sparse_imm", "dense_imm"])
def test_frames_come_back_as_written_whatever_the_chunks(
    fixture: str, max_bytes: int, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(fixture)
    with open_raw(path) as series:
        assert isinstance(series, RawSeries)
        assert series.info.shape == SHAPE
        assert series.info.n_recorded == N_FRAMES
        counts, valid = read_all(series, 0, N_FRAMES, max_bytes=max_bytes)
        part, _ = read_all(series, 3, 9, max_bytes=max_bytes)
    assert valid.all()
    expected = dense(sparse_frames(42), 42)
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(part, expected[3:9])


def test_sparse_files_give_events_and_dense_files_frames(sparse_imm: Path, dense_imm: Path) -> None:
    with open_raw(sparse_imm) as sparse, open_raw(dense_imm) as frames:
        assert (sparse.info.kind, frames.info.kind) == ("events", "frames")
        assert isinstance(next(sparse.chunks(0, 1)), Events)


def test_small_chunks_stay_small(tmp_path: Path) -> None:
    path = tmp_path / "a.imm"
    write_imm(path, (64, 64), sparse_frames(4096, 40), frame_time_s=1e-3)
    with open_raw(path) as series:
        sizes = [chunk.count.size for chunk in series.chunks(0, 40, max_bytes=200_000) if isinstance(chunk, Events)]
    assert len(sizes) > 4
    assert max(sizes) * 32 <= 200_000


def test_frames_of_events_asked_for_beyond_the_last_one_are_valid_and_empty(sparse_imm: Path) -> None:
    with open_raw(sparse_imm) as series:
        counts, valid = read_all(series, N_FRAMES - 1, N_FRAMES + 5)
    assert valid.all()
    assert not counts[1:].any()


def test_dense_frames_that_were_not_recorded_are_refused(dense_imm: Path) -> None:
    with open_raw(dense_imm) as series, pytest.raises(RawDataError, match="the file holds 23"):
        list(series.chunks(0, N_FRAMES + 1))


@pytest.mark.parametrize(("begin", "end"), [(-1, 3), (5, 4)])
def test_frames_that_make_no_range_are_refused(sparse_imm: Path, begin: int, end: int) -> None:
    with open_raw(sparse_imm) as series, pytest.raises(RawDataError, match="no range"):
        list(series.chunks(begin, end))


def test_four_byte_values_are_read(tmp_path: Path, sparse_imm: Path) -> None:
    content = bytearray(sparse_imm.read_bytes()[:1024])
    struct.pack_into("<i", content, BYTES, 4)
    struct.pack_into("<I", content, DLEN, 2)
    payload = struct.pack("<2i2I", 5, 9, 100_000, 2**32 - 1)
    path = tmp_path / "wide.imm"
    path.write_bytes(bytes(content) + payload)
    with open_raw(path) as series:
        counts, _ = read_all(series, 0, 1)
    assert (counts[0, 5], counts[0, 9]) == (100_000, -1)


def test_values_have_two_bytes_before_version_11_whatever_the_header_says(sparse_imm: Path) -> None:
    for frame in range(N_FRAMES):
        patch(sparse_imm, frame_offset(frame) + IMMVERSION, 10)
        patch(sparse_imm, frame_offset(frame) + BYTES, 0)
    with open_raw(sparse_imm) as series:
        counts, _ = read_all(series, 0, N_FRAMES)
    np.testing.assert_array_equal(counts, dense(sparse_frames(42), 42))


def test_dropped_frames_are_invalid_and_keep_their_time(sparse_imm: Path) -> None:
    numbers = [*range(100, 110), *range(113, 126)]
    number_frames(sparse_imm, numbers)
    with open_raw(sparse_imm) as series:
        assert series.info.n_recorded == 26
        assert series.info.extra["dropped_frames"] == 3
        counts, valid = read_all(series, 0, 26, max_bytes=3000)
    assert np.flatnonzero(~valid).tolist() == [10, 11, 12]
    expected = dense(sparse_frames(42), 42)
    np.testing.assert_array_equal(counts[valid], expected)


def test_dropped_dense_frames_are_invalid_rows(dense_imm: Path) -> None:
    step = imm.HEADER_BYTES + 2 * 42
    for frame in range(5, N_FRAMES):
        patch(dense_imm, frame * step + BUFFER_NUMBER, frame + 2)
    with open_raw(dense_imm) as series:
        counts, valid = read_all(series, 0, N_FRAMES + 2, max_bytes=4000)
    assert np.flatnonzero(~valid).tolist() == [5, 6]
    np.testing.assert_array_equal(counts[valid], dense(sparse_frames(42), 42))


@pytest.mark.parametrize(
    "numbers",
    [[0] * 23, [7] * 23, list(range(0, 46, 2)), [*range(22), 2**31 - 1]],
    ids=["unused", "still", "strided", "absurd"],
)
def test_a_counter_that_counts_no_frames_is_not_followed(sparse_imm: Path, numbers: list[int]) -> None:
    number_frames(sparse_imm, numbers)
    with open_raw(sparse_imm) as series:
        assert series.info.n_recorded == N_FRAMES
        assert series.info.extra["dropped_frames"] == 0


@pytest.mark.parametrize(
    ("numbers", "frame", "told"),
    [
        (list(range(23, 0, -1)), 1, "from 23 to 22"),
        ([*range(10), *range(13)], 10, "from 9 to 0"),
        ([*range(10), 9, *range(10, 22)], 10, "from 9 to 9"),
        ([*range(100, 110), *range(113, 120), 118, *range(121, 126)], 17, "from 119 to 118"),
        ([0] * 22 + [1], 1, "from 0 to 0"),
    ],
    ids=["falling", "starting over", "repeated", "back after a gap", "rising once"],
)
@pytest.mark.parametrize("growing", [False, True])
def test_a_counter_that_goes_back_names_the_frame_and_offset(
    sparse_imm: Path, numbers: list[int], frame: int, told: str, growing: bool
) -> None:
    number_frames(sparse_imm, numbers)
    with pytest.raises(RawDataError, match=f"the frame counter goes {told}: frames are out of order") as caught:
        imm.open_imm(sparse_imm, growing=growing)
    assert caught.value.where == f"{sparse_imm}, byte {frame_offset(frame)}, frame {frame}"


def test_a_file_that_ends_in_a_header_names_the_frame_and_offset(sparse_imm: Path) -> None:
    offset = frame_offset(7)
    sparse_imm.write_bytes(sparse_imm.read_bytes()[: offset + 500])
    with pytest.raises(RawDataError, match="500 bytes into a header") as caught:
        open_raw(sparse_imm)
    assert caught.value.where == f"{sparse_imm}, byte {offset}, frame 7"
    assert caught.value.remedy


def test_a_truncated_payload_names_the_frame_and_offset(sparse_imm: Path) -> None:
    offset = frame_offset(9)
    sparse_imm.write_bytes(sparse_imm.read_bytes()[: offset + 1024 + 7])
    with pytest.raises(RawDataError, match="cut off after 7") as caught:
        open_raw(sparse_imm)
    assert caught.value.where == f"{sparse_imm}, byte {offset}, frame 9"


@pytest.mark.parametrize("size_bytes", [1, 500, 1023])
def test_a_file_shorter_than_a_header_is_refused(sparse_imm: Path, size_bytes: int) -> None:
    sparse_imm.write_bytes(sparse_imm.read_bytes()[:size_bytes])
    with pytest.raises(RawDataError, match="into a header"):
        open_raw(sparse_imm)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        (4, 3, "compression 3"),
        (ROWS, 0, "0 x 7 pixels"),
        (ROWS, -6, "-6 x 7 pixels"),
        (ROWS, 2**31 - 1, "2147483647 x 7 pixels"),
        (BYTES, 3, "3 bytes a pixel"),
        (DLEN, 43, "43 entries for 42 pixels"),
        (DLEN, -1, "4294967295 entries"),
    ],
)
@pytest.mark.parametrize("frame", [0, 11])
def test_an_impossible_header_is_refused_with_its_reason(
    sparse_imm: Path, field: int, value: int, reason: str, frame: int
) -> None:
    patch(sparse_imm, frame_offset(frame) + field, value)
    with pytest.raises(RawDataError, match=reason) as caught:
        open_raw(sparse_imm)
    assert f"frame {frame}" in caught.value.where


def test_a_frame_of_another_shape_is_refused(sparse_imm: Path) -> None:
    patch(sparse_imm, frame_offset(3) + ROWS, 7)
    with pytest.raises(RawDataError, match=r"\(6, 7, 7, 2\), in the first frame \(6, 6, 7, 2\)"):
        open_raw(sparse_imm)


@pytest.mark.parametrize("pixel", [42, -1, 2**31 - 1])
def test_a_pixel_outside_the_detector_names_the_frame(sparse_imm: Path, pixel: int) -> None:
    patch(sparse_imm, frame_offset(6) + imm.HEADER_BYTES, pixel)
    with open_raw(sparse_imm) as series, pytest.raises(RawDataError, match="lies outside the detector of 42") as caught:
        list(series.chunks(0, N_FRAMES))
    assert "frame 6" in caught.value.where


def test_a_pixel_that_comes_twice_in_a_frame_is_summed_and_counted_once_however_often_it_is_read(
    sparse_imm: Path,
) -> None:
    pixels, counts = sparse_frames(42)[6]
    patch(sparse_imm, frame_offset(6) + imm.HEADER_BYTES, int(pixels[1]))
    with open_raw(sparse_imm) as series:
        assert series.info.extra["repeated_pixels"] == 0
        for _ in range(2):
            (chunk,) = series.chunks(0, N_FRAMES)
        assert series.info.extra["repeated_pixels"] == 1
    assert isinstance(chunk, Events)
    np.testing.assert_array_equal(chunk.pixel[chunk.frame == 6], pixels[1:])
    np.testing.assert_array_equal(chunk.count[chunk.frame == 6], [counts[0] + counts[1], *counts[2:]])
    np.testing.assert_array_equal(chunk.pixel[chunk.frame == 7], sparse_frames(42)[7][0])


def test_pixels_out_of_order_keep_their_counts(sparse_imm: Path) -> None:
    pixels = sparse_frames(42)[6][0]
    start = frame_offset(6) + imm.HEADER_BYTES
    patch(sparse_imm, start, int(pixels[1]))
    patch(sparse_imm, start + 4, int(pixels[0]))
    with open_raw(sparse_imm) as series:
        (chunk,) = series.chunks(0, N_FRAMES)
        assert series.info.extra["repeated_pixels"] == 0
    assert isinstance(chunk, Events)
    np.testing.assert_array_equal(chunk.pixel[chunk.frame == 6], [pixels[1], pixels[0], *pixels[2:]])


def test_a_file_that_shrinks_while_it_is_read_is_refused(sparse_imm: Path) -> None:
    with open_raw(sparse_imm) as series:
        with sparse_imm.open("r+b") as file:
            file.truncate(frame_offset(20))
        with pytest.raises(RawDataError, match="bytes early"):
            list(series.chunks(0, N_FRAMES))


def test_the_golden_run_reads_as_it_was_made(shared_data: Path) -> None:
    (path,) = (shared_data / "golden" / "imm_both").glob("*.imm")
    with open_raw(path) as series:
        assert (series.info.format, series.info.shape, series.info.n_recorded) == ("imm", (96, 128), 600)
        chunks = [chunk for chunk in series.chunks(0, 600, max_bytes=1 << 20) if isinstance(chunk, Events)]
    assert sum(int(chunk.count.sum()) for chunk in chunks) == 2_578_293
    assert all(chunk.valid.all() for chunk in chunks)


@pytest.mark.parametrize(
    ("elapsed", "known"),
    [([0.0, 1e-3, 2e-3], True), ([0.0, 0.0, 0.0], False), ([2.0, 1.0, 3.0], False), ([0.0, np.nan, 1.0], False),
     ([-1.7e308, 0.0, 1.7e308], False)],
)  # fmt: skip
def test_time_stamps_that_rise_are_told(elapsed: list[float], known: bool, tmp_path: Path) -> None:
    content = b""
    for number, time_s in enumerate(elapsed):
        path = tmp_path / f"{number}.imm"
        frame = (np.array([1], np.int32), np.array([1], np.int32))
        write_imm(path, (4, 4), [frame], frame_time_s=1e-3)
        head = bytearray(path.read_bytes())
        head[128:136] = struct.pack("<d", time_s)
        head[160:164] = struct.pack("<i", number)
        content += bytes(head)
    (tmp_path / "all.imm").write_bytes(content)
    with open_raw(tmp_path / "all.imm") as series:
        assert (series.info.time_s is not None) is known
        if series.info.time_s is not None:
            assert series.info.time_s.tolist() == elapsed
        assert series.info.extra["kinetics"] == 0
