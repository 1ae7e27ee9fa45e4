"""Runs that were taken so long ago that they ought to have their result and their catalog entry."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, case, exists, func, or_, select, true

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.catalog.tables import RecordRow
from xpcs_assets.copies.database import reading
from xpcs_assets.copies.standing import is_analysed
from xpcs_assets.copies.tables import VersionRow


@dataclass(frozen=True)
class LateRun:
    """A run, when it was taken, and what it lacks in words."""

    run_key: str
    taken_at: datetime
    lacks: str


def late_runs(
    beamline: OpenBeamline, after: timedelta, recent: timedelta, stood: Collection[str], limit: int
) -> tuple[LateRun, ...]:
    """Newest versions without a result, where they are analysed, or without a catalog entry; the oldest first.

    Parameters
    ----------
    after
        Only those taken longer ago.
    recent, stood
        Only those that came to be late in the last days, and these runs whenever they were taken.
    """
    due_at = beamline.ledger.clock() - after
    lately = VersionRow.taken_at > due_at - recent  # two questions, for each has an index of its own
    before = _late(beamline, due_at, VersionRow.run_key.in_(stood), limit) if stood else ()
    return tuple({run.run_key: run for run in (*before, *_late(beamline, due_at, lately, limit))}.values())


def _late(beamline: OpenBeamline, due_at: datetime, which: ColumnElement[bool], limit: int) -> tuple[LateRun, ...]:
    later = VersionRow.__table__.alias("later")
    superseded = exists().where(
        later.c.beamline == VersionRow.beamline,
        later.c.run_key == VersionRow.run_key,
        # by the index of runs: that of times would go through all runs that were taken since
        func.coalesce(later.c.taken_at, later.c.taken_at) > VersionRow.taken_at,
    )
    record = exists().where(
        RecordRow.beamline == VersionRow.beamline,
        RecordRow.run_key == VersionRow.run_key,
        RecordRow.version == VersionRow.version,
        RecordRow.kind == "raw",
    )
    analysis = beamline.settings.pipeline.analysis
    analysed = is_analysed(analysis) if analysis else true()
    query = (
        select(VersionRow.run_key, VersionRow.taken_at, case((analysed, 1), else_=0), case((record, 1), else_=0))
        .where(
            VersionRow.beamline == beamline.name,
            VersionRow.taken_at <= due_at,
            which,
            or_(~analysed, ~record),
            ~superseded,
        )
        .order_by(VersionRow.taken_at, VersionRow.run_key)
        .limit(limit)
    )
    with reading(beamline.engine) as session:
        return tuple(
            LateRun(run_key, taken_at, _in_words(not is_analysed, not has_record))
            for run_key, taken_at, is_analysed, has_record in session.execute(query)
        )


def _in_words(no_result: bool, no_record: bool) -> str:
    lacking = [*(["no result"] if no_result else []), *(["no catalog entry"] if no_record else [])]
    return f"it has {' and '.join(lacking)}"
