"""What Dagster's pages show of the checks, by partition: asked of its instance in the way that the pages ask."""

from __future__ import annotations

import asyncio

import dagster as dg
import pytest
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.loader import LoadingContextForTest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionResolvedStatus as Status

from xpcs_assets.orchestrate.adapter import report_failed_check, report_passed_check
from xpcs_assets_tests.definitions.conftest import Pipeline

CHECKS = [("staged_copy", "copy_verified"), ("archive", "archive_read_back")]


def shown(pipeline: Pipeline, asset: str, check: str) -> dict[str, str]:
    """The status of each partition of a check; one that no evaluation of its newest bytes speaks of is not in it."""
    key = dg.AssetCheckKey(dg.AssetKey(["xpcs", asset]), check)
    partitions = pipeline.repository.asset_graph.get(key.asset_key).partitions_def
    with partition_loading_context(dynamic_partitions_store=pipeline.instance):
        state = pipeline.instance.event_log_storage.get_asset_check_state([(key, partitions)])[key]
        subsets = {status: set(state.subsets[status].subset_value.get_partition_keys()) for status in Status}
    return {partition: status.value for status, found in subsets.items() for partition in found}


def is_of_the_newest_bytes(pipeline: Pipeline, asset: str, check: str) -> bool:
    """Whether the asset's own page shows the newest evaluation, or "not evaluated"."""
    key = dg.AssetCheckKey(dg.AssetKey(["xpcs", asset]), check)
    (record,) = pipeline.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    return asyncio.run(record.targets_latest_materialization(LoadingContextForTest(pipeline.instance)))


@pytest.fixture
def keys(pipeline: Pipeline) -> list[str]:
    """Two runs that are staged; the first one is archived."""
    keys = [pipeline.drop(pipeline.simulated(seed=seed, frames=20).folder) for seed in (1, 2)]
    for key in keys:
        pipeline.run("ingest", key, only=("raw_file", "staged_copy"))
    assert pipeline.archive(keys[0]).success
    return keys


def test_copy_verified_and_archive_read_back_are_shown_as_evaluated_for_each_run(
    pipeline: Pipeline, keys: list[str]
) -> None:
    assert shown(pipeline, "staged_copy", "copy_verified") == dict.fromkeys(keys, "SUCCEEDED")
    assert shown(pipeline, "archive", "archive_read_back") == {keys[0]: "SUCCEEDED"}
    assert all(is_of_the_newest_bytes(pipeline, *each) for each in CHECKS)


@pytest.mark.parametrize(("asset", "check"), CHECKS)
def test_what_a_scrub_or_an_audit_reports_later_is_shown_for_that_run_alone(
    pipeline: Pipeline, keys: list[str], asset: str, check: str
) -> None:
    pipeline.archive(keys[1])
    for report, status in ((report_failed_check, "FAILED"), (report_passed_check, "SUCCEEDED")):
        report(pipeline.instance, dg.AssetKey(["xpcs", asset]), check, keys[0], "read again")
        assert shown(pipeline, asset, check) == {keys[0]: status, keys[1]: "SUCCEEDED"}
        assert is_of_the_newest_bytes(pipeline, asset, check)
