"""Following jobs to their end and judging it: what a sensor does at each tick, in bounded time.

A job has succeeded when the worker's report and the result lie there, whatever its back end says of it, and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from xpcs_assets.compute.backend import Phase, Seen
from xpcs_assets.compute.remote import SILENT, Remote
from xpcs_assets.compute.remote_asking import FIRST_REST_S
from xpcs_assets.compute.remote_decide import End, Verdict, decide, worker_error
from xpcs_assets.copies.job_book import OPEN
from xpcs_assets.copies.ledger import BookedJob, JobState
from xpcs_assets.errors import ComputeError, NotFoundError, SettingsError, UnreachableError, XpcsAssetsError
from xpcs_assets.runs.key import split_analysis_key
from xpcs_assets.settings_compute import LOCAL

_SEEN_AGAIN_S = 1.0


def tick(remote: Remote, budget_s: float) -> list[BookedJob]:
    """Do what is due; the jobs of which a Dagster run is to take the result, tell the end, or do the work.

    Nothing is begun once ``budget_s`` is spent, and nothing handed over once it is spent twice: what is left has its
    turn in the next tick.
    """
    until_s = remote.asking.stopwatch() + budget_s
    due = _due(remote)
    for name in dict.fromkeys(job.backend for job in due if _is_followed(job)):
        if remote.asking.stopwatch() <= until_s:
            _follow(remote, name, [job for job in due if _is_followed(job) and job.backend == name])
    are_taken = True  # what none takes now, none of the others that wait is offered either
    for job in due:
        if remote.asking.stopwatch() <= until_s and job.backend != LOCAL:
            waits = job.state is JobState.INTENDED
            if are_taken or not waits:
                moved = _apart(remote, job, lambda job: _move_on(remote, job, until_s + budget_s))
                are_taken = are_taken and (moved or not waits)
    return [job for job in _due(remote) if _apart(remote, job, lambda job: _is_to_be_taken(remote, job))]


def _move_on(remote: Remote, job: BookedJob, until_s: float) -> bool:
    """Do what is next for a job; False for one that was offered and that none takes now."""
    if job.state is JobState.CANCELLING:
        remote.end(job)
    elif job.state is JobState.ENDED:
        _judge(remote, job)
    else:
        job = remote.submit(job, until_s=until_s)
        return job.state is not JobState.INTENDED or job.backend == LOCAL
    return True


def _is_to_be_taken(remote: Remote, job: BookedJob) -> bool:
    if job.state is JobState.ENDED:
        return remote.standing(job).report is not None
    return job.state is JobState.PARKED or job.backend == LOCAL


def not_believed(remote: Remote, job: BookedJob, error: XpcsAssetsError) -> None:
    """What a job left is not what it reported: it counts as lost."""
    _then(remote, job, _verdict(remote, job, End(is_lost=True), error), spoiled=True)


def _due(remote: Remote) -> Sequence[BookedJob]:
    ledger = remote.beamline.ledger
    return ledger.jobs(remote.beamline.name, states=(*OPEN, JobState.PARKED), due_at=ledger.clock())


def _is_followed(job: BookedJob) -> bool:
    return bool(job.backend_id) and job.state in (JobState.SUBMITTED, JobState.RUNNING, JobState.CANCELLING)


def _apart(remote: Remote, job: BookedJob, do: Callable[[BookedJob], object]) -> bool:
    """Do something about a job as it is now; one that cannot be looked at does not keep the others."""
    try:
        return bool(do(remote.beamline.ledger.job(job.name)))
    except (SettingsError, ComputeError, NotFoundError) as error:
        remote.note(job, str(error), wait_s=FIRST_REST_S)
        return False


def _follow(remote: Remote, name: str, jobs: Sequence[BookedJob]) -> None:
    """Ask a back end of all its jobs in one call."""
    try:
        if not remote.asking.is_polled_now(name):
            return
        with remote.asking.of(name) as backend:
            seen = backend.poll([job.backend_id for job in jobs])
    except SILENT as error:
        for job in jobs:
            remote.note(job, f"{name} does not answer: {error.what}")
        return
    for job in jobs:
        if job.backend_id in seen:
            _saw(remote, job, seen[job.backend_id])


def _saw(remote: Remote, job: BookedJob, seen: Seen) -> None:
    told = seen.reason or seen.phase.value
    if seen.phase is Phase.FORGOTTEN and remote.age_s(job) < remote.asking.settles_s(job.backend):
        return  # one that was handed over this moment may not be known everywhere yet
    if seen.phase in (Phase.ENDED, Phase.FORGOTTEN):
        if job.state is JobState.CANCELLING:
            remote.change(job, JobState.CANCELLED)
            return
        end = {
            "reason": seen.reason, "code": seen.code, "is_lost": seen.is_lost, "is_too_big": seen.is_too_big,
            "is_forgotten": seen.phase is Phase.FORGOTTEN,
        }  # fmt: skip
        remote.change(job, JobState.ENDED, reason=told, request={**job.request, "end": end})
    elif job.state is JobState.SUBMITTED and seen.phase is Phase.RUNNING:
        remote.change(job, JobState.RUNNING, reason=told)
    elif job.state is not JobState.CANCELLING:
        remote.note(job, told)


def _judge(remote: Remote, job: BookedJob) -> None:
    """Write down what follows a job that is over; nothing where its result is there to be taken."""
    run_key, _ = split_analysis_key(job.analysis_key)
    latest = remote.beamline.ledger.latest(remote.beamline.name, run_key)
    found = remote.standing(job)
    end = End(**job.request.get("end", {}))
    if latest is not None and latest.version != job.version:
        remote.change(job, JobState.CANCELLED, reason=f"version {latest.version} of the run was taken meanwhile")
    elif found.report is not None:
        return
    elif found.other:
        remote.change(job, JobState.PARKED, reason=found.other)
    elif why := remote.work.why_not_seen(job):
        remote.note(job, f"ended; its result cannot be looked for: {why}", wait_s=FIRST_REST_S)
    elif end.is_as_if_well and remote.age_s(job) < remote.asking.settings(job.backend).settle:
        remote.note(job, "ended; its result is not seen here yet", wait_s=_SEEN_AGAIN_S)
    else:
        _without_result(remote, job, end)


def _without_result(remote: Remote, job: BookedJob, end: End) -> None:
    try:
        error = worker_error(remote.logs(job))
    except UnreachableError as unreachable:
        remote.note(job, f"ended; what it wrote cannot be read: {unreachable.what}", wait_s=FIRST_REST_S)
    else:
        _then(remote, job, _verdict(remote, job, end, error))


def _verdict(remote: Remote, job: BookedJob, end: End, error: XpcsAssetsError | None) -> Verdict:
    there_are = remote.work.rungs(job, remote.asking.settings(job.backend))
    tries = int(job.request["tries"])
    return decide(end, error, rung=job.rung, rungs=there_are, tries=tries, with_more=remote.work.with_more)


def _then(remote: Remote, job: BookedJob, verdict: Verdict, *, spoiled: bool = False) -> None:
    if verdict.rung is None:
        request = {**job.request, "is_too_big": verdict.is_too_big}
        key = remote.work.instead(replace(job, request=request))
        told = f"{verdict.reason}. Its multi-tau alone is asked for as {key}" if key else verdict.reason
        remote.change(job, JobState.PARKED, reason=told, request=request)
        return
    request = {name: job.request[name] for name in ("call", "config")}
    remote.beamline.ledger.try_again(
        job,
        verdict.reason,
        rung=verdict.rung,
        request=request | {"tries": verdict.tries, "because": verdict.reason, "spoiled": spoiled},
        wait_s=verdict.wait_s,
    )
