"""The compiled loops of the CPU engine for dense frames. Nothing here allocates more than a block or knows of files.

All sums are float64. Kernels release the GIL and work on a range of pixels or blocks, so that a pool of threads
shares them out; no two threads write to the same place, and the result does not depend on their number.

Names: ``L`` levels, ``D`` delays, ``H`` history (the largest lag), ``P`` sorted analysed pixels, ``B`` blocks of
pixels that never cross a static bin. Delays of level l are ``level_start[l]:level_start[l + 1]``, their lags are
consecutive.

The pair sums of a delay are G = sum X[j] X[j+k], IP = sum X[j], IF = sum X[j+k] over its valid pairs. Invalid frames
hold 0, so G needs no check. IP and IF are the sum over all valid frames less the frames that lack a partner: the
``deficits``, which are few.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.compiled import compiled, reordered

F64: TypeAlias = NDArray[np.float64]
I64: TypeAlias = NDArray[np.int64]
I32: TypeAlias = NDArray[np.int32]
Bool: TypeAlias = NDArray[np.bool_]

BLOCK = 128
"""Pixels handled together: with :data:`FRAMES` frames they stay near the processor, a row fills whole cache lines."""
FRAMES = 256
"""Most frames of one call to :func:`push_frames`: the more, the seldomer the state goes through memory."""
N_MOMENTS = 11
"""Sums kept per delay and static bin over pixels: G, A, B, GG, GA, GB, AA, AB, BB, r, rr.

A = IP / n, B = IF / n, G = G / n, all per base frame; r = G / (A B) of the pixel, 0 where A B is 0.
"""


# Steps from row to row of a window, whose rows hold BLOCK pixels. Constant steps let the compiler see that rows do not
# overlap; unsigned indices spare the check of each for being counted from the end.
_1, _2, _3, _4, _5, _6, _7, _8, _9, _10 = (np.uint64(rows * BLOCK) for rows in range(1, 11))


@reordered
def _add_four_lags(w: F64, first: int, end: int, lag: int, sums: F64, d: int) -> int:
    """Add to the rows d .. d + 3 of ``sums`` the lags from ``lag`` on, eight rows of w at a time.

    Each sum takes eight products while it is in the processor. Returns the first row that is left.
    """
    t = first
    while t + 8 <= end:
        new, old, out = np.uint64(t * BLOCK), np.uint64((t - lag - 3) * BLOCK), np.uint64(d * BLOCK)
        for _ in range(_1):
            x0, x1, x2, x3 = w[new], w[new + _1], w[new + _2], w[new + _3]
            x4, x5, x6, x7 = w[new + _4], w[new + _5], w[new + _6], w[new + _7]
            y0, y1, y2, y3, y4 = w[old], w[old + _1], w[old + _2], w[old + _3], w[old + _4]
            y5, y6, y7, y8, y9, y10 = (
                w[old + _5], w[old + _6], w[old + _7], w[old + _8], w[old + _9], w[old + _10],
            )  # fmt: skip
            sums[out] += x0 * y3 + x1 * y4 + x2 * y5 + x3 * y6 + x4 * y7 + x5 * y8 + x6 * y9 + x7 * y10
            sums[out + _1] += x0 * y2 + x1 * y3 + x2 * y4 + x3 * y5 + x4 * y6 + x5 * y7 + x6 * y8 + x7 * y9
            sums[out + _2] += x0 * y1 + x1 * y2 + x2 * y3 + x3 * y4 + x4 * y5 + x5 * y6 + x6 * y7 + x7 * y8
            sums[out + _3] += x0 * y0 + x1 * y1 + x2 * y2 + x3 * y3 + x4 * y4 + x5 * y5 + x6 * y6 + x7 * y7
            new, old, out = new + np.uint64(1), old + np.uint64(1), out + np.uint64(1)
        t += 8
    return t


@reordered
def _add_lag(w: F64, first: int, end: int, lag: int, sums: F64, d: int) -> None:
    """Add to the row d of ``sums`` the products of the rows first .. end - 1 of w and those ``lag`` before."""
    for t in range(first, end):
        new, old, out = np.uint64(t * BLOCK), np.uint64((t - lag) * BLOCK), np.uint64(d * BLOCK)
        for p in range(_1):
            sums[out + p] += w[new + p] * w[old + p]


@compiled
def _add_lags(w: F64, first: int, n_new: int, lag: I64, sums: F64) -> None:
    """Set each row of ``sums`` to the products of n_new rows of w, from ``first`` on, and those a lag before."""
    sums[: lag.shape[0] * BLOCK] = 0.0
    d, end = 0, first + n_new
    while d + 4 <= lag.shape[0]:
        t = _add_four_lags(w, first, end, lag[d], sums, d)
        for i in range(d, d + 4):
            _add_lag(w, t, end, lag[i], sums, i)
        d += 4
    while d < lag.shape[0]:
        _add_lag(w, first, end, lag[d], sums, d)
        d += 1


@reordered
def _load_row(row: Any, begin: int, lowest: float, n: int, w: F64, to: int, bad: Bool) -> None:
    """Copy n neighbouring counts; what is below ``lowest`` or NaN becomes 0 and is marked."""
    o, out = np.uint64(begin), np.uint64(to)
    for i in range(np.uint64(n)):
        value = float(row[o + i])
        good = value >= lowest
        bad[i] |= not good
        w[out + i] = value if good else 0.0


@compiled
def _load(
    counts: Any, lowest: float, valid: Bool, pixel: I64, saturated: Bool, p0: int, n: int, H: int, w: F64
) -> None:
    """Copy the counts of n pixels from p0 below the history rows of w; mark pixels with a masked count."""
    neighbours = pixel[p0 + n - 1] - pixel[p0] == n - 1
    for c in range(counts.shape[0]):
        to = (H + c) * BLOCK
        w[to : to + BLOCK] = 0.0
        if not valid[c]:
            continue
        if neighbours:
            _load_row(counts[c], pixel[p0], lowest, n, w, to, saturated[p0:])
            continue
        for i in range(n):
            value = float(counts[c, pixel[p0 + i]])
            good = value >= lowest
            saturated[p0 + i] |= not good
            w[to + i] = value if good else 0.0


@reordered
def _turn_over(w: F64, m: int, n: int, history: F64, total: F64, p0: int) -> None:
    """Put a level's history above its m new rows of w, add those to the total, keep the last rows as history."""
    H, o = history.shape[0], np.uint64(p0)
    for h in range(H):
        row, old = np.uint64(h * BLOCK), history[h]
        for i in range(np.uint64(n)):
            w[row + i] = old[o + i]
    for t in range(H, H + m):
        row = np.uint64(t * BLOCK)
        for i in range(np.uint64(n)):
            total[o + i] += w[row + i]
    for h in range(H):
        row, old = np.uint64((m + h) * BLOCK), history[h]
        for i in range(np.uint64(n)):
            old[o + i] = w[row + i]


@reordered
def _halve(w: F64, H: int, odd: int, n_next: int, keep: Bool) -> None:
    """Turn the rows of a level into those of the next; a row whose ``keep`` is False becomes 0."""
    for j in range(n_next):
        first, out = np.uint64((H + 2 * j - odd) * BLOCK), np.uint64((H + j) * BLOCK)
        kept = 1.0 if keep[j] else 0.0
        for i in range(_1):
            w[out + i] = (w[first + i] + w[first + _1 + i]) * kept


@reordered
def _add_part(sums: F64, row: int, n: int, out: F64, p0: int) -> None:
    """Add n elements of a row to ``out`` from p0 on."""
    o, r = np.uint64(p0), np.uint64(row * BLOCK)
    for i in range(np.uint64(n)):
        out[o + i] += sums[r + i]


@compiled
def push_frames(
    counts: Any,
    lowest: float,
    valid: Bool,
    pixel: I64,
    begin: int,
    end: int,
    lag: I64,
    level_start: I64,
    n_new: I64,
    odd: I64,
    keep: Bool,
    keep_start: I64,
    deficit: I64,
    deficit_start: I64,
    history: F64,
    total: F64,
    G: F64,
    past: F64,
    future: F64,
    saturated: Bool,
) -> None:
    """Correlate up to 256 new frames with each other and with the history, for the pixels [begin, end).

    Parameters
    ----------
    counts, lowest, valid
        (C, rows * columns), the least count that is none of a masked pixel, and (C,): the new frames.
    pixel
        (P,) int64, flat index of the sorted pixels.
    lag, level_start
        (D,) and (L + 1,) int64, the plan.
    n_new, odd
        (L,) int64, new frames of each level, and 1 where the level held an odd number before.
    keep, keep_start
        bool and (L + 1,) int64: validity of the new frames, level after level.
    deficit, deficit_start
        (K, 3) and (L + 1,) int64: (0 past or 1 future, delay, row of the window) that lacks a partner.
    history
        (L, H, P), the last H frames of each level; changed.
    total, G, past, future, saturated
        (L, P), (D, P) three times and (P,), the sums and marks; changed. ``past`` may have no rows while no frame is
        invalid.
    """
    H = history.shape[1]
    w, sums = np.zeros((H + counts.shape[0]) * BLOCK), np.zeros(lag.shape[0] * BLOCK)
    for p0 in range(begin, end, BLOCK):
        n = min(BLOCK, end - p0)
        _load(counts, lowest, valid, pixel, saturated, p0, n, H, w)
        for level in range(n_new.shape[0]):
            m = n_new[level]
            if m == 0:
                break
            first, last = level_start[level], level_start[level + 1]
            _turn_over(w, m, n, history[level], total[level], p0)
            _add_lags(w, H, m, lag[first:last], sums)
            for d in range(first, last):
                _add_part(sums, d - first, n, G[d], p0)
            for e in range(deficit_start[level], deficit_start[level + 1]):
                lone = past if deficit[e, 0] == 0 else future
                _add_part(w, deficit[e, 2], n, lone[deficit[e, 1]], p0)
            if level + 1 < n_new.shape[0]:
                kept = keep[keep_start[level + 1] : keep_start[level + 2]]
                _halve(w, H, odd[level], n_new[level + 1], kept)


@reordered
def _reduce_delay(
    slots: I64, n: int, G: F64, total: F64, tail: F64, past: F64, future: F64, scale: float, square: float, out: F64
) -> None:
    """Add n pixels' means at one delay to its moments (11,); ``tail`` (n,) are the frames still without a partner."""
    s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(np.uint64(n)):
        p = np.uint64(slots[i])
        g = G[p] * square
        a = (total[p] - tail[i] - (past[p] if past.shape[0] > 0 else 0.0)) * scale
        b = (total[p] - future[p]) * scale
        norm = a * b
        ratio = g / (norm if norm > 0.0 else 1.0) * (1.0 if norm > 0.0 else 0.0)
        s0 += g
        s1 += a
        s2 += b
        s3 += g * g
        s4 += g * a
        s5 += g * b
        s6 += a * a
        s7 += norm
        s8 += b * b
        s9 += ratio
        s10 += ratio * ratio
    for i, s in enumerate((s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10)):
        out[i] += s


@compiled
def reduce_frames(
    edge: I64,
    begin: int,
    end: int,
    slot: I64,
    lag: I64,
    level: I64,
    scale: F64,
    history: F64,
    total: F64,
    G: F64,
    past: F64,
    future: F64,
    saturated: Bool,
    moments: F64,
    n_pixels: I64,
) -> None:
    """Sum the pixels of the blocks [begin, end) into ``moments`` (B, D, 11) and count them in ``n_pixels`` (B,).

    ``slot`` (P,) is where the sums of each sorted pixel are; ``scale`` (D,) is what makes means of IP and IF, 0 for a
    delay without pairs. The last frames of each level, which still lack a partner, are taken from the history;
    nothing of the state is changed, so that more frames may follow.
    """
    H = history.shape[1]
    most = 0
    for block in range(begin, end):
        most = max(most, edge[block + 1] - edge[block])
    slots, tail = np.empty(most, np.int64), np.empty(most)
    for block in range(begin, end):
        n = 0
        for p in slot[edge[block] : edge[block + 1]]:
            slots[n] = p
            n += not saturated[p]
        n_pixels[block] += n
        taken = 0
        for d in range(lag.shape[0]):
            if d == 0 or level[d] != level[d - 1]:
                taken = 0
                tail[:n] = 0.0
            while taken < lag[d]:
                taken += 1
                row = history[level[d], H - taken]
                for i in range(n):
                    tail[i] += row[slots[i]]
            if scale[d] > 0.0:
                _reduce_delay(
                    slots, n, G[d], total[level[d]], tail, past[d] if past.shape[0] > 0 else past.ravel(), future[d],
                    scale[d], scale[d] / 2.0 ** level[d], moments[block, d],
                )  # fmt: skip
