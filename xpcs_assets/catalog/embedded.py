"""The catalog that every site has: records in the site's own database, as the steps of the pipeline put them.

Records are a cache of what lies beside the data and can be made anew; what people write about them cannot, and is apart
(:mod:`xpcs_assets.catalog.people`). A record put twice is one record; one that did not change keeps its times.
Searching is in :mod:`xpcs_assets.catalog.reader`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, exists, select

from xpcs_assets.catalog.documents import Derived, derived_document, derived_pid, raw_document, raw_pid, words_of
from xpcs_assets.catalog.quantities import numbers_of, numbers_of_result
from xpcs_assets.catalog.reader import CatalogReader
from xpcs_assets.catalog.records import CatalogRecord, Prepared, describe, put, read_row, record_query
from xpcs_assets.catalog.roster import Roster
from xpcs_assets.catalog.session import reading, writing
from xpcs_assets.catalog.states import DatasetQuality
from xpcs_assets.catalog.tables import RecordRow
from xpcs_assets.catalog.viewer import OPERATOR
from xpcs_assets.catalog.words import searchable
from xpcs_assets.copies.clock import Clock, utc_now

if TYPE_CHECKING:
    from xpcs_assets.describe.quality import Quality
    from xpcs_assets.describe.record import Record

_AT_ONCE = 100
__all__ = ["CatalogRecord", "EmbeddedCatalog", "derived_pid", "raw_pid"]


@dataclass(frozen=True)
class EmbeddedCatalog:
    """Records of a site.

    Attributes
    ----------
    engine
        From :func:`xpcs_assets.copies.database.open_database`, migrated.
    clock
        Wall time.
    gathered
        What waits to be written, while :meth:`gathering`; else None.
    roster
        Who sees what is put.
    """

    engine: Engine
    clock: Clock = utc_now
    gathered: list[Prepared] | None = None
    roster: Roster = field(default_factory=Roster)

    def put_raw(self, record: Record, source_folder: str, quality: Quality | None = None) -> str:
        """Put the raw dataset of a run, or bring it up to date; returns its pid.

        Raises
        ------
        CatalogError
            The database did not take it.
        """
        document = raw_document(record, source_folder)
        content = describe(record, document, quality)
        if quality is None or quality.passed:
            content["quality"] = DatasetQuality.COMPLETE if record.complete else DatasetQuality.INCOMPLETE
        else:
            content["quality"] = _judged(quality)
        words = searchable(words_of(record, document["pid"]))
        taken_at = datetime.fromisoformat(record.taken_at)
        seen_by = self.roster.seen_by(record.owner, record.beamline)
        self._put(Prepared.of(content, seen_by, words, numbers_of(record), taken_at))
        return str(document["pid"])

    def put_derived(self, derived: Derived, sparkline: Mapping[str, Any] | None = None) -> str:
        """Put the dataset of a result, or bring it up to date; returns its pid.

        Parameters
        ----------
        sparkline
            From :func:`xpcs_assets.catalog.sparkline.sparkline`.

        Raises
        ------
        CatalogError
            The database did not take it.
        """
        document = derived_document(derived)
        quality = derived.quality
        content = describe(derived.record, document, quality) | {
            "analysis_key": derived.analysis_key,
            "qmap_digest": derived.recipe.qmap_digest,
            "recipe_digest": derived.recipe.digest,
            "quality": _judged(quality),
            "sparkline": dict(sparkline or {}),
        }
        words = searchable(words_of(derived.record, derived.analysis_key, document["pid"]))
        found = numbers_of(derived.record, numbers_of_result(derived))
        seen_by = self.roster.seen_by(derived.record.owner, derived.record.beamline)
        self._put(Prepared.of(content, seen_by, words, found, derived.created_at))
        return str(document["pid"])

    @contextmanager
    def gathering(self) -> Iterator[EmbeddedCatalog]:
        """The catalog, with what is put gathered and written some hundred records in a transaction, and at the end.

        What is still gathered when something is raised is not written.

        Raises
        ------
        CatalogError
            The database did not take it.
        """
        gathered = replace(self, gathered=[])
        yield gathered
        gathered.write_gathered()

    def _put(self, prepared: Prepared) -> None:
        if self.gathered is None:
            with writing(self.engine) as session:
                put(session, prepared, self.clock())
            return
        self.gathered.append(prepared)
        if len(self.gathered) >= _AT_ONCE:
            self.write_gathered()

    def write_gathered(self) -> None:
        """Write what waits, in one transaction.

        Raises
        ------
        CatalogError
            The database did not take it.
        """
        waiting = self.gathered or []
        if waiting:
            with writing(self.engine) as session:
                for prepared in waiting:
                    put(session, prepared, self.clock())
            waiting.clear()

    def has(self, pid: str) -> bool:
        """Whether there is a record of this pid."""
        with reading(self.engine) as session:
            return bool(session.scalar(select(exists().where(RecordRow.pid == pid))))

    def existing(self, pids: Collection[str]) -> frozenset[str]:
        """Those of some pids of which there is a record, asked in one query: at most some hundreds at a time."""
        with reading(self.engine) as session:
            return frozenset(session.scalars(select(RecordRow.pid).where(RecordRow.pid.in_(pids))))

    def get(self, pid: str) -> CatalogRecord:
        """One record.

        Raises
        ------
        CatalogError
            There is none of this pid, or the database does not answer.
        """
        return CatalogReader(self.engine, OPERATOR, self.clock).get(pid)

    def records(self, beamline: str, *, limit: int | None = None) -> tuple[CatalogRecord, ...]:
        """All records of a beamline, the newest first."""
        query = record_query().where(RecordRow.beamline == beamline).order_by(RecordRow.number.desc()).limit(limit)
        with reading(self.engine) as session:
            return tuple(read_row(row) for row in session.execute(query).mappings())


def _judged(quality: Quality) -> DatasetQuality:
    if quality.serious:
        return DatasetQuality.QUARANTINED
    return DatasetQuality.GOOD if quality.passed else DatasetQuality.DOUBTFUL
