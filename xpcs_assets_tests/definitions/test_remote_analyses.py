"""Analyses on a back end, as Dagster has them done: the run ends at once, a sensor has the result taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from xpcs_assets.audit.reconcile import SETTLES
from xpcs_assets.compute.backend import Phase, Seen
from xpcs_assets.compute.remote import Remote
from xpcs_assets.compute.remote_asking import Asking
from xpcs_assets.copies.ledger import JobState, Ledger
from xpcs_assets.follow import state_of, wait
from xpcs_assets.orchestrate.adapter import JOB_TAG, newest
from xpcs_assets.site import Site
from xpcs_assets.testing.fake_backend import FakeBackend
from xpcs_assets_tests.definitions.conftest import TO_G2, Pipeline, open_pipeline
from xpcs_assets_tests.remote import configure
from xpcs_assets_tests.storage import HandClock

TO_RESULT = (*TO_G2, "metadata", "catalog_entry", "plots", "result_entry")


@dataclass
class Far:
    """A site whose analyses run on a back end that the test plays."""

    pipeline: Pipeline
    backend: FakeBackend
    clock: HandClock

    def tick(self) -> list[dg.RunRequest]:
        """What the sensor asks for."""
        self.clock.advance(120)
        context = dg.build_sensor_context(instance=self.pipeline.instance, repository_def=self.pipeline.repository)
        told = self.pipeline.repository.get_sensor_def("xpcs_analyses")(context)
        return list(getattr(told, "run_requests", None) or [])

    def do(self, request: dg.RunRequest, tags: Mapping[str, str] | None = None) -> dg.ExecuteInProcessResult:
        """Do what the sensor asks for."""
        job = self.pipeline.repository.get_job("xpcs_ingest")
        return job.execute_in_process(
            instance=self.pipeline.instance,
            partition_key=request.partition_key,
            run_config=request.run_config,
            tags={**request.tags, **(tags or {})},
            raise_on_error=False,
            asset_selection=request.asset_selection,
        )

    def made(self, result: dg.ExecuteInProcessResult) -> set[str]:
        """The assets that a run materialised."""
        return {event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key}


@pytest.fixture
def far(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Far]:
    import sys

    configure(Site(home), python=sys.executable, settle="0 s", every="1 s", call="1 s")
    (tmp_path / "cluster").mkdir()
    backend, clock = FakeBackend(tmp_path / "cluster"), HandClock()
    watch = lambda: clock.now.timestamp()  # noqa: E731
    monkeypatch.setattr(Remote, "of", lambda opened: Remote(opened, Asking(opened.site, lambda *_: backend, watch)))
    monkeypatch.setattr("xpcs_assets.copies.database.clock_of", lambda _: clock)
    for pipeline in open_pipeline(home):
        yield Far(pipeline, backend, clock)


def test_a_run_ends_without_its_g2_and_another_takes_it_once_it_is_made(far: Far) -> None:
    key = far.pipeline.drop(far.pipeline.simulated().folder)
    first = far.pipeline.run("ingest", key)
    assert first.success
    assert far.made(first) == {"raw_file", "staged_copy", "metadata", "catalog_entry"}
    state = state_of(far.pipeline.beamline, key)
    assert state.word == "working"
    assert state.reason.startswith("waits for job xpcs-xpcs-")
    assert far.tick() == []
    assert "on cluster (1): PENDING (Priority), since 2024-05-01 12:" in state_of(far.pipeline.beamline, key).reason
    assert wait(far.pipeline.beamline, key, timeout_s=0) == 3
    far.backend.run("1")
    (request,) = far.tick()
    assert (request.partition_key, request.run_config) == (key, {})
    assert far.tick() == []  # asked for once
    assert wait(far.pipeline.beamline, key, timeout_s=0) == 3
    second = far.do(request)
    assert second.success
    assert far.made(second) == {"correlation", "plots", "result_entry"}
    assert {step.asset for step in state_of(far.pipeline.beamline, key).steps if step.state != "done"} == {"archive"}
    assert wait(far.pipeline.beamline, key, timeout_s=0) == 0
    found = newest(far.pipeline.instance, dg.AssetKey(["xpcs", "correlation"]), key)
    result = far.pipeline.beamline.result(key)
    assert found is not None
    assert (found.data_version, result.report["reused"]) == (result.result_digest, False)
    assert [job.state for job in far.pipeline.beamline.ledger.jobs("xpcs")] == [JobState.DONE]
    assert far.pipeline.check("correlation", "g2_sane", key) is not None


def test_a_reprocessing_is_taken_with_its_own_recipe(far: Far) -> None:
    key = far.pipeline.drop(far.pipeline.simulated().folder)
    far.pipeline.run("ingest", key, only=TO_G2[:2])
    named = f"{key}~wide"
    far.pipeline.instance.add_dynamic_partitions("xpcs_runs", [named])
    config = {"ops": {"xpcs__correlation": {"config": {"stride": 2}}}}
    far.pipeline.run("ingest", named, run_config=config, only=("correlation",))
    far.backend.run("1")
    (request,) = far.tick()
    assert request.run_config["ops"]["xpcs__correlation"]["config"]["stride"] == 2
    request = dg.RunRequest(**{**request._asdict(), "asset_selection": [dg.AssetKey(["xpcs", "correlation"])]})
    assert far.made(far.do(request)) == {"correlation"}
    (result,) = far.pipeline.beamline.ledger.results("xpcs", key)
    assert (result.analysis_key, result.report["recipe"]["settings"]["stride"]) == (named, 2)


def test_what_was_given_up_fails_visibly_once_and_the_raw_data_go_on(far: Far) -> None:
    key = far.pipeline.drop(far.pipeline.simulated().folder)
    far.pipeline.run("ingest", key, only=TO_RESULT)
    words = '{"error": "the q-map is damaged", "where": "q.hdf", "remedy": "", "kind": "QmapError"}'
    far.backend.say("1", Seen(Phase.ENDED, 1, "FAILED"), words)
    (request,) = far.tick()
    assert state_of(far.pipeline.beamline, key).word == "working"
    failed = far.do(request)
    assert not failed.success
    state = state_of(far.pipeline.beamline, key)
    assert [step.asset for step in state.failed] == ["correlation"]
    assert "given up after 1 attempts: q.hdf: the q-map is damaged" in state.reason
    assert wait(far.pipeline.beamline, key, timeout_s=0) == 1
    assert wait(far.pipeline.beamline, key, asset="catalog_entry", timeout_s=0) == 0
    far.clock.advance(86400)
    assert far.tick() == []
    only = dg.RunRequest(**{**request._asdict(), "asset_selection": [dg.AssetKey(["xpcs", "correlation"])]})
    lost = {"dagster/parent_run_id": failed.run_id, "dagster/retry_number": "1"}
    assert not far.do(only, lost).success  # Dagster had lost the process: nothing new is begun
    assert far.do(only, {"dagster/parent_run_id": failed.run_id}).success  # a person had it executed again
    assert len(far.backend.jobs()) == 2
    assert state_of(far.pipeline.beamline, key).word == "working"


def test_multitau_alone_of_what_was_too_big_is_asked_for_under_a_name_of_its_own(far: Far) -> None:
    key = far.pipeline.drop(far.pipeline.simulated().folder)
    far.pipeline.run("ingest", key, only=TO_G2[:2])
    named = f"{key}~both"
    far.pipeline.instance.add_dynamic_partitions("xpcs_runs", [named])
    config = {"ops": {"xpcs__correlation": {"config": {"analysis_type": "both", "stride": 2}}}}
    far.pipeline.run("ingest", named, run_config=config, only=("correlation",))
    for job_id in ("1", "2"):
        far.backend.say(job_id, Seen(Phase.ENDED, 1, "TIMEOUT", is_too_big=True))
        requests = far.tick()
        requests = far.tick() or requests
    whole, alone = requests
    assert (whole.partition_key, alone.partition_key) == (named, f"{named}-without-twotime")
    assert not far.do(whole).success
    reason = state_of(far.pipeline.beamline, named).reason
    assert f"Its multi-tau alone is asked for as {named}-without-twotime" in reason
    far.pipeline.instance.add_dynamic_partitions("xpcs_runs", [str(alone.partition_key)])
    assert far.do(alone).success
    words = far.backend.jobs()["3"].words
    assert "--type=both" not in words
    assert "--stride=2" in words


def test_a_request_that_came_to_nothing_is_repeated_later(far: Far) -> None:
    key = far.pipeline.drop(far.pipeline.simulated().folder)
    far.pipeline.run("ingest", key, only=TO_G2)
    far.backend.run("1")
    first = far.tick()
    far.clock.advance(700)
    second = far.tick()
    assert [len(first), len(second)] == [1, 1]
    assert first[0].run_key != second[0].run_key
    assert first[0].tags[JOB_TAG] == second[0].tags[JOB_TAG]


def test_what_waits_for_a_job_is_not_taken_for_missed(far: Far) -> None:
    key = far.pipeline.drop(far.pipeline.simulated().folder)
    far.pipeline.run("ingest", key, only=TO_G2)
    far.clock.advance(SETTLES.total_seconds() * 10)
    context = dg.build_sensor_context(instance=far.pipeline.instance, repository_def=far.pipeline.repository)
    told = far.pipeline.repository.get_sensor_def("xpcs_reconcile")(context)
    assert [request.partition_key for request in told.run_requests or []] == []  # type: ignore[union-attr]
    ledger = Ledger(far.pipeline.beamline.engine, far.clock)
    (job,) = ledger.jobs("xpcs")
    ledger.change_job(job, JobState.DONE)
    told = far.pipeline.repository.get_sensor_def("xpcs_reconcile")(context)
    assert [request.partition_key for request in told.run_requests or []] == [key]  # type: ignore[union-attr]


def test_a_beamline_that_analyses_here_has_no_such_sensor(pipeline: Pipeline) -> None:
    assert not any(each.name == "xpcs_analyses" for each in pipeline.repository.sensor_defs)
