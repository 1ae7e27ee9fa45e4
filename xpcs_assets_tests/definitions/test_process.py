"""A beamline whose analysis is a command: the whole chain of a run of any kind of data, and a failure that shows."""

from __future__ import annotations

import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from xpcs_assets.arrive.submit import submit
from xpcs_assets.audit.reconcile import SETTLES
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.remote import Remote
from xpcs_assets.compute.remote_asking import Asking
from xpcs_assets.definitions import build_defs
from xpcs_assets.follow import state_of
from xpcs_assets.site import Site
from xpcs_assets.testing.fake_backend import FakeBackend
from xpcs_assets_tests.remote import configure
from xpcs_assets_tests.storage import HandClock

COUNT = """
import pathlib, sys
raw, output = map(pathlib.Path, sys.argv[1:])
if (raw / "broken").exists():
    sys.exit("the records are broken")
(output / "count.txt").write_text(str(sum(path.stat().st_size for path in raw.iterdir())))
"""


@pytest.fixture
def beamline(home: Path) -> OpenBeamline:
    file = home / "beamlines" / "xpcs.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    del content["pipeline"]["correlate"]
    command = [sys.executable, "-c", COUNT, "{raw}", "{output}"]
    content["pipeline"]["process"] = {"command": command, "outputs": ["count.txt"], "to": "made"}
    content["places"]["made"] = {"kind": "posix", "root": "made"}
    content["runs"]["expect"] = []
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    (home / "made").mkdir()
    site = Site(home)
    return OpenBeamline(site, site.beamline("xpcs"))


def ingest(beamline: OpenBeamline, instance: dg.DagsterInstance, **files: bytes) -> dg.ExecuteInProcessResult:
    run = beamline.source_root / "R1"
    run.mkdir()
    for name, content in files.items():
        (run / name).write_bytes(content)
    submit(beamline, run)
    instance.add_dynamic_partitions("xpcs_runs", ["R1"])
    job = build_defs(beamline.site).get_repository_def().get_job("xpcs_ingest")
    return job.execute_in_process(instance=instance, partition_key="R1", raise_on_error=False)


def test_a_command_at_a_back_end_is_waited_for_by_no_run_and_taken_by_one_of_its_own(
    beamline: OpenBeamline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beamline.engine.dispose()
    configure(beamline.site, step="process", python=sys.executable, every="1 s", settle="0 s", call="1 s")
    site = Site(beamline.site.home)
    beamline = OpenBeamline(site, site.beamline("xpcs"))
    (tmp_path / "cluster").mkdir()
    backend, clock = FakeBackend(tmp_path / "cluster"), HandClock()
    watch = lambda: clock.now.timestamp()  # noqa: E731
    monkeypatch.setattr(Remote, "of", lambda opened: Remote(opened, Asking(opened.site, lambda *_: backend, watch)))
    monkeypatch.setattr("xpcs_assets.copies.database.clock_of", lambda _: clock)
    with dg.DagsterInstance.ephemeral() as instance:
        first = ingest(beamline, instance, records=b"12345")
        assert first.success
        made_at_once = {str(event.asset_key) for event in first.get_asset_materialization_events()}
        assert str(dg.AssetKey(["xpcs", "processed"])) not in made_at_once
        assert "waits for job xpcs-xpcs-r1-" in state_of(beamline, "R1").reason
        assert backend.run("1") == 0
        repository = build_defs(beamline.site).get_repository_def()
        requests: list[dg.RunRequest] = []
        for _ in range(2):
            clock.advance(120)
            told = repository.get_sensor_def("xpcs_analyses")(
                dg.build_sensor_context(instance=instance, repository_def=repository)
            )
            requests += getattr(told, "run_requests", None) or []
        (request,) = requests
        assert request.run_config == {}
        second = repository.get_job("xpcs_ingest").execute_in_process(
            instance=instance,
            partition_key="R1",
            tags=request.tags,
            asset_selection=request.asset_selection,
        )
        (made,) = second.asset_materializations_for_node("xpcs__processed")
    assert (made.metadata["backend"].value, made.metadata["attempt"].value) == ("cluster", 1)
    assert (beamline.root("made") / str(made.metadata["path"].value) / "count.txt").read_text() == "5"
    assert {step.state for step in state_of(beamline, "R1").steps if step.asset != "archive"} == {"done"}
    beamline.engine.dispose()


def test_a_run_is_done_when_the_commands_outputs_have_their_names(beamline: OpenBeamline) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        done = ingest(beamline, instance, records=b"12345")
        assert done.success
        (made,) = done.asset_materializations_for_node("xpcs__processed")
        path = beamline.root("made") / str(made.metadata["path"].value) / "count.txt"
        assert path.read_text() == "5"
    state = state_of(beamline, "R1")
    steps = {step.asset: step.state for step in state.steps if step.asset != "archive"}
    assert steps == dict.fromkeys(("raw_file", "staged_copy", "processed", "metadata", "catalog_entry"), "done")
    beamline.engine.dispose()


def test_a_command_that_fails_is_the_runs_failure_with_its_last_words(beamline: OpenBeamline) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert not ingest(beamline, instance, broken=b"12345").success
    (failed,) = state_of(beamline, "R1").failed
    assert failed.asset == "processed"
    assert "the records are broken" in failed.reason
    beamline.engine.dispose()


def test_a_run_that_was_staged_and_never_processed_is_asked_for_again(
    beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HandClock()
    monkeypatch.setattr("xpcs_assets.copies.database.clock_of", lambda _: clock)
    with dg.DagsterInstance.ephemeral() as instance:
        ingest(beamline, instance, broken=b"12345")
        clock.advance(SETTLES.total_seconds() + 1)
        repository = build_defs(beamline.site).get_repository_def()
        context = dg.build_sensor_context(instance=instance, repository_def=repository)
        (asked,) = repository.get_sensor_def("xpcs_reconcile")(context).run_requests
        again = {key.path[-1] for key in asked.asset_selection}
    assert again == {"processed", "metadata", "catalog_entry"}
    beamline.engine.dispose()
