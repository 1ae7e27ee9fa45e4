"""Judge a run of a beamline by the beamline's rules, and note the verdict in the run's timeline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.describe.quality import Quality, any_files, frames_sane, g2_sane, raw_complete, raw_unreadable
from xpcs_assets.errors import InputError, NotFoundError, RawDataError
from xpcs_assets.readers.companions import raw_among
from xpcs_assets.readers.metadata import find_metadata, read_acquisition
from xpcs_assets.readers.recognise import is_raw_name, open_raw
from xpcs_assets.runs.key import split_analysis_key

if TYPE_CHECKING:
    from xpcs_assets.copies.ledger import RunVersion
    from xpcs_assets.results.fit import BinFit
    from xpcs_assets.results.result import Result


def judge_raw(beamline: OpenBeamline, version: RunVersion) -> Quality:
    """Judge the raw data of a run's version: the staged copy, or the files at the source before there is one.

    Raises
    ------
    NotFoundError
        The data are neither staged nor at the source.
    """
    rules = beamline.settings.quality.rules
    manifest = version.manifest
    folder = _folder(beamline, version)
    raw = raw_among([folder / entry.path for entry in manifest.files if is_raw_name(Path(entry.path).name)])
    if not raw and beamline.settings.pipeline.correlate is None:
        return any_files(manifest, rules)
    if not raw:
        return raw_unreadable(RawDataError("the run has no raw file", where=folder), manifest, rules)
    try:
        with open_raw(raw[0] if len(raw) == 1 else raw) as series:
            info = series.info
        metadata = find_metadata(raw[0])
        frames_field = beamline.settings.runs.frames_from
        acquisition = read_acquisition(metadata, frames_field=frames_field) if metadata else None
        return raw_complete(version.run_key, info, acquisition, manifest, metadata=metadata, rules=rules)
    except (InputError, OSError) as error:
        return raw_unreadable(error, manifest, rules)


def raw_quality(beamline: OpenBeamline, version: RunVersion) -> Quality | None:
    """As :func:`judge_raw`; None where the data are in the archive alone."""
    try:
        return judge_raw(beamline, version)
    except NotFoundError:
        return None


def judge_result(
    beamline: OpenBeamline, version: RunVersion, result: Result, fits: Sequence[BinFit]
) -> tuple[Quality, Quality]:
    """Judge an open result of a run's version: frames and pixels, and g2 with its fits."""
    rules = beamline.settings.quality.rules
    return frames_sane(result, rules, metadata=_metadata(beamline, version)), g2_sane(result, fits, rules)


def note(beamline: OpenBeamline, key: str, check: str, quality: Quality) -> None:
    """Write the verdict of a check into the timeline of run ``key``."""
    run_key, _ = split_analysis_key(key)
    beamline.ledger.note(beamline.name, run_key, check, quality.verdict, {"partition": key})


def _folder(beamline: OpenBeamline, version: RunVersion) -> Path:
    from xpcs_assets.arrive.candidates import candidate_at
    from xpcs_assets.arrive.source import source_of

    staged = beamline.staged(version)
    if staged.manifest.exists():
        return staged.raw
    source = source_of(beamline)
    if not source.tree().is_near:
        remedy = f"Materialise staged_copy, or `xpcs-assets retrieve {beamline.name} {version.run_key}`"
        raise NotFoundError(
            "the raw data are not staged, and are not opened elsewhere", where=staged.path, remedy=remedy
        )
    if not (source.root / version.source).exists():
        remedy = f"`xpcs-assets retrieve {beamline.name} {version.run_key}` brings them back"
        raise NotFoundError("the raw data are neither staged nor at the source", where=staged.path, remedy=remedy)
    return candidate_at(beamline.settings, source.root, version.source).folder


def _metadata(beamline: OpenBeamline, version: RunVersion) -> Path | None:
    """The staged metadata; None where there are none, or none that is the run's beyond doubt."""
    folder = beamline.staged(version)
    named = [folder.raw / entry.path for entry in version.manifest.files if is_raw_name(Path(entry.path).name)]
    try:
        return find_metadata(raw_among(named)[0]) if named else None
    except InputError:
        return None  # the step that reads them says what is wrong
