"""Re-reading copies while nobody asks for them: a share of each place at a time, the longest unverified first.

Bytes are owed as time passes: all that a place holds, within ``reread_within``. A scrub reads what is owed since the
one before, and whatever is overdue; what it does not reach stays owed. So it can be killed at any moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from xpcs_assets.audit.reread import Reread, Verdict, mark, read_bundle, reread, settle
from xpcs_assets.audit.scope import ALL_RUNS, Scope
from xpcs_assets.copies.clock import Stopwatch
from xpcs_assets.copies.ledger import AuditOutcome, Bundle, Copy, CopyState, FindingKind
from xpcs_assets.copies.standing import standing
from xpcs_assets.errors import NotVerifiedError, RefusedError, XpcsAssetsError

PURPOSE = "scrub"
LIMIT_S = 3600.0


@dataclass(frozen=True)
class ReadAgain:
    """A copy, or a bundle, that was read again: where it is, of which runs, and what it is."""

    place: str
    path: str
    run_keys: tuple[str, ...]
    verdict: Verdict
    reason: str
    size_bytes: int
    flips: int = 0

    @classmethod
    def of(cls, found: Reread) -> ReadAgain:
        """A copy."""
        copy = found.copy
        reason = "" if found.verdict is Verdict.RIGHT else found.reason
        return cls(copy.place, copy.path, (copy.run_key,), found.verdict, reason, found.size_bytes, found.flips)


@dataclass
class Scrubbed:
    """What a scrub of one place did.

    Attributes
    ----------
    place, outcome, reason
        Which place, how it ended, and why not well.
    read
        Copies and bundles that were read again.
    busy
        Runs with a copy that was due and left, because somebody works on the run.
    owed_bytes
        What is still owed when it ended.
    seconds
        How long it took.
    """

    place: str
    outcome: AuditOutcome = AuditOutcome.DONE
    reason: str = ""
    read: list[ReadAgain] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    owed_bytes: int = 0
    seconds: float = 0.0

    @property
    def failed(self) -> tuple[ReadAgain, ...]:
        """What was not found right."""
        return tuple(each for each in self.read if each.verdict is not Verdict.RIGHT)

    @property
    def size_bytes(self) -> int:
        """Bytes that were read."""
        return sum(each.size_bytes for each in self.read)

    @property
    def counts(self) -> Mapping[str, Any]:
        """What the ledger keeps of it."""
        found = [each.verdict for each in self.read]
        return {
            "read": len(self.read),
            **{word.value: found.count(word) for word in Verdict},
            "flips": sum(each.flips for each in self.read),
            "busy": len(self.busy),
            "size_bytes": self.size_bytes,
            "seconds": round(self.seconds, 3),
            "owed_bytes": self.owed_bytes,
        }


@dataclass(frozen=True)
class _Due:
    what: Copy | Bundle
    size_bytes: int
    overdue: bool
    superseded: bool = False


def scrub(
    scope: Scope,
    reread_within_s: float,
    *,
    limit_s: float = LIMIT_S,
    stopwatch: Stopwatch = time.monotonic,
    told: Callable[[ReadAgain], object] = lambda found: None,
) -> tuple[Scrubbed, ...]:
    """Read of every place what is owed, mark what is found, and write a line about each place that was looked at.

    Parameters
    ----------
    reread_within_s
        Every copy is read again within this time, s.
    limit_s
        It ends after the first copy that goes beyond this time, s; the next one goes on.
    told
        Called with all that was read, as it comes.

    Raises
    ------
    RefusedError
        Another scrub of this beamline is under way.
    """
    ends_s = stopwatch() + limit_s
    with scope.working(ALL_RUNS, PURPOSE) as renew:
        return tuple(
            _scrub_place(scope, name, reread_within_s, ends_s, stopwatch, told, renew) for name in sorted(scope.places)
        )


def _scrub_place(
    scope: Scope,
    place: str,
    reread_within_s: float,
    ends_s: float,
    stopwatch: Stopwatch,
    told: Callable[[ReadAgain], object],
    renew: Callable[[], object],
) -> Scrubbed:
    began_at, began_s = scope.ledger.clock(), stopwatch()
    done = Scrubbed(place)
    due = _due(scope, place, began_at, timedelta(seconds=reread_within_s))
    done.owed_bytes = _owed(scope, place, due, began_at, reread_within_s)
    if due and (reason := scope.why_unavailable(place)):
        done.outcome, done.reason = AuditOutcome.UNAVAILABLE, reason
        scope.ledger.record_audit(
            scope.beamline, PURPOSE, place, done.outcome, began_at=began_at, reason=reason, counts=done.counts
        )
        return done
    for item in due:
        if not (item.overdue or item.superseded or item.size_bytes <= done.owed_bytes):
            break
        if stopwatch() >= ends_s:
            done.outcome, done.reason = AuditOutcome.PART, "its time was over; the next one goes on"
            break
        renew()
        found = _read(scope, item, done, renew)
        if found is not None and found.verdict is not Verdict.UNKNOWN:  # else others would wait behind it for ever
            done.owed_bytes = max(0, done.owed_bytes - item.size_bytes)
        if found is not None:
            done.read.append(found)
            told(found)
    done.seconds = stopwatch() - began_s
    if done.read or done.outcome is not AuditOutcome.DONE:
        scope.ledger.record_audit(
            scope.beamline, PURPOSE, place, done.outcome, began_at=began_at, reason=done.reason, counts=done.counts
        )
    return done


def _read(scope: Scope, item: _Due, done: Scrubbed, renew: Callable[[], object]) -> ReadAgain | None:
    if isinstance(item.what, Bundle):
        return _read_bundle(scope, item.what)
    return _read_copy(scope, item.what, item.superseded, done, renew)


def _read_bundle(scope: Scope, bundle: Bundle) -> ReadAgain:
    found = read_bundle(scope, scope.places[bundle.place], bundle)
    run_keys = tuple(dict.fromkeys(run.run_key for run in bundle.runs))
    return ReadAgain(bundle.place, bundle.name, run_keys, found.verdict, found.reason, found.size_bytes)


def _read_copy(
    scope: Scope, copy: Copy, superseded: bool, done: Scrubbed, renew: Callable[[], object]
) -> ReadAgain | None:
    try:
        with scope.working(copy.run_key, PURPOSE) as still_mine:
            known = scope.ledger.copies(scope.beamline, copy.run_key, copy.version)
            now = next(each for each in known if (each.place, each.path) == (copy.place, copy.path))
            if now.state is not CopyState.PRESENT:
                return None
            if superseded:
                mark(scope, PURPOSE, now, CopyState.LOST, "a later version was taken from the very same files")
                return None

            def on_file() -> None:
                still_mine()
                renew()

            found = reread(scope, now, on_file)
            still_mine()
            settle(scope, PURPOSE, found)
    except RefusedError:
        done.busy.append(copy.run_key)
        return None
    except NotVerifiedError as error:
        where = {"place": copy.place, "run_key": copy.run_key, "version": copy.version}
        scope.ledger.see_finding(scope.beamline, FindingKind.MANIFEST, path=copy.path, reason=error.what, **where)  # type: ignore[arg-type]
        done.reason = str(error)
        return None
    return ReadAgain.of(found)


def _due(scope: Scope, place: str, now: datetime, within: timedelta) -> list[_Due]:
    """All copies of a place in the order in which they are to be read."""
    if scope.places[place].holds_bundles:
        bundles = [each for each in scope.ledger.bundles_in(place, beamline=scope.beamline) if each.evidence.counts]
        ordered = sorted(bundles, key=lambda each: not _is_overdue(each, now, within))
        return [_Due(each, each.size_bytes, _is_overdue(each, now, within)) for each in ordered]
    due = [
        _Due(
            item.copy,
            item.manifest.size_bytes if item.manifest is not None else 0,
            _is_overdue(item.copy, now, within),
            item.superseded,
        )
        for item in standing(scope.ledger.engine, scope.beamline, place)
    ]
    return sorted(due, key=lambda item: (not item.superseded, not item.overdue))


def _is_overdue(what: Copy | Bundle, now: datetime, within: timedelta) -> bool:
    """Whether it was verified too long ago; or in the future, which is as good as never."""
    return what.verified_at > now or now - what.verified_at >= within


def _owed(scope: Scope, place: str, due: list[_Due], now: datetime, within_s: float) -> int:
    """Bytes to be read now: what the last scrub left, and the share of the time since."""
    total_bytes = sum(item.size_bytes for item in due)
    last = next(iter(scope.ledger.audits(scope.beamline, PURPOSE, place, limit=1)), None)
    left_bytes = int(last.counts.get("owed_bytes", 0)) if last is not None else 0
    since = last.began_at if last is not None else min((item.what.verified_at for item in due), default=now)
    gone_s = (now - since).total_seconds()
    share = gone_s / within_s if gone_s >= 0 else 1.0  # a line from the future says nothing about what was read
    return min(total_bytes, left_bytes + int(total_bytes * share))


def reread_all(
    scope: Scope, copies: Iterator[Copy] | tuple[Copy, ...], step: str
) -> Iterator[Reread | tuple[Copy, XpcsAssetsError]]:
    """Read copies now, whenever they were read last; one that cannot be read now comes with the reason."""
    for copy in copies:
        try:
            with scope.working(copy.run_key, step) as still_mine:
                found = reread(scope, copy, still_mine)
                still_mine()
                settle(scope, step, found)
        except (RefusedError, NotVerifiedError) as error:
            yield copy, error
        else:
            yield found
