"""Dagster binding of step 7: the sensor that asks for an archive run once a run's ingest has ended, well or not."""

from dagster import (
    DefaultSensorStatus,
    JobDefinition,
    RunConfig,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from xpcs_assets.archive.assets import WhichRuns
from xpcs_assets.archive.pending import to_archive, to_gather
from xpcs_assets.orchestrate.adapter import BEAMLINE_TAG, PRIORITY_TAG, runs_in_progress, runs_so_far
from xpcs_assets.orchestrate.bindings import Bound

RUNS_TOGETHER = 20
# Archiving waits for the scientists: its runs come after those that make g2.
LATER = 10


def build(bound: Bound, archive_job: JobDefinition, ingest_job: str) -> list[SensorDefinition]:
    """The archive sensor of one beamline."""

    @sensor(
        name=f"{bound.beamline.settings.dagster_name}_to_archive",
        job=archive_job,
        minimum_interval_seconds=10,
        default_status=DefaultSensorStatus.RUNNING,
        description="Runs whose staged copy or results are not archived yet, once nothing works on them",
    )
    def to_be_archived(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        if runs_in_progress(context.instance, archive_job.name):
            return SkipReason("an archive run is under way")

        def is_idle(run_key: str) -> bool:
            return not runs_in_progress(context.instance, ingest_job, run_key)

        together = to_gather(bound.beamline, is_idle)
        waiting = to_archive(bound.beamline, limit=5 * RUNS_TOGETHER)
        idle = [key for key in waiting if is_idle(key)]
        if not idle and not together:
            return SkipReason(f"{len(waiting)} runs wait for the end of their ingest" if waiting else "all archived")
        number = runs_so_far(context.instance, archive_job.name)
        which = WhichRuns(run_keys=idle[:RUNS_TOGETHER], together=together)
        return SensorResult(run_requests=[_request(bound, which, number)])

    return [to_be_archived]


def _request(bound: Bound, which: WhichRuns, number: int) -> RunRequest:
    priority = bound.beamline.settings.queue.priority - LATER
    return RunRequest(
        run_key=f"{bound.beamline.name}:archive:{number}",
        run_config=RunConfig(ops={f"{bound.beamline.settings.dagster_name}_archive_runs": which}),
        tags={BEAMLINE_TAG: bound.beamline.name, PRIORITY_TAG: str(priority)},
    )
