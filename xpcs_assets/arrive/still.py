"""Since when files have not changed, by this process's own clock: no time stamp of another machine is compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class _Seen:
    """Files as last seen, and since when they have not changed (s, monotonic)."""

    fingerprint: str
    since_s: float


class Stillness:
    """What one process remembers of files that may be changing."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    def for_s(self, key: str, fingerprint: str) -> float:
        """How long the files of ``key`` have been as they are now (s)."""
        now = self._clock()
        known = self._seen.get(key)
        if known is None or known.fingerprint != fingerprint:
            self._seen[key] = known = _Seen(fingerprint, now)
        return now - known.since_s

    def forget(self, key: str) -> None:
        """Begin anew with ``key``."""
        self._seen.pop(key, None)
