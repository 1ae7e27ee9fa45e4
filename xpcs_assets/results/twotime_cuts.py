"""Means of C along lines through a two-time map, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST_BLOCKS = 8


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
        error is too small where the width is not some ten times the correlation time.
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
    inflation = _inflation(sound[skip:])
    for row, s in zip(out, sound, strict=True):
        if s.size > 1:
            row[1] = np.sqrt(s.var(ddof=1) / s.size * inflation)
    return out


def _inflation(rows: Sequence[NDArray[np.float64]]) -> float:
    """How many neighbouring values count as one.

    By the variance of the means of ever longer blocks (Flyvbjerg and Petersen, 1989), which falls as 1 / length only
    for independent values. A slow part too small to be seen in one value beside the photon noise is found so; what
    correlates over more than an eighth of a row is not.
    """
    longest = max((len(row) for row in rows), default=0)
    single, largest, length = _variance(rows, 1), 1.0, 2
    while longest // length >= _LEAST_BLOCKS and single > 0:
        largest = max(largest, length * _variance(rows, length) / single)
        length *= 2
    return largest


def _variance(rows: Sequence[NDArray[np.float64]], length: int) -> float:
    """Variance of the means of blocks of values about the mean of their row, of all rows together."""
    total, freedom = 0.0, 0
    for row in rows:
        n_blocks = len(row) // length
        if n_blocks > 1:
            blocks = row[: n_blocks * length].reshape(n_blocks, length).mean(axis=1)
            total += float(((blocks - blocks.mean()) ** 2).sum())
            freedom += n_blocks - 1
    return total / freedom if freedom else 0.0
