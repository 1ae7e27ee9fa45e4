"""Catalogs outside the site in Dagster: entries are made whether they answer or not, and the job tells what waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from xpcs_assets.catalog.cataloguing import catalogue_raw
from xpcs_assets.catalog.delivery import gather, outbox_of, reach_of
from xpcs_assets.catalog.outbox import EntryState
from xpcs_assets.catalog.query import Search
from xpcs_assets.catalog.reader import CatalogReader
from xpcs_assets.catalog.sensors import LATER, LOUD_AFTER
from xpcs_assets.catalog.viewer import Viewer
from xpcs_assets.copies import clock as clocks
from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.definitions import build_defs
from xpcs_assets.errors import CatalogUnavailableError, SettingsError
from xpcs_assets.site import Site
from xpcs_assets.testing.scicat_server import ScicatServer
from xpcs_assets_tests.definitions.conftest import TO_CATALOG, Pipeline, edit, open_pipeline
from xpcs_assets_tests.definitions.test_looking_after import why_it_failed
from xpcs_assets_tests.scicat import PREFIX
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.catalog.told import NAME, described_run, tell


@pytest.fixture
def server() -> Iterator[ScicatServer]:
    with ScicatServer() as running:
        yield running


@pytest.fixture
def telling(home: Path, server: ScicatServer) -> Iterator[Pipeline]:
    """The site's jobs, whose runs are told to the server."""
    tell(home, server.url)
    yield from open_pipeline(home)


@pytest.fixture
def later(telling: Pipeline, monkeypatch: pytest.MonkeyPatch) -> HandClock:
    """A clock for every ledger that jobs and sensors open."""
    hand = HandClock(clocks.utc_now())
    monkeypatch.setattr("xpcs_assets.copies.database.clock_of", lambda engine: hand)
    vars(telling.beamline)["ledger"] = Ledger(telling.beamline.engine, hand)
    return hand


def tick(pipeline: Pipeline, cursor: str | None = None) -> Any:
    sensor = pipeline.repository.get_sensor_def("xpcs_catalogs")
    with dg.build_sensor_context(
        instance=pipeline.instance, repository_def=pipeline.repository, cursor=cursor
    ) as context:
        return sensor(context)


def tell_all(pipeline: Pipeline) -> dg.ExecuteInProcessResult:
    job = pipeline.repository.get_job("xpcs_tell_catalogs")
    return job.execute_in_process(instance=pipeline.instance, raise_on_error=False)


def said_of(pipeline: Pipeline, asset: str) -> dict[str, Any]:
    event = pipeline.instance.get_latest_materialization_event(dg.AssetKey(["xpcs", asset]))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_a_beamline_that_tells_no_catalog_has_neither_job_nor_sensor(home: Path) -> None:
    found = build_defs(Site(home)).get_repository_def()
    assert "xpcs_tell_catalogs" not in found.job_names
    assert not found.has_sensor_def("xpcs_catalogs")


def test_a_changed_roster_is_followed_at_the_next_tick_of_a_beamline_that_tells_no_catalog(home: Path) -> None:
    def tick_roster() -> Any:
        sensor = pipeline.repository.get_sensor_def("xpcs_roster")
        with dg.build_sensor_context(instance=pipeline.instance, repository_def=pipeline.repository) as context:
            return sensor(context)

    def seen_by(group: str) -> int:
        return CatalogReader(pipeline.beamline.engine, Viewer.of([group])).count(Search()).total

    (home / "roster.yaml").write_text("P-1234: {groups: [pi, guests]}\n", encoding="utf-8")
    with (home / "site.yaml").open("a", encoding="utf-8") as file:
        file.write("\nroster: {file: roster.yaml}\n")
    edit(home, "\nruns:", "\nruns:\n  owner: {proposal: P-1234}")
    for pipeline in open_pipeline(home):
        described_run(pipeline.beamline)
        catalogue_raw(pipeline.beamline, "A001")
        assert tick_roster().skip_message == "seen by whom the roster names"
        assert seen_by("guests") == seen_by("pi") == 1
        (home / "roster.yaml").write_text("P-1234: {groups: [pi]}\n", encoding="utf-8")
        assert tick_roster().skip_message == "seen by others now"
        assert (seen_by("guests"), seen_by("pi")) == (0, 1)
        (home / "roster.yaml").write_text("P-1234: [\n", encoding="utf-8")
        with pytest.raises(SettingsError, match=r"roster cannot be read"):
            tick_roster()


def test_a_run_and_its_result_are_told_as_they_are_made(
    telling: Pipeline, server: ScicatServer, later: HandClock
) -> None:
    key = telling.drop(telling.simulated().folder)
    assert telling.run("ingest", key).success
    raw, derived = said_of(telling, "catalog_entry"), said_of(telling, "result_entry")
    assert raw[NAME] == f"{PREFIX}/{raw['pid']}"
    assert derived[NAME] == f"{PREFIX}/{derived['pid']}"
    assert set(server.store.datasets) == {raw[NAME], derived[NAME]}
    assert {one["caption"] for one in server.store.attachments.values()} >= {"g2 with fits", "tau(q)"}
    gather(telling.beamline)
    assert tell_all(telling).success
    assert isinstance(tick(telling).skip_reason, dg.SkipReason)


def test_f58_a_catalog_that_is_down_keeps_no_run_and_is_caught_up_by_the_job(
    telling: Pipeline, server: ScicatServer, later: HandClock
) -> None:
    with server.down():
        key = telling.drop(telling.simulated().folder)
        assert telling.run("ingest", key, only=TO_CATALOG).success
        assert said_of(telling, "catalog_entry")[NAME].startswith("waits: ")
        assert telling.archive(key).success
        assert isinstance(tick(telling).skip_reason, dg.SkipReason)
        later.advance(60)
        (request,) = tick(telling).run_requests
        assert int(request.tags["dagster/priority"]) == -LATER
        assert tell_all(telling).success
        later.advance(LOUD_AFTER.total_seconds() - 60)
        assert tell_all(telling).success
        with pytest.raises(CatalogUnavailableError, match=r"has not answered since .* `xpcs-assets catalogs xpcs`"):
            tick(telling)
    later.advance(24 * 3600)
    assert tick(telling).run_requests
    assert tell_all(telling).success
    (held,) = server.store.datasets.values()
    assert held["datasetlifecycle"]["retrievable"] is True
    assert reach_of(telling.beamline).rests(NAME) == ""
    assert isinstance(tick(telling).skip_reason, dg.SkipReason)


def test_what_is_refused_fails_the_job_once_and_names_the_command(
    home: Path, server: ScicatServer, later: HandClock, telling: Pipeline
) -> None:
    with server.down():
        key = telling.drop(telling.simulated().folder)
        assert telling.run("ingest", key, only=TO_CATALOG).success
    later.advance(3600)
    pid = said_of(telling, "catalog_entry")["pid"]
    server.store.datasets[f"{PREFIX}/{pid}"] = {"pid": f"{PREFIX}/{pid}", "type": "derived", "ownerGroup": "theirs"}
    done = tell_all(telling)
    assert not done.success
    assert "the pid is taken" in why_it_failed(done)
    assert "`xpcs-assets catalogs xpcs` lists what is parked" in why_it_failed(done)
    assert outbox_of(telling.beamline).counts("xpcs", NAME)[EntryState.PARKED] == 1
    later.advance(24 * 3600)
    assert tell_all(telling).success


def test_a_catalog_that_is_named_later_is_told_of_what_was_before(
    home: Path, server: ScicatServer, pipeline: Pipeline
) -> None:
    key = pipeline.drop(pipeline.simulated().folder)
    assert pipeline.run("ingest", key, only=TO_CATALOG).success
    tell(home, server.url)
    (home / "aside").rmdir()
    for later in open_pipeline(home):
        (request,) = tick(later).run_requests
        assert request.tags["beamline"] == "xpcs"
        assert tell_all(later).success
    assert len(server.store.datasets) == 1


def test_one_job_at_a_time_tells(telling: Pipeline, server: ScicatServer, later: HandClock) -> None:
    with server.down():
        key = telling.drop(telling.simulated().folder)
        assert telling.run("ingest", key, only=TO_CATALOG).success
    later.advance(3600)
    (request,) = tick(telling).run_requests
    job = telling.repository.get_job("xpcs_tell_catalogs")
    telling.instance.create_run_for_job(
        job, tags={"dagster/run_key": request.run_key}, status=dg.DagsterRunStatus.STARTED
    )
    assert tick(telling).skip_reason.skip_message == "it is being told"
