"""What an analysis' asset does where analyses run elsewhere: take a result that is there, or ask for one and end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from xpcs_assets.compute.remote import Remote
from xpcs_assets.compute.remote_follow import not_believed
from xpcs_assets.compute.remote_work import Wanted
from xpcs_assets.copies.job_book import NEVER, OPEN
from xpcs_assets.copies.ledger import BookedJob, JobState
from xpcs_assets.errors import ComputeError, ResultError, UnreachableError, XpcsAssetsError
from xpcs_assets.settings_compute import LOCAL

Made = TypeVar("Made")
_SHOWN = 4000
_PROGRESS = '{"progress":'


def take(
    remote: Remote,
    wanted: Wanted[Made],
    log: Callable[[str], None],
    *,
    config: dict[str, Any] | None = None,
    about: str = "",
) -> tuple[Made | None, BookedJob | None]:
    """The recorded result of an analysis, or the job that it waits for; with a result, the job that made it, if any.

    Parameters
    ----------
    config
        The run config of the asset, for the Dagster run that takes the result.
    about
        The job whose end this is about: its failure is told, and no other is begun in its place.

    Raises
    ------
    ComputeError
        It was given up or cancelled; the message says why.
    XpcsAssetsError
        An input is missing or damaged.
    """
    _supersede(remote, wanted)
    job = _job_of(remote, wanted, about)
    done, spoiled = _standing(remote, wanted, job, log)
    if done is not None:
        return done, job
    # What was not believed may have been parked, or another attempt may have taken its place.
    job = _job_of(remote, wanted, about) or remote.ask(wanted, config or {}, spoiled=spoiled)
    with _cancelled_with_its_run(remote, job):
        if job.backend != LOCAL and job.next_at <= remote.after(0):
            job = remote.submit(job)
        if job.backend == LOCAL and job.state in (JobState.INTENDED, JobState.RUNNING):
            return _here(remote, wanted, job, log), job
    if not job.is_open:
        raise _given_up(remote, job, log)
    return None, job


def _job_of(remote: Remote, wanted: Wanted[Any], about: str) -> BookedJob | None:
    """The newest job of an analysis, if something is to come of it yet or this is about it."""
    job = remote.newest(wanted)
    return job if job is not None and (job.is_open or job.name == about) else None


def _supersede(remote: Remote, wanted: Wanted[Any]) -> None:
    """End what is under way under this key for another recipe, or another version of the run."""
    for job in remote.beamline.ledger.jobs(remote.beamline.name, analysis_key=wanted.key, states=OPEN):
        if not remote.is_of(job, wanted):
            _end(remote, job, "another recipe or version of the run is asked for under this key")


def drop_jobs(remote: Remote, key: str, why: str) -> None:
    """End all that is under way under a key; of what was given up nobody is told any more."""
    for job in remote.beamline.ledger.jobs(remote.beamline.name, analysis_key=key):
        if job.is_open:
            _end(remote, job, why)
        elif job.is_to_be_told:
            remote.beamline.ledger.note_job(job, job.reason, next_at=NEVER)


def _end(remote: Remote, job: BookedJob, why: str) -> None:
    if job.state is JobState.ENDED:
        remote.change(job, JobState.CANCELLED, reason=why)
    else:
        remote.cancel(job, why)


@contextmanager
def _cancelled_with_its_run(remote: Remote, job: BookedJob) -> Iterator[None]:
    """A job that a Dagster run is about to hand over, or does itself, is cancelled with it."""
    try:
        yield
    except XpcsAssetsError:
        raise
    except BaseException:
        remote.cancel(job, "the Dagster run that was at it was ended")
        raise


def _standing(
    remote: Remote, wanted: Wanted[Made], job: BookedJob | None, log: Callable[[str], None]
) -> tuple[Made | None, bool]:
    """The result that lies there, recorded; None when there is none, and whether what lies there is not believed."""
    found = wanted.standing()
    if found.report is None:
        return None, False
    try:
        done = wanted.record({**found.report, "reused": job is None})
    except (ComputeError, ResultError) as error:
        log(f"what lies there is not believed: {error}")
        if job is not None and job.state is JobState.ENDED:
            not_believed(remote, job, error)
        return None, True
    if job is not None:
        _close(remote, job, log)
    return done, False


def _close(remote: Remote, job: BookedJob, log: Callable[[str], None]) -> None:
    log(f"made by job {job.name} at {job.backend} (attempt {job.attempt}): {job.reason or job.state}")
    _tell_output(remote, job, log)
    if job.state in (JobState.SUBMITTED, JobState.RUNNING):
        remote.cancel(job, "its result is there already")
    elif job.state is not JobState.CANCELLING:
        remote.change(job, JobState.DONE, reason="its result was verified and recorded")


def _here(remote: Remote, wanted: Wanted[Made], job: BookedJob, log: Callable[[str], None]) -> Made:
    job = remote.change(job, JobState.RUNNING, reason="runs on this machine")
    try:
        done = wanted.make(log)
    except XpcsAssetsError as error:
        job = remote.change(job, JobState.PARKED, reason=str(error))
        remote.beamline.ledger.note_job(job, job.reason, next_at=NEVER)
        raise
    remote.change(job, JobState.DONE, reason="its result was verified and recorded")
    return done


def _given_up(remote: Remote, job: BookedJob, log: Callable[[str], None]) -> ComputeError:
    _tell_output(remote, job, log)
    remote.beamline.ledger.note_job(job, job.reason, next_at=NEVER)
    how = f"given up after {job.attempt} attempts" if job.state is JobState.PARKED else f"it was {job.state}"
    return ComputeError(
        f"{how}: {job.reason}",
        where=f"job {job.name} at {job.backend}",
        remedy=f"Mend the cause, then materialise {remote.work.step} again",
    )


def _tell_output(remote: Remote, job: BookedJob, log: Callable[[str], None]) -> None:
    with suppress(UnreachableError):
        for line in remote.logs(job)[-_SHOWN:].splitlines():
            if not line.startswith(_PROGRESS):
                log(line)
