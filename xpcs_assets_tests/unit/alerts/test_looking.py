"""All rules together: each thing once, and dear rules less often."""

from __future__ import annotations

import shutil

import pytest

from xpcs_assets.alerts import rules
from xpcs_assets.alerts.looking import FORECAST_EVERY_S, PLACES_EVERY_S, Look
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.lately import news
from xpcs_assets.intake.parked import park
from xpcs_assets_tests.storage import HandClock, HandStopwatch
from xpcs_assets_tests.unit.alerts.conftest import fails, taken, told_of


def test_places_are_asked_every_five_minutes_and_the_ledger_at_every_look(at_noon: OpenBeamline) -> None:
    watch = HandStopwatch()
    look = Look(at_noon, watch)
    at_noon.place("store")
    assert look.now([], 0)[0] == []
    shutil.rmtree(at_noon.root("store"))
    park(at_noon, "A1", "no", is_export_control=False)
    assert [one.kind for one in look.now([], 0)[0]] == ["parked"]
    watch.seconds += PLACES_EVERY_S
    assert {one.kind for one in look.now([], 0)[0]} == {"parked", "unavailable"}
    at_noon.root("store").mkdir()
    assert "unavailable" in {one.kind for one in look.now([], 0)[0]}


def test_the_forecast_is_made_once_an_hour(at_noon: OpenBeamline, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(rules, "prune_soon", lambda _: made.append(1) or [])
    watch = HandStopwatch()
    look = Look(at_noon, watch)
    for _ in range(3):
        look.now([], 0)
        watch.seconds += FORECAST_EVERY_S / 2
    assert len(made) == 2


def test_a_run_that_two_rules_find_is_one_thing_and_the_newest_line_is_told(
    at_noon: OpenBeamline, clock: HandClock
) -> None:
    taken(at_noon, "A001")
    fails(at_noon, "A001")
    clock.advance(86400)
    words, seen = Look(at_noon).now([], 0)
    assert told_of(words, "failed") == ["A001: correlation: no q-map"]
    assert told_of(words, "late") == []
    assert seen == news(at_noon.engine, "xpcs", after=0).last > 0
