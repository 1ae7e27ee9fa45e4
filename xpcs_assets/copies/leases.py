"""The book of holds and leases: who says that a run stays, and who works on it now.

A lease carries a fencing number that rises with every lease of the run. Whoever was stopped past the end of a lease
and wakes up finds a higher number in the ledger and must not touch anything: :meth:`LeaseBook.check_lease` says so.
Purposes in :data:`EXCLUSIVE` are alone: nobody else works on the run beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from xpcs_assets.copies.book import Book, value_of
from xpcs_assets.copies.database import reading, writing
from xpcs_assets.copies.keeping import keep
from xpcs_assets.copies.tables import HoldRow, LeaseRow
from xpcs_assets.errors import RefusedError

EXCLUSIVE = frozenset({"prune", "repair"})


@dataclass(frozen=True)
class Hold:
    """A person's or program's word that a run stays; ``released_at`` is None while it stands."""

    beamline: str
    run_key: str
    reason: str
    set_by: str
    set_at: datetime
    released_by: str | None
    released_at: datetime | None


@dataclass(frozen=True)
class Lease:
    """The right to work on a run until ``expires_at``.

    Attributes
    ----------
    beamline, run_key, purpose
        On which run, and for which step.
    holder
        Who has it: host, process and Dagster run.
    fencing
        Higher than that of every earlier lease of the run.
    expires_at
        From then on another may take it.
    """

    beamline: str
    run_key: str
    purpose: str
    holder: str
    fencing: int
    expires_at: datetime


class LeaseBook(Book):
    """Holds and leases."""

    def hold(self, beamline: str, run_key: str, reason: str, by: str) -> Hold:
        """Let a run stay until :meth:`release`.

        Raises
        ------
        RefusedError
            No reason was given.
        """
        if not reason.strip():
            raise RefusedError("a hold needs a reason", where=f"{beamline}/{run_key}", remedy="Say why the run stays")
        with writing(self.engine) as session:
            row = HoldRow(beamline=beamline, run_key=run_key, reason=reason, set_by=by, set_at=self.clock())
            session.add(row)
            keep(session, row)
            session.flush()
            return value_of(Hold, row)

    def release(self, beamline: str, run_key: str, by: str) -> int:
        """End all holds that stand on a run; how many those were."""
        with writing(self.engine) as session:
            rows = session.scalars(_standing(beamline, run_key)).all()
            for row in rows:
                row.released_by, row.released_at = by, self.clock()
                keep(session, row, looser=True)
            return len(rows)

    def holds(self, beamline: str, run_key: str) -> tuple[Hold, ...]:
        """Holds that stand on a run."""
        with reading(self.engine) as session:
            return tuple(value_of(Hold, row) for row in session.scalars(_standing(beamline, run_key)))

    @contextmanager
    def lease(self, beamline: str, run_key: str, purpose: str, holder: str, for_s: float) -> Iterator[Lease]:
        """Work on a run: take the lease, give it back at the end.

        Raises
        ------
        RefusedError
            Another holds it, or holds one that excludes it, and it has not expired.
        """
        lease = self.take_lease(beamline, run_key, purpose, holder, for_s)
        try:
            yield lease
        finally:
            self._give_back(lease)

    def take_lease(self, beamline: str, run_key: str, purpose: str, holder: str, for_s: float) -> Lease:
        """Take a lease for ``for_s`` seconds; see :meth:`lease`."""
        now = self.clock()
        with writing(self.engine) as session:
            rows = _leases_of(session, beamline, run_key)
            for row in rows:
                if row.expires_at > now and _excludes(row.purpose, purpose) and row.holder != holder:
                    raise RefusedError(
                        f"{row.holder} works on it ({row.purpose}) until {row.expires_at:%Y-%m-%d %H:%M:%S} UTC",
                        where=f"{beamline}/{run_key}",
                        remedy="Wait for it to end; a lease whose holder died ends by itself",
                    )
            mine = next((row for row in rows if row.purpose == purpose), None)
            if mine is None:
                mine = LeaseRow(beamline=beamline, run_key=run_key, purpose=purpose)
                session.add(mine)
            mine.fencing = 1 + max((row.fencing for row in rows), default=0)
            mine.holder, mine.expires_at = holder, now + timedelta(seconds=for_s)
            session.flush()
            return value_of(Lease, mine)

    def renew(self, lease: Lease, for_s: float) -> Lease:
        """Prolong a lease from now on.

        Raises
        ------
        RefusedError
            It is no longer this holder's: stop before the next write.
        """
        with writing(self.engine) as session:
            row = _mine(session, lease)
            row.expires_at = self.clock() + timedelta(seconds=for_s)
            session.flush()
            return value_of(Lease, row)

    def check_lease(self, lease: Lease) -> None:
        """Make sure that a lease still stands: not taken over, not expired.

        Raises
        ------
        RefusedError
            It does not: stop before the next write.
        """
        with reading(self.engine) as session:
            row = _mine(session, lease)
            if row.expires_at <= self.clock():
                raise _lost(lease, "it has expired")

    @contextmanager
    def guard(self, lease: Lease, for_s: float) -> Iterator[None]:
        """Do one thing that must not happen once the lease is lost or a hold is set, and prolong the lease by it.

        The ledger is locked meanwhile: a hold or a take-over comes before or after, never in between. Nothing else
        may be asked of the ledger inside.

        Raises
        ------
        RefusedError
            The lease is lost, or a hold stands: the thing was not done.
        """
        with writing(self.engine) as session:
            row, now = _mine(session, lease), self.clock()
            if row.expires_at <= now:
                raise _lost(lease, "it has expired")
            hold = session.scalar(_standing(lease.beamline, lease.run_key).limit(1))
            if hold is not None:
                raise RefusedError(
                    f"{hold.set_by} holds it: {hold.reason}",
                    where=f"{lease.beamline}/{lease.run_key}",
                    remedy="`xpcs-assets release` ends a hold",
                )
            row.expires_at = now + timedelta(seconds=for_s)
            session.flush()
            yield

    def leases(self, beamline: str, run_key: str) -> tuple[Lease, ...]:
        """Leases of a run that have not expired."""
        now = self.clock()
        with reading(self.engine) as session:
            rows = _leases_of(session, beamline, run_key)
            return tuple(value_of(Lease, row) for row in rows if row.expires_at > now)

    def _give_back(self, lease: Lease) -> None:
        with writing(self.engine) as session:
            row = session.get(LeaseRow, (lease.beamline, lease.run_key, lease.purpose))
            if row is not None and row.fencing == lease.fencing:
                row.expires_at = self.clock()


def _excludes(one: str, other: str) -> bool:
    return one == other or not EXCLUSIVE.isdisjoint({one, other})


def _standing(beamline: str, run_key: str) -> Select[HoldRow]:
    return (
        select(HoldRow)
        .where(HoldRow.beamline == beamline, HoldRow.run_key == run_key, HoldRow.released_at.is_(None))
        .order_by(HoldRow.id)
    )


def _leases_of(session: Session, beamline: str, run_key: str) -> list[LeaseRow]:
    query = select(LeaseRow).where(LeaseRow.beamline == beamline, LeaseRow.run_key == run_key)
    return list(session.scalars(query.order_by(LeaseRow.purpose)))


def _mine(session: Session, lease: Lease) -> LeaseRow:
    row = session.get(LeaseRow, (lease.beamline, lease.run_key, lease.purpose))
    # The holder counts beside the number: in a ledger that was made again the numbers begin anew.
    if row is None or (row.fencing, row.holder) != (lease.fencing, lease.holder):
        raise _lost(lease, "another has taken it over")
    # Work that excludes this one can only have begun once this lease had expired; whether it has ended does not matter.
    for other in _leases_of(session, lease.beamline, lease.run_key):
        overtook = other.fencing > lease.fencing and other.holder != lease.holder
        if overtook and _excludes(other.purpose, lease.purpose):
            raise _lost(lease, f"{other.holder} worked on it meanwhile ({other.purpose})")
    return row


def _lost(lease: Lease, why: str) -> RefusedError:
    return RefusedError(
        f"the lease {lease.fencing} to {lease.purpose} was lost: {why}",
        where=f"{lease.beamline}/{lease.run_key}",
        remedy="Nothing more is written; start again",
    )
