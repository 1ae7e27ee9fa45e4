"""All rules of a beamline together: what is dear to find out is found out less often."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from xpcs_assets.alerts import rules
from xpcs_assets.alerts.word import Word
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.lately import news

PLACES_EVERY_S = 300.0
FORECAST_EVERY_S = 3600.0
Stood = Sequence[Word]


@dataclass
class Look:
    """Looks at a beamline; what was found by a dear rule a moment ago is taken for what is.

    Attributes
    ----------
    beamline
        Which.
    stopwatch
        Seconds that only rise.
    """

    beamline: OpenBeamline
    stopwatch: Callable[[], float] = time.monotonic
    _found: dict[str, tuple[float, list[Word]]] = field(default_factory=dict)

    def now(self, stood: Stood, seen: int) -> tuple[list[Word], int]:
        """What is wrong now, each thing once, and the newest line of the timelines that was looked at.

        Parameters
        ----------
        stood
            What was wrong when people were last told.
        seen
            The newest line that was looked at then.
        """
        beamline = self.beamline
        new = news(beamline.engine, beamline.name, after=seen)
        found = [
            *self._by("failed", 0.0, lambda: rules.failed(beamline, new, stood)),
            *self._by("late", PLACES_EVERY_S, lambda: rules.late(beamline, stood)),
            *self._by("silent", 0.0, lambda: rules.silent(beamline)),
            *self._by("unavailable quota", PLACES_EVERY_S, lambda: rules.places(beamline, stood)),
            *self._by("catalog", 0.0, lambda: rules.catalogs(beamline)),
            *self._by("backend", 0.0, lambda: rules.backends(beamline)),
            *self._by("parked", 0.0, lambda: rules.parked_messages(beamline)),
            *self._by("campaign", PLACES_EVERY_S, lambda: rules.campaigns_over(beamline)),
            *self._by("approval", FORECAST_EVERY_S, lambda: rules.approvals(beamline)),
            *self._by("prune", FORECAST_EVERY_S, lambda: rules.prune_soon(beamline)),
        ]
        once: dict[str, Word] = {}
        for one in found:
            if one.kind not in beamline.settings.alerts.mute:
                once.setdefault(one.key, one)
        return list(once.values()), new.last

    def _by(self, kinds: str, every_s: float, rule: Callable[[], list[Word]]) -> list[Word]:
        """What a rule finds, of which kinds it may be; nobody asks one that can only find what is mute."""
        if set(kinds.split()) <= set(self.beamline.settings.alerts.mute):
            return []
        looked_at_s, found = self._found.get(kinds, (-float("inf"), []))
        if self.stopwatch() - looked_at_s >= every_s:
            found = rule()
            self._found[kinds] = (self.stopwatch(), found)
        return found
