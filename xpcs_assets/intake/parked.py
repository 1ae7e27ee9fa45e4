"""The list of messages that were refused, each kept with its reason until a person has settled it."""

from __future__ import annotations

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
    number
        What it is called.
    file_path
        What it named.
    reason
        Why it was refused.
    is_export_control
        Whether it said so; such a one is never taken.
    at
        When it came, the last time.
    times
        How often it came so.
    """

    number: int
    file_path: str
    reason: str
    is_export_control: bool
    at: datetime
    times: int = 1


def park(beamline: OpenBeamline, file_path: str, reason: str, *, is_export_control: bool) -> int:
    """Keep a message; the same once more is the same entry. Its number."""
    standing = {(one.file_path, one.reason, one.is_export_control): one.number for one in parked(beamline)}
    number = standing.get((file_path, reason, is_export_control)) or _last(beamline) + 1
    told = {"number": number, "file_path": file_path, "reason": reason, "is_export_control": is_export_control}
    beamline.ledger.note(beamline.name, _KEY, _STEP, "refused", told)
    return number


def parked(beamline: OpenBeamline) -> tuple[Parked, ...]:
    """What waits for a person, the oldest first."""
    found: dict[int, Parked] = {}
    for event in beamline.ledger.timeline(beamline.name, _KEY):
        number = event.detail["number"]
        if "settled" in event.detail:
            found.pop(number, None)
            continue
        times = found[number].times + 1 if number in found else 1
        told = event.detail
        found[number] = Parked(number, told["file_path"], told["reason"], told["is_export_control"], event.at, times)
    return tuple(found.values())


def one_of(beamline: OpenBeamline, number: int) -> Parked:
    """One of them by its number.

    Raises
    ------
    NotFoundError
        It does not wait (any more).
    """
    for one in parked(beamline):
        if one.number == number:
            return one
    raise NotFoundError(
        f"no message {number} waits", where=beamline.name, remedy=f"`xpcs-assets parked {beamline.name}` lists them"
    )


def settle(beamline: OpenBeamline, number: int, how: str, by: str) -> None:
    """Take one off the list, by a person's word.

    Raises
    ------
    NotFoundError
        It does not wait (any more).
    """
    one_of(beamline, number)
    beamline.ledger.note(beamline.name, _KEY, _STEP, how, {"number": number, "settled": how, "by": by})


def _last(beamline: OpenBeamline) -> int:
    return max((event.detail["number"] for event in beamline.ledger.timeline(beamline.name, _KEY)), default=0)
