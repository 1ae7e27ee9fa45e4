"""``xpcs-assets crawl``: find the runs that lie in the watched folder, and submit those that are valid."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xpcs_assets.cli_shared import (
    BeamlineArgument,
    DryRunOption,
    HomeOption,
    JsonOption,
    columns,
    open_beamline,
    out,
    plain,
)

if TYPE_CHECKING:
    from xpcs_assets.arrive.crawl import Crawled

WhereOption = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="FIELD=PATTERN", help="Only paths like this, such as cycle=2025-*; may repeat."),
]
MatchOption = Annotated[str, typer.Option("--match", metavar="REGEX", help="Only paths in which this is found.")]
NumbersOption = Annotated[
    str, typer.Option("--numbers", metavar="RANGES", help="Only runs with these numbers, such as 53-57,60.")
]
StartOption = Annotated[str, typer.Option("--start-from", metavar="NAME", help="Leave out runs named before this.")]
LimitOption = Annotated[int, typer.Option("--limit", min=0, help="The most runs; 0 is no limit.")]


def crawl(
    beamline: BeamlineArgument,
    root: Annotated[Path | None, typer.Argument(help="Only below this folder of the watched one.")] = None,
    where: WhereOption = None,
    match: MatchOption = "",
    numbers: NumbersOption = "",
    start_from: StartOption = "",
    limit: LimitOption = 0,
    dry_run: DryRunOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Submit old runs: lists the valid and the invalid ones. Exit 1 when any that was meant is invalid."""
    from xpcs_assets.arrive.crawl import crawl as crawl_runs
    from xpcs_assets.runs.selection import Selection

    selection = Selection.of(fields=where or [], match=match, numbers=numbers, start_from=start_from, limit=limit)
    found = crawl_runs(open_beamline(home, beamline), selection, root, dry_run=dry_run)
    if as_json:
        out.print_json(json.dumps({**asdict(found), "dry_run": dry_run}))
    else:
        _show(found, dry_run=dry_run)
    raise typer.Exit(1 if found.invalid else 0)


def _show(found: Crawled, *, dry_run: bool) -> None:
    submitted = "would be submitted" if dry_run else "submitted"
    rows = [(submitted, one.key, plain(one.source)) for one in found.new]
    rows += [("known", one.key, plain(one.source)) for one in found.known]
    rows += [("invalid", plain(one.source), plain(one.reason)) for one in found.invalid]
    if rows:
        columns(rows)
    valid = found.total - len(found.invalid)
    out.print(f"{valid}/{found.total} runs are valid, {len(found.new)} {submitted}")
