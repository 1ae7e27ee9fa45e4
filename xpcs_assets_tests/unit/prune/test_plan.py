"""The list of what goes: the rules' word on every copy of a place, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from xpcs_assets.copies.ledger import Copy, CopyState, Evidence, Ledger
from xpcs_assets.places.place import Usage
from xpcs_assets.prune.limits import item
from xpcs_assets.prune.plan import Plan, plan_place, situation_of
from xpcs_assets.prune.rules import Stays, judge
from xpcs_assets.runs.retention import Retention
from xpcs_assets_tests.storage import HandClock, Storage
from xpcs_assets_tests.unit.copies.test_overview import BOTH, put_run

RULE = Retention(keep_for_s=100, min_copies=1, at_most_share=1.0)
KEEP = timedelta(seconds=100)


@pytest.fixture
def clock(storage: Storage) -> HandClock:
    return storage.clock


@pytest.fixture
def ledger(storage: Storage) -> Ledger:
    return storage.ledger


def everyone(copies: Sequence[Copy]) -> set[tuple[str, int]]:
    return {(copy.run_key, copy.version) for copy in copies}


def plan(ledger: Ledger, retention: Retention = RULE, **options: object) -> Plan:
    settings = {"catalogued": everyone, "usage": None} | options
    return plan_place(ledger, "b", "disk", retention, **settings)  # type: ignore[arg-type]


def going(plan: Plan) -> list[str]:
    return [due.copy.run_key for due in plan.goes]


def three_runs(ledger: Ledger, clock: HandClock) -> None:
    for key in ("r1", "r2", "r3"):
        put_run(ledger, key, BOTH, size_bytes=100)
        clock.advance(1)


@pytest.mark.parametrize(("offset", "found"), [(-1, 1), (0, 2), (1, 2)])
def test_f42_the_list_ends_where_the_retention_does(ledger: Ledger, clock: HandClock, offset: int, found: int) -> None:
    three_runs(ledger, clock)
    second = ledger.copies("b", "r2")[0].recorded_at
    clock.now = second + KEEP + timedelta(microseconds=offset)
    made = plan(ledger)
    assert going(made) == ["r1", "r2"][:found]
    assert (made.young, made.copies, made.kept) == (3 - found, 3, ())


def test_the_old_that_may_not_go_do_not_hide_the_younger(ledger: Ledger, clock: HandClock) -> None:
    for number in range(61):
        put_run(ledger, f"stuck{number}", {"disk": Evidence.READ_BACK})
    three_runs(ledger, clock)
    clock.advance(1000)
    made = plan(ledger)
    assert going(made) == ["r1", "r2", "r3"]
    assert made.reasons["its raw data are not archived and read back"] == 61


def test_f47_the_list_says_why_each_is_safe_and_what_it_frees(ledger: Ledger, clock: HandClock) -> None:
    three_runs(ledger, clock)
    ledger.mark_copy("b", "r2", 1, place="disk", path="b/r2", state=CopyState.PART_REMOVED, reason="")
    clock.advance(1000)
    made = plan(ledger)
    assert [(due.others, due.size_bytes) for due in made.goes] == [(("tape",), 100), (("tape",), 0), (("tape",), 100)]
    assert made.goes[0].since == made.goes[0].copy.recorded_at + KEEP
    assert made.digest == plan(ledger).digest


def test_the_plan_and_the_removal_judge_alike(ledger: Ledger, clock: HandClock) -> None:
    three_runs(ledger, clock)
    ledger.hold("b", "r1", "paper", "a scientist")
    ledger.take_lease("b", "r2", "view", "a viewer", 1e6)
    clock.advance(1000)
    made = plan(ledger)
    assert going(made) == ["r3"]
    assert made.reasons == {"a scientist holds it: paper": 1, "a viewer works on it (view)": 1}
    for kept in made.kept:
        seen = ledger.copy_seen(kept.copy)
        assert seen is not None
        assert judge(situation_of(ledger, seen, RULE, catalogued=True)) == Stays(kept.reasons)


def test_f46_a_catalog_that_answers_nothing_lets_nothing_go(ledger: Ledger, clock: HandClock) -> None:
    three_runs(ledger, clock)
    clock.advance(1000)
    made = plan(ledger, catalogued=lambda copies: set())
    assert (going(made), made.reasons) == ([], {"it is not in the catalog": 3})


def test_everything_names_the_young_as_well(ledger: Ledger, clock: HandClock) -> None:
    three_runs(ledger, clock)
    assert plan(ledger).kept == ()
    every = plan(ledger, everything=True)
    assert [kept.copy.run_key for kept in every.kept] == ["r1", "r2", "r3"]
    assert (every.young, "keeps it until" in every.kept[0].reasons[0]) == (3, True)


def test_f43_a_clock_in_doubt_lets_nothing_go_and_says_so(ledger: Ledger, clock: HandClock) -> None:
    three_runs(ledger, clock)
    clock.advance(1000)
    made = plan(ledger, doubt="the clock jumped")
    assert (going(made), len(made.waits), made.why_waits, made.doubt) == ([], 3, "the clock jumped", "the clock jumped")


def test_water_marks_choose_the_oldest_and_the_rest_waits(ledger: Ledger, clock: HandClock) -> None:
    three_runs(ledger, clock)
    clock.advance(1000)
    marks = replace(RULE, high_water=0.8, low_water=0.7)
    assert going(plan(ledger, marks, usage=Usage(800, 200))) == []
    made = plan(ledger, marks, usage=Usage(850, 150))
    assert (going(made), [due.copy.run_key for due in made.waits], made.draining) == (["r1", "r2"], ["r3"], True)
    assert going(plan(ledger, marks, usage=Usage(790, 210), draining=True)) == ["r1"]
    unknown = plan(ledger, marks, usage=None)
    assert (going(unknown), "cannot be known" in unknown.doubt) == ([], True)


def test_f47_beyond_the_limit_only_what_was_approved_goes(ledger: Ledger, clock: HandClock) -> None:
    three_runs(ledger, clock)
    clock.advance(1000)
    strict = replace(RULE, at_most_copies=2)
    made = plan(ledger, strict)
    assert (made.limit.beyond, made.now) == (True, ())
    assert plan(ledger, replace(RULE, at_most_copies=3)).now == made.goes
    ledger.approve("b", "disk", made.digest, [item(due.copy) for due in made.goes], "operator")
    assert plan(ledger, strict).now == made.goes
    for number in range(3):
        put_run(ledger, f"new{number}", BOTH)
    clock.advance(1000)
    after = plan(ledger, strict)
    assert (len(after.goes), after.limit.beyond) == (6, True)
    assert [due.copy.run_key for due in after.now] == ["r1", "r2", "r3"]
    clock.advance(86400)
    assert plan(ledger, strict).now == ()
