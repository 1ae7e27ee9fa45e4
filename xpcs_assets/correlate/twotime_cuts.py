"""Means of C along lines through a two-time map, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Cuts:
    """Means of C along lines through a map, A lines, K lags.

    Attributes
    ----------
    at_s
        (A,) float64, age or t1 in the middle of each line, s.
    width_s
        Width of a line, s.
    lag_s
        (K,) float64, s.
    g2, error
        (A, K) float64, NaN where undefined. The error is that of the mean over the line's width. Neighbouring values
        of C are not independent; how far is taken from the values themselves, of all lags together, so that the
        error is too small where the width is not long against the correlation time.
    n_pairs
        (A, K) int64, values of C in each mean.
    """

    at_s: NDArray[np.float64]
    width_s: float
    lag_s: NDArray[np.float64]
    g2: NDArray[np.float64]
    error: NDArray[np.float64]
    n_pairs: NDArray[np.int64]


def window(
    values: NDArray[np.float64], first_s: float, step_s: float, centre_s: float, width_s: float
) -> NDArray[np.float64]:
    """The values within a width (at least one step) around a time; value i is at ``first_s + i step_s``."""
    half = max(width_s, step_s) / 2
    low = int(np.ceil((centre_s - half - first_s) / step_s - 1e-9))
    high = int(np.ceil((centre_s + half - first_s) / step_s - 1e-9))
    return values[max(low, 0) : max(high, 0)]


def means(windows: Sequence[NDArray[np.float64]], skip: int) -> NDArray[np.float64]:
    """Mean, error and number of the finite values of each window, (windows, 3); the first ``skip`` tell no spread."""
    sound = [one[np.isfinite(one)] for one in windows]
    out = np.array([(s.mean() if s.size else np.nan, np.nan, s.size) for s in sound]).reshape(-1, 3)
    inflation = _inflation([s - s.mean() for s in sound[skip:] if s.size > 2])
    for row, s in zip(out, sound, strict=True):
        if s.size > 1:
            row[1] = np.sqrt(s.var(ddof=1) / s.size * inflation)
    return out


def _inflation(residuals: Sequence[NDArray[np.float64]]) -> float:
    """Values that count as one: 1 + 2 sum of the autocorrelation, of all rows together, up to where it ends."""
    power = sum(float(row @ row) for row in residuals)
    n_values = sum(len(row) for row in residuals)
    longest = max((len(row) for row in residuals), default=0)
    inflation = 1.0
    for distance in range(1, longest // 2):
        pairs = [(row[:-distance], row[distance:]) for row in residuals if len(row) > distance]
        covariance = sum(float(early @ late) for early, late in pairs) / sum(len(early) for early, _ in pairs)
        correlation = covariance / (power / n_values) if power > 0 else 0.0
        if correlation <= 0:
            break
        inflation += 2 * (1 - distance / longest) * correlation
    return inflation
