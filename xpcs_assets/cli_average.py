"""``xpcs-assets average-runs`` and ``run-sets``: averages of runs, one or many, and how far they are."""

from __future__ import annotations

import getpass
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    write_table,
)
from xpcs_assets.errors import RefusedError

if TYPE_CHECKING:
    from xpcs_assets.beamline import OpenBeamline
    from xpcs_assets.campaign.run_sets import SetState

LimitsOption = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="LO HI", help="Lowest and highest; the default is by the median of the runs."),
]
_COLUMNS = ("set", "state", "members", "with_result", "reason", "attempt", "result", "result_digest")


def average_runs(
    beamline: BeamlineArgument,
    name: Annotated[str, typer.Option("--set", help="Name of the run set; it becomes a partition of its own.")],
    run_keys: Annotated[
        list[str] | None, typer.Argument(help="Run keys, or analysis keys such as A001~name; else they are chosen.")
    ] = None,
    where: WhereOption = None,
    match: MatchOption = "",
    numbers: NumbersOption = "",
    start_from: StartOption = "",
    limit: LimitOption = 0,
    by: Annotated[str, typer.Option(metavar="FIELD", help="A set for each value of this field of the paths.")] = "",
    wait: Annotated[float, typer.Option("--wait", min=0, help="Hours to wait for members without a result.")] = 0.0,
    baseline: LimitsOption = None,
    intensity: LimitsOption = None,
    contrast: LimitsOption = None,
    dry_run: DryRunOption = False,
    home: HomeOption = None,
) -> None:
    """Average runs as one set, or many sets. Outliers by baseline, intensity or contrast are left out."""
    from xpcs_assets.average.asking import ask_for
    from xpcs_assets.average.run_set import RunSet
    from xpcs_assets.campaign.choosing import chosen, groups_by
    from xpcs_assets.campaign.run_sets import await_members
    from xpcs_assets.results.limits import Limits
    from xpcs_assets.runs.selection import Selection

    opened, limits = open_beamline(home, beamline), Limits(baseline, intensity, contrast)
    chooses = bool(where or match or numbers or start_from or limit)
    if bool(run_keys) == (chooses or bool(by)):
        remedy = "Give RUN..., or options that choose them, such as --numbers 53-57,60 and --by sample"
        raise RefusedError("runs are either named or chosen", where=name, remedy=remedy)
    if run_keys:
        members = {name: tuple(run_keys)}
    else:
        selection = Selection.of(fields=where or [], match=match, numbers=numbers, start_from=start_from, limit=limit)
        keys = chosen(opened, selection)
        groups = groups_by(opened, by, keys) if by else {}
        members = {f"{name}-{value}": runs for value, runs in groups.items()} or {name: keys}
    sets = [RunSet(each, runs, limits) for each, runs in members.items()]
    if not dry_run and run_keys and not wait:
        ask_for(opened, sets[0])
    elif not dry_run:
        await_members(opened, sets, wait * 3600.0)
    for each in sets:
        out.print(f"{each.name}: {', '.join(each.members)}" if dry_run else each.name)


def run_sets(
    beamline: BeamlineArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="One set; else all.")] = "",
    retry: Annotated[bool, typer.Option("--retry", help="Ask for the averages that failed once more.")] = False,
    table: Annotated[Path | None, typer.Option("--csv", help="Write a line a set to a new file.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """How far the averages of run sets are, and what they wait for. Exit 1 when one that is shown has failed."""
    from xpcs_assets.campaign.campaign import FAILED
    from xpcs_assets.campaign.run_sets import ask_again, states

    opened = open_beamline(home, beamline)
    if retry:
        ask_again(opened, name, getpass.getuser())
    rows = [_row(opened, now) for now in states(opened, name)]
    if table is not None:
        write_table(table, _COLUMNS, rows)
    if as_json:
        out.print_json(json.dumps(rows))
    elif rows:
        shown = [(each["set"], each["state"], _share(each), plain(each["reason"])) for each in rows]
        columns([("set", "state", "results", "why"), *shown])
        out.print(", ".join(f"{number} {state}" for state, number in Counter(row["state"] for row in rows).items()))
    else:
        out.print("there is no run set")
    raise typer.Exit(1 if any(row["state"] == FAILED for row in rows) else 0)


def _share(row: dict[str, Any]) -> str:
    return f"{row['with_result']} of {row['members']}"


def _row(opened: OpenBeamline, now: SetState) -> dict[str, Any]:
    from xpcs_assets.campaign.campaign import WAITING
    from xpcs_assets.campaign.run_sets import missing

    lacking = missing(opened, now.run_set)
    waits = f"waits for {', '.join(lacking)}" if lacking and now.state == WAITING else ""
    return {
        "set": now.run_set.name,
        "state": now.state,
        "members": len(now.run_set.members),
        "with_result": len(now.run_set.members) - len(lacking),
        "reason": now.reason or waits,
        "attempt": now.attempt,
        "result": now.result,
        "result_digest": now.result_digest,
    }
