"""The compiled loops that correlate photon events, pixel by pixel.

Every sum wanted is linear in a pixel's counts or in their products, so events need no merging: a pair of events adds
its product at each level whose frames put it a lag of that level apart. That is fast where a pixel's events are
further apart than the lags of a level reach. At the levels above, the pixel's counts are laid out in a row of time and
its lags are sums of products along the row. Where one turns into the other depends on the number of events alone.

Sums are float64, or float32 where no sum can exceed the integers that float32 holds.

Names: ``L`` levels, ``D`` delays, ``P`` sorted analysed pixels, ``B`` blocks of at most 256 pixels that never cross a
static bin, ``R`` runs of events in time order, each sorted by block.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.compiled import compiled, inlined, reordered

F64: TypeAlias = NDArray[np.float64]
I64: TypeAlias = NDArray[np.int64]
I32: TypeAlias = NDArray[np.int32]
F32: TypeAlias = NDArray[np.float32]
U64: TypeAlias = NDArray[np.uint64]
U8: TypeAlias = NDArray[np.uint8]
Bool: TypeAlias = NDArray[np.bool_]

PIXEL_SHIFT, TIME_SHIFT = 56, 24
"""A packed event: pixel in its block, 8 bits; frame, 32 bits; count, 24 bits. Larger counts are several events."""
_COUNT_MAX = (1 << TIME_SHIFT) - 1
_ROW_PER_EVENT = 8
"""Most frames that a row has for each of its events: half as many double the pairs, twice as many the row."""
_EXACT_FLOAT32 = 4096
"""Counts of a pixel up to which its sums of products stay below 2**24."""


@compiled
def count_events(
    frame: I32,
    pixel: I32,
    count: I32,
    begin: int,
    valid: Bool,
    slot: I32,
    edge: I64,
    saturated: Bool,
    number: I64,
    to: I32,
) -> None:
    """Count the packed events that a run will have in each block, ``number`` (B,); mark pixels with negative counts.

    ``slot`` (rows * columns,) is 256 * block + pixel in the block, -1 where not analysed; ``frame - begin`` is the
    row of ``valid``. ``to`` (E,) gets the slot of each event that is packed, -1 for the others.
    """
    for e in range(frame.shape[0]):
        s = slot[pixel[e]] if valid[frame[e] - begin] else np.int32(-1)
        c = count[e]
        if s >= 0 and c < 0:
            saturated[edge[s >> 8] + (s & 255)] = True
        s = s if c > 0 else np.int32(-1)
        to[e] = s
        if s >= 0:
            number[s >> 8] += 1 + (c - 1) // _COUNT_MAX if c > _COUNT_MAX else 1


@compiled
def pack_events(frame: I32, count: I32, to: I32, cursor: I64, packed: U64) -> None:
    """Put a run's events into the order of blocks; ``cursor`` (B,) is where each block's next one goes."""
    for e in range(frame.shape[0]):
        s = to[e]
        if s < 0:
            continue
        head = np.uint64(s & 255) << np.uint64(PIXEL_SHIFT) | np.uint64(frame[e]) << np.uint64(TIME_SHIFT)
        at, rest = cursor[s >> 8], count[e]
        while rest > _COUNT_MAX:
            packed[at] = head | np.uint64(_COUNT_MAX)
            rest -= np.int32(_COUNT_MAX)
            at += 1
        packed[at] = head | np.uint64(rest)
        cursor[s >> 8] = at + 1


@compiled
def spread_events(frame: I32, pixel: I32, count: I32, begin: int, position: I32, counts: NDArray[np.int32]) -> None:
    """Add events to frames ``counts`` (C, P), the first of which is ``begin``; negative ones are left out."""
    for e in range(frame.shape[0]):
        p = position[pixel[e]]
        if p >= 0 and count[e] > 0:
            counts[frame[e] - begin, p] += count[e]


@inlined
def _sort_block(block: int, packed: U64, offset: I64, start: I64, cursor: I64, t: I32, v: F32) -> None:
    """Take a block's events out of the runs and put them in order of (pixel, time); ``start`` (257,) is filled."""
    start[:] = 0
    for run in range(offset.shape[0]):
        for e in range(offset[run, block], offset[run, block + 1]):
            start[(packed[e] >> np.uint64(PIXEL_SHIFT)) + np.uint64(1)] += 1
    for p in range(256):
        start[p + 1] += start[p]
        cursor[p] = start[p]
    for run in range(offset.shape[0]):
        for e in range(offset[run, block], offset[run, block + 1]):
            event = packed[e]
            p = event >> np.uint64(PIXEL_SHIFT)
            at = cursor[p]
            cursor[p] = at + 1
            t[at] = np.int32((event >> np.uint64(TIME_SHIFT)) & np.uint64(0xFFFFFFFF))
            v[at] = np.float32(event & np.uint64(_COUNT_MAX))


@compiled
def _add_lone(time: int, value: float, here: U8, first: int, last: int, lag: I64, past: F64, future: F64) -> None:
    """Note which partners of a frame near an edge or an invalid frame do not count."""
    for d in range(first, last):
        later, earlier = time + lag[d], time - lag[d]
        if later >= here.shape[0] or here[later] == 0:
            past[d] += value
        if earlier < 0 or here[earlier] == 0:
            future[d] += value


@compiled
def _add_irregular(
    time: int,
    value: float,
    begin: int,
    end: int,
    status: U8,
    status_start: I64,
    lag: I64,
    level_start: I64,
    total: F64,
    past: F64,
    future: F64,
) -> None:
    """Correct the sums of the levels [begin, end) for an event near an edge or an invalid frame."""
    for level in range(begin, end):
        here = status[status_start[level] : status_start[level + 1]]
        at = time >> level
        if at >= here.shape[0] or here[at] == 0:
            total[level] -= value
        elif here[at] == 1:
            _add_lone(at, value, here, level_start[level], level_start[level + 1], lag, past, future)


@inlined
def _add_pair(
    early: int,
    late: int,
    product: float,
    begin: int,
    end: int,
    sound_below: int,
    status: U8,
    status_start: I64,
    lag: I64,
    level_start: I64,
    G: F64,
) -> None:
    """Add a pair of events to the delays of the levels [begin, end) that it belongs to; G[D] takes the rest."""
    for level in range(begin, end):
        first, last = level_start[level], level_start[level + 1] - 1
        e, f = early >> level, late >> level
        to = first + f - e - lag[first]
        to = to if first <= to <= last else lag.shape[0]
        if level >= sound_below:
            row, n = status_start[level], status_start[level + 1] - status_start[level]
            if f >= n or status[row + e] == 0 or status[row + f] == 0:
                continue
        G[to] += product


@inlined
def _add_pairs(
    t: I32,
    v: F32,
    begin: int,
    end: int,
    n_levels: int,
    reach: int,
    lowest: U8,
    highest: U8,
    regular: U8,
    status: U8,
    status_start: I64,
    lag: I64,
    level_start: I64,
    near: I64,
    total: F64,
    G: F64,
    past: F64,
    future: F64,
) -> None:
    """Add the events [begin, end) of a pixel to the sums of the levels [0, n_levels), pair by pair.

    ``lowest`` and ``highest`` are the levels that a pair so many frames apart may belong to, ``regular`` the level
    below which a frame and all its partners count; pairs are less than ``reach`` frames apart. ``near`` is room for
    the events that still have a later one in reach; it is filled without a branch that would be guessed wrong.
    """
    counts, n_near = 0.0, 0
    for i in range(begin, end):
        counts += v[i]
        near[n_near] = i
        n_near += t[min(i + 1, end - 1)] - t[i] < reach
        if regular[t[i]] < n_levels:
            _add_irregular(
                int(t[i]), float(v[i]), int(regular[t[i]]), n_levels, status, status_start, lag, level_start,
                total, past, future,
            )  # fmt: skip
    n_near -= 1  # the last event has no later one
    for level in range(n_levels):
        total[level] += counts
    step = 1
    while n_near > 0:
        n_next = 0
        for q in range(n_near):
            i = near[q]
            early, late = int(t[i]), int(t[i + step])
            apart = late - early
            _add_pair(
                early, late, float(v[i]) * float(v[i + step]),
                int(lowest[apart]), min(int(highest[apart]) + 1, n_levels),
                int(min(regular[early], regular[late])), status, status_start, lag, level_start, G,
            )  # fmt: skip
            near[n_next] = i
            n_next += (i + step + 1 < end) & (t[min(i + step + 1, end - 1)] - early < reach)
        n_near = n_next
        step += 1


@reordered
def _products(x: Any, n: int, begin: int, end: int, lag: I64, G: F64) -> None:
    """G[d] += sum of x[t] * x[t + lag[d]] over t for the delays [begin, end); lags are consecutive, below n.

    Indices are unsigned: a signed one is checked for being counted from the end, one element at a time.
    """
    d, zero, one = begin, x.dtype.type(0), np.uint64(1)
    while d + 4 <= end:
        n_pairs, k = n - lag[d], np.uint64(lag[d])
        a, b, c, e = zero, zero, zero, zero
        shared = np.uint64(max(n_pairs - 3, 0))
        for t in range(shared):
            y = x[t]
            a += y * x[k + t]
            b += y * x[k + t + one]
            c += y * x[k + t + one + one]
            e += y * x[k + t + one + one + one]
        for t in range(shared, np.uint64(n_pairs)):
            a += x[t] * x[k + t]
        for t in range(shared, np.uint64(max(n_pairs - 1, 0))):
            b += x[t] * x[k + t + one]
        for t in range(shared, np.uint64(max(n_pairs - 2, 0))):
            c += x[t] * x[k + t + one + one]
        G[d] += a
        G[d + 1] += b
        G[d + 2] += c
        G[d + 3] += e
        d += 4
    while d < end:
        k, a = np.uint64(lag[d]), zero
        for t in range(np.uint64(n - lag[d])):
            a += x[t] * x[k + t]
        G[d] += a
        d += 1


@reordered
def _halve(x: Any, n: int, y: Any) -> None:
    """y[j] = x[2 j] + x[2 j + 1] for j below n."""
    one = np.uint64(1)
    for j in range(np.uint64(n)):
        y[j] = x[j + j] + x[j + j + one]


@inlined
def _add_ends(x: Any, row: int, n: int, begin: int, end: int, lag: I64, past: F64, future: F64) -> None:
    """Add the first and last frames of a row, which lack an earlier or later partner, for the delays [begin, end)."""
    tail, head, t = 0.0, 0.0, 0
    for d in range(begin, end):
        while t < lag[d]:
            tail += x[row + n - 1 - t]
            head += x[row + t]
            t += 1
        past[d] += tail
        future[d] += head


@compiled
def _add_gaps(x: Any, row: int, n: int, invalid: I64, begin: int, end: int, lag: I64, past: F64, future: F64) -> None:
    """Add the frames of a row whose later or earlier partner is one of the invalid ones."""
    for t in invalid:
        for d in range(begin, end):
            if t >= lag[d]:
                past[d] += x[row + t - lag[d]]
            if t + lag[d] < n:
                future[d] += x[row + t + lag[d]]


@inlined
def _add_rows(
    t: I32,
    v: F32,
    first: int,
    last: int,
    begin: int,
    x: Any,
    n_frames: I64,
    invalid: I64,
    invalid_start: I64,
    lag: I64,
    level_start: I64,
    total: F64,
    G: F64,
    past: F64,
    future: F64,
) -> None:
    """Add the events [first, last) of a pixel to the sums of all levels from ``begin`` on, as rows of time.

    x, (2 T,), is room for the rows, one after the other.
    """
    row, n, counts = 0, n_frames[begin], 0.0
    x[:n] = 0
    for e in range(first, last):
        at = t[e] >> begin
        if at < n:
            x[at] += v[e]
            counts += v[e]
    for level in range(begin, n_frames.shape[0]):
        if level > begin:
            if n % 2:
                counts -= x[row + n - 1]
            _halve(x[row : row + n], n_frames[level], x[row + n :])
            row, n = row + n, n_frames[level]
        low, high = level_start[level], level_start[level + 1]
        while high > low and lag[high - 1] >= n:
            high -= 1
        if invalid_start[level + 1] > invalid_start[level]:
            gone = invalid[invalid_start[level] : invalid_start[level + 1]]
            for at in gone:
                counts -= x[row + at]
                x[row + at] = 0
            _add_gaps(x, row, n, gone, low, high, lag, past, future)
        total[level] += counts
        _products(x[row : row + n], n, low, high, lag, G)
        _add_ends(x, row, n, low, high, lag, past, future)


@reordered
def _add_moments(G: F64, past: F64, future: F64, total: F64, level: I64, scale: F64, square: F64, out: F64) -> None:
    """Turn one pixel's sums into means and add them to the moments (11, D) of its block."""
    for d in range(level.shape[0]):
        g = G[d] * square[d]
        a = (total[level[d]] - past[d]) * scale[d]
        b = (total[level[d]] - future[d]) * scale[d]
        norm = a * b
        ratio = g / (norm if norm > 0.0 else 1.0) * (1.0 if norm > 0.0 else 0.0)
        out[0, d] += g
        out[1, d] += a
        out[2, d] += b
        out[3, d] += g * g
        out[4, d] += g * a
        out[5, d] += g * b
        out[6, d] += a * a
        out[7, d] += norm
        out[8, d] += b * b
        out[9, d] += ratio
        out[10, d] += ratio * ratio


@compiled
def row_level(n_frames: int, n_events: int, n_levels: int) -> int:
    """The first level at which a pixel's events are laid out in a row."""
    level, frames = 0, n_frames // (_ROW_PER_EVENT * n_events)
    while frames > 1 and level < n_levels:
        frames >>= 1
        level += 1
    return level


@reordered
def _is_few(v: F32, first: int, last: int) -> bool:
    """Tell whether the counts are so few that no sum of their products exceeds what float32 holds exactly."""
    counts = np.float32(0)
    for e in range(first, last):
        counts += v[e]
    return bool(counts <= _EXACT_FLOAT32)


@compiled
def walk_events(
    edge: I64,
    begin: int,
    end: int,
    packed: U64,
    offset: I64,
    n_frames: I64,
    lag: I64,
    level: I64,
    level_start: I64,
    scale: F64,
    square: F64,
    reach: I64,
    lowest: U8,
    highest: U8,
    regular: U8,
    status: U8,
    status_start: I64,
    invalid: I64,
    invalid_start: I64,
    saturated: Bool,
    moments: F64,
    n_pixels: I64,
) -> None:
    """Correlate the events of the blocks [begin, end), pixel by pixel, and sum them into ``moments``.

    Parameters
    ----------
    edge
        (B + 1,) int64, pixels of each block.
    packed, offset
        Packed events, and (R, B + 1) int64: those of block b in run r are ``offset[r, b]:offset[r, b + 1]``.
    n_frames
        (L,) int64, frames of each level.
    lag, level, level_start
        The plan.
    scale, square
        (D,) float64, from sums to means of IP and IF, and of G; 0 for a delay without pairs.
    reach, lowest, highest
        (L + 1,) int64: frames that pairs of the levels below l are less apart than; uint8: the levels that a pair so
        many frames apart may belong to.
    regular
        (T,) uint8, level below which a frame and all its partners count.
    status, status_start
        uint8 and (L + 1,) int64, level after level: 0 the frame does not count, 1 some partner does not, 2 all do.
    invalid, invalid_start
        int64 and (L + 1,) int64, level after level: the frames of status 0.
    saturated, moments, n_pixels
        (P,) bool, pixels to leave out; (B, 11, D) and (B,), added to.
    """
    most = 0
    for block in range(begin, end):
        here = 0
        for run in range(offset.shape[0]):
            here += offset[run, block + 1] - offset[run, block]
        most = max(most, here)
    t, v = np.empty(most, np.int32), np.empty(most, np.float32)
    n_levels, D = n_frames.shape[0], lag.shape[0]
    longest = n_frames[0]
    x32, x64 = np.empty(2 * longest, np.float32), np.empty(2 * longest)
    start, cursor = np.empty(257, np.int64), np.empty(256, np.int64)
    near = np.empty(most + 1, np.int64)
    G, past, future, total = np.empty(D + 1), np.empty(D), np.empty(D), np.empty(n_levels)
    for block in range(begin, end):
        _sort_block(block, packed, offset, start, cursor, t, v)
        for p in range(edge[block + 1] - edge[block]):
            if saturated[edge[block] + p]:
                continue
            n_pixels[block] += 1
            first, last = start[p], start[p + 1]
            if first == last:
                continue
            G[:], past[:], future[:], total[:] = 0.0, 0.0, 0.0, 0.0
            above = row_level(longest, last - first, n_levels)
            if above > 0:
                _add_pairs(
                    t, v, first, last, above, reach[above], lowest, highest, regular, status, status_start,
                    lag, level_start, near, total, G, past, future,
                )  # fmt: skip
            if above < n_levels and _is_few(v, first, last):
                _add_rows(
                    t, v, first, last, above, x32, n_frames, invalid, invalid_start,
                    lag, level_start, total, G, past, future,
                )  # fmt: skip
            elif above < n_levels:
                _add_rows(
                    t, v, first, last, above, x64, n_frames, invalid, invalid_start,
                    lag, level_start, total, G, past, future,
                )  # fmt: skip
            _add_moments(G, past, future, total, level, scale, square, moments[block])
