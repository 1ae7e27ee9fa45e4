"""The back ends of a site as one process asks them: one that does not answer is left alone for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from xpcs_assets.compute.backend import Backend
from xpcs_assets.compute.opening import backend_settings, open_backend
from xpcs_assets.errors import UnreachableError
from xpcs_assets.settings_compute import ComputeSettings
from xpcs_assets.site import Site

FIRST_REST_S = 15.0
_LONGEST_REST_S = 600.0


class NotTakenError(Exception):
    """A back end takes no job now; another may. ``what`` says why."""

    @property
    def what(self) -> str:
        """Why."""
        return str(self.args[0])


@dataclass
class _Rest:
    why: str
    times: int
    until_s: float


@dataclass
class Asking:
    """The back ends of a site.

    Attributes
    ----------
    site
        Whose they are.
    open
        Opens one by its name.
    stopwatch
        Seconds that only rise.
    """

    site: Site
    open: Callable[[Site, str], Backend] = open_backend
    stopwatch: Callable[[], float] = time.monotonic
    _opened: dict[str, Backend] = field(default_factory=dict)
    _resting: dict[str, _Rest] = field(default_factory=dict)
    _polled_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, name: str) -> Iterator[Backend]:
        """Ask a back end; one that did not answer is left alone then, longer each time.

        Raises
        ------
        NotTakenError
            It is left alone now.
        UnreachableError
            It did not answer.
        SettingsError
            The site has none of this name, or what it needs is missing.
        """
        rest = self._resting.get(name)
        if rest is not None and self.stopwatch() < rest.until_s:
            raise NotTakenError(rest.why)
        if name not in self._opened:
            self._opened[name] = self.open(self.site, name)
        try:
            yield self._opened[name]
        except UnreachableError as error:
            times = rest.times + 1 if rest else 1
            pause_s = min(FIRST_REST_S * 2.0 ** (times - 1), _LONGEST_REST_S)
            self._resting[name] = _Rest(error.what, times, self.stopwatch() + pause_s)
            raise
        self._resting.pop(name, None)

    def is_polled_now(self, name: str) -> bool:
        """Whether it is time to ask a back end how its jobs are; telling so counts as asking."""
        now_s = self.stopwatch()
        if now_s - self._polled_s.get(name, -float("inf")) < self.settings(name).every:
            return False
        self._polled_s[name] = now_s
        return True

    def settings(self, name: str) -> ComputeSettings:
        """What the site file says of one.

        Raises
        ------
        SettingsError
            It has none of this name.
        """
        return backend_settings(self.site, name)

    def settles_s(self, name: str) -> float:
        """So long after a call that was not answered, what it asked for may still come to be."""
        return 3 * self.settings(name).call + 30
