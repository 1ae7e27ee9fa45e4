"""The fused kernel of dense multi-tau on a GPU: one pass over a block of frames for six levels.

A program holds a few pixels. It reads each frame of the block once, multiplies it by the frames before it, adds pairs
of frames up for the next level and goes on there, so that no product and no lag ever goes through memory. All
arithmetic is in 32-bit integers and exact: counts from 0 to :data:`MAX_COUNT`, split into two halves of 12 bits where
32 products could overflow. Floats and larger counts are for the float64 form in ``multitau_jax``.

The constructs are those that Pallas lowers to Triton. The tests run the kernel in interpret mode on the CPU and lower
it for CUDA; it has not been run on a GPU yet.
"""

from __future__ import annotations

import operator
from functools import partial, reduce
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

ROWS = 256
"""Frames of a block."""
LEVELS = 6
"""Levels that a block passes: the last one still has 8 rows."""
PIXELS = 128
"""Pixels of a program."""
_TILE = 8
_SPLIT_TILE = 4  # the halves need twice the registers
_GROUP = 32
_HALF_BITS = 12
_PLAIN_COUNT = 8191
MAX_COUNT = ((1 << 2 * _HALF_BITS) - 1) >> LEVELS - 1
"""Largest count of a block's first level: 32 such frames make two halves, the block's sum is below 2**31."""
_WORD_BITS = 16
_SHIFTS = {2: (16, 0), 6: (40, 24, 28, 12, 16, 0)}
"""What power of two each word of a sum of products stands for, by the number of words."""

Words: TypeAlias = tuple[jax.Array, ...]


def n_plain_levels(peak: int) -> int:
    """First levels whose products need no splitting when no count is above ``peak``; few answers, few programs."""
    return next((levels for levels in (6, 3) if peak << levels - 1 <= _PLAIN_COUNT), 0)


def join_words(words: jax.Array) -> jax.Array:
    """(2 or 6, lags, P) int32 words -> (lags, P) float64 sums of products."""
    shifts = _SHIFTS[words.shape[0]]
    scale = jnp.asarray([2.0**shift for shift in shifts], jnp.float64)
    return jnp.sum(words.astype(jnp.float64) * scale[:, None, None], axis=0)


def _products(rows: list[jax.Array], reach: int, lag: int, *, split: bool) -> Words:
    """Sum of rows[t] * rows[t - lag] over the rows after the first ``reach``: whole, or (high, mixed, low)."""
    pairs = [(rows[t], rows[t - lag]) for t in range(reach, len(rows))]
    if not split:
        return (_added([a * b for a, b in pairs]),)
    low = (1 << _HALF_BITS) - 1
    halves = [(a >> _HALF_BITS, a & low, b >> _HALF_BITS, b & low) for a, b in pairs]
    return (
        _added([a * b for a, _, b, _ in halves]),
        _added([a * d + c * b for a, c, b, d in halves]),
        _added([c * d for _, c, _, d in halves]),
    )


def _added(terms: list[jax.Array]) -> jax.Array:
    return reduce(operator.add, terms)


def _sum_level(
    level: int, window: Any, coming: Any, at: int, keep: Any, *, lags: tuple[int, ...], reach: int, split: bool
) -> tuple[list[Words], jax.Array]:
    """Words of each lag and the total over a level's new rows; write its pairs to ``coming`` from row ``at``."""
    nothing = jnp.zeros((PIXELS,), jnp.int32)
    n_rows = ROWS >> level
    n_parts, n_tile = (3, _SPLIT_TILE) if split else (1, _TILE)

    def tile(first: jax.Array, state: tuple[list[Words], jax.Array]) -> tuple[list[Words], jax.Array]:
        sums, total = state
        rows = [window[first + i, :].astype(jnp.int32) for i in range(reach + n_tile)]
        for i in range(0, n_tile, 2):
            half = (first + i) // 2
            pair = (rows[reach + i] + rows[reach + i + 1]) * keep[level, half]
            coming[at + half, :] = pair.astype(coming.dtype)
        products = [_products(rows, reach, lag, split=split) for lag in lags]
        sums = [tuple(s + p for s, p in zip(*pair, strict=True)) for pair in zip(sums, products, strict=True)]
        return sums, total + _added(rows[reach:])

    def group(index: jax.Array, state: tuple[list[Words], jax.Array]) -> tuple[list[Words], jax.Array]:
        words, total = state
        begin, n_tiles = index * _GROUP, min(_GROUP, n_rows) // n_tile
        fresh: list[Words] = [(nothing,) * n_parts for _ in lags]
        sums, total = jax.lax.fori_loop(0, n_tiles, lambda t, s: tile(begin + t * n_tile, s), (fresh, total))
        cut = [[part for s in of_lag for part in (s >> _WORD_BITS, s & (1 << _WORD_BITS) - 1)] for of_lag in sums]
        return [tuple(w + c for w, c in zip(*pair, strict=True)) for pair in zip(words, cut, strict=True)], total

    words: list[Words] = [(nothing,) * (2 * n_parts) for _ in lags]
    found: tuple[list[Words], jax.Array] = jax.lax.fori_loop(0, max(1, n_rows // _GROUP), group, (words, nothing))
    return found


def _kernel(
    window: Any, history: Any, keep: Any, total: Any, *refs: Any,
    lags: tuple[tuple[int, ...], ...], n_plain: int, barrier: bool,
) -> None:  # fmt: skip
    reach = history.shape[1]
    words, windows = refs[:LEVELS], (window, *refs[LEVELS:])
    for level in range(LEVELS):
        at = reach if level + 1 < LEVELS else 0
        for i in range(at):
            windows[level + 1][i, :] = history[level, i, :]
        sums, total_of_level = _sum_level(
            level, windows[level], windows[level + 1], at, keep,
            lags=lags[level], reach=reach, split=level >= n_plain,
        )  # fmt: skip
        total[level, :] = total_of_level
        for row, of_lag in enumerate(sums):
            for number, word in enumerate(of_lag):
                words[level][number, row, :] = word
        if barrier:
            # The next level's rows may be read by other threads than those that wrote them.
            triton.debug_barrier()


@partial(jax.jit, static_argnames=("lags", "n_plain", "interpret"))
def correlate_block(
    window: jax.Array,
    history: jax.Array,
    keep: jax.Array,
    *,
    lags: tuple[tuple[int, ...], ...],
    n_plain: int,
    interpret: bool,
) -> tuple[jax.Array, tuple[jax.Array, ...], tuple[jax.Array, ...], jax.Array]:
    """Correlate a block of frames with itself and with the frames before it, at six levels.

    Call it with jax's 64-bit mode off.

    Parameters
    ----------
    window
        (H + 256, P) int16 with counts up to 255, or int32 up to :data:`MAX_COUNT`: the last H frames and the block;
        P a multiple of :data:`PIXELS`; frames that do not count are 0.
    history
        (5, H, P) of the same type, the last H frames of the levels after the first.
    keep
        (6, 128) int32, 0 where a frame of the next level does not count, else 1.
    lags
        The lags of each level, all at most H.
    n_plain
        See :func:`n_plain_levels`.
    interpret
        Run it as plain jax, on any device.

    Returns
    -------
    total
        (6, P) int32, sum of each level's new frames.
    words
        Per level (2 or 6, lags, P) int32, see :func:`join_words`.
    windows
        Per level after the first (H + its rows, P) of the type of ``window``.
    coming
        (4, P) of that type, the frames of the level that follows the six.
    """
    reach, n_pixels = history.shape[1], window.shape[1]
    n_words = [2 if level < n_plain else 6 for level in range(LEVELS)]
    sums = [(LEVELS, n_pixels), *((n_words[level], len(lags[level]), n_pixels) for level in range(LEVELS))]
    rows = [*((reach + (ROWS >> level), n_pixels) for level in range(1, LEVELS)), (ROWS >> LEVELS, n_pixels)]
    shapes = [*((shape, jnp.int32) for shape in sums), *((shape, window.dtype) for shape in rows)]
    total, *rest = pl.pallas_call(
        partial(_kernel, lags=lags, n_plain=n_plain, barrier=not interpret),
        grid=(n_pixels // PIXELS,),
        in_specs=[
            _of_pixels(window.shape),
            _of_pixels(history.shape),
            pl.BlockSpec(keep.shape, lambda _: (0, 0)),
        ],
        out_specs=[_of_pixels(shape) for shape, _ in shapes],
        out_shape=[jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes],  # type: ignore[no-untyped-call]
        compiler_params=triton.CompilerParams(num_warps=4, num_stages=1),
        interpret=interpret,
        name="multitau_block",
    )(window, history, keep)
    return total, tuple(rest[:LEVELS]), tuple(rest[LEVELS:-1]), rest[-1]


def _of_pixels(shape: tuple[int, ...]) -> pl.BlockSpec:
    """All of an array but its last axis, of which a program has its own pixels."""
    return pl.BlockSpec((*shape[:-1], PIXELS), lambda block: (*(0,) * (len(shape) - 1), block))
