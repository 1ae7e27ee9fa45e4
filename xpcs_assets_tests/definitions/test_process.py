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
from xpcs_assets.campaign.campaign import DONE, Campaign, begin, progress
from xpcs_assets.compute.remote import Remote
from xpcs_assets.compute.remote_asking import Asking
from xpcs_assets.definitions import build_defs
from xpcs_assets.follow import state_of
from xpcs_assets.reprocess import config_of
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


def at_a_back_end(
    beamline: OpenBeamline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[OpenBeamline, FakeBackend, HandClock]:
    """The beamline with a back end that tests play, and the time of both."""
    beamline.engine.dispose()
    configure(beamline.site, step="process", python=sys.executable, every="1 s", settle="0 s", call="1 s")
    site = Site(beamline.site.home)
    beamline = OpenBeamline(site, site.beamline("xpcs"))
    (tmp_path / "cluster").mkdir()
    backend, clock = FakeBackend(tmp_path / "cluster"), HandClock()
    watch = lambda: clock.now.timestamp()  # noqa: E731
    monkeypatch.setattr(Remote, "of", lambda opened: Remote(opened, Asking(opened.site, lambda *_: backend, watch)))
    monkeypatch.setattr("xpcs_assets.copies.database.clock_of", lambda _: clock)
    return beamline, backend, clock


def asked_of(beamline: OpenBeamline, instance: dg.DagsterInstance, clock: HandClock) -> dg.RunRequest:
    """The one run that the sensor of analyses asks for."""
    repository = build_defs(beamline.site).get_repository_def()
    requests: list[dg.RunRequest] = []
    for _ in range(2):
        clock.advance(120)
        told = repository.get_sensor_def("xpcs_analyses")(
            dg.build_sensor_context(instance=instance, repository_def=repository)
        )
        requests += getattr(told, "run_requests", None) or []
    (request,) = requests
    return request


def test_a_command_at_a_back_end_is_waited_for_by_no_run_and_taken_by_one_of_its_own(
    beamline: OpenBeamline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beamline, backend, clock = at_a_back_end(beamline, tmp_path, monkeypatch)
    with dg.DagsterInstance.ephemeral() as instance:
        first = ingest(beamline, instance, records=b"12345")
        assert first.success
        made_at_once = {str(event.asset_key) for event in first.get_asset_materialization_events()}
        assert str(dg.AssetKey(["xpcs", "processed"])) not in made_at_once
        assert "waits for job xpcs-xpcs-r1-" in state_of(beamline, "R1").reason
        assert backend.run("1") == 0
        request = asked_of(beamline, instance, clock)
        assert request.run_config == {}
        second = (
            build_defs(beamline.site)
            .get_repository_def()
            .get_job("xpcs_ingest")
            .execute_in_process(
                instance=instance,
                partition_key="R1",
                tags=request.tags,
                asset_selection=request.asset_selection,
            )
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


def with_a_context(beamline: OpenBeamline) -> OpenBeamline:
    """The beamline, whose command is told a context."""
    file = beamline.site.home / "beamlines" / "xpcs.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    program = "import pathlib, sys; pathlib.Path(sys.argv[1], 'count.txt').write_text(sys.argv[2])"
    content["pipeline"]["process"]["command"] = [sys.executable, "-c", program, "{output}", "{context}"]
    content["pipeline"]["process"]["context"] = "v16"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    beamline.engine.dispose()
    site = Site(beamline.site.home)
    return OpenBeamline(site, site.beamline("xpcs"))


def test_a_campaign_has_a_command_called_with_another_context_under_its_name(beamline: OpenBeamline) -> None:
    beamline = with_a_context(beamline)
    with dg.DagsterInstance.ephemeral() as instance:
        own = ingest(beamline, instance, records=b"12345")
        begin(beamline, Campaign("newer", ("R1",), config_of(beamline, None, ["context=v17"]), 1), "a scientist")
        (request,) = tick(beamline, instance).run_requests or ()
        assert request.partition_key == "R1~newer"
        instance.add_dynamic_partitions("xpcs_runs", ["R1~newer"])
        job = build_defs(beamline.site).get_repository_def().get_job("xpcs_ingest")
        other = job.execute_in_process(
            instance=instance,
            partition_key="R1~newer",
            run_config=request.run_config,
            asset_selection=request.asset_selection,
        )
        tick(beamline, instance)
    told = []
    for done in (own, other):
        (made,) = done.asset_materializations_for_node("xpcs__processed")
        told.append((beamline.root("made") / str(made.metadata["path"].value) / "count.txt").read_text())
    assert told == ["v16", "v17"]
    assert [member.state for member in progress(beamline, "newer").members] == [DONE]
    assert state_of(beamline, "R1~newer").word == "done"
    beamline.engine.dispose()


def tick(beamline: OpenBeamline, instance: dg.DagsterInstance) -> dg.SensorResult:
    """What the sensor of campaigns says."""
    repository = build_defs(beamline.site).get_repository_def()
    context = dg.build_sensor_context(instance=instance, repository_def=repository)
    found = repository.get_sensor_def("xpcs_campaigns")(context)
    return found if isinstance(found, dg.SensorResult) else dg.SensorResult()


def test_what_a_reprocessing_at_a_back_end_asks_otherwise_is_known_to_the_run_that_takes_it(
    beamline: OpenBeamline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beamline, backend, clock = at_a_back_end(with_a_context(beamline), tmp_path, monkeypatch)
    config = {"ops": {"xpcs__processed": {"config": {"context": "v17"}}}}
    job = build_defs(beamline.site).get_repository_def().get_job("xpcs_ingest")
    only = [dg.AssetKey(["xpcs", "processed"])]
    with dg.DagsterInstance.ephemeral() as instance:
        ingest(beamline, instance, records=b"12345")
        instance.add_dynamic_partitions("xpcs_runs", ["R1~newer"])
        job.execute_in_process(instance=instance, partition_key="R1~newer", run_config=config, asset_selection=only)
        assert backend.run("2") == 0
        request = asked_of(beamline, instance, clock)
        assert (request.partition_key, request.run_config) == ("R1~newer", config)
        done = job.execute_in_process(
            instance=instance,
            partition_key="R1~newer",
            run_config=request.run_config,
            tags=request.tags,
            asset_selection=only,
        )
    (made,) = done.asset_materializations_for_node("xpcs__processed")
    assert (beamline.root("made") / str(made.metadata["path"].value) / "count.txt").read_text() == "v17"
    beamline.engine.dispose()
