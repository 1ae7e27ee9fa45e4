"""What is still to be done, asked of the ledger in one query: what no archive holds yet, what a further place lacks.

Also which results have not gone back to their beamline.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Engine, and_, exists, func, literal, select, tuple_, union_all

from xpcs_assets.copies.copy_book import CopyState, Evidence
from xpcs_assets.copies.database import reading
from xpcs_assets.copies.tables import BundleRow, CopyRow, EventRow, MemberRow, ResultRow, VersionRow


@dataclass(frozen=True)
class Unarchived:
    """A version with something that the archive lacks.

    Attributes
    ----------
    run_key, version
        Which version.
    what
        A result's digest, or empty for the raw data.
    since
        When the copy was staged, or the result recorded.
    """

    run_key: str
    version: int
    what: str
    since: datetime


def unarchived(engine: Engine, beamline: str, *, staged_in: str, archive: str) -> tuple[Unarchived, ...]:
    """Versions staged in a place whose raw data or results do not lie in ``archive``, the oldest first."""
    kept = CopyRow.__table__.alias("kept")
    staged = and_(CopyRow.beamline == beamline, CopyRow.place == staged_in, CopyRow.state == CopyState.PRESENT.value)
    raw_is_kept = exists().where(
        kept.c.beamline == CopyRow.beamline,
        kept.c.run_key == CopyRow.run_key,
        kept.c.version == CopyRow.version,
        kept.c.place == archive,
        kept.c.state == CopyState.PRESENT.value,
    )
    result_is_kept = exists().where(
        MemberRow.place == archive,
        MemberRow.sha256 == func.replace(ResultRow.result_digest, "sha256:", ""),
        BundleRow.place == MemberRow.place,
        BundleRow.name == MemberRow.bundle,
        BundleRow.evidence.in_([evidence.value for evidence in Evidence if evidence.counts]),
    )
    anew = ResultRow.__table__.alias("anew")
    made_anew = exists().where(
        anew.c.beamline == ResultRow.beamline,
        anew.c.run_key == ResultRow.run_key,
        anew.c.version == ResultRow.version,
        anew.c.path == ResultRow.path,
        tuple_(anew.c.recorded_at, anew.c.id) > tuple_(ResultRow.recorded_at, ResultRow.id),
    )
    of_result = and_(
        ResultRow.beamline == CopyRow.beamline,
        ResultRow.run_key == CopyRow.run_key,
        ResultRow.version == CopyRow.version,
        ~made_anew,  # under its very name: the file before is no more
    )
    query = union_all(
        select(CopyRow.run_key, CopyRow.version, literal("").label("result_digest"), CopyRow.recorded_at).where(
            staged, ~raw_is_kept
        ),
        select(CopyRow.run_key, CopyRow.version, ResultRow.result_digest, ResultRow.recorded_at)
        .join(ResultRow, of_result)
        .where(staged, ~result_is_kept),
    ).order_by("recorded_at")
    with reading(engine) as session:
        return tuple(Unarchived(*row) for row in session.execute(query))


def uncopied(
    engine: Engine, beamline: str, *, staged_in: str, place: str, between: tuple[datetime, datetime]
) -> tuple[tuple[str, int], ...]:
    """Newest versions of runs, staged in a time, that never had a copy in ``place``: run key and version."""
    other = CopyRow.__table__.alias("other")
    had = exists().where(
        other.c.beamline == CopyRow.beamline,
        other.c.run_key == CopyRow.run_key,
        other.c.version == CopyRow.version,
        other.c.place == place,
    )
    of_version = and_(
        VersionRow.beamline == CopyRow.beamline,
        VersionRow.run_key == CopyRow.run_key,
        VersionRow.version == CopyRow.version,
    )
    query = (
        select(CopyRow.run_key, CopyRow.version)
        .join(VersionRow, of_version)
        .where(
            CopyRow.beamline == beamline,
            CopyRow.place == staged_in,
            CopyRow.state == CopyState.PRESENT.value,
            CopyRow.recorded_at.between(*between),
            ~had,
            ~_superseded(),
        )
        .order_by(CopyRow.recorded_at, CopyRow.id)
    )
    with reading(engine) as session:
        return tuple((run_key, version) for run_key, version in session.execute(query))


def unreturned(
    engine: Engine, beamline: str, *, step: str, between: tuple[datetime, datetime]
) -> tuple[tuple[str, str, int], ...]:
    """Results of newest versions, recorded in a time, that have not gone back since: analysis key, run key, version.

    Parameters
    ----------
    step
        Whose end in the run's timeline says that a result went back.
    """
    went_back = exists().where(
        EventRow.beamline == ResultRow.beamline,
        EventRow.run_key == ResultRow.run_key,
        EventRow.step == step,
        EventRow.what == "done",
        EventRow.detail["partition"].as_string() == ResultRow.analysis_key,
        EventRow.at >= ResultRow.recorded_at,
    )
    anew = ResultRow.__table__.alias("anew")
    made_anew = exists().where(
        anew.c.beamline == ResultRow.beamline,
        anew.c.run_key == ResultRow.run_key,
        anew.c.version == ResultRow.version,
        anew.c.analysis_key == ResultRow.analysis_key,
        tuple_(anew.c.recorded_at, anew.c.id) > tuple_(ResultRow.recorded_at, ResultRow.id),
    )
    of_version = and_(
        VersionRow.beamline == ResultRow.beamline,
        VersionRow.run_key == ResultRow.run_key,
        VersionRow.version == ResultRow.version,
    )
    query = (
        select(ResultRow.analysis_key, ResultRow.run_key, ResultRow.version)
        .join(VersionRow, of_version)
        .where(
            ResultRow.beamline == beamline,
            ResultRow.recorded_at.between(*between),
            ~made_anew,
            ~went_back,
            ~_superseded(),
        )
        .order_by(ResultRow.recorded_at, ResultRow.id)
    )
    with reading(engine) as session:
        return tuple((row[0], row[1], row[2]) for row in session.execute(query))


def _superseded() -> ColumnElement[bool]:
    """Whether another version of a run was taken after the one of the query."""
    later = VersionRow.__table__.alias("later")
    return exists().where(
        later.c.beamline == VersionRow.beamline,
        later.c.run_key == VersionRow.run_key,
        # By the index of runs: that of times would go through all that were taken since.
        func.coalesce(later.c.taken_at, later.c.taken_at) > VersionRow.taken_at,
    )
