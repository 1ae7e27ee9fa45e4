"""From a run's staged copy to a recorded result: choose the inputs, run the worker, believe only what opens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.believe import believe, digest_of
from xpcs_assets.compute.call import WorkerCall
from xpcs_assets.compute.choose_qmap import choose_qmap
from xpcs_assets.compute.choose_recipe import choose_recipe
from xpcs_assets.compute.local import WorkerJob, run
from xpcs_assets.compute.qmap_registry import file_of, run_time
from xpcs_assets.errors import MetadataError, NotFoundError, RawDataError
from xpcs_assets.runs.key import split_analysis_key
from xpcs_assets.runs.recipe import AnalysisSettings, Recipe
from xpcs_assets.settings_correlate import Correlate

if TYPE_CHECKING:
    from xpcs_assets.copies.ledger import RunVersion
    from xpcs_assets.results.result import Result
    from xpcs_assets.runs.folders import VersionFolder


@dataclass(frozen=True)
class Inputs:
    """What a correlation is made of.

    Attributes
    ----------
    version
        The run's version.
    folder
        Its staged copy.
    raw, metadata, qmap
        The staged files, and the q-map wherever it lies.
    qmap_digest
        ``sha256:`` of the q-map's bytes.
    raw_digests
        sha256 of each raw file and of those that it links to, as in the manifest, hex, in the reader's order. Empty
        where the manifest does not hold all of them.
    qmap_from
        Which version of which map in the registry the q-map is; empty where it is from elsewhere.
    qmap_by_rule
        The q-map is not the beamline's own, but that of a rule for special runs.
    """

    version: RunVersion
    folder: VersionFolder
    raw: tuple[Path, ...]
    metadata: Path
    qmap: Path
    qmap_digest: str
    raw_digests: tuple[str, ...]
    qmap_from: str = ""
    qmap_by_rule: bool = False


@dataclass(frozen=True)
class Planned:
    """An analysis that is to be made of a run, here or elsewhere.

    Attributes
    ----------
    key
        The analysis key.
    inputs, recipe
        What its result is made of.
    path
        Where the result goes.
    call
        What the worker is told.
    """

    key: str
    inputs: Inputs
    recipe: Recipe
    path: Path
    call: WorkerCall


@dataclass(frozen=True)
class Analysed:
    """A result that opens, with the worker's report."""

    inputs: Inputs
    recipe: Recipe
    path: Path
    result: Result
    report: dict[str, Any]


def inputs(beamline: OpenBeamline, key: str, qmap: str = "") -> Inputs:
    """Find what run ``key`` is correlated from; ``qmap`` names another q-map than the beamline's.

    Raises
    ------
    NotFoundError, RawDataError, MetadataError, QmapError
        The run was never taken or staged, or something it needs is missing.
    """
    from xpcs_assets.readers.companions import raw_among
    from xpcs_assets.readers.recognise import is_raw_name

    version = beamline.latest(key)
    folder = beamline.staged(version)
    if not folder.manifest.exists():
        raise NotFoundError("the run is not staged", where=folder.path, remedy="Materialise staged_copy first")
    entries = version.manifest.files
    raw = tuple(raw_among([folder.raw / entry.path for entry in entries if is_raw_name(Path(entry.path).name)]))
    if not raw:
        raise RawDataError("the run has no raw file", where=folder.raw, remedy="Look at the files it was taken with")
    metadata, correlate = _metadata_of(raw[0]), correlate_settings(beamline)
    has_maps = not qmap and any(rule.use is not None and rule.use.qmap is not None for rule in correlate.rules)
    source = choose_recipe(beamline, correlate, version).qmap if has_maps else correlate.qmap
    chosen = choose_qmap(beamline, source, version, lambda: run_time(version, metadata), qmap)
    path = chosen.path if chosen.version is None else file_of(beamline, chosen.version)
    digests = _raw_digests(version, folder, raw)
    by_rule = source != correlate.qmap
    return Inputs(version, folder, raw, metadata, path, digest_of(path), digests, chosen.told, by_rule)


def _raw_digests(version: RunVersion, folder: VersionFolder, raw: tuple[Path, ...]) -> tuple[str, ...]:
    from xpcs_assets.readers.recognise import is_part_name, open_raw

    known = {folder.raw / entry.path: entry.sha256 for entry in version.manifest.files}
    files = raw
    if any(is_part_name(path.name) for path in known):
        with open_raw(raw) as series:
            files = series.info.files
    return tuple(known[path] for path in files) if all(path in known for path in files) else ()


def plan(beamline: OpenBeamline, key: str, settings: AnalysisSettings, qmap: str = "") -> Planned:
    """Find what run ``key`` is to be made of, and where its result goes; nothing is made.

    Raises
    ------
    XpcsAssetsError
        An input is missing or damaged.
    """
    from xpcs_assets.engine.version import ENGINE

    found = inputs(beamline, key, qmap)
    settings = settings.with_files(beamline.site.path)
    recipe = Recipe.of(settings, found.qmap_digest, ENGINE)
    path = found.folder.result(recipe.folder)
    call = WorkerCall(
        raw=tuple(map(str, found.raw)),
        qmap=str(found.qmap),
        metadata=str(found.metadata),
        output=str(path),
        settings=settings,
        raw_digests=found.raw_digests,
        frames_field=beamline.settings.runs.frames_from,
        device=correlate_settings(beamline).device,
    )
    return Planned(key, found, recipe, path, call)


def analyse(
    beamline: OpenBeamline, key: str, settings: AnalysisSettings, log: Callable[[str], None], qmap: str = ""
) -> Analysed:
    """Correlate run ``key`` in a process of its own and record the result.

    A result of the same recipe and raw data that is there already, whoever made it, is taken as it is.

    Raises
    ------
    XpcsAssetsError
        An input is missing or damaged, the worker failed, or what it left is not what it reported.
    """
    return analyse_here(beamline, plan(beamline, key, settings, qmap), log)


def analyse_here(beamline: OpenBeamline, planned: Planned, log: Callable[[str], None]) -> Analysed:
    """As :func:`analyse`, for what was planned."""
    planned.path.parent.mkdir(parents=True, exist_ok=True)
    limit_s = correlate_settings(beamline).time_limit
    report = run(WorkerJob(planned.call.arguments(), planned.path.with_suffix(".json"), limit_s), log)
    return record(beamline, planned, report)


def record(beamline: OpenBeamline, planned: Planned, report: dict[str, Any]) -> Analysed:
    """Record a result that is what its report says, whoever made it. Doing it again changes nothing.

    Raises
    ------
    ComputeError, ResultError
        It is not, or does not open.
    """
    from xpcs_assets.copies.beside import write_note
    from xpcs_assets.results.result import open_result

    key, found, recipe, path = planned.key, planned.inputs, planned.recipe, planned.path
    believe(path, recipe.digest, report)
    result = open_result(path)
    run_key, _ = split_analysis_key(key)
    beamline.ledger.record_result(
        beamline.name,
        key,
        run_key=run_key,
        version=found.version.version,
        recipe_digest=recipe.digest,
        path=str(path.relative_to(found.folder.root)),
        result_digest=report["result_digest"],
        report=report,
    )
    if key == run_key:
        beamline.ledger.promote(beamline.name, run_key, recipe.digest)
    write_note(beamline.engine, found.folder)
    return Analysed(found, recipe, path, result, report)


def correlate_settings(beamline: OpenBeamline) -> Correlate:
    """The beamline's own recipe.

    Raises
    ------
    NotFoundError
        The beamline only keeps data.
    """
    settings = beamline.settings.pipeline.correlate
    if settings is None:
        raise NotFoundError("this beamline has no correlate step", where=beamline.name)
    return settings


def _metadata_of(raw: Path) -> Path:
    from xpcs_assets.readers.metadata import find_metadata

    metadata = find_metadata(raw)
    if metadata is None:
        raise MetadataError(
            "no metadata file lies beside the raw file", where=raw, remedy="Bring its *_metadata.hdf and submit the run"
        )
    return metadata
