"""What catalogs outside the site are to be told, in order, and who tells it now.

An entry is a reference, never a message: the dataset is made of the facts when it is sent, so that the newest truth is
told. Entries follow from the embedded catalog: a record that a catalog was not told of, or that changed since, waits;
so does one that was told by other rules than those of now, and one whose embargo has ended since.
Of one run the raw dataset comes before its results, and these before the lifecycle; runs do not wait for each other.

Whoever sends an entry holds it, and with it the run in that catalog, until a set time and under a number that only
rises. A sender that was stopped past its time finds another number and writes nothing more.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from xpcs_assets.catalog.outbox_queries import (
    EntryState,
    Rules,
    What,
    by_other_rules,
    datasets,
    due_again,
    in_turn,
    lifecycles,
)
from xpcs_assets.catalog.outbox_tables import OutboxRow
from xpcs_assets.catalog.tables import RecordRow, facets
from xpcs_assets.copies.book import Book, value_of
from xpcs_assets.copies.database import reading, writing
from xpcs_assets.errors import RefusedError

HOLD_S = 900.0
"""How long a sender may be dead before another takes its entry; renewed before each request that writes."""
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=6)
AT_ONCE = 500
__all__ = ["Entry", "EntryState", "Outbox", "Rules", "What"]


@dataclass(frozen=True)
class Entry:
    """Something that a catalog was told, or is to be told.

    Attributes
    ----------
    id
        Its number.
    catalog
        By its name in the site file.
    pid
        Of the dataset, as it is here.
    what
        The dataset itself, or where its data are.
    beamline, run_key, version
        Of which run.
    digest
        Of the record that is to be told or was told; of a lifecycle the state of the run's data, and its bundles.
    revision
        Rises whenever it is to be told again.
    state
        How far it is.
    pid_there
        Of the dataset in the catalog; empty until it was told.
    attempts, error
        How often it was tried since it is to be told, and why the last try was none.
    wanted_at, next_at
        Since when it is to be told; not before when it is tried.
    seen_at
        When the catalog had it last.
    rules
        Digest of the rules by which it was told or refused; empty before.
    again_at
        When it is to be told again though nothing changes; None for never.
    holder, fencing, held_until
        Who sends it, under which number, and until when.
    """

    id: int
    catalog: str
    pid: str
    what: What
    beamline: str
    run_key: str
    version: int
    digest: str
    revision: int
    state: EntryState
    pid_there: str
    attempts: int
    error: str
    wanted_at: datetime
    next_at: datetime
    seen_at: datetime | None
    rules: str
    again_at: datetime | None
    holder: str
    fencing: int
    held_until: datetime


class Outbox(Book):
    """The entries of a site."""

    def gather(
        self, beamline: str, catalog: str, *, run_key: str = "", rules: Rules | None = None, limit: int = AT_ONCE
    ) -> int:
        """Let what a catalog does not know yet, or not as it is now, wait; how many entries those are.

        Parameters
        ----------
        run_key
            Of one run only.
        rules
            Those of now; without them nothing is told again because of them.
        """
        found: dict[tuple[str, str], dict[str, Any]] = {}
        with reading(self.engine) as session:  # looking takes long where there are many: nobody waits for it
            queries = [
                datasets(beamline, catalog, run_key),
                lifecycles(beamline, catalog, run_key),
                due_again(beamline, catalog, run_key, self.clock()),
            ]
            if rules is not None:
                queries.append(by_other_rules(session, beamline, catalog, run_key, rules))
            for query in queries:
                rows = session.execute(query.limit(limit)).mappings()
                found |= {(row["pid"], row["what"]): dict(row) for row in rows}
        if found:
            with writing(self.engine) as session:
                for row in found.values():
                    self._want(session, catalog, **row)
        return len(found)

    def want_again(self, beamline: str, catalog: str, *, pid: str = "") -> int:
        """Let what a catalog was told be told again, all of it or of one dataset; how many entries those are."""
        query = select(OutboxRow).where(OutboxRow.beamline == beamline, OutboxRow.catalog == catalog)
        with writing(self.engine) as session:
            rows = session.scalars(query.where(OutboxRow.pid == pid) if pid else query).all()
            for row in rows:
                self._wait(row)
            return len(rows)

    def retry(self, beamline: str, catalog: str, *, pid: str = "") -> int:
        """Try what is parked or waits now, by a person's word, all of it or of one dataset; how many entries."""
        query = select(OutboxRow).where(
            OutboxRow.beamline == beamline, OutboxRow.catalog == catalog, OutboxRow.state != EntryState.TOLD.value
        )
        with writing(self.engine) as session:
            rows = session.scalars(query.where(OutboxRow.pid == pid) if pid else query).all()
            for row in rows:
                row.state, row.next_at = EntryState.WAITING.value, self.clock()
            return len(rows)

    def claim(
        self, beamline: str, catalog: str, holder: str, *, run_key: str = "", for_s: float = HOLD_S
    ) -> Entry | None:
        """Take the next entry whose turn it is, and hold it; None when there is none.

        Parameters
        ----------
        run_key
            Of one run only.
        """
        now = self.clock()
        query = in_turn(beamline, catalog, now)
        query = query.where(OutboxRow.run_key == run_key) if run_key else query
        with writing(self.engine) as session:
            row = session.scalar(query.order_by(OutboxRow.next_at, OutboxRow.id).limit(1))
            if row is None:
                return None
            row.fencing += 1
            row.holder, row.held_until = holder, now + timedelta(seconds=for_s)
            session.flush()
            return _entry(row)

    def renew(self, entry: Entry, for_s: float = HOLD_S) -> None:
        """Hold an entry for longer, from now on.

        Raises
        ------
        RefusedError
            Another sender has it: nothing more may be written.
        """
        with writing(self.engine) as session:
            row = _mine(session, entry)
            row.held_until = self.clock() + timedelta(seconds=for_s)

    def told(
        self, entry: Entry, pid_there: str, *, rules: Rules | None = None, again_at: datetime | None = None
    ) -> None:
        """Write down that a catalog has what an entry is about; what changed meanwhile goes on waiting.

        Parameters
        ----------
        rules
            By which it was told.
        again_at
            When it is to be told again though nothing changes.

        Raises
        ------
        RefusedError
            Another sender has it.
        """
        now = self.clock()
        with writing(self.engine) as session:
            row = _mine(session, entry)
            row.pid_there, row.seen_at, row.held_until = pid_there, now, now
            row.attempts, row.error = 0, ""
            row.rules, row.again_at = _digest_for(session, entry, rules), again_at
            if row.revision == entry.revision:
                row.state = EntryState.TOLD.value

    def later(self, entry: Entry, why: str) -> None:
        """Write down that an entry could not be told now; it is tried again after a pause that grows."""
        with writing(self.engine) as session:
            row = _mine(session, entry)
            pause = min(FIRST_PAUSE * 2 ** min(row.attempts, 20), LONGEST_PAUSE)
            row.attempts, row.error = row.attempts + 1, why
            row.held_until, row.next_at = self.clock(), self.clock() + pause

    def give_back(self, entry: Entry, why: str) -> None:
        """Write down that the catalog itself does not answer: the entry waits for it, and for nothing else."""
        with writing(self.engine) as session:
            row = _mine(session, entry)
            row.error, row.held_until = why, self.clock()

    def park(self, entry: Entry, why: str, *, rules: Rules | None = None) -> None:
        """Write down that the catalog refuses an entry, and would again by the same rules."""
        with writing(self.engine) as session:
            row = _mine(session, entry)
            row.attempts, row.error, row.held_until = row.attempts + 1, why, self.clock()
            row.state, row.rules = EntryState.PARKED.value, _digest_for(session, entry, rules) or row.rules

    def saw(self, entry: Entry, *, there: bool) -> None:
        """Write down that a catalog, asked now, has a dataset; or that it has not: then all of it is told again."""
        with writing(self.engine) as session:
            row = session.get_one(OutboxRow, entry.id)
            row.seen_at = self.clock()
            if not there:
                again = select(OutboxRow).where(OutboxRow.catalog == row.catalog, OutboxRow.pid == row.pid)
                for each in session.scalars(again).all():
                    self._wait(each)

    def has_turn(self, beamline: str, catalog: str) -> bool:
        """Whether any entry could be sent now."""
        with reading(self.engine) as session:
            return session.scalar(in_turn(beamline, catalog, self.clock()).limit(1)) is not None

    def entries(
        self,
        beamline: str,
        *,
        catalog: str = "",
        state: EntryState | None = None,
        run_key: str = "",
        pid: str = "",
        limit: int = AT_ONCE,
    ) -> tuple[Entry, ...]:
        """Entries of a beamline, those that are to be told for longest first; of a pid without its lifecycle."""
        query = select(OutboxRow).where(OutboxRow.beamline == beamline)
        if pid:
            query = query.where(OutboxRow.pid == pid, OutboxRow.what != What.LIFECYCLE.value)
        for column, wanted in ((OutboxRow.catalog, catalog), (OutboxRow.state, state), (OutboxRow.run_key, run_key)):
            if wanted:
                query = query.where(column == str(wanted))
        with reading(self.engine) as session:
            rows = session.scalars(query.order_by(OutboxRow.wanted_at, OutboxRow.id).limit(limit))
            return tuple(_entry(row) for row in rows)

    def unseen(self, beamline: str, catalog: str, before: datetime, limit: int) -> tuple[Entry, ...]:
        """Datasets that a catalog was told of and was not asked about since a time, the longest ago first."""
        query = select(OutboxRow).where(
            OutboxRow.beamline == beamline,
            OutboxRow.catalog == catalog,
            OutboxRow.state == EntryState.TOLD.value,
            OutboxRow.seen_at < before,
            OutboxRow.what != What.LIFECYCLE.value,
        )
        with reading(self.engine) as session:
            return tuple(_entry(row) for row in session.scalars(query.order_by(OutboxRow.seen_at).limit(limit)))

    def told_of(self, catalog: str, pids: Collection[str]) -> frozenset[str]:
        """Those of some pids that a catalog was told of as they are now: at most some hundreds at a time."""
        query = select(OutboxRow.pid).where(
            OutboxRow.catalog == catalog,
            OutboxRow.pid.in_(pids),
            OutboxRow.what != What.LIFECYCLE.value,
            OutboxRow.state == EntryState.TOLD.value,
        )
        with reading(self.engine) as session:
            return frozenset(session.scalars(query))

    def counts(self, beamline: str, catalog: str) -> dict[EntryState, int]:
        """How many entries of a catalog are in each state."""
        query = (
            select(OutboxRow.state, func.count())
            .where(OutboxRow.beamline == beamline, OutboxRow.catalog == catalog)
            .group_by(OutboxRow.state)
        )
        with reading(self.engine) as session:
            found = {EntryState(state): int(number) for state, number in session.execute(query)}
        return {state: found.get(state, 0) for state in EntryState}

    def _want(self, session: Session, catalog: str, *, pid: str, what: str, digest: str, **of_run: Any) -> None:
        now = self.clock()
        row = session.scalar(select(OutboxRow).filter_by(catalog=catalog, pid=pid, what=what))
        if row is None:
            row = OutboxRow(catalog=catalog, pid=pid, what=what, pid_there="", revision=0, fencing=0, **of_run)
            row.holder, row.held_until, row.seen_at, row.rules, row.again_at = "", now, None, "", None
            session.add(row)
        row.digest = digest
        self._wait(row)

    def _wait(self, row: OutboxRow) -> None:
        if row.state != EntryState.WAITING.value:
            row.wanted_at, row.attempts, row.error = self.clock(), 0, ""
        row.state, row.next_at, row.revision = EntryState.WAITING.value, self.clock(), row.revision + 1


def _digest_for(session: Session, entry: Entry, rules: Rules | None) -> str:
    """The digest of the rules for an entry's proposal; empty where there are none for it."""
    if rules is None or entry.what is What.LIFECYCLE:
        return ""
    of_record = select(facets.c.proposal).join(RecordRow, RecordRow.facet == facets.c.key)
    return rules(session.scalar(of_record.where(RecordRow.pid == entry.pid)) or "")


def _entry(row: OutboxRow) -> Entry:
    return value_of(Entry, row, what=What, state=EntryState)


def _mine(session: Session, entry: Entry) -> OutboxRow:
    row = session.get(OutboxRow, entry.id)
    if row is None or (row.fencing, row.holder) != (entry.fencing, entry.holder):
        raise RefusedError(
            f"the entry is no longer this sender's ({entry.fencing})",
            where=f"{entry.catalog}: {entry.pid}",
            remedy="Nothing more is written; whoever has it now tells the catalog",
        )
    return row
