"""Judge whether the run changed while it was measured: intensity, shape of I(q), g2. Beam drift or radiation damage.

A change over the run is the slope of a straight line by least squares through the means of equal stretches of time, and
its variance that of the residuals: ``b = sum(x y) / sum(x^2)``, ``var b = sum(r^2) / (n - 2) / sum(x^2)``, x about its
mean (Bevington and Robinson, Data Reduction and Error Analysis, 3rd edition, chapter 6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xpcs_assets.describe.judgement import Judge, Judgement
from xpcs_assets.errors import ResultError
from xpcs_assets.readers.h5file import damage, open_hdf5

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpcs_assets.results.result import Result

_STRETCHES = 20
_FEWEST_STRETCHES = 5
_DEVIATIONS = 3.0
_TWICE_THE_NOISE = 4.0
_FEWEST_POINTS = 5
# A delay must go ten times into the part, or hardly a pair of it is independent of another.
_DELAYS_IN_PART = 10
_PARTIAL = "/xpcs/multitau/normalized_g2_partial"
_NO_PARTS = "the result has no g2 of parts of the run: set pipeline.correlate.partial_g2"


def judge_intensity_drift(judge: Judge, result: Result) -> Judgement:
    """Judge the change of the mean intensity over the run: of its mean, less three standard deviations."""
    intensity = np.asarray(result.intensity_vs_time[1], np.float64)
    blocks = [block[np.isfinite(block)] for block in np.array_split(intensity, _STRETCHES)]
    means = np.array([block.mean() if block.size else np.nan for block in blocks])
    known = np.isfinite(means)
    if np.count_nonzero(known) < _FEWEST_STRETCHES or not means[known].mean() > 0:
        return judge.not_judged("intensity_drift", "too few frames have an intensity")
    relative = means[known] / means[known].mean()
    change, deviation = _changes(_middles(means.size)[known], relative[:, None])
    beyond = max(0.0, abs(float(change[0])) - _DEVIATIONS * float(deviation[0]))
    told = f"the mean intensity changes by {change[0]:+.1%} (± {deviation[0]:.1%}) over the run: the beam drifted"
    return judge.value("intensity_drift", beyond, told)


def judge_saxs_drift(judge: Judge, result: Result) -> Judgement:
    """Judge the change of the shape of I(q) over the run.

    Each stretch's I(q) is divided by its sum over the pixels, so that the beam's own drift does not count. Of the
    relative changes of the static bins, weighed by their photons, the mean square is taken, less four times their
    variance: what is left is beyond twice the noise.
    """
    name = "saxs_drift"
    pixels = np.bincount(
        result.static_map[result.mask & (result.static_map > 0)], minlength=result.segments.shape[1] + 1
    )[1:]
    segments = np.asarray(result.segments, np.float64)
    if segments.shape[1] != pixels.size:
        return judge.not_judged(name, "the result's stretches of I(q) are not of its q-map")
    used = (pixels > 0) & np.isfinite(segments).any(axis=0)
    segments, pixels = segments[:, used], pixels[used]
    total = segments @ pixels
    lit = np.isfinite(total) & (total > 0)
    if np.count_nonzero(lit) < _FEWEST_STRETCHES:
        return judge.not_judged(name, "too few stretches of the run have an I(q)")
    shape = segments[lit] / total[lit, None]
    mean = shape.mean(axis=0)
    bright = mean > 0
    changes, deviations = _changes(_middles(lit.size)[lit], shape[:, bright] / mean[bright])
    photons = (mean * pixels)[bright]
    squares, noise = (float(np.average(values**2, weights=photons)) for values in (changes, deviations))
    beyond = float(np.sqrt(max(0.0, squares - _TWICE_THE_NOISE * noise)))
    told = f"I(q) changes its shape by {np.sqrt(squares):.1%} (noise {np.sqrt(noise):.1%}) over the run: beam damage?"
    return judge.value(name, beyond, told)


def _middles(count: int) -> NDArray[np.float64]:
    """Middles of equal stretches of a run that goes from 0 to 1."""
    return (np.arange(count) + 0.5) / count


def _changes(time: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Change of each column of ``values`` along ``time`` from 0 to 1, and its standard deviation."""
    x = time - time.mean()
    slope = x @ values / (x @ x)
    residuals = values - values.mean(axis=0) - x[:, None] * slope
    variance = (residuals**2).sum(axis=0) / (len(x) - 2) / (x @ x)
    return slope, np.sqrt(variance)


def judge_g2_drift(judge: Judge, result: Result) -> Judgement:
    """Judge g2 of the first part of the run against that of all of it: a sample that ages or is damaged.

    The part is in the whole, so the variance of their difference is the difference of their variances: the reduced
    chi^2 is the mean of ``(g2_part - g2)^2 / (error_part^2 - error^2)``, about 1 where nothing changes.
    """
    name = "g2_drift"
    if not result.g2.size:
        return judge.not_judged(name, "the result has no multi-tau g2")
    if not result.path.is_file():
        return judge.not_judged(name, _NO_PARTS)
    part = _first_part(result)
    if part is None:
        return judge.not_judged(name, _NO_PARTS)
    g2, error, frames = part
    short = result.delay_frames * _DELAYS_IN_PART <= frames
    with np.errstate(invalid="ignore", over="ignore"):
        variance = error**2 - result.g2_error**2
        squares = (g2 - result.g2) ** 2 / np.where(variance > 0, variance, np.nan)
    usable = np.isfinite(squares) & short[:, None] & (g2 > 0)
    if np.count_nonzero(usable) < _FEWEST_POINTS:
        return judge.not_judged(name, "too few points of g2 are known in the first part of the run")
    chi_squared = float(squares[usable].mean())
    told = f"g2 of the first {frames} frames is not that of the run (reduced chi^2 {chi_squared:.3g}): ageing or damage"
    return judge.value(name, chi_squared, told)


def _first_part(result: Result) -> tuple[NDArray[np.float64], NDArray[np.float64], int] | None:
    """g2 of the first part of the run, its error, and how many frames it has; None where the file has no parts."""
    remedy = "Correlate the run again"
    where = result.path
    with open_hdf5(where, ResultError, remedy) as file, damage(where, "it cannot be read", ResultError, remedy):
        if any(f"{_PARTIAL}{end}" not in file for end in ("", "_err", "_labels")):
            return None
        frames = np.asarray(file[f"{_PARTIAL}_labels"][()]).reshape(-1)
        g2, error = (np.asarray(file[f"{_PARTIAL}{end}"], np.float64) for end in ("", "_err"))
    if not frames.size or frames[0] <= 0 or g2.shape != (frames.size, *result.g2.shape) or error.shape != g2.shape:
        return None
    return g2[0], error[0], int(frames[0])
