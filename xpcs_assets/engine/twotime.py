"""Two-time correlation: chunks of counts -> C(t1, t2) of each chosen dynamic bin, and g2 from its diagonals.

The definition is in ``twotime_products``. Series of up to :data:`WHOLE_FRAMES` frames give the whole map. Longer ones
give a multi-tau map: frames summed in pairs, level by level, lags up to :data:`LAGS` of each level, so that times near
the diagonal keep their resolution and memory grows with the frames, not with their square; and a map of summed frames
for the eye.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine import stop
from xpcs_assets.engine import twotime_loops as loops
from xpcs_assets.engine.blas import one_thread_a_product
from xpcs_assets.engine.partition import Partition
from xpcs_assets.engine.twotime_counts import Blocks, EventCounts, FrameCounts, Series
from xpcs_assets.engine.twotime_products import Band, Norm, WholeMap
from xpcs_assets.errors import CorrelationError
from xpcs_assets.readers.series import Chunk, Events
from xpcs_assets.runs.recipe import EmptyBins, Smoothing

WHOLE_FRAMES = 20_000
"""Most frames of a whole map; more make a multi-tau one."""
MAP_FRAMES = 2048
"""Most (summed) frames of the map that goes with a multi-tau one."""
LAGS = 64
"""Lags of level 0, from 0; the others have the upper half of these, in their own frames."""
FEW_COUNTS = 3
"""Counts of a static bin and frame below which its mean is too noisy to divide by."""
N_SEGMENTS = 5
"""Stretches of the run that get a g2 of their own."""


@dataclass(frozen=True, eq=False)
class TwoTimeLevel:
    """C near the diagonal, of frames that are sums of ``width`` analysed ones. K lags, M frames, nb bins.

    Attributes
    ----------
    width
        Analysed frames in one frame of this level.
    first_lag
        Lag of the first column, in frames of this level.
    c2
        (nb, M, K) float32, C of frame i with frame i + first_lag + k; NaN where undefined.
    g2, error
        (K, nb) float64, mean over the frames, and its error.
    n_pairs
        (K, nb) int64.
    """

    width: int
    first_lag: int
    c2: NDArray[np.float32]
    g2: NDArray[np.float64]
    error: NDArray[np.float64]
    n_pairs: NDArray[np.int64]

    def __add__(self, other: TwoTimeLevel) -> TwoTimeLevel:
        """Join further bins."""
        return replace(
            self,
            c2=np.concatenate((self.c2, other.c2)),
            g2=np.hstack((self.g2, other.g2)),
            error=np.hstack((self.error, other.error)),
            n_pairs=np.hstack((self.n_pairs, other.n_pairs)),
        )


@dataclass(frozen=True, eq=False)
class TwoTime:
    """Two-time correlation of nb dynamic bins over M frames of the map.

    Lag 0, the diagonal, holds the shot noise of the counts with themselves: it is no correlation of the sample.

    Attributes
    ----------
    bins
        (nb,) int64, dynamic bins from 1, rising.
    width
        Analysed frames in one frame of the maps; 1 unless the map is multi-tau.
    maps
        nb x (M, M) float32, upper triangle with the diagonal; NaN where a frame is undefined, 0 below.
    defined
        (nb, M) bool: valid frames with a positive sum over the bin.
    g2, error
        (M, nb) float64: mean of each diagonal from lag 0, and its error from the spread of the static bins; NaN without
        a pair, error inf with a single static bin.
    n_pairs
        (M, nb) int64, pairs in each mean.
    segments
        (M // 5, 5, nb) float64, g2 of five stretches of the run.
    levels
        Of a multi-tau map, finest first; empty for a whole map.
    n_saturated
        Pixels left out because a valid frame held a masked or overflowed count there.
    smoothing
        ``sqmap`` or ``none``.
    counts
        (nb,) float64, mean counts of a static bin in an analysed frame.
    """

    bins: NDArray[np.int64]
    width: int
    maps: tuple[NDArray[np.float32], ...]
    defined: NDArray[np.bool_]
    g2: NDArray[np.float64]
    error: NDArray[np.float64]
    n_pairs: NDArray[np.int64]
    segments: NDArray[np.float64]
    levels: tuple[TwoTimeLevel, ...]
    n_saturated: int
    smoothing: Smoothing
    counts: NDArray[np.float64]

    def flags(self) -> list[str]:
        """What somebody should know of these maps, as sentences."""
        few = self.bins[self.counts < FEW_COUNTS]
        if self.smoothing == "none" or not few.size:
            return []
        named = ", ".join(map(str, few[:8])) + (", ..." if few.size > 8 else "")
        return [
            f"two-time smoothing divides by the mean of {self.counts.min():.2g} counts a static bin and frame: below "
            f"{FEW_COUNTS} that adds noise, and --smooth none is advised (bins {named})"
        ]

    def __add__(self, other: TwoTime) -> TwoTime:
        """Join further bins of the same frames."""
        return replace(
            self,
            bins=np.concatenate((self.bins, other.bins)),
            maps=self.maps + other.maps,
            defined=np.concatenate((self.defined, other.defined)),
            counts=np.concatenate((self.counts, other.counts)),
            n_saturated=self.n_saturated + other.n_saturated,
            levels=tuple(ours + theirs for ours, theirs in zip(self.levels, other.levels, strict=True)),
            segments=np.concatenate((self.segments, other.segments), axis=-1),
            g2=np.hstack((self.g2, other.g2)),
            error=np.hstack((self.error, other.error)),
            n_pairs=np.hstack((self.n_pairs, other.n_pairs)),
        )


class TwotimeCorrelator:
    """Gathers the counts of the chosen bins, and makes their maps at the end.

    Memory: see :func:`xpcs_assets.engine.twotime_passes.bytes_needed`.

    Parameters
    ----------
    partition
        The analysed pixels.
    n_frames
        Analysed frames, N.
    smoothing
        ``sqmap`` or ``none``; ``none`` is advised below 3 photons a static bin and frame.
    bins
        Dynamic bins, from 1; empty is all that have pixels.
    empty_bins
        Whether static bins without any count are left out of N_q, or counted as boost_corr does.
    whole_frames
        More frames than this make a multi-tau map.
    device
        ``cpu``, or ``jax``: products of dense counts on whatever device jax has.

    Raises
    ------
    CorrelationError
        There are fewer than 2 frames, or a bin has no pixels.
    """

    def __init__(
        self,
        partition: Partition,
        n_frames: int,
        smoothing: Smoothing = "sqmap",
        *,
        bins: Sequence[int] = (),
        empty_bins: EmptyBins = "excluded",
        whole_frames: int = WHOLE_FRAMES,
        device: str = "cpu",
    ) -> None:
        if n_frames < 2:
            raise CorrelationError(f"{n_frames} frames make no pair", remedy="Correlate at least 2 frames")
        self.bins = chosen_bins(partition, bins)
        self.n_frames = n_frames
        self._smoothing: Smoothing = smoothing
        self._empty_bins: EmptyBins = empty_bins
        self._whole = n_frames <= whole_frames
        self._device = device
        self._blocks = Blocks.of(partition, self.bins, n_frames)
        self._counts: FrameCounts | EventCounts | None = None
        self._valid = np.zeros(n_frames, np.bool_)
        self._n_pushed = 0

    def push(self, chunk: Chunk) -> None:
        """Take the chunk that follows; its frames are numbered in analysed time, from 0.

        Raises
        ------
        CorrelationError
            It does not follow the one before.
        """
        if chunk.begin != self._n_pushed or chunk.end > self.n_frames:
            raise CorrelationError(
                f"frames {chunk.begin} to {chunk.end} were pushed where {self._n_pushed} was next of {self.n_frames}",
                remedy="Push every frame once and in order",
            )
        if self._counts is None:
            kind = EventCounts if isinstance(chunk, Events) else FrameCounts
            self._counts = kind(self._blocks, self.n_frames)
        self._counts.push(chunk)
        self._valid[chunk.begin : chunk.end] = chunk.valid
        self._n_pushed = chunk.end

    def finish(self) -> TwoTime:
        """Make the maps. Frames that were not pushed are undefined; nothing is pushed afterwards.

        Raises
        ------
        CorrelationError
            Fewer than 2 frames are valid.
        """
        n_valid = int(np.count_nonzero(self._valid))
        if self._counts is None or n_valid < 2:
            raise CorrelationError(f"{n_valid} valid frames make no pair", remedy="Check which frames are left out")
        self._counts.seal()
        with one_thread_a_product():
            parts = [self._bin(self._counts, bin_) for bin_ in self.bins]
        joined = parts[0]
        for part in parts[1:]:
            joined += part
        return replace(joined, n_saturated=int(np.count_nonzero(self._counts.saturated)))

    def _bin(self, counts: FrameCounts | EventCounts, bin_: int) -> TwoTime:
        blocks = np.flatnonzero(self._blocks.dynamic == bin_ - 1)
        n_pixels, static = counts.n_pixels[blocks], self._blocks.static[blocks]
        norms = [
            Norm.of(sums, n_pixels, static, valid, self._smoothing, self._empty_bins)
            for sums, valid in self._levels(counts.sums[blocks])
        ]
        n_static = len(norms[0].weight)
        bands = [] if self._whole else _bands(self.n_frames, n_static)
        shown = len(norms) - 1 if self._whole else _shown_level(self.n_frames)
        whole = WholeMap(self.n_frames >> shown, n_static, self._device)
        for number, block in enumerate(blocks):
            stop.check()
            series: Series = counts.series(int(block))
            for level, norm in enumerate(norms):
                if level:
                    series = series.halved()
                for target in ([whole] if level == shown else []) + bands[level : level + 1]:
                    target.add(series, norm, number)
        return self._result(bin_, norms, bands, whole, shown)

    def _levels(self, sums: NDArray[np.float64]) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
        """Sums of the blocks and validity, level by level; a frame with an invalid member is invalid."""
        valid = self._valid
        yield sums, valid
        for _ in range(0 if self._whole else _n_levels(self.n_frames) - 1):
            even = len(valid) // 2 * 2
            sums, valid = sums[:, :even:2] + sums[:, 1:even:2], valid[:even:2] & valid[1:even:2]
            yield sums, valid

    def _result(self, bin_: int, norms: list[Norm], bands: list[Band], whole: WholeMap, shown: int) -> TwoTime:
        norm = norms[shown]
        c2 = whole.finished(norm.defined)
        g2, error, n_pairs = norm.diagonal_means(whole.diagonals, 0)
        width = len(c2) // N_SEGMENTS
        segments = np.empty((N_SEGMENTS, width))
        for number, segment in enumerate(segments):
            loops.diagonal_means(c2, norm.defined, number * width, (number + 1) * width, segment)
        return TwoTime(
            bins=np.array([bin_], np.int64),
            width=1 << shown,
            maps=(c2,),
            defined=norm.defined[None],
            g2=g2[:, None],
            error=error[:, None],
            n_pairs=n_pairs[:, None],
            segments=segments.T[:, :, None],
            levels=tuple(_level(level, norms[level], band) for level, band in enumerate(bands)),
            n_saturated=0,
            smoothing=self._smoothing,
            counts=np.array([norms[0].counts]),
        )


def chosen_bins(partition: Partition, bins: Sequence[int] = ()) -> tuple[int, ...]:
    """The dynamic bins to map, from 1, rising.

    Raises
    ------
    CorrelationError
        One of ``bins`` has no pixels.
    """
    there = np.unique(partition.dynamic_of_static[partition.static]) + 1
    missing = np.setdiff1d(bins, there)
    if missing.size:
        raise CorrelationError(
            f"dynamic bin {int(missing[0])} is chosen for two-time and has no pixels",
            remedy=f"Choose among {', '.join(map(str, there[:8]))}{', ...' if len(there) > 8 else ''}",
        )
    return tuple(sorted(set(bins))) if bins else tuple(there.tolist())


def _n_levels(n_frames: int) -> int:
    """Levels that have a pair at the first lag of theirs; at least those down to the map's."""
    levels = 1
    while n_frames >> levels > LAGS // 2:
        levels += 1
    return max(levels, _shown_level(n_frames) + 1)


def _shown_level(n_frames: int) -> int:
    level = 0
    while n_frames >> level > MAP_FRAMES:
        level += 1
    return level


def _bands(n_frames: int, n_static: int) -> list[Band]:
    return [
        Band(n_frames >> level, LAGS // 2 if level else 0, LAGS // 2 if level else LAGS, n_static)
        for level in range(_n_levels(n_frames))
    ]


def _level(level: int, norm: Norm, band: Band) -> TwoTimeLevel:
    g2, error, n_pairs = norm.diagonal_means(band.diagonals, band.first_lag)
    c2 = band.finished(norm.defined)
    return TwoTimeLevel(1 << level, band.first_lag, c2[None], g2[:, None], error[:, None], n_pairs[:, None])
