"""What comes of age in a place in the next days, and when its disk is full: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from xpcs_assets.places.place import Usage
from xpcs_assets.runs.retention import Retention

DAYS = 30
RATE_DAYS = 7


@dataclass(frozen=True)
class Day:
    """What comes of age on a day (UTC)."""

    day: date
    copies: int
    size_bytes: int


@dataclass(frozen=True)
class Forecast:
    """The next days of a place, if what its copies need gets done.

    Attributes
    ----------
    days
        Days on which copies come of age.
    arriving_bytes_per_day
        What was recorded a day in the last 7 days, bytes a day.
    high_mark_on
        The day on which the disk passes its high mark at that rate if nothing goes; None when that cannot be known.
    """

    days: tuple[Day, ...]
    arriving_bytes_per_day: float
    high_mark_on: date | None


def forecast(
    recorded: Sequence[tuple[datetime, int]],
    arrived_bytes: int,
    now: datetime,
    retention: Retention,
    usage: Usage | None,
) -> Forecast:
    """Say what comes of age in the next 30 days.

    Parameters
    ----------
    recorded
        When each copy in the place was recorded, and its bytes.
    arrived_bytes
        The bytes of all copies that were recorded there in the last 7 days, also of those that went since.
    """
    copies: Counter[date] = Counter()
    sizes_bytes: Counter[date] = Counter()
    for at, size_bytes in recorded:
        due = at + timedelta(seconds=retention.keep_for_s)
        if now < due <= now + timedelta(days=DAYS):
            copies[due.date()] += 1
            sizes_bytes[due.date()] += size_bytes
    rate = arrived_bytes / RATE_DAYS
    days = tuple(Day(day, copies[day], sizes_bytes[day]) for day in sorted(copies))
    return Forecast(days, rate, _full(now, rate, retention.high_water, usage))


def _full(now: datetime, rate_bytes_per_day: float, high_water: float | None, usage: Usage | None) -> date | None:
    if high_water is None or usage is None or not rate_bytes_per_day > 0:
        return None
    room_bytes = high_water * (usage.used_bytes + usage.free_bytes) - usage.used_bytes
    days = max(0.0, room_bytes / rate_bytes_per_day)
    return (now + timedelta(days=days)).date() if days < 36500 else None
