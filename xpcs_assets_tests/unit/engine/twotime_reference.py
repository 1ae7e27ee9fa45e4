"""The definition of two-time correlation in plain numpy, float64: short, slow and obviously right."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def two_time(
    counts: ArrayLike, valid: ArrayLike, dynamic: ArrayLike, static: ArrayLike, bin_: int, smoothing: str = "sqmap"
) -> NDArray[np.float64]:
    """C(t1, t2) of one dynamic bin, (T, T), of (T, pixels) counts; NaN where a frame is invalid or empty."""
    counts, valid, dynamic, static = (
        np.asarray(counts, np.float64),
        np.asarray(valid),
        *map(np.ravel, (dynamic, static)),
    )
    y = counts[:, dynamic == bin_]
    of = static[dynamic == bin_]
    lit = [s for s in np.unique(of) if (y[np.asarray(valid, bool)][:, of == s].sum(axis=1) > 0).any()]
    y, of = y[:, np.isin(of, lit)], of[np.isin(of, lit)]
    if smoothing == "sqmap":
        for s in lit:
            mean = y[:, of == s].mean(axis=1)
            y[:, of == s] /= np.where(mean > 0, mean, 1)[:, None]
    total = np.where(valid & (y.sum(axis=1) > 0), y.sum(axis=1), np.nan)
    return y.shape[1] * (y @ y.T) / np.outer(total, total)


def g2_of(c2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of each diagonal from lag 0, over its defined pairs."""
    diagonals = [np.diagonal(c2, lag) for lag in range(len(c2))]
    return np.array([d[np.isfinite(d)].mean() if np.isfinite(d).any() else np.nan for d in diagonals])


def summed(counts: NDArray[np.generic], valid: NDArray[np.bool_], width: int):
    """Counts and validity of sums of ``width`` neighbouring frames."""
    n = len(counts) // width
    cut = counts[: n * width].reshape(n, width, -1)
    return cut.sum(axis=1), valid[: n * width].reshape(n, width).all(axis=1)
