"""Which delays a run gets: evenly spaced frames, or bursts of frames with gaps between them.

Frames in bursts are correlated twice. Within bursts the time between them is invalid, long enough that no pair reaches
across. Across bursts each burst's sum is one frame. The delays of both are joined: the first are shorter than a burst,
the second are periods of the bursts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine.delays import Plan, make_plan
from xpcs_assets.engine.multitau import Correlator, Moments
from xpcs_assets.engine.select import Selection, cut, shifted
from xpcs_assets.errors import CorrelationError
from xpcs_assets.readers.series import Chunk, Events, Frames
from xpcs_assets.runs.recipe import AnalysisSettings


@dataclass(frozen=True)
class Bursts:
    """Frames taken in bursts.

    Attributes
    ----------
    n_frames
        Analysed frames of each burst.
    n_bursts
        Whole bursts.
    slots
        Frames from one burst to the next on the axis of the pairs within bursts: a multiple of every level's frame.
    """

    n_frames: int
    n_bursts: int
    slots: int


@dataclass(frozen=True, eq=False)
class TimeAxis:
    """The delays of a run and the plans they come from.

    Attributes
    ----------
    plans
        One for even frames; within and across bursts otherwise, the second only where their period is known.
    delay
        (T,) int64, analysed frames; across bursts the nearest whole number of them.
    delay_s
        (T,) float64, s.
    bursts
        None for even frames.
    """

    plans: tuple[Plan, ...]
    delay: NDArray[np.int64]
    delay_s: NDArray[np.float64]
    bursts: Bursts | None = None

    @classmethod
    def even(cls, n_frames: int, settings: AnalysisSettings, frame_time_s: float) -> Self:
        """``n_frames`` analysed frames, ``frame_time_s`` apart."""
        plan = make_plan(n_frames, settings.delays_per_level, settings.scheme)
        return cls((plan,), plan.delay, plan.delay.astype(np.float64) * frame_time_s)

    @classmethod
    def of_bursts(
        cls, n_bursts: int, n_frames: int, settings: AnalysisSettings, frame_time_s: float, period_s: float | None
    ) -> Self:
        """``n_bursts`` bursts of ``n_frames`` analysed frames each, ``period_s`` from one's begin to the next's."""
        within = make_plan(n_frames, settings.delays_per_level, settings.scheme)
        grain = 1 << (within.n_levels - 1)
        bursts = Bursts(n_frames, n_bursts, -(-(2 * n_frames - 1) // grain) * grain)
        within = replace(within, n_frames=n_bursts * bursts.slots, n_pairs=n_bursts * within.n_pairs)
        delay_s = within.delay.astype(np.float64) * frame_time_s
        if period_s is None or n_bursts < 2:
            return cls((within,), within.delay, delay_s, bursts)
        across = make_plan(n_bursts, settings.delays_per_level, settings.scheme)
        in_frames = np.rint(across.delay * period_s / frame_time_s).astype(np.int64)
        return cls(
            (within, across),
            np.concatenate([within.delay, in_frames]),
            np.concatenate([delay_s, across.delay * period_s]),
            bursts,
        )

    def correlator(self, make: Callable[[Plan], Correlator], n_pixels: int) -> EvenCorrelator | BurstsCorrelator:
        """An engine for each plan, made by ``make``; the detector has ``n_pixels``."""
        engines = [make(plan) for plan in self.plans]
        return EvenCorrelator(engines[0]) if self.bursts is None else BurstsCorrelator(self.bursts, engines, n_pixels)


class EvenCorrelator:
    """The engine itself."""

    def __init__(self, engine: Correlator) -> None:
        self.engines = [engine]

    def push(self, chunk: Chunk) -> None:
        """Take the chunk that follows."""
        self.engines[0].push(chunk)

    def finish(self) -> tuple[Moments, ...]:
        """Moments of the frames so far."""
        return (self.engines[0].finish(),)


class BurstsCorrelator:
    """Correlates within bursts, and their sums across them."""

    def __init__(self, bursts: Bursts, engines: list[Correlator], n_pixels: int) -> None:
        self.bursts = bursts
        self.engines = engines
        self._n_pixels = n_pixels
        self._sum: NDArray[np.generic] | None = None
        self._valid = True

    def push(self, chunk: Chunk) -> None:
        """Take the chunk that follows."""
        n_frames = self.bursts.n_frames
        first = -(-chunk.begin // n_frames) * n_frames
        for piece in cut(chunk, range(first, chunk.end, n_frames)):
            burst = piece.begin // n_frames
            self.engines[0].push(shifted(piece, burst * (n_frames - self.bursts.slots)))
            if len(self.engines) > 1:
                self._add(piece)
            if piece.end == (burst + 1) * n_frames:
                self._end(burst)

    def _add(self, piece: Chunk) -> None:
        total = _sum(piece, self._n_pixels)
        self._sum = total if self._sum is None else _joined(self._sum, total)
        self._valid &= bool(piece.valid.all())

    def _end(self, burst: int) -> None:
        slots, n_frames = self.bursts.slots, self.bursts.n_frames
        begin, end = burst * slots + n_frames, (burst + 1) * slots
        none = np.empty(0, np.int32)
        self.engines[0].push(Events(begin, end, none.astype(np.int64), none, none, np.zeros(end - begin, np.bool_)))
        if self._sum is not None:
            self.engines[1].push(Frames(burst, self._sum[None], np.array([self._valid])))
            self._sum, self._valid = None, True

    def finish(self) -> tuple[Moments, ...]:
        """Moments of the frames so far, within and across bursts."""
        return tuple(engine.finish() for engine in self.engines)


def burst_period(time_s: NDArray[np.float64] | None, frames_per_burst: int) -> float | None:
    """Median time from one burst's first frame to the next's, s; None where the time stamps do not tell."""
    if time_s is None or len(time_s) < 2 * frames_per_burst:
        return None
    periods = np.diff(time_s[: len(time_s) // frames_per_burst * frames_per_burst : frames_per_burst])
    periods = periods[np.isfinite(periods)]
    return float(np.median(periods)) if periods.size and np.median(periods) > 0 else None


def whole_bursts(selection: Selection, frames_per_burst: int, n_dark: int = 0) -> tuple[Selection, int]:
    """The selection without an incomplete last burst, and the analysed frames of each.

    The first burst begins after ``n_dark`` frames.

    Raises
    ------
    CorrelationError
        A group of frames that are averaged, or the first frame, would lie across bursts; or no burst is whole.
    """
    if (selection.begin - n_dark) % frames_per_burst or frames_per_burst % selection.step:
        raise CorrelationError(
            f"bursts of {frames_per_burst} frames are cut by begin {selection.begin}, "
            f"stride {selection.stride} and average {selection.average}",
            remedy="Begin with a burst, and let stride x average divide its frames",
        )
    n_bursts = (selection.end - selection.begin) // frames_per_burst
    if not n_bursts:
        raise CorrelationError(
            f"{selection.end - selection.begin} frames make no burst of {frames_per_burst}",
            remedy="Check --frames-per-burst, --begin-frame and --end-frame",
        )
    return replace(selection, end=selection.begin + n_bursts * frames_per_burst), frames_per_burst // selection.step


def _sum(piece: Chunk, n_pixels: int) -> NDArray[np.generic]:
    """Sum of the frames of each pixel of the detector, negative or NaN where one is masked."""
    if isinstance(piece, Frames):
        if piece.counts.dtype.kind == "f":
            return np.asarray(piece.counts.sum(axis=0, dtype=np.float32))
        return np.where((piece.counts < 0).any(axis=0), -1, piece.counts.sum(axis=0, dtype=np.int64))  # type: ignore[operator]
    total = np.bincount(piece.pixel, piece.count, n_pixels).astype(np.int64)
    total[piece.pixel[piece.count < 0]] = -1
    return total


def _joined(one: NDArray[np.generic], other: NDArray[np.generic]) -> NDArray[np.generic]:
    total = one + other  # type: ignore[operator]
    return total if total.dtype.kind == "f" else np.where((one < 0) | (other < 0), -1, total)  # type: ignore[operator]
