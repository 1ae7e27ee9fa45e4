"""Correlate what is in memory: ``xpcs_assets.correlate(frames, qmap, frame_time_s=...)``, without site or Dagster.

The engine, the definition and the error bars are the worker's. What only files tell (metadata, dark and flat files,
monitors) is the worker's alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xpcs_assets.correlate.intensity import FrameScale
from xpcs_assets.correlate.memory_bins import Bins, Maps
from xpcs_assets.correlate.memory_data import Data, as_chunks, selected, validity, with_occupancy
from xpcs_assets.engine.delays import make_plan
from xpcs_assets.engine.device import choose_device
from xpcs_assets.engine.multitau import Form, Moments, make_correlator
from xpcs_assets.engine.normalise import normalise
from xpcs_assets.engine.partition import Partition
from xpcs_assets.engine.saxs import Scattering, ScatteringSums
from xpcs_assets.engine.select import Selection, cut, shifted
from xpcs_assets.engine.version import ENGINE
from xpcs_assets.errors import CorrelationError
from xpcs_assets.qmaps.qpartition import QPartition
from xpcs_assets.readers.series import Chunk
from xpcs_assets.results.g2_table import G2Table
from xpcs_assets.runs.recipe import AnalysisSettings, Recipe, selected_bins

_IN_MEMORY = frozenset(
    {
        "begin_frame", "end_frame", "stride", "average", "dynamic_bins", "delays_per_level", "scheme", "empty_bins",
        "error_rule", "exclude_frames", "normalize",
    }
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Correlation(G2Table):
    """g2 of frames in memory. T delays, Nd dynamic and Ns static bins, N analysed frames.

    Attributes
    ----------
    delay_frames, delay_s
        (T,) int64 and float64: delays in analysed frames, and in s.
    g2, g2_error
        (T, Nd) float64, NaN where undefined.
    n_pairs
        (T,) int64, valid pairs of frames of each delay.
    n_static_used
        (T, Nd) int64, static bins in each mean.
    static_g2
        (T, Ns) float64, g2 of each static bin, NaN where undefined.
    q_inv_angstrom, static_q
        (Nd,) and (Ns,) float64, 1/Å; NaN where the map has no q.
    labels
        One a dynamic bin.
    scattering_2d
        (rows, columns) float64, mean counts per pixel and frame; NaN where nothing was measured.
    scattering_1d
        (Ns,) float64, the same on static bins.
    intensity
        (N,) float64, mean counts per pixel of each analysed frame; NaN for invalid frames.
    frame_time_s
        From one analysed frame to the next, s: the detector's frame time x stride x average.
    recipe
        What was asked for.
    segments
        The same of each of so many equal stretches of the run alone, in order.
    name
        What the figures and tables call it.
    """

    delay_frames: NDArray[np.int64]
    delay_s: NDArray[np.float64]
    g2: NDArray[np.float64]
    g2_error: NDArray[np.float64]
    n_pairs: NDArray[np.int64]
    n_static_used: NDArray[np.int64]
    static_g2: NDArray[np.float64]
    q_inv_angstrom: NDArray[np.float64]
    static_q: NDArray[np.float64]
    labels: tuple[str, ...]
    scattering_2d: NDArray[np.float64]
    scattering_1d: NDArray[np.float64]
    intensity: NDArray[np.float64]
    frame_time_s: float
    recipe: Recipe
    segments: tuple[Correlation, ...] = field(default=())
    name: str = "frames in memory"

    @property
    def run(self) -> str:
        """Its name."""
        return self.name


def correlate(
    data: Data,
    qmap: str | Path | QPartition | Maps | NDArray[Any],
    *,
    frame_time_s: float,
    n_frames: int | None = None,
    valid: ArrayLike | None = None,
    segments: int = 0,
    device: Literal["auto", "cpu", "gpu"] = "auto",
    name: str = "frames in memory",
    **settings: Any,
) -> Correlation:
    """Correlate frames or photon events that are in memory, or come one after the other.

    Parameters
    ----------
    data
        Frames (T, rows, columns); or an iterable of frames (rows, columns), of stacks of them, or of a reader's
        chunks; or a tuple of three arrays (E,) in any order: frame from 0, flat pixel index, counts (several of one
        pixel in one frame add up). Unsigned counts at their
        type's maximum, negative integers and NaN are masked: such a pixel is left out. Negative floats count.
    qmap
        A q-map file; a q-map in memory; integer maps (dynamic, static, mask) of (rows, columns), bins from 1; or one
        such map of regions, each of them one dynamic and one static bin. A wide region whose intensity is uneven
        has a baseline above 1: static bins inside it mend that.
    frame_time_s
        From one frame to the next, s.
    n_frames
        Number of frames; needed for events and for iterables without a length.
    valid
        (T,) bool, False for frames that do not count; a pair counts only if both its frames do.
    segments
        Correlate so many equal stretches apart, too; frames left over at the end are in none of them.
    device
        Where to compute; ``auto`` takes a GPU where jax has one.
    name
        What figures and tables call the run.
    **settings
        Of :class:`~xpcs_assets.runs.recipe.AnalysisSettings`: ``begin_frame``, ``end_frame``, ``stride``,
        ``average``, ``dynamic_bins``, ``delays_per_level``, ``scheme``, ``empty_bins``, ``error_rule``,
        ``exclude_frames``, ``normalize`` (``none``, or ``frame``: each frame divided by its analysed pixels' mean).

    Notes
    -----
    Memory beside the data: about 1.5 kB an analysed pixel for dense frames, 24 bytes an event; the same for each
    stretch while it is correlated.

    Raises
    ------
    CorrelationError
        The data are no frames, too few of them, or a setting cannot be met here.
    QmapError
        The q-map cannot be read or is of another shape.

    Examples
    --------
    >>> frames = np.random.default_rng(1).poisson(2.0, (200, 8, 8)).astype(np.uint16)
    >>> found = correlate(frames, np.ones((8, 8), int), frame_time_s=0.01)
    >>> found.g2.shape, found.delay_s[:3].tolist()
    ((25, 1), [0.01, 0.02, 0.03])
    """
    chosen = _settings(settings)
    if not frame_time_s > 0:
        raise CorrelationError(f"frame_time_s is {frame_time_s}", remedy="Give the time between frames, above 0")
    bins = Bins.of(qmap)
    whole = Partition.of(bins.dynamic, bins.static, bins.mask)
    total, chunks = as_chunks(data, bins.shape, n_frames)
    end = total if chosen.end_frame < 0 else min(chosen.end_frame, total)
    selection = Selection(min(chosen.begin_frame, end), end, chosen.stride, chosen.average)
    analysed = Partition.of(bins.dynamic, bins.static, bins.mask, selected_bins(chosen.dynamic_bins))
    stretches = _stretches(selection.n_frames, segments)
    chunks, occupancy = with_occupancy(chunks, whole.n_pixels)
    tasks = [
        _Task(stretch, analysed, whole, chosen, choose_device(device), occupancy)
        for stretch in ((0, selection.n_frames), *stretches)
    ]
    counting = validity(valid, chosen.exclude_frames, total)
    for chunk in selection.apply(selected(chunks, selection, counting)):
        for task in tasks:
            task.push(chunk)
    recipe = Recipe(chosen, bins.digest, ENGINE)
    step_s = frame_time_s * selection.step
    found = [task.finish(bins, recipe, step_s, name) for task in tasks]
    return replace(found[0], segments=tuple(found[1:]))


class _Task:
    """Correlation and means of one stretch of analysed frames."""

    def __init__(
        self,
        stretch: tuple[int, int],
        analysed: Partition,
        whole: Partition,
        settings: AnalysisSettings,
        device: str,
        occupancy: float,
    ) -> None:
        self._begin, self._end = stretch
        plan = make_plan(self._end - self._begin, settings.delays_per_level, settings.scheme)
        divided = settings.normalize == "frame"
        self._scale = FrameScale(whole.pixel, None) if divided else None
        self._n_pixels = len(whole.position)
        form: Form = "frames" if divided else "auto"
        self._correlator = make_correlator(plan, analysed, occupancy=occupancy, device=device, form=form)
        self._sums = ScatteringSums(whole, plan.n_frames, settings.average)

    def push(self, chunk: Chunk) -> None:
        for part in cut(chunk, (self._begin, self._end)):
            if self._begin <= part.begin and part.end <= self._end:
                moved = shifted(part, self._begin)
                self._sums.push(moved)
                for piece in [moved] if self._scale is None else self._scale.apply(moved, self._n_pixels):
                    self._correlator.push(piece)

    def finish(self, bins: Bins, recipe: Recipe, frame_time_s: float, name: str) -> Correlation:
        return _labelled(self._correlator.finish(), self._sums.finish(), bins, recipe, frame_time_s, name)


def _labelled(
    moments: Moments, scattering: Scattering, bins: Bins, recipe: Recipe, frame_time_s: float, name: str
) -> Correlation:
    made = normalise(moments, recipe.settings.empty_bins)
    delay = moments.plan.delay
    return Correlation(
        delay_frames=delay,
        delay_s=delay.astype(np.float64) * frame_time_s,
        g2=made.g2,
        g2_error=made.error_boost if recipe.settings.error_rule == "boost" else made.error,
        n_pairs=made.n_pairs,
        n_static_used=made.n_static_used,
        static_g2=made.static,
        q_inv_angstrom=bins.q,
        static_q=bins.static_q,
        labels=bins.labels,
        scattering_2d=scattering.pattern,
        scattering_1d=scattering.static,
        intensity=scattering.intensity,
        frame_time_s=frame_time_s,
        recipe=recipe,
        name=name,
    )


def _settings(given: dict[str, Any]) -> AnalysisSettings:
    known = {item.name for item in fields(AnalysisSettings)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise CorrelationError(
            f"there is no setting {', '.join(unknown)}", remedy=f"Use {', '.join(sorted(_IN_MEMORY))}"
        )
    chosen = AnalysisSettings(**given)
    defaults = AnalysisSettings()
    others = sorted(n for n in set(given) - _IN_MEMORY if getattr(chosen, n) != getattr(defaults, n))
    if chosen.normalize not in ("none", "frame"):
        others.append(f"normalize {chosen.normalize}")
    if others:
        raise CorrelationError(
            f"{', '.join(others)} cannot be met for frames in memory",
            remedy="Apply it to the frames first, or correlate files: `xpcs-assets correlate`",
        )
    return chosen


def _stretches(n_frames: int, number: int) -> list[tuple[int, int]]:
    if number and not 1 <= number <= n_frames // 2:
        raise CorrelationError(
            f"{n_frames} frames make no {number} stretches", remedy="A stretch has at least 2 analysed frames"
        )
    length = n_frames // number if number else 0
    return [(s * length, (s + 1) * length) for s in range(number)]
