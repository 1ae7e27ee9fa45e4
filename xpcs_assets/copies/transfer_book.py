"""The book of transfers: what a service moves between two places without us, followed over any restart.

A transfer is written down with the id it will be begun with before the service is asked for anything: whoever finds it
later begins it with the same id, which begins nothing twice. A row that has ended never changes; what is tried again
is a row of its own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from xpcs_assets.copies.book import Book, value_of
from xpcs_assets.copies.database import reading, writing
from xpcs_assets.copies.keeping import keep
from xpcs_assets.copies.work_tables import TransferRow
from xpcs_assets.errors import NotFoundError

PROGRESS_SHARE = 0.05
"""Bytes moved are written down when this part of all was moved since: each change is a line of the journal."""


class TransferState(StrEnum):
    """What we know of a transfer."""

    INTENDED = "intended"
    """Its id is stored; whether it was begun is not known."""
    ACTIVE = "active"
    PAUSED = "paused"
    """It waits for a person."""
    VERIFYING = "verifying"
    """The service says that it has ended; what arrived is yet to be read."""
    DONE = "done"
    """Every byte was read and is right."""
    FAILED = "failed"
    CANCELLED = "cancelled"


UNDER_WAY = frozenset(
    {TransferState.INTENDED, TransferState.ACTIVE, TransferState.PAUSED, TransferState.VERIFYING},
)


@dataclass(frozen=True)
class Transfer:
    """A transfer of a version's files.

    Attributes
    ----------
    submission
        The id it is begun with.
    beamline, run_key, version
        Whose files.
    purpose, source, target
        What it is for, and between which places.
    task
        The service's id; empty until it is known.
    attempt
        From 1; rises with each transfer for the same purpose and target.
    state, reason
        Where it is in its life, and in words why.
    bytes_total, bytes_moved
        Of its files; as the service counts them.
    made_at, changed_at
        When it was intended, and last changed.
    next_at
        Nothing is done with it before.
    """

    submission: str
    beamline: str
    run_key: str
    version: int
    purpose: str
    source: str
    target: str
    task: str
    attempt: int
    state: TransferState
    reason: str
    bytes_total: int
    bytes_moved: int
    made_at: datetime
    changed_at: datetime
    next_at: datetime

    @property
    def is_under_way(self) -> bool:
        """Whether it has not ended."""
        return self.state in UNDER_WAY

    @property
    def seconds(self) -> float:
        """From when it was intended to its last news; of one that is done, until all of it was read at the target."""
        return (self.changed_at - self.made_at).total_seconds()

    @property
    def rate_bytes_per_s(self) -> float:
        """Of what was moved in that time; 0 when nothing was."""
        moved = self.bytes_total if self.state is TransferState.DONE else self.bytes_moved
        return moved / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Errand:
    """What a transfer is for: one purpose and target of a version has one transfer under way at most."""

    beamline: str
    run_key: str
    version: int
    purpose: str
    source: str
    target: str


class TransferBook(Book):
    """Transfers."""

    def intend_transfer(self, errand: Errand, submission: str, bytes_total: int, next_at: datetime) -> Transfer:
        """Write down a transfer that will be begun; one that is under way for the same errand is returned instead."""
        with writing(self.engine) as session:
            rows = _rows_of(session, errand)
            under_way = [row for row in rows if TransferState(row.state) in UNDER_WAY]
            row = under_way[-1] if under_way else self._add(session, errand, submission, rows, bytes_total, next_at)
            return _transfer(row)

    def replace_transfer(
        self, old: Transfer, state: TransferState, reason: str, submission: str, bytes_total: int, next_at: datetime
    ) -> Transfer:
        """End a transfer and intend the next one for the same errand, at once or not at all; the next one.

        One that has ended already is left alone, and what is under way for the errand now is returned.
        """
        errand = errand_of(old)
        with writing(self.engine) as session:
            row = _get(session, old.submission)
            if TransferState(row.state) in UNDER_WAY:
                self._change(session, row, state=state.value, reason=reason)
            rows = _rows_of(session, errand)
            under_way = [each for each in rows if TransferState(each.state) in UNDER_WAY]
            row = under_way[-1] if under_way else self._add(session, errand, submission, rows, bytes_total, next_at)
            return _transfer(row)

    def change_transfer(
        self,
        submission: str,
        *,
        state: TransferState | None = None,
        reason: str | None = None,
        task: str | None = None,
        source: str | None = None,
        bytes_moved: int | None = None,
    ) -> Transfer:
        """Write down what is known now; one that has ended stays as it is, and what is no news is not written.

        Raises
        ------
        NotFoundError
            There is no such transfer.
        """
        with writing(self.engine) as session:
            row = _get(session, submission)
            if TransferState(row.state) not in UNDER_WAY:
                return _transfer(row)
            told = {"state": state and state.value, "reason": reason, "task": task, "source": source}
            news = {name: value for name, value in told.items() if value is not None and value != getattr(row, name)}
            moved = row.bytes_moved if bytes_moved is None else bytes_moved
            if news or moved - row.bytes_moved >= max(1, PROGRESS_SHARE * row.bytes_total):
                self._change(session, row, **news, bytes_moved=moved)
            return _transfer(row)

    def transfers_under_way(self, beamline: str) -> tuple[Transfer, ...]:
        """A beamline's transfers that have not ended, the longest unchanged first."""
        states = [state.value for state in UNDER_WAY]
        query = (
            select(TransferRow)
            .where(TransferRow.beamline == beamline, TransferRow.state.in_(states))
            .order_by(TransferRow.changed_at, TransferRow.submission)
        )
        with reading(self.engine) as session:
            return tuple(_transfer(row) for row in session.scalars(query))

    def transfers(
        self, beamline: str, *, states: Collection[TransferState] = tuple(TransferState), limit: int | None = None
    ) -> tuple[Transfer, ...]:
        """A beamline's transfers in any of ``states``, the last written down first."""
        query = (
            select(TransferRow)
            .where(TransferRow.beamline == beamline, TransferRow.state.in_([state.value for state in states]))
            .order_by(TransferRow.made_at.desc(), TransferRow.attempt.desc(), TransferRow.submission)
            .limit(limit)
        )
        with reading(self.engine) as session:
            return tuple(_transfer(row) for row in session.scalars(query))

    def transfers_of(self, beamline: str, run_key: str, version: int) -> tuple[Transfer, ...]:
        """All transfers of a version, the first one first."""
        query = (
            select(TransferRow)
            .where(TransferRow.beamline == beamline, TransferRow.run_key == run_key, TransferRow.version == version)
            .order_by(TransferRow.made_at, TransferRow.attempt, TransferRow.submission)
        )
        with reading(self.engine) as session:
            return tuple(_transfer(row) for row in session.scalars(query))

    def _add(
        self,
        session: Session,
        errand: Errand,
        submission: str,
        before: list[TransferRow],
        bytes_total: int,
        next_at: datetime,
    ) -> TransferRow:
        now = self.clock()
        row = TransferRow(
            submission=submission,
            beamline=errand.beamline,
            run_key=errand.run_key,
            version=errand.version,
            purpose=errand.purpose,
            source=errand.source,
            target=errand.target,
            task="",
            attempt=1 + max((row.attempt for row in before if row.task), default=0),
            state=TransferState.INTENDED.value,
            reason="",
            bytes_total=bytes_total,
            bytes_moved=0,
            made_at=now,
            changed_at=now,
            next_at=next_at,
        )
        session.add(row)
        keep(session, row)
        session.flush()
        return row

    def _change(self, session: Session, row: TransferRow, **news: object) -> None:
        for name, value in news.items():
            setattr(row, name, value)
        row.changed_at = self.clock()
        keep(session, row)
        session.flush()


def errand_of(transfer: Transfer) -> Errand:
    """What a transfer is for."""
    return Errand(
        transfer.beamline,
        transfer.run_key,
        transfer.version,
        transfer.purpose,
        transfer.source,
        transfer.target,
    )


def _rows_of(session: Session, errand: Errand) -> list[TransferRow]:
    query = select(TransferRow).where(
        TransferRow.beamline == errand.beamline,
        TransferRow.run_key == errand.run_key,
        TransferRow.version == errand.version,
        TransferRow.purpose == errand.purpose,
        TransferRow.target == errand.target,
    )
    return list(session.scalars(query.order_by(TransferRow.made_at, TransferRow.attempt, TransferRow.submission)))


def _get(session: Session, submission: str) -> TransferRow:
    row = session.get(TransferRow, submission)
    if row is None:
        raise NotFoundError("no such transfer", where=submission)
    return row


def _transfer(row: TransferRow) -> Transfer:
    return value_of(Transfer, row, state=TransferState)
