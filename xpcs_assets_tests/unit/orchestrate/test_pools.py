"""What beamlines share: who has it, who waits, who need not wait, and what a dead holder leaves."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from importlib import resources
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
import yaml
from dagster import DagsterInstance, instance_for_test
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run_iterator
from dagster._core.execution.plan import instance_concurrency_context as waiting
from dagster._daemon.monitoring import concurrency as monitoring
from dagster._time import get_current_datetime

from xpcs_assets.orchestrate.adapter import set_pool_limits
from xpcs_assets.orchestrate.bindings import GPU, TAPE, TRANSFER
from xpcs_assets.orchestrate.coordinator import BeamlineRunCoordinator
from xpcs_assets.orchestrate.executor import SleepingContext, one_process
from xpcs_assets.settings import Pools
from xpcs_assets.site import SITE_FILE, Site
from xpcs_assets_tests.unit.orchestrate.conftest import MakeRun


def limits_of(instance: DagsterInstance) -> dict[str, int]:
    return {pool.name: int(pool.limit or 0) for pool in instance.event_log_storage.get_pool_limits()}


def shipped() -> dict[str, Any]:
    """What a new site's ``dagster.yaml`` says."""
    text = resources.files("xpcs_assets").joinpath("templates", "dagster.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text.replace("@MAX_CONCURRENT@", "4")))


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    said = shipped()
    overrides = {name: said[name] for name in ("run_coordinator", "concurrency", "run_monitoring")}
    with instance_for_test(overrides=overrides) as made:
        yield made


def test_the_pools_that_steps_name_are_those_that_the_site_file_has() -> None:
    assert Pools().model_dump() == {GPU: 1, TAPE: 1, TRANSFER: 4}


def test_the_daemon_gives_pools_the_limits_of_the_site_file_whenever_it_has_others(
    instance: DagsterInstance, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XPCS_ASSETS_HOME", str(site.home))
    assert limits_of(instance) == {}
    instance.get_concurrency_config()  # as the daemon asks, every second
    assert limits_of(instance) == {"gpu": 1, "tape": 1, "transfer": 4}
    file = site.home / SITE_FILE
    text = file.read_text(encoding="utf-8")
    file.write_text(f"{text}\npools: {{gpu: 3}}\n", encoding="utf-8")
    instance.get_concurrency_config()
    assert limits_of(instance) == {"gpu": 3, "tape": 1, "transfer": 4}
    set_pool_limits(instance, {"tape": 2})  # as `dagster instance concurrency set` does
    instance.get_concurrency_config()
    assert limits_of(instance)["tape"] == 2, "nobody writes while the file is the same"
    file.write_text(f"{text}\npools: {{gpu: none}}\n", encoding="utf-8")
    instance.get_concurrency_config()
    assert limits_of(instance)["gpu"] == 3, "a file that cannot be read changes nothing"


def test_a_coordinator_without_an_instance_writes_no_limit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XPCS_ASSETS_HOME", str(site.home))
    assert BeamlineRunCoordinator().get_run_queue_config().tag_concurrency_limits


class Going:
    """A run of a beamline with a step that holds the tape and a light one, brought on event by event."""

    def __init__(self, instance: DagsterInstance, name: str) -> None:
        @dg.asset(key=[name, "heavy"], pool=TAPE, op_tags={"dagster/priority": "1"})
        def heavy() -> None: ...

        @dg.asset(key=[name, "light"])
        def light() -> None: ...

        job = dg.define_asset_job(name, executor_def=one_process)
        made = dg.Definitions(assets=[heavy, light], jobs=[job]).resolve_job_def(name)
        self.seen: list[str] = []
        run = instance.create_run_for_job(made)
        self.run_id = run.run_id
        self.events = execute_run_iterator(InMemoryJob(made), run, instance)

    def until(self, end: str) -> None:
        for event in self.events:
            step = (event.step_key or "").rpartition("__")[2]
            self.seen.append(f"{event.event_type_value} {step}".strip())
            if self.seen[-1] == end:
                return
        pytest.fail(f"{end} never came: {self.seen}")


def holders(instance: DagsterInstance, pool: str) -> set[str]:
    """The runs that have a slot of a pool, or to which one is given."""
    known = instance.event_log_storage.get_concurrency_info(pool)
    assigned = {step.run_id for step in known.pending_steps if step.assigned_timestamp is not None}
    return assigned | {slot.run_id for slot in known.claimed_slots}


def test_two_beamlines_never_hold_a_pool_of_one_together_and_a_third_ones_light_steps_go_on(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "INITIAL_INTERVAL_VALUE", 0.1)
    set_pool_limits(instance, Pools().model_dump())
    one, two, three = (Going(instance, name) for name in ("one", "two", "three"))
    one.until("STEP_START heavy")
    for other in (two, three):
        other.until("STEP_SUCCESS light")
        assert "STEP_START heavy" not in other.seen, "it is the first by its priority, and waits"
    assert instance.event_log_storage.get_concurrency_info(TAPE).active_slot_count == 1
    going = {each.run_id: each for each in (one, two, three)}
    while going:
        # Who has the slot, or is given it next: to bring on another would be to wait for it in vain.
        (holder,) = holders(instance, TAPE)
        beamline = going.pop(holder)
        beamline.until("PIPELINE_SUCCESS")
        assert "STEP_SUCCESS heavy" in beamline.seen
        assert list(beamline.events) == []


def test_a_step_that_waits_for_a_slot_asks_again_after_a_while_and_sleeps_meanwhile(
    instance: DagsterInstance, make_run: MakeRun
) -> None:
    set_pool_limits(instance, {TAPE: 1})
    with SleepingContext(instance, make_run()) as first, SleepingContext(instance, make_run()) as second:
        assert first.claim(TAPE, "archive")
        assert first.interval_to_next_pending_claim_check() == 0
        assert not second.claim(TAPE, "archive")
        assert 0.5 < second.interval_to_next_pending_claim_check() <= 2
        first.free_step("archive")


def test_the_slot_of_a_dead_run_is_free_again_seconds_after_its_end(
    instance: DagsterInstance, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_pool_limits(instance, {TAPE: 1})
    storage = instance.event_log_storage
    dead, next_one = make_run(), make_run()
    assert storage.claim_concurrency_slot(TAPE, dead.run_id, "archive").is_claimed
    assert not storage.claim_concurrency_slot(TAPE, next_one.run_id, "archive").is_claimed

    def monitored() -> None:
        """A look of run monitoring, which is told of the instance alone."""
        workspace = cast("Any", SimpleNamespace(instance=instance))
        for _ in monitoring.execute_concurrency_slots_iteration(workspace, logging.getLogger("monitoring")):
            pass

    monitored()
    assert not storage.claim_concurrency_slot(TAPE, next_one.run_id, "archive").is_claimed, "its run goes on"
    instance.report_run_failed(instance.get_run_by_id(dead.run_id), "its worker was killed")
    monitored()
    assert not storage.claim_concurrency_slot(TAPE, next_one.run_id, "archive").is_claimed, "it may end just now"
    later = get_current_datetime() + timedelta(seconds=shipped()["run_monitoring"]["free_slots_after_run_end_seconds"])
    monkeypatch.setattr(monitoring, "get_current_datetime", lambda: later + timedelta(seconds=1))
    monitored()
    assert storage.claim_concurrency_slot(TAPE, next_one.run_id, "archive").is_claimed
