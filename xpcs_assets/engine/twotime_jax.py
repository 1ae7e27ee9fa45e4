"""Products of frames for two-time correlation on a GPU, through jax: exact, on units that multiply 8-bit integers.

The static-bin mean of ``sqmap`` smoothing is one number a frame, so that C_q(t1, t2) is a sum over static bins of
products of raw counts, (X_s X_s^T) / (m_s m_s^T). Counts are integers: cut into pieces of 7 bits, signed, they are
multiplied as 8-bit integers and summed in 32 bits without any rounding.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

_PIECE_BITS = 7
_LARGEST = (127, 16319, 2088895)
"""Largest count that fits into 1, 2, 3 pieces, each from -128 to 127."""
_PIXELS = 16384
"""Pixels of a block: 128 * 128 * 16384 is below 2**31."""
_FRAMES = 128


@partial(jax.jit, static_argnames="n_pieces", donate_argnames="sums")
def _add_block(sums: jax.Array, block: jax.Array, n_pieces: int) -> jax.Array:
    """Add X X^T of a (T, pixels) block of integers to the (T, T) float64 sums."""
    rest, half = block.astype(jnp.int32), 1 << _PIECE_BITS - 1
    pieces = []
    for _ in range(n_pieces - 1):
        pieces.append(((rest + half) & (2 * half - 1)) - half)
        rest = (rest - pieces[-1]) >> _PIECE_BITS
    pieces = [piece.astype(jnp.int8) for piece in (*pieces, rest)]
    for i, one in enumerate(pieces):
        for j, other in enumerate(pieces[i:], start=i):
            product = _multiplied(one, other, jnp.int32).astype(jnp.float64) * 2.0 ** (_PIECE_BITS * (i + j))
            sums += product if i == j else product + product.T
    return sums


@partial(jax.jit, donate_argnames="sums")
def _add_floats(sums: jax.Array, block: jax.Array) -> jax.Array:
    """Add X X^T of a (T, pixels) block to the (T, T) float64 sums, in float64."""
    exact = block.astype(jnp.float64)
    return sums + _multiplied(exact, exact, jnp.float64)


def _multiplied(one: jax.Array, other: jax.Array, dtype: type) -> jax.Array:
    highest = jax.lax.Precision.HIGHEST
    return jax.lax.dot_general(one, other, (((1,), (1,)), ((), ())), precision=highest, preferred_element_type=dtype)


def products(counts: NDArray[np.generic]) -> NDArray[np.float64]:
    """Sum over pixels of the product of every two frames.

    Parameters
    ----------
    counts
        (T, P) integers, which give exact sums as long as these are below 2**53, or floats, multiplied in float64.

    Returns
    -------
    (T, T) float64, ``counts @ counts.T``. The device holds 20 bytes x T**2 and a block of 16,384 pixels at a time.
    """
    n_frames, n_pixels = counts.shape
    padding = -n_frames % _FRAMES
    n_pieces = _pieces_of(counts)
    with jax.enable_x64(True):  # noqa: FBT003
        sums = jnp.zeros((n_frames + padding, n_frames + padding), jnp.float64)
        for low in range(0, n_pixels, _PIXELS):
            part = counts[:, low : low + _PIXELS]
            block = jnp.asarray(np.pad(part, ((0, padding), (0, -part.shape[1] % _width(n_pixels)))))
            sums = _add_block(sums, block, n_pieces) if n_pieces else _add_floats(sums, block)
        return np.array(sums[:n_frames, :n_frames])


def _width(n_pixels: int) -> int:
    """What the pixels of a block are a multiple of: whole blocks, or few lengths where there is less than one."""
    return _PIXELS if n_pixels > _PIXELS else max(_FRAMES, 1 << (n_pixels - 1).bit_length())


def _pieces_of(counts: NDArray[np.generic]) -> int:
    """Pieces that integers are cut into; 0 for floats and for larger integers."""
    if counts.dtype.kind not in "iu" or counts.size == 0:
        return 0
    largest = max(int(counts.max()), -int(counts.min()))
    return next((n for n, most in enumerate(_LARGEST, start=1) if largest <= most), 0)
