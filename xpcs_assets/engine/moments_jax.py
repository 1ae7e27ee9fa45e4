"""From sums per pixel on a device to the moments of static bins: what both forms of the engine in jax end with."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine.kernels import N_MOMENTS
from xpcs_assets.engine.multitau import Moments
from xpcs_assets.engine.partition import Partition
from xpcs_assets.engine.validity import Validity

PADDED_TO = 128
"""Pixels come in multiples of this, so that maps that differ little share compiled programs."""
_BLOCKS = 64


def padded(n_pixels: int) -> int:
    """Pixels of a device's arrays for ``n_pixels`` analysed ones."""
    return -(-n_pixels // PADDED_TO) * PADDED_TO


@jax.jit
def _block_moments(sums: jax.Array, scale: jax.Array, index: jax.Array) -> jax.Array:
    """(3, R, P) sums of R delays, (R, 2) scale of G and of IP and IF -> (R, blocks, 11) moments.

    ``index`` (blocks, 256) names the pixels of each block, P where there is none. Each block is one plain sum: adding
    all pixels into a few bins would make the threads of a GPU queue for them.
    """

    def of_delay(row: tuple[jax.Array, jax.Array]) -> jax.Array:
        of_pixels, factor = row
        G, A, B = of_pixels.at[:, index].get(mode="fill", fill_value=0) * factor[jnp.array([0, 1, 1]), None, None]
        norm = A * B
        ratio = jnp.where(norm > 0, G / jnp.where(norm > 0, norm, 1.0), 0.0)
        each = (G, A, B, G * G, G * A, G * B, A * A, A * B, B * B, ratio, ratio * ratio)
        return jnp.stack([jnp.sum(moment, axis=1) for moment in each], axis=1)

    moments: jax.Array = jax.lax.map(of_delay, (sums.swapaxes(0, 1), scale))
    return moments


class BlockMoments:
    """Collects the moments of the pixels that were not saturated, delay by delay."""

    def __init__(self, validity: Validity, partition: Partition, saturated: NDArray[np.bool_]) -> None:
        self._validity, self._partition = validity, partition
        self._n_pairs = validity.n_pairs()
        edge, self._static = partition.blocks()
        n_blocks, width = len(self._static), int(np.diff(edge).max())
        pixel = edge[:-1, None] + np.arange(width)
        absent = pixel >= edge[1:, None]
        absent |= saturated[np.minimum(pixel, partition.n_pixels - 1)]
        self._n_pixels = np.count_nonzero(~absent, axis=1)
        index = np.full((-(-n_blocks // _BLOCKS) * _BLOCKS, 1 << (width - 1).bit_length()), padded(partition.n_pixels))
        index[:n_blocks, :width] = np.where(absent, padded(partition.n_pixels), pixel)
        self._index = jnp.asarray(index, jnp.int32)
        self._sums = np.zeros((n_blocks, N_MOMENTS, validity.plan.n_delays))

    def add(self, sums: jax.Array, rows: NDArray[np.int64], delays: NDArray[np.int64]) -> None:
        """Reduce (3, R, P) sums of G, IP, IF whose ``rows`` are the ``delays`` of the plan; other rows are unused."""
        plan = self._validity.plan
        paired = self._n_pairs[delays] > 0
        rows, delays = rows[paired], delays[paired]
        scale = np.zeros((sums.shape[1], 2))
        per_frame = 0.5 ** plan.level[delays] / self._n_pairs[delays]
        scale[rows] = np.stack([per_frame * 0.5 ** plan.level[delays], per_frame], axis=1)
        of_blocks = np.asarray(_block_moments(sums, jnp.asarray(scale), self._index))
        self._sums[:, :, delays] = of_blocks[rows, : len(self._static)].transpose(1, 2, 0)

    def moments(self) -> Moments:
        """Sum the blocks into static bins."""
        return Moments.of_blocks(self._validity, self._partition, self._sums, self._n_pixels, self._static)
