"""Scrub, audit and reconcile in Dagster: what their jobs and sensors do, and which checks turn red and green."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.tags import PARTITION_NAME_TAG

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.audit.looking import repair_run
from xpcs_assets.audit.reconcile import SETTLES
from xpcs_assets.audit.repair import Repaired
from xpcs_assets.audit.sensors import LATER
from xpcs_assets.copies import clock as clocks
from xpcs_assets.copies.ledger import CopyState, Ledger
from xpcs_assets.errors import LedgerError
from xpcs_assets.follow import state_of
from xpcs_assets_tests.definitions.conftest import TO_CATALOG, Pipeline
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.audit.conftest import flip
from xpcs_assets_tests.unit.conftest import bare_run

QUARTER = timedelta(days=91)


def look(pipeline: Pipeline, job: str) -> dg.ExecuteInProcessResult:
    definition = pipeline.repository.get_job(f"xpcs_{job}")
    return definition.execute_in_process(instance=pipeline.instance, raise_on_error=False)


def why_it_failed(done: dg.ExecuteInProcessResult) -> str:
    (failed,) = [event for event in done.all_events if event.is_step_failure]
    data = failed.step_failure_data.user_failure_data
    assert data is not None
    return str(data.description)


def tick(pipeline: Pipeline, sensor: str, instance: dg.DagsterInstance | None = None) -> Any:
    definition = pipeline.repository.get_sensor_def(f"xpcs_{sensor}")
    with dg.build_sensor_context(
        instance=instance or pipeline.instance, repository_def=pipeline.repository, cursor=None
    ) as context:
        return definition(context)


@pytest.fixture
def later(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> HandClock:
    """A quarter of a year after everything was verified, for every ledger that the jobs open."""
    hand = HandClock(clocks.utc_now() + QUARTER)
    monkeypatch.setattr("xpcs_assets.copies.database.clock_of", lambda engine: hand)
    vars(pipeline.beamline)["ledger"] = Ledger(pipeline.beamline.engine, hand)
    return hand


def test_a_bad_copy_turns_its_check_red_fails_the_job_and_is_green_after_the_repair(
    pipeline: Pipeline, later: HandClock
) -> None:
    key = pipeline.drop(pipeline.simulated().folder)
    later.now -= QUARTER
    assert pipeline.run("ingest", key, only=TO_CATALOG).success
    later.now += QUARTER
    folder = pipeline.beamline.staged(pipeline.beamline.latest(key))
    flip(next(folder.raw.glob("*.imm")), at=1000)
    assert pipeline.check("staged_copy", "copy_verified", key).passed
    done = look(pipeline, "scrub")
    assert not done.success
    assert "it holds other bytes than the manifest says" in why_it_failed(done)
    assert "xpcs-assets repair xpcs" in why_it_failed(done)
    assert not pipeline.check("staged_copy", "copy_verified", key).passed
    later.advance(60)
    (mended,) = repair_run(pipeline.beamline, key)
    assert isinstance(mended, Repaired)
    tick(pipeline, "reconcile")
    assert pipeline.check("staged_copy", "copy_verified", key).passed
    later.advance(QUARTER.total_seconds())
    assert look(pipeline, "scrub").success


def test_a_place_that_is_away_fails_the_scrub_and_the_audit_and_names_itself(
    pipeline: Pipeline, later: HandClock
) -> None:
    key = pipeline.drop(pipeline.simulated().folder)
    later.now -= QUARTER
    assert pipeline.run("ingest", key, only=TO_CATALOG).success
    later.now += QUARTER
    store = pipeline.beamline.root("store")
    store.rename(store.with_name("unmounted"))
    for job in ("scrub", "audit"):
        done = look(pipeline, job)
        assert not done.success
        assert "store" in why_it_failed(done)
    copies = {copy.place: copy.state for copy in pipeline.beamline.ledger.copies("xpcs", key)}
    assert copies["store"] is CopyState.PRESENT


@pytest.mark.parametrize("job", ["scrub", "audit"])
def test_a_look_is_asked_for_once_a_period_after_everything_else(pipeline: Pipeline, job: str) -> None:
    request = tick(pipeline, f"{job}_due")
    assert int(request.tags["dagster/priority"]) == -LATER
    pipeline.instance.create_run_for_job(
        pipeline.repository.get_job(f"xpcs_{job}"), tags={"dagster/run_key": request.run_key}
    )
    assert isinstance(tick(pipeline, f"{job}_due"), dg.SkipReason)


def test_an_audit_makes_every_run_of_the_ledger_a_partition_again(pipeline: Pipeline) -> None:
    key = submit(pipeline.beamline, bare_run(pipeline.beamline.source_root / "A001"), as_is=True).key
    take(pipeline.beamline, key)
    look(pipeline, "audit")
    assert key in pipeline.instance.get_dynamic_partitions("xpcs_runs")


def test_f54_a_dagster_of_yesterday_processes_each_missed_run_once_in_effect(
    pipeline: Pipeline, later: HandClock
) -> None:
    later.now -= QUARTER
    key = pipeline.drop(pipeline.simulated().folder)
    take(pipeline.beamline, key)
    later.advance(SETTLES.total_seconds() + 1)
    result = tick(pipeline, "reconcile")
    (request,) = result.run_requests
    assert (request.partition_key, request.asset_selection) == (key, None)
    with dg.instance_for_test() as yesterday:
        assert tick(pipeline, "reconcile", yesterday).run_requests in (None, [])
        later.advance(SETTLES.total_seconds() + 1)
        (again,) = tick(pipeline, "reconcile", yesterday).run_requests
        assert again.run_key != request.run_key
        assert key in {each for added in result.dynamic_partitions_requests for each in added.partition_keys}
    for _ in range(2):
        assert pipeline.run("ingest", key, only=TO_CATALOG).success
    assert len(pipeline.beamline.ledger.versions("xpcs", key)) == 1
    assert {copy.state for copy in pipeline.beamline.ledger.copies("xpcs", key)} == {CopyState.PRESENT}


def test_a_run_that_something_works_on_is_not_asked_for(pipeline: Pipeline, later: HandClock) -> None:
    later.now -= QUARTER
    key = submit(pipeline.beamline, bare_run(pipeline.beamline.source_root / "A001"), as_is=True).key
    take(pipeline.beamline, key)
    later.advance(SETTLES.total_seconds() + 1)
    pipeline.instance.add_dynamic_partitions("xpcs_runs", [key])
    job = pipeline.repository.get_job("xpcs_ingest")
    pipeline.instance.create_run_for_job(
        job, tags={PARTITION_NAME_TAG: key, "beamline": "xpcs"}, status=dg.DagsterRunStatus.STARTED
    )
    assert tick(pipeline, "reconcile").run_requests in (None, [])


def test_what_was_staged_and_goes_no_further_is_taken_up_from_its_copy(pipeline: Pipeline, later: HandClock) -> None:
    later.now -= QUARTER
    key = pipeline.drop(pipeline.simulated().folder)
    assert pipeline.run("ingest", key, only=("raw_file", "staged_copy")).success
    later.now += QUARTER
    audited = look(pipeline, "audit")
    assert "not in the catalog" in why_it_failed(audited)
    selections = [[key.path[1] for key in each.asset_selection] for each in tick(pipeline, "reconcile").run_requests]
    assert selections == [["correlation", "plots", "metadata", "catalog_entry", "result_entry"]]


def test_a_step_whose_note_could_not_be_written_is_shown_as_failed_until_one_behind_it_is_done(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = pipeline.drop(pipeline.simulated().folder)
    note = Ledger.note

    def locked(self: Ledger, beamline: str, run_key: str, step: str, *rest: Any) -> Any:
        if step == "staged_copy":
            raise LedgerError("the ledger could not be read or written (database is locked)")
        return note(self, beamline, run_key, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "note", locked)
        assert not pipeline.run("ingest", key, only=("raw_file", "staged_copy")).success
    assert state_of(pipeline.beamline, key).word == "working"
    for _ in range(2):
        tick(pipeline, "reconcile")
        state = state_of(pipeline.beamline, key)
        assert state.word == "failed"
        assert "staged_copy: " in state.reason
        assert "database is locked" in state.reason
        assert sum(event.step == "staged_copy" for event in state.timeline) == 1
    assert pipeline.run("ingest", key, only=("metadata",)).success
    assert state_of(pipeline.beamline, key).word == "working"
