"""``xpcs-assets prune``, ``hold``, ``release`` and ``clock``: what may go, what must stay, and what tells the age."""

from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpcs_assets.cli_shared import (
    BeamlineArgument,
    HomeOption,
    JsonOption,
    RunArgument,
    columns,
    counted,
    open_beamline,
    open_site,
    out,
    plain,
    tell_error,
)
from xpcs_assets.plain import size

if TYPE_CHECKING:
    from xpcs_assets.beamline import OpenBeamline
    from xpcs_assets.prune.forecast import Ahead, Forecast
    from xpcs_assets.prune.plan import Due, Plan
    from xpcs_assets.runs.retention import Retention


def prune(
    beamline: BeamlineArgument,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would go, why the rest stays, and what comes of age.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Name every copy that stays, with its reasons.")] = False,
    approve: Annotated[str, typer.Option(metavar="DIGEST", help="Let a list beyond the limits of a day go.")] = "",
    undo: Annotated[str, typer.Option(metavar="RUN", help="Take the copies of a run out of the trash again.")] = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Remove copies that their places need not keep, each behind a proof that enough others are right."""
    from xpcs_assets.prune.pruning import approve as write_approval
    from xpcs_assets.prune.pruning import forecast_of, plan

    opened = open_beamline(home, beamline)
    if undo:
        raise typer.Exit(_undo(opened, undo))
    plans = [plan(opened, place, everything=everything) for place in opened.settings.retention]
    if approve:
        word = write_approval(opened, plans, approve, getpass.getuser())
        out.print(f"{word.copies} copies in {word.place} may go within a day, by the word of {word.approved_by}")
        plans = [plan(opened, place) for place in opened.settings.retention]
    forecasts = [forecast_of(opened, one.place) for one in plans] if dry_run else [None] * len(plans)
    if as_json:
        out.print_json(json.dumps([_as_json(opened, *pair) for pair in zip(plans, forecasts, strict=True)]))
    elif not plans:
        out.print(f"no place of {beamline} has a retention: everything stays")
    else:
        for one, coming in zip(plans, forecasts, strict=True):
            _print_plan(opened, one, coming, everything=everything)
    if not dry_run:
        raise typer.Exit(_work_through(opened, plans, quiet=as_json))


def hold(
    beamline: BeamlineArgument,
    run_key: RunArgument,
    reason: Annotated[str, typer.Option(help="Why the run stays.")],
    home: HomeOption = None,
) -> None:
    """Keep every copy of a run until it is released."""
    opened = open_beamline(home, beamline)
    opened.latest(run_key)
    opened.ledger.hold(beamline, run_key, reason, getpass.getuser())
    out.print(f"{run_key} is held")


def release(beamline: BeamlineArgument, run_key: RunArgument, home: HomeOption = None) -> None:
    """End all holds on a run."""
    ended = open_beamline(home, beamline).ledger.release(beamline, run_key, getpass.getuser())
    if not ended:
        tell_error(f"nobody holds {plain(run_key)}")
        raise typer.Exit(1)
    out.print(f"{plain(run_key)} is released; {counted(ended, 'hold')} ended")


def clock(
    accept: Annotated[bool, typer.Option("--accept", help="Say that this machine's clock is right now.")] = False,
    home: HomeOption = None,
) -> None:
    """Whether ages can be told by this machine's clock; while it is in doubt no copy goes."""
    from xpcs_assets.copies.database import check_schema, open_database
    from xpcs_assets.copies.ledger import Ledger

    engine = open_database(open_site(home).database_url)
    check_schema(engine)
    ledger = Ledger(engine)
    if accept:
        ledger.accept_clock(getpass.getuser())
    doubt, seen = ledger.doubt_clock(), ledger.clock_seen()
    engine.dispose()
    out.print(f"this machine  {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
    if seen is not None:
        out.print(f"last believed {seen:%Y-%m-%d %H:%M:%S} UTC")
    if doubt:
        tell_error(doubt)
    raise typer.Exit(1 if doubt else 0)


def _undo(opened: OpenBeamline, run_key: str) -> int:
    from xpcs_assets.copies.ledger import CopyState
    from xpcs_assets.prune.trash import put_back

    copies = [copy for copy in opened.ledger.copies(opened.name, run_key) if copy.state is CopyState.IN_TRASH]
    for copy in copies:
        put_back(opened, run_key, copy.version, copy.place)
        out.print(f"{copy.place}:{plain(copy.path)} v{copy.version}  is back; every byte was read")
    if not copies:
        tell_error(f"no copy of {plain(run_key)} lies in a trash")
    return 0 if copies else 1


def _work_through(opened: OpenBeamline, plans: list[Plan], *, quiet: bool) -> int:
    """Remove what may go; 1 when something that ought to go stayed."""
    from xpcs_assets.prune.pruning import ask, prune_all

    stayed = 0
    for done in prune_all(opened, plans):
        stayed += bool(done.refused)
        told = f"{done.copy.state}: {counted(done.files, 'file')}, {size(done.size_bytes)}"
        if not quiet or done.refused:
            why = f"stays: {done.refused}" if done.refused else told
            out.print(f"{done.copy.place}:{plain(done.copy.path)}  {plain(why)}")
    for one in plans:
        if problem := one.doubt or ask(opened, one):
            stayed += 1
            tell_error(problem)
    return 1 if stayed else 0


def _print_plan(opened: OpenBeamline, plan: Plan, coming: Forecast | None, *, everything: bool) -> None:
    from xpcs_assets.prune.pruning import ask

    goes, waits = len(plan.goes), len(plan.waits)
    out.print(f"{plan.place}: {goes} of {plan.copies} copies are to go, {size(_bytes(plan.goes))}")
    if goes:
        out.print(f"  list {plan.digest}")
        out.print("  each only if the other copies, read at that moment, are right")
        columns([_row(due) for due in plan.goes])
        if question := ask(opened, plan):
            out.print(f"  asks: {question}")
    if waits:
        out.print(f"  {waits} more may go, {size(_bytes(plan.waits))}, and wait: {plan.why_waits}")
        if everything:
            columns([_row(due) for due in plan.waits])
    if everything:
        for kept in plan.kept:
            out.print(f"  {plain(kept.copy.path)} v{kept.copy.version} stays: {plain('; '.join(kept.reasons))}")
    elif plan.kept or plan.young:
        out.print("  stay:")
        keep_for = _age(opened.settings.retention[plan.place].keep_for)
        young = [("    ", str(plan.young), f"younger than {keep_for}")] if plan.young else []
        columns([*young, *(("    ", str(number), plain(why)) for why, number in plan.reasons.most_common())])
    if coming is not None:
        _print_forecast(coming, opened.settings.retention[plan.place].rule)


def _row(due: Due) -> tuple[str, ...]:
    others = "also in " + ", ".join(due.others)
    how_big = size(due.size_bytes) if due.size_bytes else "a part"
    return ("   ", plain(due.copy.path), f"v{due.copy.version}", how_big, f"since {due.since:%Y-%m-%d}", others)


def _print_forecast(coming: Forecast, retention: Retention) -> None:
    to_trash = f", to the trash for {_age(retention.trash_for_s)}" if retention.trash_for_s else ""
    marks = " and the high mark is passed" if retention.high_water is not None else ""
    if coming.of_age.days:
        out.print(f"  next 30 days{to_trash}, if what they need is done by then{marks}:")
        columns([("    ", f"{day.day}", _copies(day.copies), size(day.size_bytes)) for day in coming.of_age.days])
    else:
        out.print(f"  next 30 days: no copy {'that comes of age may go' if coming.of_age.stay else 'comes of age'}")
    if coming.of_age.stay:
        out.print(f"  {_copies(coming.of_age.stay)} will come of age and stay:")
        columns([("    ", str(number), plain(why)) for why, number in coming.of_age.reasons.most_common()])
    trash = coming.trash
    if trash.days or trash.stay:
        copies = sum(day.copies for day in trash.days) + trash.stay
        out.print(f"  in the trash: {_copies(copies)}, {size(coming.trash_bytes)}; emptied from")
        columns([("    ", f"{day.day}", _copies(day.copies), size(day.size_bytes)) for day in trash.days])
        columns([("    ", "never as it is", str(number), plain(why)) for why, number in trash.reasons.most_common()])
    if coming.arriving_bytes_per_day:
        told = f"  {size(coming.arriving_bytes_per_day)} a day came in the last 7 days"
        if coming.high_mark_on is not None:
            told += f"; with that the disk passes its high mark on {coming.high_mark_on} if nothing goes"
        out.print(told)


def _copies(number: int) -> str:
    return "1 copy" if number == 1 else f"{number} copies"


def _bytes(dues: tuple[Due, ...]) -> int:
    return sum(due.size_bytes for due in dues)


def _age(seconds: float) -> str:
    """A duration in the largest unit that it fills."""
    for unit, unit_s in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= unit_s:
            return counted(seconds / unit_s, unit)
    return counted(seconds, "second")


def _as_json(opened: OpenBeamline, plan: Plan, coming: Forecast | None) -> dict[str, Any]:
    from xpcs_assets.prune.pruning import ask

    told = {
        "place": plan.place,
        "list": plan.digest,
        "goes": [_due_as_json(due) for due in plan.goes],
        "waits": [_due_as_json(due) for due in plan.waits],
        "why_waits": plan.why_waits,
        "asks": ask(opened, plan),
        "stay": {"young": plan.young, "reasons": dict(plan.reasons)},
        "kept": [
            {"run_key": kept.copy.run_key, "version": kept.copy.version, "path": kept.copy.path, "why": kept.reasons}
            for kept in plan.kept
        ],
        "copies": plan.copies,
    }
    if coming is not None:
        told["forecast"] = {
            **_ahead_as_json(coming.of_age),
            "trash": {"size_bytes": coming.trash_bytes, **_ahead_as_json(coming.trash)},
            "arriving_bytes_per_day": coming.arriving_bytes_per_day,
            "high_mark_on": None if coming.high_mark_on is None else str(coming.high_mark_on),
        }
    return told


def _ahead_as_json(ahead: Ahead) -> dict[str, Any]:
    return {
        "days": [{"day": str(day.day), "copies": day.copies, "size_bytes": day.size_bytes} for day in ahead.days],
        "stay": {"copies": ahead.stay, "reasons": dict(ahead.reasons)},
    }


def _due_as_json(due: Due) -> dict[str, Any]:
    return {
        "run_key": due.copy.run_key,
        "version": due.copy.version,
        "path": due.copy.path,
        "size_bytes": due.size_bytes,
        "since": due.since.isoformat(),
        "others": list(due.others),
    }
