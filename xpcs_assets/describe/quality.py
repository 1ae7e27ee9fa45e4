"""Judgements of raw data and results, each with its value, its limit and where the limit comes from. Pure functions.

What each judges by is :data:`xpcs_assets.runs.criteria.CRITERIA`; nothing here changes data: frames that were never
recorded stay so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xpcs_assets.describe.expected_fields import judge_fields
from xpcs_assets.describe.judgement import Judge
from xpcs_assets.describe.judgement import Judgement as Judgement
from xpcs_assets.describe.judgement import Quality as Quality
from xpcs_assets.describe.judging_drift import judge_g2_drift, judge_intensity_drift, judge_saxs_drift
from xpcs_assets.describe.judging_frames import judge_bins, judge_frames, judge_pixels
from xpcs_assets.describe.judging_g2 import judge_g2
from xpcs_assets.describe.judging_geometry import judge_geometry, judge_shape
from xpcs_assets.describe.judging_raw import judge_files, judge_frame_count, judge_times
from xpcs_assets.errors import InputError
from xpcs_assets.runs.criteria import CRITERIA, RAW, Rules

if TYPE_CHECKING:
    from xpcs_assets.readers.metadata import Acquisition
    from xpcs_assets.readers.series import SeriesInfo
    from xpcs_assets.results.fit import BinFit
    from xpcs_assets.results.result import Result
    from xpcs_assets.runs.manifest import Manifest


def raw_complete(
    run_key: str,
    info: SeriesInfo,
    acquisition: Acquisition | None,
    manifest: Manifest | None = None,
    *,
    metadata: Path | None = None,
    rules: Rules | None = None,
) -> Quality:
    """Judge whether the run is all there.

    Parameters
    ----------
    run_key
        Its ``f000500`` is a claim to 500 frames.
    info
        What the raw file tells.
    acquisition
        What the metadata tell; None when there are none.
    manifest
        Its files; None where they are not known.
    metadata
        The file that ``acquisition`` is from, for its fields.
    rules
        The beamline's; else the built-in ones.
    """
    judge = Judge(rules or Rules())
    return Quality(
        (
            judge.value("unreadable_files", 0, ""),
            *judge_files(judge, manifest, metadata=acquisition is not None),
            *judge_frame_count(judge, run_key, info, acquisition),
            *judge_times(judge, info, acquisition),
            *judge_fields(judge, metadata),
        )
    )


def any_files(manifest: Manifest, rules: Rules | None = None) -> Quality:
    """Judge a run that is only kept and whose files no reader knows: whether they are empty is all that can be told."""
    return _files_alone(Judge(rules or Rules()), manifest, (), "no file of the run has frames")


def raw_unreadable(error: InputError | OSError, manifest: Manifest | None, rules: Rules | None = None) -> Quality:
    """Judge a run whose raw or metadata file does not open: a finding, and nothing else can be told."""
    judge = Judge(rules or Rules())
    unreadable = judge.value("unreadable_files", 1, str(error))
    return _files_alone(judge, manifest, (unreadable,), "a file of the run does not open")


def _files_alone(judge: Judge, manifest: Manifest | None, first: tuple[Judgement, ...], why: str) -> Quality:
    """Judge only whether files are empty; for all else ``why`` it was not judged."""
    empty = [found for found in judge_files(judge, manifest, metadata=False) if found.name == "empty_files"]
    judged = (*first, *empty)
    done = {found.name for found in judged}
    left = [name for name, each in CRITERIA.items() if each.check == RAW and name not in done]
    return Quality((*judged, *(judge.not_judged(name, why) for name in left)))


def frames_sane(result: Result, rules: Rules | None = None, *, metadata: Path | None = None) -> Quality:
    """Judge frames and pixels of a result.

    Parameters
    ----------
    result
        The result.
    rules
        The beamline's; else the built-in ones.
    metadata
        The run's metadata file, whose geometry is compared with the q-map's.
    """
    judge = Judge(rules or Rules())
    return Quality(
        (
            *judge_frames(judge, result),
            judge_intensity_drift(judge, result),
            judge_saxs_drift(judge, result),
            *judge_pixels(judge, result),
            judge_bins(judge, result),
            judge_shape(judge, result),
            *judge_geometry(judge, result.path, metadata),
        )
    )


def g2_sane(result: Result, fits: Sequence[BinFit], rules: Rules | None = None) -> Quality:
    """Judge g2 and its fits: undefined points, baseline, contrast, share of good fits, drift."""
    judge = Judge(rules or Rules())
    return Quality((*judge_g2(judge, result, fits), judge_g2_drift(judge, result)))
