"""IMM, the multi-image format of the APS 8-ID image server, sparse and dense.

A file is a row of frames, each a header of 1024 bytes and a payload: dense (compression 0) ``rows * cols``
values, sparse (compression 6) ``dlen`` int32 pixel indices and then ``dlen`` values. Little endian.

Time follows ``buffer_number``, the image server's frame counter, when it rises with gaps: the missing numbers
are frames that were dropped, hence invalid. A counter that is the same in every frame, rises by the same step above 1
or misses more frames than the file holds counts no frames; time is then the order in the file. One that goes back, or
comes twice among others, is an error: frames are out of order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import NoFrameYetError, RawDataError
from xpcs_assets.readers.chunks import MAX_PIXELS, check_range, check_recorded, events_once, signed_counts
from xpcs_assets.readers.rawfile import WAIT, RawFile, at
from xpcs_assets.readers.series import Chunk, Events, Frames, SeriesInfo

HEADER_BYTES = 1024
SPARSE, DENSE = 6, 0

# compression 4; rows, cols, bytes 108; kinetics 120; elapsed 128; dlen 152; buffer_number 160; immversion 616
_FIELDS = struct.Struct("<4xi100xiiii4xd16xI4xI452xi")
_MAX_SIDE = 1 << 15
_LATEST_S = 1e12
_DAMAGED = "Copy the file anew from the detector; if it is the same there, the frames before can be cut out"


@dataclass(frozen=True)
class Header:
    """What a frame's header says of its payload.

    Attributes
    ----------
    compression
        6 sparse, 0 dense.
    rows, cols
        Detector, pixels.
    value_bytes
        Bytes of a value, 2 or 4.
    dlen
        Events (sparse) or pixels (dense) of the payload.
    buffer_number
        The image server's frame counter.
    immversion
        Version of the format; below 11 values have 2 bytes whatever the header says.
    elapsed_s
        When the frame was taken, s from any origin.
    kinetics
        Not 0 where an image holds many exposures, one below the other.
    """

    compression: int
    rows: int
    cols: int
    value_bytes: int
    dlen: int
    buffer_number: int
    immversion: int
    elapsed_s: float
    kinetics: int

    @classmethod
    def of(cls, head: bytes | bytearray) -> Self:
        """Parse the first 620 bytes or more of a header."""
        compression, rows, cols, value_bytes, kinetics, elapsed_s, dlen, number, version = _FIELDS.unpack_from(head)
        of_version = value_bytes if version >= 11 else 2
        return cls(compression, rows, cols, of_version, dlen, number, version, elapsed_s, kinetics)

    @property
    def payload_bytes(self) -> int:
        """Length of what follows the header."""
        return self.dlen * (self.value_bytes + (4 if self.compression == SPARSE else 0))

    @property
    def layout(self) -> tuple[int, int, int, int]:
        """What all frames of a file have in common."""
        return self.compression, self.rows, self.cols, self.value_bytes

    def fault(self) -> str:
        """Why this is no header; empty when it can be one."""
        pixels = self.rows * self.cols
        wrong = (
            (self.compression not in (SPARSE, DENSE), f"compression {self.compression} is neither 0 nor 6"),
            (not (0 < self.rows <= _MAX_SIDE and 0 < self.cols <= _MAX_SIDE), f"{self.rows} x {self.cols} pixels"),
            (pixels > MAX_PIXELS, f"{self.rows} x {self.cols} pixels"),
            (self.value_bytes not in (2, 4), f"{self.value_bytes} bytes a pixel"),
            (self.dlen > pixels, f"{self.dlen} entries for {pixels} pixels"),
            (self.compression == DENSE and self.dlen != pixels, f"{self.dlen} entries for {pixels} pixels"),
        )
        return next((reason for is_wrong, reason in wrong if is_wrong), "")


def sniff(head: bytes) -> bool:
    """Tell whether a file that begins with ``head`` (at least 1024 bytes of it) is an IMM file."""
    return len(head) >= HEADER_BYTES and not Header.of(head).fault()


@dataclass(frozen=True)
class _Index:
    """Where each stored frame lies.

    Attributes
    ----------
    first
        The first header.
    offset, dlen
        (n,) int64, byte offset of the header and entries of the payload.
    number
        (n,) int64, rising: the frame in time, 0-based.
    elapsed_s
        (n,) float64, when each was taken.
    end
        One past the last byte of the last frame.
    """

    first: Header
    offset: NDArray[np.int64]
    dlen: NDArray[np.int64]
    number: NDArray[np.int64]
    elapsed_s: NDArray[np.float64]
    end: int

    def time_s(self) -> NDArray[np.float64] | None:
        """Time stamps by frame in time, NaN where none was stored; None where the clock stood still or ran back."""
        told = np.isfinite(self.elapsed_s) & (np.abs(self.elapsed_s) < _LATEST_S)
        if len(self.number) < 2 or not told.all() or not (np.diff(self.elapsed_s) > 0).all():
            return None
        time_s = np.full(int(self.number[-1]) + 1, np.nan)
        time_s[self.number] = self.elapsed_s
        return time_s


def open_imm(path: Path, *, growing: bool = False) -> ImmSeries:
    """Open an IMM file and read all its headers; those of the whole frames of a ``growing`` one.

    Raises
    ------
    RawDataError
        The file is missing, empty or ends in mid-frame, or a header is impossible.
    NoFrameYetError
        A growing file holds no whole frame.
    """
    with ExitStack() as stack:
        file = stack.enter_context(RawFile(path))
        series = ImmSeries(file, _read_index(file, growing=growing))
        stack.pop_all()
    return series


def _read_index(file: RawFile, *, growing: bool) -> _Index:
    headers: list[Header] = []
    offsets: list[int] = []
    offset = 0
    while offset < file.size_bytes:
        header = _read_header(file, offset, len(headers), growing=growing)
        if header is None:
            break
        if headers and header.layout != headers[0].layout:
            what = f"(compression, rows, cols, bytes) is {header.layout}, in the first frame {headers[0].layout}"
            raise RawDataError(what, where=at(file.path, offset, len(headers)), remedy=_DAMAGED)
        headers.append(header)
        offsets.append(offset)
        offset += HEADER_BYTES + header.payload_bytes
    if not headers:
        raise NoFrameYetError("it holds no whole frame yet", where=file.path, remedy=WAIT)
    dlen = np.array([header.dlen for header in headers], np.int64)
    counter = np.array([header.buffer_number for header in headers], np.int64)
    _check_order(counter, offsets, file.path)
    number = frame_numbers(counter)
    elapsed_s = np.array([header.elapsed_s for header in headers], np.float64)
    return _Index(headers[0], np.array(offsets, np.int64), dlen, number, elapsed_s, offset)


def _check_order(counter: NDArray[np.int64], offsets: list[int], path: Path) -> None:
    back = np.flatnonzero(np.diff(counter) < 1)
    if back.size and (counter != counter[0]).any():
        frame = int(back[0]) + 1
        raise RawDataError(
            f"the frame counter goes from {counter[frame - 1]} to {counter[frame]}: frames are out of order",
            where=at(path, offsets[frame], frame),
            remedy=_DAMAGED,
        )


def _read_header(file: RawFile, offset: int, frame: int, *, growing: bool) -> Header | None:
    """The header of a frame; None where a ``growing`` file ends before the frame does."""
    where = at(file.path, offset, frame)
    room = file.size_bytes - offset
    if growing and room < HEADER_BYTES:
        return None
    if room < HEADER_BYTES:
        raise RawDataError(f"the file ends {room} bytes into a header of 1024", where=where, remedy=_DAMAGED)
    header = Header.of(file.read(offset, _FIELDS.size))
    if fault := header.fault():
        raise RawDataError(f"the frame header is impossible: {fault}", where=where, remedy=_DAMAGED)
    if growing and room - HEADER_BYTES < header.payload_bytes:
        return None
    if room - HEADER_BYTES < header.payload_bytes:
        what = f"the payload of {header.payload_bytes} bytes is cut off after {room - HEADER_BYTES}"
        raise RawDataError(what, where=where, remedy=_DAMAGED)
    return header


def frame_numbers(buffer_number: NDArray[np.int64]) -> NDArray[np.int64]:
    """Frames in time, 0-based, from the image server's counter; the order in the file where it counts nothing.

    >>> frame_numbers(np.array([5, 6, 9])).tolist(), frame_numbers(np.array([0, 0, 0])).tolist()
    ([0, 1, 4], [0, 1, 2])
    """
    steps = np.diff(buffer_number)
    in_order = np.arange(buffer_number.size)
    if not steps.any() or steps.min() == steps.max():
        return in_order
    number = buffer_number - buffer_number[0]
    return number if number[-1] < 2 * number.size else in_order


class ImmSeries:
    """An open IMM file; made by :func:`open_imm`. Sparse files give events, dense files frames.

    A pixel that comes twice in a sparse frame has its counts summed; ``info.extra["repeated_pixels"]`` tells how
    often that was so in what has been read.
    """

    def __init__(self, file: RawFile, index: _Index) -> None:
        first = index.first
        self._file = file
        self._index = index
        self._value = np.dtype(f"<u{first.value_bytes}")
        self._n_pixels = first.rows * first.cols
        self._counted_to = self._n_repeated = 0
        n_recorded = int(index.number[-1]) + 1
        self.info = SeriesInfo(
            format="imm",
            kind="events" if first.compression == SPARSE else "frames",
            shape=(first.rows, first.cols),
            n_recorded=n_recorded,
            dtype=self._value.name,
            files=(file.path,),
            time_s=index.time_s(),
            extra={
                "compression": first.compression,
                "immversion": first.immversion,
                "dropped_frames": n_recorded - index.number.size,
                "repeated_pixels": 0,
                "kinetics": first.kinetics,
                "occupancy": float(index.dlen.sum()) / (index.dlen.size * self._n_pixels),
            },
        )

    def chunks(self, begin: int, end: int, *, max_bytes: int = 64 << 20) -> Iterator[Chunk]:
        """Yield the frames [begin, end); see :class:`~xpcs_assets.readers.series.RawSeries`.

        Raises
        ------
        RawDataError
            No such frames, the file has changed, or a pixel is impossible.
        """
        check_range(begin, end, self._file.path)
        sparse = self.info.kind == "events"
        if not sparse:
            check_recorded(end, self.info.n_recorded, self._file.path)
        while begin < end:
            stop = self._event_stop(begin, end, max_bytes) if sparse else self._frame_stop(begin, end, max_bytes)
            yield self._events(begin, stop) if sparse else self._frames(begin, stop)
            begin = stop

    def _frame_stop(self, begin: int, end: int, max_bytes: int) -> int:
        per_frame = HEADER_BYTES + self._n_pixels * (self._value.itemsize + 4)
        return min(end, begin + max(1, max_bytes // per_frame))

    def _event_stop(self, begin: int, end: int, max_bytes: int) -> int:
        stop = min(end, begin + max(1, max_bytes // 16))
        low, high = self._stored(begin, stop)
        # An event takes 8 bytes at most in the file and 24 in the chunk and its making.
        cost = np.cumsum(HEADER_BYTES + 32 * self._index.dlen[low:high])
        fits = low + max(1, int(np.searchsorted(cost, max_bytes, side="right")))
        return stop if fits >= high else int(self._index.number[fits])

    def _stored(self, begin: int, end: int) -> tuple[int, int]:
        low, high = np.searchsorted(self._index.number, (begin, end))
        return int(low), int(high)

    def _valid(self, begin: int, end: int) -> NDArray[np.bool_]:
        low, high = self._stored(begin, end)
        valid = np.zeros(end - begin, np.bool_)
        valid[self._index.number[low:high] - begin] = True
        valid[max(self.info.n_recorded - begin, 0) :] = True
        return valid

    def _payloads(self, low: int, high: int) -> tuple[bytearray, NDArray[np.int64]]:
        """The bytes of the stored frames [low, high), and where in them each payload begins."""
        if low == high:
            return bytearray(), np.empty(0, np.int64)
        offset = self._index.offset
        stop = int(offset[high]) if high < offset.size else self._index.end
        block = self._file.read(int(offset[low]), stop - int(offset[low]))
        return block, offset[low:high] - offset[low] + HEADER_BYTES

    def _events(self, begin: int, end: int) -> Events:
        low, high = self._stored(begin, end)
        dlen = self._index.dlen[low:high]
        block, starts = self._payloads(low, high)
        total = int(dlen.sum())
        pixel, value = np.empty(total, np.int32), np.empty(total, self._value)
        done = 0
        for start, n in zip(starts.tolist(), dlen.tolist(), strict=True):
            pixel[done : done + n] = np.frombuffer(block, "<i4", n, start)
            value[done : done + n] = np.frombuffer(block, self._value, n, start + 4 * n)
            done += n
        frame = np.repeat(self._index.number[low:high], dlen)
        count = signed_counts(value).astype(np.int32, copy=False)
        chunk = Events(begin, end, frame, pixel, count, self._valid(begin, end))
        where = at(self._file.path, int(self._index.offset[low]) if low < high else self._index.end)
        chunk, n_repeated = events_once(chunk, self._n_pixels, where)
        if low >= self._counted_to:
            self._n_repeated += n_repeated
            self.info.extra["repeated_pixels"] = self._n_repeated
        self._counted_to = max(self._counted_to, high)
        return chunk

    def _frames(self, begin: int, end: int) -> Frames:
        low, high = self._stored(begin, end)
        block, starts = self._payloads(low, high)
        counts = np.zeros((end - begin, self._n_pixels), np.int32)
        rows = self._index.number[low:high] - begin
        for start, row in zip(starts.tolist(), rows.tolist(), strict=True):
            counts[row] = signed_counts(np.frombuffer(block, self._value, self._n_pixels, start))
        return Frames(begin, counts, self._valid(begin, end))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
