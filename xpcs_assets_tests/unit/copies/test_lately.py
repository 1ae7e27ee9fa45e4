"""What is new in the timelines, from one line's number on."""

from __future__ import annotations

import pytest

from xpcs_assets.copies import lately
from xpcs_assets.copies.lately import lines_after, news
from xpcs_assets.copies.ledger import Ledger

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
