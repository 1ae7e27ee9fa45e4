"""What the platform asks of Dagster beyond its public API, on a real instance: to be passed by every upgrade."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from dagster import (
    AssetCheckKey,
    AssetKey,
    DagsterInstance,
    DagsterRunStatus,
    DataVersion,
    DynamicPartitionsDefinition,
    Failure,
    MaterializeResult,
    MetadataValue,
    asset,
    materialize,
)
from dagster._core.events import EngineEventData
from dagster._core.storage.tags import GRPC_INFO_TAG, PARTITION_NAME_TAG, RUN_KEY_TAG
from dagster._grpc.__generated__ import dagster_api_pb2, dagster_api_pb2_grpc

from xpcs_assets.orchestrate import adapter
from xpcs_assets.orchestrate.adapter import BEAMLINE_TAG
from xpcs_assets.orchestrate.processes import free_port
from xpcs_assets_tests.unit.orchestrate.conftest import MakeRun

QMAP = AssetKey(["xpcs", "qmap"])
PARTITIONS = DynamicPartitionsDefinition(name="xpcs_runs")


def test_an_asset_that_was_never_made_has_no_newest(instance: DagsterInstance) -> None:
    assert adapter.newest(instance, QMAP) is None


def test_what_was_reported_from_outside_is_the_newest_with_its_digest(instance: DagsterInstance) -> None:
    adapter.report_external(instance, QMAP, data_version="sha256:a", metadata={"bins": 4})
    adapter.report_external(instance, QMAP, data_version="sha256:b")
    found = adapter.newest(instance, QMAP)
    assert found is not None
    assert (found.data_version, found.run_id) == ("sha256:b", "")


def test_the_newest_of_a_partition_is_its_own(instance: DagsterInstance) -> None:
    for partition, digest in (("A001", "sha256:a"), ("A002", "sha256:b"), ("A001", "sha256:c"), ("A002", "sha256:d")):
        adapter.report_external(instance, QMAP, partition=partition, data_version=digest)
    first, second = (adapter.newest(instance, QMAP, partition) for partition in ("A001", "A002"))
    assert first is not None
    assert second is not None
    assert (first.data_version, second.data_version) == ("sha256:c", "sha256:d")
    assert first.storage_id < second.storage_id
    assert adapter.newest(instance, QMAP, "A003") is None


def test_a_materialisation_by_a_run_is_found_with_its_run_and_digest(instance: DagsterInstance) -> None:
    @asset(partitions_def=PARTITIONS)
    def raw_file() -> MaterializeResult[Any]:
        return MaterializeResult(data_version=DataVersion("sha256:x"))

    instance.add_dynamic_partitions("xpcs_runs", ["A001"])
    done = materialize([raw_file], partition_key="A001", instance=instance)
    found = adapter.newest(instance, raw_file.key, "A001")
    assert found is not None
    assert (found.data_version, found.run_id) == ("sha256:x", done.run_id)


def test_a_check_that_is_reported_over_and_over_shows_its_last_word(instance: DagsterInstance) -> None:
    for partition in ("A001", "A002"):
        adapter.report_failed_check(instance, QMAP, "good", partition, "bad")
        adapter.report_failed_check(instance, QMAP, "good", partition, "still bad")
    adapter.report_passed_check(instance, QMAP, "good", "A001", "right again")
    records = instance.event_log_storage.get_asset_check_execution_history(AssetCheckKey(QMAP, "good"), limit=9)
    evaluations = [record.event.dagster_event.asset_check_evaluation_data for record in records if record.event]  # type: ignore[union-attr]
    found = {each.partition: (each.passed, each.description) for each in reversed(evaluations)}
    assert found == {"A001": (True, "right again"), "A002": (False, "still bad")}


def test_a_check_that_is_reported_is_one_of_the_newest_materialisation_of_its_partition(
    instance: DagsterInstance,
) -> None:
    for partition in ("A001", "A001", "A002"):
        adapter.report_external(instance, QMAP, partition=partition, data_version="sha256:a")
    for partition in ("A001", "A002", "A003"):
        adapter.report_passed_check(instance, QMAP, "good", partition, "right")
    records = instance.event_log_storage.get_asset_check_execution_history(AssetCheckKey(QMAP, "good"), limit=9)
    evaluations = [record.event.dagster_event.asset_check_evaluation_data for record in records if record.event]  # type: ignore[union-attr]
    for each in evaluations:
        made, target = adapter.newest(instance, QMAP, each.partition), each.target_materialization_data
        assert (target and target.storage_id) == (made and made.storage_id)
    assert sum(each.target_materialization_data is not None for each in evaluations) == 2


def test_a_partition_is_worked_on_while_any_run_of_it_at_its_beamline_is(
    instance: DagsterInstance, make_run: MakeRun
) -> None:
    tags = {PARTITION_NAME_TAG: "A001", BEAMLINE_TAG: "xpcs"}
    make_run("ingest", tags=tags, status=DagsterRunStatus.SUCCESS)
    assert not adapter.partition_in_progress(instance, "xpcs", "A001")
    make_run("__ASSET_JOB", tags=tags, status=DagsterRunStatus.STARTED)
    assert adapter.partition_in_progress(instance, "xpcs", "A001")
    assert not adapter.partition_in_progress(instance, "other", "A001")


def test_runs_are_counted_by_job_and_partition(instance: DagsterInstance, make_run: MakeRun) -> None:
    make_run("ingest", tags={PARTITION_NAME_TAG: "A001"})
    make_run("ingest", tags={PARTITION_NAME_TAG: "A001"}, status=DagsterRunStatus.FAILURE)
    make_run("ingest", tags={PARTITION_NAME_TAG: "A002"})
    make_run("archive", tags={PARTITION_NAME_TAG: "A001"}, status=DagsterRunStatus.SUCCESS)
    assert adapter.runs_so_far(instance, "ingest") == 3
    assert adapter.runs_in_progress(instance, "ingest") == 2
    assert adapter.runs_in_progress(instance, "ingest", "A001") == 1
    assert adapter.runs_in_progress(instance, "archive", "A001") == 0


def test_a_request_is_known_by_its_run_key(instance: DagsterInstance, make_run: MakeRun) -> None:
    make_run(tags={RUN_KEY_TAG: "xpcs:A001:f:0"})
    assert adapter.was_requested(instance, "xpcs:A001:f:0")
    assert not adapter.was_requested(instance, "xpcs:A001:f:1")


def test_the_runs_of_a_partition_are_those_of_its_beamline(instance: DagsterInstance, make_run: MakeRun) -> None:
    mine = make_run(tags={PARTITION_NAME_TAG: "A001", BEAMLINE_TAG: "xpcs"})
    make_run(tags={PARTITION_NAME_TAG: "A001", BEAMLINE_TAG: "other"})
    (row,) = adapter.runs_of_partition(instance, "xpcs", "A001")
    assert (row.run_id, row.job, row.status, row.end_time) == (mine.run_id, "ingest", "NOT_STARTED", None)


def test_each_failed_step_is_told_with_its_own_words(instance: DagsterInstance) -> None:
    @asset
    def told() -> None:
        raise Failure("the q-map has another shape", allow_retries=False)

    @asset
    def untold() -> None:
        raise ZeroDivisionError("no such thing")

    @asset
    def fine() -> None:
        return

    done = materialize([told, untold, fine], instance=instance, raise_on_error=False)
    failed = dict(adapter.failure_of_step(instance, done.run_id))
    assert set(failed) == {"told", "untold"}
    assert failed["told"] == "the q-map has another shape"
    assert failed["untold"] == "ZeroDivisionError: no such thing"


def test_the_failed_steps_of_a_beamline_are_told_and_those_that_never_ended(
    instance: DagsterInstance, make_run: MakeRun
) -> None:
    @asset(key=AssetKey(["8-id", "raw_file"]), partitions_def=PARTITIONS)
    def raw_file() -> None:
        raise Failure("another shape", allow_retries=False)

    instance.add_dynamic_partitions("xpcs_runs", ["A001"])
    begun = datetime.now(UTC)
    for beamline in ("8-id", "other"):
        materialize(
            [raw_file], partition_key="A001", instance=instance, raise_on_error=False, tags={"beamline": beamline}
        )
    (failed,) = adapter.failed_steps(instance, "8-id", begun)
    assert (failed.partition, failed.asset, failed.reason) == ("A001", "raw_file", "another shape")
    assert failed.began >= begun.timestamp()
    assert adapter.failed_steps(instance, "8-id", datetime.now(UTC)) == []


def test_the_worker_of_a_run_is_the_last_that_said_its_process_id(instance: DagsterInstance, make_run: MakeRun) -> None:
    run = make_run()
    assert adapter.worker_process(instance, run.run_id) is None
    instance.report_engine_event("nothing of a process", run)
    assert adapter.worker_process(instance, run.run_id) is None
    for pid in (17, 18):
        instance.report_engine_event("Started", run, EngineEventData(metadata={"pid": MetadataValue.text(str(pid))}))
    instance.report_engine_event("something else", run, EngineEventData(metadata={"port": MetadataValue.int(1)}))
    found = adapter.worker_process(instance, run.run_id)
    assert found is not None
    assert found[0] == 18


class _Server(dagster_api_pb2_grpc.DagsterApiServicer):  # type: ignore[misc]
    def Ping(self, request: object, context: object) -> object:
        return dagster_api_pb2.PingReply(echo="")


@pytest.fixture
def code_server() -> Iterator[int]:
    """The port of a server that answers Dagster's ping."""
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    dagster_api_pb2_grpc.add_DagsterApiServicer_to_server(_Server(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(grace=None).wait()


def test_a_code_server_that_answers_is_told_from_one_that_does_not(code_server: int) -> None:
    def tags(port: int) -> dict[str, str]:
        return {GRPC_INFO_TAG: json.dumps({"host": "127.0.0.1", "port": port})}

    assert adapter.code_server_answers(tags(code_server))
    assert not adapter.code_server_answers(tags(free_port()))
    assert not adapter.code_server_answers({})


def test_a_run_that_a_person_began_again_is_told_from_one_that_dagster_retried() -> None:
    parent = {"dagster/parent_run_id": "1"}
    assert adapter.is_begun_again(parent)
    assert not adapter.is_begun_again(parent | {"dagster/retry_number": "1"})
    assert not adapter.is_begun_again({})
