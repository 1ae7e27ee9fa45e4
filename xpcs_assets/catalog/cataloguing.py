"""Catalogue a run of a beamline: its raw dataset when it is described, a derived one for each result."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.catalog.documents import Derived
from xpcs_assets.catalog.embedded import CatalogRecord, EmbeddedCatalog
from xpcs_assets.describe.quality import Quality, frames_sane, g2_sane
from xpcs_assets.describe.record import read_record
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
    from xpcs_assets.results.result import open_result

    found = beamline.result(key)
    path = beamline.result_path(found)
    result = open_result(path)
    fits = result.fit()
    quality = Quality((*frames_sane(result).judgements, *g2_sane(result, fits).judgements))
    catalog = EmbeddedCatalog(beamline.engine)
    status = path.stat()  # the file's own time: found again, it is the same dataset
    pid = catalog.put_derived(
        Derived(
            record=read_record(beamline.staged(beamline.latest(key)).record),
            analysis_key=key,
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
        )
    )
    return Catalogued(catalog.get(pid), found.result_digest)
