"""What is new in the timelines, from one line's number on."""

from __future__ import annotations

import pytest

from xpcs_assets.copies import lately
from xpcs_assets.copies.lately import failed_since, lines_after, lines_since, news
from xpcs_assets.copies.ledger import Ledger
from xpcs_assets_tests.storage import HandClock

BEAMLINE = "b"


def noted(ledger: Ledger, *whats: str) -> None:
    for what in whats:
        run, _, said = what.partition(" ")
        ledger.note(BEAMLINE, run, "correlation", said, {"partition": f"{run}~wide"})


def test_an_empty_ledger_has_no_news(ledger: Ledger) -> None:
    found = news(ledger.engine, BEAMLINE, after=0)
    assert (found.last, found.runs, found.failed, found.is_whole) == (0, frozenset(), (), True)


def test_runs_with_new_lines_and_failures_are_told_each_once(ledger: Ledger) -> None:
    noted(ledger, "A001 done", "A002 failed: x", "A001 failed: y", "A002 failed: z", "A003 not failed: at all")
    ledger.note(BEAMLINE, "A004", "take", "failed: without a partition", {})
    ledger.note("other", "A005", "take", "failed: elsewhere", {"partition": "A005"})
    found = news(ledger.engine, BEAMLINE, after=0)
    assert found.runs == {"A001", "A002", "A003", "A004"}
    assert found.failed == ("A002~wide", "A001~wide")
    assert news(ledger.engine, BEAMLINE, after=found.last).runs == frozenset()
    noted(ledger, "A001 failed: again")
    assert news(ledger.engine, BEAMLINE, after=found.last).failed == ("A001~wide",)


def test_no_more_than_the_newest_lines_are_looked_at_and_that_is_said(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lately, "MOST_LINES", 2)
    noted(ledger, "A001 failed: x", "A002 failed: x")
    assert news(ledger.engine, BEAMLINE, after=0).is_whole
    noted(ledger, "A003 failed: x")
    found = news(ledger.engine, BEAMLINE, after=0)
    assert (found.failed, found.is_whole) == (("A002~wide", "A003~wide"), False)
    assert news(ledger.engine, BEAMLINE, after=1).is_whole


def test_lines_of_one_timeline_go_on_from_a_number(ledger: Ledger) -> None:
    noted(ledger, "A001 first", "A002 other", "A001 second")
    first, second = lines_after(ledger.engine, BEAMLINE, "A001", 0)
    assert (first.what, second.what, second.detail) == ("first", "second", {"partition": "A001~wide"})
    assert lines_after(ledger.engine, BEAMLINE, "A001", first.number) == (second,)
    assert lines_after(ledger.engine, BEAMLINE, "A001", second.number) == ()


def test_what_failed_since_a_time_is_told_once_the_first_first(ledger: Ledger, clock: HandClock) -> None:
    noted(ledger, "A001 failed: x", "A002 done")
    clock.advance(60.0)
    noted(ledger, "A003 failed: y", "A001 failed: z", "A003 failed: y")
    ledger.note(BEAMLINE, "A004", "take", "failed: without a partition", {})
    assert failed_since(ledger.engine, BEAMLINE, None) == ("A001~wide", "A003~wide")
    assert failed_since(ledger.engine, BEAMLINE, clock.now) == ("A003~wide", "A001~wide")
    assert failed_since(ledger.engine, "other", None) == ()


def test_lines_of_some_steps_come_in_their_order_the_newest_of_many(
    ledger: Ledger, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted(ledger, "A001 done")
    clock.advance(60.0)
    noted(ledger, "A002 failed: x", "A003 done")
    ledger.note(BEAMLINE, "A004", "plots", "done", {})
    found = lines_since(ledger.engine, BEAMLINE, ["correlation"], None)
    assert [(line.run_key, line.what) for line in found] == [
        *(("A001", "done"), ("A002", "failed: x"), ("A003", "done")),
    ]
    assert (found[0].step, found[0].detail) == ("correlation", {"partition": "A001~wide"})
    assert [line.run_key for line in lines_since(ledger.engine, BEAMLINE, ["plots"], clock.now)] == ["A004"]
    assert len(lines_since(ledger.engine, BEAMLINE, ["correlation"], clock.now)) == 2
    monkeypatch.setattr(lately, "MOST_LINES", 2)
    assert [line.run_key for line in lines_since(ledger.engine, BEAMLINE, ["correlation"], None)] == ["A002", "A003"]
