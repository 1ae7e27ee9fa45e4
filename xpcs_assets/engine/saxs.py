"""Means of the scattering: 2-D, 1-D on static bins, in time segments, and the intensity of each frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine import kernels_sums
from xpcs_assets.engine.multitau import as_kernel_type, event_columns, least_count
from xpcs_assets.engine.partition import Partition
from xpcs_assets.engine.select import cut
from xpcs_assets.engine.threads import n_threads, share
from xpcs_assets.readers.series import Chunk, Events, Frames

N_SEGMENTS = 10


@dataclass(frozen=True, eq=False)
class Scattering:
    """Mean counts per pixel and recorded frame; NaN where nothing was measured.

    Attributes
    ----------
    pattern
        (rows, columns) float64, every pixel of the detector.
    static
        (n_static,) float64, mean over each static bin.
    segments
        (S, n_static) float64, the same in S equal stretches of time, true means.
    intensity
        (N,) float64, mean over the analysed pixels of each analysed frame.
    """

    pattern: NDArray[np.float64]
    static: NDArray[np.float64]
    segments: NDArray[np.float64]
    intensity: NDArray[np.float64]


class ScatteringSums:
    """Adds up chunks in analysed time, beside the correlation.

    A pixel with a masked or overflowed count in any valid frame is left out of all means but the intensity's, which
    counts it as 0 in that frame. Memory: 10 bytes a detector pixel, with events 8 more for each thread, and 80 an
    analysed one.

    Parameters
    ----------
    partition
        All bins of the q-map, whichever are correlated.
    n_frames
        Analysed frames.
    average
        Recorded frames summed in each.
    """

    def __init__(self, partition: Partition, n_frames: int, average: int = 1) -> None:
        self.partition = partition
        self.average = average
        n_segments = min(N_SEGMENTS, n_frames)
        self._edges = [n_frames * s // n_segments for s in range(n_segments + 1)]
        n_pixels = partition.shape[0] * partition.shape[1]
        self._inside = (partition.position >= 0).astype(np.uint8)
        self._total = np.zeros(n_pixels)
        # Events come in any order of pixels: each thread has sums of its own.
        self._of_events = np.zeros((0, n_pixels))
        self._saturated = np.zeros(len(self._total), np.bool_)
        self._intensity = np.full(n_frames, np.nan)
        self._valid = np.zeros(n_frames, np.bool_)
        self._until_edge: list[NDArray[np.float64]] = []

    def push(self, chunk: Chunk) -> None:
        """Take the chunk that follows."""
        for piece in cut(chunk, self._edges):
            self._add(piece)
            if piece.end == self._edges[len(self._until_edge) + 1]:
                self._until_edge.append(self._totals()[self.partition.pixel])

    def _add(self, chunk: Chunk) -> None:
        frames, valid = slice(chunk.begin, chunk.end), np.require(chunk.valid, np.bool_, ("C", "W"))
        intensity = self._add_events(chunk, valid) if isinstance(chunk, Events) else self._add_frames(chunk, valid)
        self._valid[frames] = valid
        self._intensity[frames] = np.where(valid, intensity, np.nan)

    def _add_events(self, chunk: Events, valid: NDArray[np.bool_]) -> NDArray[np.float64]:
        if not len(self._of_events):
            self._of_events = np.zeros((n_threads(), len(self._total)))
        (frame, pixel, count), n_runs = event_columns(chunk), len(self._of_events)
        cuts = [len(frame) * run // n_runs for run in range(n_runs + 1)]
        intensity = np.zeros((n_runs, len(valid)))

        def add(begin: int, end: int) -> None:
            for run in range(begin, end):
                part = slice(cuts[run], cuts[run + 1])
                kernels_sums.sum_events(
                    frame[part], pixel[part], count[part], chunk.begin, valid, self._inside, self._of_events[run],
                    self._saturated, intensity[run],
                )  # fmt: skip

        share(add, n_runs)
        total: NDArray[np.float64] = intensity.sum(axis=0)
        return total

    def _add_frames(self, chunk: Frames, valid: NDArray[np.bool_]) -> NDArray[np.float64]:
        counts = as_kernel_type(chunk.counts)
        parts: list[tuple[int, NDArray[np.float64]]] = []

        def add(begin: int, end: int) -> None:
            intensity = np.zeros(len(valid))
            kernels_sums.sum_frames(
                counts, least_count(counts), valid, self._inside, begin, end, self._total, self._saturated, intensity
            )
            parts.append((begin, intensity))

        share(add, len(self._total), at_least=1 << 14)
        # In order of pixels, so that the sum does not depend on which thread was first.
        total: NDArray[np.float64] = np.sum(
            [intensity for _, intensity in sorted(parts, key=lambda part: part[0])], axis=0
        )
        return total

    def _totals(self) -> NDArray[np.float64]:
        totals: NDArray[np.float64] = self._total + self._of_events.sum(axis=0)
        return totals

    def finish(self) -> Scattering:
        """Means of the frames so far."""
        partition, total = self.partition, self._totals()
        good = ~self._saturated[partition.pixel]
        static = partition.static[good]
        n_pixels = np.bincount(static, minlength=partition.n_static)

        def per_bin(totals: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.bincount(static, totals[good], partition.n_static).astype(np.float64)

        until = [*self._until_edge]
        if len(until) < len(self._edges) - 1:
            until.append(total[partition.pixel])
        segments = np.full((len(self._edges) - 1, partition.n_static), np.nan)
        before = np.zeros(partition.n_static)
        for s, after in enumerate(map(per_bin, until)):
            n_frames = self._measured(slice(self._edges[s], self._edges[s + 1]))
            segments[s], before = _ratio(after - before, n_pixels * n_frames), after
        n_frames = self._measured(slice(None))
        pattern = _ratio(np.where(self._saturated, np.nan, total), n_frames)
        return Scattering(
            pattern=pattern.reshape(partition.shape),
            static=_ratio(per_bin(total[partition.pixel]), n_pixels * n_frames),
            segments=segments,
            intensity=self._intensity / (partition.n_pixels * self.average),
        )

    def _measured(self, frames: slice) -> int:
        """Valid recorded frames in a stretch of analysed ones."""
        return int(np.count_nonzero(self._valid[frames])) * self.average


def _ratio(sums: NDArray[np.float64], numbers: NDArray[np.int64] | int) -> NDArray[np.float64]:
    n = np.broadcast_to(np.asarray(numbers, np.float64), sums.shape)
    ratio: NDArray[np.float64] = np.divide(sums, n, out=np.full(sums.shape, np.nan), where=n > 0)
    return ratio
