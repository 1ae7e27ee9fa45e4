"""The multi-tau engine's contract and its CPU forms: plan, partition, push chunks, finish.

The definition (boost_corr's and xpcs-eigen's symmetric normalisation): with X_l[j] the sum of 2**l consecutive frames,
delay k 2**l and n valid pairs, per pixel::

    G  = sum X_l[j] X_l[j+k] / (n 4**l)      IP = sum X_l[j] / (n 2**l)      IF = sum X_l[j+k] / (n 2**l)

All sums are float64, so that the result does not depend on how the frames were cut into chunks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine import kernels, kernels_events
from xpcs_assets.engine.delays import Plan
from xpcs_assets.engine.partition import Partition
from xpcs_assets.engine.threads import n_threads, share
from xpcs_assets.engine.validity import Validity
from xpcs_assets.engine.version import ENGINE as ENGINE
from xpcs_assets.errors import CorrelationError
from xpcs_assets.readers.series import Chunk, Events, Frames

_DENSE_ABOVE = 0.25
"""Occupancy above which frames are faster than events: there an event costs 13 ns, a pixel and frame 3.3 ns."""
Form: TypeAlias = Literal["auto", "frames", "events"]

_WINDOW_BYTES = 64 << 20
_RUN_EVENTS = 1 << 16
_MOST_AHEAD = 100.0
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
        (D, n_static, 11) float64, see :data:`xpcs_assets.engine.kernels.N_MOMENTS`.
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
        """Sum (B, 11, D) block sums and (B,) block pixels into static bins; the blocks of a bin are neighbours."""
        sums = np.zeros((partition.n_static, *block_sums.shape[1:]))
        first = np.flatnonzero(np.diff(block_static, prepend=-1))
        sums[block_static[first]] = np.add.reduceat(block_sums, first)
        n_pixels = np.bincount(block_static, block_pixels, partition.n_static).astype(np.int64)
        return cls(
            plan=validity.plan,
            n_pairs=validity.n_pairs(),
            sums=np.ascontiguousarray(sums.transpose(2, 0, 1)),
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

    Memory: see :func:`bytes_per_pixel`.
    """

    def __init__(self, plan: Plan, partition: Partition) -> None:
        self.partition = partition
        self.validity = Validity(plan)
        levels, delays, pixels = plan.n_levels, plan.n_delays, partition.n_pixels
        self._history = np.zeros((levels, plan.history, pixels))
        self._total = np.zeros((levels, pixels))
        self._G = np.zeros((delays, pixels))
        # What IP and IF lack of the total. IP lacks the newest frames, which are in the history, and those before
        # invalid ones: its sums are made when there are any.
        self._past, self._future = np.zeros((0, pixels)), np.zeros((delays, pixels))
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
        ends = self.validity.n_frames()
        spans = list(zip(begins.tolist(), ends.tolist(), strict=True))
        counts = frames.counts
        keep = [self.validity.level(level)[low:high] for level, (low, high) in enumerate(spans)]
        deficits = [self.validity.deficits(level, low, high) for level, (low, high) in enumerate(spans)]
        deficit = np.concatenate(deficits)
        if not len(self._past) and (deficit[:, 0] == 0).any():
            self._past = np.zeros_like(self._future)
        valid = np.require(frames.valid, np.bool_, _KERNEL_FLAGS)
        arguments = (
            plan.lag, plan.level_start, ends - begins, begins & 1, np.concatenate(keep), _starts(keep),
            deficit, _starts(deficits), self._history, self._total, self._G, self._past, self._future, self._saturated,
        )  # fmt: skip
        share(
            lambda begin, end: kernels.push_frames(counts, least_count(counts), valid, pixel, begin, end, *arguments),
            self.partition.n_pixels,
            at_least=1024,
        )

    def finish(self) -> Moments:
        """Moments of the frames so far."""
        plan, n_pairs = self.validity.plan, self.validity.n_pairs()
        edge, block_static = self.partition.blocks()
        sums = np.zeros((len(block_static), plan.n_delays, kernels.N_MOMENTS))
        n_pixels = np.zeros(len(block_static), np.int64)
        arguments = (
            self._slot, plan.lag, plan.level, _scale(plan, n_pairs), self._history, self._total, self._G, self._past,
            self._future, self._saturated, sums, n_pixels,
        )  # fmt: skip
        share(lambda begin, end: kernels.reduce_frames(edge, begin, end, *arguments), len(block_static))
        return Moments.of_blocks(self.validity, self.partition, sums.swapaxes(1, 2), n_pixels, block_static)


def _scale(plan: Plan, n_pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """What makes means per base frame of the sums IP and IF, (D,); 0 for a delay without pairs."""
    scale: NDArray[np.float64] = np.where(n_pairs > 0, 1.0 / np.maximum(n_pairs, 1), 0.0) / 2.0**plan.level
    return scale


class EventsCorrelator:
    """Keeps the events of analysed pixels, 8 bytes each, and walks them pixel by pixel at the end."""

    def __init__(self, plan: Plan, partition: Partition) -> None:
        self.partition = partition
        self.validity = Validity(plan)
        self._edge, self._static = partition.blocks()
        block = np.repeat(np.arange(len(self._static)), np.diff(self._edge))
        self._slot = np.full(len(partition.position), -1, np.int32)
        self._slot[partition.pixel] = block * 256 + np.arange(partition.n_pixels) - self._edge[block]
        self._packed = np.empty(0, np.uint64)
        self._n_packed = 0
        self._offsets: list[NDArray[np.int64]] = []
        self._saturated = np.zeros(partition.n_pixels, np.bool_)

    def push(self, chunk: Chunk) -> None:
        """Take the chunk that follows."""
        if isinstance(chunk, Frames):
            chunk = to_events(chunk)
        self.validity.push(chunk.begin, chunk.valid)
        frame, pixel, counts = event_columns(chunk)
        valid = np.require(chunk.valid, np.bool_, _KERNEL_FLAGS)
        n_runs = max(1, min(n_threads(), len(frame) // _RUN_EVENTS))
        cuts = [len(frame) * run // n_runs for run in range(n_runs + 1)]
        runs = [slice(low, high) for low, high in pairwise(cuts)]
        number, to = np.zeros((n_runs, len(self._static)), np.int64), np.empty(len(frame), np.int32)

        def count(begin: int, end: int) -> None:
            for run in range(begin, end):
                part = runs[run]
                kernels_events.count_events(
                    frame[part], pixel[part], counts[part], chunk.begin, valid, self._slot, self._edge,
                    self._saturated, number[run], to[part],
                )  # fmt: skip

        def pack(begin: int, end: int) -> None:
            for run in range(begin, end):
                part, cursor = runs[run], offsets[run, :-1].copy()
                kernels_events.pack_events(frame[part], counts[part], to[part], cursor, self._packed)

        share(count, n_runs)
        n_before = self._n_packed
        offsets = np.concatenate(([n_before], n_before + np.cumsum(number)))
        self._n_packed = int(offsets[-1])
        within = np.arange(n_runs)[:, None] * len(self._static) + np.arange(len(self._static) + 1)
        offsets = offsets[within]
        self._make_room(n_before)
        share(pack, n_runs)
        self._offsets += list(offsets)

    def _make_room(self, n_before: int) -> None:
        if self._n_packed <= len(self._packed):
            return
        # For the whole run, if it goes on like this. Memory that is never written costs nothing.
        whole = self.validity.plan.n_frames / self.validity.n_pushed
        room = np.empty(int(self._n_packed * (1.02 * min(whole, _MOST_AHEAD) + 0.05)) + 1, np.uint64)
        room[:n_before] = self._packed[:n_before]
        self._packed = room

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": self._packed[: self._n_packed]}

    def finish(self) -> Moments:
        """Moments of the frames so far."""
        validity, plan = self.validity, self.validity.plan
        status = [validity.status(level) for level in range(plan.n_levels)]
        invalid = [np.flatnonzero(here == 0) for here in status]
        n_pairs = validity.n_pairs()
        sums = np.zeros((len(self._static), kernels.N_MOMENTS, plan.n_delays))
        n_pixels = np.zeros(len(self._static), np.int64)
        offsets = np.array(self._offsets, np.int64).reshape(-1, len(self._static) + 1)
        scale = _scale(plan, n_pairs)
        arguments = (
            self._packed, offsets, validity.n_frames(), plan.lag, plan.level, plan.level_start, scale,
            scale / 2.0**plan.level, *_pair_levels(plan), validity.regular_below(), np.concatenate(status),
            _starts(status), np.concatenate(invalid), _starts(invalid), self._saturated, sums, n_pixels,
        )  # fmt: skip
        share(lambda begin, end: kernels_events.walk_events(self._edge, begin, end, *arguments), len(self._static))
        return Moments.of_blocks(validity, self.partition, sums, n_pixels, self._static)


def _pair_levels(plan: Plan) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint8]]:
    """How far pairs of the levels below each reach, (L + 1,), and the levels that a pair may belong to by distance.

    Frames of level l whose lag is k are more than (k - 1) 2**l and less than (k + 1) 2**l base frames apart.
    """
    levels = range(plan.n_levels)
    nearest = [(int(plan.lag[plan.level_start[level]]) - 1) << level for level in levels]
    beyond = [(int(plan.lag[plan.level_start[level + 1] - 1]) + 1) << level for level in levels]
    reach = np.maximum.accumulate([0, *beyond])
    lowest, highest = np.full(reach[-1], plan.n_levels, np.uint8), np.zeros(reach[-1], np.uint8)
    for level in levels:
        highest[nearest[level] + 1 : beyond[level]] = level
    for level in reversed(levels):
        lowest[nearest[level] + 1 : beyond[level]] = level
    return reach, lowest, highest


def make_correlator(
    plan: Plan, partition: Partition, *, occupancy: float = 1.0, device: str = "cpu", form: Form = "auto"
) -> Correlator:
    """Choose the form of the engine.

    Parameters
    ----------
    plan, partition
        What to correlate.
    occupancy
        Expected fraction of (pixel, frame) pairs with counts; few of them go the way of events.
    device
        ``cpu``: compiled kernels; ``jax``: whatever device jax has.
    form
        ``frames`` or ``events`` whatever the occupancy; ``auto`` takes the faster one. Signed counts, as floats may
        be, are correlated as frames.

    Raises
    ------
    CorrelationError
        There is no such device.
    """
    if form == "auto":
        form = "frames" if is_dense(occupancy) else "events"
    if device == "jax":
        from xpcs_assets.engine.multitau_jax import make_jax_correlator

        return make_jax_correlator(plan, partition, occupancy=1.0 if form == "frames" else 0.0)
    if device != "cpu":
        raise CorrelationError(f"there is no device {device!r}", remedy="Use cpu or jax")
    return FramesCorrelator(plan, partition) if form == "frames" else EventsCorrelator(plan, partition)


def is_dense(occupancy: float) -> bool:
    """Tell whether frames are faster than events at this fraction of pixels with counts."""
    return occupancy > _DENSE_ABOVE


def bytes_per_pixel(plan: Plan) -> int:
    """Memory that :class:`FramesCorrelator` needs for each analysed pixel, once a frame is invalid."""
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


def as_kernel_type(counts: NDArray[Any]) -> NDArray[Any]:
    """Counts as a C-ordered array of a type that kernels are compiled for: uint8, uint16, int16, int32 or float32.

    Counts beyond int32 become -1: overflowed.
    """
    if counts.dtype.kind == "f":
        return np.require(counts, np.float32, _KERNEL_FLAGS)
    if counts.dtype in (np.uint8, np.uint16, np.int16):
        return np.require(counts, None, _KERNEL_FLAGS)
    if counts.dtype.itemsize > 4 or counts.dtype == np.uint32:
        return np.where(counts.astype(np.int64) > _INT32_MAX, -1, counts).astype(np.int32)
    return np.require(counts, np.int32, _KERNEL_FLAGS)


def event_columns(events: Events) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Frame, pixel and count of events as the kernels take them, (E,) int32 each."""
    frame, pixel, count = (
        np.require(column, np.int32, _KERNEL_FLAGS) for column in (events.frame, events.pixel, events.count)
    )
    return frame, pixel, count


def least_count(counts: NDArray[np.generic]) -> float:
    """The least value that is a count: 0 for integers, any for floats, whose masked values are NaN."""
    return -np.inf if counts.dtype.kind == "f" else 0.0


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
    values = counts[row, pixel]
    values = np.where(np.isnan(values), -1, values).astype(np.int32)
    return Events(frames.begin, frames.end, row + frames.begin, pixel.astype(np.int32), values, frames.valid)


def _spread(events: Events, position: NDArray[np.int32], n_pixels: int) -> Iterator[tuple[Frames, NDArray[np.int64]]]:
    columns = np.arange(n_pixels)
    n_rows = max(1, min(kernels.FRAMES, _WINDOW_BYTES // (4 * n_pixels)))
    frame, pixel, count = event_columns(events)
    for low in range(events.begin, events.end, n_rows):
        high = min(low + n_rows, events.end)
        part = slice(*np.searchsorted(frame, (low, high)))
        counts = np.zeros((high - low, n_pixels), np.int32)
        kernels_events.spread_events(frame[part], pixel[part], count[part], low, position, counts)
        yield Frames(low, counts, events.valid[low - events.begin : high - events.begin]), columns


def _starts(parts: Sequence[NDArray[np.generic]]) -> NDArray[np.int64]:
    return np.cumsum([0, *(len(part) for part in parts)], dtype=np.int64)
