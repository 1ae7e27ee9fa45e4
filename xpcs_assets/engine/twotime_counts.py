"""The counts of the chosen bins, kept for two-time correlation: every frame is needed with every other one.

Frames are kept as the smallest integer type that holds them (1 byte a pixel and frame for most detectors), events as
12 bytes each, then 8 when they are sorted by pixel. Both give a block of pixels as a series of counts that can be
made dense or summed over pairs of frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine import twotime_loops as loops
from xpcs_assets.engine.multitau import as_kernel_type
from xpcs_assets.engine.partition import Partition
from xpcs_assets.engine.threads import share
from xpcs_assets.errors import CorrelationError
from xpcs_assets.readers.series import Chunk, Events, Frames

BLOCK_PIXELS = 4096
"""Most pixels of a block: their products are summed in single precision, blocks in double."""
_BLOCK_BYTES = 256 << 20
_GROWING: dict[Any, type[np.signedinteger[Any] | np.unsignedinteger[Any]]] = {
    np.dtype(np.uint8): np.uint16,
    np.dtype(np.uint16): np.int32,
}


@dataclass(frozen=True, eq=False)
class Blocks:
    """The pixels of the chosen bins, cut into blocks that never cross a static bin.

    Attributes
    ----------
    pixel
        (P,) int64, flat index of each pixel, sorted by (dynamic bin, static bin).
    position
        (rows * columns,) int32, place of each detector pixel in ``pixel``, -1 elsewhere.
    edge
        (B + 1,) int64, block b is the pixels ``edge[b]:edge[b + 1]``.
    static, dynamic
        (B,) int64, bins of each block, from 0.
    """

    pixel: NDArray[np.int64]
    position: NDArray[np.int32]
    edge: NDArray[np.int64]
    static: NDArray[np.int64]
    dynamic: NDArray[np.int64]

    @classmethod
    def of(cls, partition: Partition, bins: Sequence[int], n_frames: int) -> Self:
        """Cut the pixels of dynamic bins (from 1) of a partition; blocks are smaller for very long series."""
        dynamic = partition.dynamic_of_static[partition.static]
        kept = np.isin(dynamic, np.asarray(bins, np.int64) - 1)
        pixel, static = partition.pixel[kept], partition.static[kept]
        most = max(64, min(BLOCK_PIXELS, _BLOCK_BYTES // (4 * n_frames)))
        bounds = [0, *(np.flatnonzero(np.diff(static)) + 1).tolist(), len(pixel)]
        edge = np.array([*(e for low, high in pairwise(bounds) for e in range(low, high, most)), len(pixel)], np.int64)
        position = np.full(len(partition.position), -1, np.int32)
        position[pixel] = np.arange(len(pixel), dtype=np.int32)
        of_block = static[edge[:-1]]
        return cls(pixel, position, edge, of_block, partition.dynamic_of_static[of_block])

    @property
    def n_blocks(self) -> int:
        """Number of blocks, B."""
        return len(self.static)

    def place(self, block: int) -> slice:
        """The pixels of a block."""
        return slice(int(self.edge[block]), int(self.edge[block + 1]))


class Series(Protocol):
    """The counts of a block's pixels in time, at some level."""

    @property
    def n_frames(self) -> int:
        """Frames of this level."""
        ...

    def dense(self, shift: NDArray[np.float64]) -> NDArray[np.float32]:
        """Counts less ``shift`` of each frame, (frames, pixels)."""
        ...

    def halved(self) -> Series:
        """The series of neighbouring frames summed in pairs. This one must not be used afterwards."""
        ...

    def events(self) -> SparseSeries | None:
        """The series as events, where it has them."""
        ...


class DenseSeries:
    """Counts of a block, (frames, pixels)."""

    def __init__(self, counts: NDArray[Any]) -> None:
        self._counts = counts
        self.n_frames = len(counts)

    def dense(self, shift: NDArray[np.float64]) -> NDArray[np.float32]:
        """Counts less ``shift`` of each frame."""
        out = np.empty(self._counts.shape, np.float32)
        share(lambda low, high: loops.subtract(self._counts, shift, (low, high), out), self.n_frames, at_least=64)
        return out

    def halved(self) -> DenseSeries:
        """Sum neighbouring frames."""
        even = self._counts[: self.n_frames // 2 * 2]
        return DenseSeries(np.add(even[::2], even[1::2], dtype=np.float32, casting="unsafe"))

    def events(self) -> None:
        """Frames have none."""


@dataclass(frozen=True, eq=False)
class SparseSeries:
    """Events of a block: those of pixel p are ``begin[p]:end[p]``, in time order."""

    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    time: NDArray[np.int32]
    count: NDArray[np.int32]
    n_frames: int

    def dense(self, shift: NDArray[np.float64]) -> NDArray[np.float32]:
        """Counts less ``shift`` of each frame."""
        out = np.empty((self.n_frames, len(self.begin)), np.float32)
        out[:] = -shift[:, None]
        loops.spread(self.begin, self.end, self.time, self.count, out)
        return out

    def halved(self) -> SparseSeries:
        """Sum neighbouring frames, in place."""
        n_frames = self.n_frames // 2
        loops.halve(self.begin, self.end, self.time, self.count, n_frames)
        return SparseSeries(self.begin, self.end, self.time, self.count, n_frames)

    def events(self) -> SparseSeries:
        """Itself."""
        return self


class Counts:
    """What both ways of keeping counts share.

    Attributes
    ----------
    sums
        (B, N) float64, sum of each block's counts in each frame; 0 in invalid frames.
    saturated
        (P,) bool, pixels with a masked or overflowed count in a valid frame.
    """

    def __init__(self, blocks: Blocks, n_frames: int) -> None:
        self.blocks = blocks
        self.n_frames = n_frames
        self.sums = np.zeros((blocks.n_blocks, n_frames))
        self.saturated = np.zeros(len(blocks.pixel), np.bool_)

    @property
    def n_pixels(self) -> NDArray[np.int64]:
        """Pixels of each block that are not saturated, (B,)."""
        starts = np.concatenate(([0], np.cumsum(~self.saturated)))
        return np.asarray(starts[self.blocks.edge[1:]] - starts[self.blocks.edge[:-1]], np.int64)


class FrameCounts(Counts):
    """Counts of dense frames, (N, P)."""

    def __init__(self, blocks: Blocks, n_frames: int) -> None:
        super().__init__(blocks, n_frames)
        self._kept: NDArray[Any] | None = None
        # In the detector's own order: neighbours in memory are read together.
        order = np.argsort(blocks.pixel)
        self._pixel, self._place = blocks.pixel[order].astype(np.int32), order.astype(np.int32)

    def push(self, chunk: Chunk) -> None:
        """Take the chunk that follows."""
        if isinstance(chunk, Events):
            raise CorrelationError("a series gave both frames and events", remedy="Report this reader's fault")
        counts = as_kernel_type(chunk.counts)
        if self._kept is None:
            kind = np.float32 if counts.dtype.kind == "f" else np.uint8
            self._kept = np.zeros((self.n_frames, len(self.blocks.pixel)), kind)
        while not self._gather(self._kept, counts, chunk):
            self._kept = self._kept.astype(_GROWING[self._kept.dtype])

    def _gather(self, kept: NDArray[Any], counts: NDArray[Any], chunk: Frames) -> bool:
        now = kept[chunk.begin : chunk.end]
        fits = np.ones(len(counts), np.bool_)

        def some(begin: int, end: int) -> None:
            given = (counts, chunk.valid, self._pixel, self._place, (begin, end))
            if kept.dtype.kind == "f":
                loops.gather_floats(*given, now, self.saturated)
            else:
                loops.gather(*given, int(np.iinfo(kept.dtype).max), now, self.saturated, fits)

        share(some, len(counts))
        return bool(fits.all())

    def seal(self) -> None:
        """Sum the blocks, without the saturated pixels; nothing is pushed afterwards."""
        kept = self._kept
        if kept is None:
            return
        kept[:, self.saturated] = 0
        zero = 0.0 if kept.dtype.kind == "f" else 0
        share(lambda low, high: loops.sum_blocks(kept, self.blocks.edge, (low, high), zero, self.sums), len(kept))

    def series(self, block: int) -> DenseSeries:
        """Counts of a block's pixels without the saturated ones."""
        place = self.blocks.place(block)
        if self._kept is None:
            return DenseSeries(np.zeros((self.n_frames, int(self.n_pixels[block])), np.uint8))
        counts = self._kept[:, place]
        wrong = self.saturated[place]
        return DenseSeries(counts[:, ~wrong] if wrong.any() else counts)


class EventCounts(Counts):
    """Events of valid frames, sorted by pixel at the end."""

    def __init__(self, blocks: Blocks, n_frames: int) -> None:
        super().__init__(blocks, n_frames)
        self._place: list[NDArray[np.int32]] = []
        self._frame: list[NDArray[np.int32]] = []
        self._count: list[NDArray[np.int32]] = []
        self._begin = self._end = np.zeros(0, np.int64)
        self._sorted_time = self._sorted_count = np.zeros(0, np.int32)

    def push(self, chunk: Chunk) -> None:
        """Take the chunk that follows."""
        if isinstance(chunk, Frames):
            raise CorrelationError("a series gave both frames and events", remedy="Report this reader's fault")
        place = self.blocks.position[chunk.pixel]
        used = (place >= 0) & chunk.valid[chunk.frame - chunk.begin] & (chunk.count != 0)
        place, frame, count = place[used], chunk.frame[used].astype(np.int32), chunk.count[used]
        self.saturated[place[count < 0]] = True
        self._place.append(place)
        self._frame.append(frame)
        self._count.append(count)

    def seal(self) -> None:
        """Sort by pixel and sum; nothing is pushed afterwards."""
        n_events = np.zeros(len(self.blocks.pixel), np.int64)
        for number, place in enumerate(self._place):
            kept = ~self.saturated[place]
            if not kept.all():
                place = self._place[number] = place[kept]
                self._frame[number], self._count[number] = self._frame[number][kept], self._count[number][kept]
            n_events += np.bincount(place, minlength=len(n_events))
        self._end = np.cumsum(n_events)
        self._begin = self._end - n_events
        self._sorted_time, self._sorted_count = np.empty((2, int(n_events.sum())), np.int32)
        cursor = self._begin.copy()
        while self._place:
            columns = self._place.pop(0), self._frame.pop(0), self._count.pop(0)
            loops.by_pixel(*columns, cursor, self._sorted_time, self._sorted_count)
        for block in range(self.blocks.n_blocks):
            events = self._of(block)
            self.sums[block] = np.bincount(self._sorted_time[events], self._sorted_count[events], self.n_frames)

    def series(self, block: int) -> SparseSeries:
        """Events of a block's pixels without the saturated ones."""
        place = self.blocks.place(block)
        kept = ~self.saturated[place]
        events = self._of(block)
        begin, end = self._begin[place][kept] - events.start, self._end[place][kept] - events.start
        time, count = self._sorted_time[events].copy(), self._sorted_count[events].copy()
        return SparseSeries(begin, end, time, count, self.n_frames)

    def _of(self, block: int) -> slice:
        place = self.blocks.place(block)
        return slice(int(self._begin[place.start]), int(self._end[place.stop - 1]))
