"""Rigaku XSPA-500k in its fast mode: one ``.bin`` file of photon events, 512 x 1024 pixels.

No header. 64-bit little-endian words, one for each pixel that saw photons, frames ascending: bits 63..40 the
frame from 0, 36..16 the pixel (row * 1024 + column), 11..0 the count. All 12 bits of the count are kept. Frames
without a photon leave no trace: whether the run went on after the last event, only its metadata can tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers.chunks import check_range, events_in_order
from xpcs_assets.readers.rawfile import RawFile, at
from xpcs_assets.readers.series import Events, SeriesInfo

SHAPE = (512, 1024)
WORD_BYTES = 8
FRAME_SHIFT, PIXEL_SHIFT = 40, 16
PIXEL_BITS, COUNT_BITS = (1 << 21) - 1, (1 << 12) - 1

_N_PIXELS = SHAPE[0] * SHAPE[1]
_SAMPLE_WORDS = 4096
_DAMAGED = "The file is damaged or of another detector: copy it anew from the detector"


def sniff(head: bytes, tail: bytes) -> bool:
    """Tell whether a file can be a Rigaku file, from whole words of its first and last bytes."""
    words = np.frombuffer(head + tail, "<u8")
    frames, pixels = _frame(words), (words >> PIXEL_SHIFT) & PIXEL_BITS
    photons = (words & COUNT_BITS).all()
    return bool(words.size and photons and (pixels < _N_PIXELS).all() and (frames[1:] >= frames[:-1]).all())


def open_rigaku(path: Path) -> RigakuSeries:
    """Open a Rigaku 500k file.

    Raises
    ------
    RawDataError
        The file is missing or empty, ends in mid-word, or its first and last words are no events.
    """
    with ExitStack() as stack:
        file = stack.enter_context(RawFile(path))
        rest = file.size_bytes % WORD_BYTES
        if rest:
            what = f"the file ends {rest} bytes into a word of 8"
            raise RawDataError(what, where=at(path, file.size_bytes - rest), remedy=_DAMAGED)
        if not sniff(*samples(file)):
            what = "its words are no photon events of a 512 x 1024 detector in ascending frames"
            raise RawDataError(what, where=path, remedy=_DAMAGED)
        series = RigakuSeries(file)
        stack.pop_all()
    return series


def samples(file: RawFile) -> tuple[bytes, bytes]:
    """Whole words from the head and the tail of a file, for :func:`sniff`; they do not overlap."""
    size_bytes = file.size_bytes // WORD_BYTES * WORD_BYTES
    head_end = min(size_bytes, _SAMPLE_WORDS * WORD_BYTES)
    tail_begin = max(head_end, size_bytes - _SAMPLE_WORDS * WORD_BYTES)
    return bytes(file.read(0, head_end)), bytes(file.read(tail_begin, size_bytes - tail_begin))


class RigakuSeries:
    """An open Rigaku 500k file; made by :func:`open_rigaku`."""

    def __init__(self, file: RawFile) -> None:
        self._file = file
        self._n_words = file.size_bytes // WORD_BYTES
        n_recorded = self._frame_at(self._n_words - 1) + 1
        self.info = SeriesInfo(
            format="rigaku500k",
            kind="events",
            shape=SHAPE,
            n_recorded=n_recorded,
            dtype="uint16",
            files=(file.path,),
            extra={"events": self._n_words, "occupancy": self._n_words / (n_recorded * _N_PIXELS)},
        )

    def chunks(self, begin: int, end: int, *, max_bytes: int = 64 << 20) -> Iterator[Events]:
        """Yield the frames [begin, end); see :class:`~xpcs_assets.readers.series.RawSeries`.

        Raises
        ------
        RawDataError
            No such frames, a frame earlier than the one before it, an impossible pixel, or a changed file.
        """
        check_range(begin, end, self._file.path)
        word, last = self._first_word(begin), self._first_word(end)
        # 8 bytes in the file, 16 in the chunk and as many while it is made.
        room = max(1, max_bytes // 40)
        while begin < end:
            words = self._whole_frames(word, last, room)
            stop = end if word + words.size == last else self._frame_at(word + words.size)
            self._check_order(words, word, begin, stop)
            yield from self._pieces(words, begin, stop, room, word)
            word, begin = word + words.size, stop

    def _first_word(self, frame: int) -> int:
        """The first word whose frame is ``frame`` or later."""
        low, high = 0, self._n_words
        if frame == 0 or frame >= self.info.n_recorded:
            return low if frame == 0 else high
        while low < high:
            middle = (low + high) // 2
            if self._frame_at(middle) < frame:
                low = middle + 1
            else:
                high = middle
        return low

    def _frame_at(self, word: int) -> int:
        return int(_frame(self._words(word, word + 1))[0])

    def _words(self, first: int, last: int) -> NDArray[np.uint64]:
        return np.frombuffer(self._file.read(first * WORD_BYTES, (last - first) * WORD_BYTES), "<u8")

    def _whole_frames(self, first: int, last: int, room: int) -> NDArray[np.uint64]:
        """About ``room`` words from ``first``, ending where a frame ends."""
        while True:
            words = self._words(first, min(last, first + room))
            if first + words.size >= last:
                return words
            frames = _frame(words)
            whole = int(np.argmax(frames == frames[-1]))
            if whole:
                return words[:whole]
            room *= 2

    def _check_order(self, words: NDArray[np.uint64], first: int, begin: int, stop: int) -> None:
        frames = np.concatenate(([begin], _frame(words), [stop]))
        backwards = frames[1:] < frames[:-1]
        backwards[-1] = stop <= frames[-2]
        if backwards.any():
            step = int(np.argmax(backwards))
            what = f"frame {int(frames[step + 1])} comes after frame {int(frames[step])}"
            where = at(self._file.path, (first + step) * WORD_BYTES)
            raise RawDataError(what, where=where, remedy=_DAMAGED)

    def _pieces(self, words: NDArray[np.uint64], begin: int, end: int, room: int, first: int) -> Iterator[Events]:
        """The words as chunks of at most ``room`` frames: a long dark stretch has many frames and no word."""
        frame = _frame(words)
        pixel = ((words >> PIXEL_SHIFT) & PIXEL_BITS).astype(np.int32)
        count = (words & COUNT_BITS).astype(np.int32)
        while begin < end:
            stop = min(end, begin + room)
            low, high = (int(cut) for cut in np.searchsorted(frame, (begin, stop)))
            valid = np.ones(stop - begin, np.bool_)
            piece = Events(begin, stop, frame[low:high], pixel[low:high], count[low:high], valid)
            yield events_in_order(piece, _N_PIXELS, at(self._file.path, (first + low) * WORD_BYTES))
            begin = stop

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _frame(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (words >> FRAME_SHIFT).astype(np.int64)
