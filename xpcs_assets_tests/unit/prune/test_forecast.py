"""What comes of age, and when the disk is full."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from xpcs_assets.places.place import Usage
from xpcs_assets.prune.forecast import Day, forecast
from xpcs_assets.runs.retention import Retention

NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)  # a night before clocks change in Europe: days are UTC's
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
RULE = Retention(keep_for_s=30 * 86400, min_copies=1, high_water=0.9, low_water=0.5)
KEEP = timedelta(days=30)


def test_each_day_has_the_copies_that_come_of_age_on_it() -> None:
    recorded = [(NOW - KEEP + DAY, 5), (NOW - KEEP + DAY + timedelta(hours=11), 7), (NOW - KEEP + 2 * DAY, 1)]
    days = forecast(recorded, 0, NOW, RULE, None).days
    assert days == (Day(date(2026, 3, 29), 2, 12), Day(date(2026, 3, 30), 1, 1))


@pytest.mark.parametrize(
    ("due", "told"), [(timedelta(0), False), (MICROSECOND, True), (30 * DAY, True), (30 * DAY + MICROSECOND, False)]
)
def test_the_forecast_is_of_thirty_days(due: timedelta, told: bool) -> None:
    assert bool(forecast([(NOW - KEEP + due, 5)], 0, NOW, RULE, None).days) is told


def test_the_high_mark_is_passed_at_the_rate_of_the_last_week() -> None:
    told = forecast([], 4900, NOW, RULE, Usage(2000, 8000))
    assert told.arriving_bytes_per_day == 700
    assert told.high_mark_on == (NOW + 10 * DAY).date()
    assert forecast([], 4900, NOW, RULE, Usage(9500, 500)).high_mark_on == NOW.date()


@pytest.mark.parametrize(("usage", "arrived_bytes"), [(None, 4900), (Usage(2000, 8000), 0), (Usage(0, 10**30), 49)])
def test_what_cannot_be_known_is_not_told(usage: Usage | None, arrived_bytes: int) -> None:
    assert forecast([], arrived_bytes, NOW, RULE, usage).high_mark_on is None
    assert forecast([], 4900, NOW, Retention(1, 1), Usage(2000, 8000)).high_mark_on is None
