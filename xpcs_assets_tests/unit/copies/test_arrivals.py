"""The book of arrivals."""

from __future__ import annotations

import pytest

from xpcs_assets.copies.ledger import Arrival, ArrivalState, Ledger
from xpcs_assets.errors import NotFoundError, RefusedError
from xpcs_assets_tests.storage import HandClock


def note(ledger: Ledger, key: str = "r", source: str = "/d/r", state: str = "waiting", reason: str = "") -> Arrival:
    return ledger.note_arrival("b", key, source=source, fingerprint="3 files", state=state, reason=reason, name="the r")


def test_an_arrival_comes_back_as_it_was_noted(ledger: Ledger, clock: HandClock) -> None:
    noted = note(ledger, reason="growing")
    assert ledger.arrival("b", "r") == noted
    expected = ("the r", "/d/r", ArrivalState.WAITING, "growing", 0, clock.now)
    assert (noted.name, noted.source, noted.state, noted.reason, noted.attempt, noted.first_seen) == expected


def test_the_same_again_writes_nothing(ledger: Ledger, clock: HandClock) -> None:
    first = note(ledger)
    clock.advance(60)
    assert note(ledger) == first


def test_a_change_keeps_when_it_was_first_seen(ledger: Ledger, clock: HandClock) -> None:
    first = note(ledger)
    clock.advance(60)
    taken = note(ledger, state="taken")
    assert (taken.first_seen, taken.changed_at, taken.state) == (first.first_seen, clock.now, ArrivalState.TAKEN)


def test_a_key_that_another_source_has_is_refused(ledger: Ledger) -> None:
    first = note(ledger)
    with pytest.raises(RefusedError, match="already belongs to /d/r"):
        note(ledger, source="/d/other", state="taken")
    assert ledger.arrival("b", "r") == first


def test_an_unknown_state_is_no_state(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="nonsense"):
        note(ledger, state="nonsense")


def test_retaking_waits_again_with_a_higher_attempt(ledger: Ledger) -> None:
    note(ledger, state="refused", reason="truncated")
    again = ledger.retake("b", "r", "asked by a person")
    assert (again.state, again.attempt, again.reason) == (ArrivalState.WAITING, 1, "asked by a person")
    assert ledger.retake("b", "r", "again").attempt == 2


def test_retaking_what_never_arrived_is_not_found(ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match=r"b/r.*no such arrival"):
        ledger.retake("b", "r", "")


def test_arrivals_are_listed_by_state_and_the_last_changed_first(ledger: Ledger, clock: HandClock) -> None:
    for key, state in (("one", "waiting"), ("two", "taken"), ("three", "waiting"), ("four", "refused")):
        note(ledger, key, f"/d/{key}", state)
        clock.advance(1)
    assert [item.run_key for item in ledger.arrivals("b", states=["waiting", "refused"])] == ["four", "three", "one"]
    assert [item.run_key for item in ledger.arrivals("b", limit=2)] == ["four", "three"]
    assert ledger.arrivals("other") == ()
