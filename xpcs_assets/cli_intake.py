"""``xpcs-assets intake``, which listens over HTTP or to Kafka, and ``parked``: what was refused, and its end."""

from __future__ import annotations

import getpass
import json
import signal
import threading
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xpcs_assets.cli_shared import (
    BeamlineArgument,
    HomeOption,
    JsonOption,
    columns,
    err,
    open_beamline,
    open_site,
    out,
    plain,
)
from xpcs_assets.errors import RefusedError

if TYPE_CHECKING:
    from xpcs_assets.beamline import OpenBeamline


def intake(
    kafka: Annotated[bool, typer.Option("--kafka", help="Hear from Kafka instead.")] = False,
    home: HomeOption = None,
) -> None:
    """Hear over HTTP, or from Kafka, that runs are complete, until Ctrl-C. `up` starts what site.yaml has."""
    from xpcs_assets.intake.kafka import Listener
    from xpcs_assets.intake.server import serve

    if not kafka:
        serve(open_site(home))
        return
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    site = open_site(home)
    Listener(site, lambda text: err.print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {plain(text)}")).listen(stop)


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
        if name and found[0].message:
            out.print(plain(found[0].message))
    raise typer.Exit(1 if found else 0)


def _settle(opened: OpenBeamline, name: str, path: Path | None, dismiss: str) -> None:
    from xpcs_assets.arrive.source import source_of
    from xpcs_assets.arrive.submit import submit
    from xpcs_assets.intake.parked import one_of, settle
    from xpcs_assets.intake.taking import take_message

    one = one_of(opened, name)
    if dismiss:
        settle(opened, name, f"dismissed: {dismiss}", getpass.getuser())
        return
    if one.is_export_control:
        raise RefusedError("export-controlled data are not taken", where=one.file_path, remedy="Dismiss it")
    if one.message and path is None:
        said = take_message(opened, json.loads(one.message))
        settle(opened, name, "put in again", getpass.getuser())
        for each in said:
            out.print(each.key or f"{plain(each.file_path)}: {plain(each.reason)}")
        return
    key = submit(opened, source_of(opened).root / (path or one.file_path)).key
    settle(opened, name, f"submitted as {key}", getpass.getuser())
    out.print(key)
