"""A campaign and how far it is, as the ledger's timeline tells it.

A campaign has a key of its own in the timeline, ``_campaigns.name``, which no run can have. Its lines say who the
members are, which were asked for, how each ended, and what people said (stop, go on, the failed once more). So it goes
on after any restart where it was. Under the key ``_campaigns`` stands which campaigns there are and which are over, so
that a tick of the sensor reads no more than those that go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Event
from xpcs_assets.errors import NotFoundError, RefusedError
from xpcs_assets.reprocess import Setting
from xpcs_assets.runs.key import analysis_key

STEP = "campaign"
DONE, FAILED, ASKED, WAITING = "done", "failed", "asked", "waiting"
_FOLDER = "_campaigns"
_MADE, _ASKED, _ENDED, _AGAIN, _STOPPED = "members", "asked", "ended", "again", "stopped"


@dataclass(frozen=True)
class Campaign:
    """What a campaign is to do.

    Attributes
    ----------
    name
        Its name, and that of every analysis it makes: member ``A001`` becomes ``A001~name``.
    members
        Run keys, in the order in which they are asked for.
    config
        What differs from the beamline's own recipe, and ``qmap``; as `reprocess` takes it.
    at_once
        How many members may be under way.
    """

    name: str
    members: tuple[str, ...]
    config: Mapping[str, Setting]
    at_once: int


@dataclass(frozen=True)
class Member:
    """How far a member is.

    Attributes
    ----------
    run_key, key
        The run, and the analysis.
    state
        ``waiting``, ``asked``, ``done`` or ``failed``.
    reason
        Why it failed.
    attempt
        How often it was asked for.
    asked_at, ended_at
        When; None when not yet.
    """

    run_key: str
    key: str
    state: str = WAITING
    reason: str = ""
    attempt: int = 0
    asked_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True)
class Progress:
    """A campaign and its members, in their order; ``stopped`` when no further member is to be asked for."""

    campaign: Campaign
    members: tuple[Member, ...] = field(repr=False)
    stopped: bool = False

    def of(self, state: str) -> tuple[Member, ...]:
        """The members in a state."""
        return tuple(member for member in self.members if member.state == state)

    @property
    def is_over(self) -> bool:
        """Whether nothing is under way and nothing is to come."""
        return not self.of(ASKED) and (self.stopped or not self.of(WAITING))


def begin(beamline: OpenBeamline, campaign: Campaign, by: str) -> None:
    """Note a campaign; the site's sensor goes on from there.

    Raises
    ------
    RefusedError
        The name is taken, or there are no members.
    SettingsError
        It can be no name.
    NotFoundError
        A member was never taken.
    """
    if not campaign.members:
        raise RefusedError("no run is meant", where=campaign.name, remedy="Look at what `--dry-run` says")
    if beamline.ledger.timeline(beamline.name, ledger_key(campaign.name)):
        raise RefusedError(
            "there is a campaign of this name",
            where=f"{beamline.name}/{campaign.name}",
            remedy="Give another name; `xpcs-assets campaigns` says how far that one is",
        )
    for member in campaign.members:
        beamline.latest(analysis_key(member, campaign.name))
    _register(beamline, campaign.name, over=False)
    told = {_MADE: list(campaign.members), "config": dict(campaign.config), "at_once": campaign.at_once, "by": by}
    beamline.ledger.note(beamline.name, ledger_key(campaign.name), STEP, f"{len(campaign.members)} runs", told)


def ledger_key(name: str) -> str:
    """The timeline's key of a campaign: no run key begins with an underscore."""
    return f"{_FOLDER}.{name}"


def names(beamline: OpenBeamline) -> tuple[str, ...]:
    """All campaigns of a beamline, the first one first."""
    return tuple(name for name in _registered(beamline) if beamline.ledger.timeline(beamline.name, ledger_key(name)))


def going(beamline: OpenBeamline) -> tuple[Progress, ...]:
    """The campaigns that are not over; one that has come to its end since the last look is noted as over."""
    found = []
    for name, over in _registered(beamline).items():
        if not over and (now := _progress(beamline, name)) is not None:
            if now.is_over:
                _register(beamline, name, over=True)
            else:
                found.append(now)
    return tuple(found)


def _registered(beamline: OpenBeamline) -> dict[str, bool]:
    """The names that were given, and whether that one is over. One may have no lines yet: its making was killed."""
    return {event.detail["name"]: event.detail["over"] for event in beamline.ledger.timeline(beamline.name, _FOLDER)}


def _register(beamline: OpenBeamline, name: str, *, over: bool) -> None:
    told = {"name": name, "over": over}
    beamline.ledger.note(beamline.name, _FOLDER, STEP, f"{name} {'is over' if over else 'goes on'}", told)


def progress(beamline: OpenBeamline, name: str) -> Progress:
    """How far a campaign is.

    Raises
    ------
    NotFoundError
        There is none of this name.
    """
    found = _progress(beamline, name)
    if found is None:
        raise NotFoundError(
            "there is no such campaign",
            where=f"{beamline.name}/{name}",
            remedy=f"There are: {', '.join(names(beamline)) or 'none'}",
        )
    return found


def _progress(beamline: OpenBeamline, name: str) -> Progress | None:
    lines = beamline.ledger.timeline(beamline.name, ledger_key(name))
    made = next((line.detail for line in lines if _MADE in line.detail), None)
    if made is None:
        return None
    campaign = Campaign(name, tuple(made[_MADE]), made["config"], made["at_once"])
    members = {run: Member(run, analysis_key(run, name)) for run in campaign.members}
    stopped = False
    for line in lines:
        _follow(members, line)
        stopped = line.detail.get(_STOPPED, stopped)
    return Progress(campaign, tuple(members.values()), stopped)


def _follow(members: dict[str, Member], line: Event) -> None:
    """Bring members on by one line of the timeline."""
    told: Mapping[str, Any] = line.detail
    for run in told.get(_ASKED, ()):
        was = members[run]
        members[run] = replace(was, state=ASKED, reason="", attempt=was.attempt + 1, asked_at=line.at, ended_at=None)
    for run, (state, reason) in told.get(_ENDED, {}).items():
        members[run] = replace(members[run], state=state, reason=reason, ended_at=line.at)
    for run in told.get(_AGAIN, ()):
        members[run] = replace(members[run], state=WAITING)


def note_asked(beamline: OpenBeamline, name: str, runs: Iterable[str]) -> None:
    """Note that members are asked for, before they are."""
    asked = list(runs)
    _note(beamline, name, f"{len(asked)} asked for", {_ASKED: asked})


def note_ended(beamline: OpenBeamline, name: str, ended: Mapping[str, tuple[str, str]]) -> None:
    """Note how members ended: by run key, ``done`` or ``failed`` and why."""
    done = sum(state == DONE for state, _ in ended.values())
    _note(beamline, name, f"{done} done, {len(ended) - done} failed", {_ENDED: dict(ended)})


def ask_again(beamline: OpenBeamline, name: str, by: str) -> tuple[Member, ...]:
    """Have the members that failed asked for once more, and those alone; which they are."""
    failed = progress(beamline, name).of(FAILED)
    if failed:
        _register(beamline, name, over=False)
        told = {_AGAIN: [member.run_key for member in failed], "by": by}
        _note(beamline, name, f"{len(failed)} once more", told)
    return failed


def stop(beamline: OpenBeamline, name: str, by: str, *, stopped: bool) -> None:
    """Have no further member asked for, or go on; what is under way goes on either way."""
    progress(beamline, name)
    if not stopped:
        _register(beamline, name, over=False)
    _note(beamline, name, "stopped" if stopped else "goes on", {_STOPPED: stopped, "by": by})


def _note(beamline: OpenBeamline, name: str, what: str, detail: dict[str, Any]) -> None:
    beamline.ledger.note(beamline.name, ledger_key(name), STEP, what, detail)
