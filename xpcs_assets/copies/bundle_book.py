"""The book of bundles: what lies in an archive, of which runs, and where in it each file begins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from xpcs_assets.copies.book import Book, value_of
from xpcs_assets.copies.copy_book import Evidence
from xpcs_assets.copies.database import reading, writing
from xpcs_assets.copies.keeping import keep
from xpcs_assets.copies.tables import BundleRow, BundleRunRow, MemberRow
from xpcs_assets.errors import NotFoundError, RefusedError


@dataclass(frozen=True, order=True)
class BundleRun:
    """A run of which a bundle holds files.

    Attributes
    ----------
    run_key, version
        Which version.
    prefix
        What its files' paths in the bundle begin with; empty when the bundle is this run's alone.
    """

    run_key: str
    version: int
    prefix: str = ""


@dataclass(frozen=True)
class Member:
    """A file inside a bundle: its name, where its bytes begin, their length and hash."""

    path: str
    offset_bytes: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Bundle:
    """A file in an archive that holds files of one run or of several.

    Attributes
    ----------
    place, name
        Where it is; a name is taken for ever.
    beamline, runs
        Whose files it holds.
    content
        ``raw`` or ``results``.
    size_bytes, sha256
        Of the bundle.
    index_digest
        ``sha256:`` of the member index.
    evidence, verified_at, recorded_at
        How and when it was last verified, when it was written.
    """

    place: str
    name: str
    beamline: str
    runs: tuple[BundleRun, ...]
    content: str
    size_bytes: int
    sha256: str
    index_digest: str
    evidence: Evidence
    verified_at: datetime
    recorded_at: datetime


class BundleBook(Book):
    """What archiving writes about bundles."""

    def record_bundle(
        self,
        beamline: str,
        runs: Sequence[BundleRun],
        *,
        place: str,
        name: str,
        content: str,
        size_bytes: int,
        sha256: str,
        index_digest: str,
        members: Iterable[Member],
        evidence: Evidence,
    ) -> Bundle:
        """Record a bundle that was read back; the same bundle again renews its evidence.

        Raises
        ------
        RefusedError
            The name was used for other bytes.
        """
        now = self.clock()
        with writing(self.engine) as session:
            row = session.get(BundleRow, (place, name))
            if row is None:
                row = BundleRow(
                    place=place,
                    name=name,
                    beamline=beamline,
                    content=content,
                    size_bytes=size_bytes,
                    sha256=sha256,
                    index_digest=index_digest,
                    evidence=evidence.value,
                    recorded_at=now,
                    verified_at=now,
                )
                session.add(row)
                session.flush()  # runs and members refer to it
                session.add_all(_rows(row, runs, members))
                session.flush()
            elif (row.beamline, row.sha256) != (beamline, sha256) or _runs(session, row) != tuple(sorted(runs)):
                raise RefusedError(
                    f"bundle {name!r} already holds other bytes",
                    where=place,
                    remedy="A bundle's name is used once; archive again, which gives a new name",
                )
            row.evidence, row.verified_at = evidence.value, now
            keep(session, row)
            session.flush()
            return _bundle(session, row)

    def bundles(self, beamline: str, run_key: str, version: int | None = None) -> tuple[Bundle, ...]:
        """Bundles that hold files of a run, in the order they were written."""
        query = (
            select(BundleRow)
            .join(BundleRunRow, (BundleRunRow.place == BundleRow.place) & (BundleRunRow.bundle == BundleRow.name))
            .where(BundleRunRow.beamline == beamline, BundleRunRow.run_key == run_key)
            .distinct()
        )
        if version is not None:
            query = query.where(BundleRunRow.version == version)
        with reading(self.engine) as session:
            rows = session.scalars(query.order_by(BundleRow.recorded_at, BundleRow.name))
            return tuple(_bundle(session, row) for row in rows.all())

    def bundles_in(
        self, place: str, *, beamline: str, verified_before: datetime | None = None, limit: int | None = None
    ) -> tuple[Bundle, ...]:
        """A beamline's bundles in an archive, the longest unverified first.

        With ``verified_before`` only those that count and were verified before then.
        """
        query = select(BundleRow).where(BundleRow.place == place, BundleRow.beamline == beamline)
        if verified_before is not None:
            counting = [evidence.value for evidence in Evidence if evidence.counts]
            query = query.where(BundleRow.verified_at < verified_before, BundleRow.evidence.in_(counting))
        with reading(self.engine) as session:
            rows = session.scalars(query.order_by(BundleRow.verified_at, BundleRow.name).limit(limit))
            return tuple(_bundle(session, row) for row in rows.all())

    def judge_bundle(self, place: str, name: str, evidence: Evidence) -> Bundle:
        """Say how well a bundle is known now; the time of its verification changes only with evidence that counts.

        Raises
        ------
        NotFoundError
            The ledger knows no such bundle.
        """
        with writing(self.engine) as session:
            row = session.get(BundleRow, (place, name))
            if row is None:
                raise NotFoundError(f"no bundle {name!r}", where=place)
            row.evidence = evidence.value
            if evidence.counts:
                row.verified_at = self.clock()
            keep(session, row)
            session.flush()
            return _bundle(session, row)

    def members(self, place: str, bundle: str, prefix: str = "") -> tuple[Member, ...]:
        """The files inside a bundle whose paths begin with ``prefix``, in their order."""
        query = select(MemberRow).where(MemberRow.place == place, MemberRow.bundle == bundle)
        if prefix:
            query = query.where(MemberRow.path.startswith(prefix, autoescape=True))
        with reading(self.engine) as session:
            return tuple(value_of(Member, row) for row in session.scalars(query.order_by(MemberRow.offset_bytes)))


def _rows(row: BundleRow, runs: Iterable[BundleRun], members: Iterable[Member]) -> list[BundleRunRow | MemberRow]:
    where = {"place": row.place, "bundle": row.name}
    of_runs = [
        BundleRunRow(**where, beamline=row.beamline, run_key=run.run_key, version=run.version, prefix=run.prefix)
        for run in runs
    ]
    of_members = [
        MemberRow(
            **where,
            path=member.path,
            offset_bytes=member.offset_bytes,
            size_bytes=member.size_bytes,
            sha256=member.sha256,
        )
        for member in members
    ]
    return [*of_runs, *of_members]


def _runs(session: Session, row: BundleRow) -> tuple[BundleRun, ...]:
    query = select(BundleRunRow).where(BundleRunRow.place == row.place, BundleRunRow.bundle == row.name)
    return tuple(sorted(value_of(BundleRun, each) for each in session.scalars(query)))


def _bundle(session: Session, row: BundleRow) -> Bundle:
    return Bundle(
        place=row.place,
        name=row.name,
        beamline=row.beamline,
        runs=_runs(session, row),
        content=row.content,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        index_digest=row.index_digest,
        evidence=Evidence(row.evidence),
        verified_at=row.verified_at,
        recorded_at=row.recorded_at,
    )
