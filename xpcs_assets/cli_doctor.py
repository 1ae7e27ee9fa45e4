"""``xpcs-assets doctor``: whether everything that a site needs is reachable, writable and in order."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from xpcs_assets.cli_shared import HomeOption, JsonOption, columns, out, plain

if TYPE_CHECKING:
    from xpcs_assets.doctor.found import Found


def doctor(
    limit: Annotated[float, typer.Option(min=0.1, help="Seconds after which no answer is one.")] = 30.0,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at settings, secrets, ledger, clock, places, services, daemon: what is wrong and what to do; then exit 1."""
    from xpcs_assets.doctor.examine import examine
    from xpcs_assets.site import find_home

    found = examine(find_home(home), limit)
    if as_json:
        out.print(json.dumps([asdict(one) for one in found], indent=1))
    else:
        _show(found)
    raise typer.Exit(1 if any(one.state == "wrong" for one in found) else 0)


def _show(found: list[Found]) -> None:
    rows = [("STATE", "WHAT", "S", "FOUND")]
    rows += [(one.state.value, plain(one.what), f"{one.seconds:.1f}", plain(one.reason) or "-") for one in found]
    columns(rows)
    for one in found:
        if one.state == "wrong" and one.remedy:
            out.print(plain(f"{one.what}: {one.remedy}"))
    counts = Counter(one.state.value for one in found)
    out.print(", ".join(f"{counts[state]} {state}" for state in ("ok", "wrong", "skipped")))
