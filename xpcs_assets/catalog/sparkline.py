"""g2 of a result, small enough for a row of a list: at most 64 delays of three q."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from xpcs_assets.results.g2_table import G2Table

POINTS = 64
CURVES = 3


def sparkline(result: G2Table) -> dict[str, Any]:
    """Delays in s, and g2 of the lowest, middle and highest q that has any; null where it is undefined.

    Bins without a q are taken in their order.
    """
    known = np.flatnonzero(np.isfinite(result.g2).any(axis=0))
    if known.size == 0:
        return {}
    ordered = known[np.argsort(result.q_inv_angstrom[known], kind="stable")]
    chosen = ordered[_spread(ordered.size, CURVES)]
    kept = _spread(result.delay_s.size, POINTS)
    return {
        "delay_s": [_short(value) for value in result.delay_s[kept]],
        "curves": [
            {
                "bin": int(place) + 1,
                "q_inv_angstrom": _short(result.q_inv_angstrom[place]),
                "g2": [_short(value) for value in result.g2[kept, place]],
            }
            for place in chosen
        ],
    }


def _spread(n: int, most: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """At most ``most`` places of ``n``, evenly, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None
