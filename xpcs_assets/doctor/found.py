"""What a probe finds, and running many of them side by side, none of which can hold up the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from xpcs_assets.errors import XpcsAssetsError


class State(StrEnum):
    """How something is."""

    OK = "ok"
    WRONG = "wrong"
    SKIPPED = "skipped"
    """It was not looked at; the reason says why."""


@dataclass(frozen=True)
class Found:
    """One thing that was looked at.

    Attributes
    ----------
    what
        Such as ``xpcs place store``.
    state
        How it is.
    reason
        What was found.
    remedy
        What a person should do; empty when it is not wrong.
    seconds
        How long the look took.
    """

    what: str
    state: State
    reason: str = ""
    remedy: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Said:
    """What a probe says of the one thing that it looks at; parts as in :class:`Found`."""

    state: State
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Probe:
    """Something to look at. What ``look`` raises of this package's errors, or of the system's, is what is wrong."""

    what: str
    look: Callable[[], Said]


def ok(reason: str = "") -> Said:
    """It is in order."""
    return Said(State.OK, reason)


def wrong(reason: str, remedy: str = "") -> Said:
    """It is not in order."""
    return Said(State.WRONG, reason, remedy)


def skipped(reason: str) -> Said:
    """It was not looked at."""
    return Said(State.SKIPPED, reason)


def refused(error: XpcsAssetsError) -> Said:
    """What an error says."""
    return wrong(f"{error.where}: {error.what}" if error.where else error.what, error.remedy)


def look_at_all(probes: Sequence[Probe], limit_s: float) -> list[Found]:
    """Run all probes at once; one that has not ended after ``limit_s`` is left behind, and is wrong.

    What hangs in a dead disk cannot be stopped: its thread is one that does not keep the program from ending.
    """
    looks = [_Look(probe) for probe in probes]
    for look in looks:
        threading.Thread(target=look.run, name=f"doctor: {look.probe.what}", daemon=True).start()
    until_s = time.monotonic() + limit_s
    return [look.found(max(0.0, until_s - time.monotonic()), limit_s) for look in looks]


class _Look:
    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self._ended = threading.Event()
        self._said: Said | None = None
        self._seconds = 0.0

    def run(self) -> None:
        started_s = time.monotonic()
        try:
            self._said = self.probe.look()
        except XpcsAssetsError as error:
            self._said = refused(error)
        except OSError as error:
            self._said = wrong(f"{error.filename or ''} {error.strerror or type(error).__name__}".strip())
        except Exception as error:  # noqa: BLE001 - in a thread nobody hears of it, and the other lines are wanted too
            # Its text is not ours: it may hold what nobody should read.
            self._said = wrong(f"the probe met an error of the program ({type(error).__name__})", "Tell its developers")
        finally:
            self._seconds = time.monotonic() - started_s
            self._ended.set()

    def found(self, wait_s: float, limit_s: float) -> Found:
        self._ended.wait(wait_s)
        if self._said is None:
            remedy = "See whether what it asks is up and its network is open"
            return Found(self.probe.what, State.WRONG, f"no answer within {limit_s:g} s", remedy, limit_s)
        said = self._said
        return Found(self.probe.what, said.state, said.reason, said.remedy, round(self._seconds, 3))
