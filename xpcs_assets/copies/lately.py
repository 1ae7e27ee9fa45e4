"""What is new in the timelines, asked of the ledger from one line's number on, so that asking often costs little."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, func, select

from xpcs_assets.copies.database import reading
from xpcs_assets.copies.tables import EventRow

MOST_LINES = 100_000
"""So many of the newest lines of all timelines are looked at, at most."""


@dataclass(frozen=True)
class News:
    """What was noted since a line.

    Attributes
    ----------
    last
        The number of the newest line of all timelines; 0 when there is none.
    runs
        The timelines of a beamline that have a new line, by their keys.
    failed
        The partition keys with a step that failed, the first failure first.
    is_whole
        Whether every line since then was looked at.
    """

    last: int
    runs: frozenset[str]
    failed: tuple[str, ...]
    is_whole: bool


@dataclass(frozen=True)
class Line:
    """A line of a timeline with its number."""

    number: int
    at: datetime
    what: str
    detail: Mapping[str, Any]


@dataclass(frozen=True)
class StepLine:
    """A line that a step of a run wrote."""

    run_key: str
    at: datetime
    step: str
    what: str
    detail: Mapping[str, Any]


def news(engine: Engine, beamline: str, *, after: int) -> News:
    """What was noted of a beamline's runs after the line of a number; not more than :data:`MOST_LINES` ago."""
    with reading(engine) as session:
        last = session.scalar(select(func.max(EventRow.id))) or 0
        new = (EventRow.id > max(after, last - MOST_LINES), EventRow.id <= last, EventRow.beamline == beamline)
        runs = session.scalars(select(EventRow.run_key).where(*new).distinct())
        failures = select(EventRow.detail).where(*new, EventRow.what.startswith("failed: ")).order_by(EventRow.id)
        partitions = (detail.get("partition", "") for detail in session.scalars(failures))
        failed = tuple(dict.fromkeys(filter(None, partitions)))
        return News(last, frozenset(runs), failed, is_whole=after >= last - MOST_LINES)


def lines_after(engine: Engine, beamline: str, key: str, number: int) -> tuple[Line, ...]:
    """The lines of a timeline that came after the line of a number, in the order they were written."""
    query = (
        select(EventRow)
        .where(EventRow.beamline == beamline, EventRow.run_key == key, EventRow.id > number)
        .order_by(EventRow.id)
    )
    with reading(engine) as session:
        return tuple(Line(row.id, row.at, row.what, row.detail) for row in session.scalars(query))


def failed_since(engine: Engine, beamline: str, since: datetime | None) -> tuple[str, ...]:
    """The partition keys of which a step was noted as failed from a time on, or ever, the first failure first."""
    query = select(EventRow.detail).where(EventRow.beamline == beamline, EventRow.what.startswith("failed: "))
    query = query if since is None else query.where(EventRow.at >= since)
    with reading(engine) as session:
        partitions = (detail.get("partition", "") for detail in session.scalars(query.order_by(EventRow.id)))
        return tuple(dict.fromkeys(filter(None, partitions)))


def lines_since(engine: Engine, beamline: str, steps: Collection[str], since: datetime | None) -> tuple[StepLine, ...]:
    """What some steps wrote from a time on, or ever, the first line first; the newest :data:`MOST_LINES` at most."""
    query = select(EventRow).where(EventRow.beamline == beamline, EventRow.step.in_(steps))
    query = query if since is None else query.where(EventRow.at >= since)
    with reading(engine) as session:
        rows = session.scalars(query.order_by(EventRow.id.desc()).limit(MOST_LINES))
        found = [StepLine(row.run_key, row.at, row.step, row.what, row.detail) for row in rows]
    return tuple(reversed(found))
