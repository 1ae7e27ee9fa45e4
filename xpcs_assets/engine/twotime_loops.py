"""The compiled loops of two-time correlation: gathering counts, adding products and pairs of events.

Names: ``N`` frames, ``P`` sorted pixels of the chosen bins, ``B`` blocks of pixels that never cross a static bin.
``scale`` turns a raw count of a frame into its share of C: C(t1, t2) = sum over pixels of (x1 scale1) (x2 scale2). It
is 0 for frames that do not count.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.compiled import compiled, reordered

F64: TypeAlias = NDArray[np.float64]
F32: TypeAlias = NDArray[np.float32]
I64: TypeAlias = NDArray[np.int64]
I32: TypeAlias = NDArray[np.int32]
Bool: TypeAlias = NDArray[np.bool_]


@reordered
def gather(
    counts: NDArray[Any], valid: Bool, pixel: I32, place: I32, rows: tuple[int, int], limit: int, out: NDArray[Any],
    saturated: Bool, fits: Bool,
) -> None:  # fmt: skip
    """Copy whole counts of the chosen pixels, rows ``rows`` of a chunk.

    ``pixel`` rises, so that memory is read in order; ``place`` is where each goes in a row of ``out``. ``limit`` is the
    largest count that ``out`` can hold; rows that do not fit are told by ``fits``. Negative counts mark their place
    ``saturated`` and count as 0.
    """
    for t in range(rows[0], rows[1]):
        if not valid[t]:
            continue
        low, high = 0, 0
        for p in range(len(pixel)):
            value = counts[t, pixel[p]]
            out[t, place[p]] = value
            low = min(low, value)
            high = max(high, value)
        fits[t] = high <= limit
        if low < 0:
            for p in range(len(pixel)):
                if counts[t, pixel[p]] < 0:
                    saturated[place[p]] = True
                    out[t, place[p]] = 0


@compiled
def gather_floats(
    counts: F32, valid: Bool, pixel: I32, place: I32, rows: tuple[int, int], out: F32, saturated: Bool
) -> None:
    """Copy signed values of the chosen pixels as :func:`gather`; NaN marks its place ``saturated``."""
    for t in range(rows[0], rows[1]):
        if valid[t]:
            for p in range(len(pixel)):
                value = counts[t, pixel[p]]
                if np.isnan(value):
                    saturated[place[p]] = True
                    value = np.float32(0)
                out[t, place[p]] = value


@reordered
def sum_blocks(kept: NDArray[Any], edge: I64, rows: tuple[int, int], zero: float, sums: F64) -> None:
    """Sum each block's counts, (B, N); ``zero`` has the type of the sums, an integer where counts are."""
    for t in range(rows[0], rows[1]):
        for b in range(len(edge) - 1):
            total = zero
            for p in range(edge[b], edge[b + 1]):
                total += kept[t, p]
            sums[b, t] = total


@reordered
def subtract(counts: NDArray[Any], shift: F64, rows: tuple[int, int], out: F32) -> None:
    """Counts less the ``shift`` of their frame, in single precision."""
    for t in range(rows[0], rows[1]):
        less = np.float32(shift[t])
        for p in range(counts.shape[1]):
            out[t, p] = np.float32(counts[t, p]) - less


@compiled
def by_pixel(place: I32, frame: I32, count: I32, cursor: I64, out_time: I32, out_count: I32) -> None:
    """Put events, sorted by frame, behind those that each pixel has already; ``cursor`` is where the next one goes."""
    for e in range(len(place)):
        here = cursor[place[e]]
        cursor[place[e]] = here + 1
        out_time[here] = frame[e]
        out_count[here] = count[e]


@compiled
def halve(begin: I64, end: I64, time: I32, count: I32, n_frames: int) -> None:
    """Sum the events of two neighbouring frames into one, pixel by pixel and in place; ``end`` moves forward.

    ``n_frames`` is the number of frames afterwards: an odd last one falls away.
    """
    for p in range(len(begin)):
        to = begin[p]
        for e in range(begin[p], end[p]):
            later = time[e] >> 1
            if later >= n_frames:
                break
            if to > begin[p] and time[to - 1] == later:
                count[to - 1] += count[e]
            else:
                time[to] = later
                count[to] = count[e]
                to += 1
        end[p] = to


@compiled
def spread(begin: I64, end: I64, time: I32, count: I32, out: F32) -> None:
    """Add the events of a block's pixels to its dense counts, (N, pixels)."""
    for p in range(len(begin)):
        for e in range(begin[p], end[p]):
            out[time[e], p] += count[e]


@reordered
def add_product(
    product: F32, first: int, shift: F64, sums: F64, n_pixels: int, scale: F64, total: F64, diagonals: F64
) -> None:
    """Add rows ``first``.. of a block's products to the upper triangle of C and to its diagonals.

    ``product`` is that of counts less ``shift``: with the sums of the counts over the block the raw product is
    product + shift1 sums2 + shift2 sums1 - n_pixels shift1 shift2.
    """
    n_frames = len(scale)
    for i in range(product.shape[0]):
        t = first + i
        a = scale[t]
        if a == 0:
            continue
        sums_less = sums[t] - n_pixels * shift[t]
        for u in range(t, n_frames):
            raw = product[i, u - first] + shift[t] * sums[u] + shift[u] * sums_less
            c = raw * a * scale[u]
            total[t, u] += c
            diagonals[u - t] += c


@reordered
def add_band(
    product: F32,
    first: int,
    first_lag: int,
    shift: F64,
    sums: F64,
    n_pixels: int,
    scale: F64,
    band: F64,
    diagonals: F64,
) -> None:
    """Add rows ``first``.. of a block's products to C at the lags ``first_lag``.. only; see :func:`add_product`.

    Column 0 of ``product`` is the frame ``first + first_lag``.
    """
    n_frames = len(scale)
    for i in range(product.shape[0]):
        t = first + i
        a = scale[t]
        if a == 0:
            continue
        sums_less = sums[t] - n_pixels * shift[t]
        for k in range(min(band.shape[1], n_frames - t - first_lag)):
            u = t + first_lag + k
            raw = product[i, i + k] + shift[t] * sums[u] + shift[u] * sums_less
            c = raw * a * scale[u]
            band[t, k] += c
            diagonals[k] += c


@compiled
def add_pairs(
    begin: I64, end: I64, time: I32, count: I32, scale: F64, rows: tuple[int, int], total: F64, diagonals: F64
) -> None:
    """Add all pairs of events of a block's pixels whose earlier frame lies in ``rows`` to C and its diagonals."""
    for p in range(len(begin)):
        for a in range(begin[p], end[p]):
            t = time[a]
            if t < rows[0]:
                continue
            if t >= rows[1]:
                break
            weight = count[a] * scale[t]
            for b in range(a, end[p]):
                u = time[b]
                c = weight * count[b] * scale[u]
                total[t, u] += c
                diagonals[u - t] += c


@compiled
def add_band_pairs(
    begin: I64, end: I64, time: I32, count: I32, scale: F64, rows: tuple[int, int], first_lag: int, band: F64,
    diagonals: F64,
) -> None:  # fmt: skip
    """Add pairs of events as :func:`add_pairs`, at the lags ``first_lag``.. of the band only."""
    n_lags = band.shape[1]
    for p in range(len(begin)):
        later = begin[p]
        for a in range(begin[p], end[p]):
            t = time[a]
            if t < rows[0]:
                continue
            if t >= rows[1]:
                break
            while later < end[p] and time[later] < t + first_lag:
                later += 1
            weight = count[a] * scale[t]
            for b in range(later, end[p]):
                k = time[b] - t - first_lag
                if k >= n_lags:
                    break
                c = weight * count[b] * scale[time[b]]
                band[t, k] += c
                diagonals[k] += c


@compiled
def diagonal_means(c2: NDArray[Any], defined: Bool, low: int, high: int, out: F64) -> None:
    """Mean of C over the pairs of defined frames in [low, high), for each lag; NaN where there is none."""
    pairs = np.zeros(len(out), np.int64)
    out[:] = 0
    for t in range(low, high):
        if defined[t]:
            for u in range(t, min(high, t + len(out))):
                if defined[u]:
                    out[u - t] += c2[t, u]
                    pairs[u - t] += 1
    for lag in range(len(out)):
        out[lag] = out[lag] / pairs[lag] if pairs[lag] else np.nan
