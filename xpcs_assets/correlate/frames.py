"""How many frames a run has, which of them are analysed, and which of those count in time."""

from __future__ import annotations

from typing import Any

from xpcs_assets.errors import CorrelationError
from xpcs_assets.readers.metadata import Acquisition
from xpcs_assets.readers.series import SeriesInfo
from xpcs_assets.runs.recipe import AnalysisSettings

# These write nothing for a frame without a photon, so a longer run than the file tells is no loss of frames.
_WITHOUT_EMPTY_FRAMES = frozenset({"rigaku500k", "rigaku3m"})


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
    """
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
    end = total if settings.end_frame < 0 else min(settings.end_frame, total)
    return {
        "recorded": info.n_recorded,
        "total": total,
        "source": source,
        "missing": missing,
        "dark": acquisition.dark_frames,
        "begin": max(settings.begin_frame, acquisition.dark_frames),
        "end": end,
    }
