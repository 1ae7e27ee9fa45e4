"""What is written down of transfers: before they are begun, once an errand, and never changed when they have ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from xpcs_assets.copies.ledger import Errand, Ledger, Transfer, TransferState
from xpcs_assets.copies.transfer_book import PROGRESS_SHARE, errand_of
from xpcs_assets.errors import NotFoundError
from xpcs_assets_tests.storage import HandClock

ERRAND = Errand("b", "A001", 1, "copy", "store", "eagle")
ENDED = [TransferState.DONE, TransferState.FAILED, TransferState.CANCELLED]


def intended(ledger: Ledger, submission: str = "s1", errand: Errand = ERRAND) -> Transfer:
    return ledger.intend_transfer(errand, submission, 1000, ledger.clock())


def test_a_transfer_is_written_down_before_it_has_a_task(ledger: Ledger, clock: HandClock) -> None:
    made = intended(ledger)
    assert (made.submission, made.task, made.attempt, made.state) == ("s1", "", 1, TransferState.INTENDED)
    assert (made.bytes_total, made.bytes_moved, made.made_at, made.next_at) == (1000, 0, clock.now, clock.now)
    assert errand_of(made) == ERRAND
    assert ledger.transfers_under_way("b") == ledger.transfers_of("b", "A001", 1) == (made,)
    assert ledger.transfers_under_way("c") == ledger.transfers_of("b", "A001", 2) == ()


def test_an_errand_has_one_transfer_under_way(ledger: Ledger) -> None:
    first = intended(ledger)
    assert intended(ledger, "s2") == first
    assert intended(ledger, "s2", replace(ERRAND, source="detector")) == first, "wherever the files are taken from"
    others = [replace(ERRAND, target="mirror"), replace(ERRAND, version=2), replace(ERRAND, purpose="stage")]
    found = {intended(ledger, f"other {n}", errand).submission for n, errand in enumerate(others)}
    assert found == {"other 0", "other 1", "other 2"}


@pytest.mark.parametrize("state", ENDED)
def test_what_has_ended_never_changes_and_the_next_one_is_another(ledger: Ledger, state: TransferState) -> None:
    intended(ledger)
    ledger.change_transfer("s1", task="t1")
    ended = ledger.change_transfer("s1", state=state, reason="so it is")
    assert not ended.is_under_way
    assert ledger.change_transfer("s1", state=TransferState.ACTIVE, reason="otherwise", bytes_moved=1000) == ended
    assert intended(ledger, "s2").attempt == 2
    assert [each.submission for each in ledger.transfers_of("b", "A001", 1)] == ["s1", "s2"]


def test_an_attempt_counts_when_the_service_has_taken_it(ledger: Ledger) -> None:
    intended(ledger)
    ledger.change_transfer("s1", state=TransferState.FAILED, reason="refused")
    assert intended(ledger, "s2").attempt == 1


def test_a_transfer_is_replaced_at_once(ledger: Ledger, clock: HandClock) -> None:
    old = intended(ledger)
    ledger.change_transfer("s1", task="t1", state=TransferState.ACTIVE)
    later = clock.now + timedelta(minutes=1)
    new = ledger.replace_transfer(old, TransferState.FAILED, "a byte was wrong", "s2", 900, later)
    assert (new.submission, new.attempt, new.bytes_total, new.next_at) == ("s2", 2, 900, later)
    before, after = ledger.transfers_of("b", "A001", 1)
    assert (before.state, before.reason, after) == (TransferState.FAILED, "a byte was wrong", new)
    again = ledger.replace_transfer(old, TransferState.CANCELLED, "once more", "s3", 900, later)
    assert again == new, "whoever comes second finds what the first one has done"
    assert len(ledger.transfers_of("b", "A001", 1)) == 2


def test_what_is_no_news_is_not_written(ledger: Ledger, clock: HandClock) -> None:
    intended(ledger)
    active = ledger.change_transfer("s1", state=TransferState.ACTIVE, task="t1", reason="it runs")
    clock.advance(60)
    step = int(1000 * PROGRESS_SHARE)
    assert ledger.change_transfer("s1", state=TransferState.ACTIVE, reason="it runs", bytes_moved=step - 1) == active
    moved = ledger.change_transfer("s1", bytes_moved=step)
    assert (moved.bytes_moved, moved.changed_at) == (step, clock.now)
    paused = ledger.change_transfer("s1", state=TransferState.PAUSED, reason="consent", bytes_moved=step + 1)
    assert (paused.state, paused.reason, paused.bytes_moved) == (TransferState.PAUSED, "consent", step + 1)


def test_a_transfer_nobody_intended_is_not_found(ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match="no such transfer"):
        ledger.change_transfer("s1", state=TransferState.DONE)


def test_those_that_were_not_looked_at_for_longest_come_first(ledger: Ledger, clock: HandClock) -> None:
    for number in (1, 2, 3):
        intended(ledger, f"s{number}", replace(ERRAND, version=number))
        clock.advance(1)
    ledger.change_transfer("s1", state=TransferState.ACTIVE)
    ledger.change_transfer("s3", state=TransferState.DONE)
    assert [each.submission for each in ledger.transfers_under_way("b")] == ["s2", "s1"]


def test_bytes_seconds_and_rate_are_those_until_its_last_news(ledger: Ledger, clock: HandClock) -> None:
    made = intended(ledger)
    assert (made.seconds, made.rate_bytes_per_s) == (0.0, 0.0)
    clock.advance(4.0)
    active = ledger.change_transfer("s1", task="t1", state=TransferState.ACTIVE, bytes_moved=400)
    assert (active.seconds, active.rate_bytes_per_s) == (4.0, 100.0)
    clock.advance(6.0)
    done = ledger.change_transfer("s1", state=TransferState.DONE)
    assert (done.seconds, done.rate_bytes_per_s) == (10.0, 100.0), "all of it, whatever was told last"


def test_transfers_are_listed_by_state_the_newest_first(ledger: Ledger, clock: HandClock) -> None:
    for number in range(3):
        intended(ledger, f"s{number}", replace(ERRAND, version=number))
        clock.advance(1.0)
    ledger.change_transfer("s1", state=TransferState.DONE)
    assert [each.submission for each in ledger.transfers("b")] == ["s2", "s1", "s0"]
    assert [each.submission for each in ledger.transfers("b", states=[TransferState.DONE])] == ["s1"]
    assert [each.submission for each in ledger.transfers("b", limit=1)] == ["s2"]
    assert ledger.transfers("other") == ()
