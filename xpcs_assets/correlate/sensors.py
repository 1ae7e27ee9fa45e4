"""Dagster binding of step 3: the sensor that follows analyses on back ends, and has their results taken.

It asks the book of jobs, and a back end only when something is under way there, in bounded time. What it asks for again
and again is asked for less often each time.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from dagster import (
    DagsterInstance,
    DefaultSensorStatus,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from xpcs_assets.compute.analyse import correlate_settings
from xpcs_assets.compute.remote import Remote
from xpcs_assets.compute.remote_follow import tick, without_twotime
from xpcs_assets.compute.remote_job import call_of
from xpcs_assets.copies.ledger import BookedJob, JobState
from xpcs_assets.correlate.assets import JOB_TAG, settings_config
from xpcs_assets.orchestrate.adapter import BEAMLINE_TAG, PRIORITY_TAG, partition_in_progress
from xpcs_assets.orchestrate.bindings import Bound

REQUESTS_PER_TICK = 20
# A tick may take a minute. What it begins last takes a few calls more.
BUDGET_S = 10.0
FIRST_PAUSE = timedelta(minutes=10)
LONGEST_PAUSE = timedelta(hours=6)


def build(bound: Bound, ingest_job: str) -> list[SensorDefinition]:
    """The sensor of a beamline's analyses; none where all of them run on this machine."""
    if not correlate_settings(bound.beamline).remote:
        return []
    remotes: list[Remote] = []  # one a code server: it remembers which back ends do not answer

    @sensor(
        name=f"{bound.beamline.settings.dagster_name}_analyses",
        job_name=ingest_job,
        minimum_interval_seconds=5,
        default_status=DefaultSensorStatus.RUNNING,
        description="Analyses on back ends: hands them over, asks how they are, has results taken and failures told",
    )
    def analyses(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        if not remotes:
            remotes.append(Remote.of(bound.beamline))
        over = [job for job in tick(remotes[0], BUDGET_S) if _has_turn(bound, context.instance, job)]
        if not over:
            return SkipReason("no analysis is over")
        requests = [request for job in over[:REQUESTS_PER_TICK] for request in _requests(bound, job)]
        keys = sorted({str(request.partition_key) for request in requests})
        return SensorResult(
            run_requests=requests, dynamic_partitions_requests=[bound.partitions.build_add_request(keys)]
        )

    return [analyses]


def _has_turn(bound: Bound, instance: DagsterInstance, job: BookedJob) -> bool:
    """What a Dagster run of this machine works at is left to it while there is one."""
    is_at_work = job.state is JobState.RUNNING
    return not (is_at_work and partition_in_progress(instance, bound.beamline.name, job.analysis_key))


def _requests(bound: Bound, job: BookedJob) -> Iterator[RunRequest]:
    """What is asked for about a job that is over: its own run, and its multi-tau alone where the whole was too big."""
    beamline = bound.beamline
    asked = int(job.request.get("asked", 0))
    pause = min(FIRST_PAUSE * 2 ** min(asked, 8), LONGEST_PAUSE)
    beamline.ledger.note_job(
        job, job.reason, request={**job.request, "asked": asked + 1}, next_at=beamline.ledger.clock() + pause
    )
    run_key = f"{beamline.name}:{job.name}:{job.state}:{asked}"
    yield _request(bound, job.analysis_key, run_key, job.request["config"], {JOB_TAG: job.name})
    if key := without_twotime(job):
        config = settings_config(call_of(job).settings) | {"analysis_type": "multitau"}
        config["qmap"] = job.request["config"].get("qmap", "")
        yield _request(bound, key, f"{beamline.name}:{job.name}:without-twotime", config, {})


def _request(bound: Bound, key: str, run_key: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> RunRequest:
    settings = bound.beamline.settings
    back = ("returned_results",) if settings.pipeline.return_results is not None else ()
    return RunRequest(
        partition_key=key,
        run_key=run_key,
        asset_selection=[bound.key(asset) for asset in ("correlation", "plots", "result_entry", *back)],
        run_config={"ops": {f"{settings.dagster_name}__correlation": {"config": dict(config)}}} if config else None,
        tags={BEAMLINE_TAG: bound.beamline.name, PRIORITY_TAG: str(settings.queue.priority), **tags},
    )
