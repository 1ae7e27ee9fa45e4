"""``xpcs-assets retrieve``: a run's files back from the archive, or from whatever copy has them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xpcs_assets.cli_access import restore_access
from xpcs_assets.cli_shared import (
    BeamlineArgument,
    HomeOption,
    RunArgument,
    counted,
    open_beamline,
    out,
    plain,
    tell_error,
)


def retrieve(
    beamline: BeamlineArgument,
    run_key: RunArgument,
    files: Annotated[list[str] | None, typer.Argument(metavar="FILE", help="Files of it; all without.")] = None,
    version: Annotated[int | None, typer.Option(help="Which version; the newest without.")] = None,
    to: Annotated[Path | None, typer.Option(help="Write them below this folder; else the run is staged again.")] = None,
    home: HomeOption = None,
) -> None:
    """Get a run's raw data back, each file hashed against its manifest; 0 only when all asked for is there."""
    from xpcs_assets.archive.retrieve import retrieve as fetch

    opened = open_beamline(home, beamline)
    done = fetch(opened, run_key, files or (), version=version, to=to)
    for path, origin in done.came_from.items():
        out.print(f"{plain(path)}  {plain(origin)}")
    for path, why in done.missing.items():
        tell_error(f"{path}: it could not be had from any copy ({why})")
    out.print(f"{counted(len(done.came_from), 'file')}, {done.bytes_moved} bytes written, in {plain(str(done.folder))}")
    if to is None:
        restore_access(opened, run_key)
    raise typer.Exit(1 if done.missing else 0)
