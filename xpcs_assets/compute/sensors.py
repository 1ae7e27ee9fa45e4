"""Dagster binding of analyses at back ends: the sensor that follows them, and has their results taken.

It asks the book of jobs, and a back end only when something is under way there, in bounded time. What it asks for again
and again is asked for less often each time.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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

from xpcs_assets.compute.remote import Remote
from xpcs_assets.compute.remote_follow import tick
from xpcs_assets.copies.ledger import BookedJob, JobState
from xpcs_assets.orchestrate.adapter import BEAMLINE_TAG, JOB_TAG, PRIORITY_TAG, partition_in_progress
from xpcs_assets.orchestrate.bindings import Bound
from xpcs_assets.settings_compute import Deployment

REQUESTS_PER_TICK = 20
# A tick may take a minute. What it begins last takes a few calls more.
BUDGET_S = 10.0
FIRST_PAUSE = timedelta(minutes=10)
LONGEST_PAUSE = timedelta(hours=6)


@dataclass(frozen=True)
class Taking:
    """The Dagster runs that take what jobs made.

    Attributes
    ----------
    bound
        Whose they are.
    assets
        What each of them is to make, the analysis first.
    """

    bound: Bound
    assets: tuple[str, ...]

    def request(self, key: str, run_key: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> RunRequest:
        """A run for a partition, with the run config of the analysis."""
        settings = self.bound.beamline.settings
        return RunRequest(
            partition_key=key,
            run_key=run_key,
            asset_selection=[self.bound.key(asset) for asset in self.assets],
            run_config={"ops": {f"{settings.dagster_name}__{self.assets[0]}": {"config": dict(config)}}}
            if config
            else None,
            tags={BEAMLINE_TAG: self.bound.beamline.name, PRIORITY_TAG: str(settings.queue.priority), **tags},
        )

    def of(self, job: BookedJob) -> RunRequest:
        """The run about a job that is over; it is asked for again after a while."""
        beamline = self.bound.beamline
        asked = int(job.request.get("asked", 0))
        pause = min(FIRST_PAUSE * 2 ** min(asked, 8), LONGEST_PAUSE)
        beamline.ledger.note_job(
            job, job.reason, request={**job.request, "asked": asked + 1}, next_at=beamline.ledger.clock() + pause
        )
        run_key = f"{beamline.name}:{job.name}:{job.state}:{asked}"
        return self.request(job.analysis_key, run_key, job.request["config"], {JOB_TAG: job.name})


def build_analyses(
    taking: Taking,
    deployment: Deployment,
    ingest_job: str,
    also: Callable[[BookedJob], Iterable[RunRequest]] = lambda _: (),
) -> list[SensorDefinition]:
    """The sensor of a beamline's analyses; none where all of them run on this machine.

    Parameters
    ----------
    also
        What else is asked for about a job that is over.
    """
    if not deployment.remote:
        return []
    bound = taking.bound
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
        requests = [request for job in over[:REQUESTS_PER_TICK] for request in (taking.of(job), *also(job))]
        keys = sorted({str(request.partition_key) for request in requests})
        return SensorResult(
            run_requests=requests, dynamic_partitions_requests=[bound.partitions.build_add_request(keys)]
        )

    return [analyses]


def _has_turn(bound: Bound, instance: DagsterInstance, job: BookedJob) -> bool:
    """What a Dagster run of this machine works at is left to it while there is one."""
    is_at_work = job.state is JobState.RUNNING
    return not (is_at_work and partition_in_progress(instance, bound.beamline.name, job.analysis_key))
