"""What comes of age, what of it may then go, what becomes of the trash, and when the disk is full."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from xpcs_assets.copies.ledger import Copy, CopyState, Evidence, Hold, Lease
from xpcs_assets.places.place import Usage
from xpcs_assets.prune.forecast import Bringing, Coming, Day, forecast, of_age, out_of_trash
from xpcs_assets.prune.rules import Situation
from xpcs_assets.runs.retention import Retention

NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)  # a night before clocks change in Europe: days are UTC's
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
RULE = Retention(keep_for_s=30 * 86400, min_copies=1, high_water=0.9, low_water=0.5, trash_for_s=7 * 86400)
TWO = replace(RULE, min_copies=2)
THREE_ROOMS = {"detector": "hall", "store": "cluster", "tape": "vault"}
ONE_DISK = dict.fromkeys(THREE_ROOMS, "device 1")
BRINGING = Bringing(THREE_ROOMS, "store", "tape")


def soon(*dues: timedelta, size_bytes: int = 5) -> list[Coming]:
    return [Coming(NOW + due, size_bytes) for due in dues]


def days(coming: list[Coming]) -> tuple[Day, ...]:
    return forecast(coming, [], 0, NOW, RULE, None).of_age.days


def full(trash: list[Coming], arrived_bytes: int, usage: Usage | None, rule: Retention = RULE) -> date | None:
    return forecast([], trash, arrived_bytes, NOW, rule, usage).high_mark_on


def copy(place: str, **other: Any) -> Copy:
    said: dict[str, Any] = {
        "beamline": "xpcs", "run_key": "A001", "version": 1, "place": place, "path": "A001",
        "failure_domain": THREE_ROOMS[place], "state": CopyState.PRESENT, "reason": "", "evidence": Evidence.READ_BACK,
        "verified_at": NOW - DAY, "recorded_at": NOW - 29 * DAY,
    }  # fmt: skip
    return Copy(**said | other)


def situation(*others: Copy, rule: Retention = RULE, **other: Any) -> Situation:
    known: dict[str, Any] = {"holds": (), "leases": (), "archived": False, "catalogued": False}
    return Situation(copy("detector"), NOW, rule, others, **known | other)


def stays(about: Situation, bringing: Bringing = BRINGING) -> tuple[str, ...]:
    assert about.retention is not None
    return of_age(about, about.retention, bringing, 5).stays


def test_each_day_has_the_copies_that_come_of_age_on_it() -> None:
    assert days(soon(DAY, DAY + timedelta(hours=11), 2 * DAY)) == (
        Day(date(2026, 3, 29), 2, 10),
        Day(date(2026, 3, 30), 1, 5),
    )


@pytest.mark.parametrize(
    ("due", "told"), [(timedelta(0), False), (MICROSECOND, True), (30 * DAY, True), (30 * DAY + MICROSECOND, False)]
)
def test_the_forecast_is_of_thirty_days(due: timedelta, told: bool) -> None:
    assert bool(days(soon(due))) is told


def test_a_copy_that_comes_of_age_and_stays_is_of_no_day_and_counted_with_its_reasons() -> None:
    coming = [*soon(DAY), Coming(NOW + DAY, 9, ("held", "alone")), Coming(NOW + DAY, 9, ("held",))]
    ahead = forecast(coming, [], 0, NOW, RULE, None).of_age
    assert (ahead.days, ahead.stay) == ((Day(date(2026, 3, 29), 1, 5),), 2)
    assert ahead.reasons == Counter({"held": 2, "alone": 1})


def test_what_the_platform_does_by_itself_is_taken_for_done() -> None:
    lease = Lease("xpcs", "A001", "stage", "somebody", 1, NOW + DAY)
    assert stays(situation(leases=(lease,), rule=TWO)) == ()
    assert of_age(situation(), RULE, BRINGING, 5).due == NOW + DAY


@pytest.mark.parametrize("rule", [RULE, TWO])
def test_on_one_disk_no_copy_ever_may_go(rule: Retention) -> None:
    told = f"0 other verified copies (none) in other failure domains, {rule.min_copies} are needed"
    assert stays(situation(copy("store"), rule=rule), Bringing(ONE_DISK, "store", "tape")) == (told,)


def test_a_failure_domain_that_was_named_since_counts_for_the_copies_that_will_be_read_again() -> None:
    assert stays(situation(copy("store", failure_domain="hall"))) == ()
    away = Bringing({}, "store", "tape")  # no place can be asked: the ledger's word stands
    assert stays(situation(copy("store", failure_domain="hall")), away) != ()
    assert stays(situation(copy("store")), away) == ()


def test_where_nothing_is_archived_what_needs_it_stays_for_ever() -> None:
    kept = stays(situation(copy("store")), Bringing(THREE_ROOMS, "store"))
    assert kept == ("its raw data are not archived and read back",)


@pytest.mark.parametrize("state", [CopyState.BAD, CopyState.LOST])
def test_what_only_people_mend_is_taken_as_it_is(state: CopyState) -> None:
    others = [copy("store"), copy("tape", state=state)]
    assert "its raw data are not archived and read back" in stays(situation(*others))
    hold = Hold("xpcs", "A001", "reference", "a scientist", NOW, None, None)
    assert stays(situation(copy("store"), holds=(hold,))) == ("a scientist holds it: reference",)
    assert stays(situation(copy("store"), taken_later=2)) != ()


def test_the_trash_is_emptied_when_its_time_is_over_and_no_sooner_than_today() -> None:
    about = situation(copy("store"), copy("tape"), archived=True)
    trash = [out_of_trash(about, RULE, BRINGING, NOW - days, 5) for days in (DAY, 6 * DAY, 90 * DAY)]
    told = forecast([], trash, 0, NOW, RULE, None)
    assert told.trash_bytes == 15
    assert told.trash.days == tuple(Day(date(2026, 3, 28) + after, 1, 5) for after in (0 * DAY, DAY, 6 * DAY))


def test_what_is_held_stays_in_the_trash() -> None:
    hold = Hold("xpcs", "A001", "reference", "a scientist", NOW, None, None)
    held = out_of_trash(situation(copy("store"), holds=(hold,)), RULE, BRINGING, NOW - DAY, 5)
    told = forecast([], [held], 0, NOW, RULE, None)
    assert (told.trash.days, told.trash.stay, told.trash_bytes) == ((), 1, 5)


def test_the_high_mark_is_passed_at_the_rate_of_the_last_week() -> None:
    assert forecast([], [], 4900, NOW, RULE, None).arriving_bytes_per_day == 700
    assert full([], 4900, Usage(2000, 8000)) == (NOW + 10 * DAY).date()
    assert full([], 4900, Usage(9500, 500)) == NOW.date()


def test_what_lies_in_the_trash_is_counted_as_gone_as_the_planner_does() -> None:
    assert full(soon(DAY, size_bytes=1400), 4900, Usage(2000, 8000)) == (NOW + 12 * DAY).date()


@pytest.mark.parametrize(("usage", "arrived_bytes"), [(None, 4900), (Usage(2000, 8000), 0), (Usage(0, 10**30), 49)])
def test_what_cannot_be_known_is_not_told(usage: Usage | None, arrived_bytes: int) -> None:
    assert full([], arrived_bytes, usage) is None
    assert full([], 4900, Usage(2000, 8000), Retention(1, 1)) is None
