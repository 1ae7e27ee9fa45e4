"""The engine on a GPU, through jax; on a machine without one it runs on jax's CPU and is tested there.

The contract and the definition of ``multitau``. Each level takes its frames in blocks of 64 with the history
before them, so that two programs, compiled once for a number of pixels, serve every level and any number of
frames. Sums are float64: jax's 64-bit mode is switched on for the calls of this module only.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.correlate.delays import Plan
from xpcs_assets.correlate.kernels import N_MOMENTS
from xpcs_assets.correlate.multitau import Moments, mark_saturated, windows
from xpcs_assets.correlate.partition import Partition
from xpcs_assets.correlate.validity import Validity
from xpcs_assets.readers.series import Chunk, Events, Frames

_BLOCK_FRAMES = 64
_SCAN_FRAMES = 8
_PIXELS = 1024


@partial(jax.jit, static_argnames="lags", donate_argnames="sums")
def _correlate_block(
    sums: jax.Array, window: jax.Array, past: jax.Array, future: jax.Array, lags: tuple[int, ...]
) -> jax.Array:
    """Add a block to the sums.

    Parameters
    ----------
    sums
        (3, lags, P) G, IP, IF.
    window
        (H + 64, P), history and block; invalid frames are 0.
    past, future
        (lags, H + 64) 1 where the row is the earlier or later frame of a valid pair that ends in this block.
    lags
        Lags of the level.
    """
    history = window.shape[0] - _BLOCK_FRAMES

    def step(G: jax.Array, begin: jax.Array) -> tuple[jax.Array, None]:
        new = jax.lax.dynamic_slice_in_dim(window, begin, _SCAN_FRAMES)
        products = [
            jnp.sum(new * jax.lax.dynamic_slice_in_dim(window, begin - lag, _SCAN_FRAMES), axis=0) for lag in lags
        ]
        return G + jnp.stack(products), None

    begins = history + _SCAN_FRAMES * jnp.arange(_BLOCK_FRAMES // _SCAN_FRAMES)
    G, _ = jax.lax.scan(step, sums[0], begins)
    highest = jax.lax.Precision.HIGHEST
    IP = sums[1] + jnp.matmul(past, window, precision=highest)
    IF = sums[2] + jnp.matmul(future, window, precision=highest)
    return jnp.stack([G, IP, IF])


@jax.jit
def _halve(block: jax.Array, valid: jax.Array) -> jax.Array:
    """(64, P) frames of a level -> (32, P) of the next; ``valid`` (32,) is 0 where a member is invalid."""
    return (block[0::2] + block[1::2]) * valid[:, None]


@partial(jax.jit, static_argnames="n_static")
def _moments(sums: jax.Array, scale: jax.Array, static: jax.Array, good: jax.Array, n_static: int) -> jax.Array:
    """(3, P) sums of one delay -> (n_static, 11) moments over the good pixels."""
    G, A, B = sums * scale[:, None] * good
    norm = A * B
    ratio = jnp.where(norm > 0, G / jnp.where(norm > 0, norm, 1.0), 0.0)
    each = jnp.stack([G, A, B, G * G, G * A, G * B, A * A, A * B, B * B, ratio, ratio * ratio], axis=1)
    return jax.ops.segment_sum(each, static, num_segments=n_static)


class JaxCorrelator:
    """The dense engine on jax's default device; events are spread into frames on the host.

    All arrays on the device have few, fixed shapes: pixels are padded, and a level's frames come 64 at a time.
    """

    def __init__(self, plan: Plan, partition: Partition) -> None:
        self.partition = partition
        self.validity = Validity(plan)
        self._saturated = np.zeros(partition.n_pixels, np.bool_)
        self._n_padded = -(-partition.n_pixels // _PIXELS) * _PIXELS
        self._new = np.zeros((_BLOCK_FRAMES, self._n_padded))
        self._n_new = 0
        self._waiting: list[jax.Array | None] = [None] * plan.n_levels
        self._done = [0] * plan.n_levels
        with jax.enable_x64(True):  # noqa: FBT003
            self._history = [jnp.zeros((plan.history, self._n_padded), jnp.float64) for _ in range(plan.n_levels)]
            self._sums = [
                jnp.zeros((3, len(self._lags(level)), self._n_padded), jnp.float64) for level in range(plan.n_levels)
            ]

    def _lags(self, level: int) -> tuple[int, ...]:
        plan = self.validity.plan
        return tuple(plan.lag[plan.level_start[level] : plan.level_start[level + 1]].tolist())

    def push(self, chunk: Chunk) -> None:
        """Take the chunk that follows."""
        if isinstance(chunk, Events):
            mark_saturated(chunk, self.partition.position, self._saturated)
        with jax.enable_x64(True):  # noqa: FBT003
            for frames, pixel in windows(chunk, self.partition.pixel, self.partition.position):
                self._push_window(frames, pixel)

    def _push_window(self, frames: Frames, pixel: NDArray[np.int64]) -> None:
        low = 0
        while low < len(frames.valid):
            high = min(len(frames.valid), low + _BLOCK_FRAMES - self._n_new)
            counts = frames.counts[low:high, pixel].astype(np.float64)
            valid = frames.valid[low:high]
            counts[~valid] = 0
            self._saturated |= (counts < 0).any(axis=0)
            self.validity.push(frames.begin + low, valid)
            self._new[self._n_new : self._n_new + high - low, : counts.shape[1]] = np.maximum(counts, 0)
            self._n_new += high - low
            if self._n_new == _BLOCK_FRAMES:
                # A copy: jax reads a numpy array after the call has returned.
                self._take(0, jnp.asarray(self._new.copy()))
                self._n_new = 0
            low = high

    def _take(self, level: int, block: jax.Array) -> None:
        """Correlate a whole block of a level, and hand its pairs of frames to the next."""
        begin = self._done[level]
        window = jnp.concatenate([self._history[level], block])
        self._sums[level] = self._added(level, begin, window, self._sums[level])
        self._history[level] = window[_BLOCK_FRAMES:]
        self._done[level] = begin + _BLOCK_FRAMES
        if level + 1 == self.validity.plan.n_levels:
            return
        half, waiting = self._halved(level, begin, block), self._waiting[level + 1]
        self._waiting[level + 1] = half if waiting is None else None
        if waiting is not None:
            self._take(level + 1, jnp.concatenate([waiting, half]))

    def _halved(self, level: int, begin: int, block: jax.Array) -> jax.Array:
        valid = np.zeros(_BLOCK_FRAMES, np.bool_)
        known = self.validity.level(level)[begin : begin + _BLOCK_FRAMES]
        valid[: len(known)] = known
        half: jax.Array = _halve(block, jnp.asarray(valid[0::2] & valid[1::2], jnp.float64))
        return half

    def _added(self, level: int, begin: int, window: jax.Array, sums: jax.Array) -> jax.Array:
        reach, lags = self.validity.plan.history, self._lags(level)
        valid = np.zeros(reach + _BLOCK_FRAMES, np.bool_)
        known = self.validity.level(level)[max(0, begin - reach) : begin + _BLOCK_FRAMES]
        at = reach - min(begin, reach)
        valid[at : at + len(known)] = known
        past, future = np.zeros((2, len(lags), len(valid)))
        for row, lag in enumerate(lags):
            pair = valid[reach:] & valid[reach - lag : len(valid) - lag]
            future[row, reach:] = pair
            past[row, reach - lag : len(valid) - lag] = pair
        added: jax.Array = _correlate_block(sums, window, jnp.asarray(past), jnp.asarray(future), lags)
        return added

    def _with_rest(self) -> Iterator[jax.Array]:
        """Sums of each level, the frames that fill no block yet among them; the state stays as it is."""
        self._new[self._n_new :] = 0
        block = jnp.asarray(self._new.copy())
        for level, history in enumerate(self._history):
            begin = self._done[level]
            yield self._added(level, begin, jnp.concatenate([history, block]), jnp.array(self._sums[level]))
            if level + 1 < self.validity.plan.n_levels:
                half, waiting = self._halved(level, begin, block), self._waiting[level + 1]
                block = jnp.concatenate([half, jnp.zeros_like(half)] if waiting is None else [waiting, half])

    def finish(self) -> Moments:
        """Moments of the frames so far."""
        plan, n_pairs, partition = self.validity.plan, self.validity.n_pairs(), self.partition
        sums = np.zeros((plan.n_delays, partition.n_static, N_MOMENTS))
        padding = (0, self._n_padded - partition.n_pixels)
        good = ~self._saturated
        n_segments = -(-partition.n_static // _BLOCK_FRAMES) * _BLOCK_FRAMES
        with jax.enable_x64(True):  # noqa: FBT003
            static = jnp.asarray(np.pad(partition.static, padding))
            counted = jnp.asarray(np.pad(good.astype(np.float64), padding))
            for level, of_level in enumerate(self._with_rest()):
                for row, d in enumerate(range(plan.level_start[level], plan.level_start[level + 1])):
                    if n_pairs[d]:
                        scale = jnp.asarray(_scale(int(n_pairs[d]), level))
                        of_bins = _moments(of_level[:, row], scale, static, counted, n_segments)
                        sums[d] = np.asarray(of_bins)[: partition.n_static]
        n_pixels = np.bincount(partition.static[good], minlength=partition.n_static).astype(np.int64)
        return Moments(
            plan=plan,
            n_pairs=n_pairs,
            sums=sums,
            n_pixels=n_pixels,
            dynamic_of_static=partition.dynamic_of_static,
            n_dynamic=partition.n_dynamic,
            n_saturated=int(np.count_nonzero(self._saturated)),
        )


def _scale(n_pairs: int, level: int) -> NDArray[np.float64]:
    return np.array([1 / (n_pairs * 4.0**level), *[1 / (n_pairs * 2.0**level)] * 2])
