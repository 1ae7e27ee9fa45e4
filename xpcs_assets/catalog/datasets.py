"""Datasets and lifecycles for catalogs outside the site, made of the facts at the moment they are sent.

The document is the embedded record's, so that every catalog says the same; the files are the ledger's, with their
digests; the plots are those that lie beside the result; the people and groups are those of the roster as it is now.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.catalog.dataset import Dataset, Lifecycle, Picture
from xpcs_assets.catalog.documents import derived_pid
from xpcs_assets.catalog.embedded import CatalogRecord, EmbeddedCatalog
from xpcs_assets.catalog.roster import Roster
from xpcs_assets.catalog.states import DatasetState
from xpcs_assets.copies.ledger import RemovalKind, Result
from xpcs_assets.describe.record import Owner
from xpcs_assets.errors import CatalogError, CatalogUnavailableError
from xpcs_assets.plot.captions import CAPTIONS
from xpcs_assets.runs.manifest import FileEntry

_ARCHIVED = frozenset({DatasetState.ARCHIVED, DatasetState.PRUNED})
_ON_DISK = frozenset({DatasetState.STAGED, DatasetState.ARCHIVED})


def dataset_of(beamline: OpenBeamline, pid: str, roster: Roster) -> Dataset:
    """The dataset of one of our pids, as it is now.

    Raises
    ------
    CatalogError
        There is no such record, or no such result.
    CatalogUnavailableError
        The result cannot be read now.
    NotFoundError, NotVerifiedError
        The ledger does not know the version, or its manifest is damaged.
    """
    record = EmbeddedCatalog(beamline.engine).get(pid)
    version = beamline.ledger.version(record.beamline, record.run_key, record.version)
    owner = Owner.of(version.owner)
    document = record.document | roster.seen_by(owner, record.beamline) | roster.people(owner.proposal)
    if record.kind == "raw":
        files = version.manifest.files
        pictures: tuple[Picture, ...] = ()
    else:
        path, files = _result_file(beamline, record)
        pictures = _pictures(path.parent / "plots")
    return Dataset(document, record.embargo_until, tuple(files), pictures, record.sample)


def lifecycle_of(beamline: OpenBeamline, pid: str) -> Lifecycle:
    """Where the data of one of our raw pids are, as the ledger knows it now.

    Raises
    ------
    CatalogError
        There is no such record.
    """
    record = EmbeddedCatalog(beamline.engine).get(pid)
    if record.state == DatasetState.UNVERIFIED:
        return Lifecycle()
    archived, on_disk = record.state in _ARCHIVED, record.state in _ON_DISK
    return Lifecycle(
        archived=archived,
        archive_location=_location(beamline, record) if archived else None,
        on_disk=on_disk,
        pruned_at=None if on_disk else _last_removal(beamline, record),
    )


def _location(beamline: OpenBeamline, record: CatalogRecord) -> str | None:
    bundles = beamline.ledger.bundles(record.beamline, record.run_key, record.version)
    names = [f"{one.place}:{one.name}" for one in bundles if one.content == "raw" and one.evidence.counts]
    return "; ".join(names) or None


def _last_removal(beamline: OpenBeamline, record: CatalogRecord) -> datetime | None:
    lines = beamline.ledger.removals(record.beamline, record.run_key, RemovalKind.TOMBSTONE)
    return max((line.at for line in lines if line.version == record.version), default=None)


def _result_file(beamline: OpenBeamline, record: CatalogRecord) -> tuple[Path, tuple[FileEntry, ...]]:
    """The file of the result that a derived record was made of."""
    found = _result_of(beamline, record)
    path = beamline.result_path(found)
    try:
        status = path.stat()
    except OSError as error:
        raise CatalogUnavailableError(
            f"the result cannot be read now ({error.strerror})", where=path, remedy="The entry waits until it can"
        ) from error
    digest = found.result_digest.removeprefix("sha256:")
    return path, (FileEntry(path.name, status.st_size, digest, status.st_mtime_ns),)


def _result_of(beamline: OpenBeamline, record: CatalogRecord) -> Result:
    results = beamline.ledger.results(
        record.beamline, record.run_key, analysis_key=record.analysis_key, version=record.version
    )
    for result in results:  # the last recorded comes first
        folder = Path(result.path).parent.name
        if derived_pid(record.beamline, record.analysis_key, record.version, folder) == record.pid:
            return result
    raise CatalogError(
        "the ledger has no result of this record", where=record.pid, remedy="Materialise the run's correlation again"
    )


def _pictures(folder: Path) -> tuple[Picture, ...]:
    """The plots that lie there, those first that are looked at first."""
    found = []
    for name, caption in CAPTIONS.items():
        try:
            content = (folder / f"{name}.png").read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CatalogUnavailableError(
                f"a plot cannot be read now ({error.strerror})", where=folder / f"{name}.png"
            ) from error
        found.append(Picture(f"{name}.png", caption, content))
    return tuple(found)
