"""What becomes of a job that ended without a result: the same again, a rung down the ladder, or a person's turn.

Pure rules. The worker's own words count most, then what the back end says of the end.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from xpcs_assets.errors import (
    ConflictingBytesError,
    CorrelationError,
    InputError,
    RefusedError,
    SettingsError,
    XpcsAssetsError,
    named,
)

TRIES = 4
"""As often the same is tried on one rung."""
FIRST_PAUSE_S = 60.0
LONGEST_PAUSE_S = 3600.0
_OUT_OF_MEMORY = "out of memory"
_STOPPED = "stopped by a signal"
_WOULD_RECUR = (InputError, CorrelationError, RefusedError, SettingsError, ConflictingBytesError)
_ENDED_AS_IF_WELL = "it ended, and left no result"


@dataclass(frozen=True)
class End:
    """How a job ended.

    Attributes
    ----------
    reason
        The back end's word.
    code
        Its exit code, None where none is told.
    is_lost, is_too_big, is_forgotten
        See :class:`xpcs_assets.compute.backend.Seen`.
    """

    reason: str = ""
    code: int | None = None
    is_lost: bool = False
    is_too_big: bool = False
    is_forgotten: bool = False

    @property
    def is_as_if_well(self) -> bool:
        """Whether nothing that the back end says speaks against a result."""
        return not (self.code or self.is_lost or self.is_too_big)


@dataclass(frozen=True)
class Verdict:
    """What is done next.

    Attributes
    ----------
    reason
        Why, in words.
    rung, wait_s, tries
        Which rung is tried after how long, and how often that will have been; None: it is parked.
    is_too_big
        It is parked since no rung is left.
    """

    reason: str
    rung: int | None = None
    wait_s: float = 0.0
    tries: int = 1
    is_too_big: bool = False


def worker_error(output: str) -> XpcsAssetsError | None:
    """The error that the worker told in the last lines of its output; None when it told none."""
    for line in reversed(output.splitlines()):
        content: Any = None
        with suppress(ValueError):
            content = json.loads(line)
        if isinstance(content, dict) and "error" in content:
            kind = named(str(content.get("kind"))) or XpcsAssetsError
            told = {name: str(content.get(name, "")) for name in ("where", "remedy")}
            return kind(str(content["error"]), **told)
    return None


def decide(
    end: End, error: XpcsAssetsError | None, *, rung: int, rungs: Sequence[int], tries: int, with_more: str
) -> Verdict:
    """Decide what follows.

    Parameters
    ----------
    rungs, with_more
        The rungs that make a difference, and what is different on a further one, in words.
    tries
        How often this rung was tried.
    """
    told = _told(end, error)
    too_big = end.is_too_big or (error is not None and error.what == _OUT_OF_MEMORY)
    if too_big:
        below = [other for other in rungs if other > rung]
        if below:
            return Verdict(f"{told}; tried again {with_more}", below[0])
        return Verdict(f"too big, also {with_more}: {told}", is_too_big=True)
    if not end.is_lost and isinstance(error, _WOULD_RECUR) and error.what != _STOPPED:
        return Verdict(told)
    if tries >= TRIES:
        return Verdict(f"{told}; the last of {tries} tries")
    wait_s = min(FIRST_PAUSE_S * 2.0 ** (tries - 1), LONGEST_PAUSE_S)
    return Verdict(told, rung, wait_s, tries + 1)


def _told(end: End, error: XpcsAssetsError | None) -> str:
    if error is not None:
        return str(error)
    if end.is_forgotten:
        return "the back end knows it no more, and it left no result"
    code = "" if end.code is None else f"exit code {end.code}"
    said = ", ".join(filter(None, [end.reason, code]))
    return f"{_ENDED_AS_IF_WELL} ({said})" if said else _ENDED_AS_IF_WELL
