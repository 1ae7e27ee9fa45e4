"""Comparing two ledgers row by row: what one has and the other lacks. Numbers of rows count by their order alone."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, Table, select

from xpcs_assets.copies.database import Base, reading
from xpcs_assets.copies.tables import ClockRow, LeaseRow, LedgerRow

_OUTBOX = ("catalog_outbox", "catalog_reach")  # follows from the records, and from what catalogs answer
PASSING = frozenset({LeaseRow.__tablename__, ClockRow.__tablename__, LedgerRow.__tablename__, *_OUTBOX})
"""Tables of the moment, and of the database itself."""
_CACHE_TIMES = {"catalog_records": {"recorded_at", "updated_at"}}  # when a cache was filled


@dataclass(frozen=True)
class Difference:
    """How the rows of a table differ.

    Attributes
    ----------
    table
        Its name.
    same
        Rows that are alike.
    only_old, only_new
        Rows that the other has not, as JSON.
    """

    table: str
    same: int
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]


def compare(old: Engine, new: Engine) -> tuple[Difference, ...]:
    """Compare two ledgers of this schema, table by table.

    Raises
    ------
    LedgerError
        One of them cannot be read.
    """
    before, after = contents(old), contents(new)
    return tuple(_difference(table, before[table], after[table]) for table in before)


def contents(engine: Engine) -> dict[str, tuple[str, ...]]:
    """Every row as JSON, by table; a row's number is its place among the rows of its table."""
    found: dict[str, tuple[str, ...]] = {}
    places: dict[str, dict[int, int]] = {}
    with reading(engine) as session:
        for table in Base.metadata.sorted_tables:  # what is referred to comes first
            if table.name in PASSING:
                continue
            rows = [dict(row) for row in session.execute(select(table).order_by(*table.primary_key)).mappings()]
            if "id" in table.columns:
                places[table.name] = {row["id"]: place for place, row in enumerate(rows)}
            found[table.name] = tuple(sorted(_text(table, row, places) for row in rows))
    return found


def _text(table: Table, row: dict[str, Any], places: dict[str, dict[int, int]]) -> str:
    told = {name: value for name, value in row.items() if name not in _CACHE_TIMES.get(table.name, ())}
    for name in ("id", "intent"):
        if told.get(name) is not None:
            told[name] = places[table.name if name == "id" else "removals"][told[name]]
    return json.dumps(told, default=str, sort_keys=True)


def _difference(table: str, old: tuple[str, ...], new: tuple[str, ...]) -> Difference:
    before, after = Counter(old), Counter(new)
    return Difference(
        table,
        (before & after).total(),
        tuple(sorted((before - after).elements())),
        tuple(sorted((after - before).elements())),
    )
