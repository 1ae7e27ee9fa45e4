"""What a retention planner needs of many copies at once: page by page, in a few queries a page.

Nothing is decided here. What each copy's situation is, ``prune.rules`` judges.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, func, literal, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from xpcs_assets.copies.book import Book, value_of
from xpcs_assets.copies.copy_book import Copy, CopyState, Evidence
from xpcs_assets.copies.database import Moment, reading
from xpcs_assets.copies.job_book import OPEN
from xpcs_assets.copies.leases import Hold, Lease
from xpcs_assets.copies.removals import RemovalKind
from xpcs_assets.copies.tables import BundleRow, BundleRunRow, CopyRow, HoldRow, LeaseRow, RemovalRow, VersionRow
from xpcs_assets.copies.transfer_book import UNDER_WAY
from xpcs_assets.copies.work_tables import JobRow, TransferRow
from xpcs_assets.runs.manifest import Manifest

PAGE = 500
THERE = (CopyState.PRESENT, CopyState.PART_REMOVED)
_COPY = (
    "beamline", "run_key", "version", "place", "path", "failure_domain", "state", "reason", "evidence",
    "verified_at", "recorded_at",
)  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """A copy, and what the ledger knows around it.

    Attributes
    ----------
    copy
        The copy.
    others
        The version's other copies.
    holds, leases
        Holds that stand on the run; leases of it that have not expired, and what a service moves of it, or a
        back end analyses.
    archived
        Whether a copy in an archive that was read back is among the others.
    taken_later
        The version that was taken later from the very same path and is not gone from there: the names there are its
        own now. None when there is none.
    """

    copy: Copy
    others: tuple[Copy, ...]
    holds: tuple[Hold, ...]
    leases: tuple[Lease, ...]
    archived: bool
    taken_later: int | None = None


@dataclass(frozen=True)
class Counted:
    """How many copies a place has, and how many of them were recorded after a time."""

    copies: int
    younger: int


class OverviewBook(Book):
    """The ledger's copies, many at once."""

    def copies_seen(
        self, beamline: str, place: str, *, until: datetime, after: datetime | None = None, page: int = PAGE
    ) -> Iterator[Seen]:
        """Copies in a place that are there or half gone and were recorded by ``until``, the oldest first.

        Each page is read in a transaction of its own: a copy that goes meanwhile may still be told of.

        Parameters
        ----------
        after
            Only those recorded after this.
        page
            How many copies are read at once.
        """
        last: tuple[datetime, int] | None = None
        while True:
            with reading(self.engine) as session:
                ids = _page(beamline, place, until, after, last, page)
                rows = session.execute(ids).all()
                found = _around(session, self.clock(), ids, {row.id for row in rows}) if rows else []
            yield from found
            if len(rows) < page:
                return
            last = (rows[-1].recorded_at, rows[-1].id)

    def copy_seen(self, copy: Copy) -> Seen | None:
        """One copy as the ledger knows it now, whatever its state; None when it knows none such."""
        ids = select(CopyRow.id, CopyRow.beamline, CopyRow.run_key, CopyRow.version).where(
            CopyRow.beamline == copy.beamline,
            CopyRow.run_key == copy.run_key,
            CopyRow.version == copy.version,
            CopyRow.place == copy.place,
            CopyRow.path == copy.path,
        )
        with reading(self.engine) as session:
            number = session.scalar(ids)
            return None if number is None else _around(session, self.clock(), ids, {number})[0]

    def count_copies(self, beamline: str, place: str, *, after: datetime) -> Counted:
        """How many copies are there or half gone, and how many of these were recorded after a time."""
        younger = func.count().filter(CopyRow.recorded_at > after)
        with reading(self.engine) as session:
            copies, young = session.execute(select(func.count(), younger).where(*_there(beamline, place))).one()
            return Counted(int(copies), int(young))

    def arrived_bytes(self, beamline: str, place: str, *, after: datetime, until: datetime) -> int:
        """The bytes of the copies recorded in a place after one time and by another, whatever became of them."""
        query = (
            select(VersionRow.manifest)
            .join(CopyRow, _same_version(VersionRow, CopyRow))
            .where(CopyRow.beamline == beamline, CopyRow.place == place)
            .where(CopyRow.recorded_at > after, CopyRow.recorded_at <= until)
        )
        with reading(self.engine) as session:
            return sum(Manifest.from_json(text).size_bytes for text in session.scalars(query))

    def sizes(self, copies: Sequence[Copy]) -> tuple[int, ...]:
        """The bytes of each copy, as its manifest has them."""
        found: dict[tuple[str, str, int], int] = {}
        with reading(self.engine) as session:
            for start in range(0, len(copies), PAGE):
                keys = {(copy.beamline, copy.run_key, copy.version) for copy in copies[start : start + PAGE]}
                columns = (VersionRow.beamline, VersionRow.run_key, VersionRow.version)
                query = select(*columns, VersionRow.manifest).where(tuple_(*columns).in_(keys))
                for beamline, run_key, version, text in session.execute(query):
                    found[beamline, run_key, version] = Manifest.from_json(text).size_bytes
        return tuple(found[copy.beamline, copy.run_key, copy.version] for copy in copies)

    def removed_since(self, beamline: str, place: str, since: datetime) -> frozenset[tuple[str, int, str]]:
        """Run, version and path of each copy in a place whose removal was intended after a time."""
        query = select(RemovalRow.run_key, RemovalRow.version, RemovalRow.path).where(
            RemovalRow.beamline == beamline,
            RemovalRow.place == place,
            RemovalRow.kind == RemovalKind.INTENT.value,
            RemovalRow.at > since,
        )
        with reading(self.engine) as session:
            return frozenset((row.run_key, row.version, row.path) for row in session.execute(query))


def _there(beamline: str, place: str) -> tuple[Any, ...]:
    return (
        CopyRow.beamline == beamline,
        CopyRow.place == place,
        CopyRow.state.in_([state.value for state in THERE]),
    )


def _page(
    beamline: str,
    place: str,
    until: datetime,
    after: datetime | None,
    last: tuple[datetime, int] | None,
    size: int,
) -> Any:
    query = select(CopyRow.id, CopyRow.recorded_at, CopyRow.beamline, CopyRow.run_key, CopyRow.version).where(
        *_there(beamline, place), CopyRow.recorded_at <= until
    )
    if after is not None:
        query = query.where(CopyRow.recorded_at > after)
    if last is not None:
        query = query.where(tuple_(CopyRow.recorded_at, CopyRow.id) > tuple_(literal(last[0], Moment), last[1]))
    return query.order_by(CopyRow.recorded_at, CopyRow.id).limit(size)


def _around(session: Session, now: datetime, ids: Any, wanted: set[int]) -> list[Seen]:
    """All that is known around the copies of a page, in the page's order."""
    page = ids.subquery()
    copies, own = _copies(session, page, wanted)
    holds = _holds(session, page)
    leases = _leases(session, page, now)
    archives = _archives(session, page)
    later = _taken_later(session, page)
    seen = []
    for copy in own:
        key = (copy.run_key, copy.version)
        others = tuple(other for other in copies[key] if (other.place, other.path) != (copy.place, copy.path))
        archived = any(other.place in archives[key] and other.state is CopyState.PRESENT for other in others)
        after = later.get((*key, copy.place, copy.path))
        seen.append(Seen(copy, others, tuple(holds[copy.run_key]), tuple(leases[copy.run_key]), archived, after))
    return seen


def _copies(session: Session, page: Any, wanted: set[int]) -> tuple[dict[tuple[str, int], list[Copy]], list[Copy]]:
    columns = [getattr(CopyRow, name) for name in _COPY]
    query = select(CopyRow.id, *columns).join(page, _same_version(CopyRow, page.c)).distinct()
    copies: dict[tuple[str, int], list[Copy]] = defaultdict(list)
    own: list[tuple[datetime, int, Copy]] = []
    states, evidences = {state.value: state for state in CopyState}, {value.value: value for value in Evidence}
    for row in session.execute(query):
        number, *values = row
        said = dict(zip(_COPY, values, strict=True))
        copy = Copy(**said | {"state": states[said["state"]], "evidence": evidences[said["evidence"]]})
        copies[copy.run_key, copy.version].append(copy)
        if number in wanted:
            own.append((copy.recorded_at, number, copy))
    return copies, [copy for _, _, copy in sorted(own, key=lambda item: item[:2])]


def _holds(session: Session, page: Any) -> dict[str, list[Hold]]:
    query = (
        select(HoldRow)
        .where(HoldRow.beamline == page.c.beamline, HoldRow.run_key == page.c.run_key, HoldRow.released_at.is_(None))
        .distinct()
        .order_by(HoldRow.id)
    )
    found: dict[str, list[Hold]] = defaultdict(list)
    for row in session.scalars(query):
        found[row.run_key].append(value_of(Hold, row))
    return found


def _leases(session: Session, page: Any, now: datetime) -> dict[str, list[Lease]]:
    query = (
        select(LeaseRow)
        .where(LeaseRow.beamline == page.c.beamline, LeaseRow.run_key == page.c.run_key, LeaseRow.expires_at > now)
        .distinct()
        .order_by(LeaseRow.purpose)
    )
    found: dict[str, list[Lease]] = defaultdict(list)
    for row in session.scalars(query):
        found[row.run_key].append(value_of(Lease, row))
    for transfer in session.scalars(_moving(page)):
        purpose = f"transfer {transfer.source} to {transfer.target}"
        of = (transfer.beamline, transfer.run_key, purpose)
        found[transfer.run_key].append(Lease(*of, f"task {transfer.task}", fencing=0, expires_at=now))
    for job in session.execute(_analysed(page)):
        of = (job.beamline, job.run_key, f"analysis on {job.backend}")
        found[job.run_key].append(Lease(*of, f"job {job.name}", fencing=0, expires_at=now))
    return found


def _moving(page: Any) -> Select[TransferRow]:
    """Transfers that a service works on while no process of ours holds a lease."""
    states = [state.value for state in UNDER_WAY]
    return (
        select(TransferRow)
        .where(TransferRow.beamline == page.c.beamline, TransferRow.run_key == page.c.run_key)
        .where(TransferRow.state.in_(states), TransferRow.task != "")
        .distinct()
        .order_by(TransferRow.submission)
    )


def _analysed(page: Any) -> Select[Any]:
    """Jobs that a back end has, or is to have: they read the staged copy while no process of ours holds a lease."""
    states = [state.value for state in OPEN]
    named = func.substr(JobRow.analysis_key, 1, func.length(page.c.run_key) + 1) == page.c.run_key.concat("~")
    return (
        select(page.c.beamline, page.c.run_key, JobRow.name, JobRow.backend)
        .join(JobRow, and_(JobRow.beamline == page.c.beamline, or_(JobRow.analysis_key == page.c.run_key, named)))
        .where(JobRow.state.in_(states))
        .distinct()
        .order_by(JobRow.name)
    )


def _archives(session: Session, page: Any) -> dict[tuple[str, int], set[str]]:
    """Places where a deletion may rest on the evidence of every raw bundle of a version."""
    query = (
        select(BundleRunRow.run_key, BundleRunRow.version, BundleRunRow.place, BundleRow.evidence)
        .join(BundleRow, and_(BundleRow.place == BundleRunRow.place, BundleRow.name == BundleRunRow.bundle))
        .join(page, _same_version(BundleRunRow, page.c))
        .where(BundleRow.content == "raw")
    )
    found: dict[tuple[str, int], set[str]] = defaultdict(set)
    weak: dict[tuple[str, int], set[str]] = defaultdict(set)
    for run_key, version, place, evidence in session.execute(query):
        (found if Evidence(evidence).counts else weak)[run_key, version].add(place)
    for key, places in weak.items():
        found[key] -= places
    return found


def _taken_later(session: Session, page: Any) -> dict[tuple[str, int, str, str], int]:
    """The version whose copy has the place and path of an earlier one's, by that one's run, version, place and path."""
    later, of_later = aliased(CopyRow), aliased(VersionRow)
    same_name = and_(
        later.beamline == CopyRow.beamline,
        later.run_key == CopyRow.run_key,
        later.place == CopyRow.place,
        later.path == CopyRow.path,
        later.state != CopyState.REMOVED.value,
    )
    query = (
        select(CopyRow.run_key, CopyRow.version, CopyRow.place, CopyRow.path, later.version)
        .join(page, _same_version(CopyRow, page.c))
        .join(VersionRow, _same_version(VersionRow, CopyRow))
        .join(later, same_name)
        .join(of_later, _same_version(of_later, later))
        .where(of_later.taken_at > VersionRow.taken_at)
        .distinct()
    )
    return {(run_key, version, place, path): after for run_key, version, place, path, after in session.execute(query)}


def _same_version(one: Any, other: Any) -> Any:
    return and_(one.beamline == other.beamline, one.run_key == other.run_key, one.version == other.version)
