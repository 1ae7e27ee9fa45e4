"""Keeping facts: what is written to the journal beside the database, in which order, and how it comes back.

The data tell again which files a run has, what its results are and what lies in an archive. They do not tell what
people said (holds, approvals, notes), what was done (timelines, removals, what was set aside, audits) or what was seen
but not staged. A book that writes such a row calls :func:`keep`; the row goes to the journal with the transaction.

Which goes first, journal or database, decides what a crash between the two leaves:

- *Journal first*, for what makes the world stricter or tells what is about to happen (a hold, an intent, a tombstone, a
  line of a timeline). A crash leaves a line that the database lacks; the next write, whatever it is, brings it in
  before anything else. Whoever set the hold saw an error, and it stands all the same.
- *Database first*, for what makes it looser (a release, an approval, a promotion). A crash leaves a row without its
  line: this ledger goes on with it, and a ledger made again from the journal is the stricter one; the gap in the
  numbers is told by the rebuild.

The ledger carries an identity and the number of the last line it has, and every write begins by holding both against
the journal. A database that is another's, or an empty one in its place, has another identity and is refused. One that
was restored from a backup has a lower number and is brought up to date first. A pruner cannot even take its lease
before that: nothing is pruned against a hold that only the journal remembers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import event, func, literal, select
from sqlalchemy.orm import Session

from xpcs_assets.copies.clock import utc_now
from xpcs_assets.copies.database import Base, Moment, microseconds, moment_of
from xpcs_assets.copies.journal import BEGINNING, Journal, Line
from xpcs_assets.copies.tables import CopyRow, LedgerRow, ResultRow
from xpcs_assets.errors import LedgerError

PROMOTION = "promotion"
_KEPT = "xpcs_kept"


@dataclass(frozen=True)
class _Fact:
    of: Base | Mapping[str, Any]
    table: str
    looser: bool


def keep(session: Session, row: Base, *, looser: bool = False) -> None:
    """Have a row written to the journal, as it is when the transaction commits.

    Parameters
    ----------
    session
        Of :func:`xpcs_assets.copies.database.writing`; when its database has no journal nothing happens.
    row
        A row of it.
    looser
        It makes the world looser: its line follows the commit instead of coming before.
    """
    _keep(session, _Fact(row, row.__tablename__, looser))


def keep_promotion(session: Session, row: ResultRow) -> None:
    """Have it written to the journal that a result is what its run's plain key shows; the row is told by the data."""
    names = ("beamline", "run_key", "analysis_key", "version", "recipe_digest", "result_digest")
    _keep(session, _Fact({name: getattr(row, name) for name in names}, PROMOTION, looser=True))


def replay(session: Session, lines: Iterable[Line]) -> tuple[Line, ...]:
    """Bring lines into the database; a row that is there is brought up to date. Those that have no place are returned.

    A copy or bundle of what the database does not know has no place, nor the promotion of a result it does not know.
    """
    tables = {mapper.class_.__tablename__: mapper.class_ for mapper in Base.registry.mappers}
    left = []
    for line in lines:
        if line.table == BEGINNING:
            continue
        if line.table == PROMOTION:
            done = _promote(session, line.row)
        elif line.table == CopyRow.__tablename__:
            done = _put_copy(session, line.row)
        else:
            done = line.table in tables and _put(session, tables[line.table], line.row)
        session.flush()
        if not done:
            left.append(line)
    advance_numbers(session)
    return tuple(left)


def advance_numbers(session: Session) -> None:
    """Let new rows be numbered above those that were put in with their numbers; SQLite does so by itself."""
    if session.connection().dialect.name != "postgresql":
        return
    for table in Base.metadata.sorted_tables:
        if table.autoincrement_column is not None and table.name != LedgerRow.__tablename__:
            newest = select(func.max(table.c.id)).scalar_subquery()
            sequence = func.pg_get_serial_sequence(table.name, "id")
            session.execute(select(func.setval(sequence, func.coalesce(newest, 1), newest.is_not(None))))


def begin(session: Session, journal: Journal) -> None:
    """Hold the database against the journal, and have what this session keeps written at its commit.

    Raises
    ------
    LedgerError
        The database is another ledger's, or the journal cannot be read or written: nothing is done.
    """
    session.connection()  # the database before the journal, as at the commit: else two writers wait for each other
    with journal.locked():
        _catch_up(session, journal)
    facts: list[_Fact] = []
    after: list[Line] = []
    alone = ExitStack()
    session.info[_KEPT] = facts

    def before_commit(_session: Session) -> None:
        if not facts:
            return
        session.flush()  # a row that is refused was not written down, and a new one has its number
        alone.enter_context(journal.locked())  # until the looser lines are written
        row = _row(session)
        ordered = sorted(facts, key=lambda fact: fact.looser)
        lines = [Line(row.journal_number + n, fact.table, plain(fact.of)) for n, fact in enumerate(ordered, 1)]
        row.journal_number += len(lines)
        session.flush()
        strict = sum(not fact.looser for fact in facts)
        journal.append(lines[:strict], utc_now())
        after.extend(lines[strict:])

    def after_commit(_session: Session) -> None:
        with alone:
            journal.append(after, utc_now())

    def after_rollback(_session: Session) -> None:
        alone.close()

    event.listen(session, "before_commit", before_commit)
    event.listen(session, "after_commit", after_commit)
    event.listen(session, "after_rollback", after_rollback)


def _keep(session: Session, fact: _Fact) -> None:
    if _KEPT in session.info:
        session.info[_KEPT].append(fact)


def _row(session: Session) -> LedgerRow:
    return session.scalars(select(LedgerRow).execution_options(populate_existing=True)).one()


def _catch_up(session: Session, journal: Journal) -> None:
    """Make sure that the database is the journal's, and bring in the lines it lacks."""
    row, first, last = _row(session), journal.first(), journal.last()
    if first is None or last is None:
        journal.append([Line(row.journal_number, BEGINNING, {"identity": row.identity})], utc_now())
    elif first.table != BEGINNING or first.row.get("identity") != row.identity:
        raise LedgerError(
            "the database is not the ledger that this site's journal belongs to",
            where=journal.folder,
            remedy="Give site.yaml the right database; or stop the site and run `xpcs-assets rebuild`",
        )
    elif last.number > row.journal_number:
        replay(session, journal.lines(after=row.journal_number))
        row.journal_number = last.number


def plain(of: Base | Mapping[str, Any]) -> dict[str, Any]:
    """A row's columns as values that JSON has; times in microseconds since 1970."""
    if not isinstance(of, Base):
        return dict(of)
    values = {column.key: getattr(of, column.key) for column in of.__table__.columns}
    return {name: microseconds(value) if isinstance(value, datetime) else value for name, value in values.items()}


def columns_of(kind: type[Base], row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a row from what :func:`plain` made of it; what the table does not have is left out."""
    columns = {column.key: column for column in kind.__table__.columns}
    return {
        name: moment_of(value) if isinstance(columns[name].type, Moment) and value is not None else value
        for name, value in row.items()
        if name in columns
    }


def _put(session: Session, kind: type[Base], row: Mapping[str, Any]) -> bool:
    values = columns_of(kind, row)
    key = tuple(values[column.key] for column in kind.__table__.primary_key)
    known = session.get(kind, key)
    if known is None:
        if not _has_what_it_refers_to(session, kind, values):
            return False
        session.add(kind(**values))
        return True
    for name, value in values.items():  # only what differs is written, so that an append-only row is left alone
        if getattr(known, name) != value:
            setattr(known, name, value)
    return True


def _has_what_it_refers_to(session: Session, kind: type[Base], values: Mapping[str, Any]) -> bool:
    for constraint in kind.__table__.foreign_key_constraints:  # type: ignore[attr-defined]
        pairs = [(element.column, values[element.parent.key]) for element in constraint.elements]
        found = select(literal(1)).where(*(column == value for column, value in pairs))
        if all(value is not None for _, value in pairs) and session.scalar(found) is None:
            return False
    return True


def _put_copy(session: Session, row: Mapping[str, Any]) -> bool:
    """A copy is known by where it is: its number may be another in a ledger that was made again."""
    values = columns_of(CopyRow, row)
    number = values.pop("id")
    if not _has_what_it_refers_to(session, CopyRow, values):
        return False
    key = {name: values[name] for name in ("beamline", "run_key", "version", "place", "path")}
    known = session.scalar(select(CopyRow).filter_by(**key))
    if known is None:
        free = session.get(CopyRow, number) is None
        session.add(CopyRow(**values, **({"id": number} if free else {})))
        return True
    for name, value in values.items():
        setattr(known, name, value)
    return True


def _promote(session: Session, row: Mapping[str, Any]) -> bool:
    found = False
    for result in session.scalars(select(ResultRow).filter_by(beamline=row["beamline"], run_key=row["run_key"])):
        result.promoted = all(getattr(result, name) == value for name, value in row.items())
        found = found or result.promoted
    return found
