"""Which of several repeats are unlike the others: by the baseline of g2, the intensity and the contrast."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.results.limits import Limits
from xpcs_assets.results.result import Result

WIDTH = 5.0
"""Half-width of the automatic limits, in standard deviations: the larger of 1.4826 x the runs' median absolute
deviation and of what their error bars say."""
LEAST_WIDTH = {"baseline": 0.01, "intensity": 0.1, "contrast": 0.02}
"""They are never closer than this."""
LEAST_RUNS = 3
"""Fewer runs do not tell which of them is the outlier."""
_FIRST_DELAYS, _LAST_DELAYS, _ENOUGH_PAIRS = 3, 5, 10


@dataclass(frozen=True, eq=False)
class Judged:
    """What was measured of each run, the limits, and why a run is left out.

    Attributes
    ----------
    baseline, intensity, contrast
        (R,) float64; the intensity as a fraction of the median. NaN where g2 is undefined.
    limits
        Those applied, automatic ones included; None where there were none.
    reasons
        One a run, empty for those used.
    """

    baseline: NDArray[np.float64]
    intensity: NDArray[np.float64]
    contrast: NDArray[np.float64]
    limits: Limits
    reasons: tuple[str, ...]

    @property
    def used(self) -> NDArray[np.bool_]:
        """(R,) bool."""
        return np.array([not reason for reason in self.reasons], np.bool_)


def judge(results: Sequence[Result], limits: Limits) -> Judged:
    """Measure the runs and hold them to the limits.

    The baseline is the mean of g2 over the last 5 delays with 10 pairs of frames or more, the contrast the mean over
    the first 3 delays less that. A run's deviation is the median over the dynamic bins of its deviation from the
    median of the runs, so that a bin without g2 does not count. Automatic limits are the median -+ 5 standard
    deviations: 1.4826 x the median absolute deviation, or what the error bars say if that is more; and at least 0.01
    (baseline), 0.02 (contrast) and 10 % (intensity). Of fewer than 3 runs none is left out automatically.
    """
    first, last, first_error, last_error = np.array([_ends(result) for result in results]).swapaxes(0, 1)
    counts = np.array([_mean(result.intensity_vs_time[1]) for result in results])
    middle = _median(counts)
    measured = {
        "baseline": _of_runs(last),
        "intensity": counts / middle if middle > 0 else np.full(len(counts), np.nan),
        "contrast": _of_runs(first - last),
    }
    noise = {"baseline": _noise(last_error), "intensity": 0.0, "contrast": _noise(np.hypot(first_error, last_error))}
    applied = {
        name: getattr(limits, name) or _automatic(name, values, noise[name]) for name, values in measured.items()
    }
    reasons = tuple(
        "; ".join(
            filter(None, (_against(name, float(values[run]), applied[name]) for name, values in measured.items()))
        )
        for run in range(len(results))
    )
    return Judged(**measured, limits=Limits(**applied), reasons=reasons)


def _ends(result: Result) -> NDArray[np.float64]:
    """(4, Nd): g2 at the first and at the last delays of each bin, and the errors of both.

    The first delays share their noise, so that the error of their mean is the mean of their errors; the last ones, far
    from each other, are taken as independent.
    """
    sound = result.n_pairs >= _ENOUGH_PAIRS
    sound = sound if sound.any() else np.ones_like(sound)
    g2, error = result.g2[sound], result.g2_error[sound]
    last = error[-_LAST_DELAYS:]
    ends = (g2[:_FIRST_DELAYS], g2[-_LAST_DELAYS:], error[:_FIRST_DELAYS], last / np.sqrt(len(last)))
    return np.stack([_nan_free(np.nanmean, each) for each in ends])


def _of_runs(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(R, Nd) -> (R,): the middle of all, and each run's median deviation from it over the bins."""
    of_bins = _nan_free(np.nanmedian, values)
    return _median(of_bins) + _nan_free(np.nanmedian, (values - of_bins).T)


def _noise(errors: NDArray[np.float64]) -> float:
    """Standard deviation of a median over bins, from the error of each run and bin; bins are independent."""
    finite = errors[np.isfinite(errors)]
    if not finite.size:
        return 0.0
    return float(np.median(finite) * np.sqrt(np.pi / 2 / max(1, finite.size / len(errors))))


def _nan_free(mean: Callable[..., Any], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean or median along the first axis of what is defined; NaN, without a warning, where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found: NDArray[np.float64] = mean(values, axis=0)
    return found


def _median(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def _mean(values: NDArray[np.floating]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean(dtype=np.float64)) if finite.size else float("nan")


def _automatic(name: str, values: NDArray[np.float64], noise: float) -> tuple[float, float] | None:
    finite = values[np.isfinite(values)]
    if finite.size < LEAST_RUNS:
        return None
    middle = float(np.median(finite))
    deviation = max(1.4826 * float(np.median(np.abs(finite - middle))), noise)
    width = max(WIDTH * deviation, LEAST_WIDTH[name])
    return middle - width, middle + width


def _against(name: str, value: float, limits: tuple[float, float] | None) -> str:
    if not np.isfinite(value):
        return f"{name} is undefined"
    if limits is None or limits[0] <= value <= limits[1]:
        return ""
    side, limit = ("below", limits[0]) if value < limits[0] else ("above", limits[1])
    return f"{name} {value:.4g} is {side} {limit:.4g}"
