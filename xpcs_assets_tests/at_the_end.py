"""What is ended with the tests of this process: servers that many of them share.

Before the process says that it is done, not at its exit: pytest-xdist kills a process that needs ten seconds for that,
and a server of it would be left.
"""

from __future__ import annotations

import os
from collections.abc import Callable

_stops: list[tuple[int, Callable[[], None]]] = []


def end(stop: Callable[[], None]) -> None:
    """Have ``stop`` called when the last test of this process is over; what a forked child ends is its own."""
    _stops.append((os.getpid(), stop))


def end_all() -> None:
    """Call what was given, the youngest first."""
    while _stops:
        owner, stop = _stops.pop()
        if owner == os.getpid():
            stop()
