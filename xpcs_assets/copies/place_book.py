"""The book of places: which marker each place's root must bear."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from xpcs_assets.copies.book import Book, value_of
from xpcs_assets.copies.database import reading, writing
from xpcs_assets.copies.keeping import keep
from xpcs_assets.copies.tables import PlaceRow


@dataclass(frozen=True)
class KnownPlace:
    """A place that the site has met.

    Attributes
    ----------
    beamline, place
        Which, by the settings' names.
    identity
        What its marker must say.
    root
        Where it was when it was met: a folder, ``host:folder``, ``s3://bucket/prefix``.
    met_at
        When it was met, or the marker was adopted by a person's word.
    """

    beamline: str
    place: str
    identity: str
    root: str
    met_at: datetime


class PlaceBook(Book):
    """What meeting a place writes, and what every later use compares with."""

    def known_place(self, beamline: str, place: str) -> KnownPlace | None:
        """What is known of a place; None before it was met."""
        with reading(self.engine) as session:
            row = session.get(PlaceRow, (beamline, place))
            return None if row is None else value_of(KnownPlace, row)

    def known_places(self, beamline: str) -> tuple[KnownPlace, ...]:
        """The places of a beamline that were met, by name."""
        query = select(PlaceRow).where(PlaceRow.beamline == beamline).order_by(PlaceRow.place)
        with reading(self.engine) as session:
            return tuple(value_of(KnownPlace, row) for row in session.scalars(query))

    def meet_place(self, beamline: str, place: str, identity: str, root: str) -> KnownPlace:
        """Record a place that is met for the first time, and return what is recorded: of two meetings the first."""
        return self._record(beamline, place, identity, root, anew=False)

    def adopt_place(self, beamline: str, place: str, identity: str, root: str) -> KnownPlace:
        """Expect this identity from now on, whatever was expected before: a person's word."""
        return self._record(beamline, place, identity, root, anew=True)

    def _record(self, beamline: str, place: str, identity: str, root: str, *, anew: bool) -> KnownPlace:
        now = self.clock()
        with writing(self.engine) as session:  # one writer at a time: nobody comes between look and record
            row = session.get(PlaceRow, (beamline, place))
            if row is None:
                row = PlaceRow(beamline=beamline, place=place)
                session.add(row)
                anew = True
            if anew:
                row.identity, row.root, row.met_at = identity, root, now
                keep(session, row)
            session.flush()
            return value_of(KnownPlace, row)
