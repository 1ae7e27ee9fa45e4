"""The book of removals: what was meant to go, on which proof, and what came of it. Lines are only ever added.

Each removal writes an intent (who, why, what), then a tombstone with the proof before the first byte goes, then an
outcome. The database itself refuses to change or delete a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import select

from xpcs_assets.copies.book import Book, value_of
from xpcs_assets.copies.database import reading, writing
from xpcs_assets.copies.keeping import keep
from xpcs_assets.copies.tables import RemovalRow
from xpcs_assets.errors import NotFoundError


class RemovalKind(StrEnum):
    """Which line of a removal."""

    INTENT = "intent"
    TOMBSTONE = "tombstone"
    OUTCOME = "outcome"


@dataclass(frozen=True)
class Removal:
    """A line about a removal.

    Attributes
    ----------
    id, kind, intent
        The line's number, what it is, and the number of the intent it belongs to (None for an intent).
    beamline, run_key, version, place, path
        Which copy.
    removed_by
        Who.
    detail
        Intent: reason, files and bytes. Tombstone: the proof. Outcome: what went, what stayed and why.
    at
        When it was written.
    """

    id: int
    kind: RemovalKind
    intent: int | None
    beamline: str
    run_key: str
    version: int
    place: str
    path: str
    removed_by: str
    detail: Mapping[str, Any]
    at: datetime


class RemovalBook(Book):
    """Intents, tombstones and outcomes."""

    def intend_removal(
        self,
        beamline: str,
        run_key: str,
        version: int,
        *,
        place: str,
        path: str,
        by: str,
        detail: Mapping[str, Any],
    ) -> Removal:
        """Write down that a copy is to go, before anything else is done about it."""
        row = RemovalRow(
            kind=RemovalKind.INTENT.value,
            intent=None,
            beamline=beamline,
            run_key=run_key,
            version=version,
            place=place,
            path=path,
            removed_by=by,
            detail=dict(detail),
            at=self.clock(),
        )
        with writing(self.engine) as session:
            session.add(row)
            keep(session, row)
            session.flush()
            return value_of(Removal, row, kind=RemovalKind)

    def record_tombstone(self, intent: int, proof: Mapping[str, Any]) -> Removal:
        """Write down the proof on which the copy of an intent goes, before its first byte does."""
        return self._follow(intent, RemovalKind.TOMBSTONE, proof)

    def record_outcome(self, intent: int, detail: Mapping[str, Any]) -> Removal:
        """Write down what came of an intent."""
        return self._follow(intent, RemovalKind.OUTCOME, detail)

    def removals(self, beamline: str, run_key: str, kind: RemovalKind | None = None) -> tuple[Removal, ...]:
        """All lines about a run's copies, or those of one kind, in the order they were written."""
        query = select(RemovalRow).where(RemovalRow.beamline == beamline, RemovalRow.run_key == run_key)
        if kind is not None:
            query = query.where(RemovalRow.kind == kind.value)
        with reading(self.engine) as session:
            rows = session.scalars(query.order_by(RemovalRow.id))
            return tuple(value_of(Removal, row, kind=RemovalKind) for row in rows)

    def _follow(self, intent: int, kind: RemovalKind, detail: Mapping[str, Any]) -> Removal:
        with writing(self.engine) as session:
            first = session.get(RemovalRow, intent)
            if first is None or first.kind != RemovalKind.INTENT:
                raise NotFoundError(f"no intent {intent} to remove a copy", remedy="Write the intent first")
            row = RemovalRow(
                kind=kind.value,
                intent=intent,
                beamline=first.beamline,
                run_key=first.run_key,
                version=first.version,
                place=first.place,
                path=first.path,
                removed_by=first.removed_by,
                detail=dict(detail),
                at=self.clock(),
            )
            session.add(row)
            keep(session, row)
            session.flush()
            return value_of(Removal, row, kind=RemovalKind)
