"""Stopping by SIGTERM or Ctrl-C at places where nothing is half done.

The handler only takes a note: an exception out of a signal handler may come up inside a lock of a thread pool, and
hang the process, or inside a weak reference's callback, and be lost. Both were seen.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_asked = threading.Event()


def check() -> None:
    """Raise KeyboardInterrupt if this process was asked to stop; call it wherever that is safe, and often."""
    if _asked.is_set():
        raise KeyboardInterrupt


def wait(seconds: float) -> None:
    """Sleep, but not beyond a wish to stop."""
    _asked.wait(seconds)
    check()


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM and SIGINT be noted, even where a shell had the process ignore Ctrl-C."""
    _asked.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [(number, signal.signal(number, lambda _number, _frame: _asked.set())) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
