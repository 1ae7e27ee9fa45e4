"""Run sets that a site averages once their members have results: how far each is, and what is to be asked for now.

All of it stands in the ledger's timeline under the set's key, so that it goes on after any restart. Under the key
``_run_sets`` stands which sets there are and which are over: a tick of the sensor reads no more than those that go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from xpcs_assets.average.run_set import FOLDER, MEMBERS, STEP, RunSet, check, ledger_key, of_line, record, register
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.campaign.advance import RunEnd
from xpcs_assets.campaign.campaign import ASKED, DONE, FAILED, WAITING
from xpcs_assets.copies.ledger import Event
from xpcs_assets.errors import NotFoundError

_ASKED, _AGAIN, _ENDED, _WAIT = "asked", "again", "ended", "wait_s"
_NAMED = 5


@dataclass(frozen=True)
class SetState:
    """How far a set is.

    Attributes
    ----------
    run_set
        Which.
    made_at, since
        When it was recorded, and when its waiting began; a retry lets it begin anew.
    wait_s
        So long members without a result are waited for; None for one that is averaged when a person asks.
    state
        ``waiting``, ``asked``, ``done`` or ``failed``.
    reason
        Why it failed.
    attempt
        How often its average was asked for.
    result, result_digest
        The newest average.
    """

    run_set: RunSet
    made_at: datetime
    since: datetime
    wait_s: float | None
    state: str = WAITING
    reason: str = ""
    attempt: int = 0
    result: str = ""
    result_digest: str = ""


def await_members(beamline: OpenBeamline, sets: Iterable[RunSet], wait_s: float) -> None:
    """Record sets that are to be averaged by the running site once all members have results.

    Raises
    ------
    RefusedError, NotFoundError
        See :func:`xpcs_assets.average.run_set.check`; members need no result yet.
    """
    meant = tuple(sets)
    for run_set in meant:
        check(beamline, run_set, with_results=False)
    for run_set in meant:
        record(beamline, run_set, {_WAIT: wait_s}, with_results=False)


def states(beamline: OpenBeamline, name: str = "") -> tuple[SetState, ...]:
    """How far sets are: one, or all.

    Raises
    ------
    NotFoundError
        There is none of this name.
    """
    known = [name] if name else list(_registered(beamline))
    found = tuple(state for each in known if (state := _state(beamline, each)) is not None)
    if name and not found:
        raise NotFoundError("there is no such run set", where=f"{beamline.name}/{name}")
    return found


def going(beamline: OpenBeamline) -> tuple[SetState, ...]:
    """The sets that are not over; one that has come to its end since the last look is noted as over."""
    found = []
    for name, over in _registered(beamline).items():
        if over or (now := _state(beamline, name)) is None:
            continue
        if now.state in {DONE, FAILED} or now.wait_s is None:
            register(beamline, name, over=True)
        else:
            found.append(now)
    return tuple(found)


def missing(beamline: OpenBeamline, run_set: RunSet) -> tuple[str, ...]:
    """The members that have no result now."""
    return tuple(member for member in run_set.members if not _has_result(beamline, member))


def advance(beamline: OpenBeamline, now: SetState, how_ended: Callable[[str], RunEnd]) -> str:
    """Bring a set on; the run key under which Dagster is to be asked for its average now, or empty.

    It is noted before Dagster is asked: after a crash between the two the same is asked again, and taken once.
    """
    if now.state == ASKED:
        end = how_ended(_run_key(beamline, now))
        if end is RunEnd.BADLY:
            _note(beamline, now, "failed", {_ENDED: "the Dagster run failed or was cancelled; its page says why"})
        return _run_key(beamline, now) if end is RunEnd.NONE else ""
    lacking = missing(beamline, now.run_set)
    if not lacking:
        _note(beamline, now, "asked for", {_ASKED: now.attempt + 1})
        return _run_key(beamline, replace(now, attempt=now.attempt + 1))
    if now.wait_s is not None and beamline.ledger.clock() - now.since > timedelta(seconds=now.wait_s):
        more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
        told = f"{len(lacking)} of {len(now.run_set.members)} members have no result: {', '.join(lacking[:_NAMED])}"
        _note(beamline, now, f"failed: {told}{more}", {_ENDED: f"{told}{more}"})
    return ""


def ask_again(beamline: OpenBeamline, name: str, by: str) -> tuple[str, ...]:
    """Have the sets that failed, one or all, waited for and averaged once more, and no other; which they are."""
    failed = [now for now in states(beamline, name) if now.state == FAILED and now.wait_s is not None]
    for now in failed:
        register(beamline, now.run_set.name, over=False)
        _note(beamline, now, "once more", {_AGAIN: by})
    return tuple(now.run_set.name for now in failed)


def _state(beamline: OpenBeamline, name: str) -> SetState | None:
    now: SetState | None = None
    for line in beamline.ledger.timeline(beamline.name, ledger_key(name)):
        if line.step == STEP and MEMBERS in line.detail:
            wait_s = line.detail.get(_WAIT)
            state = WAITING if wait_s is not None else ASKED
            now = SetState(of_line(name, line), line.at, line.at, wait_s, state)
        elif now is not None:
            now = _after(now, line)
    return now


def _after(now: SetState, line: Event) -> SetState:
    told = line.detail
    if line.step == "average":  # the asset's own word
        if line.what == "done":
            return replace(now, state=DONE, reason="")
        return replace(now, state=FAILED, reason=line.what.partition(": ")[2] or line.what)
    if _ASKED in told:
        return replace(now, state=ASKED, attempt=told[_ASKED], reason="")
    if _ENDED in told:
        return replace(now, state=FAILED, reason=told[_ENDED])
    if _AGAIN in told:
        return replace(now, state=WAITING, since=line.at, reason="")
    if "result_digest" in told:
        return replace(now, result=told["path"], result_digest=told["result_digest"])
    return now


def _has_result(beamline: OpenBeamline, member: str) -> bool:
    try:
        beamline.result(member)
    except NotFoundError:
        return False
    return True


def _run_key(beamline: OpenBeamline, now: SetState) -> str:
    return f"{beamline.name}:average:{now.run_set.name}:{now.made_at:%Y%m%dT%H%M%S%f}:{now.attempt}"


def _registered(beamline: OpenBeamline) -> dict[str, bool]:
    """The names that were given, and whether that one is over."""
    return {line.detail["name"]: line.detail["over"] for line in beamline.ledger.timeline(beamline.name, FOLDER)}


def _note(beamline: OpenBeamline, now: SetState, what: str, detail: dict[str, object]) -> None:
    beamline.ledger.note(beamline.name, now.run_set.ledger_key, STEP, what, detail)
