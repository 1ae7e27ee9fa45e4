"""Pixels that do not belong: hot ones that leaked into the mask, and silent ones. Compared within static bins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpcs_assets.results.result import Result

# Mean intensities of sound pixels scatter by photon statistics and, in slow samples, by speckle, both of which the
# bin's own spread shows. Fully coherent static speckle is exponential: 15 robust deviations are passed once in 1e5.
_DEVIATIONS = 15.0
_TO_DEVIATION = 1.4826  # median absolute deviation -> standard deviation of a normal distribution
_TRIMMED = 0.95
_REACH_PIXELS = 2
# A sound pixel with this many expected counts is silent once in 5e8.
_EXPECTED_COUNTS = 20.0


def count_hot(result: Result) -> int:
    """How many analysed pixels are far brighter than the others of their static bin, and than those around them.

    The bin alone does not tell: across the edge of a bright ring one bin may hold a tenfold rise.
    """
    analysed = _analysed(result)
    means = np.where(analysed, result.scattering_2d, np.nan).astype(np.float64)
    frames = max(1, result.intensity_vs_time.shape[1])
    hot = 0
    for bin_ in _static_bins(result.static_map, analysed):
        values = means.flat[bin_]
        centre = _trimmed_mean(values)
        spread = _TO_DEVIATION * float(np.median(np.abs(values - np.median(values))))
        suspects = bin_[values > centre + _DEVIATIONS * max(spread, _photon_noise(centre, frames))]
        hot += sum(_outshines_its_neighbours(means, int(pixel), frames) for pixel in suspects)
    return hot


def count_silent(result: Result) -> int:
    """How many analysed pixels have no count though their static bin makes one expect many."""
    analysed = _analysed(result)
    frames = result.intensity_vs_time.shape[1]
    silent = 0
    for bin_ in _static_bins(result.static_map, analysed):
        values = np.asarray(result.scattering_2d.flat[bin_], dtype=np.float64)
        if _trimmed_mean(values) * frames >= _EXPECTED_COUNTS:
            silent += int(np.count_nonzero(values <= 0))
    return silent


def _analysed(result: Result) -> NDArray[np.bool_]:
    analysed: NDArray[np.bool_] = result.mask & (result.static_map > 0) & np.isfinite(result.scattering_2d)
    return analysed


def _static_bins(static_map: NDArray[np.int32], analysed: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Flat indices of the analysed pixels, a static bin each."""
    pixels = np.flatnonzero(analysed)
    if pixels.size == 0:
        return []
    bins = static_map.flat[pixels]
    by_bin = np.argsort(bins, kind="stable")
    return np.split(pixels[by_bin], np.flatnonzero(np.diff(bins[by_bin])) + 1)


def _outshines_its_neighbours(means: NDArray[np.float64], pixel: int, frames: int) -> bool:
    """Whether a pixel is far above the upper quartile of the analysed pixels in the 5 x 5 square around it.

    On the bright side of an edge nearly half of them are bright, beside a hot column a sixth.
    """
    row, column = divmod(pixel, means.shape[1])
    top, left = max(0, row - _REACH_PIXELS), max(0, column - _REACH_PIXELS)
    square = means[top : row + _REACH_PIXELS + 1, left : column + _REACH_PIXELS + 1].copy()
    square[row - top, column - left] = np.nan
    neighbours = square[np.isfinite(square)]
    if neighbours.size == 0:
        return True
    upper = float(np.percentile(neighbours, 75))
    return bool(means.flat[pixel] > upper + _DEVIATIONS * _photon_noise(upper, frames))


def _photon_noise(mean: float, frames: int) -> float:
    """Standard deviation of a pixel's mean over ``frames`` by counting alone, at least that of one photon."""
    return float(np.sqrt(max(mean, 1 / frames) / frames))


def _trimmed_mean(values: NDArray[np.float64]) -> float:
    """Mean without the brightest twentieth: the pixels that are asked about must not set the limit."""
    return float(np.sort(values)[: max(1, int(_TRIMMED * values.size))].mean())
