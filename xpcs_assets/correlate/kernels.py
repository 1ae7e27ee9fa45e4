"""The compiled loops of the CPU engine. Nothing here allocates more than a block or knows of files.

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

import os
from typing import TypeAlias

import numba
import numpy as np
from numba import njit
from numpy.typing import NDArray

from xpcs_assets.cache_folder import cache_folder

if not os.environ.get("NUMBA_CACHE_DIR"):
    numba.config.CACHE_DIR = str(cache_folder("numba"))  # type: ignore[attr-defined]

F64: TypeAlias = NDArray[np.float64]
I64: TypeAlias = NDArray[np.int64]
I32: TypeAlias = NDArray[np.int32]
U8: TypeAlias = NDArray[np.uint8]
Bool: TypeAlias = NDArray[np.bool_]
Counts: TypeAlias = NDArray[np.int32] | NDArray[np.float32]

BLOCK = 256
"""Pixels handled together: with :data:`FRAMES` frames they stay near the processor, a row fills whole cache lines."""
FRAMES = 256
"""Most frames of one call to :func:`push_frames`: the more, the seldomer the state goes through memory."""
_ROW = 4096
N_MOMENTS = 11
"""Sums kept per delay and static bin over pixels: G, A, B, GG, GA, GB, AA, AB, BB, r, rr.

A = IP / n, B = IF / n, G = G / n, all per base frame; r = G / (A B) of the pixel, 0 where A B is 0.
"""


@njit(cache=True, nogil=True)
def _add_lagged(w: F64, first: int, n_new: int, lag: int, out: F64) -> None:
    """out[p] += sum over rows t of w[t, p] * w[t - lag, p], t = first .. first + n_new - 1; eight rows at a time."""
    n = out.shape[0]
    t = first
    while t + 8 <= first + n_new:
        for p in range(n):
            out[p] += (
                (w[t, p] * w[t - lag, p] + w[t + 1, p] * w[t + 1 - lag, p])
                + (w[t + 2, p] * w[t + 2 - lag, p] + w[t + 3, p] * w[t + 3 - lag, p])
            ) + (
                (w[t + 4, p] * w[t + 4 - lag, p] + w[t + 5, p] * w[t + 5 - lag, p])
                + (w[t + 6, p] * w[t + 6 - lag, p] + w[t + 7, p] * w[t + 7 - lag, p])
            )
        t += 8
    while t < first + n_new:
        for p in range(n):
            out[p] += w[t, p] * w[t - lag, p]
        t += 1


@njit(cache=True, nogil=True)
def _load(counts: Counts, valid: Bool, pixel: I64, saturated: Bool, p0: int, n: int, H: int, w: F64) -> None:
    """Copy the counts of n pixels from p0 below the history rows of w; mark pixels with a negative count."""
    for c in range(counts.shape[0]):
        if valid[c]:
            for i in range(n):
                value = counts[c, pixel[p0 + i]]
                if value < 0:
                    saturated[p0 + i] = True
                    value = 0
                w[H + c, i] = value
        else:
            for i in range(n):
                w[H + c, i] = 0.0


@njit(cache=True, nogil=True)
def _turn_over(w: F64, m: int, history: F64, total: F64) -> None:
    """Put a level's history above its m new rows of w, add those to the total, keep the last rows as history."""
    H, n = history.shape
    for h in range(H):
        for i in range(n):
            w[h, i] = history[h, i]
    for t in range(H, H + m):
        for i in range(n):
            total[i] += w[t, i]
    for h in range(H):
        for i in range(n):
            history[h, i] = w[m + h, i]


@njit(cache=True, nogil=True)
def _halve(w: F64, H: int, n: int, odd: int, n_next: int, keep: Bool) -> None:
    """Turn the rows of a level into those of the next; a row whose ``keep`` is False becomes 0."""
    for j in range(n_next):
        row = H + 2 * j - odd
        for i in range(n):
            w[H + j, i] = w[row, i] + w[row + 1, i] if keep[j] else 0.0


@njit(cache=True, nogil=True)
def push_frames(
    counts: Counts,
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
    lone: F64,
    saturated: Bool,
) -> None:
    """Correlate up to 256 new frames with each other and with the history, for the pixels [begin, end).

    Parameters
    ----------
    counts, valid
        (C, rows * columns) and (C,), the new frames.
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
    total, G, lone, saturated
        (L, P), (D, P), (2, D, P) and (P,), the sums and marks; changed.
    """
    H = history.shape[1]
    w = np.zeros((H + counts.shape[0], BLOCK))
    for p0 in range(begin, end, BLOCK):
        p1 = min(p0 + BLOCK, end)
        _load(counts, valid, pixel, saturated, p0, p1 - p0, H, w)
        for level in range(n_new.shape[0]):
            m = n_new[level]
            if m == 0:
                break
            _turn_over(w, m, history[level, :, p0:p1], total[level, p0:p1])
            for d in range(level_start[level], level_start[level + 1]):
                _add_lagged(w, H, m, lag[d], G[d, p0:p1])
            for e in range(deficit_start[level], deficit_start[level + 1]):
                side, d, row = deficit[e, 0], deficit[e, 1], deficit[e, 2]
                for i in range(p1 - p0):
                    lone[side, d, p0 + i] += w[row, i]
            if level + 1 < n_new.shape[0]:
                kept = keep[keep_start[level + 1] : keep_start[level + 2]]
                _halve(w, H, p1 - p0, odd[level], n_new[level + 1], kept)


@njit(cache=True, nogil=True)
def _add_moments(g: float, a: float, b: float, out: F64) -> None:
    """Add one pixel's means to the eleven sums of a delay."""
    norm = a * b
    ratio = g / norm if norm > 0.0 else 0.0
    out[0] += g
    out[1] += a
    out[2] += b
    out[3] += g * g
    out[4] += g * a
    out[5] += g * b
    out[6] += a * a
    out[7] += a * b
    out[8] += b * b
    out[9] += ratio
    out[10] += ratio * ratio


@njit(cache=True, nogil=True)
def reduce_frames(
    edge: I64,
    begin: int,
    end: int,
    slot: I64,
    lag: I64,
    level: I64,
    n_pairs: I64,
    history: F64,
    total: F64,
    G: F64,
    lone: F64,
    saturated: Bool,
    moments: F64,
    n_pixels: I64,
) -> None:
    """Sum the pixels of the blocks [begin, end) into ``moments`` (B, D, 11) and count them in ``n_pixels`` (B,).

    ``slot`` (P,) is where the sums of each sorted pixel are. The last frames of each level, which still lack a
    partner, are taken from the history; nothing of the state is changed, so that more frames may follow.
    """
    H = history.shape[1]
    for block in range(begin, end):
        pixels = slot[edge[block] : edge[block + 1]]
        for p in pixels:
            n_pixels[block] += not saturated[p]
        for d in range(lag.shape[0]):
            if n_pairs[d] == 0:
                continue
            ell, k = level[d], lag[d]
            scale = 1.0 / (n_pairs[d] * 2.0**ell)
            for p in pixels:
                if saturated[p]:
                    continue
                past = total[ell, p] - lone[0, d, p]
                for h in range(H - k, H):
                    past -= history[ell, h, p]
                future = total[ell, p] - lone[1, d, p]
                _add_moments(G[d, p] * scale / 2.0**ell, past * scale, future * scale, moments[block, d])


@njit(cache=True, nogil=True)
def sort_events(position: I32, time: I32, count: I32, cursor: I64, sorted_time: I32, sorted_count: I32) -> None:
    """Put time-ordered events into pixel order, keeping time order inside a pixel. ``cursor`` (P,) is changed."""
    for e in range(position.shape[0]):
        at = cursor[position[e]]
        sorted_time[at] = time[e]
        sorted_count[at] = count[e]
        cursor[position[e]] = at + 1


@njit(cache=True, nogil=True)
def _gather(first: int, last: int, time: I32, count: I32, status: U8, t: I64, v: F64) -> int:
    """Copy a pixel's events of valid frames, joining those of one frame; return how many are left."""
    m = 0
    for e in range(first, last):
        if status[time[e]] == 0:
            continue
        if m > 0 and t[m - 1] == time[e]:
            v[m - 1] += count[e]
        else:
            t[m] = time[e]
            v[m] = count[e]
            m += 1
    return m


@njit(cache=True, nogil=True)
def _merge(m: int, t: I64, v: F64, status: U8) -> int:
    """Join the events of each pair of frames, in place; drop those whose new frame does not count."""
    n = 0
    for e in range(m):
        time = t[e] >> 1
        if time >= status.shape[0] or status[time] == 0:
            continue
        if n > 0 and t[n - 1] == time:
            v[n - 1] += v[e]
        else:
            t[n] = time
            v[n] = v[e]
            n += 1
    return n


@njit(cache=True, nogil=True)
def _add_lone(time: int, value: float, status: U8, first: int, last: int, lag: I64, past: F64, future: F64) -> None:
    """Note which partners of an event near an edge or an invalid frame do not count."""
    for d in range(first, last):
        later, earlier = time + lag[d], time - lag[d]
        if later >= status.shape[0] or status[later] == 0:
            past[d] += value
        if earlier < 0 or status[earlier] == 0:
            future[d] += value


@njit(cache=True, nogil=True)
def _walk_level(
    m: int, t: I64, v: F64, status: U8, first: int, last: int, lag: I64, G: F64, past: F64, future: F64
) -> float:
    """Add a pixel's m events of one level to its sums; return their total."""
    total = 0.0
    shortest, longest = lag[first], lag[last - 1]
    for i in range(m):
        total += v[i]
        for j in range(i + 1, m):
            apart = t[j] - t[i]
            if apart > longest:
                break
            if apart >= shortest:
                G[first + apart - shortest] += v[i] * v[j]
        if status[t[i]] == 1:
            _add_lone(t[i], v[i], status, first, last, lag, past, future)
    return total


@njit(cache=True, nogil=True)
def _add_pixel(G: F64, past: F64, future: F64, total: F64, level_start: I64, n_pairs: I64, moments: F64) -> None:
    """Turn one pixel's sums into means and add them to the moments (D, 11) of its block."""
    for level in range(level_start.shape[0] - 1):
        for d in range(level_start[level], level_start[level + 1]):
            if n_pairs[d] > 0:
                scale = 1.0 / (n_pairs[d] * 2.0**level)
                a, b = (total[level] - past[d]) * scale, (total[level] - future[d]) * scale
                _add_moments(G[d] * scale / 2.0**level, a, b, moments[d])


@njit(cache=True, nogil=True)
def walk_events(
    edge: I64,
    begin: int,
    end: int,
    start: I64,
    time: I32,
    count: I32,
    lag: I64,
    level_start: I64,
    n_pairs: I64,
    status: U8,
    status_start: I64,
    saturated: Bool,
    moments: F64,
    n_pixels: I64,
) -> None:
    """Correlate the events of the blocks [begin, end), pixel by pixel, and sum them into ``moments``.

    Parameters
    ----------
    edge
        (B + 1,) int64, pixels of each block.
    start, time, count
        (P + 1,), (E,), (E,): a pixel's events are ``start[p]:start[p + 1]``, in time order.
    lag, level_start, n_pairs
        The plan, and the valid pairs of each delay.
    status, status_start
        uint8 and (L + 1,) int64, level after level: 0 the frame does not count, 1 some partner does not, 2 all do.
    saturated, moments, n_pixels
        As in :func:`reduce_frames`.
    """
    n_levels = level_start.shape[0] - 1
    D = lag.shape[0]
    longest = 0
    for p in range(edge[begin], edge[end]):
        longest = max(longest, start[p + 1] - start[p])
    t, v = np.empty(longest, np.int64), np.empty(longest)
    G, past, future, total = np.empty(D), np.empty(D), np.empty(D), np.empty(n_levels)
    for block in range(begin, end):
        for p in range(edge[block], edge[block + 1]):
            if saturated[p]:
                continue
            n_pixels[block] += 1
            if start[p] == start[p + 1]:
                continue
            G[:], past[:], future[:], total[:] = 0.0, 0.0, 0.0, 0.0
            m = _gather(start[p], start[p + 1], time, count, status[status_start[0] : status_start[1]], t, v)
            for level in range(n_levels):
                here = status[status_start[level] : status_start[level + 1]]
                if level > 0:
                    m = _merge(m, t, v, here)
                first, last = level_start[level], level_start[level + 1]
                total[level] = _walk_level(m, t, v, here, first, last, lag, G, past, future)
            _add_pixel(G, past, future, total, level_start, n_pairs, moments[block])


@njit(cache=True, nogil=True)
def sum_frames(
    counts: Counts, valid: Bool, position: I32, begin: int, end: int, total: F64, saturated: Bool, intensity: F64
) -> None:
    """Add frames to the per-pixel ``total`` (rows * columns,) and per-frame ``intensity`` (C,), pixels [begin, end).

    Negative counts are masked or overflowed: they add nothing and mark their pixel. Only analysed pixels
    (``position`` not -1) make the intensity.
    """
    for low in range(begin, end, _ROW):
        for c in range(counts.shape[0]):
            if not valid[c]:
                continue
            for p in range(low, min(low + _ROW, end)):
                value = counts[c, p]
                if value > 0:
                    total[p] += value
                    if position[p] >= 0:
                        intensity[c] += value
                elif value < 0:
                    saturated[p] = True


@njit(cache=True, nogil=True)
def sum_events(
    frame: I64,
    pixel: I32,
    count: I32,
    begin: int,
    valid: Bool,
    position: I32,
    total: F64,
    saturated: Bool,
    intensity: F64,
) -> None:
    """Add events to ``total`` and ``intensity`` as :func:`sum_frames` does; ``frame - begin`` is the row."""
    for e in range(frame.shape[0]):
        c = frame[e] - begin
        if not valid[c]:
            continue
        if count[e] < 0:
            saturated[pixel[e]] = True
            continue
        total[pixel[e]] += count[e]
        if position[pixel[e]] >= 0:
            intensity[c] += count[e]
