"""Every run is queued under its beamline, whoever launched it."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest
from dagster import AssetKey, DagsterInstance, DagsterRun, DagsterRunStatus, instance_for_test
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon

from xpcs_assets.orchestrate.adapter import BEAMLINE_TAG
from xpcs_assets.orchestrate.coordinator import BeamlineRunCoordinator
from xpcs_assets.site import Site
from xpcs_assets_tests.unit.orchestrate.conftest import REPOSITORY, MakeRun

NO_WORKSPACE = cast("Any", None)


@pytest.fixture
def coordinator(instance: DagsterInstance) -> BeamlineRunCoordinator:
    coordinator = BeamlineRunCoordinator()
    coordinator.register_instance(instance)
    return coordinator


def queued(coordinator: BeamlineRunCoordinator, run: DagsterRun) -> DagsterRun:
    return coordinator.submit_run(SubmitRunContext(run, NO_WORKSPACE))


def test_a_run_of_one_beamlines_assets_gets_its_tag(coordinator: BeamlineRunCoordinator, make_run: MakeRun) -> None:
    assets = [AssetKey(["aps-8-id-i", name]) for name in ("raw_file", "correlation")]
    run = queued(coordinator, make_run("__ASSET_JOB", *assets))
    assert run.tags[BEAMLINE_TAG] == "aps-8-id-i"
    assert run.status is DagsterRunStatus.QUEUED


def test_a_tag_that_a_run_has_stays(coordinator: BeamlineRunCoordinator, make_run: MakeRun) -> None:
    run = make_run("ingest", AssetKey(["xpcs", "raw_file"]), tags={BEAMLINE_TAG: "mine"})
    assert queued(coordinator, run).tags[BEAMLINE_TAG] == "mine"


def test_each_beamlines_own_limit_comes_before_what_dagster_yaml_says(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XPCS_ASSETS_HOME", str(site.home))
    file = site.home / "beamlines" / "xpcs.yaml"
    text = file.read_text()
    coordinator = BeamlineRunCoordinator(tag_concurrency_limits=[{"key": "gpu", "limit": 1}])
    for most in (3, 7):  # the file is read again when it has changed
        file.write_text(re.sub(r"max_runs: \d+", f"max_runs: {most}", text))
        os.utime(file, (most, most))
        limits = coordinator.get_run_queue_config().tag_concurrency_limits
        assert list(limits) == [{"key": "beamline", "value": "xpcs", "limit": most}, {"key": "gpu", "limit": 1}]


def test_without_a_site_the_queue_keeps_to_dagster_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XPCS_ASSETS_HOME", str(tmp_path))
    assert list(BeamlineRunCoordinator().get_run_queue_config().tag_concurrency_limits) == []


@pytest.mark.parametrize("beamlines", [(), ("one", "two")])
def test_a_run_of_no_beamline_or_of_two_is_queued_without_a_tag(
    coordinator: BeamlineRunCoordinator, make_run: MakeRun, beamlines: tuple[str, ...]
) -> None:
    run = queued(coordinator, make_run("job", *(AssetKey([name, "raw_file"]) for name in beamlines)))
    assert BEAMLINE_TAG not in run.tags
    assert run.status is DagsterRunStatus.QUEUED


def test_a_beamline_that_floods_the_queue_leaves_its_neighbour_prompt(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XPCS_ASSETS_HOME", str(site.home))
    text = (site.home / "beamlines" / "xpcs.yaml").read_text()
    for name in ("xpcs", "calm"):
        limited = re.sub(r"max_runs: \d+", "max_runs: 4", text).replace("beamline: xpcs", f"beamline: {name}")
        (site.home / "beamlines" / f"{name}.yaml").write_text(limited)
    queue = {"module": "xpcs_assets.orchestrate.coordinator", "class": "BeamlineRunCoordinator"}
    overrides = {"run_coordinator": queue, "concurrency": {"runs": {"max_concurrent_runs": 8}}}
    with instance_for_test(overrides=overrides) as instance:
        coordinator = instance.run_coordinator
        assert isinstance(coordinator, BeamlineRunCoordinator)

        def asked_for(beamline: str, count: int) -> None:
            for _ in range(count):
                made = create_run_for_test(
                    instance,
                    "ingest",
                    asset_selection=frozenset([AssetKey([beamline, "raw_file"])]),
                    remote_job_origin=REPOSITORY.get_job_origin("ingest"),
                )
                queued(coordinator, made)

        def begun() -> Counter[str]:
            """What the daemon would start now; it is then under way."""
            daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
            runs = daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None)
            for run in runs:
                instance.report_run_canceling(run)  # any state of a run that has a slot
            return Counter(run.tags[BEAMLINE_TAG] for run in runs)

        asked_for("xpcs", 60)
        assert begun() == {"xpcs": 4}
        assert begun() == {}
        asked_for("calm", 3)
        assert begun() == {"calm": 3}
