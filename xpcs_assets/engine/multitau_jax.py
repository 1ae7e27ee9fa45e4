"""The engine on a GPU, through jax: dense frames. Without a GPU it runs on jax's CPU, where it is tested.

The contract and the definition of ``multitau``. Levels go six at a time, a stage: a stage takes 256 frames of its
first level and hands 4 to the next stage, so that two programs, compiled once for a number of pixels, serve every
level and any number of frames. A block of a stage is correlated in integers by the fused kernel of ``pallas_frames``
on a GPU, and in float64 elsewhere or where the counts do not fit; the sums are float64, exact in both. jax's 64-bit
mode is switched on for the calls of this module only.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine import blocks_jax, pallas_frames
from xpcs_assets.engine.blocks_jax import Lags
from xpcs_assets.engine.delays import Plan
from xpcs_assets.engine.events_jax import JaxEventsCorrelator
from xpcs_assets.engine.moments_jax import BlockMoments, padded
from xpcs_assets.engine.multitau import Correlator, Moments, as_kernel_type, is_dense, mark_saturated, windows
from xpcs_assets.engine.pallas_frames import LEVELS, ROWS
from xpcs_assets.engine.partition import Partition
from xpcs_assets.engine.validity import Validity
from xpcs_assets.readers.series import Chunk, Events

_LARGEST_UINT8 = 255


def make_jax_correlator(plan: Plan, partition: Partition, *, occupancy: float = 1.0) -> Correlator:
    """Choose the form of the engine on jax's device, as :func:`~xpcs_assets.engine.multitau.make_correlator`."""
    return JaxCorrelator(plan, partition) if is_dense(occupancy) else JaxEventsCorrelator(plan, partition)


def device_bytes_per_pixel(plan: Plan) -> int:
    """Memory of the device that :class:`JaxCorrelator` needs for each analysed pixel, at most."""
    n_stages, rows = -(-plan.n_levels // LEVELS), sum(map(len, _lags_of(plan, 0)))
    frames, sums = 8 * (ROWS + LEVELS * plan.history), 8 * (LEVELS + 3 * rows)
    # At the end a stage's frames are there three times: its buffer, a copy, the levels' windows.
    return n_stages * (frames + sums) + 3 * frames + 3 * sums


def _lags_of(plan: Plan, stage: int) -> Lags:
    """Lags of a stage's levels: those of a plan long enough, so that short ones need no programs of their own."""
    first = int(plan.lag[plan.level_start[1]]) if plan.n_levels > 1 else plan.history
    upper = tuple(range(first, plan.history + 1))
    lowest = tuple(range(int(plan.lag[0]), plan.history + 1)) if stage == 0 else upper
    return (lowest, *(upper,) * (LEVELS - 1))


class Sums(NamedTuple):
    """Sums of a stage, see ``blocks_jax``: of products, of frames, and of frames that lack a partner."""

    G: jax.Array
    total: jax.Array
    lone: jax.Array


class _Stage:
    """Six levels: the frames that wait, the last ones of each level, and the sums."""

    def __init__(self, plan: Plan, number: int, n_pixels: int, *, integer: bool) -> None:
        self.number = number
        self.lags = _lags_of(plan, number)
        self.begin = 0
        self.n_new = 0
        self.peak = _LARGEST_UINT8
        dtype = jnp.int16 if integer else jnp.float64
        self.buffer = jnp.zeros((plan.history + ROWS, n_pixels), dtype)
        self.history = jnp.zeros((LEVELS - 1, plan.history, n_pixels), dtype)
        rows = sum(map(len, self.lags))
        self.sums = Sums(
            jnp.zeros((rows, n_pixels), jnp.float64),
            jnp.zeros((LEVELS, n_pixels), jnp.float64),
            jnp.zeros((2, rows, n_pixels), jnp.float64),
        )

    def hold(self, counts: np.dtype[Any]) -> None:
        """Go on in a type that holds such counts: int16 for uint8, int32 for other integers, or float64."""
        whole = counts if counts == np.uint8 else np.int32
        dtype = np.promote_types(self.buffer.dtype, np.float64 if counts.kind == "f" else whole)
        if dtype != self.buffer.dtype:
            self.buffer, self.history = self.buffer.astype(dtype), self.history.astype(dtype)

    def fitted(self, window: jax.Array) -> jax.Array:
        """The window in a type that the sums of its largest count fit into; the stage goes on in that."""
        if window.dtype == np.float64 or (self.number == 0 and window.dtype == np.int16):
            return window  # int16 holds what came as uint8: no need to wait for the device to tell the largest
        self.peak = max(self.peak, int(jnp.max(window)))
        if self.peak > pallas_frames.MAX_COUNT:
            self.hold(np.dtype(np.float64))
        elif self.peak > _LARGEST_UINT8:
            self.hold(np.dtype(np.int32))
        return window.astype(self.buffer.dtype)

    def __getstate__(self) -> dict[str, object]:
        return _on_host(self)


class JaxCorrelator:
    """Correlates dense frames on jax's device; events are spread into frames on the host.

    Memory of the device: see :func:`device_bytes_per_pixel`.

    Parameters
    ----------
    plan, partition
        What to correlate.
    kernel
        ``pallas``: the fused kernel, where the counts are integers that fit; ``xla``: float64 throughout; ``auto``:
        the fused kernel on a GPU.
    """

    def __init__(self, plan: Plan, partition: Partition, kernel: Literal["auto", "pallas", "xla"] = "auto") -> None:
        self.partition = partition
        self.validity = Validity(plan)
        on_gpu = jax.default_backend() == "gpu"
        self._interpret = not on_gpu
        integer = kernel == "pallas" or (kernel == "auto" and on_gpu)
        n_pixels = padded(partition.n_pixels)
        self._padding = n_pixels - partition.n_pixels
        self._saturated_events = np.zeros(partition.n_pixels, np.bool_)
        with jax.enable_x64(True):  # noqa: FBT003
            self._saturated = jnp.zeros(n_pixels, jnp.bool_)
            n_stages = -(-plan.n_levels // LEVELS)
            self._stages = [_Stage(plan, number, n_pixels, integer=integer) for number in range(n_stages)]

    def __getstate__(self) -> dict[str, object]:
        return _on_host(self)

    def push(self, chunk: Chunk) -> None:
        """Take the chunk that follows."""
        with jax.enable_x64(True):  # noqa: FBT003
            if isinstance(chunk, Events):
                mark_saturated(chunk, self.partition.position, self._saturated_events)
                for frames, column in windows(chunk, self.partition.pixel, self.partition.position):
                    self._push_frames(frames.begin, frames.counts, frames.valid, column)
            else:
                self._push_frames(chunk.begin, chunk.counts, chunk.valid, self.partition.pixel)

    def _push_frames(
        self, begin: int, counts: NDArray[np.generic], valid: NDArray[np.bool_], pixel: NDArray[np.int64]
    ) -> None:
        self.validity.push(begin, valid)
        stage = self._stages[0]
        column = jnp.asarray(np.pad(pixel, (0, self._padding), mode="edge"), jnp.int32)
        low = 0
        while low < len(valid):
            # Powers of two, so that chunks of any length share few programs.
            most = min(len(valid) - low, ROWS - stage.n_new)
            rows = slice(low, low + (1 << most.bit_length() - 1))
            # A copy: jax reads a numpy array after the call has returned.
            piece = as_kernel_type(counts[rows]).copy()
            stage.hold(piece.dtype)
            at = jnp.asarray(stage.buffer.shape[0] - ROWS + stage.n_new, jnp.int32)
            stage.buffer, self._saturated = blocks_jax.load(
                stage.buffer, self._saturated, jnp.asarray(piece), column, jnp.asarray(valid[rows].copy()), at
            )
            low = rows.stop
            stage.n_new += len(piece)
            if stage.n_new == ROWS:
                self._take(stage)

    def _take(self, stage: _Stage) -> None:
        """Correlate a stage's full buffer, and hand the frames of the level above to the next stage."""
        stage.sums, stage.history, coming, _ = self._correlated(stage, stage.buffer, stage.sums)
        stage.buffer = blocks_jax.start_over(stage.buffer)
        stage.begin += ROWS
        stage.n_new = 0
        if stage.number + 1 < len(self._stages):
            above = self._stages[stage.number + 1]
            above.buffer = self._inserted(above, above.buffer, coming)
            above.n_new += coming.shape[0]
            if above.n_new == ROWS:
                self._take(above)

    @staticmethod
    def _inserted(stage: _Stage, buffer: jax.Array, rows: jax.Array) -> jax.Array:
        stage.hold(rows.dtype)
        at = jnp.asarray(buffer.shape[0] - ROWS + stage.n_new, jnp.int32)
        dtype = stage.buffer.dtype
        inserted: jax.Array = blocks_jax.insert(buffer.astype(dtype), rows.astype(dtype), at)
        return inserted

    def _correlated(
        self, stage: _Stage, window: jax.Array, sums: Sums
    ) -> tuple[Sums, jax.Array, jax.Array, tuple[jax.Array, ...]]:
        """New sums (the given ones are used up) and history of a stage, the frames of the level above, all windows."""
        window = stage.fitted(window)
        keep, missing = self._masks(stage)
        if window.dtype == jnp.float64:
            total, products, made, coming = blocks_jax.correlate_block(
                window, stage.history, jnp.asarray(keep, jnp.float64), lags=stage.lags
            )
        else:
            with jax.enable_x64(False):  # noqa: FBT003
                total, products, made, coming = pallas_frames.correlate_block(
                    window, stage.history, jnp.asarray(keep, jnp.int32), lags=stage.lags,
                    n_plain=pallas_frames.n_plain_levels(stage.peak), interpret=self._interpret,
                )  # fmt: skip
        G, whole, history = blocks_jax.add_block(sums.G, sums.total, total, products, made)
        lone = sums.lone if missing is None else blocks_jax.add_lone(sums.lone, (window, *made), missing)
        return Sums(G, whole, lone), history, coming, (window, *made)

    def _masks(self, stage: _Stage) -> tuple[NDArray[np.bool_], tuple[jax.Array, ...] | None]:
        """(6, 128) which frames of the next level count, and ``missing`` of ``add_lone``, None where nothing is."""
        plan = self.validity.plan
        keep = np.zeros((LEVELS, ROWS // 2), np.bool_)
        missing, whole = [], True
        for i, lags in enumerate(stage.lags):
            level, n_rows = stage.number * LEVELS + i, ROWS >> i
            valid = np.zeros(plan.history + n_rows, np.bool_)
            if level < plan.n_levels:
                valid = self._valid(level, stage.begin >> i, n_rows)
                whole &= bool(valid.all())
            if level + 1 < plan.n_levels:
                keep[i, : n_rows // 2] = self._valid(level + 1, stage.begin >> i + 1, n_rows // 2)[plan.history :]
            missing.append(_missing(valid, plan.history, lags))
        return keep, None if whole else tuple(jnp.asarray(sides) for sides in missing)

    def _valid(self, level: int, begin: int, n_rows: int) -> NDArray[np.bool_]:
        """Validity of ``n_rows`` frames of a level and of the H before them."""
        reach = self.validity.plan.history
        valid = np.zeros(reach + n_rows, np.bool_)
        known = self.validity.level(level)[max(0, begin - reach) : begin + n_rows]
        at = reach - min(begin, reach)
        valid[at : at + len(known)] = known
        return valid

    def finish(self) -> Moments:
        """Moments of the frames so far; the state stays as it is."""
        saturated = self._saturated_events | np.asarray(self._saturated)[: self.partition.n_pixels]
        plan = self.validity.plan
        coming: jax.Array | None = None
        with jax.enable_x64(True):  # noqa: FBT003
            reduction = BlockMoments(self.validity, self.partition, saturated)
            for stage in self._stages:
                buffer, n_rows = jnp.array(stage.buffer), plan.history + stage.n_new
                if coming is not None:
                    buffer, n_rows = self._inserted(stage, buffer, coming), n_rows + coming.shape[0]
                rest = blocks_jax.cut(buffer, jnp.asarray(n_rows, jnp.int32))
                copied = Sums(*(jnp.array(each) for each in stage.sums))
                sums, _, coming, last = self._correlated(stage, rest, copied)
                reduction.add(blocks_jax.pair_sums(*sums, last, stage.lags), *self._rows(stage))
        return reduction.moments()

    def _rows(self, stage: _Stage) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of a stage's sums, and the delays of the plan that they are."""
        plan, rows, at = self.validity.plan, [], 0
        for i, lags in enumerate(stage.lags):
            of_level = np.flatnonzero(plan.level == stage.number * LEVELS + i)
            rows.append(np.stack([at + plan.lag[of_level] - lags[0], of_level]))
            at += len(lags)
        row, delay = np.concatenate(rows, axis=1)
        return row, delay


def _missing(valid: NDArray[np.bool_], reach: int, lags: tuple[int, ...]) -> NDArray[np.float64]:
    """(2, lags, rows) 1 where a valid row lacks its later or its earlier partner; the later one is a new row."""
    missing = np.zeros((2, len(lags), len(valid)))
    for row, lag in enumerate(lags):
        earlier, later = valid[reach - lag : len(valid) - lag], valid[reach:]
        missing[0, row, reach - lag : len(valid) - lag] = earlier & ~later
        missing[1, row, reach:] = later & ~earlier
    return missing


def _on_host(holder: object) -> dict[str, object]:
    """What an object holds, with its arrays on the host: unpickled outside 64-bit mode they keep their precision."""
    on_host: dict[str, object] = jax.tree.map(
        lambda value: np.asarray(value) if isinstance(value, jax.Array) else value, vars(holder)
    )
    return on_host
