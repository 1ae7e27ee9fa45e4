"""The book of arrivals: what was seen at the sources, and in which state each run-to-be is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select

from xpcs_assets.copies.book import Book, value_of
from xpcs_assets.copies.database import reading, writing
from xpcs_assets.copies.keeping import keep
from xpcs_assets.copies.tables import ArrivalRow
from xpcs_assets.errors import NotFoundError, RefusedError


class ArrivalState(StrEnum):
    """How far a run has come at its source."""

    WAITING = "waiting"
    """Not complete yet; it may become so by itself."""
    INCOMPLETE = "incomplete"
    """It has waited longer than it should; a person is asked."""
    SUBMITTED = "submitted"
    """A person says that it is complete."""
    TAKEN = "taken"
    """In the pipeline."""
    REFUSED = "refused"
    """It cannot be taken as it is; the reason says why."""


@dataclass(frozen=True)
class Arrival:
    """What is known of a run at its source.

    Attributes
    ----------
    beamline, run_key
        Which run.
    name
        The whole name the key was made from.
    source
        Path of the run's folder or file at the source.
    fingerprint
        Text that changes when the files do.
    state, reason
        How far it is, and why it is not further.
    attempt
        How often it was asked to be taken anew; 0 at first.
    first_seen, changed_at
        When it was first noted, and when any of the above last changed.
    """

    beamline: str
    run_key: str
    name: str
    source: str
    fingerprint: str
    state: ArrivalState
    reason: str
    attempt: int
    first_seen: datetime
    changed_at: datetime


class ArrivalBook(Book):
    """What the arrival sensor writes and reads."""

    def note_arrival(
        self,
        beamline: str,
        run_key: str,
        *,
        source: str,
        fingerprint: str,
        state: ArrivalState | str,
        reason: str = "",
        name: str = "",
    ) -> Arrival:
        """Note what was seen; the same again writes nothing.

        Raises
        ------
        RefusedError
            The key belongs to another source path: two runs never share a key.
        """
        wanted = {"fingerprint": fingerprint, "state": ArrivalState(state).value, "reason": reason}
        known = self.arrival(beamline, run_key)
        if known is not None and known.source == source and _holds(known, wanted):
            return known
        now = self.clock()
        with writing(self.engine) as session:
            row = session.get(ArrivalRow, (beamline, run_key))
            if row is None:
                row = ArrivalRow(
                    beamline=beamline, run_key=run_key, name=name or run_key, source=source, attempt=0, first_seen=now
                )
                session.add(row)
            elif row.source != source:
                raise taken_by_another(run_key, row.source, source)
            for field, value in wanted.items():
                setattr(row, field, value)
            row.changed_at = now
            keep(session, row)
            session.flush()
            return value_of(Arrival, row, state=ArrivalState)

    def retake(self, beamline: str, run_key: str, reason: str) -> Arrival:
        """Let a run be taken anew: it waits again and its attempt is raised by one.

        Raises
        ------
        NotFoundError
            No such arrival.
        """
        with writing(self.engine) as session:
            row = session.get(ArrivalRow, (beamline, run_key))
            if row is None:
                raise NotFoundError("no such arrival", where=f"{beamline}/{run_key}", remedy="Submit its path")
            row.attempt += 1
            row.state, row.reason, row.changed_at = ArrivalState.WAITING.value, reason, self.clock()
            keep(session, row)
            session.flush()
            return value_of(Arrival, row, state=ArrivalState)

    def arrival(self, beamline: str, run_key: str) -> Arrival | None:
        """What is known of one run at its source."""
        with reading(self.engine) as session:
            row = session.get(ArrivalRow, (beamline, run_key))
            return None if row is None else value_of(Arrival, row, state=ArrivalState)

    def arrivals(
        self, beamline: str, *, states: Sequence[ArrivalState | str] = tuple(ArrivalState), limit: int | None = None
    ) -> tuple[Arrival, ...]:
        """Arrivals in any of ``states``, the last changed first."""
        query = (
            select(ArrivalRow)
            .where(ArrivalRow.beamline == beamline, ArrivalRow.state.in_([ArrivalState(s).value for s in states]))
            .order_by(ArrivalRow.changed_at.desc(), ArrivalRow.run_key)
            .limit(limit)
        )
        with reading(self.engine) as session:
            return tuple(value_of(Arrival, row, state=ArrivalState) for row in session.scalars(query))


def _holds(arrival: Arrival, wanted: dict[str, str]) -> bool:
    return all(getattr(arrival, field) == value for field, value in wanted.items())


def taken_by_another(run_key: str, owner: str, source: str) -> RefusedError:
    """Why a source cannot have a run key: two runs never share one."""
    return RefusedError(
        f"run key {run_key!r} already belongs to {owner}",
        where=source,
        remedy="Rename one of the two, or put a field that tells them apart into the beamline's key",
    )
