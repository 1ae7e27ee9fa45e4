"""How many frames a run has, which of them are analysed, and which of those are known not to count in time."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import CorrelationError, NoFrameYetError, RawDataError
from xpcs_assets.readers.metadata import Acquisition
from xpcs_assets.readers.rawfile import WAIT
from xpcs_assets.readers.series import SeriesInfo
from xpcs_assets.runs.recipe import AnalysisSettings, selected_frames

# These write nothing for a frame without a photon, so a longer run than the file tells is no loss of frames.
_WITHOUT_EMPTY_FRAMES = frozenset({"rigaku500k", "rigaku3m"})
# 8-ID names runs <letter><number>_<sample>_a<attenuator>_f<frames>_r<repeat>.
_CLAIMED = re.compile(r"_f(\d{4,9})_r\d+")


def claimed_by_name(name: str) -> int | None:
    """Frames that a run's name claims, those with beam; None where it claims nothing.

    >>> claimed_by_name("E0173_H06_a0009_f100000_r00001"), claimed_by_name("sample_7")
    (100000, None)
    """
    claim = _CLAIMED.search(name)
    return int(claim[1]) if claim else None


def count_frames(info: SeriesInfo, acquisition: Acquisition, settings: AnalysisSettings) -> dict[str, Any]:
    """Decide how many frames the run has and which are used.

    The option comes first, then the metadata field, then the last recorded frame + 1. Frames that were never
    recorded are not zeros: only formats that leave empty frames out may be longer than their last event.

    Returns
    -------
    ``recorded``, ``total``, ``source``, ``missing`` (claimed by the metadata but not in the file), ``dark``,
    ``begin`` and ``end`` (recorded frames, 0-based).

    Raises
    ------
    CorrelationError
        More frames are asked for than were recorded.
    RawDataError
        The frames are no series in time: a kinetics image that was not cut into its windows.
    """
    if info.extra.get("kinetics"):
        raise RawDataError(
            "this is a kinetics file: each image holds many exposures, one below the other",
            where=info.files[0],
            remedy="Cut its images into their windows first, and correlate those",
        )
    claimed, source = acquisition.n_frames or 0, "metadata"
    if settings.frames:
        claimed, source = settings.frames, "option"
    total, missing = claimed, 0
    if not claimed:
        total, source = info.n_recorded, "recorded"
    elif claimed > info.n_recorded and info.format not in _WITHOUT_EMPTY_FRAMES:
        if source == "option":
            raise CorrelationError(
                f"{claimed} frames are asked for, the file holds {info.n_recorded}",
                where=info.files[0],
                remedy="Leave --frames out, or copy the file anew if it is too short",
            )
        total, missing = info.n_recorded, claimed - info.n_recorded
    n_dark = acquisition.dark_frames if settings.dark_frames < 0 else settings.dark_frames
    return {
        "recorded": info.n_recorded,
        "total": total,
        "source": source,
        "missing": missing,
        "dark": n_dark,
        "begin": max(settings.begin_frame, n_dark),
        "end": total if settings.end_frame < 0 else min(settings.end_frame, total),
    }


def count_so_far(info: SeriesInfo, acquisition: Acquisition, settings: AnalysisSettings) -> dict[str, Any]:
    """Decide which frames are used of a run that is still being written: at most as many as it will have.

    Returns
    -------
    As :func:`count_frames`, and ``expected``: frames the run will have by the option or the metadata, 0 for unknown.

    Raises
    ------
    NoFrameYetError
        There is not yet a pair of frames to correlate.
    RawDataError
        As :func:`count_frames`.
    """
    expected = settings.frames or acquisition.n_frames or 0
    used = replace(settings, frames=min(expected, info.n_recorded))
    frames = count_frames(info, replace(acquisition, n_frames=None), used)
    if frames["end"] - frames["begin"] < 2 * settings.stride * settings.average:
        raise NoFrameYetError("there is no pair of frames yet", where=info.files[0], remedy=WAIT)
    return {**frames, "source": "so far", "expected": expected}


@dataclass(frozen=True, eq=False)
class Known:
    """Which recorded frames are known not to count before any is read.

    Attributes
    ----------
    valid
        (end,) bool by recorded frame.
    invalid
        Frames of the analysed range by the reason for which they do not count; each is counted once, for the first.
    """

    valid: NDArray[np.bool_]
    invalid: dict[str, int]


def known_frames(
    info: SeriesInfo, settings: AnalysisSettings, begin: int, end: int, monitor: NDArray[np.float64] | None = None
) -> Known:
    """Leave out what is excluded, what was taken with the shutter closed, and what has no monitor reading.

    Parameters
    ----------
    begin, end
        The analysed range, recorded frames.
    monitor
        (M,), beam intensity in each recorded frame, if frames are normalised by it; frames beyond have no reading.
    """
    known = Known(np.ones(end, np.bool_), {})
    reasons = [("excluded", _excluded(settings, end))]
    if info.shutter_open is not None:
        reasons.append(("shutter closed", _padded(~info.shutter_open, end)))
    if monitor is not None:
        lit = np.zeros(end, np.bool_)
        lit[: len(monitor)] = monitor[:end] > 0
        reasons.append(("no monitor", ~lit))
    for reason, wrong in reasons:
        n_wrong = int(np.count_nonzero(wrong[begin:] & known.valid[begin:]))
        if n_wrong:
            known.invalid[reason] = n_wrong
        known.valid[wrong] = False
    return known


def _padded(wrong: NDArray[np.bool_], end: int) -> NDArray[np.bool_]:
    padded = np.zeros(end, np.bool_)
    padded[: len(wrong)] = wrong[:end]
    return padded


def _excluded(settings: AnalysisSettings, end: int) -> NDArray[np.bool_]:
    stretches = [*selected_frames(settings.exclude_frames)]
    if settings.exclude_file:
        stretches += read_excluded(Path(settings.exclude_file))
    excluded = np.zeros(end, np.bool_)
    for first, last in stretches:
        excluded[first : last + 1] = True
    return excluded


def read_excluded(path: Path) -> tuple[tuple[int, int], ...]:
    """Read frames that do not count: numbers and ranges by commas, blanks or lines; ``#`` begins a remark.

    Raises
    ------
    CorrelationError
        There is no such file, or something else stands in it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise CorrelationError(f"it cannot be read ({why})", where=path, remedy="Name a text file") from error
    words = " ".join(line.partition("#")[0] for line in lines).replace(",", " ").split()
    try:
        return selected_frames(",".join(words))
    except CorrelationError as error:
        raise CorrelationError(error.what, where=path, remedy=error.remedy) from error
