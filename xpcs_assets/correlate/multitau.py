"""The multi-tau engine's contract and its CPU forms: plan, partition, push chunks, finish.

The definition (boost_corr's and xpcs-eigen's symmetric normalisation): with X_l[j] the sum of 2**l consecutive frames,
delay k 2**l and n valid pairs, per pixel::

    G  = sum X_l[j] X_l[j+k] / (n 4**l)      IP = sum X_l[j] / (n 2**l)      IF = sum X_l[j+k] / (n 2**l)

All sums are float64, so that the result does not depend on how the frames were cut into chunks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.correlate import kernels
from xpcs_assets.correlate.delays import Plan
from xpcs_assets.correlate.engine import ENGINE as ENGINE
from xpcs_assets.correlate.partition import Partition
from xpcs_assets.correlate.threads import share
from xpcs_assets.correlate.validity import Validity
from xpcs_assets.errors import CorrelationError
from xpcs_assets.readers.series import Chunk, Events, Frames

_DENSE_ABOVE = 0.03
"""Occupancy above which frames are faster than events: an event costs about 100 ns, a pixel and frame about 3 ns."""
_WINDOW_BYTES = 64 << 20
# A read-only array is another type to the compiler, and would be compiled for once more.
_KERNEL_FLAGS: tuple[Literal["C"], Literal["W"]] = ("C", "W")
_INT32_MAX = np.iinfo(np.int32).max


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over the pixels of each static bin, from which g2 and its errors are made. They may be added.

    Attributes
    ----------
    plan
        The plan.
    n_pairs
        (D,) int64, valid pairs of each delay.
    sums
        (D, n_static, 11) float64, see :data:`xpcs_assets.correlate.kernels.N_MOMENTS`.
    n_pixels
        (n_static,) int64, pixels of each bin that were not dropped.
    dynamic_of_static
        (n_static,) int64, -1 for bins without pixels.
    n_dynamic
        Dynamic bins.
    n_saturated
        Analysed pixels dropped because a used frame held a masked or overflowed count there.
    """

    plan: Plan
    n_pairs: NDArray[np.int64]
    sums: NDArray[np.float64]
    n_pixels: NDArray[np.int64]
    dynamic_of_static: NDArray[np.int64]
    n_dynamic: int
    n_saturated: int

    def __add__(self, other: Moments) -> Moments:
        """Join the moments of other pixels over the same frames."""
        return replace(
            self,
            sums=self.sums + other.sums,
            n_pixels=self.n_pixels + other.n_pixels,
            n_saturated=self.n_saturated + other.n_saturated,
        )

    @classmethod
    def of_blocks(
        cls,
        validity: Validity,
        partition: Partition,
        block_sums: NDArray[np.float64],
        block_pixels: NDArray[np.int64],
        block_static: NDArray[np.int64],
    ) -> Self:
        """Sum (B, D, 11) block sums and (B,) block pixels into static bins."""
        sums = np.zeros((partition.n_static, *block_sums.shape[1:]))
        np.add.at(sums, block_static, block_sums)
        n_pixels = np.bincount(block_static, block_pixels, partition.n_static).astype(np.int64)
        return cls(
            plan=validity.plan,
            n_pairs=validity.n_pairs(),
            sums=np.ascontiguousarray(sums.swapaxes(0, 1)),
            n_pixels=n_pixels,
            dynamic_of_static=partition.dynamic_of_static,
            n_dynamic=partition.n_dynamic,
            n_saturated=partition.n_pixels - int(n_pixels.sum()),
        )


class Correlator(Protocol):
    """What every form of the engine does. It may be pickled between pushes and go on elsewhere."""

    def push(self, chunk: Chunk) -> None:
        """Take the chunk that follows; its frames are numbered in analysed time, from 0."""
        ...

    def finish(self) -> Moments:
        """Moments of the frames so far; more may follow."""
        ...


class FramesCorrelator:
    """Correlates dense frames, a block of pixels at a time; events are spread into frames.

    Memory: about 8 bytes x (3 D + (H + 1) L) an analysed pixel, see :func:`bytes_per_pixel`.
    """

    def __init__(self, plan: Plan, partition: Partition) -> None:
        self.partition = partition
        self.validity = Validity(plan)
        levels, delays, pixels = plan.n_levels, plan.n_delays, partition.n_pixels
        self._history = np.zeros((levels, plan.history, pixels))
        self._total = np.zeros((levels, pixels))
        self._G = np.zeros((delays, pixels))
        self._lone = np.zeros((2, delays, pixels))
        self._saturated = np.zeros(pixels, np.bool_)
        # In the detector's own order: neighbours in memory are read together. Bins matter only at the end.
        self._pixel = np.sort(partition.pixel)
        self._slot = np.searchsorted(self._pixel, partition.pixel)
        self._position = np.full(len(partition.position), -1, np.int32)
        self._position[self._pixel] = np.arange(pixels, dtype=np.int32)

    def push(self, chunk: Chunk) -> None:
        """Take the chunk that follows."""
        if isinstance(chunk, Events):
            mark_saturated(chunk, self._position, self._saturated)
        for frames, pixel in windows(chunk, self._pixel, self._position):
            self._push_window(frames, pixel)

    def _push_window(self, frames: Frames, pixel: NDArray[np.int64]) -> None:
        plan, before = self.validity.plan, self.validity.n_pushed
        self.validity.push(frames.begin, frames.valid)
        begins = before >> np.arange(plan.n_levels)
        ends = self.validity.n_pushed >> np.arange(plan.n_levels)
        spans = list(zip(begins.tolist(), ends.tolist(), strict=True))
        counts: Any = frames.counts
        keep = [self.validity.level(level)[low:high] for level, (low, high) in enumerate(spans)]
        deficits = [self.validity.deficits(level, low, high) for level, (low, high) in enumerate(spans)]
        share(
            lambda begin, end: kernels.push_frames(
                counts, frames.valid, pixel, begin, end, plan.lag, plan.level_start, ends - begins, begins & 1,
                np.concatenate(keep), _starts(keep), np.concatenate(deficits), _starts(deficits),
                self._history, self._total, self._G, self._lone, self._saturated,
            ),
            self.partition.n_pixels,
            at_least=1024,
        )  # fmt: skip

    def finish(self) -> Moments:
        """Moments of the frames so far."""
        plan, n_pairs = self.validity.plan, self.validity.n_pairs()
        edge, block_static = self.partition.blocks()
        sums = np.zeros((len(block_static), plan.n_delays, kernels.N_MOMENTS))
        n_pixels = np.zeros(len(block_static), np.int64)
        share(
            lambda begin, end: kernels.reduce_frames(
                edge, begin, end, self._slot, plan.lag, plan.level, n_pairs,
                self._history, self._total, self._G, self._lone, self._saturated, sums, n_pixels,
            ),
            len(block_static),
        )  # fmt: skip
        return Moments.of_blocks(self.validity, self.partition, sums, n_pixels, block_static)


class EventsCorrelator:
    """Keeps the events of analysed pixels (12 bytes each) and walks them pixel by pixel at the end."""

    def __init__(self, plan: Plan, partition: Partition) -> None:
        self.partition = partition
        self.validity = Validity(plan)
        self._position: list[NDArray[np.int32]] = []
        self._time: list[NDArray[np.int32]] = []
        self._count: list[NDArray[np.int32]] = []
        self._saturated = np.zeros(partition.n_pixels, np.bool_)

    def push(self, chunk: Chunk) -> None:
        """Take the chunk that follows."""
        if isinstance(chunk, Frames):
            chunk = to_events(chunk)
        self.validity.push(chunk.begin, chunk.valid)
        mark_saturated(chunk, self.partition.position, self._saturated)
        position = self.partition.position[chunk.pixel]
        kept = (position >= 0) & chunk.valid[chunk.frame - chunk.begin] & (chunk.count > 0)
        self._position.append(position[kept])
        self._time.append(chunk.frame[kept].astype(np.int32))
        self._count.append(chunk.count[kept])

    def finish(self) -> Moments:
        """Moments of the frames so far."""
        plan, n_pairs = self.validity.plan, self.validity.n_pairs()
        start, time, count = self._by_pixel()
        status = [self.validity.status(level) for level in range(plan.n_levels)]
        edge, block_static = self.partition.blocks()
        sums = np.zeros((len(block_static), plan.n_delays, kernels.N_MOMENTS))
        n_pixels = np.zeros(len(block_static), np.int64)
        share(
            lambda begin, end: kernels.walk_events(
                edge, begin, end, start, time, count, plan.lag, plan.level_start, n_pairs,
                np.concatenate(status), _starts(status), self._saturated, sums, n_pixels,
            ),
            len(block_static),
        )  # fmt: skip
        return Moments.of_blocks(self.validity, self.partition, sums, n_pixels, block_static)

    def _by_pixel(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
        start = np.zeros(self.partition.n_pixels + 1, np.int64)
        for position in self._position:
            start[1:] += np.bincount(position, minlength=self.partition.n_pixels)
        np.cumsum(start, out=start)
        cursor = start[:-1].copy()
        time, count = np.empty(start[-1], np.int32), np.empty(start[-1], np.int32)
        for columns in zip(self._position, self._time, self._count, strict=True):
            kernels.sort_events(*columns, cursor, time, count)
        return start, time, count


def make_correlator(plan: Plan, partition: Partition, *, occupancy: float = 1.0, device: str = "cpu") -> Correlator:
    """Choose the form of the engine.

    Parameters
    ----------
    plan, partition
        What to correlate.
    occupancy
        Expected fraction of (pixel, frame) pairs with counts; few of them go the way of events.
    device
        ``cpu``: compiled kernels; ``jax``: whatever device jax has.

    Raises
    ------
    CorrelationError
        There is no such device.
    """
    if device == "jax":
        from xpcs_assets.correlate.multitau_jax import JaxCorrelator

        return JaxCorrelator(plan, partition)
    if device != "cpu":
        raise CorrelationError(f"there is no device {device!r}", remedy="Use cpu or jax")
    return FramesCorrelator(plan, partition) if is_dense(occupancy) else EventsCorrelator(plan, partition)


def is_dense(occupancy: float) -> bool:
    """Tell whether frames are faster than events at this fraction of pixels with counts."""
    return occupancy > _DENSE_ABOVE


def bytes_per_pixel(plan: Plan) -> int:
    """Memory that :class:`FramesCorrelator` needs for each analysed pixel."""
    return 8 * (3 * plan.n_delays + (plan.history + 1) * plan.n_levels) + 16


def windows(
    chunk: Chunk, pixel: NDArray[np.int64], position: NDArray[np.int32]
) -> Iterator[tuple[Frames, NDArray[np.int64]]]:
    """Cut a chunk into dense pieces of at most 256 frames that the kernels take.

    Parameters
    ----------
    chunk
        Frames or events.
    pixel, position
        (P,) flat index of each analysed pixel in the order of the sums, and the place of each detector pixel there.

    Yields
    ------
    frames, column
        Counts as int32 or float32, and their column for each analysed pixel, (P,) int64.
    """
    if isinstance(chunk, Events):
        yield from _spread(chunk, position, len(pixel))
        return
    for low in range(0, len(chunk.valid), kernels.FRAMES):
        part = slice(low, low + kernels.FRAMES)
        counts = as_kernel_type(chunk.counts[part])
        yield Frames(chunk.begin + low, counts, chunk.valid[part]), pixel


def as_kernel_type(counts: NDArray[np.generic]) -> NDArray[np.int32] | NDArray[np.float32]:
    """Counts as C-ordered int32 (anything larger becomes -1: overflowed) or float32: what kernels are compiled for."""
    if counts.dtype.kind == "f":
        return np.require(counts, np.float32, _KERNEL_FLAGS)
    if counts.dtype.itemsize > 4 or counts.dtype == np.uint32:
        return np.where(counts.astype(np.int64) > _INT32_MAX, -1, counts).astype(np.int32)
    return np.require(counts, np.int32, _KERNEL_FLAGS)


def mark_saturated(events: Events, position: NDArray[np.int32], saturated: NDArray[np.bool_]) -> None:
    """Mark the analysed pixels with a negative count in a valid frame."""
    wrong = np.flatnonzero(events.count < 0)
    if wrong.size:
        place = position[events.pixel[wrong]]
        used = (place >= 0) & events.valid[events.frame[wrong] - events.begin]
        saturated[place[used]] = True


def to_events(frames: Frames) -> Events:
    """The counts of dense frames that are not 0."""
    counts = as_kernel_type(frames.counts)
    row, pixel = np.nonzero(counts)
    values = counts[row, pixel].astype(np.int32)
    return Events(frames.begin, frames.end, row + frames.begin, pixel.astype(np.int32), values, frames.valid)


def _spread(events: Events, position: NDArray[np.int32], n_pixels: int) -> Iterator[tuple[Frames, NDArray[np.int64]]]:
    columns = np.arange(n_pixels)
    n_rows = max(1, min(kernels.FRAMES, _WINDOW_BYTES // (4 * n_pixels)))
    for low in range(events.begin, events.end, n_rows):
        high = min(low + n_rows, events.end)
        part = slice(*np.searchsorted(events.frame, (low, high)))
        place = position[events.pixel[part]]
        kept = (place >= 0) & (events.count[part] > 0)
        counts = np.zeros((high - low, n_pixels), np.int32)
        np.add.at(counts, (events.frame[part][kept] - low, place[kept]), events.count[part][kept])
        yield Frames(low, counts, events.valid[low - events.begin : high - events.begin]), columns


def _starts(parts: Sequence[NDArray[np.generic]]) -> NDArray[np.int64]:
    return np.cumsum([0, *(len(part) for part in parts)], dtype=np.int64)
