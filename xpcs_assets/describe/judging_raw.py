"""Judge raw data: is all of the run there, did the detector lose frames, and do its times agree. No frame is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from xpcs_assets.correlate.frames import claimed_by_name
from xpcs_assets.describe.judgement import Judge, Judgement
from xpcs_assets.readers.dense import usual_step

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpcs_assets.readers.metadata import Acquisition
    from xpcs_assets.readers.series import SeriesInfo
    from xpcs_assets.runs.manifest import Manifest

# What readers say of frames that have a number and are not in the file.
_MISSING = ("missing_frames", "dropped_frames")
_NO_STAMPS = "the raw file has no time stamps"
_NO_METADATA = "there are no metadata"


def judge_files(judge: Judge, manifest: Manifest | None, *, metadata: bool) -> Iterator[Judgement]:
    """Judge the files: empty ones, and whether there are metadata."""
    if manifest is None:
        yield judge.not_judged("empty_files", "the run's files are not known")
    else:
        empty = [entry.path for entry in manifest.files if entry.size_bytes == 0]
        yield judge.value("empty_files", len(empty), f"{', '.join(empty)}: no bytes")
    no_metadata = "there is no metadata file: neither frame time nor energy are known"
    yield judge.value("metadata_files", int(metadata), no_metadata)


def judge_frame_count(
    judge: Judge, run_key: str, info: SeriesInfo, acquisition: Acquisition | None
) -> Iterator[Judgement]:
    """Judge whether as many frames were recorded as metadata and name promise."""
    recorded = info.n_recorded
    if acquisition is None or acquisition.n_frames is None:
        yield judge.not_judged("metadata_frames", "no metadata tell how many frames the run has: set runs.frames_from")
    else:
        yield _missing(judge, "metadata_frames", recorded, acquisition.n_frames, "the metadata promise", info.kind)
    claimed = claimed_by_name(run_key)
    if claimed is None:
        yield judge.not_judged("name_frames", "the run's name claims no number of frames")
    else:
        # The name counts frames of scattering, the metadata those with the dark ones at the head.
        with_beam = recorded - (acquisition.dark_frames if acquisition else 0)
        yield _missing(judge, "name_frames", with_beam, claimed, "the run's name claims", info.kind)


def _missing(judge: Judge, name: str, recorded: int, expected: int, who: str, kind: str) -> Judgement:
    # Files of events end with the last photon: that empty frames follow cannot be told from an aborted run.
    unsure = "; an event file does not show empty frames at its end" if kind == "events" and recorded < expected else ""
    reason = f"{who} {expected} frames, {recorded} were recorded{unsure}"
    return judge.value(name, abs(expected - recorded), reason, at_most_warn=bool(unsure) or recorded > expected)


def judge_times(judge: Judge, info: SeriesInfo, acquisition: Acquisition | None) -> Iterator[Judgement]:
    """Judge lost frames, by their numbers and by their time stamps, the frame time, and the dead time."""
    yield _dropped(judge, info)
    time_s = info.time_s
    step_s = None if time_s is None else usual_step(time_s)
    if time_s is None or step_s is None:
        yield judge.not_judged("time_gaps", _NO_STAMPS)
        yield judge.not_judged("frame_time_deviation", _NO_STAMPS)
    else:
        gaps = count_time_gaps(time_s, step_s, info.frames_per_burst)
        told = f"by their time stamps {gaps} frames are missing that the numbers do not show"
        yield judge.value("time_gaps", gaps, told)
        yield _frame_time(judge, step_s, acquisition)
    yield _dead_time(judge, acquisition)


def _dropped(judge: Judge, info: SeriesInfo) -> Judgement:
    known = [int(info.extra[name]) for name in _MISSING if name in info.extra]
    if not known:
        return judge.not_judged("dropped_frames_share", f"{info.format} does not number its frames")
    return judge.value(
        "dropped_frames_share",
        known[0] / max(1, info.n_recorded),
        f"{known[0]} of {info.n_recorded} frames have a number and were not recorded",
    )


def count_time_gaps(time_s: NDArray[np.float64], step_s: float, frames_per_burst: int = 0) -> int:
    """Frames that are missing by their time stamps though their numbers go on; pauses between bursts are none.

    From one stamped frame to the next, number i to j, j - i steps are due; what the stamps are later by, in whole
    steps, is missing.

    Parameters
    ----------
    time_s
        (n,) when each frame was taken, NaN where that is not known.
    step_s
        The usual time from one frame to the next.
    frames_per_burst
        Frames taken in one go; 0 for an even series.
    """
    number = np.flatnonzero(np.isfinite(time_s))
    due = np.diff(number)
    late = np.rint(np.diff(time_s[number]) / step_s).astype(np.int64) - due
    if frames_per_burst:
        late = late[number[1:] // frames_per_burst == number[:-1] // frames_per_burst]
    return int(late[late > 0].sum())


def _frame_time(judge: Judge, step_s: float, acquisition: Acquisition | None) -> Judgement:
    if acquisition is None:
        return judge.not_judged("frame_time_deviation", _NO_METADATA)
    told = f"the time stamps step by {step_s:.6g} s, the metadata say {acquisition.frame_time_s:.6g} s"
    return judge.value("frame_time_deviation", abs(step_s / acquisition.frame_time_s - 1), told)


def _dead_time(judge: Judge, acquisition: Acquisition | None) -> Judgement:
    if acquisition is None:
        return judge.not_judged("dead_time_share", _NO_METADATA)
    if not acquisition.count_time_told:
        return judge.not_judged("dead_time_share", "the metadata do not tell the exposure time")
    frame_time_s, count_time_s = acquisition.frame_time_s, acquisition.count_time_s
    told = f"frames of {frame_time_s:.6g} s are exposed for {count_time_s:.6g} s"
    return judge.value("dead_time_share", 1 - count_time_s / frame_time_s, told)
