"""What the tests of two-time laws share: a map's noise is too large to compare points."""

from __future__ import annotations

import numpy as np


def in_blocks(upper: np.ndarray, width: int = 30) -> np.ndarray:
    """Means over blocks of a map, of what is above its diagonal."""
    part = np.triu(np.ones_like(upper), 1)
    sums, n = (
        map_.reshape(len(map_) // width, width, -1, width).sum(axis=(1, 3)) for map_ in (np.triu(upper, 1), part)
    )
    return sums[n > 0] / n[n > 0]
