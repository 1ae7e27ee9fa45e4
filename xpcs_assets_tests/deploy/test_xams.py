"""A run of XAMS comes from the run database, is processed by a command, kept, and the database is told of all of it."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from xpcs_assets.arrive.source import source_of
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.backend import Phase, Seen
from xpcs_assets.compute.remote import Remote
from xpcs_assets.compute.remote_asking import Asking
from xpcs_assets.errors import CopyError
from xpcs_assets.testing.fake_backend import FakeBackend
from xpcs_assets_tests.definitions.conftest import Pipeline, open_pipeline
from xpcs_assets_tests.deploy.conftest import shipped, site_of
from xpcs_assets_tests.mongo import VARIABLE, Runs, runs

KEY = "006001"
AMSTRAX = """
import pathlib, sys
words = dict(zip(sys.argv[2::2], sys.argv[3::2]))
raw, output = pathlib.Path(words["--raw"]), pathlib.Path(words["--output_folder"])
(output / words["--target"]).write_text(sys.argv[1] + " " + words["--context"] + " " + str(len(list(raw.iterdir()))))
"""


@pytest.fixture
def rundb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    with runs() as made:
        monkeypatch.setenv(VARIABLE, made.url)
        yield made


@pytest.fixture
def pipeline(rundb: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    home = tmp_path / "site"
    with site_of(home, monkeypatch, "xams"):
        file = home / "beamlines" / "xams.yaml"
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        database = content["runs"]["from"]["run_database"]
        database |= {name: rundb.settings[name] for name in ("url", "database", "collection", "switch")}
        process = content["pipeline"]["process"]
        content["retention"]["daq"] |= {"keep_for": "1 ms", "at_most_share": 1.0}
        process |= {"command": [sys.executable, "-c", AMSTRAX, *process["command"][1:]], "work": str(home / "work")}
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        yield from open_pipeline(home, "xams")


def tick(pipeline: Pipeline) -> list[str | None]:
    """The runs that the arrival sensor asks for."""
    context = dg.build_sensor_context(instance=pipeline.instance, repository_def=pipeline.repository)
    told = pipeline.repository.get_sensor_def("xams_arrivals")(context)
    return [request.partition_key for request in getattr(told, "run_requests", None) or []]


@pytest.fixture
def stoomboot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    """The batch system."""
    (tmp_path / "stoomboot").mkdir()
    backend = FakeBackend(tmp_path / "stoomboot", "stoomboot")
    seconds = itertools.count(step=10)  # each look at it is due

    def remote_of(opened: OpenBeamline) -> Remote:
        return Remote(opened, Asking(opened.site, lambda *_: backend, lambda: float(next(seconds))))

    monkeypatch.setattr(Remote, "of", remote_of)
    return backend


def follow(pipeline: Pipeline) -> list[dg.RunRequest]:
    """The runs that the sensor of analyses asks for."""
    context = dg.build_sensor_context(instance=pipeline.instance, repository_def=pipeline.repository)
    told = pipeline.repository.get_sensor_def("xams_analyses")(context)
    return list(getattr(told, "run_requests", None) or [])


def test_a_run_of_xams_is_claimed_processed_by_its_mode_and_written_back(
    rundb: Runs, pipeline: Pipeline, stoomboot: FakeBackend
) -> None:
    live = {"type": "live", "host": "daq", "location": f"/daq/{KEY}"}
    rundb.add(6001, mode="ledcalibration", data=[live])
    rundb.add(600)
    run = source_of(pipeline.beamline).root / KEY
    run.mkdir()
    (run / "records-000000").write_bytes(b"records")
    assert tick(pipeline) == [KEY]
    assert rundb.status(6001)[0] == "submitted"
    pipeline.instance.add_dynamic_partitions("xams_runs", [KEY])
    assert pipeline.run("ingest", KEY).success
    assert tick(pipeline) == []
    assert rundb.status(6001)[0] == "submitted"
    (job,) = stoomboot.jobs().values()
    assert (job.resources.queue, job.resources.walltime_s) == ("short", 7200.0)
    stoomboot.say("1", Seen(Phase.RUNNING, reason="RUNNING"))
    assert (follow(pipeline), tick(pipeline)) == ([], [])
    assert rundb.status(6001)[0] == "running"
    assert stoomboot.run("1") == 0
    (request,) = follow(pipeline)
    assert request.partition_key == KEY
    assert pipeline.run("ingest", KEY, only=("processed",)).success
    assert tick(pipeline) == []
    assert (rundb.status(6001)[0], rundb.status(600)[0]) == ("done", "")
    assert pipeline.archive(KEY).success
    tick(pipeline)
    entries = rundb.run(6001)["data"]
    assert entries[0] == live
    (made,) = [Path(entry["location"]) for entry in entries if entry["type"] == "processed"]
    assert (made.name, made.read_text()) == ("led_calibration", f"{KEY} xams 1")
    copies = [Path(entry["location"]) for entry in entries if entry["type"] == "raw_records"]
    roots = [pipeline.beamline.root(place) for place in ("stoomboot", "dcache")]
    assert [path.is_relative_to(root) for path, root in zip(copies, roots, strict=True)] == [True, True]
    assert pipeline.prune(run_key=KEY, version=1, place="daq", path=KEY).success
    assert not run.exists()
    assert copies[0].joinpath("records-000000").read_bytes() == b"records"


def test_a_daq_machine_that_is_away_fails_no_run(rundb: Runs, pipeline: Pipeline) -> None:
    rundb.add(6001)
    daq = source_of(pipeline.beamline).root
    (daq / KEY).mkdir()
    (daq / KEY / "records-000000").write_bytes(b"records")
    daq.rename(daq.with_name("not mounted"))
    for _ in range(2):
        with pytest.raises(CopyError, match="place 'daq' is unavailable"):
            tick(pipeline)
    assert rundb.status(6001)[0] == ""
    daq.with_name("not mounted").rename(daq)
    assert tick(pipeline) == [KEY]


def test_the_shipped_file_asks_for_targets_by_mode_and_for_no_old_run() -> None:
    settings = shipped("xams")
    database, process = settings.runs.source.run_database, settings.pipeline.process
    assert database is not None
    assert process is not None
    assert (database.min_run_number, database.failures_at_most, database.newest_days) == (6000, 3, 100)
    assert [rule.target for rule in process.targets] == [("led_calibration",), ("events_nai",)]
