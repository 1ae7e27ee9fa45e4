"""What the ledger counts on, asked for a whole place at once: copies with manifests, bundles, results, files aside.

For audits and scrubs, which go through everything; a step asks the books for its own run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from sqlalchemy import ColumnElement, Engine, and_, case, exists, func, or_, select
from sqlalchemy.orm import aliased

from xpcs_assets.copies.audit_book import FindingKind, FindingState
from xpcs_assets.copies.book import value_of
from xpcs_assets.copies.copy_book import Copy, CopyState, Evidence
from xpcs_assets.copies.database import reading
from xpcs_assets.copies.tables import (
    AsideRow,
    BundleRow,
    BundleRunRow,
    CopyRow,
    EventRow,
    FindingRow,
    ResultRow,
    VersionRow,
)
from xpcs_assets.copies.versions import RECIPE_STEP, SKIPPED, Result
from xpcs_assets.errors import NotVerifiedError
from xpcs_assets.runs.manifest import FileEntry, Manifest

CORRELATION = "correlation"
_AT_A_TIME = 500


@dataclass(frozen=True)
class Standing:
    """A copy with the files that it should have.

    Attributes
    ----------
    copy
        The copy.
    manifest
        Of its version; None when the ledger's own is damaged.
    superseded
        Whether a later version was taken from the very same path: its files have the name now.
    """

    copy: Copy
    manifest: Manifest | None
    superseded: bool

    def path(self, entry: FileEntry) -> str:
        """Where in the place a file of it lies."""
        return str(PurePosixPath(self.copy.path) / entry.path)


@dataclass(frozen=True)
class Unfinished:
    """The latest version of a run that lacks something: a staged copy, or what its beamline's analysis makes."""

    run_key: str
    version: int
    taken_at: datetime
    staged: bool


def standing(
    engine: Engine, beamline: str, place: str, *, states: Collection[CopyState] = (CopyState.PRESENT,)
) -> Iterator[Standing]:
    """A beamline's copies in a place, the longest unverified first.

    Go through it at once: one snapshot of the ledger is held meanwhile.
    """
    later, of_later = CopyRow.__table__.alias("later"), VersionRow.__table__.alias("of_later")
    superseded = exists().where(
        later.c.beamline == CopyRow.beamline,
        later.c.run_key == CopyRow.run_key,
        later.c.place == CopyRow.place,
        later.c.path == CopyRow.path,
        of_later.c.beamline == later.c.beamline,
        of_later.c.run_key == later.c.run_key,
        of_later.c.version == later.c.version,
        of_later.c.taken_at > VersionRow.taken_at,
    )
    of_version = and_(
        VersionRow.beamline == CopyRow.beamline,
        VersionRow.run_key == CopyRow.run_key,
        VersionRow.version == CopyRow.version,
    )
    query = (
        select(CopyRow, VersionRow.manifest, VersionRow.manifest_digest, superseded.label("superseded"))
        .join(VersionRow, of_version)
        .where(CopyRow.beamline == beamline, CopyRow.place == place, CopyRow.state.in_([each.value for each in states]))
        .order_by(CopyRow.verified_at, CopyRow.id)
        .execution_options(yield_per=_AT_A_TIME)
    )
    with reading(engine) as session:
        for row, text, digest, gone in session.execute(query):
            copy = value_of(Copy, row, state=CopyState, evidence=Evidence)
            yield Standing(copy, _manifest(copy, text, digest), bool(gone))


def _manifest(copy: Copy, text: str, digest: str) -> Manifest | None:
    with suppress(NotVerifiedError):
        manifest = Manifest.from_json(text)
        if (manifest.run_key, manifest.digest) == (copy.run_key, digest):
            return manifest
    return None


def bundle_names(engine: Engine, beamline: str, place: str) -> dict[str, tuple[int, str, int]]:
    """The bundles recorded in an archive: length in bytes, and the first run and version in each, by name."""
    of_bundle = and_(BundleRunRow.place == BundleRow.place, BundleRunRow.bundle == BundleRow.name)
    query = (
        select(BundleRow.name, BundleRow.size_bytes, func.min(BundleRunRow.run_key), func.min(BundleRunRow.version))
        .outerjoin(BundleRunRow, of_bundle)
        .where(BundleRow.beamline == beamline, BundleRow.place == place)
        .group_by(BundleRow.name, BundleRow.size_bytes)
    )
    with reading(engine) as session:
        return {name: (size, run_key or "", version or 0) for name, size, run_key, version in session.execute(query)}


def aside_paths(engine: Engine, beamline: str, place: str) -> frozenset[str]:
    """Where files of a place were set aside to, and still lie by what the ledger knows."""
    query = select(AsideRow.aside_path).where(
        AsideRow.beamline == beamline, AsideRow.place == place, AsideRow.ended_at.is_(None)
    )
    with reading(engine) as session:
        return frozenset(session.scalars(query))


def result_folders(engine: Engine, beamline: str) -> frozenset[str]:
    """The folders, relative to the staging place, in which a result that the ledger knows lies."""
    query = select(ResultRow.path).where(ResultRow.beamline == beamline).distinct()
    with reading(engine) as session:
        return frozenset(str(PurePosixPath(path).parent) for path in session.scalars(query))


def newest_results(engine: Engine, beamline: str) -> tuple[Result, ...]:
    """Of each analysis key and version the result that was recorded last: what is served."""
    newest = (
        select(func.max(ResultRow.id).label("id"), ResultRow.analysis_key, ResultRow.version)
        .where(ResultRow.beamline == beamline)
        .group_by(ResultRow.analysis_key, ResultRow.version)
        .subquery()
    )
    query = select(ResultRow).join(newest, ResultRow.id == newest.c.id).order_by(ResultRow.id)
    with reading(engine) as session:
        return tuple(value_of(Result, row) for row in session.scalars(query))


def versions_known(engine: Engine, beamline: str) -> frozenset[tuple[str, int]]:
    """Run key and version of all that was ever taken."""
    query = select(VersionRow.run_key, VersionRow.version).where(VersionRow.beamline == beamline)
    with reading(engine) as session:
        return frozenset((row[0], row[1]) for row in session.execute(query))


def is_analysed(analysis: str) -> ColumnElement[bool]:
    """Whether the run of a ``VersionRow`` has its own result, or what a command made of it, or is skipped.

    Parameters
    ----------
    analysis
        The asset that is the analysis of its beamline, as :attr:`xpcs_assets.settings.Pipeline.analysis` says it.
    """
    if analysis == CORRELATION:
        result = exists().where(
            ResultRow.beamline == VersionRow.beamline,
            ResultRow.run_key == VersionRow.run_key,
            ResultRow.analysis_key == VersionRow.run_key,
            ResultRow.version == VersionRow.version,
        )
        return or_(result, is_skipped())
    return exists().where(
        EventRow.beamline == VersionRow.beamline,
        EventRow.run_key == VersionRow.run_key,
        EventRow.step == analysis,
        EventRow.detail["folder"].as_string().is_not(None),  # the other lines of a step say how it ended
        EventRow.detail["version"].as_integer() == VersionRow.version,
        func.coalesce(EventRow.detail["analysis_key"].as_string(), VersionRow.run_key) == VersionRow.run_key,
    )


def is_skipped() -> ColumnElement[bool]:
    """Whether the run of a ``VersionRow`` was found to be one that is not correlated, and nothing else since."""
    line, later = aliased(EventRow), aliased(EventRow)
    of_run = (line.beamline == VersionRow.beamline, line.run_key == VersionRow.run_key)
    changed = exists().where(
        later.beamline == line.beamline,
        later.run_key == line.run_key,
        later.step == RECIPE_STEP,
        later.id > line.id,
    )
    said = (line.step == RECIPE_STEP, line.what.startswith(SKIPPED), line.at >= VersionRow.taken_at)
    return exists().where(*of_run, *said, ~changed)


def unfinished(
    engine: Engine, beamline: str, *, staged_in: str, analysis: str, taken_before: datetime, limit: int
) -> tuple[Unfinished, ...]:
    """Latest versions that were never staged, or lack what the analysis makes; the newest first.

    Runs that are parked are left out.

    Parameters
    ----------
    analysis
        The asset that is the beamline's analysis; empty where there is none.
    """
    newest = (
        select(VersionRow.run_key, func.max(VersionRow.taken_at).label("taken_at"))
        .where(VersionRow.beamline == beamline)
        .group_by(VersionRow.run_key)
        .subquery()
    )
    of_version = (VersionRow.beamline == beamline,)
    staged = exists().where(
        CopyRow.beamline == beamline,
        CopyRow.run_key == VersionRow.run_key,
        CopyRow.version == VersionRow.version,
        CopyRow.place == staged_in,
    )
    parked = exists().where(
        FindingRow.beamline == beamline,
        FindingRow.kind == FindingKind.PARKED.value,
        FindingRow.run_key == VersionRow.run_key,
        FindingRow.version == VersionRow.version,
        FindingRow.state != FindingState.CLOSED.value,
    )
    lacking = or_(~staged, ~is_analysed(analysis)) if analysis else ~staged
    query = (
        select(VersionRow.run_key, VersionRow.version, VersionRow.taken_at, case((staged, 1), else_=0))
        .join(newest, and_(VersionRow.run_key == newest.c.run_key, VersionRow.taken_at == newest.c.taken_at))
        .where(*of_version, VersionRow.taken_at < taken_before, lacking, ~parked)
        .order_by(VersionRow.taken_at.desc())
        .limit(limit)
    )
    with reading(engine) as session:
        return tuple(Unfinished(row[0], row[1], row[2], bool(row[3])) for row in session.execute(query))
