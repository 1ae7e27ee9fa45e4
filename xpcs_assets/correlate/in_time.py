"""A run's frames on the time axis: which recorded ones count, where gaps are, which are analysed, and the delays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.correlate.frames import Known, known_frames
from xpcs_assets.correlate.intensity import MONITOR, read_monitor
from xpcs_assets.correlate.timeline import Timeline
from xpcs_assets.engine.select import Selection
from xpcs_assets.engine.time_axis import TimeAxis, burst_period, whole_bursts
from xpcs_assets.readers.metadata import Acquisition
from xpcs_assets.readers.series import Frames, SeriesInfo

if TYPE_CHECKING:
    from xpcs_assets.correlate.job import Job


@dataclass(frozen=True, eq=False)
class InTime:
    """Frames in time.

    Attributes
    ----------
    end
        One past the last recorded frame.
    known
        Which recorded frames do not count.
    timeline
        Where recorded frames lie in time.
    selection
        Which frames in time are analysed.
    axis
        The delays.
    monitor
        (N,) beam intensity in each analysed frame; None where it is not asked for.
    """

    end: int
    known: Known
    timeline: Timeline
    selection: Selection
    axis: TimeAxis
    monitor: NDArray[np.float64] | None


def place_in_time(
    job: Job, info: SeriesInfo, acquisition: Acquisition, frames: dict[str, Any], metadata: Path
) -> InTime:
    """Put the counted ``frames`` of a run on the time axis.

    Raises
    ------
    CorrelationError
        Nothing is left to correlate.
    MetadataError
        There is no such monitor, or it does not fit.
    """
    settings, begin = job.settings, frames["begin"]
    end = max(begin, frames["end"])
    monitor = None
    if settings.normalize.startswith(MONITOR):
        lengths = (frames["total"], info.n_recorded)
        monitor = read_monitor(metadata, settings.normalize.removeprefix(MONITOR), lengths)
        end = max(begin, min(end, len(monitor)))
    known = known_frames(info, settings, begin, end, monitor)
    frames_per_burst = settings.frames_per_burst or info.frames_per_burst
    timeline = Timeline.even(end)
    if not frames_per_burst:
        timeline = Timeline.of(info.time_s, end, acquisition.frame_time_s, begin)
    slots = (int(timeline.slot[begin]), int(timeline.slot[end]))
    selection = Selection(*slots, settings.stride, settings.average)
    step_s = acquisition.frame_time_s * selection.step
    if frames_per_burst:
        selection, n_frames = whole_bursts(selection, frames_per_burst, frames["dark"])
        n_bursts = selection.n_frames // n_frames
        period_s = burst_period(None if info.time_s is None else info.time_s[begin:end], frames_per_burst)
        axis = TimeAxis.of_bursts(n_bursts, n_frames, settings, step_s, period_s)
    else:
        axis = TimeAxis.even(selection.n_frames, settings, step_s)
    in_frames = None
    if monitor is not None:
        recorded = Frames(begin, monitor[begin:end, None], np.ones(end - begin, np.bool_))
        placed = selection.apply(timeline.apply([recorded], selection.read_end))
        in_frames = np.concatenate([chunk.counts[:, 0] for chunk in placed if isinstance(chunk, Frames)])
        in_frames = in_frames[: selection.n_frames].astype(np.float64)
    return InTime(end, known, timeline, selection, axis, in_frames)
