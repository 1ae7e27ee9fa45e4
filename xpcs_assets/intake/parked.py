"""The list of messages that were refused, each kept with its reason until a person has settled it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import NotFoundError

_KEY = "_intake"
_STEP = "intake"


@dataclass(frozen=True)
class Parked:
    """A message that was refused.

    Attributes
    ----------
    name
        What it is called: made of the rest, so that the same message is the same entry, whoever notes it first.
    file_path
        What it named, or where in Kafka it stands.
    reason
        Why it was refused.
    is_export_control
        Whether it said so; such a one is never taken.
    at
        When it came, the last time.
    times
        How often it came so.
    message
        The whole message as JSON, where it was not understood and can be taken again; may be empty.
    """

    name: str
    file_path: str
    reason: str
    is_export_control: bool
    at: datetime
    times: int = 1
    message: str = ""


def park(beamline: OpenBeamline, file_path: str, reason: str, *, is_export_control: bool, message: str = "") -> str:
    """Keep a message; the same once more is the same entry. Its name."""
    content = "\0".join((file_path, reason, str(is_export_control)))
    name = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    told = {"name": name, "file_path": file_path, "reason": reason, "is_export_control": is_export_control}
    told |= {"message": message} if message else {}
    beamline.ledger.note(beamline.name, _KEY, _STEP, "refused", told)
    return name


def parked(beamline: OpenBeamline) -> tuple[Parked, ...]:
    """What waits for a person, the oldest first."""
    found: dict[str, Parked] = {}
    for event in beamline.ledger.timeline(beamline.name, _KEY):
        name = event.detail["name"]
        if "settled" in event.detail:
            found.pop(name, None)
            continue
        times = found[name].times + 1 if name in found else 1
        told = event.detail
        found[name] = Parked(
            name, told["file_path"], told["reason"], told["is_export_control"], event.at, times, told.get("message", "")
        )
    return tuple(found.values())


def one_of(beamline: OpenBeamline, name: str) -> Parked:
    """One of them by its name.

    Raises
    ------
    NotFoundError
        It does not wait (any more).
    """
    for one in parked(beamline):
        if one.name == name:
            return one
    raise NotFoundError(
        f"no message {name!r} waits", where=beamline.name, remedy=f"`xpcs-assets parked {beamline.name}` lists them"
    )


def settle(beamline: OpenBeamline, name: str, how: str, by: str) -> None:
    """Take one off the list, by a person's word.

    Raises
    ------
    NotFoundError
        It does not wait (any more).
    """
    one_of(beamline, name)
    beamline.ledger.note(beamline.name, _KEY, _STEP, how, {"name": name, "settled": how, "by": by})
