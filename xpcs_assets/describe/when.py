"""When a run was measured, by its metadata."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xpcs_assets.describe.record import Record

BEGIN = (
    "/entry/start_time", "/entry1/start_time", "/bluesky/start/time", "/measurement/instrument/source_begin/datetime",
    "/start_time",
)  # fmt: skip
"""Fields that tell when a measurement began."""
END = ("/entry/end_time", "/entry1/end_time", "/bluesky/stop/time", "/measurement/instrument/source_end/datetime")
"""Fields that tell when it ended."""


def time_in(record: Record, fields: Sequence[str]) -> datetime | None:
    """The first time that the metadata tell in some fields, as they tell it: without a zone where they name none.

    None where there is none that can be read.
    """
    entry = record.first(*fields)
    try:
        if entry is None or isinstance(entry.value, bool):
            return None
        if isinstance(entry.value, int | float):
            return datetime.fromtimestamp(entry.value, UTC)
        return datetime.fromisoformat(str(entry.value).strip())
    except (ValueError, OverflowError, OSError):
        return None


def moment_in(record: Record, fields: Sequence[str]) -> datetime | None:
    """A time of the metadata in UTC; None also for one without a zone, of which nobody knows when it was."""
    found = time_in(record, fields)
    try:
        return None if found is None or found.tzinfo is None else found.astimezone(UTC)
    except OverflowError:
        return None
