"""Whether the wall clock is believed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from xpcs_assets.copies.clock_book import DRIFT, RESTART_STEP_S, TOLERANCE_S, Look, ahead_s, boot_id
from xpcs_assets.copies.ledger import Evidence, Ledger
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.copies.test_overview import put_run

YEARS_S = 10 * 365 * 86400.0


def doubt(ledger: Ledger, clock: HandClock, boot: str = "one") -> str:
    return ledger.doubt_clock(clock.stopwatch, boot)


def test_i18_time_that_passes_is_believed(ledger: Ledger, clock: HandClock) -> None:
    assert ledger.clock_seen() is None
    for seconds in (0, 300, 86400, YEARS_S):
        clock.advance(seconds)
        assert doubt(ledger, clock) == ""
        assert ledger.clock_seen() == clock.now


@pytest.mark.parametrize(("offset_s", "believed"), [(-1e-6, True), (0.0, True), (1e-6, False), (YEARS_S, False)])
def test_f43_a_jump_beyond_the_tolerance_is_not_believed_until_it_is_back(
    ledger: Ledger, clock: HandClock, offset_s: float, believed: bool
) -> None:
    assert doubt(ledger, clock) == ""
    clock.now += timedelta(seconds=TOLERANCE_S + offset_s)
    told = doubt(ledger, clock)
    assert (told == "") is believed
    if not believed:
        assert "xpcs-assets clock --accept" in told
        assert "this machine's clock showed" in told
        clock.now -= timedelta(seconds=TOLERANCE_S + offset_s)
        assert doubt(ledger, clock) == ""


def test_f43_small_jumps_do_not_add_up(ledger: Ledger, clock: HandClock) -> None:
    for _ in range(2):
        assert doubt(ledger, clock) == ""
        clock.now += timedelta(seconds=TOLERANCE_S / 2)
        clock.advance(1)
    clock.now += timedelta(seconds=TOLERANCE_S / 2)
    assert doubt(ledger, clock)


def test_a_clock_that_drifts_a_little_is_believed(ledger: Ledger, clock: HandClock) -> None:
    assert doubt(ledger, clock) == ""
    clock.advance(30 * 86400)
    clock.now += timedelta(seconds=30 * 86400 * DRIFT)
    assert doubt(ledger, clock) == ""


def test_f43_a_clock_that_goes_back_and_forward_again_must_be_confirmed(ledger: Ledger, clock: HandClock) -> None:
    assert doubt(ledger, clock) == ""
    clock.now -= timedelta(days=1)
    assert doubt(ledger, clock) == ""
    clock.now += timedelta(days=1)
    assert doubt(ledger, clock)
    ledger.accept_clock("operator", clock.stopwatch, "one")
    assert doubt(ledger, clock) == ""


@pytest.mark.parametrize(("offset_s", "believed"), [(-1e-6, True), (0.0, True), (1e-6, False), (YEARS_S, False)])
def test_f43_over_a_restart_the_step_is_limited(
    ledger: Ledger, clock: HandClock, offset_s: float, believed: bool
) -> None:
    assert doubt(ledger, clock) == ""
    clock.now += timedelta(seconds=RESTART_STEP_S + offset_s)
    clock.running_s = 3.0
    told = doubt(ledger, clock, "two")
    assert (told == "") is believed
    if not believed:
        assert "the ledger last saw" in told
        ledger.accept_clock("operator", clock.stopwatch, "two")
        assert doubt(ledger, clock, "two") == ""


def test_f43_the_first_look_of_all_is_held_against_the_newest_copy(ledger: Ledger, clock: HandClock) -> None:
    put_run(ledger, "r", {"disk": Evidence.READ_BACK})
    clock.now += timedelta(days=8)
    assert "the ledger last saw" in doubt(ledger, clock)


def test_f43_two_machines_five_minutes_apart_are_both_believed(ledger: Ledger, clock: HandClock) -> None:
    other = HandClock(clock.now + timedelta(minutes=5), running_s=7.0)
    theirs = Ledger(ledger.engine, other)
    for _ in range(3):
        assert doubt(ledger, clock, "here") == ""
        assert doubt(theirs, other, "there") == ""
        clock.advance(3600)
        other.advance(3600)


def test_the_rule_has_both_sides() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert ahead_s(at, 50.0, Look(at, 50.0)) == -TOLERANCE_S
    assert ahead_s(at + timedelta(seconds=1000), 50.0, Look(at, 50.0)) == 1000 - TOLERANCE_S
    assert ahead_s(at, 50.0, Look(at, None)) == -RESTART_STEP_S


def test_this_start_of_this_machine_has_a_name() -> None:
    assert len(boot_id()) == 36
    assert boot_id() == boot_id()
