"""Copies that a service moves, as Dagster sees them: no run waits, a sensor has the asset done when it has arrived."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from xpcs_assets.copies.ledger import TransferState
from xpcs_assets.follow import state_of
from xpcs_assets.orchestrate import adapter
from xpcs_assets.stage.further_transfer import FIRST_PAUSE
from xpcs_assets_tests.definitions.conftest import Pipeline, open_pipeline
from xpcs_assets_tests.unit.conftest import bare_run
from xpcs_assets_tests.unit.stage.globus_site import GlobusSite, globus_site_at

KEY = "A001"
CHAIN = ("raw_file", "staged_copy", "copy_in_eagle")


@pytest.fixture
def globus(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GlobusSite]:
    """A site of collections; its transfers go on when they are told to."""
    with globus_site_at(home, monkeypatch, ("eagle",)) as made:
        made.server.service.by_hand = True
        yield made


@pytest.fixture
def pipeline(globus: GlobusSite) -> Iterator[Pipeline]:
    """Its jobs, and one run at the detector."""
    for made in open_pipeline(globus.home):
        made.drop(bare_run(globus.home / "aside" / KEY))
        yield made


def materialised(pipeline: Pipeline, asset: str) -> bool:
    return adapter.newest(pipeline.instance, dg.AssetKey(["xpcs", asset]), KEY) is not None


def tick(pipeline: Pipeline, cursor: str = "") -> dg.SensorResult | dg.SkipReason:
    """One tick of the sensor of transfers."""
    context = dg.build_sensor_context(instance=pipeline.instance, cursor=cursor or None)
    told = pipeline.repository.get_sensor_def("xpcs_transfers")(context)
    assert isinstance(told, dg.SensorResult | dg.SkipReason)
    return told


def asked_for(told: object) -> list[str]:
    """The assets that a tick asks to be done for the run."""
    assert isinstance(told, dg.SensorResult)
    (request,) = told.run_requests or ()
    assert request.partition_key == KEY
    return [key.path[-1] for key in request.asset_selection or ()]


def why(told: object) -> str:
    reason = told.skip_reason if isinstance(told, dg.SensorResult) else told
    assert isinstance(reason, dg.SkipReason)
    return reason.skip_message or ""


def test_no_run_waits_for_a_transfer_and_each_asset_is_done_once_it_has_arrived(
    pipeline: Pipeline, globus: GlobusSite
) -> None:
    assert why(tick(pipeline)) == "no transfer is under way"
    first = pipeline.run("ingest", KEY, only=CHAIN)
    assert first.success
    assert (materialised(pipeline, "staged_copy"), materialised(pipeline, "copy_in_eagle")) == (False, False)
    assert [each.step_key for each in first.get_step_skipped_events()] == ["xpcs__copy_in_eagle"]
    check = pipeline.check("staged_copy", "copy_verified", KEY)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "transfer detector to store" in (check.description or "")
    state = state_of(globus.beamline, KEY)
    assert (state.word, state.failed) == ("working", ())
    assert "transfer detector to store" in state.reason

    assert "1 transfers are under way" in why(tick(pipeline))
    (task,) = globus.tasks
    globus.server.service.advance(task.task_id)
    wanted = asked_for(tick(pipeline))
    assert {"staged_copy", "copy_in_eagle", "correlation"} <= set(wanted)
    assert "raw_file" not in wanted

    second = pipeline.run("ingest", KEY, only=CHAIN[1:])
    assert second.success
    assert materialised(pipeline, "staged_copy")
    assert pipeline.check("staged_copy", "copy_verified", KEY).passed
    assert not materialised(pipeline, "copy_in_eagle")

    globus.server.service.advance(globus.tasks[-1].task_id)
    assert asked_for(tick(pipeline)) == ["copy_in_eagle"]
    assert pipeline.run("ingest", KEY, only=CHAIN[2:]).success
    assert materialised(pipeline, "copy_in_eagle")
    assert pipeline.check("copy_in_eagle", "copy_verified", KEY).passed
    assert [copy.place for copy in globus.beamline.ledger.copies("xpcs", KEY)] == ["detector", "store", "eagle"]
    assert len(globus.tasks) == 2
    assert why(tick(pipeline)) == "no transfer is under way"


def test_the_part_of_a_run_that_is_asked_for_is_one_that_the_job_has(pipeline: Pipeline, globus: GlobusSite) -> None:
    pipeline.run("ingest", KEY, only=CHAIN)
    globus.server.service.advance(globus.tasks[0].task_id)
    selection = {dg.AssetKey(["xpcs", name]) for name in asked_for(tick(pipeline))}
    job = pipeline.repository.get_job("xpcs_ingest")
    assert {f"xpcs__{key.path[-1]}" for key in selection} <= {node.name for node in job.nodes}
    steps = {node.name for node in job.get_subset(asset_selection=selection).nodes}
    assert {"xpcs__staged_copy", "xpcs__correlation", "xpcs__copy_in_eagle", "xpcs_judge_correlation"} <= steps
    assert "xpcs__raw_file" not in steps


def earlier(cursor: str | None, by: timedelta) -> str:
    """A sensor's memory as if it had asked so much earlier."""
    content = json.loads(cursor or "")
    for name, (number, at) in content["asked"].items():
        content["asked"][name] = (number, (datetime.fromisoformat(at) - by).isoformat())
    return json.dumps(content)


def test_a_request_whose_run_came_to_nothing_is_repeated_after_a_pause_that_grows(
    pipeline: Pipeline, globus: GlobusSite
) -> None:
    pipeline.run("ingest", KEY, only=CHAIN[:2])
    globus.server.service.advance(globus.tasks[0].task_id)
    first = tick(pipeline)
    assert asked_for(first)
    assert "under way" in why(tick(pipeline, first.cursor))
    second = tick(pipeline, earlier(first.cursor, FIRST_PAUSE))
    assert asked_for(second)
    assert first.run_requests[0].run_key != second.run_requests[0].run_key, "Dagster would drop it"
    assert "under way" in why(tick(pipeline, earlier(second.cursor, FIRST_PAUSE)))
    assert asked_for(tick(pipeline, earlier(second.cursor, 2 * FIRST_PAUSE)))


def test_a_service_that_is_down_is_asked_again_at_the_next_tick(pipeline: Pipeline, globus: GlobusSite) -> None:
    pipeline.run("ingest", KEY, only=CHAIN[:2])
    globus.server.faults.add("GET", "/task/", "503", times=4)
    told = tick(pipeline)
    assert "503" in why(told)
    globus.server.service.advance(globus.tasks[0].task_id)
    globus.server.faults.ordered.clear()
    assert asked_for(tick(pipeline, told.cursor))


def test_while_a_run_of_the_partition_is_under_way_no_other_is_asked_for(
    pipeline: Pipeline, globus: GlobusSite
) -> None:
    pipeline.run("ingest", KEY, only=CHAIN[:2])
    globus.server.service.advance(globus.tasks[0].task_id)
    tags = {"beamline": "xpcs", "dagster/partition": KEY}
    run = dg.DagsterRun(job_name="xpcs_ingest", status=dg.DagsterRunStatus.STARTED, tags=tags)
    pipeline.instance.add_run(run)
    assert "under way" in why(tick(pipeline))
    pipeline.instance.delete_run(run.run_id)
    assert asked_for(tick(pipeline))


def test_a_transfer_that_fails_for_good_fails_its_asset_with_the_reason(pipeline: Pipeline, globus: GlobusSite) -> None:
    globus.server.service.collections.clear()  # such as one that was deleted
    assert not pipeline.run("ingest", KEY, only=CHAIN[:2]).success
    check = pipeline.check("staged_copy", "copy_verified", KEY)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "No such endpoint" in (check.description or "")
    (transfer,) = globus.transfers()
    assert transfer.state is TransferState.FAILED
    assert state_of(globus.beamline, KEY).word == "failed"


def test_a_site_without_collections_has_no_sensor_of_transfers(home: Path) -> None:
    for made in open_pipeline(home):
        assert "xpcs_transfers" not in {each.name for each in made.repository.sensor_defs}
