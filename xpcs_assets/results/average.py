"""Average repeats: runs of one recipe merged by the engine's states, outliers left out, every choice kept.

Each run's static bins are bins of their own: the states are put side by side and normalised at once, so that runs of
different intensity do not lift the baseline, and g2, its error and the number of static bins come from the one
function :func:`~xpcs_assets.engine.normalise.normalise`. The error takes runs as independent, as it does pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine.delays import Plan
from xpcs_assets.engine.multitau import Moments
from xpcs_assets.engine.normalise import G2, normalise
from xpcs_assets.errors import CorrelationError, ResultError
from xpcs_assets.results.limits import Limits
from xpcs_assets.results.outliers import Judged, judge
from xpcs_assets.results.result import Result, open_result
from xpcs_assets.results.state import read_moments
from xpcs_assets.runs.recipe import EmptyBins

_SAME_TIME = 1e-9


@dataclass(frozen=True, eq=False)
class Member:
    """One run of an average.

    Attributes
    ----------
    path, digest
        Its result file and ``sha256:`` of it.
    result, moments
        What is in it.
    """

    path: Path
    digest: str
    result: Result
    moments: Moments

    @property
    def n_valid_frames(self) -> int:
        """Analysed frames that count."""
        return int(np.count_nonzero(np.isfinite(self.result.intensity_vs_time[1])))


@dataclass(frozen=True, eq=False)
class Average:
    """What several runs give together. T delays, Nd and Ns bins, S segments, N frames of the shortest run.

    Attributes
    ----------
    members, judged
        All runs that were given, and which of them are used.
    delay_frames, delay_s
        (T,) int64 and float64, those that every used run has.
    g2
        Of all used runs; its ``static`` is the mean over the runs, its ``n_pairs`` that of the run with fewest.
    scattering_2d, scattering_1d, segments
        (rows, columns), (Ns,), (S, Ns) float64, weighted by each run's valid frames; NaN where nobody measured.
    intensity
        (N,) float64, mean over the runs of each frame's intensity.
    """

    members: tuple[Member, ...]
    judged: Judged
    delay_frames: NDArray[np.int64]
    delay_s: NDArray[np.float64]
    g2: G2
    scattering_2d: NDArray[np.float64]
    scattering_1d: NDArray[np.float64]
    segments: NDArray[np.float64]
    intensity: NDArray[np.float64]

    @property
    def used(self) -> tuple[Member, ...]:
        """The runs that are in it."""
        return tuple(member for member, used in zip(self.members, self.judged.used, strict=True) if used)


def read_members(paths: Sequence[Path]) -> tuple[Member, ...]:
    """Open the results and see that they may be averaged.

    Raises
    ------
    ResultError
        A file is missing, damaged, holds no state, or is not of the same recipe, q-map and frame time as the first.
    CorrelationError
        A file is given twice, or fewer than two are given.
    """
    if len(paths) < 2:
        raise CorrelationError(f"{len(paths)} run makes no average", remedy="Give two results or more")
    members: list[Member] = []
    for path in paths:
        member = Member(path, _digest(path), open_result(path), read_moments(path))
        for other in members:
            if other.digest == member.digest:
                raise CorrelationError(f"{other.path} is the same file", where=path, remedy="Give each run once")
        if members:
            _check_alike(members[0], member)
        members.append(member)
    return tuple(members)


def average(members: Sequence[Member], limits: Limits | None = None) -> Average:
    """Leave out the outliers and merge the rest.

    Raises
    ------
    CorrelationError
        Fewer than two runs remain.
    """
    judged = judge([member.result for member in members], limits or Limits())
    used = [member for member, fits in zip(members, judged.used, strict=True) if fits]
    if len(used) < 2:
        raise CorrelationError(
            f"{len(used)} of {len(members)} runs remain: {told(members, judged)}",
            remedy="Give wider limits or other runs",
        )
    shortest = min(used, key=lambda member: len(member.result.delay_frames)).result
    g2 = merge([member.moments for member in used], shortest.recipe.settings.empty_bins)
    weights = np.array([member.n_valid_frames for member in used], np.float64)
    n_frames = min(member.result.intensity_vs_time.shape[1] for member in used)
    intensities = np.stack([member.result.intensity_vs_time[1, :n_frames] for member in used])
    return Average(
        members=tuple(members),
        judged=judged,
        delay_frames=shortest.delay_frames,
        delay_s=shortest.delay_s,
        g2=g2,
        scattering_2d=_mean([member.result.scattering_2d for member in used], weights),
        scattering_1d=_mean([member.result.scattering_1d for member in used], weights),
        segments=_mean([member.result.segments for member in used], weights),
        intensity=_mean(list(intensities), np.ones(len(used))),
    )


def merge(moments: Sequence[Moments], empty_bins: EmptyBins = "excluded") -> G2:
    """Normalise the states of several runs as one, over the delays that all of them have.

    Returns
    -------
    ``static`` is the mean over the runs that have counts there, (T, Ns); ``n_pairs`` is the fewest that any run with
    pairs has: with one pair a run, g2 of each pixel is the same number whatever the sample does.
    """
    plan = min((part.plan for part in moments), key=lambda plan: plan.n_delays)
    pairs = np.stack([part.n_pairs[: plan.n_delays] for part in moments])
    merged: dict[str, NDArray[Any]] = {}
    # A run without a pair at a delay says nothing there: its bins are no empty ones, which could enter as 0.
    for has_pairs in np.unique(pairs > 0, axis=1).T:
        here = ((pairs > 0) == has_pairs[:, None]).all(axis=0)
        runs = [part for part, has in zip(moments, has_pairs, strict=True) if has]
        for name, values in vars(_side_by_side(runs or moments, plan, empty_bins)).items():
            merged.setdefault(name, np.empty_like(values))[here] = values[here]
    fewest = np.where(pairs > 0, pairs, np.iinfo(np.int64).max).min(axis=0) * (pairs > 0).any(axis=0)
    return G2(**{**merged, "n_pairs": fewest})


def _side_by_side(moments: Sequence[Moments], plan: Plan, empty_bins: EmptyBins) -> G2:
    """g2 of the static bins of all these runs at the delays of ``plan``; ``static`` is the mean over the runs."""
    n_delays = plan.n_delays
    together = replace(
        moments[0],
        plan=plan,
        n_pairs=np.sum([part.n_pairs[:n_delays] for part in moments], axis=0),
        sums=np.concatenate([part.sums[:n_delays] for part in moments], axis=1),
        n_pixels=np.concatenate([part.n_pixels for part in moments]),
        dynamic_of_static=np.concatenate([part.dynamic_of_static for part in moments]),
        n_saturated=sum(part.n_saturated for part in moments),
    )
    g2 = normalise(together, empty_bins)
    of_runs = g2.static.reshape(n_delays, len(moments), -1)
    return replace(g2, static=_mean(list(of_runs.swapaxes(0, 1)), np.ones(len(moments))))


def told(members: Sequence[Member], judged: Judged) -> str:
    """Which runs are left out and why, in one line."""
    return "; ".join(
        f"{member.result.run}: {reason}" for member, reason in zip(members, judged.reasons, strict=True) if reason
    )


def _check_alike(first: Member, member: Member) -> None:
    one, other = first.result, member.result
    remedy = f"Average runs of the recipe of {first.path.name}, or correlate this one with it"
    if one.recipe.digest != other.recipe.digest:
        differ = [
            name for name, value in vars(one.recipe.settings).items() if getattr(other.recipe.settings, name) != value
        ]
        if one.recipe.qmap_digest != other.recipe.qmap_digest:
            differ.append("q-map")
        what = ", ".join(differ) or "engine"
        raise ResultError(
            f"its recipe {other.recipe.folder} is not {one.recipe.folder} (what differs: {what})",
            where=member.path,
            remedy=remedy,
        )
    if not np.isclose(one.frame_time_s, other.frame_time_s, rtol=_SAME_TIME, atol=0):
        raise ResultError(
            f"its frame time is {other.frame_time_s} s, not {one.frame_time_s} s", where=member.path, remedy=remedy
        )
    n_delays = min(len(one.delay_frames), len(other.delay_frames))
    alike = np.array_equal(one.delay_frames[:n_delays], other.delay_frames[:n_delays])
    if not alike or one.segments.shape != other.segments.shape:
        raise ResultError("its delays or its time segments are others", where=member.path, remedy=remedy)


def _mean(values: Sequence[NDArray[np.floating]], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted mean of what is defined, NaN where nothing is."""
    stack = np.stack(values).astype(np.float64)
    each = np.where(np.isfinite(stack), weights.reshape(-1, *[1] * (stack.ndim - 1)), 0.0)
    total = each.sum(axis=0)
    sums = (np.where(np.isfinite(stack), stack, 0.0) * each).sum(axis=0)
    mean: NDArray[np.float64] = np.divide(sums, total, out=np.full(total.shape, np.nan), where=total > 0)
    return mean


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ResultError(
            f"it cannot be read ({error.strerror})", where=path, remedy="Name a result file that is there"
        ) from error
