"""The campaign sensor on an instance of Dagster: what it asks for runs, and its end is seen."""

from __future__ import annotations

from dagster import DagsterRunStatus, SensorResult, SkipReason, build_sensor_context

from xpcs_assets.campaign.advance import RunEnd
from xpcs_assets.campaign.campaign import ASKED, DONE, Campaign, begin, progress
from xpcs_assets.campaign.sensors import build, how_ended
from xpcs_assets.orchestrate.adapter import status_of_request
from xpcs_assets.orchestrate.bindings import Bound
from xpcs_assets_tests.definitions.conftest import TO_G2, Pipeline


def tick(pipeline: Pipeline) -> SensorResult | SkipReason:
    (sensor,) = build(Bound.of(pipeline.beamline), "xpcs_ingest")
    found = sensor(build_sensor_context(pipeline.instance, repository_def=pipeline.repository))
    assert isinstance(found, SensorResult | SkipReason)
    return found


def test_without_a_campaign_nothing_is_asked_for(pipeline: Pipeline) -> None:
    found = tick(pipeline)
    assert isinstance(found, SkipReason)
    assert found.skip_message == "no campaign is under way"


def test_a_member_is_analysed_and_the_campaign_is_over(pipeline: Pipeline) -> None:
    key = pipeline.drop(pipeline.simulated().folder)
    pipeline.run("ingest", key, only=(*TO_G2, "metadata", "catalog_entry", "plots"))
    begin(pipeline.beamline, Campaign("wide", (key,), {"stride": 2}, 3), "a scientist")
    asked = tick(pipeline)
    assert isinstance(asked, SensorResult)
    (request,) = asked.run_requests or ()
    assert (request.partition_key, request.tags["beamline"]) == (f"{key}~wide", "xpcs")
    assert [each.path[-1] for each in request.asset_selection or ()] == ["correlation", "plots", "result_entry"]
    pipeline.instance.add_dynamic_partitions("xpcs_runs", [f"{key}~wide"])
    done = pipeline.run(
        "ingest", f"{key}~wide", dict(request.run_config), only=("correlation", "plots", "result_entry")
    )
    assert done.success
    found = tick(pipeline)
    assert isinstance(found, SkipReason)
    assert [member.state for member in progress(pipeline.beamline, "wide").members] == [DONE]
    last = tick(pipeline)
    assert isinstance(last, SkipReason)
    assert last.skip_message == "no campaign is under way"


def test_a_paused_beamline_asks_for_no_member(pipeline: Pipeline) -> None:
    pipeline.beamline.ledger.pause("xpcs", "alignment", "an operator")
    found = tick(pipeline)
    assert isinstance(found, SkipReason)
    assert str(found.skip_message).endswith("alignment")


def test_how_a_request_ended_is_told_by_its_run_key(pipeline: Pipeline) -> None:
    ends = {
        DagsterRunStatus.STARTED: RunEnd.GOING,
        DagsterRunStatus.SUCCESS: RunEnd.WELL,
        DagsterRunStatus.FAILURE: RunEnd.BADLY,
        DagsterRunStatus.CANCELED: RunEnd.BADLY,
    }
    job = pipeline.repository.get_job("xpcs_ingest")
    for status in ends:
        pipeline.instance.create_run_for_job(job, status=status, tags={"dagster/run_key": f"key {status.value}"})
    assert status_of_request(pipeline.instance, "key SUCCESS") == "SUCCESS"
    assert {status: how_ended(pipeline.instance, f"key {status.value}") for status in ends} == ends
    assert how_ended(pipeline.instance, "another") is RunEnd.NONE


def test_a_tick_before_dagster_has_made_the_run_asks_again_for_the_same(pipeline: Pipeline) -> None:
    key = pipeline.drop(pipeline.simulated().folder)
    pipeline.run("ingest", key, only=("raw_file",))
    begin(pipeline.beamline, Campaign("wide", (key,), {"stride": 2}, 3), "a scientist")
    first, second = tick(pipeline), tick(pipeline)
    assert isinstance(first, SensorResult)
    assert isinstance(second, SensorResult)
    assert [request.run_key for request in first.run_requests or ()] == [
        request.run_key for request in second.run_requests or ()
    ]
    assert [member.state for member in progress(pipeline.beamline, "wide").members] == [ASKED]
