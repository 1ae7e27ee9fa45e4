"""The book of clocks: whether the wall clock can be believed where ages are told by it.

A machine's wall clock is compared with how long the machine has run, which nobody can set: between two looks it may
gain :data:`TOLERANCE_S` and a little drift, counted from the first look since the machine was started, so that many
small steps do not add up. Over a restart, and on another machine, the time may have gone on by :data:`RESTART_STEP_S`
from the last time that the ledger saw. A clock that ran ahead of that tells no age until it is back, or a person says
that it is right. A clock that goes back makes everything look younger, which deletes nothing.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from xpcs_assets.copies.book import Book
from xpcs_assets.copies.clock import Stopwatch, boot_time_s
from xpcs_assets.copies.database import reading, writing
from xpcs_assets.copies.tables import ClockRow, CopyRow

TOLERANCE_S = 300.0
DRIFT = 1e-3
RESTART_STEP_S = 7 * 86400.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Look:
    """What the wall clock said when the machine had run for ``running_s``; None when that was another start."""

    at: datetime
    running_s: float | None


def ahead_s(now: datetime, running_s: float, seen: Look) -> float:
    """By how much a wall clock is ahead of the latest time that it can show, s; not above 0 when it can be believed."""
    gone_s = (now - seen.at).total_seconds()
    if seen.running_s is None:
        return gone_s - RESTART_STEP_S
    elapsed_s = running_s - seen.running_s
    return gone_s - elapsed_s * (1 + DRIFT) - TOLERANCE_S


def boot_id() -> str:
    """What names this start of this machine."""
    return _BOOT_ID.read_text().strip()


class ClockBook(Book):
    """What the ledger knows of clocks."""

    def doubt_clock(self, stopwatch: Stopwatch = boot_time_s, boot: str = "") -> str:
        """Look at the wall clock and note what it says; why it tells no age now, or empty when it does.

        Parameters
        ----------
        stopwatch
            How long this machine has run, s.
        boot
            Names this start of the machine; the default asks the system.
        """
        now, running_s, boot = self.clock(), stopwatch(), boot or boot_id()
        with writing(self.engine) as session:
            row = session.get(ClockRow, boot)
            seen = _last_seen(session) if row is None else Look(row.anchor_at, row.anchor_us / 1e6)
            if seen is not None and ahead_s(now, running_s, seen) > 0:
                return _told(now, running_s, seen)
            if row is None:
                session.add(_new_row(boot, now, running_s))
                return ""
            behind_s = (running_s - row.anchor_us / 1e6) - (now - row.anchor_at).total_seconds()
            if behind_s > 0:  # it was ahead before: from here on it must not be that far ahead again
                row.anchor_at, row.anchor_us = now, round(running_s * 1e6)
            row.seen_at = now
            return ""

    def accept_clock(self, by: str, stopwatch: Stopwatch = boot_time_s, boot: str = "") -> None:
        """Take a person's word that the wall clock of this machine is right now."""
        now, running_s, boot = self.clock(), stopwatch(), boot or boot_id()
        with writing(self.engine) as session:
            row = session.get(ClockRow, boot)
            if row is None:
                row = _new_row(boot, now, running_s)
                session.add(row)
            row.anchor_at, row.anchor_us, row.seen_at, row.accepted_by = now, round(running_s * 1e6), now, by

    def clock_seen(self) -> datetime | None:
        """The latest time that any machine's clock was believed; None before the first look."""
        with reading(self.engine) as session:
            return session.scalar(select(func.max(ClockRow.seen_at)))


def _last_seen(session: Session) -> Look | None:
    """Where no look since this start is known: the last one of any, else what the newest copy's time says."""
    latest = session.scalar(select(func.max(ClockRow.seen_at)))
    latest = latest or session.scalar(select(func.max(CopyRow.recorded_at)))
    return None if latest is None else Look(latest, None)


def _new_row(boot: str, now: datetime, running_s: float) -> ClockRow:
    return ClockRow(
        boot=boot,
        host=socket.gethostname(),
        anchor_at=now,
        anchor_us=round(running_s * 1e6),
        seen_at=now,
        accepted_by="",
    )


def _told(now: datetime, running_s: float, seen: Look) -> str:
    allowed = timedelta(seconds=(now - seen.at).total_seconds() - ahead_s(now, running_s, seen))
    since = "the ledger last saw" if seen.running_s is None else "this machine's clock showed when it was believed"
    return (
        f"the clock says {now:%Y-%m-%d %H:%M:%S} UTC, more than {allowed} after the {seen.at:%Y-%m-%d %H:%M:%S} UTC "
        f"that {since}: no age is told by it until it is set right, or `xpcs-assets clock --accept` says that it is"
    )
