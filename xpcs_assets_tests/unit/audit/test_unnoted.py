"""Failures that Dagster knows and the ledger does not: noted once, and only where nothing has come since."""

from __future__ import annotations

import pytest

from xpcs_assets.audit.unnoted import note_failures
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Event, Ledger
from xpcs_assets.orchestrate.adapter import FailedStep
from xpcs_assets_tests.storage import HandClock


@pytest.fixture
def clock(beamline: OpenBeamline) -> HandClock:
    """The beamline's time, which stands still."""
    hand = HandClock()
    vars(beamline)["ledger"] = Ledger(beamline.engine, hand)
    return hand


def failed(clock: HandClock, asset: str = "staged_copy", partition: str = "A001") -> FailedStep:
    """A step that began now."""
    return FailedStep("dagster run", partition, asset, clock.now.timestamp(), "database is locked")


def last(beamline: OpenBeamline) -> Event:
    return beamline.ledger.timeline("xpcs", "A001")[-1]


def test_a_failure_is_noted_once_under_its_own_partition(beamline: OpenBeamline, clock: HandClock) -> None:
    step = failed(clock, "correlation", "A001~wide")
    clock.advance(60)
    assert [note_failures(beamline, [step]) for _ in range(2)] == [1, 0]
    assert (last(beamline).step, last(beamline).what) == ("correlation", "failed: database is locked")
    assert last(beamline).detail["partition"] == "A001~wide"


@pytest.mark.parametrize("asset", ["average", "archive_runs", "no such thing"])
def test_what_is_no_step_of_a_run_is_left_alone(beamline: OpenBeamline, clock: HandClock, asset: str) -> None:
    assert note_failures(beamline, [failed(clock, asset)]) == 0


@pytest.mark.parametrize(
    ("step", "what", "partition", "noted"),
    [
        ("staged_copy", "done", "A001", 0),
        ("staged_copy", "failed: no room", "A001", 0),
        ("metadata", "done", "A001", 1),
        ("staged_copy", "done", "A001~wide", 1),
        ("raw_file", "version 2 taken", None, 0),
        ("raw_file", "version 1 seen again", None, 1),
    ],
)
def test_what_was_noted_since_the_step_began_stands(
    beamline: OpenBeamline, clock: HandClock, step: str, what: str, partition: str | None, noted: int
) -> None:
    about = failed(clock)
    clock.advance(1)
    beamline.ledger.note("xpcs", "A001", step, what, {"partition": partition} if partition else {})
    assert note_failures(beamline, [about]) == noted


def test_what_was_noted_before_the_step_began_is_about_an_earlier_one(beamline: OpenBeamline, clock: HandClock) -> None:
    beamline.ledger.note("xpcs", "A001", "staged_copy", "done", {"partition": "A001"})
    clock.advance(1)
    assert note_failures(beamline, [failed(clock)]) == 1


def test_the_first_step_s_failure_is_told_though_its_files_were_taken(beamline: OpenBeamline, clock: HandClock) -> None:
    about = failed(clock, "raw_file")
    clock.advance(1)
    beamline.ledger.note("xpcs", "A001", "raw_file", "version 1 taken")
    assert note_failures(beamline, [about]) == 1
