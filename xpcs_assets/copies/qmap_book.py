"""The book of q-maps: which file is which version of a named map, for which times, and which was taken back.

A version is written once and never changed; that it was withdrawn is a line of its own. All lines of a map are in the
timeline of a key that no run can have, ``_qmaps.NAME``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from xpcs_assets.copies.book import Book, value_of
from xpcs_assets.copies.database import reading, writing
from xpcs_assets.copies.keeping import keep
from xpcs_assets.copies.tables import EventRow, ResultRow
from xpcs_assets.copies.versions import Result
from xpcs_assets.errors import NotFoundError

STEP = "qmap"
_PREFIX = "_qmaps."
_ADDED, _WITHDRAWN = "added", "withdrawn"


@dataclass(frozen=True)
class QmapVersion:
    """A version of a named q-map.

    Attributes
    ----------
    beamline, name, version
        Which; versions count from 1.
    digest, path
        ``sha256:`` of the file's bytes, and where it lies below the site's home.
    valid_from, valid_until
        The runs' times it is for: from the first on, and before the second. None is an open end.
    note, by, added_at
        What was said of it, by whom, and when.
    withdrawn_at, withdrawn_by, withdrawn_because
        When it was taken back, by whom and why; None and empty while it stands.
    """

    beamline: str
    name: str
    version: int
    digest: str
    path: str
    valid_from: datetime | None
    valid_until: datetime | None
    note: str
    by: str
    added_at: datetime
    withdrawn_at: datetime | None = None
    withdrawn_by: str = ""
    withdrawn_because: str = ""

    @property
    def stands(self) -> bool:
        """Whether it was not withdrawn."""
        return self.withdrawn_at is None

    def is_valid_at(self, moment: datetime) -> bool:
        """Whether a run of that time is analysed with it while it stands."""
        return (self.valid_from is None or self.valid_from <= moment) and (
            self.valid_until is None or moment < self.valid_until
        )

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"


class QmapBook(Book):
    """What people say of q-maps."""

    def record_qmap(
        self,
        beamline: str,
        name: str,
        version: int,
        *,
        digest: str,
        path: str,
        valid_from: datetime | None,
        valid_until: datetime | None,
        note: str,
        by: str,
    ) -> QmapVersion | None:
        """Write down a version whose file is in its place; None when another has taken the number meanwhile."""
        told = {
            _ADDED: version,
            "digest": digest,
            "path": path,
            "valid_from": _text(valid_from),
            "valid_until": _text(valid_until),
            "note": note,
            "by": by,
        }
        with writing(self.engine) as session:
            if version != len(_versions(_lines(session, beamline, name))) + 1:
                return None
            self._say_of_qmap(session, beamline, name, f"version {version} added", told)
            return _versions(_lines(session, beamline, name))[-1]

    def withdraw_qmap(self, beamline: str, name: str, version: int, reason: str, by: str) -> QmapVersion:
        """Take a version back; one that is withdrawn already stays so, for the reason that was given first.

        Raises
        ------
        NotFoundError
            No such version.
        """
        with writing(self.engine) as session:
            known = _versions(_lines(session, beamline, name))
            if not 1 <= version <= len(known):
                raise NotFoundError(
                    "no such version of a q-map",
                    where=f"{beamline}/{name} v{version}",
                    remedy=f"`xpcs-assets qmaps {beamline}` lists them",
                )
            if known[version - 1].stands:
                told = {_WITHDRAWN: version, "because": reason, "by": by}
                self._say_of_qmap(session, beamline, name, f"version {version} withdrawn: {reason}", told)
            return _versions(_lines(session, beamline, name))[version - 1]

    def qmaps(self, beamline: str, name: str) -> tuple[QmapVersion, ...]:
        """All versions of a map, the first one first."""
        with reading(self.engine) as session:
            return _versions(_lines(session, beamline, name))

    def qmap_names(self, beamline: str) -> tuple[str, ...]:
        """The maps of a beamline, by name."""
        keys = select(EventRow.run_key).where(
            EventRow.beamline == beamline, EventRow.run_key.startswith(_PREFIX, autoescape=True)
        )
        with reading(self.engine) as session:
            return tuple(sorted(key.removeprefix(_PREFIX) for key in session.scalars(keys.distinct())))

    def results_with_qmap(self, beamline: str, digest: str, limit: int) -> tuple[int, tuple[Result, ...]]:
        """How many results were made with a q-map of these bytes, and the last recorded of them."""
        made_with = (
            ResultRow.beamline == beamline,
            ResultRow.report["recipe"]["qmap_digest"].as_string() == digest,
        )
        newest = select(ResultRow).where(*made_with).order_by(ResultRow.recorded_at.desc(), ResultRow.id.desc())
        with reading(self.engine) as session:
            count = session.scalar(select(func.count()).select_from(ResultRow).where(*made_with)) or 0
            return count, tuple(value_of(Result, row) for row in session.scalars(newest.limit(limit)))

    def _say_of_qmap(self, session: Session, beamline: str, name: str, what: str, told: dict[str, Any]) -> None:
        row = EventRow(beamline=beamline, run_key=_PREFIX + name, at=self.clock(), step=STEP, what=what, detail=told)
        session.add(row)
        keep(session, row)
        session.flush()


def _lines(session: Session, beamline: str, name: str) -> list[EventRow]:
    mine = select(EventRow).where(EventRow.beamline == beamline, EventRow.run_key == _PREFIX + name)
    return list(session.scalars(mine.where(EventRow.step == STEP).order_by(EventRow.id)))


def _versions(lines: Iterable[EventRow]) -> tuple[QmapVersion, ...]:
    found: dict[int, QmapVersion] = {}
    for line in lines:
        told = line.detail
        if _ADDED in told:
            found[told[_ADDED]] = QmapVersion(
                line.beamline,
                line.run_key.removeprefix(_PREFIX),
                told[_ADDED],
                told["digest"],
                told["path"],
                _moment(told["valid_from"]),
                _moment(told["valid_until"]),
                told["note"],
                told["by"],
                line.at,
            )
        else:
            number = told[_WITHDRAWN]
            found[number] = replace(
                found[number], withdrawn_at=line.at, withdrawn_by=told["by"], withdrawn_because=told["because"]
            )
    return tuple(found.values())


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
