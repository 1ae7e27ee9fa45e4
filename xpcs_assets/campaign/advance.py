"""Bringing a campaign on: see which members have ended, and ask for as many more as may be under way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.campaign.campaign import ASKED, DONE, FAILED, WAITING, Member, Progress, note_asked, note_ended
from xpcs_assets.errors import NotFoundError
from xpcs_assets.follow import state_of


class RunEnd(StrEnum):
    """How the Dagster run that a request made has ended."""

    NONE = "none"
    """There is no such run (yet)."""
    GOING = "going"
    WELL = "well"
    BADLY = "badly"


@dataclass(frozen=True)
class Request:
    """A member that Dagster is to be asked for; ``run_key`` is the same for the same attempt, whoever asks again."""

    member: Member
    run_key: str


def advance(beamline: OpenBeamline, now: Progress, how_ended: Callable[[str], RunEnd]) -> tuple[Request, ...]:
    """Note what has ended, and say which members are to be asked for now.

    A member is noted as asked for before Dagster is asked: after a crash between the two it is asked for again, under
    the same run key, which Dagster takes once.

    Parameters
    ----------
    now
        How far the campaign is.
    how_ended
        By a request's run key, how its Dagster run ended.
    """
    name = now.campaign.name
    ended: dict[str, tuple[str, str]] = {}
    requests: list[Request] = []
    for member in now.of(ASKED):
        run_key = _run_key(beamline, name, member)
        end = how_ended(run_key)
        outcome = _outcome(beamline, member, end)
        if outcome is not None:
            ended[member.run_key] = outcome
        elif end is RunEnd.NONE:
            requests.append(Request(member, run_key))
    if ended:
        note_ended(beamline, name, ended)
    room = now.campaign.at_once - len(now.of(ASKED)) + len(ended)
    if not now.stopped and room > 0 and (further := now.of(WAITING)[:room]):
        note_asked(beamline, name, [member.run_key for member in further])
        asked = (replace(member, state=ASKED, attempt=member.attempt + 1) for member in further)
        requests += [Request(member, _run_key(beamline, name, member)) for member in asked]
    return tuple(requests)


def _outcome(beamline: OpenBeamline, member: Member, end: RunEnd) -> tuple[str, str] | None:
    """How a member ended by what is recorded of it since it was asked for; None while it is under way."""
    try:
        state = state_of(beamline, member.key)
    except NotFoundError:
        state = None
    steps = [step for step in state.steps if _is_since(step.at, member)] if state is not None else []
    if state is not None and len(steps) == len(state.steps) and all(step.state == "done" for step in steps):
        return DONE, ""
    failed = [step for step in steps if step.state == "failed"]
    if failed and end is not RunEnd.GOING:
        return FAILED, f"{failed[0].asset}: {failed[0].reason}"
    if end is RunEnd.BADLY:
        return FAILED, "the Dagster run failed or was cancelled; its page in Dagster says why"
    return None


def _is_since(at: datetime | None, member: Member) -> bool:
    return at is not None and member.asked_at is not None and at >= member.asked_at


def _run_key(beamline: OpenBeamline, name: str, member: Member) -> str:
    return f"{beamline.name}:campaign:{name}:{member.key}:{member.attempt}"
