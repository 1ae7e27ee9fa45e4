"""Dagster binding of step 1: the sensor that watches a beamline's folder and asks for an ingest run per arrival."""

import time
from dataclasses import replace

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

from xpcs_assets.arrive.source import source_of
from xpcs_assets.arrive.watch import ASKED_AFTER_FAILURE, Ready, Watch
from xpcs_assets.orchestrate.adapter import BEAMLINE_TAG, PRIORITY_TAG, runs_of_partition, was_requested
from xpcs_assets.orchestrate.bindings import Bound

REQUESTS_PER_TICK = 20
# The daemon looks at a sensor every 5 s at best. A tick that stays and looks again sees a run sooner.
STAY_S = 3.5
LOOK_EVERY_S = 0.5


def build(bound: Bound, job_name: str) -> list[SensorDefinition]:
    """The arrival sensor of one beamline."""
    watches: list[Watch] = []  # one a code server; made at the first tick, not when definitions are loaded

    @sensor(
        name=f"{bound.beamline.settings.dagster_name}_arrivals",
        job_name=job_name,
        minimum_interval_seconds=1,
        default_status=DefaultSensorStatus.RUNNING,
        description=f"Runs that are complete in {source_of(bound.beamline).where}",
    )
    def arrivals(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        if (pause := bound.beamline.ledger.paused(bound.beamline.name)) is not None:
            return SkipReason(pause.told)
        if not watches:
            watches.append(Watch(bound.beamline))
        ready, told = _stay(watches[0])
        return asked_for(bound, context, ready, told)

    return [arrivals]


def asked_for(
    bound: Bound, context: SensorEvaluationContext, ready: list[Ready], told: list[str]
) -> SensorResult | SkipReason:
    """A tick's answer: an ingest run for each run that is ready, and what to warn of."""
    for line in told:
        context.log.warning(line)
    ready = [new for item in ready if (new := _unless_asked(bound, context.instance, item)) is not None]
    if not ready:
        return SkipReason("; ".join(told) or "no new run is complete")
    return SensorResult(
        run_requests=[_request(bound, item) for item in ready],
        dynamic_partitions_requests=[bound.partitions.build_add_request([item.key for item in ready])],
    )


def _stay(watch: Watch) -> tuple[list[Ready], list[str]]:
    """Look until a run is ready or the tick has stayed long enough; and what to warn of."""
    started_s = time.monotonic()
    while True:
        ready = watch.look(limit=REQUESTS_PER_TICK)
        if ready or not watch.is_near or time.monotonic() - started_s > STAY_S:
            return ready, [f"cannot list {folder}" for folder in watch.refused_folders()]
        time.sleep(LOOK_EVERY_S)


def _unless_asked(bound: Bound, instance: DagsterInstance, ready: Ready) -> Ready | None:
    """What is ready, as a new attempt if the Dagster run of the one before failed; None while that stands.

    A run that fails before it could write the ledger leaves the attempt as it was, and Dagster drops a request that it
    has had. What a person has cancelled is left alone.
    """
    if not was_requested(instance, _run_key(bound, ready)):
        return ready
    newest = runs_of_partition(instance, bound.beamline.name, ready.key, limit=1)
    if [run.status for run in newest] != ["FAILURE"]:
        return None
    arrival = bound.beamline.ledger.retake(bound.beamline.name, ready.key, ASKED_AFTER_FAILURE)
    return replace(ready, attempt=arrival.attempt)


def _run_key(bound: Bound, ready: Ready) -> str:
    return f"{bound.beamline.name}:{ready.key}:{ready.fingerprint}:{ready.attempt}"


def _request(bound: Bound, ready: Ready) -> RunRequest:
    queue = bound.beamline.settings.queue
    return RunRequest(
        partition_key=ready.key,
        run_key=_run_key(bound, ready),
        tags={BEAMLINE_TAG: bound.beamline.name, PRIORITY_TAG: str(queue.priority)},
    )
