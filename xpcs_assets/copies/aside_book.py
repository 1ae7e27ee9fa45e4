"""The book of files set aside: what was moved out of its name within its place, and what became of it.

A line is written before the file is moved. So an open line means that the file is aside, or still where it was.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, select

from xpcs_assets.copies.book import Book, value_of
from xpcs_assets.copies.database import reading, writing
from xpcs_assets.copies.keeping import keep
from xpcs_assets.copies.tables import AsideRow


class AsideKind(StrEnum):
    """Why a file was set aside."""

    TRASH = "trash"
    """Its copy was removed, and the place has a trash."""
    BAD = "bad"
    """It holds other bytes than it should; kept to find out why."""


class AsideEnd(StrEnum):
    """What became of a file that was set aside."""

    OPEN = ""
    REMOVED = "removed"
    PUT_BACK = "put back"
    GONE = "gone"
    """It is not there: it never was moved, or was put back before."""


@dataclass(frozen=True)
class ToAside:
    """A file that is to be set aside: where it is, where it goes, its length."""

    path: str
    aside_path: str
    size_bytes: int


@dataclass(frozen=True)
class Aside:
    """A file that was set aside.

    Attributes
    ----------
    id, kind
        The line's number, and why.
    beamline, run_key, version, place, copy_path
        Of which copy.
    path, aside_path, size_bytes
        Where it was, where it is, its length.
    intent
        The removal that moved it; None when none did.
    at
        When the line was written.
    ended, ended_at
        What became of it, and when.
    """

    id: int
    kind: AsideKind
    beamline: str
    run_key: str
    version: int
    place: str
    copy_path: str
    path: str
    aside_path: str
    size_bytes: int
    intent: int | None
    at: datetime
    ended: AsideEnd
    ended_at: datetime | None


class AsideBook(Book):
    """Files set aside."""

    def intend_aside(
        self,
        beamline: str,
        run_key: str,
        version: int,
        *,
        place: str,
        copy_path: str,
        kind: AsideKind,
        files: Sequence[ToAside],
        intent: int | None = None,
    ) -> tuple[Aside, ...]:
        """Write down where files of a copy go, before any is moved; a line that is open already stays as it is."""
        now = self.clock()
        with writing(self.engine) as session:
            mine = (AsideRow.beamline == beamline, AsideRow.run_key == run_key, AsideRow.version == version)
            known = set(session.scalars(select(AsideRow.aside_path).where(*mine, AsideRow.place == place)))
            rows = [
                AsideRow(
                    kind=kind.value,
                    beamline=beamline,
                    run_key=run_key,
                    version=version,
                    place=place,
                    copy_path=copy_path,
                    path=file.path,
                    aside_path=file.aside_path,
                    size_bytes=file.size_bytes,
                    intent=intent,
                    at=now,
                    ended=AsideEnd.OPEN.value,
                )
                for file in files
                if file.aside_path not in known
            ]
            session.add_all(rows)
            for row in rows:
                keep(session, row)
            session.flush()
            return tuple(_aside(row) for row in rows)

    def aside(
        self,
        beamline: str,
        *,
        run_key: str | None = None,
        version: int | None = None,
        place: str | None = None,
        copy_path: str | None = None,
        kind: AsideKind = AsideKind.TRASH,
    ) -> tuple[Aside, ...]:
        """Open lines of a beamline, the first one first; those of one run, version, place or copy where given."""
        query = select(AsideRow).where(
            AsideRow.beamline == beamline, AsideRow.ended == AsideEnd.OPEN.value, AsideRow.kind == kind.value
        )
        for column, wanted in (
            (AsideRow.run_key, run_key),
            (AsideRow.version, version),
            (AsideRow.place, place),
            (AsideRow.copy_path, copy_path),
        ):
            if wanted is not None:
                query = query.where(column == wanted)
        with reading(self.engine) as session:
            return tuple(_aside(row) for row in session.scalars(query.order_by(AsideRow.at, AsideRow.id)))

    def end_aside(self, ids: Collection[int], ended: AsideEnd) -> None:
        """Say what became of files that were set aside."""
        with writing(self.engine) as session:
            for each in ids:
                row = session.get_one(AsideRow, each)
                row.ended, row.ended_at = ended.value, self.clock()
                keep(session, row)

    def bytes_aside(self, beamline: str, place: str) -> int:
        """Bytes of all files that lie in a place's trash."""
        query = select(func.coalesce(func.sum(AsideRow.size_bytes), 0)).where(
            AsideRow.beamline == beamline,
            AsideRow.place == place,
            AsideRow.ended == AsideEnd.OPEN.value,
            AsideRow.kind == AsideKind.TRASH.value,
        )
        with reading(self.engine) as session:
            return int(session.scalar(query) or 0)


def _aside(row: AsideRow) -> Aside:
    return value_of(Aside, row, kind=AsideKind, ended=AsideEnd)
