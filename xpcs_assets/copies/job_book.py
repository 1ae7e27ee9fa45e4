"""The book of jobs: what was asked of back ends, written down before it is asked, so that no job is lost or run twice.

A job is found again by its name, which follows from what it is for: a process that died between any two steps leaves a
row from which the next one goes on. Only one process hands a job over: :meth:`JobBook.claim_job`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from xpcs_assets.copies.book import Book, value_of
from xpcs_assets.copies.database import reading, writing
from xpcs_assets.copies.keeping import keep
from xpcs_assets.copies.tables import LedgerRow
from xpcs_assets.copies.work_tables import JobRow
from xpcs_assets.errors import NotFoundError

NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""When a job is next looked at that nobody has to look at again."""
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_READABLE = 36  # with the digest and what is between, 62: a name in Kubernetes has 63 at most
_DIGITS = 20


class JobState(StrEnum):
    """How far a job is."""

    INTENDED = "intended"
    """It is to be handed over; nothing was."""
    SUBMITTED = "submitted"
    """It was handed over; without an id the back end's answer is not known yet."""
    RUNNING = "running"
    ENDED = "ended"
    """Its back end says that it is over; its result is looked for, or waits to be taken."""
    CANCELLING = "cancelling"
    """It is to be ended."""
    DONE = "done"
    """Its result was verified and recorded."""
    FAILED = "failed"
    """This attempt left no result; another has taken its place."""
    CANCELLED = "cancelled"
    PARKED = "parked"
    """It was given up: a person is asked."""


OPEN = (JobState.INTENDED, JobState.SUBMITTED, JobState.RUNNING, JobState.ENDED, JobState.CANCELLING)
AT_BACKEND = (JobState.SUBMITTED, JobState.RUNNING, JobState.CANCELLING)


@dataclass(frozen=True)
class BookedJob:
    """What is known of one attempt at a piece of work.

    Attributes
    ----------
    name
        Unique among all jobs of all sites; see :func:`job_name`.
    beamline, analysis_key, version, task
        What it is for: which version of which run, and which recipe (``correlation sha256:...``).
    backend, backend_id
        Where, by the name in the site file, and the id it has there; empty before there is one.
    attempt, rung
        How often this was tried, from 1, and how far down the ladder of smaller demands, from 0.
    state, reason
        How far it is, and the back end's word for it or why it ended so.
    request
        What the worker is to do, and what was learnt meanwhile; plain values.
    made_at, changed_at, next_at
        When it was written down, came into its state, and is next looked at.
    """

    name: str
    beamline: str
    analysis_key: str
    version: int
    task: str
    backend: str
    backend_id: str
    attempt: int
    rung: int
    state: JobState
    reason: str
    request: Mapping[str, Any]
    made_at: datetime
    changed_at: datetime
    next_at: datetime

    @property
    def is_open(self) -> bool:
        """Whether something is still to come of it."""
        return self.state in OPEN

    @property
    def is_to_be_told(self) -> bool:
        """Whether it was given up and nobody was told why."""
        return self.state is JobState.PARKED and self.next_at < NEVER


def job_name(site: str, beamline: str, analysis_key: str, version: int, task: str, attempt: int) -> str:
    """The name of an attempt: readable at its head, certain by the digest at its end; 62 characters at most.

    >>> job_name("0a1b", "xpcs", "A001", 1, "correlation sha256:00", 1)
    'xpcs-xpcs-a001-787dfc148d6477492422'
    """
    whole = "\0".join([site, beamline, analysis_key, str(version), task, str(attempt)])
    readable = _NOT_IN_NAMES.sub("-", f"{beamline}-{analysis_key}".lower())[:_READABLE].strip("-")
    return f"xpcs-{readable}-{hashlib.sha256(whole.encode()).hexdigest()[:_DIGITS]}"


def in_words(job: BookedJob) -> str:
    """What somebody who waits for a job is told of it."""
    told = job.reason or job.state.value
    waits = {
        JobState.INTENDED: f"to be handed over, next at {job.next_at:%H:%M:%S} UTC",
        JobState.ENDED: "ended",
        JobState.CANCELLING: "being cancelled",
    }
    state = waits.get(job.state, "")
    said = f"{state}: {told}" if state else told
    where = f" ({job.backend_id})" if job.backend_id else ""
    return f"job {job.name} on {job.backend}{where}: {said}, since {job.changed_at:%Y-%m-%d %H:%M:%S} UTC"


def made_by(job: BookedJob | None) -> dict[str, str | int]:
    """What a result says of the job that made it, if one did."""
    return {} if job is None else {"backend": job.backend, "job": job.name, "attempt": job.attempt}


class JobBook(Book):
    """What asking, submitting, following and taking results write."""

    def intend_job(
        self, beamline: str, analysis_key: str, version: int, task: str, *, backend: str, request: Mapping[str, Any]
    ) -> BookedJob:
        """Write down that a piece of work is wanted; what is under way for it already is given back instead."""
        with writing(self.engine) as session:
            last = session.scalar(
                select(JobRow)
                .where(
                    JobRow.beamline == beamline,
                    JobRow.analysis_key == analysis_key,
                    JobRow.version == version,
                    JobRow.task == task,
                )
                .order_by(JobRow.attempt.desc())
                .limit(1)
            )
            if last is not None and JobState(last.state) in OPEN:
                return _value(last)
            wanted = JobRow(
                beamline=beamline, analysis_key=analysis_key, version=version, task=task, backend=backend,
                attempt=1 if last is None else last.attempt + 1, rung=0, request=dict(request),
            )  # fmt: skip
            return _value(self._put(session, wanted, self.clock()))

    def try_again(
        self, job: BookedJob, reason: str, *, rung: int, request: Mapping[str, Any], wait_s: float
    ) -> BookedJob | None:
        """Close an attempt as failed and write down the next one, in one go; None when it is not as it was any more."""
        with writing(self.engine) as session:
            row = _unchanged(session, job)
            if row is None:
                return None
            now = self.clock()
            row.state, row.reason, row.changed_at, row.next_at = JobState.FAILED.value, reason, now, NEVER
            keep(session, row)
            following = JobRow(
                beamline=job.beamline, analysis_key=job.analysis_key, version=job.version, task=job.task,
                backend=job.backend, attempt=job.attempt + 1, rung=rung, request=dict(request),
            )  # fmt: skip
            return _value(self._put(session, following, now + timedelta(seconds=wait_s)))

    def _put(self, session: Session, row: JobRow, next_at: datetime) -> JobRow:
        identity = session.scalars(select(LedgerRow.identity)).one()
        row.name = job_name(identity, row.beamline, row.analysis_key, row.version, row.task, row.attempt)
        row.state, row.reason, row.backend_id = JobState.INTENDED.value, "", ""
        row.made_at = row.changed_at = self.clock()
        row.next_at = next_at
        session.add(row)
        keep(session, row)
        session.flush()
        return row

    def claim_job(self, job: BookedJob, backend: str) -> BookedJob | None:
        """Be the one who hands a job over to a back end, now; None when another was quicker, or it changed."""
        return self.change_job(job, JobState.SUBMITTED, backend=backend, backend_id="", reason="is being handed over")

    def change_job(
        self,
        job: BookedJob,
        state: JobState,
        *,
        reason: str | None = None,
        backend: str | None = None,
        backend_id: str | None = None,
        request: Mapping[str, Any] | None = None,
        wait_s: float = 0.0,
    ) -> BookedJob | None:
        """Bring a job into a state if it is as it was seen; what is None stays. None when another has changed it.

        Parameters
        ----------
        wait_s
            It is not looked at again before; a job that is closed never is, but a parked one, whose reason is shown.
        """
        wanted = {"reason": reason, "backend": backend, "backend_id": backend_id}
        with writing(self.engine) as session:
            row = _unchanged(session, job)
            if row is None:
                return None
            now = self.clock()
            for name, value in wanted.items():
                if value is not None:
                    setattr(row, name, value)
            if request is not None:
                row.request = dict(request)
            row.state, row.changed_at = state.value, max(now, row.changed_at + timedelta(microseconds=1))
            row.next_at = now + timedelta(seconds=wait_s) if state in (*OPEN, JobState.PARKED) else NEVER
            keep(session, row)
            session.flush()
            return _value(row)

    def note_job(
        self, job: BookedJob, reason: str, *, request: Mapping[str, Any] | None = None, next_at: datetime | None = None
    ) -> None:
        """Note what a back end says of a job that stays in its state; the same again writes nothing.

        It is news and no fact: the journal is not told, and a job that has changed meanwhile is left alone.
        """
        if (reason, request or job.request, next_at or job.next_at) == (job.reason, job.request, job.next_at):
            return
        with writing(self.engine) as session:
            row = _unchanged(session, job)
            if row is not None:
                row.reason, row.next_at = reason, next_at or row.next_at
                row.request = dict(request or row.request)

    def job(self, name: str) -> BookedJob:
        """One job.

        Raises
        ------
        NotFoundError
            No such job.
        """
        with reading(self.engine) as session:
            row = session.get(JobRow, name)
            if row is None:
                raise NotFoundError("no such job", where=name, remedy="`xpcs-assets jobs BEAMLINE` lists them")
            return _value(row)

    def jobs(
        self,
        beamline: str,
        *,
        analysis_key: str | None = None,
        version: int | None = None,
        states: Sequence[JobState] = tuple(JobState),
        due_at: datetime | None = None,
        limit: int | None = None,
    ) -> tuple[BookedJob, ...]:
        """Jobs in any of ``states``, the last written down first; with ``due_at`` those to be looked at by then."""
        query = select(JobRow).where(JobRow.beamline == beamline, JobRow.state.in_([state.value for state in states]))
        if analysis_key is not None:
            query = query.where(JobRow.analysis_key == analysis_key)
        if version is not None:
            query = query.where(JobRow.version == version)
        if due_at is not None:
            query = query.where(JobRow.next_at <= due_at)
        query = query.order_by(JobRow.made_at.desc(), JobRow.attempt.desc(), JobRow.name).limit(limit)
        with reading(self.engine) as session:
            return tuple(_value(row) for row in session.scalars(query))

    def jobs_at(self, backend: str, beamlines: Sequence[str]) -> int:
        """How many jobs of some beamlines a back end has now."""
        query = select(func.count()).where(
            JobRow.beamline.in_(beamlines),
            JobRow.state.in_([state.value for state in AT_BACKEND]),
            JobRow.backend == backend,
        )
        with reading(self.engine) as session:
            return session.scalar(query) or 0


def _unchanged(session: Session, job: BookedJob) -> JobRow | None:
    row = session.get(JobRow, job.name)
    return row if row is not None and (row.state, row.changed_at) == (job.state.value, job.changed_at) else None


def _value(row: JobRow) -> BookedJob:
    return value_of(BookedJob, row, state=JobState, request=dict)
