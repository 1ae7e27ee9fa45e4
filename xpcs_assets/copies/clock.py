"""Where time comes from. Everything that judges an age takes one of these, so that tests set it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""Wall time, aware, in UTC."""

Stopwatch = Callable[[], float]
"""Seconds that only rise, also while the machine sleeps or the wall clock is set."""


def utc_now() -> datetime:
    """Wall time of this machine."""
    return datetime.now(UTC)


def server_clock(ask: Clock, *, stopwatch: Stopwatch, every_s: float = 60.0) -> Clock:
    """One wall time for all machines: that of a server, asked once in a while and carried on by a stopwatch.

    Parameters
    ----------
    ask
        Ask the server; what it raises goes to whoever wanted the time.
    stopwatch
        Carries the time on between two answers.
    every_s
        How long an answer is carried on, s.
    """
    told: tuple[datetime, float] | None = None

    def now() -> datetime:
        nonlocal told
        before_s = stopwatch()
        if told is None or not 0 <= before_s - told[1] < every_s:
            told = (ask(), before_s)
        return told[0] + timedelta(seconds=stopwatch() - told[1])

    return now


def boot_time_s() -> float:
    """Seconds since this machine was started, s; nobody can set it back and sleep counts."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
