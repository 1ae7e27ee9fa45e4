"""``xpcs-assets qmaps``: the registry of a beamline's q-maps, and which results a corrected one makes out of date."""

from __future__ import annotations

import getpass
import json
from dataclasses import asdict
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpcs_assets.cli_shared import (
    BeamlineArgument,
    HomeOption,
    JsonOption,
    columns,
    counted,
    err,
    open_beamline,
    out,
    plain,
)
from xpcs_assets.errors import NotFoundError

if TYPE_CHECKING:
    from xpcs_assets.beamline import OpenBeamline
    from xpcs_assets.compute.out_of_date import OutOfDate
    from xpcs_assets.copies.ledger import QmapVersion

_NEWEST = 3


def qmaps(
    beamline: BeamlineArgument,
    of: Annotated[str, typer.Argument(metavar="NAME", help="One map; all of them without.")] = "",
    add: Annotated[Path | None, typer.Option(metavar="FILE", help="Add this file as the next version.")] = None,
    name: Annotated[str, typer.Option(help="Of which map it is the next version.")] = "",
    valid_from: Annotated[
        str, typer.Option(metavar="TIME", help="It is for runs from this time on; ISO, without a zone UTC.")
    ] = "",
    valid_until: Annotated[str, typer.Option(metavar="TIME", help="And for runs before this time.")] = "",
    note: Annotated[str, typer.Option(help="What it is.")] = "",
    withdraw: Annotated[
        tuple[str, int] | None, typer.Option(metavar="NAME VERSION", help="Take a version back.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why it is taken back.")] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """The registry of q-maps: versions, the runs' times they are for, and the results made with each."""
    if bool(add) != bool(name):
        raise typer.BadParameter("give both, the file and the map it is a version of", param_hint="--add and --name")
    if (withdraw is None) != (not reason):
        raise typer.BadParameter("give both, the version and why", param_hint="--withdraw and --reason")
    opened = open_beamline(home, beamline)
    if add is not None:
        _add(opened, add, name, (_time(valid_from, "--valid-from"), _time(valid_until, "--valid-until")), note)
    elif withdraw is not None:
        gone = opened.ledger.withdraw_qmap(opened.name, *withdraw, reason, getpass.getuser())
        out.print(plain(f"{gone} {_told(gone)}"))
    else:
        _list(opened, of, as_json=as_json)


def _add(
    opened: OpenBeamline, file: Path, name: str, valid: tuple[datetime | None, datetime | None], note: str
) -> None:
    from xpcs_assets.compute.qmap_registry import add

    known = len(opened.ledger.qmaps(opened.name, name))
    made = add(opened, file, name, by=getpass.getuser(), valid_from=valid[0], valid_until=valid[1], note=note)
    out.print(f"{made}  {made.digest}")
    if made.version <= known:
        err.print(f"these bytes are {made} already, for the same times; nothing new is done", style="dim")


def _time(text: str, option: str) -> datetime | None:
    from xpcs_assets.compute.qmap_registry import in_utc

    try:
        return in_utc(text) if text else None
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter("write a time such as 2025-03-01T08:00+01:00", param_hint=option) from error


def _list(opened: OpenBeamline, name: str, *, as_json: bool) -> None:
    names = opened.ledger.qmap_names(opened.name)
    if name and name not in names:
        raise NotFoundError(
            "the registry has no such q-map",
            where=f"{opened.name}/{name}",
            remedy=f"There are: {', '.join(names) or 'none'}",
        )
    versions = [each for one in ([name] if name else names) for each in opened.ledger.qmaps(opened.name, one)]
    used = [opened.ledger.results_with_qmap(opened.name, each.digest, _NEWEST) for each in versions]
    if as_json:
        told = [
            _as_json(each) | {"results": count, "newest": [result.analysis_key for result in newest]}
            for each, (count, newest) in zip(versions, used, strict=True)
        ]
        out.print_json(json.dumps(told))
        return
    if not versions:
        out.print(
            f"the registry of {opened.name} is empty; `xpcs-assets qmaps {opened.name} --add FILE --name NAME` adds"
        )
        return
    rows: list[tuple[str, ...]] = [("q-map", "valid from", "until", "digest", "results", "newest", "added", "note")]
    for each, (count, newest) in zip(versions, used, strict=True):
        ends = [f"{end:%Y-%m-%d %H:%M:%S}" if end else "-" for end in (each.valid_from, each.valid_until)]
        keys = ", ".join(result.analysis_key for result in newest) or "-"
        digest = each.digest.removeprefix("sha256:")[:12]
        said = "; ".join(text for text in (each.note, "" if each.stands else _told(each)) if text)
        added = f"{each.added_at:%Y-%m-%d %H:%M} by {each.by}"
        rows.append((str(each), *ends, digest, str(count), keys, plain(added), plain(said)))
    columns(rows)


def _told(version: QmapVersion) -> str:
    """When, by whom and why it was withdrawn."""
    at = version.withdrawn_at
    return f"withdrawn {at:%Y-%m-%d %H:%M} by {version.withdrawn_by}: {version.withdrawn_because}" if at else ""


def _as_json(version: QmapVersion) -> dict[str, Any]:
    return {name: item.isoformat() if isinstance(item, datetime) else item for name, item in asdict(version).items()}


def tell_stale(opened: OpenBeamline, run_key: str, limit: int, *, as_json: bool) -> None:
    """What `status --stale` prints: runs whose promoted result would be another if it were made now, and what to do."""
    from xpcs_assets.compute.out_of_date import out_of_date

    found = list(islice(out_of_date(opened, run_key), limit))
    if as_json:
        out.print_json(json.dumps([asdict(run) for run in found]))
        return
    if not found:
        out.print("no result is out of date")
        return
    columns([("run", "differs", "how"), *((run.run_key, _differs(run), plain(run.reason)) for run in found)])
    if len(found) == limit:
        err.print(f"the newest {counted(limit, 'run')}; --limit shows more", style="dim")
    if any(run.wanted for run in found):
        err.print(f"`xpcs-assets reprocess {opened.name} RUN...` has their results made anew", style="dim")


def _differs(run: OutOfDate) -> str:
    return ", ".join(run.differs) or "cannot be told"
