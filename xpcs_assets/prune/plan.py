"""Which copies of a place are to go: the list that a dry run prints and the planner works through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from xpcs_assets.copies.ledger import Copy, Lease, Ledger, Seen
from xpcs_assets.places.place import Usage
from xpcs_assets.prune.limits import DAY, Limit, digest_of, item, limit_of
from xpcs_assets.prune.marks import by_marks
from xpcs_assets.prune.rules import Eligible, Situation, Stays, counting, judge
from xpcs_assets.runs.retention import Retention

_AT_ONCE = 500
Catalogued = Callable[[Sequence[Copy]], AbstractSet[tuple[str, int]]]
"""Asks the catalog for many copies at once: run key and version of those whose raw record stands."""


@dataclass(frozen=True)
class Due:
    """A copy that may go.

    Attributes
    ----------
    copy
        Which.
    since
        When it had stayed as long as its place keeps it.
    others
        Places of the other copies that the ledger thinks good.
    size_bytes
        Of its files; 0 for one that is half gone, of which nobody knows.
    """

    copy: Copy
    since: datetime
    others: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True)
class Kept:
    """A copy that stays, and every reason."""

    copy: Copy
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What is to go from a place, and why the rest stays.

    Attributes
    ----------
    place, at
        Where, and when the plan was made.
    goes
        The list, the oldest first.
    waits
        Copies that may go and are not asked to yet.
    why_waits
        Why: the water marks, or the doubt.
    doubt
        Why nothing goes that ought to: a clock that cannot be believed, or a disk that does not say how full it is.
    kept
        Copies that may not go; those that are too young only where they were asked for.
    young, copies
        How many are too young, and how many there are in all.
    limit
        Whether the list may go by itself.
    approved
        Copies of the list that a person approved.
    draining
        Whether the disk is on its way to the low mark.
    """

    place: str
    at: datetime
    goes: tuple[Due, ...]
    waits: tuple[Due, ...]
    why_waits: str
    doubt: str
    kept: tuple[Kept, ...]
    young: int
    copies: int
    limit: Limit
    approved: frozenset[str]
    draining: bool

    @property
    def digest(self) -> str:
        """Names this very list."""
        return digest_of(self.place, [item(due.copy) for due in self.goes])

    @property
    def now(self) -> tuple[Due, ...]:
        """What may go without asking: the whole list, or beyond the limit what of it was approved."""
        if not self.limit.beyond:
            return self.goes
        return tuple(due for due in self.goes if item(due.copy) in self.approved)

    @property
    def reasons(self) -> Counter[str]:
        """How many copies stay for each reason."""
        return Counter(reason for kept in self.kept for reason in kept.reasons)


def plan_place(
    ledger: Ledger,
    beamline: str,
    place: str,
    retention: Retention,
    catalogued: Catalogued,
    *,
    usage: Usage | None,
    doubt: str = "",
    draining: bool = False,
    everything: bool = False,
) -> Plan:
    """Judge a beamline's copies in a place and choose those that are to go.

    Parameters
    ----------
    retention
        The place's.
    usage
        Of the place's disk; asked for where the retention has water marks.
    doubt
        Why the clock tells no age now: then nothing goes.
    draining
        What the last plan said.
    everything
        Whether the copies that are too young are judged one by one as well.
    """
    now = ledger.clock()
    ripe_at = now - timedelta(seconds=retention.keep_for_s)
    until = datetime.max.replace(tzinfo=now.tzinfo) if everything else ripe_at
    may_go: list[tuple[Seen, Eligible]] = []
    kept: list[Kept] = []
    for seen, judgement in _judged(ledger, beamline, place, retention, catalogued, until):
        if isinstance(judgement, Stays):
            kept.append(Kept(seen.copy, judgement.reasons))
        else:
            may_go.append((seen, judgement))
    due = _due(ledger, may_go, now)
    marked = by_marks(
        [one.size_bytes for one in due], usage, ledger.bytes_aside(beamline, place), retention, draining=draining
    )
    unknown = marked.why if usage is None and retention.high_water is not None else ""
    goes = () if doubt else due[: marked.goes]
    counted = ledger.count_copies(beamline, place, after=ripe_at)
    approved = frozenset[str]().union(*(word.items for word in ledger.approvals(beamline, place)))
    removed = ledger.removed_since(beamline, place, now - DAY)
    return Plan(
        place=place,
        at=now,
        goes=goes,
        waits=due[len(goes) :],
        why_waits=doubt or marked.why,
        doubt=doubt or unknown,
        kept=tuple(kept),
        young=counted.younger,
        copies=counted.copies,
        limit=limit_of(retention, counted.copies, [item(one.copy) for one in goes], removed, approved),
        approved=approved,
        draining=marked.draining,
    )


def situation_of(
    ledger: Ledger, seen: Seen, retention: Retention | None, catalogued: bool, own: Lease | None = None
) -> Situation:
    """What the ledger knows about a copy, as the rules take it; ``own`` is the lease of whoever asks."""
    return Situation(
        copy=seen.copy,
        now=ledger.clock(),
        retention=retention,
        others=seen.others,
        holds=seen.holds,
        leases=tuple(lease for lease in seen.leases if own is None or lease.fencing != own.fencing),
        archived=seen.archived,
        catalogued=catalogued,
        taken_later=seen.taken_later,
    )


def _judged(
    ledger: Ledger, beamline: str, place: str, retention: Retention, catalogued: Catalogued, until: datetime
) -> Iterator[tuple[Seen, Eligible | Stays]]:
    found = ledger.copies_seen(beamline, place, until=until)
    while some := list(islice(found, _AT_ONCE)):
        known = catalogued([seen.copy for seen in some])
        for seen in some:
            stands = (seen.copy.run_key, seen.copy.version) in known
            yield seen, judge(situation_of(ledger, seen, retention, stands))


def _due(ledger: Ledger, may_go: Sequence[tuple[Seen, Eligible]], now: datetime) -> tuple[Due, ...]:
    sizes_bytes = bytes_that_go(ledger, [seen for seen, _ in may_go])
    return tuple(
        Due(
            seen.copy,
            judgement.since,
            tuple(other.place for other in counting(seen.copy, seen.others, now)),
            size_bytes,
        )
        for (seen, judgement), size_bytes in zip(may_go, sizes_bytes, strict=True)
    )


def bytes_that_go(ledger: Ledger, copies: Sequence[Seen]) -> tuple[int, ...]:
    """The bytes that go with each copy; 0 for one that is half gone, of which nobody knows."""
    sizes_bytes = ledger.sizes([seen.copy for seen in copies])
    return tuple(
        size_bytes if seen.copy.state == "present" else 0 for seen, size_bytes in zip(copies, sizes_bytes, strict=True)
    )
