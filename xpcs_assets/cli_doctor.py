"""``xpcs-assets doctor``: whether everything that a site needs is reachable, writable and in order."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from xpcs_assets.cli_shared import HomeOption, JsonOption, columns, open_beamline, out, plain

if TYPE_CHECKING:
    from pathlib import Path

    from xpcs_assets.beamline import OpenBeamline
    from xpcs_assets.doctor.found import Found, State


def doctor(
    fly: Annotated[
        str, typer.Option(metavar="BEAMLINE", help="Move a small file over every hop of this beamline instead.")
    ] = "",
    limit: Annotated[
        float, typer.Option(min=0, help="Seconds after which no answer is wrong; 0: 30, and 600 with --fly.")
    ] = 0.0,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at settings, secrets, ledger, clock, places, services, daemon: what is wrong and what to do; then exit 1."""
    states = _fly(open_beamline(home, fly), limit, as_json) if fly else _examine(home, limit, as_json)
    raise typer.Exit(1 if any(one == "wrong" for one in states) else 0)


def _examine(home: Path | None, limit: float, as_json: bool) -> list[State]:
    from xpcs_assets.doctor.examine import LIMIT_S, examine
    from xpcs_assets.site import find_home

    found = examine(find_home(home), limit or LIMIT_S)
    if as_json:
        out.print(json.dumps([asdict(one) for one in found], indent=1))
    else:
        _show(found)
    return [one.state for one in found]


def _fly(opened: OpenBeamline, limit: float, as_json: bool) -> list[State]:
    from xpcs_assets.doctor.hops import LIMIT_S, fly

    flown = fly(opened, min(limit or LIMIT_S, LIMIT_S))
    if as_json:
        out.print(json.dumps([{**asdict(one), "rate_bytes_per_s": one.rate_bytes_per_s} for one in flown], indent=1))
        return [one.state for one in flown]
    rows = [("STATE", "HOP", "S", "MB/S", "FOUND")]
    rows += [
        (
            one.state.value,
            plain(one.hop),
            f"{one.seconds:.2f}" if one.seconds else "-",
            f"{one.rate_bytes_per_s / 1e6:.1f}" if one.seconds else "-",
            plain(one.reason) or "-",
        )
        for one in flown
    ]
    columns(rows)
    for one in flown:
        if one.remedy:
            out.print(plain(f"{one.hop}: {one.remedy}"))
    return [one.state for one in flown]


def _show(found: list[Found]) -> None:
    rows = [("STATE", "WHAT", "S", "FOUND")]
    rows += [(one.state.value, plain(one.what), f"{one.seconds:.1f}", plain(one.reason) or "-") for one in found]
    columns(rows)
    for one in found:
        if one.state == "wrong" and one.remedy:
            out.print(plain(f"{one.what}: {one.remedy}"))
    counts = Counter(one.state.value for one in found)
    out.print(", ".join(f"{counts[state]} {state}" for state in ("ok", "wrong", "skipped")))
