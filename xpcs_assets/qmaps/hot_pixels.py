"""What the detector saw in the first frames of a run, and which of its pixels are hot or see nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import QmapError
from xpcs_assets.qmaps.qpartition import QPartition
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.readers.series import Chunk, Events

MANY_SIGMA = 20.0
"""A frozen, fully coherent speckle pattern stays below this in a million pixels; a hot pixel is far above."""

_PARTS = 4
_ENOUGH_PIXELS = 64
# A pixel that expects as many photons sees none once in 10^10.
_SURELY_LIT = 25.0
_NEAR = 3
# Three of ten neighbours of a pixel at the corner of a lit region are lit, one of six around a block of 3 x 3 is hot.
_UPPER_QUARTILE = 75.0
# The median of |x - median| of a normal distribution, in standard deviations, inverted.
_SIGMA_OF_MAD = 1.4826


@dataclass(frozen=True)
class Pattern:
    """Counts of the first frames.

    Attributes
    ----------
    totals
        (4, rows, cols) float64, counts in each quarter of the frames.
    n_frames
        Frames read.
    masked
        (rows, cols) bool, bad pixels and gaps of the detector's own mask, and pixels masked or overflowed in every
        frame.
    """

    totals: NDArray[np.float64]
    n_frames: int
    masked: NDArray[np.bool_]

    @property
    def mean(self) -> NDArray[np.float64]:
        """(rows, cols) mean counts a pixel and frame; NaN where masked."""
        return np.where(self.masked, np.nan, self.totals.sum(axis=0) / self.n_frames)


def read_pattern(path: Path, max_frames: int) -> Pattern:
    """Add up the first frames of a raw file.

    Raises
    ------
    RawDataError
        The file cannot be read.
    QmapError
        It holds fewer than four frames.
    """
    with open_raw(path) as series:
        n_frames = min(max_frames, series.info.n_recorded)
        if n_frames < _PARTS:
            what = f"{n_frames} frames are too few to tell hot pixels"
            raise QmapError(what, where=path, remedy=f"Take {_PARTS} frames or more")
        size = series.info.shape[0] * series.info.shape[1]
        totals, n_masked = np.zeros((_PARTS, size)), np.zeros(size, np.int64)
        edges = np.linspace(0, n_frames, _PARTS + 1).astype(np.int64)
        for part, (begin, end) in enumerate(pairwise(edges.tolist())):
            for chunk in series.chunks(begin, end):
                counts, masked = _summed(chunk, size)
                totals[part] += counts
                n_masked += masked
    shape, good = series.info.shape, series.info.good_pixels
    masked = (n_masked == n_frames).reshape(shape)
    return Pattern(totals.reshape(_PARTS, *shape), n_frames, masked if good is None else masked | ~good)


def _summed(chunk: Chunk, size: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Counts of each pixel, and in how many frames it was masked."""
    if isinstance(chunk, Events):
        good = chunk.count >= 0
        n_masked = np.bincount(chunk.pixel[~good], minlength=size).astype(np.int64)
        return np.bincount(chunk.pixel[good], chunk.count[good], minlength=size).astype(np.float64), n_masked
    counts: NDArray[Any] = chunk.counts
    masked = counts < 0 if counts.dtype.kind in "iu" else np.isnan(counts)
    return np.where(masked, 0, counts).sum(axis=0, dtype=np.float64), masked.sum(axis=0, dtype=np.int64)


def hot_pixels(pattern: Pattern, partition: QPartition, sigma: float = MANY_SIGMA) -> NDArray[np.int64]:
    """Flat indices, ascending, of the pixels of a map that count far more than their bin and surroundings, always.

    A pixel is hot if its counts exceed the median of its static bin (its dynamic bin, where static bins are small)
    by ``sigma`` standard deviations, and each quarter of the frames has at least half its share of the excess: a
    cosmic ray or a passing speckle is no hot pixel. The standard deviation is 1.48 times the median deviation
    within the bin, which speckle and a slope of intensity enter, and no less than that of the counted photons.
    It must exceed a quarter of the pixels within three rows and columns as well: where a shadow lies over most of
    a bin, what it leaves lit is not hot.

    Parameters
    ----------
    pattern
        What the detector saw.
    partition
        The map whose pixels are looked at.
    sigma
        How far above the median is hot.

    Raises
    ------
    QmapError
        The pattern is of another detector.
    """
    found = _of_each_bin(pattern, partition, lambda parts: _hot(parts, sigma))
    alone = _exceeds_its_surroundings(np.where(pattern.masked, np.nan, pattern.totals.sum(axis=0)), found, sigma)
    return found[alone]


def silent_pixels(pattern: Pattern, partition: QPartition) -> NDArray[np.int64]:
    """Flat indices, ascending, of the pixels of a map that never counted though their bin's median is 25 or more.

    These are dead pixels, or lie in the shadow of a beamstop.

    Raises
    ------
    QmapError
        The pattern is of another detector.
    """
    return _of_each_bin(pattern, partition, _silent)


def _of_each_bin(
    pattern: Pattern, partition: QPartition, rule: Callable[[NDArray[np.float64]], NDArray[np.bool_]]
) -> NDArray[np.int64]:
    """The pixels that ``rule`` names, which is given the counts of one bin's pixels, (4, pixels)."""
    if pattern.masked.shape != partition.shape:
        what = f"the raw data are {pattern.masked.shape} pixels, the q-map {partition.shape}"
        raise QmapError(what, remedy="Give the raw file of this detector")
    used = np.flatnonzero(partition.mask)
    small = used.size < _ENOUGH_PIXELS * partition.n_static
    bins = (partition.dynamic if small else partition.static).ravel()[used]
    order = used[np.argsort(bins, kind="stable")]
    edges = np.cumsum(np.bincount(bins)[1:])[:-1]
    parts = pattern.totals.reshape(_PARTS, -1)
    found = [members[rule(parts[:, members])] for members in np.split(order, edges)]
    return np.sort(np.concatenate(found)).astype(np.int64)


def _silent(parts: NDArray[np.float64]) -> NDArray[np.bool_]:
    counts = parts.sum(axis=0)
    return np.asarray((counts == 0) & (float(np.median(counts)) >= _SURELY_LIT))


def _hot(parts: NDArray[np.float64], sigma: float) -> NDArray[np.bool_]:
    """Which pixels of one bin are hot; ``parts`` is (4, pixels)."""
    counts = parts.sum(axis=0)
    median = float(np.median(counts))
    spread = _SIGMA_OF_MAD * float(np.median(np.abs(counts - median)))
    excess = counts - median
    steady = (parts - median / _PARTS >= excess / (2 * _PARTS)).all(axis=0)
    return np.asarray((excess > sigma * max(spread, np.sqrt(max(median, 1.0)))) & steady)


def _exceeds_its_surroundings(
    counts: NDArray[np.float64], pixels: NDArray[np.int64], sigma: float
) -> NDArray[np.bool_]:
    """Which of the pixels stand above the upper quartile of their neighbours; NaN in (rows, cols) is no neighbour."""
    if not pixels.size:
        return np.zeros(0, np.bool_)
    padded = np.pad(counts, _NEAR, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * _NEAR + 1, 2 * _NEAR + 1))
    near = windows[np.unravel_index(pixels, counts.shape)].reshape(pixels.size, -1)
    quartile = np.nanpercentile(near, _UPPER_QUARTILE, axis=1)
    return np.asarray(counts.reshape(-1)[pixels] - quartile > sigma * np.sqrt(np.maximum(quartile, 1.0)))
