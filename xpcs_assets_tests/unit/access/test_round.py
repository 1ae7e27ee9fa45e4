"""Going round all runs: each has its turn, what differs is set and noted once, and a run at work is left for later."""

from __future__ import annotations

import time

import pytest

from xpcs_assets.access import round as going_round
from xpcs_assets.access.keeper import keeping_access, settle_run
from xpcs_assets.access.round import START, Piece, go_round
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.places.posix_access import PosixDoors
from xpcs_assets_tests.unit.access.conftest import OTHER, copied


def went(beamline: OpenBeamline, after: tuple[str, int] = START, *, busy: str = "", seconds: float = 60.0) -> Piece:
    with keeping_access(beamline) as keeper:
        return go_round(keeper, after, lambda key: key == busy, time.monotonic() + seconds)


def noted(beamline: OpenBeamline, key: str) -> list[str]:
    return [event.what for event in beamline.ledger.timeline("xpcs", key) if event.step == "access"]


def test_each_run_has_its_turn_and_is_noted_once(guarded: OpenBeamline) -> None:
    keys = [copied(guarded, name) for name in ("A001", "A002", "B001")]
    done = went(guarded)
    assert (done.after, done.looked_at, done.told) == (START, 3, dict.fromkeys(keys, ""))
    assert done.in_words == "3 runs were looked at, 3 set now"
    again = went(guarded)
    assert (again.looked_at, again.told) == (3, {})
    assert [noted(guarded, key) for key in keys] == [["done"]] * 3


def test_the_round_goes_on_where_it_ended(guarded: OpenBeamline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(going_round, "AT_ONCE", 2)
    keys = [copied(guarded, name) for name in ("A001", "A002", "B001")]
    assert went(guarded, seconds=-1.0).looked_at == 0
    done = went(guarded, ("A001", 1))
    assert list(done.told) == keys[1:]
    assert went(guarded, ("B001", 1)).after == START


def test_what_changed_by_hand_is_set_and_noted_again(guarded: OpenBeamline) -> None:
    settle_run(guarded, copied(guarded))
    went(guarded)
    PosixDoors(guarded.place("mirror")).allow("xpcs/A001/v1", {OTHER})  # type: ignore[arg-type]
    assert went(guarded).told == {"A001": ""}
    assert noted(guarded, "A001") == ["done", "done"]


def test_a_run_at_work_is_left_until_it_is_not(guarded: OpenBeamline) -> None:
    copied(guarded)
    assert went(guarded, busy="A001").told == {}
    assert noted(guarded, "A001") == []
    assert went(guarded).told == {"A001": ""}


def test_what_cannot_be_set_is_told_once_and_tried_each_time(
    guarded: OpenBeamline, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied(guarded)
    tried = []
    monkeypatch.setattr(PosixDoors, "allow", lambda *_: tried.append(1))
    first = went(guarded)
    assert "still says otherwise" in first.told["A001"]
    assert went(guarded).told == {}
    assert len(tried) == 4
    assert len(noted(guarded, "A001")) == 1
    monkeypatch.undo()
    assert went(guarded).told == {"A001": ""}
    assert [what.split(":")[0] for what in noted(guarded, "A001")][-1] == "done"


def test_a_place_that_is_away_is_named_and_no_run_is_noted_for_it(guarded: OpenBeamline) -> None:
    copied(guarded)
    went(guarded)
    mirror = guarded.root("mirror")
    mirror.rename(mirror.with_name("away"))
    done = went(guarded)
    assert done.told == {}
    assert "'mirror' is unavailable" in done.in_words
    assert guarded.ledger.findings("xpcs") == ()
    mirror.with_name("away").rename(mirror)
    assert went(guarded).silent == {}


def test_a_run_of_which_no_copy_is_there_is_not_noted(guarded: OpenBeamline) -> None:
    copied(guarded)
    for place in ("store", "mirror"):
        (guarded.root(place) / "xpcs" / "A001").rename(guarded.root(place) / "away")
    assert went(guarded).told == {}
    assert noted(guarded, "A001") == []
