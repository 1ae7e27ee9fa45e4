"""Where time comes from. Everything that judges an age takes one of these, so that tests set it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Wall time, aware, in UTC."""

Stopwatch = Callable[[], float]
"""Seconds that only rise, also while the machine sleeps or the wall clock is set."""


def utc_now() -> datetime:
    """Wall time of this machine."""
    return datetime.now(UTC)


def boot_time_s() -> float:
    """Seconds since this machine was started, s; nobody can set it back and sleep counts."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
