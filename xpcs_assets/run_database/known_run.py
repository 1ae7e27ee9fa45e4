"""A run as the run database has it, which of its documents are runs to take, and how they say how far a run is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from xpcs_assets.settings_run_database import RunDatabaseSettings

FORCED, ABANDONED, HELD = "process", "abandon", "hold"
"""Tags that people give: take it whatever its age, number and failures; leave it alone; leave it alone for now."""


class RunStatus(StrEnum):
    """How far the processing of a run is, as its document says."""

    PENDING = "pending"
    """A person asks for it, also again."""
    SUBMITTED = "submitted"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


OPEN = (RunStatus.SUBMITTED, RunStatus.RUNNING)
"""Claimed by somebody and not over."""


@dataclass(frozen=True)
class KnownRun:
    """A run's document.

    Attributes
    ----------
    id
        Of the document; every write names it, never the number alone.
    number
        The run's number.
    said
        What the document says of its processing, as it stands there; None where it says nothing.
    failures
        How often it has failed.
    forced
        Whether it is or was taken once beyond the number of failures.
    details
        Its mode and detectors, for the rules that choose what is done with it.
    data
        Its data entries.
    """

    id: Any
    number: int
    said: Any
    failures: int
    forced: bool
    details: Mapping[str, Any]
    data: tuple[Mapping[str, Any], ...]

    @property
    def status(self) -> str:
        """How far it is, in one word; empty where nothing is said."""
        return str(self._of_status("status")) if isinstance(self.said, Mapping) else str(self.said or "")

    @property
    def reason(self) -> str:
        """Why it is not further."""
        return str(self._of_status("reason"))

    @property
    def holder(self) -> str:
        """Who has claimed it."""
        return str(self._of_status("claimed_by"))

    @property
    def attempt(self) -> int:
        """The arrival's attempt that the claim is for; see :class:`xpcs_assets.copies.arrivals.Arrival`."""
        attempt = self._of_status("attempt")
        return attempt if isinstance(attempt, int) else 0

    def is_held(self, now: datetime) -> bool:
        """Whether somebody has it whose claim stands; one that names no time stands for ever."""
        expires = self._of_status("expires")
        return self.status in OPEN and not (isinstance(expires, datetime) and expires < now)

    def _of_status(self, name: str) -> Any:
        return self.said.get(name, "") if isinstance(self.said, Mapping) else ""


def read(document: Mapping[str, Any], settings: RunDatabaseSettings) -> KnownRun | None:
    """A run's document; None where it has no whole number."""
    fields = settings.fields
    number, data = document.get(fields.number), document.get(fields.data)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        return None
    failures = document.get(fields.processing_failed)
    failures = failures if isinstance(failures, int) else 0
    said, detectors = document.get(fields.processing_status), document.get(fields.detectors)
    return KnownRun(
        id=document["_id"],
        number=number,
        said=said,
        failures=failures,
        forced=failures >= settings.failures_at_most or (isinstance(said, Mapping) and said.get("forced") is True),
        details={
            "mode": str(document.get(fields.mode) or ""),
            "detectors": [str(name) for name in (detectors if isinstance(detectors, list) else [detectors or ""])],
        },
        data=tuple(entry for entry in data if isinstance(entry, Mapping)) if isinstance(data, list) else (),
    )


def to_take(settings: RunDatabaseSettings, now: datetime) -> dict[str, Any]:
    """The filter for documents of runs that have ended, that nobody has, and that people let through."""
    fields = settings.fields
    status, failures = fields.processing_status, fields.processing_failed
    few_failures = {failures: {"$not": {"$gte": settings.failures_at_most}}}
    lately = {fields.start: {"$gte": now - timedelta(days=settings.newest_days)}}
    usual = {fields.number: {"$gte": settings.min_run_number}, **lately, **few_failures}
    forced = {"$and": [tagged(fields.tags, FORCED), {"$or": [few_failures, {f"{status}.forced": {"$ne": True}}]}]}
    old = now - timedelta(seconds=settings.retry_after)
    free = [
        {status: {"$in": [None, RunStatus.PENDING.value, RunStatus.FAILED.value]}},
        {f"{status}.status": RunStatus.PENDING.value},
        {f"{status}.status": RunStatus.FAILED.value, f"{status}.time": {"$not": {"$gte": old}}},
        {f"{status}.status": {"$in": [each.value for each in OPEN]}, f"{status}.expires": {"$lt": now}},
    ]
    wanted = [{"$or": free}, {"$or": [usual, forced]}, {"$nor": [tagged(fields.tags, ABANDONED, HELD)]}]
    if settings.detectors:
        wanted.append({fields.detectors: {"$in": list(settings.detectors)}})
    return {fields.end: {"$ne": None}, "$and": wanted}


def tagged(field: str, *tags: str) -> dict[str, Any]:
    """The filter for documents with one of these tags: names, or documents with a ``name``."""
    return {"$or": [{f"{field}.name": {"$in": list(tags)}}, {field: {"$in": list(tags)}}]}
