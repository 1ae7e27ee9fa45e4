"""The programs of dense frames in jax: fill a stage's buffer, correlate its block in float64, add it to the sums.

A buffer is (H + 256, P): the last H frames of a level, and 256 that come. Six levels are correlated at a time.
"""

from __future__ import annotations

from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from xpcs_assets.correlate.pallas_frames import LEVELS, ROWS, join_words

_SCAN_ROWS = 8

Lags: TypeAlias = tuple[tuple[int, ...], ...]


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


@partial(jax.jit, static_argnames="lags", donate_argnames="sums")
def accumulate(
    sums: jax.Array,
    total: jax.Array,
    products: tuple[jax.Array, ...],
    made: tuple[jax.Array, ...],
    pairs: tuple[tuple[jax.Array, jax.Array], ...] | None,
    lags: Lags,
) -> tuple[jax.Array, jax.Array]:
    """Add a block to a stage's sums.

    Parameters
    ----------
    sums
        (3, rows, P) float64 G, IP, IF; a row is a lag of a level.
    total, products
        Of each level, as the block's correlation gave them: words, or float64.
    made
        Each level's window, the first one's too.
    pairs
        Per level (lags, H + rows) twice, 1 where a row of the window is the earlier, or the later, frame of a valid
        pair that ends in this block. None: all are valid.
    lags
        The lags of each level.

    Returns
    -------
    sums, history
        The new sums and the (5, H, P) last frames of the levels after the first.
    """
    reach = made[0].shape[0] - ROWS
    added = []
    for level, window in enumerate(made):
        whole = total[level].astype(jnp.float64)
        G = products[level] if products[level].dtype == jnp.float64 else join_words(products[level])
        if pairs is None:
            # A pair's earlier frame reaches back by the lag: frames of the history come in, the last ones wait.
            waits = (window[:reach] - window[-reach:]).astype(jnp.float64)
            IP = jnp.stack([whole + jnp.sum(waits[reach - lag :], axis=0) for lag in lags[level]])
            IF = jnp.broadcast_to(whole, IP.shape)
        else:
            exact = window.astype(jnp.float64)
            IP, IF = (jnp.matmul(side, exact, precision=jax.lax.Precision.HIGHEST) for side in pairs[level])
        added.append(jnp.stack([G, IP, IF]))
    history = jnp.stack([window[-reach:] for window in made[1:]])
    return sums + jnp.concatenate(added, axis=1), history
