"""Records of the embedded catalog: what one holds, how it is put once, and how it is read back."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Select, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from xpcs_assets.catalog.documents import SAMPLE
from xpcs_assets.catalog.hits import Outline
from xpcs_assets.catalog.quantities import Number
from xpcs_assets.catalog.query import number_from
from xpcs_assets.catalog.tables import DocumentRow, RecordRow, facet_groups, facets, numbers, quantities
from xpcs_assets.catalog.viewer import open_from
from xpcs_assets.copies.database import microseconds
from xpcs_assets.errors import CatalogError
from xpcs_assets.readers.metadata import DETECTOR_NAME

if TYPE_CHECKING:
    from xpcs_assets.describe.quality import Quality
    from xpcs_assets.describe.record import Record

# Both have the same "insert what is not there" under the same names; SQLAlchemy's general insert has none.
_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_CYCLE = re.compile(r"(?:^|/)(20\d\d-[1-9])(?:/|$)")
_TELLING_BITS = 20  # of a number, below its milliseconds


@dataclass(frozen=True, kw_only=True)
class CatalogRecord(Outline):
    """One dataset of the catalog.

    Attributes
    ----------
    owner_group, access_groups, embargo_until
        Who sees it, and until when nobody else.
    judgements
        What its quality was judged by.
    document
        The dataset in SciCat's shape.
    digest
        ``sha256:`` of all of it but the state, and of the groups those that were known at intake.
    recorded_at
        When it was first put here.
    """

    owner_group: str
    access_groups: list[str]
    embargo_until: str
    judgements: dict[str, Any]
    document: dict[str, Any]
    digest: str
    recorded_at: datetime


_OWN = ("pid", "kind", "beamline", "run_key", "analysis_key", "version", "size_bytes")
_WIDE = {"document": "document", "judgements": "quality", "sparkline": "sparkline"}
_SOURCES: dict[str, Any] = {column.name: column for column in facets.columns}
_SOURCES |= {name: getattr(DocumentRow, column) for name, column in _WIDE.items()}
_SOURCES |= {column.name: column for column in RecordRow.__table__.columns}


def columns_of(shown: type[Outline], *, but: Collection[str] = ()) -> list[Any]:
    """The columns of what is shown of a record, by its names, ``but`` for some."""
    return [_SOURCES[item.name].label(item.name) for item in fields(shown) if item.name not in but]


def record_query() -> Select[Any]:
    """All columns of :class:`CatalogRecord`, by its names."""
    on_facet, on_number = facets.c.key == RecordRow.facet, DocumentRow.number == RecordRow.number
    query = select(*columns_of(CatalogRecord)).select_from(RecordRow)
    return query.join(facets, on_facet).join(DocumentRow, on_number)


def read_row(row: Mapping[Any, Any]) -> CatalogRecord:
    """A record of a row of :func:`record_query`; its document says who may see it now."""
    groups = {"ownerGroup": row["owner_group"], "accessGroups": row["access_groups"]}
    return CatalogRecord(**{**row, "document": row["document"] | groups})


def describe(record: Record, document: Mapping[str, Any], quality: Quality | None) -> dict[str, Any]:
    """What a record of a run holds, by the names of :class:`CatalogRecord`; whoever puts it changes what differs.

    Of groups it holds ``own_groups``, those that were known at intake: who sees it is the roster's to say.
    """
    sample, detector = record.first(*SAMPLE), record.first(*DETECTOR_NAME)
    cycle = _CYCLE.search(record.source)
    return {
        "pid": document["pid"],
        "kind": document["type"],
        "beamline": record.beamline,
        "run_key": record.run_key,
        "analysis_key": record.run_key,
        "version": record.version,
        "cycle": cycle[1] if cycle else "",
        "proposal": record.owner.proposal,
        "experiment": record.owner.experiment,
        "own_groups": list(record.owner.groups),
        "embargo_until": record.owner.embargo_until,
        "sample": "" if sample is None else str(sample.value),
        "detector": "" if detector is None else str(detector.value),
        "qmap_digest": "",
        "recipe_digest": "",
        "size_bytes": document["size"],
        "judgements": {} if quality is None else quality.to_dict(),
        "sparkline": {},
        "document": document,
    }


@dataclass(frozen=True)
class Prepared:
    """A record that is ready to be put.

    Attributes
    ----------
    content
        From :func:`describe`, with ``quality``.
    seen_by
        From :meth:`xpcs_assets.catalog.roster.Roster.seen_by`.
    words
        As :func:`xpcs_assets.catalog.words.searchable` makes them.
    numbers
        Those that are searched.
    created_at
        When the dataset came to be, aware.
    digest
        Of all that but ``seen_by``.
    """

    content: Mapping[str, Any]
    seen_by: Mapping[str, Any]
    words: str
    numbers: Sequence[Number]
    created_at: datetime
    digest: str

    @classmethod
    def of(
        cls,
        content: Mapping[str, Any],
        seen_by: Mapping[str, Any],
        words: str,
        numbers: Sequence[Number],
        created_at: datetime,
    ) -> Self:
        """Make one, with its digest.

        Raises
        ------
        CatalogError
            The content is no plain JSON.
        """
        digest = _digest({**content, "words": words, "created_at": microseconds(created_at)})
        return cls(content, seen_by, words, numbers, created_at, digest)


def put(session: Session, prepared: Prepared, now: datetime) -> None:
    """Put a record, or bring it up to date; one that is the same stays untouched, with its times.

    Writers queue for the database before their first statement, so that nobody comes between what is read and written.
    """
    content, pid = prepared.content, prepared.content["pid"]
    before = session.execute(
        select(RecordRow.number, RecordRow.digest, RecordRow.recorded_at).where(RecordRow.pid == pid)
    ).one_or_none()
    if before is not None and before.digest == prepared.digest:
        return
    if before is not None:  # numbers, document and words go with it
        session.execute(delete(RecordRow).where(RecordRow.number == before.number))
    number = _free_number(session, pid, prepared.created_at)
    own = {name: content[name] for name in _OWN}
    own |= {"number": number, "facet": _put_facet(session, prepared), "state": ""}
    own |= {"created_at": prepared.created_at, "updated_at": now, "digest": prepared.digest}
    own["recorded_at"] = now if before is None else before.recorded_at
    session.execute(RecordRow.__table__.insert(), [own])  # type: ignore[attr-defined]
    wide = {column: content[name] for name, column in _WIDE.items()} | {"number": number, "words": prepared.words}
    session.execute(DocumentRow.__table__.insert(), [wide])  # type: ignore[attr-defined]
    _put_numbers(session, number, prepared.numbers)


def _put_facet(session: Session, prepared: Prepared) -> int:
    """The row that says what the record shares with others, by its digest.

    Who sees it is no part of that, and follows the roster: of a row that is there it stays as it was followed last.
    """
    content = prepared.content
    names = set(facets.c.keys()) & content.keys()
    row = {name: content[name] for name in sorted(names)}
    row["day"] = f"{prepared.created_at:%Y-%m-%d}"
    key = _key(row)
    if session.scalar(select(facets.c.key).where(facets.c.key == key)) is None:
        owner_group, access_groups = prepared.seen_by["ownerGroup"], list(prepared.seen_by["accessGroups"])
        row |= {"key": key, "open_from": open_from(content["embargo_until"])}
        session.execute(facets.insert(), [row | {"owner_group": owner_group, "access_groups": access_groups}])
        groups = [{"name": group, "facet": key} for group in sorted({owner_group, *access_groups} - {""})]
        session.execute(facet_groups.insert(), groups)
    return key


def _put_numbers(session: Session, number: int, found: Sequence[Number]) -> None:
    rows, known = [], []
    for each in found:
        quantity = {"path": each.path, "name": each.name, "unit": each.unit, "si_unit": each.si_unit}
        quantity_key = _key(quantity)
        known.append({"key": quantity_key, **quantity})
        rows.append({"number": number, "quantity": quantity_key, "si_value": each.si_value, "value": each.value})
    _insert_missing(session, quantities, known)
    if rows:
        session.execute(numbers.insert(), rows)


def _insert_missing(session: Session, table: Any, rows: list[dict[str, Any]]) -> None:
    if rows:
        insert = _INSERTS[session.get_bind().dialect.name](table).on_conflict_do_nothing()
        session.execute(insert, rows)


def _free_number(session: Session, pid: str, created_at: datetime) -> int:
    """A number that orders records by the millisecond they came to be in; within one it is made of the pid."""
    telling = int.from_bytes(hashlib.sha256(pid.encode()).digest()[:4]) >> (32 - _TELLING_BITS)
    number = number_from(created_at) + telling
    while session.scalar(select(RecordRow.number).where(RecordRow.number == number)) is not None:
        number += 1
    return number


def _key(row: Mapping[str, Any]) -> int:
    """63 bits of a row's digest: the same row has the same key in every database, and is there once."""
    text = json.dumps(row, sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def _digest(content: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(content, sort_keys=True, allow_nan=False)
    except (ValueError, TypeError) as error:
        remedy = "Report this: records hold plain finite values only"
        raise CatalogError(f"the record is no plain JSON ({error})", where=content["pid"], remedy=remedy) from error
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
