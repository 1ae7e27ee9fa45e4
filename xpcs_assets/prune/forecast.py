"""What comes of age in a place in the next days and may then go, when its trash and its disk: pure.

The rules are applied as they will stand when a copy is of age. What the platform does by itself until then is taken
for done: archiving, cataloguing, the end of work on a run. What only people change is taken as it is: holds, failure
domains, copies that are lost or bad.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from xpcs_assets.copies.ledger import Copy, CopyState, Evidence
from xpcs_assets.places.place import Usage
from xpcs_assets.prune.rules import Situation, Stays, judge, judge_emptying, kept_until
from xpcs_assets.runs.retention import Retention

DAYS = 30
RATE_DAYS = 7


@dataclass(frozen=True)
class Day:
    """What may go on a day (UTC), from its name or out of the trash."""

    day: date
    copies: int
    size_bytes: int


@dataclass(frozen=True)
class Coming:
    """A copy that will be of age, or whose time in the trash will be over; ``stays`` says why it stays all the same."""

    due: datetime
    size_bytes: int
    stays: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ahead:
    """What is to come of some copies: those that may go day by day, and why how many of the others stay."""

    days: tuple[Day, ...]
    stay: int
    reasons: Counter[str]


@dataclass(frozen=True)
class Forecast:
    """The next days of a place, if what its copies need gets done.

    Attributes
    ----------
    of_age
        Copies that come of age.
    trash, trash_bytes
        What lies in the trash now: when each copy's time there is over, and the bytes of all.
    arriving_bytes_per_day
        What was recorded a day in the last 7 days, bytes a day.
    high_mark_on
        The day on which the disk passes its high mark at that rate if nothing goes, with what lies in the trash counted
        as gone; None when that cannot be known.
    """

    of_age: Ahead
    trash: Ahead
    trash_bytes: int
    arriving_bytes_per_day: float
    high_mark_on: date | None


@dataclass(frozen=True)
class Bringing:
    """What time brings to the copies of a beamline.

    Attributes
    ----------
    domains
        The failure domain of each place that can be asked: a copy is in it once it was read again.
    staged_to, archived_to
        Where a version gets a copy that has none there yet; the second is empty where nothing is archived.
    """

    domains: Mapping[str, str]
    staged_to: str
    archived_to: str = ""

    def later(self, situation: Situation) -> Situation:
        """A copy's situation when all that was done."""
        copy = situation.copy
        others = [self._read_again(other) for other in situation.others]
        known = {copy.place, *(other.place for other in others)}
        others += [
            replace(copy, place=place, failure_domain=self.domains.get(place, ""), state=CopyState.PRESENT, path="",
                    reason="", evidence=Evidence.READ_BACK, verified_at=situation.now)
            for place in dict.fromkeys([self.staged_to, self.archived_to])
            if place and place not in known
        ]  # fmt: skip
        archived = situation.archived or bool(self.archived_to and self.archived_to not in known)
        return replace(
            situation, copy=self._read_again(copy), others=others, leases=(), archived=archived, catalogued=True
        )

    def _read_again(self, copy: Copy) -> Copy:
        return replace(copy, failure_domain=self.domains.get(copy.place, copy.failure_domain))


def of_age(situation: Situation, retention: Retention, bringing: Bringing, size_bytes: int) -> Coming:
    """Judge a copy as it will be on the day on which it comes of age."""
    due = kept_until(situation.copy, retention)
    later = replace(bringing.later(situation), now=max(due, situation.now))
    return Coming(due, size_bytes, _stays(judge(later)))


def out_of_trash(
    situation: Situation, retention: Retention, bringing: Bringing, since: datetime, size_bytes: int
) -> Coming:
    """Judge a copy in the trash as it will be when its time there is over; ``since`` is when it was moved there."""
    due = max(since + timedelta(seconds=retention.trash_for_s), situation.now)
    return Coming(due, size_bytes, _stays(judge_emptying(replace(bringing.later(situation), now=due), since)))


def forecast(
    coming: Iterable[Coming],
    trash: Sequence[Coming],
    arrived_bytes: int,
    now: datetime,
    retention: Retention,
    usage: Usage | None,
) -> Forecast:
    """Say what comes of age in the next 30 days, and what becomes of the trash.

    Parameters
    ----------
    coming
        Copies in the place.
    trash
        Copies in its trash.
    arrived_bytes
        The bytes of all copies that were recorded there in the last 7 days, also of those that went since.
    """
    soon = [copy for copy in coming if now < copy.due <= now + timedelta(days=DAYS)]
    rate, trash_bytes = arrived_bytes / RATE_DAYS, sum(copy.size_bytes for copy in trash)
    full = _full(now, rate, retention.high_water, usage, trash_bytes)
    return Forecast(_ahead(soon), _ahead(trash), trash_bytes, rate, full)


def _ahead(coming: Sequence[Coming]) -> Ahead:
    copies: Counter[date] = Counter()
    sizes_bytes: Counter[date] = Counter()
    for copy in coming:
        if not copy.stays:
            copies[copy.due.date()] += 1
            sizes_bytes[copy.due.date()] += copy.size_bytes
    days = tuple(Day(day, copies[day], sizes_bytes[day]) for day in sorted(copies))
    return Ahead(days, len(coming) - copies.total(), Counter(reason for copy in coming for reason in copy.stays))


def _stays(judgement: object) -> tuple[str, ...]:
    return judgement.reasons if isinstance(judgement, Stays) else ()


def _full(
    now: datetime, rate_bytes_per_day: float, high_water: float | None, usage: Usage | None, trash_bytes: int
) -> date | None:
    if high_water is None or usage is None or not rate_bytes_per_day > 0:
        return None
    room_bytes = high_water * (usage.used_bytes + usage.free_bytes) - (usage.used_bytes - trash_bytes)
    days = max(0.0, room_bytes / rate_bytes_per_day)
    return (now + timedelta(days=days)).date() if days < 36500 else None
