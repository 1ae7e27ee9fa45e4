"""The compiled loops that add up counts per pixel and per frame, for the means of the scattering."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.compiled import compiled, reordered

F64: TypeAlias = NDArray[np.float64]
I32: TypeAlias = NDArray[np.int32]
U8: TypeAlias = NDArray[np.uint8]
Bool: TypeAlias = NDArray[np.bool_]

_TILE = 2048


@reordered
def _add_row(row: Any, lowest: float, inside: U8, begin: int, end: int, total: F64, bad: Bool) -> float:
    """Add a frame's pixels [begin, end) to ``total``; return the sum of those inside."""
    inner = 0.0
    for p in range(np.uint64(begin), np.uint64(end)):
        value = float(row[p])
        good = value >= lowest
        value = value if good else 0.0
        bad[p] |= not good
        total[p] += value
        inner += value * inside[p]
    return inner


@compiled
def sum_frames(
    counts: Any,
    lowest: float,
    valid: Bool,
    inside: U8,
    begin: int,
    end: int,
    total: F64,
    saturated: Bool,
    intensity: F64,
) -> None:
    """Add frames to the per-pixel ``total`` (rows * columns,) and per-frame ``intensity`` (C,), pixels [begin, end).

    Counts below ``lowest`` and NaN are masked or overflowed: they add nothing and mark their pixel. Only analysed
    pixels (``inside`` 1) make the intensity.
    """
    for low in range(begin, end, _TILE):
        for c in range(counts.shape[0]):
            if valid[c]:
                high = min(low + _TILE, end)
                intensity[c] += _add_row(counts[c], lowest, inside, low, high, total, saturated)


@compiled
def sum_events(
    frame: I32,
    pixel: I32,
    count: I32,
    begin: int,
    valid: Bool,
    inside: U8,
    total: F64,
    saturated: Bool,
    intensity: F64,
) -> None:
    """Add events to ``total`` and ``intensity`` as :func:`sum_frames` does; ``frame - begin`` is the row."""
    for e in range(frame.shape[0]):
        c, p = frame[e] - begin, pixel[e]
        if not valid[c]:
            continue
        if count[e] < 0:
            saturated[p] = True
            continue
        total[p] += count[e]
        intensity[c] += np.int64(count[e]) * inside[p]
