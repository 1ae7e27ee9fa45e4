"""Dagster bindings of step 9: the sensors that ask for scrubs and audits, and the one that finds missed runs.

Each asks for one run at a time, after everything that makes data. Which hour or day it is names the request, so that
asking twice, or after Dagster has forgotten, does no harm.
"""

from datetime import datetime, timedelta

from dagster import (
    DefaultSensorStatus,
    JobDefinition,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from xpcs_assets.audit.assets import report_checks
from xpcs_assets.copies.ledger import JobState
from xpcs_assets.orchestrate.adapter import (
    BEAMLINE_TAG,
    PRIORITY_TAG,
    failed_steps,
    partition_in_progress,
    runs_in_progress,
    was_requested,
)
from xpcs_assets.orchestrate.bindings import Bound

SCRUB_EVERY_S = 3600.0
REQUESTS_PER_TICK = 10
# Looking after copies comes after everything that makes or removes them.
LATER = 30
# The ledger's clock may be its server's, and Dagster's is this machine's.
SKEW = timedelta(minutes=10)
_EPOCH = "1970-01-01T00:00:00+00:00"


def build(bound: Bound, scrub_job: JobDefinition, audit_job: JobDefinition, ingest: str) -> list[SensorDefinition]:
    """The sensors of one beamline that look after its copies and runs."""
    every_s = bound.beamline.settings.audit.every
    return [
        regular(bound, scrub_job.name, SCRUB_EVERY_S, "Copies are read again, a share of all at a time"),
        regular(bound, audit_job.name, every_s, "Places, ledger, archive and catalog are compared"),
        _reconcile(bound, ingest),
    ]


def regular(bound: Bound, job_name: str, every_s: float, description: str) -> SensorDefinition:
    """A sensor that asks for a job once in each ``every_s``, after everything that makes or removes data."""

    @sensor(
        name=f"{job_name}_due",
        job_name=job_name,
        minimum_interval_seconds=60,
        default_status=DefaultSensorStatus.RUNNING,
        description=description,
    )
    def due(context: SensorEvaluationContext) -> RunRequest | SkipReason:
        if runs_in_progress(context.instance, job_name):
            return SkipReason("one is under way")
        number = int(bound.beamline.ledger.clock().timestamp() // every_s)
        run_key = f"{job_name}:{number}"
        if was_requested(context.instance, run_key):
            return SkipReason("the next one is not due yet")
        priority = bound.beamline.settings.queue.priority - LATER
        return RunRequest(run_key, tags={BEAMLINE_TAG: bound.beamline.name, PRIORITY_TAG: str(priority)})

    return due


def _reconcile(bound: Bound, ingest: str) -> SensorDefinition:
    name = bound.beamline.name

    @sensor(
        name=f"{bound.beamline.settings.dagster_name}_reconcile",
        job_name=ingest,
        minimum_interval_seconds=60,
        default_status=DefaultSensorStatus.RUNNING,
        description="Missed runs, results without a catalog record, failures that the ledger was not told of; checks",
    )
    def reconcile(context: SensorEvaluationContext) -> SensorResult:
        from xpcs_assets.audit.reconcile import to_ask_for
        from xpcs_assets.audit.unnoted import RECENT, note_failures

        now = bound.beamline.ledger.clock()
        since = datetime.fromisoformat(context.cursor or _EPOCH)
        report_checks(bound, context.instance, since)
        note_failures(bound.beamline, failed_steps(context.instance, name, max(since - SKEW, now - RECENT)))
        missed = to_ask_for(
            bound.beamline,
            REQUESTS_PER_TICK,
            lambda key: partition_in_progress(context.instance, name, key) or _is_with_a_job(bound, key),
        )
        for item in missed:
            context.log.warning("%s: %s", item.key, item.reason)
        queue = bound.beamline.settings.queue
        requests = [
            RunRequest(
                partition_key=item.key,
                run_key=_new_run_key(context, f"{name}:reconcile:{item.name}"),
                asset_selection=[bound.key(step) for step in _steps(bound, item.steps)] or None,
                tags={BEAMLINE_TAG: name, PRIORITY_TAG: str(queue.priority)},
            )
            for item in missed
        ]
        keys = [item.key for item in missed]
        return SensorResult(
            run_requests=requests,
            dynamic_partitions_requests=[bound.partitions.build_add_request(keys)] if keys else [],
            cursor=now.isoformat(),
        )

    return reconcile


def _is_with_a_job(bound: Bound, key: str) -> bool:
    """Whether a job at a back end has a run's analysis, or a person has it who cancelled the job or was told of it."""
    beamline = bound.beamline
    latest = beamline.ledger.latest(beamline.name, key)
    version = latest.version if latest is not None else 0
    newest = beamline.ledger.jobs(beamline.name, analysis_key=key, version=version, limit=1)
    return any(job.state is not JobState.DONE for job in newest)


def _steps(bound: Bound, steps: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the steps that the beamline has."""
    pipeline = bound.beamline.settings.pipeline
    lacking = set() if pipeline.return_results is not None else {"returned_results"}
    if pipeline.correlate is None:
        lacking |= {"correlation", "plots", "result_entry"}
    if pipeline.process is None:
        lacking.add("processed")
    return tuple(step for step in steps if step not in lacking)


def _new_run_key(context: SensorEvaluationContext, wanted: str) -> str:
    """A run key that no run has yet: a ledger of yesterday counts too low, and Dagster would drop the request."""
    run_key, number = wanted, 1
    while was_requested(context.instance, run_key):
        number += 1
        run_key = f"{wanted}.{number}"
    return run_key
