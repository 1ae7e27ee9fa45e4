"""What the ledger says about the copies of a place: the list that a dry run prints and the planner works through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xpcs_assets.copies.ledger import Copy, CopyState, Lease, Ledger
from xpcs_assets.prune.rules import Eligible, Situation, Stays, judge
from xpcs_assets.runs.retention import Retention


@dataclass(frozen=True)
class Judged:
    """A copy and what the rules say of it."""

    copy: Copy
    judgement: Eligible | Stays


def judge_place(
    ledger: Ledger,
    beamline: str,
    place: str,
    retention: Retention | None,
    catalogued: Callable[[Copy], bool],
    *,
    limit: int | None = None,
) -> tuple[Judged, ...]:
    """Judge a beamline's copies in a place, the oldest first.

    Parameters
    ----------
    retention
        The place's; None makes nothing eligible.
    catalogued
        Whether the catalog entry of a copy's version stands.
    """
    copies = ledger.copies_in(place, beamline=beamline, limit=limit)
    return tuple(Judged(copy, judge(situation_of(ledger, copy, retention, catalogued(copy)))) for copy in copies)


def situation_of(
    ledger: Ledger, copy: Copy, retention: Retention | None, catalogued: bool, own: Lease | None = None
) -> Situation:
    """What the ledger knows about a copy now; ``own`` is the lease of whoever asks."""
    others = tuple(
        other
        for other in ledger.copies(copy.beamline, copy.run_key, copy.version)
        if (other.place, other.path) != (copy.place, copy.path)
    )
    bundles = ledger.bundles(copy.beamline, copy.run_key, copy.version)
    archives = {bundle.place for bundle in bundles if bundle.content == "raw" and bundle.evidence.counts}
    return Situation(
        copy=copy,
        now=ledger.clock(),
        retention=retention,
        others=others,
        holds=ledger.holds(copy.beamline, copy.run_key),
        leases=tuple(
            lease for lease in ledger.leases(copy.beamline, copy.run_key) if own is None or lease.fencing != own.fencing
        ),
        archived=any(other.place in archives and other.state is CopyState.PRESENT for other in others),
        catalogued=catalogued,
    )
