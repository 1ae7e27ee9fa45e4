"""Sums of a dynamic bin's products over pairs of frames: the whole map, or a band of lags. How counts become C.

With smoothing ``sqmap`` a count x is divided by the mean of its frame and static bin (means of 0 or below count as 1),
y = x / m; with ``none`` y = x. Then, over the N_q pixels of the dynamic bin::

    C(t1, t2) = N_q sum y(t1) y(t2) / (sum y(t1) sum y(t2))

The division is one number a frame and static bin, so that products are made of the raw counts. These are shifted by
their rounded mean: small integers, whose products are exact in single precision up to a sum of 2**24.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine import twotime_loops as loops
from xpcs_assets.engine.threads import n_threads, share
from xpcs_assets.engine.twotime_counts import Series, SparseSeries
from xpcs_assets.runs.recipe import EmptyBins, Smoothing

_PAIR_COST = 150
"""Multiplications of dense counts that take as long as one pair of events."""
_LEAST_ROWS, _USUAL_ROWS = 64, 256
DEVICE_FRAMES = 8192
"""Longer maps are multiplied strip by strip on the CPU: the device's products come back whole, 8 bytes a pair."""


@dataclass(frozen=True, eq=False)
class Norm:
    """How the counts of a dynamic bin are divided. B blocks, S static bins, N frames.

    Attributes
    ----------
    scale
        (B, N) float64, C(t1, t2) = sum of (x scale)(t1) (x scale)(t2); 0 where undefined.
    shift
        (B, N) float64, whole numbers near the mean count of each frame.
    sums, n_pixels
        (B, N) and (B,), as given.
    slot
        (B,) int64, row of each block's static bin in the sums over static bins.
    defined
        (N,) bool, valid frames with a positive sum over the bin.
    weight
        (S,) part of each static bin in N_q.
    shares
        (S, N) part of each static bin in sum y; 0 where undefined.
    n_static_used
        Static bins with counts.
    counts
        Mean counts of a static bin in a defined frame, of those with any.
    """

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]
    sums: NDArray[np.float64]
    n_pixels: NDArray[np.int64]
    slot: NDArray[np.int64]
    defined: NDArray[np.bool_]
    weight: NDArray[np.float64]
    shares: NDArray[np.float64]
    n_static_used: int
    counts: float

    @classmethod
    def of(
        cls,
        sums: NDArray[np.float64],
        n_pixels: NDArray[np.int64],
        static: NDArray[np.int64],
        valid: NDArray[np.bool_],
        smoothing: Smoothing,
        empty_bins: EmptyBins,
    ) -> Norm:
        """Make it of the sums over the blocks of a dynamic bin.

        Parameters
        ----------
        sums, n_pixels, static
            (B, N), (B,), (B,): counts, pixels and static bin of each block.
        valid
            (N,) bool.
        smoothing
            ``sqmap`` or ``none``.
        empty_bins
            ``excluded``: N_q leaves out static bins without any count; ``zero``: it counts them, as in boost_corr.
        """
        slot = np.unique(static, return_inverse=True)[1]
        pixels = np.bincount(slot, n_pixels)
        total = np.zeros((len(pixels), len(valid)))
        np.add.at(total, slot, sums)
        used = (total[:, valid] > 0).any(axis=1)
        divisor = np.ones_like(total)
        if smoothing == "sqmap":
            mean = total / np.maximum(pixels, 1)[:, None]
            divisor = np.where(mean > 0, mean, 1.0)
        y = total / divisor
        whole = y.sum(axis=0)
        defined = valid & (whole > 0)
        whole = np.where(defined, whole, 1.0)
        entering = np.where(used, pixels, 0.0) if empty_bins == "excluded" else pixels
        n_q = max(float(entering.sum()), 1.0)
        scale = np.where(defined, np.sqrt(n_q) / (divisor * whole), 0.0)
        return cls(
            scale=scale[slot],
            shift=np.rint(sums / np.maximum(n_pixels, 1)[:, None]),
            sums=sums,
            n_pixels=n_pixels,
            slot=slot,
            defined=defined,
            weight=entering / n_q,
            shares=np.where(defined, y / whole, 0.0),
            n_static_used=int(np.count_nonzero(used)),
            counts=float(total[used][:, defined].mean()) if defined.any() else 0.0,
        )

    def of_block(self, block: int) -> tuple[NDArray[np.float64], NDArray[np.float64], int, NDArray[np.float64]]:
        """Shift, sums, pixels and scale of a block, as the loops take them."""
        return self.shift[block], self.sums[block], int(self.n_pixels[block]), self.scale[block]

    def diagonal_means(
        self, diagonals: NDArray[np.float64], first_lag: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """g2 of the lags ``first_lag``.., its error and its pairs, of the (S, lags) sums over static bins.

        The error is the spread of the static bins' influence on g2, G_s + g2 (weight_s - past_s - future_s): G_s is
        their part of g2, past_s and future_s their mean part in sum y of the pairs' frames. With ``sqmap`` this is the
        spread of g2 of the static bins, weighted by their pixels. It takes static bins as independent and alike, so
        that a true change of g2 within the dynamic bin counts as error.
        """
        wanted = slice(first_lag, first_lag + diagonals.shape[1])
        counted = _lagged_sums(self.defined, self.defined)[wanted]
        padding = (0, diagonals.shape[1] - len(counted))
        n_pairs = np.pad(np.rint(counted).astype(np.int64), padding)
        n = np.maximum(n_pairs, 1)
        parts = diagonals / n
        g2 = parts.sum(axis=0)
        past, future = _lagged_sums(self.shares, self.defined), _lagged_sums(self.defined, self.shares)
        both = np.pad((past + future)[:, wanted], ((0, 0), padding)) / n
        influence = parts + g2 * (self.weight[:, None] - both)
        used = self.n_static_used
        error = np.sqrt((influence**2).sum(axis=0) * used / (used - 1)) if used > 1 else np.full(len(g2), np.inf)
        return np.where(n_pairs > 0, g2, np.nan), np.where(n_pairs > 0, error, np.nan), n_pairs


def _lagged_sums(past: NDArray[np.generic], future: NDArray[np.generic]) -> NDArray[np.float64]:
    """Sum over t of past(t) future(t + lag) along the last axis, for every lag from 0."""
    n = past.shape[-1]
    spectrum = np.conj(np.fft.rfft(past, 2 * n)) * np.fft.rfft(future, 2 * n)
    return np.asarray(np.fft.irfft(spectrum, 2 * n)[..., :n])


class WholeMap:
    """C of every pair t1 <= t2, (N, N) float64, and the sums of its diagonals by static bin, (S, N).

    ``device`` is ``cpu`` or ``jax``; with the latter dense counts of up to :data:`DEVICE_FRAMES` frames are multiplied
    on jax's device.
    """

    def __init__(self, n_frames: int, n_static: int, device: str = "cpu") -> None:
        self._on_device = device == "jax" and n_frames <= DEVICE_FRAMES
        self.c2 = np.zeros((n_frames, n_frames))
        self.diagonals = np.zeros((n_static, n_frames))

    def add(self, series: Series, norm: Norm, block: int) -> None:
        """Add the products of a block."""
        n, diagonals = len(self.c2), self.diagonals[norm.slot[block]]
        events = series.events()
        if events is not None and _PAIR_COST * _pairs(events) < norm.n_pixels[block] * n * n / 2:
            _add_pairs(events, norm.scale[block], n, self.c2, diagonals)
            return
        counts = series.dense(norm.shift[block])
        products = _products_on_device(counts) if self._on_device else None
        edges = _strips(n)
        last = len(edges) - 2
        own = np.zeros((len(edges) // 2, n))

        def work(begin: int, end: int) -> None:
            for item in range(begin, end):
                # An early strip has many partners, a late one few: together they make even shares.
                for first, stop in (edges[item : item + 2], edges[last - item : last - item + 2]):
                    product = (
                        counts[first:stop] @ counts[first:].T if products is None else products[first:stop, first:]
                    )
                    loops.add_product(np.ascontiguousarray(product), first, *norm.of_block(block), self.c2, own[item])

        share(work, len(own))
        diagonals += own.sum(axis=0)

    def finished(self, defined: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The upper triangle with its diagonal, NaN where a frame is undefined, 0 below."""
        c2 = self.c2.astype(np.float32)
        c2[~defined] = np.nan
        c2[:, ~defined] = np.nan
        # What is below the diagonal is 0 already, but for the rows and columns just marked.
        for row in range(len(c2)):
            c2[row, :row] = 0
        return c2


class Band:
    """C at the lags ``first_lag``.. only, (N, lags) float64, and the sums of its diagonals, (S, lags)."""

    def __init__(self, n_frames: int, first_lag: int, n_lags: int, n_static: int) -> None:
        self.first_lag = first_lag
        self.c2 = np.zeros((n_frames, n_lags))
        self.diagonals = np.zeros((n_static, n_lags))

    def add(self, series: Series, norm: Norm, block: int) -> None:
        """Add the products of a block."""
        n, n_lags = self.c2.shape
        diagonals = self.diagonals[norm.slot[block]]
        events = series.events()
        if events is not None and _PAIR_COST * _pairs(events) * 2 * n_lags / n < norm.n_pixels[block] * n * n_lags:
            _add_pairs(events, norm.scale[block], n, self.c2, diagonals, first_lag=self.first_lag)
            return
        counts, lag = series.dense(norm.shift[block]), self.first_lag
        starts = range(0, n - lag, max(_LEAST_ROWS, n_lags))
        own = np.zeros((len(starts), n_lags))

        def work(begin: int, end: int) -> None:
            for item in range(begin, end):
                first = starts[item]
                rows = counts[first : first + starts.step]
                partners = counts[first + lag : first + lag + len(rows) + n_lags - 1]
                loops.add_band(rows @ partners.T, first, lag, *norm.of_block(block), self.c2, own[item])

        share(work, len(starts))
        diagonals += own.sum(axis=0)

    def finished(self, defined: NDArray[np.bool_]) -> NDArray[np.float32]:
        """C by (earlier frame, lag), NaN where a frame of the pair is undefined or beyond the end."""
        n, n_lags = self.c2.shape
        padded = np.pad(defined, (0, self.first_lag + n_lags))
        there = np.lib.stride_tricks.sliding_window_view(padded[self.first_lag :], n_lags)[:n]
        return np.where(defined[:, None] & there, self.c2, np.nan).astype(np.float32)


def _products_on_device(counts: NDArray[np.float32]) -> NDArray[np.float64]:
    from xpcs_assets.engine.twotime_jax import products

    whole = np.rint(counts)
    # Photons stay whole numbers less a whole shift; detector units need not be.
    return products(whole.astype(np.int32) if np.array_equal(whole, counts) else counts)


def _strips(n_frames: int) -> list[int]:
    """Edges of an even number of strips of rows, enough for the threads and near the size that products like."""
    wanted = 2 * n_threads() * max(1, round(n_frames / (2 * n_threads() * _USUAL_ROWS)))
    n_strips = min(wanted, max(2, n_frames // _LEAST_ROWS * 2))
    return [n_frames * strip // n_strips for strip in range(n_strips + 1)]


def _pairs(events: SparseSeries) -> float:
    """Pairs of events of the same pixel, each with itself too."""
    each = (events.end - events.begin).astype(np.float64)
    return float(each @ (each + 1)) / 2


def _add_pairs(
    events: SparseSeries,
    scale: NDArray[np.float64],
    n_frames: int,
    c2: NDArray[np.float64],
    diagonals: NDArray[np.float64],
    first_lag: int = -1,
) -> None:
    """Add pairs of events, at all lags or in a band; each thread takes some of the earlier frames."""
    parts = n_threads()
    left = 1 - np.arange(parts + 1) / parts
    # An early frame of a whole map has more partners than a late one.
    edges = np.rint(n_frames * (1 - (np.sqrt(left) if first_lag < 0 else left))).astype(int).tolist()
    own = np.zeros((parts, len(diagonals)))

    def work(begin: int, end: int) -> None:
        for part in range(begin, end):
            rows = (edges[part], edges[part + 1])
            ours = (events.begin, events.end, events.time, events.count, scale, rows)
            if first_lag < 0:
                loops.add_pairs(*ours, c2, own[part])
            else:
                loops.add_band_pairs(*ours, first_lag, c2, own[part])

    share(work, parts)
    diagonals += own.sum(axis=0)
