"""Missed runs of a beamline whose analysis is a command: alike those of one that correlates."""

from __future__ import annotations

import sys
from datetime import timedelta

import pytest

from xpcs_assets.alerts.late import late_runs
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.audit.reconcile import ATTEMPTS, FROM_STAGED, LONGEST_PAUSE, SETTLES, Missed, to_ask_for
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import FindingKind, Ledger
from xpcs_assets.process.processing import process
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.conftest import Altered, bare_run

KEY = "A001"
WRITES = "import pathlib, sys; pathlib.Path(sys.argv[1], 'sum.txt').write_text('1')"


@pytest.fixture
def beamline(altered: Altered) -> OpenBeamline:
    """A beamline with a command, and a run that is staged."""
    command = [sys.executable, "-c", WRITES, "{output}"]
    made = {"command": command, "outputs": ["*.txt"], "to": "made"}
    changes = {"correlate": None, "process": made}
    opened = altered({"pipeline": changes, "places": {"made": {"kind": "posix", "root": "made"}}})
    opened.root("made").mkdir()
    vars(opened)["ledger"] = Ledger(opened.engine, HandClock())
    again(opened)
    return opened


def again(beamline: OpenBeamline) -> None:
    """Take the run as it lies there, and stage it."""
    path = beamline.source_root / KEY
    submit(beamline, path if path.is_dir() else bare_run(path), as_is=True)
    take(beamline, KEY)
    stage(beamline, KEY)


def pass_time(beamline: OpenBeamline, time: timedelta) -> None:
    clock = beamline.ledger.clock
    assert isinstance(clock, HandClock)
    clock.advance(time.total_seconds() + 1)


def asked(beamline: OpenBeamline) -> list[Missed]:
    return to_ask_for(beamline, 100, lambda _: False)


def late(beamline: OpenBeamline) -> list[str]:
    return [run.lacks for run in late_runs(beamline, timedelta(0), timedelta(days=9), (), 9)]


def test_a_run_that_was_staged_and_never_processed_is_asked_for_until_it_is(beamline: OpenBeamline) -> None:
    assert asked(beamline) == []
    pass_time(beamline, SETTLES)
    (missed,) = asked(beamline)
    assert (missed.key, missed.version, missed.steps) == (KEY, 1, FROM_STAGED)
    assert "processed" in missed.steps
    assert late(beamline) == ["it has no result and no catalog entry"]
    process(beamline, f"{KEY}~wide", lambda _: None)
    pass_time(beamline, LONGEST_PAUSE)
    assert [again.attempt for again in asked(beamline)] == [1], "a reprocessing is not the run's own"
    process(beamline, KEY, lambda _: None)
    pass_time(beamline, LONGEST_PAUSE)
    assert asked(beamline) == []
    assert late(beamline) == ["it has no catalog entry"]


def test_what_was_made_of_an_earlier_version_is_none_of_this_one(beamline: OpenBeamline) -> None:
    process(beamline, KEY, lambda _: None)
    (beamline.source_root / KEY / "more.txt").write_text("measured again")
    pass_time(beamline, timedelta(0))
    again(beamline)
    pass_time(beamline, SETTLES)
    assert [(missed.version, missed.steps) for missed in asked(beamline)] == [(2, FROM_STAGED)]


def test_a_command_that_failed_is_no_output_and_is_parked_until_it_did_well(beamline: OpenBeamline) -> None:
    beamline.ledger.note("xpcs", KEY, "processed", "failed: no calibration", {"partition": KEY})
    for _ in range(ATTEMPTS + 2):
        pass_time(beamline, LONGEST_PAUSE)
        asked(beamline)
    (parked,) = beamline.ledger.findings("xpcs", kinds=[FindingKind.PARKED])
    assert "no calibration" in parked.reason
    process(beamline, KEY, lambda _: None)
    assert asked(beamline) == []
    assert beamline.ledger.findings("xpcs", kinds=[FindingKind.PARKED]) == ()


def test_a_beamline_that_only_keeps_data_misses_no_analysis(altered: Altered) -> None:
    beamline = altered({"pipeline": {"correlate": None}})
    vars(beamline)["ledger"] = Ledger(beamline.engine, HandClock())
    again(beamline)
    pass_time(beamline, SETTLES)
    assert asked(beamline) == []
    assert late(beamline) == ["it has no catalog entry"]
