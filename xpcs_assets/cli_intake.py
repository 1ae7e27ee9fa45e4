"""``xpcs-assets intake``, which listens over HTTP, and ``parked``: what was refused, mended and put in again."""

from __future__ import annotations

import getpass
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xpcs_assets.cli_shared import (
    BeamlineArgument,
    HomeOption,
    JsonOption,
    columns,
    open_beamline,
    open_site,
    out,
    plain,
)
from xpcs_assets.errors import RefusedError

if TYPE_CHECKING:
    from xpcs_assets.beamline import OpenBeamline


def intake(home: HomeOption = None) -> None:
    """Hear over HTTP that runs are complete, until Ctrl-C. `up` starts it where site.yaml has `intake`."""
    from xpcs_assets.intake.server import serve

    serve(open_site(home))


def parked(
    beamline: BeamlineArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of them; else all are listed.")] = "",
    again: Annotated[bool, typer.Option("--again", help="Put it in again.")] = False,
    path: Annotated[Path | None, typer.Option(help="With --again: where its files are now.")] = None,
    dismiss: Annotated[str, typer.Option(metavar="REASON", help="Take it off the list, and say why.")] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """What the intake refused, and why. Exit 1 while anything waits."""
    from xpcs_assets.intake.parked import parked as waiting

    opened = open_beamline(home, beamline)
    if again or dismiss or path is not None:
        if not name or bool(dismiss) == again:
            raise RefusedError(
                "it is not clear what is meant", where=beamline, remedy="Give its NAME with --again or with --dismiss"
            )
        _settle(opened, name, path, dismiss)
    found = [one for one in waiting(opened) if name in {"", one.name}]
    if as_json:
        out.print_json(json.dumps([{**asdict(one), "at": one.at.isoformat(timespec="seconds")} for one in found]))
    elif found:
        rows = [
            (one.name, f"{one.at:%Y-%m-%d %H:%M}", str(one.times), plain(one.file_path), plain(one.reason))
            for one in found
        ]
        columns([("name", "at, UTC", "times", "path", "why"), *rows])
    raise typer.Exit(1 if found else 0)


def _settle(opened: OpenBeamline, name: str, path: Path | None, dismiss: str) -> None:
    from xpcs_assets.arrive.source import source_of
    from xpcs_assets.arrive.submit import submit
    from xpcs_assets.intake.parked import one_of, settle

    one = one_of(opened, name)
    if dismiss:
        settle(opened, name, f"dismissed: {dismiss}", getpass.getuser())
        return
    if one.is_export_control:
        raise RefusedError("export-controlled data are not taken", where=one.file_path, remedy="Dismiss it")
    key = submit(opened, source_of(opened).root / (path or one.file_path)).key
    settle(opened, name, f"submitted as {key}", getpass.getuser())
    out.print(key)
