"""The book of pauses: a person's word that a beamline takes no new runs, whatever says that there are some."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from xpcs_assets.copies.book import Book
from xpcs_assets.copies.database import reading, writing
from xpcs_assets.copies.keeping import keep
from xpcs_assets.copies.tables import EventRow

STEP = "pause"
BEAMLINE_KEY = "_beamline"
"""The timeline's key of the beamline itself: no run key begins with an underscore."""


@dataclass(frozen=True)
class Pause:
    """Why a beamline takes no new runs, who said so, and when."""

    reason: str
    by: str
    at: datetime

    @property
    def told(self) -> str:
        """In words."""
        return f"paused by {self.by} since {self.at:%Y-%m-%d %H:%M} UTC: {self.reason}"


class PauseBook(Book):
    """What people said of whole beamlines."""

    def pause(self, beamline: str, reason: str, by: str) -> None:
        """Take no new runs from now on."""
        self._say(beamline, "paused", {"paused": True, "reason": reason, "by": by}, looser=False)

    def end_pause(self, beamline: str, by: str) -> None:
        """Take new runs again."""
        self._say(beamline, "goes on", {"paused": False, "by": by}, looser=True)

    def paused(self, beamline: str) -> Pause | None:
        """The pause that stands; None when new runs are taken."""
        last = self._last(beamline)
        if last is None or not last.detail["paused"]:
            return None
        return Pause(last.detail["reason"], last.detail["by"], last.at)

    def pause_ended(self, beamline: str) -> datetime | None:
        """When the last pause ended; None when there was none, or it stands."""
        last = self._last(beamline)
        return None if last is None or last.detail["paused"] else last.at

    def _last(self, beamline: str) -> EventRow | None:
        mine = select(EventRow).where(EventRow.beamline == beamline, EventRow.run_key == BEAMLINE_KEY)
        mine = mine.where(EventRow.step == STEP)
        with reading(self.engine) as session:
            return session.scalars(mine.order_by(EventRow.id.desc()).limit(1)).first()

    def _say(self, beamline: str, what: str, detail: dict[str, object], *, looser: bool) -> None:
        row = EventRow(beamline=beamline, run_key=BEAMLINE_KEY, at=self.clock(), step=STEP, what=what, detail=detail)
        with writing(self.engine) as session:
            session.add(row)
            keep(session, row, looser=looser)
