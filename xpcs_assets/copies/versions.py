"""The book of runs: their versions, the results made of them, and each run's timeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import exists, func, select
from sqlalchemy.orm import aliased

from xpcs_assets.copies.book import Book, value_of
from xpcs_assets.copies.database import reading, writing
from xpcs_assets.copies.keeping import keep, keep_promotion
from xpcs_assets.copies.tables import EventRow, ResultRow, VersionRow
from xpcs_assets.errors import NotFoundError, NotVerifiedError
from xpcs_assets.runs.manifest import Manifest

WAITS = "waits: "
"""What the line of a step begins with that ended because what it waits for takes long; the step is not done."""
SKIPPED = "skipped: "
"""What the line of a step begins with that is not done for this run by a rule."""
RECIPE_STEP = "recipe"
"""The timeline's name for which recipe a run was found to have."""


@dataclass(frozen=True)
class RunVersion:
    """One version of a run: the same files as long as the manifest's digest is the same.

    Attributes
    ----------
    beamline, run_key, version
        Which run; versions count from 1.
    manifest_digest, manifest
        Its files.
    source
        Path at the source it was taken from.
    owner
        Proposal, experiment, groups and embargo, as known at intake.
    taken_at
        When it became the run's latest.
    """

    beamline: str
    run_key: str
    version: int
    manifest_digest: str
    manifest: Manifest
    source: str
    owner: Mapping[str, Any]
    taken_at: datetime


@dataclass(frozen=True)
class Result:
    """A result file.

    Attributes
    ----------
    beamline, analysis_key, run_key, version
        What it was made of, and under which key it is shown.
    recipe_digest
        All that decided it beside the raw data.
    path
        Where the file lies.
    result_digest
        ``sha256:`` of the file.
    report
        The worker's report.
    promoted
        Whether it is what the run's plain key shows.
    recorded_at
        When it was last recorded.
    """

    beamline: str
    analysis_key: str
    run_key: str
    version: int
    recipe_digest: str
    path: str
    result_digest: str
    report: Mapping[str, Any]
    promoted: bool
    recorded_at: datetime


@dataclass(frozen=True)
class Event:
    """A line of a run's timeline."""

    beamline: str
    run_key: str
    at: datetime
    step: str
    what: str
    detail: Mapping[str, Any]


class VersionBook(Book):
    """What the steps write about runs and results."""

    def record_version(
        self, beamline: str, run_key: str, manifest: Manifest, source: str, owner: Mapping[str, Any] | None = None
    ) -> RunVersion:
        """Record the files of a run: a manifest seen before is that version, another one is a new version.

        When a source goes back to the files of an older version, that version is the latest again.
        """
        with writing(self.engine) as session:
            mine = (VersionRow.beamline == beamline, VersionRow.run_key == run_key)
            known = session.scalar(select(VersionRow).where(*mine, VersionRow.manifest_digest == manifest.digest))
            latest = session.scalar(select(VersionRow).where(*mine).order_by(VersionRow.taken_at.desc()).limit(1))
            if known is not None:
                if known is not latest:
                    known.taken_at = self._after(latest)
                    keep(session, known)
                return _version(known)
            last = session.scalar(select(func.max(VersionRow.version)).where(*mine)) or 0
            row = VersionRow(
                beamline=beamline,
                run_key=run_key,
                version=last + 1,
                manifest_digest=manifest.digest,
                manifest=manifest.to_json(),
                source=source,
                owner=dict(owner or {}),
                taken_at=self._after(latest),
            )
            session.add(row)
            keep(session, row)
            session.flush()
            return _version(row)

    def _after(self, latest: VersionRow | None) -> datetime:
        """Now, or a moment after the latest version was taken if the clock has gone back: the order must stand."""
        now = self.clock()
        return now if latest is None else max(now, latest.taken_at + timedelta(microseconds=1))

    def version(self, beamline: str, run_key: str, version: int) -> RunVersion:
        """One version.

        Raises
        ------
        NotFoundError
            No such version.
        """
        with reading(self.engine) as session:
            row = session.get(VersionRow, (beamline, run_key, version))
            if row is None:
                raise NotFoundError("no such version of a run", where=f"{beamline}/{run_key}/v{version}")
            return _version(row)

    def versions(self, beamline: str, run_key: str) -> tuple[RunVersion, ...]:
        """All versions of a run, the first one first."""
        query = select(VersionRow).where(VersionRow.beamline == beamline, VersionRow.run_key == run_key)
        with reading(self.engine) as session:
            return tuple(_version(row) for row in session.scalars(query.order_by(VersionRow.version)))

    def latest(self, beamline: str, run_key: str) -> RunVersion | None:
        """The version of a run that was taken last; None when it was never taken."""
        query = select(VersionRow).where(VersionRow.beamline == beamline, VersionRow.run_key == run_key)
        with reading(self.engine) as session:
            row = session.scalar(query.order_by(VersionRow.taken_at.desc()).limit(1))
            return None if row is None else _version(row)

    def runs(self, beamline: str, *, limit: int | None = None) -> tuple[RunVersion, ...]:
        """The version of each run that was taken last, the last taken first."""
        later = aliased(VersionRow)
        superseded = exists().where(
            later.beamline == VersionRow.beamline,
            later.run_key == VersionRow.run_key,
            # By the index of runs: that of times would go through all that were taken since.
            func.coalesce(later.taken_at, later.taken_at) > VersionRow.taken_at,
        )
        query = (  # read along the index of times, which ends as soon as there are enough
            select(VersionRow)
            .where(VersionRow.beamline == beamline, ~superseded)
            .order_by(VersionRow.taken_at.desc(), VersionRow.run_key)
            .limit(limit)
        )
        with reading(self.engine) as session:
            return tuple(_version(row) for row in session.scalars(query))

    def record_result(
        self,
        beamline: str,
        analysis_key: str,
        *,
        run_key: str,
        version: int,
        recipe_digest: str,
        path: str,
        result_digest: str,
        report: Mapping[str, Any],
    ) -> Result:
        """Record a result; the same file again is the same result, found to be current once more."""
        with writing(self.engine) as session:
            row = session.scalar(
                select(ResultRow).where(
                    ResultRow.beamline == beamline,
                    ResultRow.analysis_key == analysis_key,
                    ResultRow.version == version,
                    ResultRow.recipe_digest == recipe_digest,
                    ResultRow.result_digest == result_digest,
                )
            )
            if row is None:
                row = ResultRow(
                    beamline=beamline,
                    analysis_key=analysis_key,
                    run_key=run_key,
                    version=version,
                    recipe_digest=recipe_digest,
                    result_digest=result_digest,
                    promoted=False,
                )
                session.add(row)
            row.path, row.report, row.recorded_at = path, dict(report), self.clock()
            session.flush()
            return value_of(Result, row)

    def results(
        self, beamline: str, run_key: str, *, analysis_key: str | None = None, version: int | None = None
    ) -> tuple[Result, ...]:
        """Results made of a run, the last recorded first."""
        query = select(ResultRow).where(ResultRow.beamline == beamline, ResultRow.run_key == run_key)
        if analysis_key is not None:
            query = query.where(ResultRow.analysis_key == analysis_key)
        if version is not None:
            query = query.where(ResultRow.version == version)
        with reading(self.engine) as session:
            rows = session.scalars(query.order_by(ResultRow.recorded_at.desc(), ResultRow.id.desc()))
            return tuple(value_of(Result, row) for row in rows)

    def promote(self, beamline: str, run_key: str, recipe_digest: str) -> Result:
        """Make the newest result of a recipe what the run's plain key shows.

        Raises
        ------
        NotFoundError
            The run has no result of that recipe.
        """
        with writing(self.engine) as session:
            rows = session.scalars(
                select(ResultRow)
                .where(ResultRow.beamline == beamline, ResultRow.run_key == run_key)
                .order_by(ResultRow.version.desc(), ResultRow.recorded_at.desc(), ResultRow.id.desc())
            ).all()
            chosen = next((row for row in rows if row.recipe_digest == recipe_digest), None)
            if chosen is None:
                raise NotFoundError(
                    f"no result of recipe {recipe_digest}", where=f"{beamline}/{run_key}", remedy="Correlate it first"
                )
            for row in rows:
                row.promoted = row is chosen
            keep_promotion(session, chosen)
            session.flush()
            return value_of(Result, chosen)

    def note(self, beamline: str, run_key: str, step: str, what: str, detail: Mapping[str, Any] | None = None) -> None:
        """Add a line to the run's timeline; lines are never changed or taken out."""
        with writing(self.engine) as session:
            row = EventRow(
                beamline=beamline, run_key=run_key, at=self.clock(), step=step, what=what, detail=dict(detail or {})
            )
            session.add(row)
            keep(session, row)

    def timeline(self, beamline: str, run_key: str) -> tuple[Event, ...]:
        """The run's lines in the order they were written."""
        query = select(EventRow).where(EventRow.beamline == beamline, EventRow.run_key == run_key)
        with reading(self.engine) as session:
            return tuple(value_of(Event, row) for row in session.scalars(query.order_by(EventRow.id)))


def _version(row: VersionRow) -> RunVersion:
    where = f"{row.beamline}/{row.run_key}/v{row.version} in the ledger"
    version = value_of(RunVersion, row, manifest=lambda text: Manifest.from_json(text, where=where))
    if (version.manifest.digest, version.manifest.run_key) != (row.manifest_digest, row.run_key):
        raise NotVerifiedError(
            "the manifest is not the one that this version was recorded with",
            where=where,
            remedy="Delete nothing of this run; `xpcs-assets repair` takes the manifest from a copy that agrees",
        )
    return version
