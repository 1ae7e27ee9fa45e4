"""Whether a copy may go, by what is known: pure, quick, and never enough. The proof and the removal ask again.

Everything missing or odd is a reason to stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from xpcs_assets.copies.ledger import Copy, CopyState, Hold, Lease
from xpcs_assets.runs.retention import Retention

_GOING = frozenset({CopyState.PRESENT, CopyState.PART_REMOVED})


@dataclass(frozen=True)
class Situation:
    """All that is known about a copy when it is judged.

    Attributes
    ----------
    copy
        The one that may go.
    now
        Time of the judgement, by the clock that the ledger's times are of.
    retention
        Its place's word; None when there is none, or none that could be read.
    others
        The version's other copies.
    holds
        Holds that stand on the run.
    leases
        Leases of others that work on the run.
    archived, catalogued
        Whether the version's raw data were read back from an archive; whether its catalog entry stands.
    taken_later
        A version that was taken later from the very same path: a file that both have is that one's now.
    """

    copy: Copy
    now: datetime
    retention: Retention | None
    others: Sequence[Copy]
    holds: Sequence[Hold]
    leases: Sequence[Lease]
    archived: bool
    catalogued: bool
    taken_later: int | None = None


@dataclass(frozen=True)
class Eligible:
    """The copy may go if a proof can be made; ``since`` is when it had stayed long enough."""

    since: datetime


@dataclass(frozen=True)
class Stays:
    """The copy stays, for these reasons."""

    reasons: tuple[str, ...]


def judge(situation: Situation) -> Eligible | Stays:
    """Say whether a copy may go, or every reason why it stays."""
    retention = situation.retention
    if retention is None:
        return Stays((f"place {situation.copy.place!r} has no retention that can be read",))
    reasons = (
        *_not_there(situation.copy),
        *_not_its_own(situation.taken_later),
        *_too_young(situation.copy, situation.now, retention),
        *_wanted(situation.holds, situation.leases),
        *_missing_steps(situation, retention),
        *_too_few_others(situation, retention),
    )
    return Stays(reasons) if reasons else Eligible(kept_until(situation.copy, retention))


def judge_emptying(situation: Situation, in_trash_since: datetime) -> Eligible | Stays:
    """Say whether the bytes of a copy in the trash may go, or every reason why they stay.

    Parameters
    ----------
    in_trash_since
        When the last of its files was moved there.
    """
    retention = situation.retention
    if retention is None:
        return Stays((f"place {situation.copy.place!r} has no retention that can be read",))
    until = in_trash_since + timedelta(seconds=retention.trash_for_s)
    reasons = (
        *_in_grace(in_trash_since, until, situation.now),
        *_wanted(situation.holds, situation.leases),
        *_missing_steps(situation, retention),
        *_too_few_others(situation, retention),
    )
    return Stays(reasons) if reasons else Eligible(until)


def kept_until(copy: Copy, retention: Retention) -> datetime:
    """When a copy has stayed as long as its place keeps it."""
    return copy.recorded_at + timedelta(seconds=retention.keep_for_s)


def counting(copy: Copy, others: Sequence[Copy], now: datetime) -> tuple[Copy, ...]:
    """The other copies that the ledger thinks good: one for each failure domain but the copy's own."""
    good: dict[str, Copy] = {}
    for other in others:
        of_same_version = (other.beamline, other.run_key, other.version) == (copy.beamline, copy.run_key, copy.version)
        sound = other.state is CopyState.PRESENT and other.evidence.counts and other.verified_at <= now
        if of_same_version and sound and other.failure_domain not in {"", copy.failure_domain}:
            good.setdefault(other.failure_domain, other)
    return tuple(good.values())


def _not_there(copy: Copy) -> list[str]:
    return [] if copy.state in _GOING else [f"the copy is {copy.state}"]


def _not_its_own(taken_later: int | None) -> list[str]:
    return [] if taken_later is None else [f"version {taken_later} was taken later from the same path: its files stay"]


def _too_young(copy: Copy, now: datetime, retention: Retention) -> list[str]:
    if copy.recorded_at > now:
        return [f"it was recorded in the future ({copy.recorded_at:%Y-%m-%d %H:%M:%S} UTC): a clock is wrong"]
    until = kept_until(copy, retention)
    return [f"its place keeps it until {until:%Y-%m-%d %H:%M:%S} UTC"] if now < until else []


def _in_grace(since: datetime, until: datetime, now: datetime) -> list[str]:
    if since > now:
        return [f"it was moved to the trash in the future ({since:%Y-%m-%d %H:%M:%S} UTC): a clock is wrong"]
    return [f"the trash keeps it until {until:%Y-%m-%d %H:%M:%S} UTC"] if now < until else []


def _wanted(holds: Sequence[Hold], leases: Sequence[Lease]) -> list[str]:
    held = [f"{hold.set_by} holds it: {hold.reason}" for hold in holds]
    return held + [f"{lease.holder} works on it ({lease.purpose})" for lease in leases]


def _missing_steps(situation: Situation, retention: Retention) -> list[str]:
    missing = []
    if retention.needs_archive and not situation.archived:
        missing.append("its raw data are not archived and read back")
    if retention.needs_catalog and not situation.catalogued:
        missing.append("it is not in the catalog")
    return missing


def _too_few_others(situation: Situation, retention: Retention) -> list[str]:
    good = counting(situation.copy, situation.others, situation.now)
    if len(good) >= retention.min_copies:
        return []
    names = ", ".join(copy.place for copy in good) or "none"
    needed = retention.min_copies
    return [f"{len(good)} other verified copies ({names}) in other failure domains, {needed} are needed"]
