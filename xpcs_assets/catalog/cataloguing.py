"""Catalogue a run of a beamline: its raw dataset when it is described, a derived one for each result.

The embedded catalog is filled first. The catalogs outside the site are told then, of what it holds; one that does not
answer is told later, and nothing waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.catalog.documents import Derived
from xpcs_assets.catalog.embedded import CatalogRecord, EmbeddedCatalog
from xpcs_assets.catalog.outbox import Entry, EntryState
from xpcs_assets.catalog.roster import Roster
from xpcs_assets.catalog.seen_by import follow_roster
from xpcs_assets.catalog.sparkline import sparkline
from xpcs_assets.copies.ledger import Result, RunVersion
from xpcs_assets.describe.judgement import Quality
from xpcs_assets.describe.judging import judge_result, raw_quality
from xpcs_assets.describe.record import read_record
from xpcs_assets.errors import CatalogError, InputError
from xpcs_assets.runs.recipe import Recipe


@dataclass(frozen=True)
class Catalogued:
    """A record in the embedded catalog.

    Attributes
    ----------
    record
        The record.
    made_of
        The digest of what it was made of.
    elsewhere
        Of each catalog outside the site by name: the dataset's pid there, or why it waits.
    """

    record: CatalogRecord
    made_of: str
    elsewhere: Mapping[str, str]


def catalogue_raw(beamline: OpenBeamline, key: str) -> Catalogued:
    """Put the raw dataset of run ``key``, from its record.

    Raises
    ------
    NotFoundError, MetadataError
        The run was never taken, or has no record yet.
    SettingsError
        The roster cannot be read.
    CatalogError
        The catalog did not take it.
    """
    version = beamline.latest(key)
    folder = beamline.staged(version)
    catalog = _embedded(beamline)
    pid = catalog.put_raw(read_record(folder.record), str(folder.raw), raw_quality(beamline, version))
    elsewhere = _tell(beamline, version.run_key, pid)
    return Catalogued(catalog.get(pid), version.manifest_digest, elsewhere)


def catalogue_result(beamline: OpenBeamline, key: str) -> Catalogued:
    """Put the derived dataset of the newest result under ``key``, with its quality.

    Raises
    ------
    NotFoundError, MetadataError, ResultError
        There is no result, no record, or the result does not open.
    SettingsError
        The roster cannot be read.
    CatalogError
        The catalog did not take it.
    """
    version, found = beamline.latest(key), beamline.result(key)
    catalog = _embedded(beamline)
    pid = _put_result(catalog, beamline, version, found)
    elsewhere = _tell(beamline, version.run_key, pid)
    return Catalogued(catalog.get(pid), found.result_digest, elsewhere)


def recatalogue(beamline: OpenBeamline) -> list[str]:
    """Put every version that was described and every result again; why some could not be, in words.

    Catalogs outside the site are told of what changed by their own job.

    Raises
    ------
    SettingsError
        The roster cannot be read.
    CatalogError
        The database did not take the records.
    """
    told: list[str] = []
    with _embedded(beamline).gathering() as catalog:
        _recatalogue(catalog, beamline, told)
    return told


def _recatalogue(catalog: EmbeddedCatalog, beamline: OpenBeamline, told: list[str]) -> None:
    for run in beamline.ledger.runs(beamline.name):
        for version in beamline.ledger.versions(beamline.name, run.run_key):
            folder = beamline.staged(version)
            results = beamline.ledger.results(beamline.name, run.run_key, version=version.version)
            try:
                if folder.record.exists():
                    catalog.put_raw(read_record(folder.record), str(folder.raw), raw_quality(beamline, version))
                    for result in reversed(results):  # the last recorded is put last
                        _put_result(catalog, beamline, version, result)
            except (InputError, CatalogError, OSError) as error:
                told.append(f"{run.run_key} v{version.version} is not in the catalog: {error}")


def _embedded(beamline: OpenBeamline) -> EmbeddedCatalog:
    """The embedded catalog, in which everything is seen by whom the roster names now."""
    roster = Roster.of(beamline.site)
    follow_roster(beamline.engine, beamline.name, roster)
    return EmbeddedCatalog(beamline.engine, roster=roster)


def _put_result(catalog: EmbeddedCatalog, beamline: OpenBeamline, version: RunVersion, found: Result) -> str:
    from xpcs_assets.results.result import open_result

    path = beamline.result_path(found)
    result = open_result(path)
    fits = result.fit()
    frames, g2 = judge_result(beamline, version, result, fits)
    quality = Quality((*frames.judgements, *g2.judgements))
    status = path.stat()  # the file's own time: found again, it is the same dataset
    return catalog.put_derived(
        Derived(
            record=read_record(beamline.staged(version).record),
            analysis_key=found.analysis_key,
            recipe=Recipe.from_dict(found.report["recipe"]),
            folder=str(path.parent),
            size_bytes=status.st_size,
            result_digest=found.result_digest,
            created_at=datetime.fromtimestamp(status.st_mtime, UTC),
            report={name: value for name, value in found.report.items() if name != "reused"},
            labels=result.labels,
            fits=fits,
            law=result.fit_tau_q(fits),
            quality=quality,
        ),
        sparkline(result),
    )


def _tell(beamline: OpenBeamline, run_key: str, pid: str) -> dict[str, str]:
    """Tell the catalogs outside the site of a run; of each its pid there, or why it waits."""
    if not beamline.settings.pipeline.told:
        return {}
    from xpcs_assets.catalog.delivery import deliver, gather, outbox_of, reach_of

    outbox, reach = outbox_of(beamline), reach_of(beamline)
    gather(beamline, run_key)
    for name in beamline.settings.pipeline.told:
        outbox.want_again(beamline.name, name, pid=pid)  # plots drawn anew change no record
    for _ in deliver(beamline, run_key=run_key):
        pass
    known = {entry.catalog: entry for entry in outbox.entries(beamline.name, run_key=run_key, pid=pid)}
    return {name: _in_words(known[name], reach.rests(name)) for name in beamline.settings.pipeline.told}


def _in_words(entry: Entry, silent: str) -> str:
    if entry.state is EntryState.TOLD:
        return entry.pid_there
    word = "refused" if entry.state is EntryState.PARKED else "waits"
    return f"{word}: {entry.error or silent or 'it is not its turn yet'}"
