"""Every call into Dagster that is not public API, and the few queries the platform asks of its event log.

Each has a test of its own, which an upgrade of Dagster must pass.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from dagster import (
    AssetCheckEvaluation,
    AssetCheckResult,
    AssetKey,
    AssetMaterialization,
    AssetRecordsFilter,
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    OpExecutionContext,
    RunsFilter,
)
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData
from dagster._core.definitions.metadata import RawMetadataValue, normalize_metadata_value
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.execution.stats import StepEventStatus
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.tags import (
    GRPC_INFO_TAG,
    PARENT_RUN_ID_TAG,
    PARTITION_NAME_TAG,
    RETRY_NUMBER_TAG,
    RUN_KEY_TAG,
)
from dagster._grpc.client import DagsterGrpcClient
from dagster_shared.record import replace

DATA_VERSION_TAG = "dagster/data_version"
PRIORITY_TAG = "dagster/priority"
BEAMLINE_TAG = "beamline"
JOB_TAG = "xpcs/job"
"""Of a Dagster run that takes the result of a job, or tells its end: which one."""

_IN_PROGRESS = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True)
class Materialised:
    """The newest materialisation of one partition of an asset.

    Attributes
    ----------
    storage_id
        Rises with every event; tells which of two came later.
    timestamp
        Seconds since 1970, this machine's clock.
    data_version
        The digest it was materialised with; empty when it had none.
    run_id
        The Dagster run that made it.
    """

    storage_id: int
    timestamp: float
    data_version: str
    run_id: str


def newest(instance: DagsterInstance, key: AssetKey, partition: str | None = None) -> Materialised | None:
    """The newest materialisation of an asset, of one partition when given."""
    wanted = AssetRecordsFilter(asset_key=key, asset_partitions=[partition] if partition is not None else None)
    records = instance.fetch_materializations(wanted, limit=1).records
    if not records:
        return None
    record = records[0]
    event = record.asset_materialization
    tags = (event.tags if event else None) or {}
    return Materialised(record.storage_id, record.timestamp, tags.get(DATA_VERSION_TAG, ""), record.run_id)


def report_external(
    instance: DagsterInstance,
    key: AssetKey,
    *,
    data_version: str,
    partition: str | None = None,
    metadata: Mapping[str, RawMetadataValue] | None = None,
) -> None:
    """Report that an asset which no run makes (a q-map, a removed copy) has a new version.

    It has to be a materialisation: an observation would leave everything downstream stale for ever.
    """
    instance.report_runless_asset_event(
        AssetMaterialization(
            asset_key=key, partition=partition, metadata=metadata or {}, tags={DATA_VERSION_TAG: data_version}
        )
    )


def log_materialised(
    context: OpExecutionContext,
    key: AssetKey,
    partition: str,
    *,
    data_version: str,
    metadata: Mapping[str, RawMetadataValue],
    check: AssetCheckResult,
) -> None:
    """Report from an op that it made one partition of an asset, and what a check of it found."""
    context.log_event(
        AssetMaterialization(key, partition=partition, metadata=metadata, tags={DATA_VERSION_TAG: data_version})
    )
    _report_check(  # an op may log no evaluation of its own
        context.instance,
        AssetCheckEvaluation(
            asset_key=key,
            check_name=str(check.check_name),
            passed=check.passed,
            severity=check.severity,
            description=check.description,
            metadata={name: normalize_metadata_value(value) for name, value in (check.metadata or {}).items()},
            partition=partition,
        ),
    )


def report_failed_check(instance: DagsterInstance, key: AssetKey, check: str, partition: str, reason: str) -> None:
    """Report that a check failed whose step made nothing to attach it to."""
    evaluation = AssetCheckEvaluation(
        asset_key=key, check_name=check, passed=False, metadata={}, partition=partition, description=reason
    )
    _report_check(instance, evaluation)


def report_passed_check(instance: DagsterInstance, key: AssetKey, check: str, partition: str, reason: str) -> None:
    """Report that a check passes again, without the step that made what it judges."""
    evaluation = AssetCheckEvaluation(
        asset_key=key, check_name=check, passed=True, metadata={}, partition=partition, description=reason
    )
    _report_check(instance, evaluation)


def _report_check(instance: DagsterInstance, evaluation: AssetCheckEvaluation) -> None:
    """Report an evaluation that belongs to no run, as one of the newest materialisation of its partition.

    Dagster shows an evaluation that names no materialisation as "not evaluated" when both came in the same second.
    Dagster's table of evaluations takes one without a run for each check and partition, and fails at the second: the
    one before is taken out first. Its event stays in the log.
    """
    table = AssetCheckExecutionsTable.c
    storage = instance.event_log_storage
    if isinstance(storage, SqlEventLogStorage):
        with storage.index_connection() as connection:
            connection.execute(
                AssetCheckExecutionsTable.delete().where(
                    table.asset_key == evaluation.asset_key.to_string(),
                    table.check_name == evaluation.check_name,
                    table.run_id == RUNLESS_RUN_ID,
                    table.partition == evaluation.partition,
                )
            )
    made = newest(instance, evaluation.asset_key, evaluation.partition)
    target = made and AssetCheckEvaluationTargetMaterializationData(
        storage_id=made.storage_id, run_id=made.run_id, timestamp=made.timestamp
    )
    instance.report_runless_asset_event(replace(evaluation, target_materialization_data=target))


def partition_in_progress(instance: DagsterInstance, beamline: str, partition: str) -> bool:
    """Tell whether any run of a beamline's partition waits or works now, whatever started it."""
    tags = {PARTITION_NAME_TAG: partition, BEAMLINE_TAG: beamline}
    return instance.get_runs_count(RunsFilter(tags=tags, statuses=_IN_PROGRESS)) > 0


def runs_in_progress(instance: DagsterInstance, job_name: str, partition: str = "") -> int:
    """How many runs of a job wait or work now; those for one partition when given."""
    tags = {PARTITION_NAME_TAG: partition} if partition else {}
    return instance.get_runs_count(RunsFilter(job_name=job_name, tags=tags, statuses=_IN_PROGRESS))


def runs_so_far(instance: DagsterInstance, job_name: str) -> int:
    """How many runs of a job there have been."""
    return instance.get_runs_count(RunsFilter(job_name=job_name))


def was_requested(instance: DagsterInstance, run_key: str) -> bool:
    """Tell whether a sensor's request with this run key has made a run already; Dagster would drop it silently."""
    return instance.get_runs_count(RunsFilter(tags={RUN_KEY_TAG: run_key})) > 0


def status_of_request(instance: DagsterInstance, run_key: str) -> str:
    """The status of the newest run that a sensor's request with this run key made; empty when there is none."""
    records = instance.get_run_records(RunsFilter(tags={RUN_KEY_TAG: run_key}), limit=1)
    return records[0].dagster_run.status.value if records else ""


def is_begun_again(run_tags: Mapping[str, str]) -> bool:
    """Tell whether a person had a run executed again; Dagster does so too, with one whose process it lost."""
    return PARENT_RUN_ID_TAG in run_tags and RETRY_NUMBER_TAG not in run_tags


def job_told_of(run_tags: Mapping[str, str]) -> str:
    """The job whose end a run is about; empty when it is about none, or a person had it executed again."""
    return "" if is_begun_again(run_tags) else run_tags.get(JOB_TAG, "")


def runs_of_partition(instance: DagsterInstance, beamline: str, partition: str, limit: int = 20) -> Sequence[RunRow]:
    """The newest Dagster runs of a partition at a beamline."""
    records = instance.get_run_records(
        RunsFilter(tags={PARTITION_NAME_TAG: partition, BEAMLINE_TAG: beamline}), limit=limit
    )
    return [
        RunRow(r.dagster_run.run_id, r.dagster_run.job_name, r.dagster_run.status.value, r.start_time, r.end_time)
        for r in records
    ]


@dataclass(frozen=True)
class RunRow:
    """One Dagster run, as the command line shows it. Times are seconds since 1970."""

    run_id: str
    job: str
    status: str
    start_time: float | None
    end_time: float | None


def failure_of_step(instance: DagsterInstance, run_id: str) -> list[tuple[str, str]]:
    """Step and message of each step that failed in a run: what the step raised, not what Dagster wrapped it in."""
    connection = instance.get_records_for_run(run_id, of_type=DagsterEventType.STEP_FAILURE)
    failed = []
    for record in connection.records:
        event = record.event_log_entry.dagster_event
        if event is None or event.step_key is None:
            continue
        data = event.step_failure_data
        told = data.user_failure_data.description if data.user_failure_data else None
        error = data.error
        while error is not None and error.cause is not None:
            error = error.cause
        failed.append((event.step_key, told or (error.message.strip() if error else "failed")))
    return failed


@dataclass(frozen=True)
class FailedStep:
    """An asset's step that did not end well in a Dagster run that is over.

    Attributes
    ----------
    run_id, partition, asset
        In which Dagster run, of which partition, of which asset (the last part of its key).
    began
        Seconds since 1970, this machine's clock.
    reason
        Dagster's words.
    """

    run_id: str
    partition: str
    asset: str
    began: float
    reason: str


def failed_steps(instance: DagsterInstance, beamline: str, since: datetime) -> list[FailedStep]:
    """The steps that failed, or were under way, in the runs of a beamline's partitions that failed since a time."""
    found = []
    failed = RunsFilter(statuses=[DagsterRunStatus.FAILURE], tags={BEAMLINE_TAG: beamline}, updated_after=since)
    for run in instance.get_runs(failed):
        partition = run.tags.get(PARTITION_NAME_TAG)
        if partition is None:
            continue
        told = dict(failure_of_step(instance, run.run_id))
        for step in instance.get_run_step_stats(run.run_id):
            ended_well = step.status in {StepEventStatus.SUCCESS, StepEventStatus.SKIPPED}
            if step.start_time is not None and not ended_well:
                reason = told.get(step.step_key, "its worker ended before it did; the Dagster run has its log")
                asset = step.step_key.rsplit("__", 1)[-1]
                found.append(FailedStep(run.run_id, partition, asset, step.start_time, reason))
    return found


def set_pool_limits(instance: DagsterInstance, limits: Mapping[str, int]) -> None:
    """Say how many steps may hold a slot of each pool at a time; a limit that is so already is not written."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    known = {pool.name: pool.limit for pool in storage.get_pool_limits()}
    for name, limit in limits.items():
        if known.get(name) != limit:
            storage.set_concurrency_slots(name, limit)


def worker_process(instance: DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """Process id of a local run's worker, and when it said so (s since 1970); None before it has."""
    connection = instance.get_records_for_run(run_id, of_type=DagsterEventType.ENGINE_EVENT)
    for record in reversed(connection.records):
        event = record.event_log_entry.dagster_event
        metadata = event.engine_event_data.metadata if event is not None else {}
        if "pid" in metadata:
            return int(str(metadata["pid"].value)), record.event_log_entry.timestamp
    return None


def code_server_answers(run_tags: Mapping[str, str]) -> bool:
    """Tell whether the code server that a run was launched on (or its successor there) can be reached."""
    told = run_tags.get(GRPC_INFO_TAG)
    if told is None:
        return False
    where = json.loads(told)
    client = DagsterGrpcClient(
        port=where.get("port"), socket=where.get("socket"), host=where.get("host"), use_ssl=bool(where.get("use_ssl"))
    )
    try:
        client.ping("")
    except DagsterUserCodeUnreachableError:
        return False
    return True
