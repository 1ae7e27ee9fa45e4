"""A pause of a beamline: it stands until it is ended, and a ledger made again from the journal still has it."""

from __future__ import annotations

from xpcs_assets.copies.ledger import Ledger, Pause
from xpcs_assets_tests.storage import HandClock


def test_a_beamline_that_nobody_paused_takes_runs(ledger: Ledger) -> None:
    assert ledger.paused("b") is None
    assert ledger.pause_ended("b") is None


def test_a_pause_stands_until_it_is_ended_and_is_of_one_beamline(ledger: Ledger, clock: HandClock) -> None:
    ledger.pause("b", "the detector is being aligned", "an operator")
    at = clock()
    clock.advance(60)
    assert ledger.paused("b") == Pause("the detector is being aligned", "an operator", at)
    assert ledger.paused("bb") is None
    assert ledger.pause_ended("b") is None
    clock.advance(60)
    ledger.end_pause("b", "an operator")
    assert ledger.paused("b") is None
    assert ledger.pause_ended("b") == clock()


def test_the_last_word_counts_and_says_who_and_why(ledger: Ledger) -> None:
    ledger.pause("b", "one", "x")
    ledger.pause("b", "two", "y")
    pause = ledger.paused("b")
    assert pause is not None
    assert pause.told.startswith("paused by y since ")
    assert pause.told.endswith(" UTC: two")


def test_a_pause_is_no_run(ledger: Ledger) -> None:
    ledger.pause("b", "one", "x")
    assert (ledger.runs("b"), ledger.arrivals("b")) == ((), ())
