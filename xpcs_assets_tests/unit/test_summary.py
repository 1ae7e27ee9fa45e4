"""How a beamline does, by the ledger: states of runs, rates of failure, how long until a step is done."""

from __future__ import annotations

import csv
import json
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.cli import app
from xpcs_assets.copies.clock import utc_now
from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.copies.versions import SKIPPED, WAITS
from xpcs_assets.errors import RefusedError
from xpcs_assets.follow import ASKED
from xpcs_assets.summary import Spread, Summary, summary
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.conftest import bare_run


@pytest.fixture
def clock(beamline: OpenBeamline) -> HandClock:
    """The ledger's clock; it stands still until it is moved."""
    made = HandClock(utc_now())
    beamline.__dict__["ledger"] = Ledger(beamline.engine, clock=made)
    return made


def taken(beamline: OpenBeamline, key: str) -> None:
    submit(beamline, bare_run(beamline.source_root / key))
    take(beamline, key)


def noted(beamline: OpenBeamline, key: str, step: str, what: str = "done", seconds: float = 2.0) -> None:
    beamline.ledger.note("xpcs", key.partition("~")[0], step, what, {"partition": key, "seconds": seconds})


@pytest.fixture
def done(beamline: OpenBeamline, clock: HandClock) -> OpenBeamline:
    """Two runs: one has its g2 after 10 s, at the first try, the other after 40 s, at the second."""
    for key in ("A001", "A002"):
        taken(beamline, key)
    clock.advance(10)
    noted(beamline, "A001", "correlation", seconds=4.0)
    noted(beamline, "A002", "correlation", "failed: the disk was full")
    clock.advance(30)
    noted(beamline, "A002", "correlation", seconds=6.0)
    noted(beamline, "A002", "correlation", seconds=1.0)
    return beamline


def of(found: Summary, name: str) -> tuple[int, int]:
    (step,) = (step for step in found.steps if step.step == name)
    return step.done, step.failed


def test_each_step_is_told_with_its_failures_and_how_long_it_took(done: OpenBeamline) -> None:
    (correlation,) = (step for step in summary(done).steps if step.step == "correlation")
    assert (correlation.done, correlation.failed, correlation.failure_rate) == (3, 1, 0.25)
    assert correlation.took == Spread(4.0, 6.0)
    assert correlation.after == Spread(10.0, 40.0), "the first time that it was done, since the run was taken"
    assert summary(done).states == {"working": 2}


def test_a_step_that_never_ended_has_no_rate_and_no_duration(done: OpenBeamline) -> None:
    (archive,) = (step for step in summary(done).steps if step.step == "archive")
    assert (archive.failure_rate, archive.took, archive.after) == (0.0, Spread(None, None), Spread(None, None))


def test_what_waits_was_asked_for_refused_or_skipped_is_no_end(done: OpenBeamline) -> None:
    for what in (f"{ASKED} as A001", "refused: another worker is at it", f"{WAITS}a job", f"{SKIPPED}dark run"):
        noted(done, "A001", "correlation", what)
    assert of(summary(done), "correlation") == (3, 1)


def test_a_reprocessing_counts_as_an_end_and_not_for_how_long_a_run_takes(done: OpenBeamline, clock: HandClock) -> None:
    clock.advance(1000)
    noted(done, "A001~wide", "correlation")
    (correlation,) = (step for step in summary(done).steps if step.step == "correlation")
    assert (correlation.done, correlation.after.p90_s) == (4, 40.0)


def test_only_what_was_since_a_time_counts(done: OpenBeamline, clock: HandClock) -> None:
    clock.advance(3600)
    taken(done, "A003")
    noted(done, "A003", "correlation")
    found = summary(done, clock() - timedelta(minutes=5))
    assert [run.key for run in found.runs] == ["A003"]
    assert of(found, "correlation") == (1, 0)


def test_people_and_scripts_are_told_and_a_table_is_written_once(
    done: OpenBeamline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XPCS_ASSETS_HOME", str(done.site.home))
    monkeypatch.setenv("COLUMNS", "300")
    table = tmp_path / "runs.csv"
    said = CliRunner().invoke(app, ["summary", "xpcs", "--csv", str(table)]).output.splitlines()
    assert said[0] == "runs: 2 (2 working)"
    (line,) = (line.split() for line in said if line.startswith("correlation"))
    assert line[1:4] == ["3", "1", "25.0%"]
    with table.open(newline="") as file:
        rows = [(row["run_key"], row["state"]) for row in csv.DictReader(file)]
    assert sorted(rows) == [("A001", "working"), ("A002", "working")]
    again = CliRunner().invoke(app, ["summary", "xpcs", "--csv", str(table)])
    assert isinstance(again.exception, RefusedError)
    told = json.loads(CliRunner().invoke(app, ["summary", "xpcs", "--since", "1 h", "--json"]).output)
    assert told["states"] == {"working": 2}
    assert {step["step"]: step["failure_rate"] for step in told["steps"]}["correlation"] == 0.25
