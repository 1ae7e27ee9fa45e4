"""``xpcs-assets place``: which disk each place should be, which is there, and how full it is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from xpcs_assets.cli_shared import BeamlineArgument, HomeOption, JsonOption, columns, open_beamline, out, plain
from xpcs_assets.errors import CopyError, NotVerifiedError, SettingsError

if TYPE_CHECKING:
    from xpcs_assets.beamline import OpenBeamline


@dataclass(frozen=True)
class _Told:
    """A place as it is shown; identities are empty where there is none, the share is None where it is not known."""

    place: str
    root: str
    unavailable: str
    expected: str
    found: str
    used_share: float | None
    free_bytes: int | None
    failure_domain: str


def place(
    beamline: BeamlineArgument,
    name: Annotated[str, typer.Argument(metavar="PLACE", help="One place; else all.")] = "",
    adopt: Annotated[
        bool, typer.Option("--adopt", help="This is the right disk: expect its marker, or leave one, from now on.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """A beamline's places: which disk is expected, which is there, how full it is. Exit 1 if one is unavailable."""
    opened = open_beamline(home, beamline)
    if adopt:
        _adopt(opened, name)
    told = [_look(opened, one) for one in ([name] if name else opened.settings.places)]
    if as_json:
        out.print(json.dumps([asdict(one) for one in told], indent=1))
    else:
        _show(told)
    raise typer.Exit(1 if any(one.unavailable for one in told) else 0)


def _adopt(opened: OpenBeamline, name: str) -> None:
    from xpcs_assets.copies.meeting import adopt

    if not name:
        raise SettingsError("--adopt is about one place", remedy="Name it after the beamline")
    opened.place(name)  # refuses a name that is none, and meets what was never met
    identity = adopt(opened.ledger, opened.name, name, opened.place_root(name))
    out.print(f"{name} is the disk with marker {identity} from now on")


def _look(opened: OpenBeamline, name: str) -> _Told:
    looked_at, root = opened.place(name), opened.place_root(name)
    known = opened.ledger.known_place(opened.name, name)
    try:
        marker = root.read_marker()
        found = marker.identity if marker else ""
    except CopyError as error:
        found = "cannot be read" if isinstance(error, NotVerifiedError) else plain(error.what)
    unavailable = looked_at.why_unavailable()
    usage = looked_at.usage()
    return _Told(
        name,
        root.where,
        unavailable,
        known.identity if known else "",
        found,
        usage.share if usage else None,
        usage.free_bytes if usage else None,
        "" if unavailable else looked_at.failure_domain,
    )


def _show(told: list[_Told]) -> None:
    rows = [("PLACE", "STATE", "EXPECTED", "FOUND", "USED", "FREE", "LOST WITH", "ROOT")]
    for one in told:
        state = "unavailable" if one.unavailable else "available" if one.expected else "unmarked"
        used = "-" if one.used_share is None else f"{one.used_share:.0%}"
        free = "-" if one.free_bytes is None else f"{one.free_bytes / 1e9:.1f} GB"
        rows.append(
            (
                one.place,
                state,
                one.expected or "-",
                one.found or "-",
                used,
                free,
                plain(one.failure_domain) or "-",
                plain(one.root),
            )
        )
    columns(rows)
    for one in told:
        if one.unavailable:
            out.print(plain(f"{one.place}: {one.unavailable}"))
