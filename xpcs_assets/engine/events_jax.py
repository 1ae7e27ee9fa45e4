"""The engine on a GPU, through jax: photon events, sorted and correlated by neighbours in memory.

Events lie in the order (pixel, time). Of a level's events, each is compared with the one ``s`` places later for
s = 1, 2, ... while any two of one pixel are within the longest lag: no more than that many places, since a pixel has
one event a frame. Merging pairs of frames keeps the order. Arrays have the lengths of a ladder (x1.25), so that a few
programs, compiled once, serve all. Sums are float64: exact as long as they are integers below 2**53.
"""

from __future__ import annotations

from functools import partial
from itertools import count as counting

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine.delays import Plan
from xpcs_assets.engine.moments_jax import BlockMoments, padded
from xpcs_assets.engine.multitau import Moments, mark_saturated, to_events
from xpcs_assets.engine.partition import Partition
from xpcs_assets.engine.validity import Validity
from xpcs_assets.readers.series import Chunk, Frames

_SHORTEST = 16384
_RUNG = 1.25
_SHRINK = 0.25
"""A level's arrays are cut when at most this part of them is left in use: each length has programs of its own."""

EventArrays = tuple[jax.Array, jax.Array, jax.Array]
"""Pixel int32, time int32, count float64; in the order (pixel, time), one a frame; unused places have pixel P."""


def ladder(n: int) -> int:
    """The length that arrays for n events get: the next of 16384, 20480, 25600, ..."""
    return next(int(rung) for rung in (_SHORTEST * _RUNG**k for k in counting()) if int(rung) >= n)


@jax.jit
def _sorted(pixel: jax.Array, time: jax.Array, count: jax.Array) -> EventArrays:
    # One key and one value: what XLA gives to a GPU's radix sort; with more it compares.
    key, count = jax.lax.sort(((pixel.astype(jnp.uint64) << 32) | time.astype(jnp.uint64), count), num_keys=1)
    return (key >> 32).astype(jnp.int32), (key & 0xFFFFFFFF).astype(jnp.int32), count


@partial(jax.jit, static_argnames="n_pixels")
def _merge(
    pixel: jax.Array, time: jax.Array, count: jax.Array, halvings: jax.Array, status: jax.Array, n_pixels: int
) -> tuple[EventArrays, jax.Array]:
    """Join the events of one pixel and one new frame (``time >> halvings``); drop those of frames that do not count.

    Returns
    -------
    events, n_used
        The events, first in their arrays, and how many they are.
    """
    size = len(pixel)
    time = time >> halvings
    alive = (pixel < n_pixels) & (status[time] > 0)
    changes = jnp.concatenate([jnp.ones(1, jnp.bool_), (pixel[1:] != pixel[:-1]) | (time[1:] != time[:-1])])
    place = jnp.cumsum(alive & changes, dtype=jnp.int32) - 1
    to = jnp.where(alive, place, size)
    events = (
        jnp.full(size, n_pixels, jnp.int32).at[to].set(pixel, mode="drop"),
        jnp.zeros(size, jnp.int32).at[to].set(time, mode="drop"),
        jnp.zeros(size, jnp.float64).at[to].add(count, mode="drop"),
    )
    return events, place[-1] + 1


@partial(jax.jit, static_argnames=("n_pixels", "reach"))
def _sums(
    pixel: jax.Array,
    time: jax.Array,
    count: jax.Array,
    shortest: jax.Array,
    status: jax.Array,
    n_pixels: int,
    reach: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Sums over a level's events.

    Returns
    -------
    G
        (reach, P) sums of products of a pixel's events that are 1, 2, ... ``reach`` frames apart, from ``shortest`` on.
    total
        (P,) sums of counts.
    n_near
        Events with a partner in reach that does not count.
    """
    size = len(pixel)
    beyond = (
        jnp.concatenate([pixel, jnp.full(reach, -1, jnp.int32)]),
        jnp.concatenate([time, jnp.zeros(reach, jnp.int32)]),
        jnp.concatenate([count, jnp.zeros(reach, jnp.float64)]),
    )

    def compare(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        shift, sums, _ = state
        other, later, its_count = (jax.lax.dynamic_slice_in_dim(array, shift, size) for array in beyond)
        apart = later - time
        near = (other == pixel) & (pixel < n_pixels) & (apart <= reach)
        to = jnp.where(near & (apart >= shortest), pixel * reach + apart - 1, n_pixels * reach)
        return shift + 1, sums.at[to].add(count * its_count, mode="drop"), jnp.any(near)

    def any_left(state: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        return (state[0] <= reach) & state[2]

    start = (jnp.int32(1), jnp.zeros(n_pixels * reach, jnp.float64), jnp.bool_(True))  # noqa: FBT003
    G = jax.lax.while_loop(any_left, compare, start)[1].reshape(n_pixels, reach).T
    total = jnp.zeros(n_pixels, jnp.float64).at[pixel].add(count, mode="drop")
    return G, total, jnp.count_nonzero((pixel < n_pixels) & (status[time] == 1))


@partial(jax.jit, static_argnames=("n_pixels", "size"))
def _near_edges(
    pixel: jax.Array, time: jax.Array, count: jax.Array, status: jax.Array, n_pixels: int, size: int
) -> EventArrays:
    """Only the events with a partner in reach that does not count, of which there are at most ``size``."""
    chosen = jnp.nonzero((pixel < n_pixels) & (status[time] == 1), size=size, fill_value=len(pixel))[0]
    return (
        pixel.at[chosen].get(mode="fill", fill_value=n_pixels),
        time.at[chosen].get(mode="fill", fill_value=0),
        count.at[chosen].get(mode="fill", fill_value=0),
    )


@partial(jax.jit, static_argnames=("n_pixels", "reach"))
def _lone_sums(
    pixel: jax.Array, time: jax.Array, count: jax.Array, status: jax.Array, n_pixels: int, reach: int
) -> jax.Array:
    """(2, reach, P) sums of the counts whose later, and whose earlier, partner at each lag does not count."""
    sides = []
    for partners in (time + jnp.arange(1, reach + 1)[:, None], time - jnp.arange(1, reach + 1)[:, None]):
        known = (partners >= 0) & (partners < len(status))
        sound = known & (status[jnp.where(known, partners, 0)] > 0)
        lone = jnp.where(sound, 0.0, count)
        sides.append(jnp.zeros((reach, n_pixels), jnp.float64).at[:, pixel].add(lone, mode="drop"))
    return jnp.stack(sides)


class JaxEventsCorrelator:
    """Keeps the events of analysed pixels on the host (12 bytes each); sorts and correlates them on jax's device.

    The device needs about 80 bytes an event and 8 x (6 H + 1) bytes an analysed pixel at the end.
    """

    def __init__(self, plan: Plan, partition: Partition) -> None:
        self.partition = partition
        self.validity = Validity(plan)
        self._events: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]] = []
        self._saturated = np.zeros(partition.n_pixels, np.bool_)

    def push(self, chunk: Chunk) -> None:
        """Take the chunk that follows."""
        if isinstance(chunk, Frames):
            chunk = to_events(chunk)
        self.validity.push(chunk.begin, chunk.valid)
        mark_saturated(chunk, self.partition.position, self._saturated)
        position = self.partition.position[chunk.pixel]
        kept = (position >= 0) & chunk.valid[chunk.frame - chunk.begin] & (chunk.count > 0)
        self._events.append((position[kept], chunk.frame[kept].astype(np.int32), chunk.count[kept].astype(np.int32)))

    def finish(self) -> Moments:
        """Moments of the frames so far; more may follow."""
        plan = self.validity.plan
        n_pixels, reach = padded(self.partition.n_pixels), plan.history
        with jax.enable_x64(True):  # noqa: FBT003
            reduction = BlockMoments(self.validity, self.partition, self._saturated)
            events = self._on_device(n_pixels)
            for level in range(plan.n_levels):
                delays = np.arange(plan.level_start[level], plan.level_start[level + 1])
                status = self._status(level)
                events, n_used = _merge(*events, jnp.int32(level > 0), status, n_pixels)
                events = _shrunk(events, int(n_used))
                G, total, n_near = _sums(*events, jnp.int32(plan.lag[delays[0]]), status, n_pixels, reach)
                near = _near_edges(*events, status, n_pixels, _size_of_few(int(n_near)))
                past, future = _lone_sums(*near, status, n_pixels, reach)
                reduction.add(jnp.stack([G, total - past, total - future]), plan.lag[delays] - 1, delays)
        return reduction.moments()

    def _on_device(self, n_pixels: int) -> EventArrays:
        nothing = (np.zeros(0, np.int32),) * 3
        pixel, time, count = (np.concatenate(column) for column in zip(nothing, *self._events, strict=True))
        padding = (0, ladder(len(pixel)) - len(pixel))
        events: EventArrays = _sorted(
            jnp.asarray(np.pad(pixel, padding, constant_values=n_pixels)),
            jnp.asarray(np.pad(time, padding)),
            jnp.asarray(np.pad(count, padding), jnp.float64),
        )
        return events

    def _status(self, level: int) -> jax.Array:
        """The level's :meth:`Validity.status`, 0 beyond its end; of one length at every level."""
        status = np.zeros(ladder(self.validity.plan.n_frames + 1), np.uint8)
        known = self.validity.status(level)
        status[: len(known)] = known
        return jnp.asarray(status)


def _shrunk(events: EventArrays, n_used: int) -> EventArrays:
    size = ladder(n_used)
    if size > _SHRINK * len(events[0]):
        return events
    pixel, time, count = events
    return pixel[:size], time[:size], count[:size]


def _size_of_few(n: int) -> int:
    """A length for n events near an edge or an invalid frame, of which there are few: steps of 4 are fine enough."""
    size = _SHORTEST
    while size < n:
        size *= 4
    return size
