"""What of the embedded catalog a catalog outside is to be told, and whose turn it is: the outbox's statements."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Select,
    String,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.orm import Session, aliased

from xpcs_assets.catalog.outbox_tables import OutboxRow
from xpcs_assets.catalog.tables import RecordRow, facets
from xpcs_assets.copies.copy_book import Evidence
from xpcs_assets.copies.tables import BundleRow, BundleRunRow

_PAIRS = 100

Rules = Callable[[str], str]
"""By proposal: the digest of what decides, beside the record, what a catalog is told."""


class What(StrEnum):
    """What a catalog is told; of one run in this order."""

    RAW = "raw"
    DERIVED = "derived"
    LIFECYCLE = "lifecycle"


class EntryState(StrEnum):
    """How far an entry is."""

    WAITING = "waiting"
    TOLD = "told"
    PARKED = "parked"
    """The catalog refused it, and would again: it waits for a person, and only what is of the same run with it."""


def datasets(beamline: str, catalog: str, run_key: str) -> Select[Any]:
    """Records that a catalog has no entry for, or one of another digest."""
    known = exists().where(
        OutboxRow.catalog == catalog, OutboxRow.pid == RecordRow.pid, OutboxRow.what == RecordRow.kind,
        OutboxRow.digest == RecordRow.digest,
    )  # fmt: skip
    columns = (RecordRow.pid, RecordRow.kind.label("what"), RecordRow.digest)
    return _of_records(beamline, run_key, *columns).where(~known)


def lifecycles(beamline: str, catalog: str, run_key: str) -> Select[Any]:
    """Raw records whose data are somewhere else than a catalog knows: another state, or other bundles."""
    digest = RecordRow.state + _bundles_in_short()
    known = exists().where(
        OutboxRow.catalog == catalog, OutboxRow.pid == RecordRow.pid, OutboxRow.what == What.LIFECYCLE.value,
        OutboxRow.digest == digest,
    )  # fmt: skip
    columns = (RecordRow.pid, literal(What.LIFECYCLE.value).label("what"), digest.label("digest"))
    return _of_records(beamline, run_key, *columns).where(RecordRow.kind == What.RAW.value, ~known)


def _bundles_in_short() -> Any:
    """How many bundles with the raw data of a record's run count, and the sum of the times they were recorded.

    It stands for their names, which are too long to be compared for each record, and are taken for ever.
    """
    summed = cast(func.sum(type_coerce(BundleRow.recorded_at, BigInteger)), String)
    counted = select(func.coalesce(literal(" ") + cast(func.count(), String) + literal(" ") + summed, ""))
    query = counted.join_from(
        BundleRow, BundleRunRow, and_(BundleRunRow.place == BundleRow.place, BundleRunRow.bundle == BundleRow.name)
    )
    return query.where(
        BundleRunRow.beamline == RecordRow.beamline,
        BundleRunRow.run_key == RecordRow.run_key,
        BundleRunRow.version == RecordRow.version,
        BundleRow.content == "raw",
        BundleRow.evidence.in_([evidence.value for evidence in Evidence if evidence.counts]),
    ).scalar_subquery()


def due_again(beamline: str, catalog: str, run_key: str, now: datetime) -> Select[Any]:
    """Datasets of which a catalog says something else by now, though nothing changed."""
    columns = (RecordRow.pid, RecordRow.kind.label("what"), RecordRow.digest)
    due = and_(OutboxRow.state == EntryState.TOLD.value, OutboxRow.again_at <= now)
    return _of_records(beamline, run_key, *columns).join(OutboxRow, _entry_of_record(catalog)).where(due)


def by_other_rules(session: Session, beamline: str, catalog: str, run_key: str, rules: Rules) -> Select[Any]:
    """Datasets that a catalog was told of, or refused, by other rules than those of now.

    The rules are a proposal's: what is known is compared by proposal, for a roster changes often and in few of them.
    """
    columns = (RecordRow.pid, RecordRow.kind.label("what"), RecordRow.digest)
    known = (
        _of_records(beamline, run_key, *columns)
        .join(OutboxRow, _entry_of_record(catalog))
        .join(facets, facets.c.key == RecordRow.facet)
        .where(OutboxRow.state != EntryState.WAITING.value)
    )
    pairs = session.execute(known.with_only_columns(facets.c.proposal, OutboxRow.rules).order_by(None).distinct())
    others = [(proposal, digest) for proposal, digest in pairs if digest != rules(proposal)][:_PAIRS]
    changed = [and_(facets.c.proposal == proposal, OutboxRow.rules == digest) for proposal, digest in others]
    return known.where(or_(false(), *changed))


def _entry_of_record(catalog: str) -> Any:
    return and_(OutboxRow.catalog == catalog, OutboxRow.pid == RecordRow.pid, OutboxRow.what == RecordRow.kind)


def _of_records(beamline: str, run_key: str, *columns: Any) -> Select[Any]:
    query = select(*columns, RecordRow.beamline, RecordRow.run_key, RecordRow.version)
    query = query.where(RecordRow.beamline == beamline)
    return (query.where(RecordRow.run_key == run_key) if run_key else query).order_by(RecordRow.number)


def in_turn(beamline: str, catalog: str, now: datetime) -> Select[Any]:
    """Entries that wait, whose pause is over, which nobody holds, and before which nothing of their run comes."""
    other = aliased(OutboxRow)
    comes_first = and_(
        _rank(other) < _rank(OutboxRow),
        or_(
            other.state == EntryState.WAITING.value,
            and_(other.what == What.RAW.value, other.state != EntryState.TOLD.value),
        ),
    )
    is_kept = exists().where(
        other.beamline == OutboxRow.beamline,
        other.run_key == OutboxRow.run_key,
        other.version == OutboxRow.version,
        other.catalog == OutboxRow.catalog,
        or_(comes_first, other.held_until > now),
    )
    return select(OutboxRow).where(
        OutboxRow.beamline == beamline,
        OutboxRow.catalog == catalog,
        OutboxRow.state == EntryState.WAITING.value,
        OutboxRow.next_at <= now,
        ~is_kept,
    )


def _rank(row: Any) -> Any:
    return case({What.RAW.value: 0, What.DERIVED.value: 1}, value=row.what, else_=2)
