"""Rigaku XSPA-500k in its fast mode: one ``.bin`` file of photon events, 512 x 1024 pixels.

No header. 64-bit little-endian words, one for each pixel that saw photons, frames ascending: bits 63..40 the
frame from 0, 36..16 the pixel (row * 1024 + column), 11..0 the count. All 12 bits of the count are kept. Frames
without a photon leave no trace: whether the run went on after the last event, only its metadata can tell.

:class:`RigakuStream` decodes one such file for any detector that is made of such modules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import NoFrameYetError, RawDataError
from xpcs_assets.readers.chunks import check_range, events_once
from xpcs_assets.readers.rawfile import WAIT, RawFile, at
from xpcs_assets.readers.series import Events, SeriesInfo

SHAPE = (512, 1024)
WORD_BYTES = 8
FRAME_SHIFT, PIXEL_SHIFT = 40, 16
PIXEL_BITS, COUNT_BITS = (1 << 21) - 1, (1 << 12) - 1
PIXEL_OFFSET = 1 << 20
"""What the pixel numbers of a Rigaku 3M's modules may count from."""

_N_PIXELS = SHAPE[0] * SHAPE[1]
_SAMPLE_WORDS = 4096
# 8 bytes in the file and 12 in the chunk. More events at once are no faster: their arrays leave the cache.
_BYTES_PER_EVENT, _MOST_EVENTS = 20, 1 << 21
_DAMAGED = "The file is damaged or of another detector: copy it anew from the detector"


def sniff(head: bytes, tail: bytes, first_pixel: int = 0) -> bool:
    """Tell whether a file can be a Rigaku file, from whole words of its first and last bytes."""
    words = np.frombuffer(head + tail, "<u8")
    frames, pixels = _frame(words), ((words >> PIXEL_SHIFT) & PIXEL_BITS).astype(np.int64) - first_pixel
    photons = (words & COUNT_BITS).all()
    inside = ((pixels >= 0) & (pixels < _N_PIXELS)).all()
    return bool(words.size and photons and inside and (frames[1:] >= frames[:-1]).all())


def samples(file: RawFile) -> tuple[bytes, bytes]:
    """Whole words from the head and the tail of a file, for :func:`sniff`; they do not overlap."""
    size_bytes = file.size_bytes // WORD_BYTES * WORD_BYTES
    head_end = min(size_bytes, _SAMPLE_WORDS * WORD_BYTES)
    tail_begin = max(head_end, size_bytes - _SAMPLE_WORDS * WORD_BYTES)
    return bytes(file.read(0, head_end)), bytes(file.read(tail_begin, size_bytes - tail_begin))


class RigakuStream:
    """The events of one module's file, read by ranges of frames. Use it as a context manager.

    Parameters
    ----------
    path
        The module's file.
    place
        (512 * 1024,) int32, index in the whole detector of each pixel of the module, no two alike; -1 leaves a pixel
        out. None: the module is the detector.
    counts_from_offset
        Pixel numbers may count from 2**20 instead of 0, all of a file alike, as those of a Rigaku 3M do.
    growing
        The file is still being written: its last frame, and whatever ends in mid-word, are left out.

    Attributes
    ----------
    path
        The file.
    n_words
        Events in it.
    n_recorded
        Last recorded frame + 1.
    n_repeated
        Events found so far that came after another one of their frame and pixel; they have been summed.

    Raises
    ------
    RawDataError
        The file is missing or empty, ends in mid-word, or its first and last words are no events.
    NoFrameYetError
        No frame of a growing file is known to be whole: none but the first has begun.
    """

    def __init__(
        self,
        path: Path,
        place: NDArray[np.int32] | None = None,
        *,
        counts_from_offset: bool = False,
        growing: bool = False,
    ) -> None:
        self.path = path
        self._place = np.empty(0, np.int32) if place is None else np.require(place, np.int32, ("C", "W"))
        self.n_repeated = 0
        self._counted_to = 0
        with ExitStack() as stack:
            self._file = stack.enter_context(RawFile(path))
            rest = self._file.size_bytes % WORD_BYTES
            if rest and not growing:
                what = f"the file ends {rest} bytes into a word of 8"
                raise RawDataError(what, where=at(path, self._file.size_bytes - rest), remedy=_DAMAGED)
            parts = samples(self._file)
            if growing and not parts[0]:
                raise _no_frame_yet(path)
            offsets = (0, PIXEL_OFFSET) if counts_from_offset else (0,)
            fitting = [offset for offset in offsets if sniff(*parts, offset)]
            if not fitting:
                what = "its words are no photon events of a 512 x 1024 detector in ascending frames"
                raise RawDataError(what, where=path, remedy=_DAMAGED)
            self._first_pixel = fitting[0]
            self.n_words = self._file.size_bytes // WORD_BYTES
            self.n_recorded = self._frame_at(self.n_words - 1) + 1
            self._known = (0, 0)  # a frame and its first word
            self._room = np.empty(0, "<u8")
            if growing:
                self._leave_out_last()
            stack.pop_all()

    def _leave_out_last(self) -> None:
        """End before the last frame that has begun: more of its events may follow."""
        last = self.n_recorded - 1
        if last == 0:
            raise _no_frame_yet(self.path)
        self.n_words, self.n_recorded = self._first_word(last), last

    def next_frame(self, begin: int, end: int, room: int) -> int:
        """Where to cut [begin, end) so that the first piece has about ``room`` events and at most as many frames."""
        word, room = self._first_word(begin), max(room, 1)
        while word + room < self.n_words:
            frame = self._frame_at(word + room)
            if frame > begin:
                return min(frame, end, begin + room)
            room *= 2
        return min(end, begin + room)

    def events(self, begin: int, end: int) -> Events:
        """All events of the frames [begin, end), which :meth:`next_frame` keeps few enough; all frames are valid.

        Raises
        ------
        RawDataError
            A frame earlier than the one before it, an impossible pixel, or a changed file.
        """
        from xpcs_assets.readers import event_loops

        first, last = self._first_word(begin), self._first_word(end)
        words = self._next_words(first, last)
        frame, pixel, count = (np.empty(len(words), np.int32) for _ in range(3))
        n, fault, word, rising = event_loops.decode_words(
            words, begin, end, self._first_pixel, _N_PIXELS, self._place, frame, pixel, count
        )
        if fault == event_loops.OUTSIDE:
            number = ((int(words[word]) >> PIXEL_SHIFT) & PIXEL_BITS) - self._first_pixel
            what = f"pixel {number} lies outside the detector of "
            where = f"{at(self.path, (first + word) * WORD_BYTES)}, frame {int(words[word]) >> FRAME_SHIFT}"
            raise RawDataError(f"{what}{_N_PIXELS} pixels", where=where, remedy=_DAMAGED)
        if fault:
            self._raise_backwards(words, first, begin, end)
        chunk = Events(begin, end, frame[:n], pixel[:n], count[:n], np.ones(end - begin, np.bool_))
        if not rising:
            n_pixels = int(self._place.max(initial=_N_PIXELS - 1)) + 1
            chunk, n_repeated = events_once(chunk, n_pixels, at(self.path, first * WORD_BYTES))
            self.n_repeated += n_repeated if first >= self._counted_to else 0
        self._counted_to = max(self._counted_to, last)
        self._known = (end, last)
        return chunk

    def _first_word(self, frame: int) -> int:
        """The first word whose frame is ``frame`` or later."""
        if frame >= self.n_recorded:
            return self.n_words
        known, word = self._known
        if frame == known:
            return word
        low, high = (word if frame > known else 0), self.n_words
        step = _SAMPLE_WORDS
        while low + step < high:
            if self._frame_at(low + step) >= frame:
                high = low + step
            else:
                low += step
                step *= 2
        while low < high:
            middle = (low + high) // 2
            if self._frame_at(middle) < frame:
                low = middle + 1
            else:
                high = middle
        return low

    def _frame_at(self, word: int) -> int:
        return int(_frame(self._words(word, word + 1))[0])

    def _next_words(self, first: int, last: int) -> NDArray[np.uint64]:
        """Words in memory that the next call takes again: fresh memory costs as much as the reading."""
        if last - first > len(self._room):
            self._room = np.empty(last - first, "<u8")
        words = self._room[: last - first]
        if words.size:
            self._file.read_into(words.view(np.uint8).data, first * WORD_BYTES)
        return words

    def _words(self, first: int, last: int) -> NDArray[np.uint64]:
        return np.frombuffer(self._file.read(first * WORD_BYTES, (last - first) * WORD_BYTES), "<u8")

    def _raise_backwards(self, words: NDArray[np.uint64], first: int, begin: int, end: int) -> None:
        frames = np.concatenate(([begin], _frame(words), [end]))
        backwards = frames[1:] < frames[:-1]
        backwards[-1] = end <= frames[-2]
        step = int(np.argmax(backwards))
        what = f"frame {int(frames[step + 1])} comes after frame {int(frames[step])}"
        raise RawDataError(what, where=at(self.path, (first + step) * WORD_BYTES), remedy=_DAMAGED)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def merge_streams(parts: Sequence[Events]) -> Events:
    """Join the events of several modules over the same frames into one chunk, ascending in frame.

    Parameters
    ----------
    parts
        At least one; what :meth:`RigakuStream.events` gave for the same range of frames. A frame is valid where it is
        in all of them.
    """
    from xpcs_assets.readers import event_loops

    columns: list[Any] = [(part.frame, part.pixel, part.count) for part in parts]
    while len(columns) > 1:
        merged = []
        for first, second in zip(columns[::2], columns[1::2], strict=False):
            frame, pixel, count = (np.empty(len(first[0]) + len(second[0]), np.int32) for _ in range(3))
            event_loops.merge_two(first, second, (frame, pixel, count))
            merged.append((frame, pixel, count))
        columns = merged + columns[len(merged) * 2 :]
    frame, pixel, count = columns[0]
    valid = np.logical_and.reduce([part.valid for part in parts])
    return Events(parts[0].begin, parts[0].end, frame, pixel, count, valid)


def _no_frame_yet(path: Path) -> NoFrameYetError:
    return NoFrameYetError("no frame in it is known to be whole yet", where=path, remedy=WAIT)


def open_rigaku(path: Path, *, growing: bool = False) -> RigakuSeries:
    """Open a Rigaku 500k file; the frames before the last one of a ``growing`` file.

    Raises
    ------
    RawDataError
        The file is missing or empty, ends in mid-word, or its first and last words are no events.
    NoFrameYetError
        No frame of a growing file is known to be whole.
    """
    return RigakuSeries(RigakuStream(path, growing=growing))


class RigakuSeries:
    """An open Rigaku 500k file; made by :func:`open_rigaku`.

    A pixel that comes twice in a frame has its counts summed; ``info.extra["repeated_pixels"]`` tells how often that
    was so in what has been read.
    """

    def __init__(self, stream: RigakuStream) -> None:
        self._stream = stream
        n_recorded = stream.n_recorded
        self.info = SeriesInfo(
            format="rigaku500k",
            kind="events",
            shape=SHAPE,
            n_recorded=n_recorded,
            dtype="uint16",
            files=(stream.path,),
            extra={
                "events": stream.n_words,
                "occupancy": stream.n_words / (n_recorded * _N_PIXELS),
                "repeated_pixels": 0,
            },
        )

    def chunks(self, begin: int, end: int, *, max_bytes: int = 64 << 20) -> Iterator[Events]:
        """Yield the frames [begin, end); see :class:`~xpcs_assets.readers.series.RawSeries`.

        Raises
        ------
        RawDataError
            No such frames, a frame earlier than the one before it, an impossible pixel, or a changed file.
        """
        check_range(begin, end, self._stream.path)
        room = min(max(1, max_bytes // _BYTES_PER_EVENT), _MOST_EVENTS)
        while begin < end:
            stop = self._stream.next_frame(begin, end, room)
            chunk = self._stream.events(begin, stop)
            self.info.extra["repeated_pixels"] = self._stream.n_repeated
            yield chunk
            begin = stop

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _frame(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (words >> FRAME_SHIFT).astype(np.int64)
