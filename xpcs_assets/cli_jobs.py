"""``xpcs-assets jobs``: the analyses that run at back ends, what they wrote, and ending them."""

from __future__ import annotations

import getpass
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpcs_assets.cli_shared import (
    BeamlineArgument,
    HomeOption,
    JsonOption,
    columns,
    err,
    open_beamline,
    out,
    plain,
)
from xpcs_assets.errors import NotFoundError, RefusedError

if TYPE_CHECKING:
    from xpcs_assets.beamline import OpenBeamline
    from xpcs_assets.copies.ledger import BookedJob


def jobs(
    beamline: BeamlineArgument,
    log: Annotated[str, typer.Option(metavar="RUN", help="What the newest job of this run wrote, its end.")] = "",
    cancel: Annotated[str, typer.Option(metavar="RUN", help="End the jobs of this run (or analysis key).")] = "",
    every: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    limit: Annotated[int, typer.Option(help="Newest jobs to show.")] = 50,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Analyses at back ends: where each job is, its id there, and why it is no further."""
    opened = open_beamline(home, beamline)
    if log:
        _log(opened, log)
    elif cancel:
        _cancel(opened, cancel)
    else:
        _list(opened, every=every, limit=limit, as_json=as_json)


def _list(opened: OpenBeamline, *, every: bool, limit: int, as_json: bool) -> None:
    from xpcs_assets.copies.job_book import OPEN
    from xpcs_assets.copies.ledger import JobState

    states = tuple(JobState) if every else (*OPEN, JobState.PARKED)
    found = opened.ledger.jobs(opened.name, states=states, limit=limit)
    if as_json:
        out.print_json(json.dumps([_as_json(job) for job in found]))
        return
    if not found:
        out.print(f"no job of {opened.name} is under way")
        return
    rows = [("run", "state", "back end", "id", "attempt", "since", "why")]
    rows += [
        (
            job.analysis_key,
            job.state.value,
            job.backend,
            job.backend_id or "-",
            str(job.attempt),
            f"{job.changed_at:%Y-%m-%d %H:%M:%S}",
            plain(job.reason),
        )
        for job in found
    ]
    columns(rows)


def _as_json(job: BookedJob) -> dict[str, Any]:
    return {
        "run_key": job.analysis_key,
        "version": job.version,
        "task": job.task,
        "name": job.name,
        "state": job.state.value,
        "reason": job.reason,
        "backend": job.backend,
        "id": job.backend_id,
        "attempt": job.attempt,
        "rung": job.rung,
        "made_at": job.made_at.isoformat(),
        "changed_at": job.changed_at.isoformat(),
    }


def _log(opened: OpenBeamline, key: str) -> None:
    from xpcs_assets.compute.remote import Remote

    job = _jobs_of(opened, key)[0]
    err.print(plain(f"{job.name} at {job.backend}, id {job.backend_id or '-'}: {job.state.value}"), style="dim")
    for line in Remote.of(opened).logs(job).splitlines():
        out.print(plain(line))


def _cancel(opened: OpenBeamline, key: str) -> None:
    """End what is under way for a key; it is failed then, until a person has it made again."""
    from xpcs_assets.compute.remote import Remote
    from xpcs_assets.copies.ledger import JobState
    from xpcs_assets.runs.key import split_analysis_key

    live = [job for job in _jobs_of(opened, key) if job.is_open and job.state is not JobState.ENDED]
    if not live:
        raise RefusedError(
            "no job of it can be ended: all are over",
            where=f"{opened.name}/{key}",
            remedy=f"`xpcs-assets jobs {opened.name} --all` tells how",
        )
    remote, why = Remote.of(opened), f"cancelled by {getpass.getuser()}"
    for job in live:
        now = remote.cancel(job, why)
        out.print(plain(f"{now.name} at {now.backend}: {now.state.value}"))
        told = f"failed: job {now.name} was {why}"
        opened.ledger.note(opened.name, split_analysis_key(key)[0], remote.work.step, told, {"partition": key})


def _jobs_of(opened: OpenBeamline, key: str) -> tuple[BookedJob, ...]:
    found = opened.ledger.jobs(opened.name, analysis_key=key)
    if not found:
        raise NotFoundError(
            "no job was ever made for it",
            where=f"{opened.name}/{key}",
            remedy=f"`xpcs-assets jobs {opened.name} --all` lists them",
        )
    return found
