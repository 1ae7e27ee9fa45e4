"""The programs of dense frames in jax: fill a stage's buffer, correlate its block in float64, add it to the sums.

A buffer is (H + 256, P): the last H frames of a level, and 256 that come. Six levels are correlated at a time.
"""

from __future__ import annotations

from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from xpcs_assets.engine.pallas_frames import LEVELS, ROWS, join_words

_SCAN_ROWS = 8

Lags: TypeAlias = tuple[tuple[int, ...], ...]
Windows: TypeAlias = tuple[jax.Array, ...]


@partial(jax.jit, donate_argnames=("buffer", "saturated"))
def load(
    buffer: jax.Array, saturated: jax.Array, counts: jax.Array, pixel: jax.Array, valid: jax.Array, at: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Put the analysed pixels of (n, columns) frames into the buffer from row ``at``; mark the masked ones.

    Integers below 0 and floats that are NaN are masked; negative floats count.
    """
    rows = counts[:, pixel]
    good = rows >= (-jnp.inf if jnp.issubdtype(rows.dtype, jnp.floating) else 0)
    saturated |= jnp.any(~good & valid[:, None], axis=0)
    rows = jnp.where(good & valid[:, None], rows, 0).astype(buffer.dtype)
    return jax.lax.dynamic_update_slice_in_dim(buffer, rows, at, axis=0), saturated


@partial(jax.jit, donate_argnames="buffer")
def insert(buffer: jax.Array, rows: jax.Array, at: jax.Array) -> jax.Array:
    """Put rows into the buffer from row ``at``."""
    return jax.lax.dynamic_update_slice_in_dim(buffer, rows, at, axis=0)


@partial(jax.jit, donate_argnames="buffer")
def start_over(buffer: jax.Array) -> jax.Array:
    """Make the last frames of a full buffer the history of the next block."""
    return buffer.at[: buffer.shape[0] - ROWS].set(buffer[ROWS:])


@jax.jit
def cut(buffer: jax.Array, n_rows: jax.Array) -> jax.Array:
    """The buffer with the rows from ``n_rows`` on set to 0."""
    return jnp.where(jnp.arange(buffer.shape[0])[:, None] < n_rows, buffer, 0)


@partial(jax.jit, static_argnames="lags")
def correlate_block(
    window: jax.Array, history: jax.Array, keep: jax.Array, *, lags: Lags
) -> tuple[jax.Array, tuple[jax.Array, ...], tuple[jax.Array, ...], jax.Array]:
    """What ``pallas_frames.correlate_block`` does, in float64: for any counts, on any device.

    Instead of words it gives each level's (lags, P) sums of products.
    """
    reach = history.shape[1]
    total, products, made = [], [], []
    for level in range(LEVELS):
        n_rows = ROWS >> level

        def step(sums: jax.Array, begin: jax.Array, at: jax.Array = window, level: int = level) -> tuple[Any, None]:
            new = jax.lax.dynamic_slice_in_dim(at, begin, _SCAN_ROWS)
            pairs = [
                jnp.sum(new * jax.lax.dynamic_slice_in_dim(at, begin - lag, _SCAN_ROWS), axis=0) for lag in lags[level]
            ]
            return sums + jnp.stack(pairs), None

        nothing = jnp.zeros((len(lags[level]), window.shape[1]), window.dtype)
        products.append(jax.lax.scan(step, nothing, reach + jnp.arange(0, n_rows, _SCAN_ROWS))[0])
        total.append(jnp.sum(window[reach:], axis=0))
        half = (window[reach::2] + window[reach + 1 :: 2]) * keep[level, : n_rows // 2, None]
        if level + 1 < LEVELS:
            window = jnp.concatenate([history[level], half])
            made.append(window)
    return jnp.stack(total), tuple(products), tuple(made), half


@partial(jax.jit, donate_argnames=("G", "total"))
def add_block(
    G: jax.Array, total: jax.Array, total_of_block: jax.Array, products: tuple[jax.Array, ...], made: Windows
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Add a block to a stage's sums.

    Parameters
    ----------
    G, total
        (rows, P) and (6, P) float64, sums of products, a row being a lag of a level, and of frames.
    total_of_block, products
        Of each level, as the block's correlation gave them: words, or float64.
    made
        The windows of the levels after the first.

    Returns
    -------
    G, total, history
        The new sums and the (5, H, P) last frames of the levels after the first.
    """
    exact = [level if level.dtype == jnp.float64 else join_words(level) for level in products]
    history = jnp.stack([window[window.shape[0] - _reach(made) :] for window in made])
    return G + jnp.concatenate(exact), total + total_of_block.astype(jnp.float64), history


@partial(jax.jit, donate_argnames="lone")
def add_lone(lone: jax.Array, windows: Windows, missing: Windows) -> jax.Array:
    """Add a block's frames that lack a partner to the (2, rows, P) sums: without a later one, without an earlier one.

    ``missing`` holds for each level (2, lags, rows of its window), 1 where such a frame is.
    """
    highest = jax.lax.Precision.HIGHEST
    found = [
        jnp.matmul(sides, window.astype(jnp.float64), precision=highest)
        for sides, window in zip(missing, windows, strict=True)
    ]
    return lone + jnp.concatenate(found, axis=1)


@partial(jax.jit, static_argnames="lags")
def pair_sums(G: jax.Array, total: jax.Array, lone: jax.Array, windows: Windows, lags: Lags) -> jax.Array:
    """(3, rows, P) G, IP and IF of a stage; the newest frames of its last windows have no later partner yet."""
    rows = []
    for level, window in enumerate(windows):
        for lag in lags[level]:
            waits = jnp.sum(window[window.shape[0] - lag :].astype(jnp.float64), axis=0)
            rows.append(jnp.stack([total[level] - waits, total[level]]))
    return jnp.concatenate([G[None], jnp.stack(rows, axis=1) - lone])


def _reach(made: Windows) -> int:
    """The longest lag, H, of the windows after the first: (H + rows, P), the last of them with 8 rows."""
    return int(made[-1].shape[0]) - (ROWS >> LEVELS - 1)
