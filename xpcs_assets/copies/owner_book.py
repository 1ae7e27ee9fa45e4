"""The book of owners: whose each version of a run is, without its files, for whoever goes through all of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, or_, select

from xpcs_assets.copies.book import Book
from xpcs_assets.copies.database import reading
from xpcs_assets.copies.tables import EventRow, VersionRow


@dataclass(frozen=True)
class Owned:
    """Whose a version of a run is: proposal, experiment, groups and embargo, as known at intake."""

    beamline: str
    run_key: str
    version: int
    owner: Mapping[str, Any]


class OwnerBook(Book):
    """Owners of versions."""

    def owned(
        self, beamline: str, *, run_key: str = "", after: tuple[str, int] = ("", 0), limit: int | None = None
    ) -> tuple[Owned, ...]:
        """Versions in the order of run key and version, those after one; of one run when it is given."""
        named, last = after
        columns = (VersionRow.beamline, VersionRow.run_key, VersionRow.version, VersionRow.owner)
        behind = or_(VersionRow.run_key > named, and_(VersionRow.run_key == named, VersionRow.version > last))
        query = select(*columns).where(VersionRow.beamline == beamline, behind)
        if run_key:
            query = query.where(VersionRow.run_key == run_key)
        with reading(self.engine) as session:
            rows = session.execute(query.order_by(VersionRow.run_key, VersionRow.version).limit(limit))
            return tuple(Owned(*row) for row in rows)

    def with_step_done(self, beamline: str, step: str, run_keys: Collection[str]) -> frozenset[str]:
        """Those of the runs whose timeline has a step that was done, of whichever version."""
        query = select(EventRow.run_key).where(
            EventRow.beamline == beamline,
            EventRow.run_key.in_(run_keys),
            EventRow.step == step,
            EventRow.what == "done",
        )
        with reading(self.engine) as session:
            return frozenset(session.scalars(query.distinct()))
