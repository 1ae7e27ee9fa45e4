"""The catalog that every site has: records in the site's own database.

Records are a cache of what lies beside the data and can be made anew; notes are people's words and cannot. A record
put twice is one record; one that did not change keeps its times.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Select, exists, select
from sqlalchemy.dialects import postgresql, sqlite

from xpcs_assets.catalog.documents import (
    SAMPLE,
    Derived,
    derived_document,
    derived_pid,
    owner_group,
    raw_document,
    raw_pid,
    words_of,
)
from xpcs_assets.catalog.tables import RecordRow
from xpcs_assets.copies.book import value_of
from xpcs_assets.copies.clock import Clock, utc_now
from xpcs_assets.copies.database import reading, writing
from xpcs_assets.copies.keeping import keep
from xpcs_assets.copies.tables import NoteRow
from xpcs_assets.describe.quality import Quality
from xpcs_assets.describe.record import Record
from xpcs_assets.errors import CatalogError, LedgerError
from xpcs_assets.readers.metadata import DETECTOR_NAME

__all__ = ["CatalogRecord", "EmbeddedCatalog", "Note", "derived_pid", "raw_pid"]

# Both have the same "insert or update" under the same names; SQLAlchemy's general insert has none.
_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_ESCAPE = "\\"


@dataclass(frozen=True)
class CatalogRecord:
    """One dataset of the catalog.

    Attributes
    ----------
    pid
        Its identifier.
    kind
        ``raw`` or ``derived``.
    beamline, run_key, analysis_key, version
        What it is of; a raw record's analysis key is the run key.
    proposal, experiment, owner_group, access_groups, embargo_until
        Whose it is.
    sample, detector
        As the metadata say; may be empty.
    qmap_digest, recipe_digest
        Of a derived dataset; empty for raw ones.
    state
        ``complete`` or ``incomplete`` for a raw dataset's description; ``good``, ``doubtful`` (a warning) or
        ``quarantined`` (an error) for a derived one, by its quality.
    quality
        The judgements.
    document
        The dataset in SciCat's shape.
    digest
        ``sha256:`` of all the above.
    created_at
        When the dataset came to be.
    recorded_at, updated_at
        When it was first put here, and when it last changed.
    """

    pid: str
    kind: str
    beamline: str
    run_key: str
    analysis_key: str
    version: int
    proposal: str
    experiment: str
    owner_group: str
    access_groups: list[str]
    embargo_until: str
    sample: str
    detector: str
    qmap_digest: str
    recipe_digest: str
    state: str
    quality: dict[str, Any]
    document: dict[str, Any]
    digest: str
    created_at: datetime
    recorded_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Note:
    """What a person wrote about a dataset."""

    pid: str
    text: str
    written_by: str
    written_at: datetime


@dataclass(frozen=True)
class EmbeddedCatalog:
    """Records and notes of a site.

    Attributes
    ----------
    engine
        From :func:`xpcs_assets.copies.database.open_database`, migrated.
    clock
        Wall time.
    """

    engine: Engine
    clock: Clock = utc_now

    def put_raw(self, record: Record, source_folder: str, quality: Quality | None = None) -> str:
        """Put the raw dataset of a run, or bring it up to date; returns its pid.

        Raises
        ------
        CatalogError
            The database did not take it.
        """
        document = raw_document(record, source_folder)
        state = "complete" if record.complete else "incomplete"
        return self._put(
            _columns(record, document, quality, state)
            | {"created_at": datetime.fromisoformat(record.taken_at), "words": words_of(record, document["pid"])}
        )

    def put_derived(self, derived: Derived) -> str:
        """Put the dataset of a result, or bring it up to date; returns its pid.

        Raises
        ------
        CatalogError
            The database did not take it.
        """
        document = derived_document(derived)
        state = "quarantined" if derived.quality.serious else "good" if derived.quality.passed else "doubtful"
        columns = _columns(derived.record, document, derived.quality, state)
        return self._put(
            columns
            | {
                "analysis_key": derived.analysis_key,
                "qmap_digest": derived.recipe.qmap_digest,
                "recipe_digest": derived.recipe.digest,
                "created_at": derived.created_at,
                "words": words_of(derived.record, derived.analysis_key, document["pid"]),
            }
        )

    def has(self, pid: str) -> bool:
        """Whether there is a record of this pid."""
        with self._reading() as session:
            return bool(session.scalar(select(exists().where(RecordRow.pid == pid))))

    def existing(self, pids: Collection[str]) -> frozenset[str]:
        """Those of some pids of which there is a record, asked in one query: at most some hundreds at a time."""
        with self._reading() as session:
            return frozenset(session.scalars(select(RecordRow.pid).where(RecordRow.pid.in_(pids))))

    def get(self, pid: str) -> CatalogRecord:
        """One record.

        Raises
        ------
        CatalogError
            There is none of this pid, or the database does not answer.
        """
        with self._reading() as session:
            row = session.get(RecordRow, pid)
            if row is None:
                remedy = "Materialise the run's catalog_entry or result_entry"
                raise CatalogError("the catalog has no such record", where=pid, remedy=remedy)
            return value_of(CatalogRecord, row)

    def records(self, beamline: str, *, limit: int | None = None) -> tuple[CatalogRecord, ...]:
        """All records of a beamline, the newest first."""
        return self._list(select(RecordRow).where(RecordRow.beamline == beamline), limit)

    def search(
        self,
        text: str = "",
        *,
        beamline: str = "",
        kind: str = "",
        proposal: str = "",
        experiment: str = "",
        sample: str = "",
        state: str = "",
        limit: int = 50,
    ) -> tuple[CatalogRecord, ...]:
        """Records that hold every word of ``text`` (case and order do not count) and match all that is given.

        The newest come first. Words are looked for in names, owner and all texts of the metadata.
        """
        query = select(RecordRow)
        for column, wanted in (
            (RecordRow.beamline, beamline),
            (RecordRow.kind, kind),
            (RecordRow.proposal, proposal),
            (RecordRow.experiment, experiment),
            (RecordRow.sample, sample),
            (RecordRow.state, state),
        ):
            if wanted:
                query = query.where(column == wanted)
        for word in text.lower().split():
            query = query.where(RecordRow.words.contains(word, autoescape=True, escape=_ESCAPE))
        return self._list(query, limit)

    def add_note(self, pid: str, text: str, written_by: str) -> None:
        """Write a note about a dataset; no later put touches it.

        Raises
        ------
        CatalogError
            There is no such dataset.
        """
        self.get(pid)
        with self._writing() as session:
            row = NoteRow(pid=pid, text=text, written_by=written_by, written_at=self.clock())
            session.add(row)
            keep(session, row)

    def notes(self, pid: str) -> tuple[Note, ...]:
        """The notes about a dataset, the first one first."""
        with self._reading() as session:
            rows = session.scalars(select(NoteRow).where(NoteRow.pid == pid).order_by(NoteRow.id))
            return tuple(value_of(Note, row) for row in rows)

    def _put(self, columns: dict[str, Any]) -> str:
        """Insert or replace in one statement, so that writers at the same moment make one record."""
        now = self.clock()
        values = columns | {"digest": _digest(columns), "recorded_at": now, "updated_at": now}
        insert = _INSERTS[self.engine.dialect.name](RecordRow).values(**values)
        changed = {name: insert.excluded[name] for name in values if name not in {"pid", "recorded_at"}}
        statement = insert.on_conflict_do_update(
            index_elements=[RecordRow.pid], set_=changed, where=RecordRow.digest != insert.excluded.digest
        )
        with self._writing() as session:
            session.execute(statement)
        return str(columns["pid"])

    def _list(self, query: Select[Any], limit: int | None) -> tuple[CatalogRecord, ...]:
        newest_first = query.order_by(RecordRow.created_at.desc(), RecordRow.pid).limit(limit)
        with self._reading() as session:
            return tuple(value_of(CatalogRecord, row) for row in session.scalars(newest_first))

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        with _told_as_catalog_error(), reading(self.engine) as session:
            yield session

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        with _told_as_catalog_error(), writing(self.engine) as session:
            yield session


def _columns(record: Record, document: dict[str, Any], quality: Quality | None, state: str) -> dict[str, Any]:
    sample, detector = record.first(*SAMPLE), record.first(*DETECTOR_NAME)
    return {
        "pid": document["pid"],
        "kind": document["type"],
        "beamline": record.beamline,
        "run_key": record.run_key,
        "analysis_key": record.run_key,
        "version": record.version,
        "proposal": record.owner.proposal,
        "experiment": record.owner.experiment,
        "owner_group": owner_group(record),
        "access_groups": list(record.owner.groups[1:]),
        "embargo_until": record.owner.embargo_until,
        "sample": "" if sample is None else str(sample.value),
        "detector": "" if detector is None else str(detector.value),
        "qmap_digest": "",
        "recipe_digest": "",
        "state": state,
        "quality": {} if quality is None else quality.to_dict(),
        "document": document,
    }


def _digest(columns: dict[str, Any]) -> str:
    try:
        text = json.dumps(columns, sort_keys=True, allow_nan=False, default=_isoformat)
    except (ValueError, TypeError) as error:
        remedy = "Report this: records hold plain finite values only"
        raise CatalogError(f"the record is no plain JSON ({error})", where=columns["pid"], remedy=remedy) from error
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _isoformat(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no plain value")


@contextmanager
def _told_as_catalog_error() -> Iterator[None]:
    try:
        yield
    except LedgerError as error:
        raise CatalogError(
            error.what.replace("the ledger", "the catalog"), where=error.where, remedy=error.remedy
        ) from error
