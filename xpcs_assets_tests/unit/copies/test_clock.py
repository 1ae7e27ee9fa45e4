"""One clock for all machines."""

from __future__ import annotations

from datetime import timedelta

import pytest

from xpcs_assets.copies.clock import boot_time_s, server_clock, utc_now
from xpcs_assets_tests.storage import HandClock, HandStopwatch


@pytest.mark.parametrize(("after_s", "asked"), [(59.999, 1), (60.0, 2), (60.001, 2), (-1.0, 2)])
def test_a_server_is_asked_once_a_minute_and_its_time_is_carried_on(after_s: float, asked: int) -> None:
    server, stopwatch, times = HandClock(), HandStopwatch(), []

    def ask() -> object:
        times.append(server.now)
        return server.now

    clock = server_clock(ask, stopwatch=stopwatch)  # type: ignore[arg-type]
    began = clock()
    server.now += timedelta(hours=1)  # set by hand: seen with the next answer
    stopwatch.seconds += after_s
    told = clock()
    assert len(times) == asked
    assert told == (server.now if asked == 2 else began + timedelta(seconds=after_s))


def test_a_machine_s_own_clocks_go_on() -> None:
    assert utc_now().tzinfo is not None
    assert boot_time_s() <= boot_time_s()
