"""``xpcs-assets retry``: ask once more for what failed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from xpcs_assets.cli_crawl import LimitOption, MatchOption, NumbersOption, StartOption, WhereOption
from xpcs_assets.cli_shared import (
    BeamlineArgument,
    DryRunOption,
    HomeOption,
    JsonOption,
    columns,
    open_beamline,
    out,
    plain,
    time_of,
)

if TYPE_CHECKING:
    from xpcs_assets.campaign.again import Failure


def retry(
    beamline: BeamlineArgument,
    keys: Annotated[list[str] | None, typer.Argument(metavar="RUN", help="These alone; else all.")] = None,
    where: WhereOption = None,
    match: MatchOption = "",
    numbers: NumbersOption = "",
    start_from: StartOption = "",
    limit: LimitOption = 0,
    since: Annotated[str, typer.Option(help="Only what failed from then on: a day, a time in UTC, or '24 h'.")] = "",
    until: Annotated[str, typer.Option(help="Only what failed before.")] = "",
    dry_run: DryRunOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask once more for what failed, and for what stands behind it. Exit 1 when some is left. The site must be up."""
    from xpcs_assets.campaign.again import ask_again, failures
    from xpcs_assets.runs.selection import Selection

    opened = open_beamline(home, beamline)
    selection = Selection.of(fields=where or [], match=match, numbers=numbers, start_from=start_from)
    times = {name: time_of(opened, text, f"--{name}") for name, text in (("since", since), ("until", until)) if text}
    found = failures(opened, selection, keys=keys or (), **times)
    left = [failure for failure in found if failure.left]
    asked = [failure for failure in found if not failure.left][: limit or None]
    for failure in () if dry_run else asked:
        ask_again(opened, failure)
    word = "would be asked for" if dry_run else "asked for"
    if as_json:
        out.print_json(json.dumps({"dry_run": dry_run, "asked": _plain(asked), "left": _plain(left)}))
    else:
        rows = [(word, one.key, ", ".join(one.assets), plain(one.reason)) for one in asked]
        rows += [("left", one.key, plain(one.left), plain(one.reason)) for one in left]
        if rows:
            columns(rows)
        out.print(f"{len(asked)} {word}, {len(left)} left")
    raise typer.Exit(1 if left else 0)


def _plain(failures: list[Failure]) -> list[dict[str, object]]:
    return [
        {"key": one.key, "assets": one.assets, "at": one.at.isoformat(), "reason": one.reason, "left": one.left}
        for one in failures
    ]
