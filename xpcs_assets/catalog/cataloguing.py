"""Catalogue a run of a beamline: its raw dataset when it is described, a derived one for each result."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.catalog.documents import Derived
from xpcs_assets.catalog.embedded import CatalogRecord, EmbeddedCatalog
from xpcs_assets.catalog.sparkline import sparkline
from xpcs_assets.copies.ledger import Result, RunVersion
from xpcs_assets.describe.judgement import Quality
from xpcs_assets.describe.judging import judge_result
from xpcs_assets.describe.record import read_record
from xpcs_assets.errors import CatalogError, InputError
from xpcs_assets.runs.recipe import Recipe


@dataclass(frozen=True)
class Catalogued:
    """A record in the catalog, and the digest of what it was made of."""

    record: CatalogRecord
    made_of: str


def catalogue_raw(beamline: OpenBeamline, key: str) -> Catalogued:
    """Put the raw dataset of run ``key``, from its record.

    Raises
    ------
    NotFoundError, MetadataError
        The run was never taken, or has no record yet.
    CatalogError
        The catalog did not take it.
    """
    version = beamline.latest(key)
    folder = beamline.staged(version)
    catalog = EmbeddedCatalog(beamline.engine)
    pid = catalog.put_raw(read_record(folder.record), str(folder.raw))
    return Catalogued(catalog.get(pid), version.manifest_digest)


def catalogue_result(beamline: OpenBeamline, key: str) -> Catalogued:
    """Put the derived dataset of the newest result under ``key``, with its quality.

    Raises
    ------
    NotFoundError, MetadataError, ResultError
        There is no result, no record, or the result does not open.
    CatalogError
        The catalog did not take it.
    """
    return _catalogue(beamline, beamline.latest(key), beamline.result(key))


def recatalogue(beamline: OpenBeamline) -> list[str]:
    """Put every version that was described and every result again; why some could not be, in words."""
    told = []
    catalog = EmbeddedCatalog(beamline.engine)
    for run in beamline.ledger.runs(beamline.name):
        for version in beamline.ledger.versions(beamline.name, run.run_key):
            folder = beamline.staged(version)
            results = beamline.ledger.results(beamline.name, run.run_key, version=version.version)
            try:
                if folder.record.exists():
                    catalog.put_raw(read_record(folder.record), str(folder.raw))
                    for result in reversed(results):  # the last recorded is put last
                        _catalogue(beamline, version, result)
            except (InputError, CatalogError, OSError) as error:
                told.append(f"{run.run_key} v{version.version} is not in the catalog: {error}")
    return told


def _catalogue(beamline: OpenBeamline, version: RunVersion, found: Result) -> Catalogued:
    from xpcs_assets.results.result import open_result

    path = beamline.result_path(found)
    result = open_result(path)
    fits = result.fit()
    frames, g2 = judge_result(beamline, version, result, fits)
    quality = Quality((*frames.judgements, *g2.judgements))
    catalog = EmbeddedCatalog(beamline.engine)
    status = path.stat()  # the file's own time: found again, it is the same dataset
    pid = catalog.put_derived(
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
    return Catalogued(catalog.get(pid), found.result_digest)
