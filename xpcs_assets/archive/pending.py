"""Which runs are to be archived now: what the archive lacks, less what has failed, or has waited, a moment ago."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from xpcs_assets.archive.gather import begun, due, waiting
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.pending import unarchived
from xpcs_assets.copies.versions import WAITS

FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=6)
LONGEST_WAIT = timedelta(minutes=15)
"""A run whose archive is reached by jobs is looked at again after this long at most, while its job goes on."""

_LONGEST = {"failed: ": LONGEST_PAUSE, WAITS: LONGEST_WAIT}


def to_archive(beamline: OpenBeamline, limit: int) -> list[str]:
    """Runs that have something which the archive lacks, once each; those that failed lately wait.

    So do raw data that wait for those of others: :func:`to_gather` has them.
    """
    settings = beamline.settings.pipeline
    if settings.archive is None:
        return []
    found = unarchived(beamline.engine, beamline.name, staged_in=settings.stage.to, archive=settings.archive.to)
    gathered = {(each.version.run_key, each.version.version) for each in waiting(beamline)}
    here = [item.run_key for item in found if item.what or (item.run_key, item.version) not in gathered]
    ready: list[str] = []
    for run_key in dict.fromkeys(here):
        if len(ready) >= limit:  # not in the query: runs that pause would take the place of those that can be archived
            break
        if not _pauses(beamline, run_key):
            ready.append(run_key)
    return ready


def to_gather(beamline: OpenBeamline, is_idle: Callable[[str], bool]) -> list[list[str]]:
    """Runs whose raw data are to be bundled together now; those that failed lately or are not idle stay out."""

    def is_free(run_key: str) -> bool:
        return not _pauses(beamline, run_key) and is_idle(run_key)

    going_on = begun(beamline)
    if not due(beamline) and not going_on:  # most often: then nobody has to be asked who is idle
        return []
    taken = {run_key for together in going_on for run_key in together}
    new = due(beamline, lambda run_key: run_key not in taken and is_free(run_key))
    return [*(together for together in going_on if all(map(is_free, together))), *new]


def _pauses(beamline: OpenBeamline, run_key: str) -> bool:
    """Whether archiving failed, or had to wait, so lately that it is not tried again yet."""
    ledger = beamline.ledger
    alike: list[datetime] = []  # the last ends of one kind in a row
    kind = ""
    for event in ledger.timeline(beamline.name, run_key):
        if event.step == "archive":
            before, kind = kind, next((word for word in _LONGEST if event.what.startswith(word)), "")
            alike = [*(alike if kind == before else ()), event.at]
    if not kind:
        return False
    pause = min(FIRST_PAUSE * 2 ** min(len(alike) - 1, 10), _LONGEST[kind])
    return bool(ledger.clock() - alike[-1] < pause)
