"""The embedded catalog as somebody sees it: searching, counting and reading, and what they say about datasets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from xpcs_assets.catalog import people
from xpcs_assets.catalog.hits import COUNTED_NEWEST, Counts, Hit, Page
from xpcs_assets.catalog.people import Label, Note
from xpcs_assets.catalog.query import FACETS, MOST, Search, counted, cursor, numbers_query, page
from xpcs_assets.catalog.records import CatalogRecord, columns_of, read_row, record_query
from xpcs_assets.catalog.session import reading, writing
from xpcs_assets.catalog.tables import DocumentRow, RecordRow, facets, quantities
from xpcs_assets.catalog.viewer import Viewer
from xpcs_assets.copies.clock import Clock, utc_now
from xpcs_assets.errors import CatalogError, RefusedError

_AT_ONCE = 500
_NARROW = columns_of(Hit, but=("tags", "mark", "sparkline"))


@dataclass(frozen=True)
class CatalogReader:
    """The catalog of a site for one viewer: no question is asked without them.

    Attributes
    ----------
    engine
        From :func:`xpcs_assets.copies.database.open_database`, migrated.
    viewer
        Who asks.
    clock
        Wall time: embargoes end.
    """

    engine: Engine
    viewer: Viewer
    clock: Clock = utc_now

    def search(self, search: Search) -> Page:
        """One page of a search. Records that are put meanwhile move nothing: a page begins where the last one ended.

        Raises
        ------
        RefusedError
            The search is none: no word in it, or ``after`` is of another one.
        CatalogError
            The database does not answer.
        """
        with reading(self.engine) as session:
            query = page(session, search, self.viewer, self.clock(), [RecordRow.number.label("number"), *_NARROW])
            rows = session.execute(query).all()
            hits = self._hits(session, rows[: search.limit])
        more = len(rows) > search.limit
        last = rows[search.limit - 1] if more else None
        return Page(hits, cursor(search, last.sorted_by, last.number) if last is not None else "")

    def everything(self, search: Search) -> Iterator[Hit]:
        """All records of a search, page by page."""
        search = replace(search, limit=MOST)
        while True:
            found = self.search(search)
            yield from found.hits
            if not found.next:
                return
            search = replace(search, after=found.next)

    def count(self, search: Search, *, by: Sequence[str] = (), most: int = 20) -> Counts:
        """Count the records of a search by facets.

        Parameters
        ----------
        by
            Names of :data:`~xpcs_assets.catalog.query.FACETS`, or ``state``; all of them without.
        most
            Values of each facet that are told.

        Raises
        ------
        RefusedError
            The search is none.
        CatalogError
            The database does not answer.
        """
        if unknown := set(by) - FACETS.keys() - {"state"}:
            there_are = f"By: {', '.join([*FACETS, 'state'])}"
            raise RefusedError(f"no records are counted by {', '.join(sorted(unknown))}", remedy=there_are)
        names = list(by) or [*FACETS, "state"]
        with reading(self.engine) as session:
            groups = counted(session, search, self.viewer, self.clock(), COUNTED_NEWEST)
            grouped = groups.query.subquery()
            key, state, count = grouped.columns
            asked = [state if name == "state" else FACETS[name] for name in names]
            query = select(count, *asked).join_from(grouped, facets, facets.c.key == key).where(*groups.still)
            rows = session.connection().execute(query).all()  # thousands of rows: without what objects cost
        weights, *columns = zip(*rows, strict=True) if rows else [() for _ in range(len(names) + 1)]
        total = sum(weights)
        found = {name: _most(values, weights, most) for name, values in zip(names, columns, strict=True)}
        return Counts(total, found, groups.bounded and total >= COUNTED_NEWEST)

    def get(self, pid: str) -> CatalogRecord:
        """One record.

        Raises
        ------
        CatalogError
            The viewer sees none of this pid, or the database does not answer.
        """
        with reading(self.engine) as session:
            return self._get(session, pid)

    def numbers(self, pids: Collection[str], names: Sequence[str]) -> dict[tuple[str, str], dict[str, float]]:
        """Numbers of datasets, in SI units: by name and unit, then by pid. Of several of a name, the first by path.

        Those of datasets that the viewer does not see are left out.
        """
        asked = [name.lower() for name in names]
        found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        with reading(self.engine) as session:
            every = list(pids)
            for start in range(0, len(every), _AT_ONCE):
                some = every[start : start + _AT_ONCE]
                query = numbers_query(asked, some, self.viewer.sees(self.clock()))
                for pid, name, unit, value in session.execute(query):
                    found[name, unit].setdefault(pid, value)
        return dict(found)

    def quantities(self) -> list[str]:
        """Names that ranges can be asked of; only an operator is told what is in records that others may not see."""
        if not self.viewer.operator:
            return []
        with reading(self.engine) as session:
            return list(session.scalars(select(quantities.c.name).distinct().order_by(quantities.c.name)))

    def notes(self, pid: str) -> tuple[Note, ...]:
        """The comments on a dataset, the first one first."""
        with reading(self.engine) as session:
            self._get(session, pid)
            return people.notes(session, pid)

    def labels(self, pid: str) -> list[Label]:
        """The tags and the mark of a dataset."""
        with reading(self.engine) as session:
            self._get(session, pid)
            return people.labels(session, [pid]).get(pid, [])

    def comment(self, pid: str, text: str, by: str) -> None:
        """Write a comment on a dataset; no later put of it touches that.

        Raises
        ------
        CatalogError
            The viewer sees no such dataset.
        RefusedError
            There is no text.
        """
        with writing(self.engine) as session:
            self._get(session, pid)
            people.add_note(session, pid, text, by, self.clock())

    def tag(self, pid: str, word: str, by: str) -> None:
        """Give a dataset a tag; the same one twice is one.

        Raises
        ------
        CatalogError
            The viewer sees no such dataset.
        RefusedError
            The word is no tag.
        """
        self._label(pid, people.TAG, word, by)

    def untag(self, pid: str, word: str, by: str) -> bool:
        """Take a tag away; whether there was one."""
        return self._unlabel(pid, people.TAG, word, by)

    def mark(self, pid: str, word: str, by: str) -> None:
        """Mark a dataset ``good`` or ``bad``, or, with an empty word, take its mark away.

        Raises
        ------
        CatalogError
            The viewer sees no such dataset.
        RefusedError
            The word is no mark.
        """
        if word:
            self._label(pid, people.MARK, word, by)
        else:
            self._unlabel(pid, people.MARK, "", by)

    def _label(self, pid: str, kind: str, word: str, by: str) -> None:
        with writing(self.engine) as session:
            self._get(session, pid)
            people.add_label(session, pid, kind, word, by, self.clock())

    def _unlabel(self, pid: str, kind: str, word: str, by: str) -> bool:
        with writing(self.engine) as session:
            self._get(session, pid)
            return people.end_label(session, pid, kind, word, by, self.clock())

    def _get(self, session: Session, pid: str) -> CatalogRecord:
        query = record_query().where(RecordRow.pid == pid)
        sees = self.viewer.sees(self.clock())
        if sees is not None:
            query = query.where(sees)
        row = session.execute(query).mappings().one_or_none()
        if row is None:
            remedy = "Materialise the run's catalog_entry or result_entry"
            raise CatalogError("the catalog has no such record", where=pid, remedy=remedy)
        return read_row(row)

    def _hits(self, session: Session, rows: Sequence[Any]) -> tuple[Hit, ...]:
        shown = [row.number for row in rows]
        curves = select(DocumentRow.number, DocumentRow.sparkline).where(DocumentRow.number.in_(shown))
        lines = {row.number: row.sparkline for row in session.execute(curves)}
        said = people.labels(session, [row.pid for row in rows])
        found = []
        for row in rows:
            named = dict(zip(row._fields[1:-1], row[1:-1], strict=True))
            labels = said.get(row.pid, [])
            tags = tuple(label.word for label in labels if label.kind == people.TAG)
            mark = next((label.word for label in labels if label.kind == people.MARK), "")
            found.append(Hit(**named, sparkline=lines[row.number], tags=tags, mark=mark))
        return tuple(found)


def _most(values: Sequence[str], weights: Sequence[int], most: int) -> list[tuple[str, int]]:
    """The values with the highest weights together, those of the same weight in their order."""
    counts: dict[str, int] = {}
    for value, weight in zip(values, weights, strict=True):
        counts[value] = counts.get(value, 0) + weight
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]
