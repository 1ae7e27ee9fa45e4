"""What a search of the embedded catalog asks, and the statements it becomes. Who asks is part of every one of them.

Whatever many records share is asked of the rows of facets, which are few; the records of those are then taken from the
newest on, or, where they are a small part, by their facets. Which of the two is decided by counting rows of facets.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, and_, case, func, literal, select, tuple_, type_coerce
from sqlalchemy.orm import Session

from xpcs_assets.catalog.people import MARKS
from xpcs_assets.catalog.quantities import Range, to_si
from xpcs_assets.catalog.states import DatasetQuality, DatasetState
from xpcs_assets.catalog.tables import DocumentRow, RecordRow, facets, numbers, quantities
from xpcs_assets.catalog.viewer import Viewer
from xpcs_assets.catalog.words import asked_words, full_text, on_postgresql, on_sqlite
from xpcs_assets.copies.database import microseconds
from xpcs_assets.copies.tables import LabelRow
from xpcs_assets.errors import RefusedError

FACETS = {
    "kind": facets.c.kind,
    "beamline": facets.c.beamline,
    "cycle": facets.c.cycle,
    "experiment": facets.c.experiment,
    "proposal": facets.c.proposal,
    "sample": facets.c.sample,
    "detector": facets.c.detector,
    "date": facets.c.day,
    "qmap": facets.c.qmap_digest,
    "recipe": facets.c.recipe_digest,
    "quality": facets.c.quality,
}
"""What records share, by the names that people use."""
OF_RECORD: dict[str, Any] = {
    "state": RecordRow.state,
    "run": RecordRow.run_key,
    "analysis": RecordRow.analysis_key,
}
_KNOWN = {"kind": ("raw", "derived"), "state": tuple(DatasetState), "quality": tuple(DatasetQuality)}
SORTS: dict[str, Any] = {
    "created": RecordRow.number,
    "run": RecordRow.run_key,
    "sample": facets.c.sample,
    "proposal": facets.c.proposal,
    "size": RecordRow.size_bytes,
    "updated": type_coerce(RecordRow.updated_at, BigInteger),
}
SORTED_BY = "sorted_by"
MOST = 1000
"""Records of one page."""
_FEW = 0.3  # of all rows of facets: their records are looked up by them
_NUMBER_BITS = 20


@dataclass(frozen=True)
class Search:
    """What is looked for; everything that is given must hold.

    Attributes
    ----------
    words
        Each is found at the beginning of some word of the record.
    where
        By name of :data:`FACETS` or :data:`OF_RECORD`: the values of which one must be the record's.
    ranges
        Bounds of quantities.
    tags
        All of which people gave it.
    mark
        ``good`` or ``bad``, as people marked it.
    since, until
        When the dataset came to be, aware; the end is left out.
    sort
        A name of :data:`SORTS`, with ``-`` before it for the highest first.
    limit
        Of a page, at most :data:`MOST`.
    after
        Where a page before ended.
    """

    words: str = ""
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ranges: tuple[Range, ...] = ()
    tags: tuple[str, ...] = ()
    mark: str = ""
    since: datetime | None = None
    until: datetime | None = None
    sort: str = "-created"
    limit: int = 50
    after: str = ""

    def __post_init__(self) -> None:
        if unknown := self.where.keys() - FACETS.keys() - OF_RECORD.keys():
            there_are = ", ".join([*FACETS, *OF_RECORD])
            raise RefusedError(f"no records are told apart by {', '.join(sorted(unknown))}", remedy=f"By: {there_are}")
        for name, known in _KNOWN.items():
            if wrong := set(self.where.get(name, ())) - set(known):
                raise RefusedError(f"{name} is never {', '.join(sorted(wrong))}", remedy=f"It is {' or '.join(known)}")
        if self.sort.removeprefix("-") not in SORTS:
            raise RefusedError(f"no records are sorted by {self.sort!r}", remedy=f"By: {', '.join(SORTS)}")
        if self.mark and self.mark not in MARKS:
            raise RefusedError(f"{self.mark!r} is no mark", remedy=f"Marks are {' and '.join(MARKS)}")
        if not 1 <= self.limit <= MOST:
            raise RefusedError(f"a page of {self.limit} records", remedy=f"Ask for 1 to {MOST}, then for the next page")


def number_from(moment: datetime) -> int:
    """The lowest number that a record created at this time can have."""
    return microseconds(moment) // 1000 << _NUMBER_BITS


def page(session: Session, search: Search, viewer: Viewer, now: datetime, columns: Sequence[Any]) -> Select[Any]:
    """The statement of one page, with one record more than asked for, and the sort's value as its last column."""
    asked = _Asked(session, search, viewer, now)
    name, highest = search.sort.removeprefix("-"), search.sort.startswith("-")
    value = SORTS[name]
    number: Any = asked.number
    if name == "created":
        value = asked.in_time
    query = asked.matching(*columns, SORTS[name].label(SORTED_BY)).join(facets, facets.c.key == RecordRow.facet)
    if search.after:
        last = _read_cursor(search)
        before = (value,) if name == "created" else (value, number)
        bound = tuple(literal(part) for part in last[-len(before) :])
        query = query.where(tuple_(*before) < tuple_(*bound) if highest else tuple_(*before) > tuple_(*bound))
    order = [value] if name == "created" else [value, number]
    return query.order_by(*(each.desc() if highest else each.asc() for each in order)).limit(search.limit + 1)


@dataclass(frozen=True)
class Groups:
    """The records of a search by what they share.

    Attributes
    ----------
    query
        Facet row, state, and how many records have both.
    still
        Conditions on rows of facets that are not in the query yet.
    bounded
        Whether no more than the newest were counted.
    """

    query: Select[Any]
    still: Sequence[ColumnElement[bool]]
    bounded: bool


def counted(session: Session, search: Search, viewer: Viewer, now: datetime, newest: int) -> Groups:
    """Count the records of a search, or the ``newest`` of them where they have to be looked at one by one.

    Without words, ranges and labels all are counted, by an index alone. Where most rows of facets are asked for, those
    that are not are better left out afterwards than looked up for each record.
    """
    asked = _Asked(session, search, viewer, now)
    if asked.walks:
        query = asked.matching(RecordRow.facet, RecordRow.state)
        inner = query.order_by(asked.in_time.desc()).limit(newest).subquery()
        query = select(inner.c.facet, inner.c.state, func.count()).group_by(inner.c.facet, inner.c.state)
        return Groups(query, (), bounded=True)
    still, asked.shared = (asked.shared, []) if asked.by_number else ([], asked.shared)
    pair = RecordRow.facet, RecordRow.state
    if asked.by_number and not asked.sqlite:
        # In the order of the index: PostgreSQL else reads the records and hashes them, which takes twice as long.
        inner = asked.matching(*pair).order_by(*pair).subquery()
        query = select(inner.c.facet, inner.c.state, func.count()).group_by(inner.c.facet, inner.c.state)
        return Groups(query, still, bounded=False)
    return Groups(asked.matching(*pair, func.count()).group_by(*pair), still, bounded=False)


def numbers_query(names: Sequence[str], pids: Sequence[str], sees: ColumnElement[bool] | None) -> Select[Any]:
    """Pid, name, SI unit and SI value of the quantities with these names, of datasets that are seen; by path."""
    query = (
        select(RecordRow.pid, quantities.c.name, quantities.c.si_unit, numbers.c.si_value)
        .join(numbers, numbers.c.number == RecordRow.number)
        .join(quantities, quantities.c.key == numbers.c.quantity)
        .join(facets, facets.c.key == RecordRow.facet)
        .where(RecordRow.pid.in_(pids), quantities.c.name.in_(names))
        .order_by(quantities.c.path)
    )
    return query if sees is None else query.where(sees)


def cursor(search: Search, value: object, number: int) -> str:
    """Where a page ended, to be given as ``after``."""
    plain = json.dumps([search.sort, value, number])
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


class _Asked:
    """A search taken apart: conditions on facets, on records, and in which way the records are gone through."""

    def __init__(self, session: Session, search: Search, viewer: Viewer, now: datetime) -> None:
        self.session = session
        self.search = search
        self.words = asked_words(search.words)
        self.sqlite = session.get_bind().dialect.name == "sqlite"
        self.shared: list[ColumnElement[bool]] = [
            FACETS[name].in_(values) for name, values in search.where.items() if name in FACETS
        ]
        sees = viewer.sees(now)
        if sees is not None:
            self.shared.append(sees)
        self.by_number = not self.shared or self._share() > _FEW

    @property
    def number(self) -> Any:
        """What numbers the records; of the full text on SQLite, which then goes through its matches in this order."""
        return full_text.c.rowid if self.words and self.sqlite else RecordRow.number

    @property
    def in_time(self) -> Any:
        """What to order by for the newest first. A sum keeps the database from going through all records in order.

        PostgreSQL would do so in the hope that words which are frequent each meet soon, and some never do.
        """
        walk = self.sqlite if self.words else self.by_number
        return self.number if walk else self.number + 0

    @property
    def walks(self) -> bool:
        """Whether records have to be looked at one by one."""
        search = self.search
        return bool(self.words or search.ranges or search.tags or search.mark)

    def matching(self, *columns: Any) -> Select[Any]:
        """The records that match, with these columns."""
        query = select(*columns).select_from(RecordRow)
        if self.words and self.sqlite:
            on = RecordRow.number == full_text.c.rowid
            query = select(*columns).select_from(full_text).join(RecordRow, on).where(on_sqlite(self.words))
        elif self.words:
            query = query.join(DocumentRow, DocumentRow.number == RecordRow.number).where(on_postgresql(self.words))
        return query.where(*self._conditions())

    def _conditions(self) -> list[ColumnElement[bool]]:
        search = self.search
        found: list[Any] = [OF_RECORD[name].in_(values) for name, values in search.where.items() if name in OF_RECORD]
        if self.shared:
            shared = select(facets.c.key).where(*self.shared)
            facet: Any = RecordRow.facet
            found.append((facet + 0 if self.by_number or self.words else facet).in_(shared))
        if search.since is not None:
            found.append(self.number >= number_from(search.since))
        if search.until is not None:
            found.append(self.number < number_from(search.until))
        found += [RecordRow.number.in_(_in_range(self.session, each)) for each in search.ranges]
        labels = [("tag", tag) for tag in search.tags] + ([("mark", search.mark)] if search.mark else [])
        found += [RecordRow.pid.in_(_labelled(kind, word)) for kind, word in labels]
        return found

    def _share(self) -> float:
        """Which part of all rows of facets is asked for."""
        asked = func.sum(case((and_(*self.shared), 1), else_=0))
        part, every = self.session.execute(select(asked, func.count()).select_from(facets)).one()
        return (part or 0) / (every or 1)


def _in_range(session: Session, asked: Range) -> Select[Any]:
    """The numbers of the records in a range. Its quantities are looked up first, so that the database can judge it."""
    name = quantities.c.path if "/" in asked.name else quantities.c.name
    if "*" in asked.name:
        pattern = asked.name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%")
        named: ColumnElement[bool] = name.like(pattern, escape="\\")
    else:
        named = func.lower(name) == asked.name if "/" in asked.name else name == asked.name
    value = numbers.c.value
    lower, upper = asked.lower, asked.upper
    if asked.unit:
        value = numbers.c.si_value
        named = and_(named, quantities.c.si_unit == asked.si_unit)
        lower, upper = to_si(lower, asked.unit)[0], to_si(upper, asked.unit)[0]
    bounds = []
    if lower != -math.inf:
        bounds.append(value > lower if asked.open_lower else value >= lower)
    if upper != math.inf:
        bounds.append(value < upper if asked.open_upper else value <= upper)
    keys = session.scalars(select(quantities.c.key).where(named)).all()
    return select(numbers.c.number).where(numbers.c.quantity.in_(keys), *bounds)


def _labelled(kind: str, word: str) -> Select[Any]:
    return select(LabelRow.pid).where(LabelRow.kind == kind, LabelRow.word == word, LabelRow.ended_at.is_(None))


def _read_cursor(search: Search) -> tuple[Any, int]:
    try:
        sort, value, number = json.loads(base64.urlsafe_b64decode(search.after + "=" * (-len(search.after) % 4)))
        plain = isinstance(value, str | int) and not isinstance(value, bool) and isinstance(number, int)
        if sort == search.sort and plain:
            return value, number
    except (ValueError, TypeError):
        pass
    raise RefusedError(
        "this is not where a page of this search ended", where=search.after, remedy="Begin again without it"
    )
