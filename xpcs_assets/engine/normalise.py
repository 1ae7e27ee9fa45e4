"""Moments -> g2 and its error bars, per static and per dynamic bin. Undefined is NaN here, never 0.

Per static bin s: g2_s = <G> / (<IP> <IF>), <> the mean over its pixels; per dynamic bin the plain mean over its
static bins. Both error rules take pixels as independent of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine.multitau import Moments
from xpcs_assets.runs.recipe import EmptyBins


@dataclass(frozen=True, eq=False)
class G2:
    """Normalised correlation.

    Attributes
    ----------
    g2
        (D, n_dynamic) float64, NaN where no static bin has counts.
    error
        (D, n_dynamic) float64, one standard deviation of ``g2`` by the rule ``influence``; where no static bin has two
        pixels, from the spread of the static bins' own g2; inf with a single one of those, NaN as above. Where no pair
        of counts was seen g2 is 0 and its error that of one pair, as the rule would call it exact.
    error_boost
        (D, n_dynamic) float64, spread of per-pixel g2 over sqrt(pixels), the rule of boost_corr and xpcs-eigen. Too
        small by 1.3 to 1.8 for bright slow data, far more below 2 photons a pixel and run; kept to compare.
    n_static_used
        (D, n_dynamic) int64, static bins in the mean.
    static
        (D, n_static) float64, g2 of each static bin, NaN without counts.
    n_pairs
        (D,) int64, valid pairs.
    """

    g2: NDArray[np.float64]
    error: NDArray[np.float64]
    error_boost: NDArray[np.float64]
    n_static_used: NDArray[np.int64]
    static: NDArray[np.float64]
    n_pairs: NDArray[np.int64]


def normalise(moments: Moments, empty_bins: EmptyBins = "excluded") -> G2:
    """Make g2 and both error bars.

    Parameters
    ----------
    moments
        What the engine gave.
    empty_bins
        ``excluded``: static bins without counts are left out of the mean; ``zero``: they enter as 0, as in
        boost_corr. A dynamic bin without any counts is undefined either way.
    """
    has_pixels = moments.n_pixels > 0
    n_pixels = np.where(has_pixels, moments.n_pixels, 1)[None, :]
    means = moments.sums / n_pixels[:, :, None]
    G, A, B = means[..., 0], means[..., 1], means[..., 2]
    defined = (A * B > 0) & (moments.n_pairs > 0)[:, None]
    norm = np.where(defined, A * B, 1.0)
    static = np.where(defined, G / norm, np.nan)

    to_dynamic = _Grouping(moments)
    n_defined = to_dynamic.sum(defined)
    entering = defined if empty_bins == "excluded" else np.broadcast_to(has_pixels, defined.shape)
    n_used = np.where(n_defined > 0, to_dynamic.sum(entering), 0)
    safe = np.where(n_used > 0, n_used, 1)
    g2 = np.where(n_used > 0, to_dynamic.sum(np.where(defined, static, 0.0)) / safe, np.nan)

    variance, known = _influence_variance(means, static, defined, moments.n_pixels)
    n_known = to_dynamic.sum(known)
    total = to_dynamic.sum(variance) * np.where(n_known > 0, n_defined / np.maximum(n_known, 1), 1.0)
    total = np.where(n_known > 0, total, _spread_of_static_bins(static, defined, to_dynamic))
    error = np.where(n_used > 0, np.sqrt(total) / safe, np.nan)
    seen = to_dynamic.sum(moments.sums[..., 3]) > 0
    error = np.where(seen, error, _error_without_pairs(moments, n_used, norm * defined, to_dynamic))
    return G2(
        g2=g2,
        error=error,
        error_boost=np.where(n_used > 0, _boost_error(moments, to_dynamic), np.nan),
        n_static_used=n_used.astype(np.int64),
        static=static,
        n_pairs=moments.n_pairs,
    )


def joined(parts: Sequence[G2]) -> G2:
    """One after the other along the delays."""
    names = [item.name for item in fields(G2)]
    return G2(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


class _Grouping:
    """Sums of static-bin values over each dynamic bin."""

    def __init__(self, moments: Moments) -> None:
        self._member = np.zeros((len(moments.dynamic_of_static), moments.n_dynamic))
        used = np.flatnonzero(moments.dynamic_of_static >= 0)
        self._member[used, moments.dynamic_of_static[used]] = 1.0

    def sum(self, values: NDArray[np.generic]) -> NDArray[np.float64]:
        """(D, n_static) or (n_static,) -> (D, n_dynamic) or (n_dynamic,)."""
        total: NDArray[np.float64] = values.astype(np.float64) @ self._member
        return total


def _influence_variance(
    means: NDArray[np.float64], g2: NDArray[np.float64], defined: NDArray[np.bool_], n_pixels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Variance of each static bin's g2: of the pixels' influence u over their number, and where it is known.

    u_p = G_p / (A B) - g2 (A_p / A + B_p / B - 1): the change of g2 when the pixel weighs more (delta method of the
    ratio <G> / (<A> <B>)).
    """
    safe_g2 = np.where(defined, g2, 0.0)
    G, A, B = (np.where(defined, means[..., i], 1.0) for i in range(3))

    def covariance(product: int, first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(defined, means[..., product], 1.0) - first * second

    wG, wA, wB = 1 / (A * B), -safe_g2 / A, -safe_g2 / B
    spread = (
        wG**2 * covariance(3, G, G)
        + wA**2 * covariance(6, A, A)
        + wB**2 * covariance(8, B, B)
        + 2 * (wG * wA * covariance(4, G, A) + wG * wB * covariance(5, G, B) + wA * wB * covariance(7, A, B))
    )
    known = defined & (n_pixels > 1)[None, :]
    per_mean = np.maximum(n_pixels - 1, 1)[None, :]
    return np.where(known, np.maximum(spread, 0.0) / per_mean, 0.0), known


def _spread_of_static_bins(
    g2: NDArray[np.float64], defined: NDArray[np.bool_], to_dynamic: _Grouping
) -> NDArray[np.float64]:
    """Sum of the variances of a dynamic bin's static bins, taken from how far they lie apart; inf for one alone."""
    values = np.where(defined, g2, 0.0)
    n = to_dynamic.sum(defined)
    squares = to_dynamic.sum(values**2) - to_dynamic.sum(values) ** 2 / np.maximum(n, 1)
    return np.where(n > 1, n * np.maximum(squares, 0.0) / np.maximum(n - 1, 1), np.inf)


def _error_without_pairs(
    moments: Moments, n_used: NDArray[np.float64], norm: NDArray[np.float64], to_dynamic: _Grouping
) -> NDArray[np.float64]:
    """What one pair of photons would have made of g2: 1 / (pairs that uncorrelated light would have given)."""
    expected = to_dynamic.sum(norm * moments.n_pixels) * (moments.n_pairs * 4.0**moments.plan.level)[:, None]
    return np.where(n_used > 0, 1 / np.where(expected > 0, expected, 1.0), np.nan)


def _boost_error(moments: Moments, to_dynamic: _Grouping) -> NDArray[np.float64]:
    n = to_dynamic.sum(moments.n_pixels)[None, :]
    ratio, square = to_dynamic.sum(moments.sums[..., 9]), to_dynamic.sum(moments.sums[..., 10])
    spread = np.maximum(square - ratio**2 / np.maximum(n, 1), 0.0)
    return np.where(n > 1, np.sqrt(spread / np.maximum(n - 1, 1) / np.maximum(n, 1)), np.inf)
