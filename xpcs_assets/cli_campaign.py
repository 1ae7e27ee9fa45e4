"""``xpcs-assets campaign`` and ``campaigns``: analyse many runs anew, a few at a time, and see how far that is."""

from __future__ import annotations

import getpass
import json
from collections import Counter
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpcs_assets.cli_crawl import LimitOption, MatchOption, NumbersOption, StartOption, WhereOption
from xpcs_assets.cli_shared import (
    BeamlineArgument,
    ContextOption,
    DryRunOption,
    HomeOption,
    JsonOption,
    TargetOption,
    changes_of,
    columns,
    open_beamline,
    out,
    plain,
    write_table,
)
from xpcs_assets.errors import RefusedError

if TYPE_CHECKING:
    from xpcs_assets.beamline import OpenBeamline
    from xpcs_assets.campaign.campaign import Member, Progress

_COLUMNS = ("run_key", "key", "state", "reason", "attempt", "asked_at", "ended_at", "result", "result_digest")


def campaign(
    beamline: BeamlineArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, and that of each analysis it makes.")],
    where: WhereOption = None,
    match: MatchOption = "",
    numbers: NumbersOption = "",
    start_from: StartOption = "",
    limit: LimitOption = 0,
    qmap: Annotated[Path | None, typer.Option(help="Another q-map.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value of the recipe; may repeat.")] = None,
    target: TargetOption = None,
    context: ContextOption = None,
    at_once: Annotated[int, typer.Option(min=1, help="How many members may be under way.")] = 20,
    dry_run: DryRunOption = False,
    home: HomeOption = None,
) -> None:
    """Have many runs analysed with another recipe, a few at a time; prints the keys. `campaigns` says how far it is."""
    from xpcs_assets.campaign.campaign import Campaign, begin
    from xpcs_assets.campaign.choosing import chosen
    from xpcs_assets.reprocess import config_of
    from xpcs_assets.runs.key import analysis_key
    from xpcs_assets.runs.selection import Selection

    opened = open_beamline(home, beamline)
    selection = Selection.of(fields=where or [], match=match, numbers=numbers, start_from=start_from, limit=limit)
    config = config_of(opened, qmap, changes_of(settings, target, context))
    made = Campaign(name, chosen(opened, selection), config, at_once)
    if not dry_run:
        begin(opened, made, getpass.getuser())
    for member in made.members:
        out.print(analysis_key(member, name))
    recipe = ", ".join(f"{key}={value}" for key, value in made.config.items())
    word = "would be" if dry_run else "are to be"
    out.print(f"{len(made.members)} runs {word} analysed with {plain(recipe)}, {at_once} at once")


def campaigns(
    beamline: BeamlineArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="One campaign; else all.")] = "",
    retry: Annotated[bool, typer.Option("--retry", help="Ask for the members that failed once more.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Ask for no further member; what is under way goes on.")] = False,
    go_on: Annotated[bool, typer.Option("--go-on", help="Go on after --stop.")] = False,
    table: Annotated[Path | None, typer.Option("--csv", help="Write a line a member to a new file.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """How far campaigns are, and why a member failed. Exit 1 when any member that is shown has failed."""
    from xpcs_assets.campaign.campaign import FAILED, names, progress

    opened = open_beamline(home, beamline)
    _say(opened, name, retry=retry, stop=stop, go_on=go_on)
    found = [progress(opened, each) for each in ([name] if name else names(opened))]
    rows = [_row(opened, member) for each in found for member in each.members] if name or table else []
    if table is not None:
        write_table(table, _COLUMNS, rows)
    if as_json:
        out.print_json(json.dumps([{**_counted(each), **({"members": rows} if name else {})} for each in found]))
    else:
        _show(found, rows if name else [])
    raise typer.Exit(1 if any(each.of(FAILED) for each in found) else 0)


def _say(opened: OpenBeamline, name: str, *, retry: bool, stop: bool, go_on: bool) -> None:
    """Note what a person says of a campaign."""
    from xpcs_assets.campaign import campaign as book

    if not (retry or stop or go_on):
        return
    if not name or (stop and go_on):
        raise RefusedError(
            "--retry, --stop and --go-on are about one campaign, and stop is not go on",
            where=opened.name,
            remedy="Name it after the beamline, with one of them",
        )
    by = getpass.getuser()
    if retry:
        book.ask_again(opened, name, by)
    if stop or go_on:
        book.stop(opened, name, by, stopped=stop)


def _counted(found: Progress) -> dict[str, Any]:
    states = Counter(member.state for member in found.members)
    return {
        "name": found.campaign.name,
        "recipe": dict(found.campaign.config),
        "at_once": found.campaign.at_once,
        "stopped": found.stopped,
        "is_over": found.is_over,
        **{state: states[state] for state in ("waiting", "asked", "done", "failed")},
    }


def _show(found: list[Progress], members: list[dict[str, Any]]) -> None:
    if members:
        shown = [(row["key"], row["state"], str(row["attempt"]), plain(row["reason"])) for row in members]
        columns([("member", "state", "attempt", "why"), *shown])
    if not found:
        out.print("there is no campaign")
        return
    rows = [("campaign", "waiting", "asked", "done", "failed", "now")]
    for one in map(_counted, found):
        now = "over" if one["is_over"] else "stopped" if one["stopped"] else "under way"
        rows.append((one["name"], *(str(one[state]) for state in ("waiting", "asked", "done", "failed")), now))
    columns(rows)


def _row(opened: OpenBeamline, member: Member) -> dict[str, Any]:
    """A member as it is shown, with the newest result under its key."""
    times = {name: _text(getattr(member, name)) for name in ("asked_at", "ended_at")}
    path, digest = _result(opened, member)
    return {**asdict(member), **times, "result": path, "result_digest": digest}


def _result(opened: OpenBeamline, member: Member) -> tuple[str, str]:
    """Path and digest of the newest result under a member's key; of what a command made, its folder."""
    from xpcs_assets.process.processing import digest_of, outputs_of

    if opened.settings.pipeline.process is not None:
        folder, outputs = outputs_of(opened, opened.latest(member.key), member.key)
        return folder, digest_of(outputs) if folder else ""
    made = opened.ledger.results(opened.name, member.run_key, analysis_key=member.key)
    return (made[0].path, made[0].result_digest) if made else ("", "")


def _text(at: datetime | None) -> str:
    return at.isoformat(timespec="seconds") if at else ""
