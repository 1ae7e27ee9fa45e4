"""The book of approvals: a person's word that a list of removals beyond the limits may go. Lines are only ever added.

A word is about the very copies of its list, and ends a day after it was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from xpcs_assets.copies.book import Book, value_of
from xpcs_assets.copies.database import reading, writing
from xpcs_assets.copies.keeping import keep
from xpcs_assets.copies.tables import ApprovalRow

VALID_FOR = timedelta(days=1)


@dataclass(frozen=True)
class Approval:
    """A person's word.

    Attributes
    ----------
    beamline, place, list_digest
        Which list.
    copies, items
        How many copies are on it, and what names each of them.
    approved_by, at
        Who, and when.
    """

    beamline: str
    place: str
    list_digest: str
    copies: int
    items: frozenset[str]
    approved_by: str
    at: datetime


class ApprovalBook(Book):
    """What people approved."""

    def approve(self, beamline: str, place: str, list_digest: str, items: Sequence[str], by: str) -> Approval:
        """Write down that a list may go."""
        row = ApprovalRow(
            beamline=beamline,
            place=place,
            list_digest=list_digest,
            copies=len(items),
            items=list(items),
            approved_by=by,
            at=self.clock(),
        )
        with writing(self.engine) as session:
            session.add(row)
            keep(session, row, looser=True)
            session.flush()
            return value_of(Approval, row, items=frozenset)

    def approvals(self, beamline: str, place: str) -> tuple[Approval, ...]:
        """Approvals that hold now, the first one first; one from the future holds nothing."""
        now = self.clock()
        query = select(ApprovalRow).where(
            ApprovalRow.beamline == beamline,
            ApprovalRow.place == place,
            ApprovalRow.at > now - VALID_FOR,
            ApprovalRow.at <= now,
        )
        with reading(self.engine) as session:
            rows = session.scalars(query.order_by(ApprovalRow.id))
            return tuple(value_of(Approval, row, items=frozenset) for row in rows)
