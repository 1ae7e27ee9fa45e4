"""Whether a catalog answers. One that is down is asked again after a pause that grows; nothing else waits for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from xpcs_assets.catalog.outbox_tables import ReachRow
from xpcs_assets.copies.book import Book, value_of
from xpcs_assets.copies.database import reading, writing

FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(minutes=10)


@dataclass(frozen=True)
class Reach:
    """Whether a catalog answers.

    Attributes
    ----------
    catalog
        By its name in the site file.
    down_since
        Since when it does not; None when it did the last time.
    attempts, error
        How often it was asked since, and why it does not answer.
    next_at
        Not before when it is asked again.
    answered_at
        When it answered last.
    """

    catalog: str
    down_since: datetime | None
    attempts: int
    error: str
    next_at: datetime
    answered_at: datetime | None

    def rests(self, now: datetime) -> bool:
        """Whether it is down and is not to be asked yet."""
        return self.down_since is not None and now < self.next_at


class ReachBook(Book):
    """What is known of each catalog's answers."""

    def of(self, catalog: str) -> Reach | None:
        """What is known of a catalog; None before it was asked."""
        with reading(self.engine) as session:
            row = session.get(ReachRow, catalog)
            return None if row is None else value_of(Reach, row)

    def rests(self, catalog: str) -> str:
        """Why a catalog is not to be asked yet; empty when it may be."""
        known = self.of(catalog)
        return known.error if known is not None and known.rests(self.clock()) else ""

    def answered(self, catalog: str) -> None:
        """Write down that a catalog answered."""
        with writing(self.engine) as session:
            row = self._row(session, catalog)
            row.down_since, row.attempts, row.error = None, 0, ""
            row.answered_at = row.next_at = self.clock()

    def silent(self, catalog: str, why: str) -> None:
        """Write down that a catalog did not answer."""
        with writing(self.engine) as session:
            row = self._row(session, catalog)
            row.down_since = row.down_since or self.clock()
            row.next_at = self.clock() + min(FIRST_PAUSE * 2 ** min(row.attempts, 20), LONGEST_PAUSE)
            row.attempts, row.error = row.attempts + 1, why

    def ask_now(self, catalog: str) -> None:
        """Let a catalog be asked without waiting, by a person's word."""
        with writing(self.engine) as session:
            self._row(session, catalog).next_at = self.clock()

    def _row(self, session: Session, catalog: str) -> ReachRow:
        row = session.get(ReachRow, catalog)
        if row is None:
            row = ReachRow(catalog=catalog, down_since=None, attempts=0, error="", next_at=self.clock())
            row.answered_at = None
            session.add(row)
        return row
