"""``xpcs-assets retrieve``: a run's files back from the archive, or from whatever copy has them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xpcs_assets.cli_access import restore_access
from xpcs_assets.cli_shared import (
    BeamlineArgument,
    DryRunOption,
    HomeOption,
    RunArgument,
    counted,
    open_beamline,
    out,
    plain,
    tell_error,
)
from xpcs_assets.errors import SettingsError


def retrieve(
    beamline: BeamlineArgument,
    run_key: RunArgument,
    files: Annotated[list[str] | None, typer.Argument(metavar="FILE", help="Files of it; all without.")] = None,
    results: Annotated[bool, typer.Option("--results", help="Its results in place of its raw data.")] = False,
    recipe: Annotated[
        str, typer.Option(help="With --results: of one recipe, by how its digest begins; or 'latest'.")
    ] = "",
    version: Annotated[int | None, typer.Option(help="Which version; the newest without.")] = None,
    to: Annotated[Path | None, typer.Option(help="Write them below this folder; else where they were.")] = None,
    dry_run: DryRunOption = False,
    home: HomeOption = None,
) -> None:
    """Get a run's raw data or results back, each file hashed as recorded; 0 only when all asked for is there."""
    from xpcs_assets.archive.results_back import retrieve_results
    from xpcs_assets.archive.retrieve import retrieve as retrieve_raw

    if recipe and not results:
        raise SettingsError("--recipe is about results", remedy="Add --results, or leave --recipe out")
    opened, paths = open_beamline(home, beamline), files or ()
    if results:
        done = retrieve_results(opened, run_key, paths, recipe=recipe, version=version, to=to, dry_run=dry_run)
    else:
        done = retrieve_raw(opened, run_key, paths, version=version, to=to, dry_run=dry_run)
    for path, origin in done.came_from.items():
        out.print(f"{plain(path)}  {plain(origin)}")
    for path, why in done.missing.items():
        tell_error(f"{path}: it could not be had from any copy ({why})")
    what = "would be written" if dry_run else "written"
    out.print(f"{counted(len(done.came_from), 'file')}, {done.bytes_moved} bytes {what}, in {plain(str(done.folder))}")
    if to is None and not dry_run:
        restore_access(opened, run_key)
    raise typer.Exit(1 if done.missing else 0)
