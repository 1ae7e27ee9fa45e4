"""The beamline files that are shipped: each can be read, gives the keys it should, and takes a run to its end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from xpcs_assets.access.keeper import keeping_access
from xpcs_assets.arrive.candidates import fields_of, find
from xpcs_assets.arrive.submit import look_at, submit
from xpcs_assets.arrive.take import take
from xpcs_assets.arrive.tree import HERE
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.qmap_registry import add
from xpcs_assets.follow import state_of
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.runs.key import run_key
from xpcs_assets.site import Site
from xpcs_assets.testing.simulate import simulate
from xpcs_assets_tests.definitions.conftest import Pipeline, open_pipeline
from xpcs_assets_tests.deploy.conftest import NAMES, shipped, site_of

DICHROISM = ("als-4-0-2", "als-6-3-1")


@pytest.fixture
def pipeline(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """The jobs of one shipped beamline, in a site that has its neighbours too."""
    name = str(request.param)
    names = DICHROISM if name in DICHROISM else (name,)
    with site_of(tmp_path / "site", monkeypatch, *names):
        yield from open_pipeline(tmp_path / "site", name)


def of(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("pipeline", [name], indirect=True)


@pytest.mark.parametrize(
    ("name", "path", "key"),
    [
        (
            "aps-8-id-i",
            "2025-1/milliron202503/data/B390_Strain2.04mm_r00001",
            "milliron202503_B390_Strain2.04mm_r00001",
        ),
        ("als-7-0-1-1", "AS-001/scan 12.h5", "AS-001_scan=2012"),
        ("als-4-0-2", "AS-002/xmcd_0007", "AS-002_xmcd_0007"),
        ("als-6-3-1", "AS-002/xmcd_0007", "AS-002_xmcd_0007"),
        ("xams", "006001", "006001"),
    ],
)
def test_a_path_gives_the_key_that_the_beamline_calls_it_by(name: str, path: str, key: str) -> None:
    settings = shipped(name)
    assert run_key(settings.runs.key, fields_of(settings, path)) == key


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_pruned_before_it_is_archived_and_catalogued_and_elsewhere(name: str) -> None:
    settings = shipped(name)
    assert settings.pipeline.archive is not None
    assert settings.runs.source.watch in settings.retention
    for rule in settings.retention.values():
        assert (rule.min_copies >= 1, set(rule.needs)) == (True, {"archive", "catalog"})
    domains = {place.failure_domain for place in settings.places.values()}
    assert len(domains) >= 3  # two places that die together are one copy
    assert "" not in domains


@pytest.mark.parametrize("name", ["als-7-0-1-1", *DICHROISM])
def test_cfs_keeps_for_180_days_and_until_tape_and_catalog_have_it(name: str) -> None:
    kept = shipped(name).retention["cfs"]
    assert kept.keep_for == 180 * 86_400
    assert set(kept.needs) == {"archive", "catalog"}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "xams"])
def test_the_ways_between_the_places_are_flown_twice_a_day(name: str) -> None:
    flights = shipped(name).flight_check
    assert flights is not None
    assert flights.every == 12 * 3600


def ingested(pipeline: Pipeline, folder: Path, name: str) -> str:
    """Drop a run under the name that its path has, ingest it, archive it; its key."""
    key = pipeline.drop(folder, name)
    through(pipeline, key)
    return key


def through(pipeline: Pipeline, key: str) -> None:
    """Ingest a run, and archive it as the small one that it is: gathered with others, here with none."""
    for _ in range(2):  # what Globus moves has arrived when the assets are done again
        pipeline.run("ingest", key)
    config = {"ops": {f"{pipeline.prefix}_archive_runs": {"config": {"run_keys": [key], "together": [[key]]}}}}
    job = pipeline.repository.get_job(f"{pipeline.prefix}_archive")
    assert job.execute_in_process(instance=pipeline.instance, run_config=config).success


def done(pipeline: Pipeline, key: str) -> list[str]:
    state = state_of(pipeline.beamline, key)
    assert state.failed == (), state.reason
    return [step.asset for step in state.steps if step.state == "done"]


@of("aps-8-id-i")
def test_a_run_of_aps_8_id_i_is_moved_correlated_archived_and_its_result_goes_back(pipeline: Pipeline) -> None:
    run = pipeline.simulated(name="A001_sim_a0001_f000200_r00001")
    version = add(pipeline.beamline, run.qmap, "standard", by="an operator")
    run.qmap.unlink()
    key = ingested(pipeline, run.folder, f"2025-1/comm202501/data/{run.name}")
    assert key == f"comm202501_{run.name}"
    expected = {"staged_copy", "correlation", "returned_results", "access", "result_entry", "archive"}
    assert expected <= set(done(pipeline, key))
    with keeping_access(pipeline.beamline) as keeper:
        (seen,) = keeper.look(pipeline.beamline.ledger.owned("aps-8-id-i", run_key=key)[0])
    assert seen.is_right
    assert {reader.name for reader in seen.readers} == {"comm202501", "xpcs-developers"}
    result = pipeline.beamline.result(key)
    assert result.report["recipe"]["qmap_digest"] == version.digest
    (back,) = pipeline.beamline.root("results").rglob("*_results.hdf")
    assert back.read_bytes() == pipeline.beamline.result_path(result).read_bytes()
    assert back.relative_to(pipeline.beamline.root("results")).parts[:3] == ("2025-1", "comm202501", "analysis")
    assert pipeline.beamline.latest(key).owner["groups"] == ["comm202501"]


@pytest.mark.parametrize(("raw_format", "files"), [("imm", 1), ("rigaku500k", 1), ("rigaku3m", 6), ("eiger", 1)])
def test_each_detector_of_aps_8_id_i_makes_one_run_that_is_complete(
    raw_format: str, files: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site_of(tmp_path / "site", monkeypatch, "aps-8-id-i"):
        site = Site(tmp_path / "site")
        beamline = OpenBeamline(site, site.beamline("aps-8-id-i"))
        data = beamline.source_root / "2025-1" / "comm202501" / "data"
        run = simulate(data, format=raw_format, frames=20, name="A001_sim_a0001_f000020_r00001")
        (candidate,) = find(beamline.settings, beamline.source_root)
        assert candidate.key == f"comm202501_{run.name}"
        key = submit(beamline, data / run.name).key
        taken = take(beamline, key)
        beamline.engine.dispose()
        with open_raw([run.folder / name for name in taken.raw]) as series:
            assert (len(series.info.files), 0 < series.info.n_recorded <= 20) == (files, True)


@of("als-7-0-1-1")
def test_a_run_of_als_7_0_1_1_is_one_file_and_is_correlated(pipeline: Pipeline) -> None:
    run = pipeline.simulated(format="als7011")
    qmap = pipeline.site.home / "qmaps" / "als-7-0-1-1.hdf"
    qmap.parent.mkdir()
    shutil.move(run.qmap, qmap)
    experiment = pipeline.beamline.source_root / "AS-001"
    shutil.copytree(run.folder, experiment)
    (candidate,) = find(pipeline.beamline.settings, pipeline.beamline.source_root)
    pipeline.instance.add_dynamic_partitions("als_7_0_1_1_runs", [candidate.key])
    submit(pipeline.beamline, pipeline.beamline.source_root / candidate.source, as_is=True)
    through(pipeline, candidate.key)
    assert {"staged_copy", "correlation", "catalog_entry", "archive"} <= set(done(pipeline, candidate.key))


def scan(folder: Path) -> Path:
    """What a dichroism scan writes: files of any kind."""
    folder.mkdir(parents=True)
    for name, content in (("xmcd.fits", b"SIMPLE  = T"), ("log of it.txt", b"\n")):
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("pipeline", DICHROISM, indirect=True)
def test_a_dichroism_beamline_keeps_data_and_has_no_analysis(pipeline: Pipeline) -> None:
    key = ingested(pipeline, scan(pipeline.aside / "x"), "AS-002/xmcd_0007")
    assert set(done(pipeline, key)) == {
        "raw_file", "staged_copy", "copy_in_cfs", "metadata", "catalog_entry", "archive",
    }  # fmt: skip
    assert state_of(pipeline.beamline, key).quarantined == ()
    places = {copy.place for copy in pipeline.beamline.ledger.copies(pipeline.beamline.name, key, 1)}
    assert places == {"acquisition", "beegfs", "cfs", "tape"}


@of("als-4-0-2")
def test_a_scan_of_files_that_no_reader_knows_is_complete_once_it_has_any(pipeline: Pipeline) -> None:
    folder = pipeline.beamline.source_root / "AS-002" / "xmcd_0008"
    folder.mkdir(parents=True)
    (candidate,) = find(pipeline.beamline.settings, pipeline.beamline.source_root)
    assert look_at(pipeline.beamline, candidate, HERE).reason == "no file of a run is there"
    (folder / "xmcd.fits").write_bytes(b"SIMPLE  = T")
    assert look_at(pipeline.beamline, candidate, HERE).reason == ""


@of("als-4-0-2")
def test_export_controlled_data_are_refused(pipeline: Pipeline) -> None:
    scan(pipeline.beamline.source_root / "AS-002" / "export-control_0001")
    (candidate,) = find(pipeline.beamline.settings, pipeline.beamline.source_root)
    assert "refuses" in candidate.reason


@of("als-4-0-2")
def test_two_beamlines_of_a_site_share_no_name_in_dagster(pipeline: Pipeline) -> None:
    jobs = {job.name for job in pipeline.repository.get_all_jobs()}
    assert {"als_4_0_2_ingest", "als_6_3_1_ingest"} <= jobs
