"""The book of copies: where the bytes of every version are, and how well that is known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Select, select

from xpcs_assets.copies.book import Book, value_of
from xpcs_assets.copies.database import reading, writing
from xpcs_assets.copies.keeping import keep
from xpcs_assets.copies.tables import CopyRow
from xpcs_assets.errors import NotFoundError


class Evidence(StrEnum):
    """How well it is known that bytes are where they should be. Compare with :attr:`rank`; the last two never count."""

    READ_BACK = "read-back hash"
    SERVICE = "service checksum"
    SIZE = "size"
    LEDGER = "ledger"

    @property
    def rank(self) -> int:
        """3 for the best, 0 for the ledger's own word."""
        return 3 - tuple(Evidence).index(self)

    @property
    def counts(self) -> bool:
        """Whether a deletion may rest on it."""
        return self.rank >= Evidence.SERVICE.rank


class CopyState(StrEnum):
    """What the ledger believes of a copy."""

    PRESENT = "present"
    LOST = "lost"
    """It was asked for and is not there."""
    BAD = "bad"
    """It is there with other bytes."""
    PART_REMOVED = "part removed"
    """Its removal began and did not end."""
    IN_TRASH = "in trash"
    """It was removed, and its bytes lie in the place's trash for the grace period; it no longer counts."""
    REMOVED = "removed"


_REMOVED = frozenset({CopyState.REMOVED, CopyState.IN_TRASH, CopyState.PART_REMOVED})


@dataclass(frozen=True)
class Copy:
    """A version's bytes in one place.

    Attributes
    ----------
    beamline, run_key, version
        Which version.
    place, path
        Where: the place's name, and the path of the copy's folder or bundle relative to the place's root.
    failure_domain
        What is lost together with it; copies that share one count once.
    state, reason
        What the ledger believes, and why.
    evidence, verified_at
        How and when the bytes were last verified.
    recorded_at
        When the copy was first recorded.
    """

    beamline: str
    run_key: str
    version: int
    place: str
    path: str
    failure_domain: str
    state: CopyState
    reason: str
    evidence: Evidence
    verified_at: datetime
    recorded_at: datetime

    @property
    def is_sound(self) -> bool:
        """Whether the ledger thinks that it is there, and that on evidence which counts."""
        return self.state is CopyState.PRESENT and self.evidence.counts


class CopyBook(Book):
    """What staging, archiving and pruning write about copies."""

    def record_copy(
        self,
        beamline: str,
        run_key: str,
        version: int,
        *,
        place: str,
        path: str,
        failure_domain: str,
        evidence: Evidence,
        verified_at: datetime | None = None,
    ) -> Copy:
        """Record that a copy was verified now (or at ``verified_at``); a copy known before is the same one, renewed."""
        now = self.clock()
        with writing(self.engine) as session:
            row = session.scalar(_one(beamline, run_key, version, place, path))
            if row is None:
                row = CopyRow(
                    beamline=beamline, run_key=run_key, version=version, place=place, path=path, recorded_at=now
                )
                session.add(row)
            elif row.state in _REMOVED:
                row.recorded_at = now  # staged again after a removal, or put back: its age begins anew
            row.failure_domain, row.evidence, row.verified_at = failure_domain, evidence.value, verified_at or now
            row.state, row.reason = CopyState.PRESENT.value, ""
            keep(session, row)
            session.flush()
            return _copy(row)

    def mark_copy(
        self, beamline: str, run_key: str, version: int, *, place: str, path: str, state: CopyState, reason: str
    ) -> Copy:
        """Say what became of a copy.

        Raises
        ------
        NotFoundError
            The ledger knows no such copy.
        """
        with writing(self.engine) as session:
            row = session.scalar(_one(beamline, run_key, version, place, path))
            if row is None:
                raise NotFoundError(f"no copy of {run_key} v{version} at {path!r}", where=place)
            row.state, row.reason = CopyState(state).value, reason
            keep(session, row)
            session.flush()
            return _copy(row)

    def copies(self, beamline: str, run_key: str, version: int | None = None) -> tuple[Copy, ...]:
        """All copies of a run's versions that the ledger knows, also those that are gone."""
        query = select(CopyRow).where(CopyRow.beamline == beamline, CopyRow.run_key == run_key)
        if version is not None:
            query = query.where(CopyRow.version == version)
        with reading(self.engine) as session:
            return tuple(_copy(row) for row in session.scalars(query.order_by(CopyRow.id)))

    def copies_in(self, place: str, *, beamline: str, limit: int | None = None) -> tuple[Copy, ...]:
        """Copies in a place that are there or half gone, the oldest first: what a planner looks at."""
        states = [CopyState.PRESENT.value, CopyState.PART_REMOVED.value]
        query = (
            select(CopyRow)
            .where(CopyRow.place == place, CopyRow.beamline == beamline, CopyRow.state.in_(states))
            .order_by(CopyRow.recorded_at, CopyRow.id)
            .limit(limit)
        )
        with reading(self.engine) as session:
            return tuple(_copy(row) for row in session.scalars(query))


def _one(beamline: str, run_key: str, version: int, place: str, path: str) -> Select[CopyRow]:
    return select(CopyRow).where(
        CopyRow.beamline == beamline,
        CopyRow.run_key == run_key,
        CopyRow.version == version,
        CopyRow.place == place,
        CopyRow.path == path,
    )


def _copy(row: CopyRow) -> Copy:
    return value_of(Copy, row, state=CopyState, evidence=Evidence)
