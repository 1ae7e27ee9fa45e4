"""``xpcs-assets prune``, ``hold`` and ``release``: what may go, what must stay."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from xpcs_assets.cli_shared import BeamlineArgument, HomeOption, RunArgument, open_beamline, out, plain


def prune(
    beamline: BeamlineArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go and why the rest stays.")] = False,
    home: HomeOption = None,
) -> None:
    """Remove copies that their places need not keep, each behind a proof that enough others are right."""
    from xpcs_assets.prune.pruning import judged, prune_all
    from xpcs_assets.prune.rules import Stays

    opened = open_beamline(home, beamline)
    for place in opened.settings.retention:
        for item in judged(opened, place):
            reasons = item.judgement.reasons if isinstance(item.judgement, Stays) else ()
            told = f"stays: {'; '.join(reasons)}" if reasons else "may go, if a proof can be made"
            out.print(f"{place}:{plain(item.copy.path)} v{item.copy.version}  {plain(told)}")
    if dry_run:
        return
    refused = 0
    for done in prune_all(opened):
        refused += bool(done.refused)
        told = f"stays: {done.refused}" if done.refused else f"{done.files} files, {done.size_bytes} bytes removed"
        out.print(f"{done.copy.place}:{plain(done.copy.path)}  {plain(told)}")
    raise typer.Exit(1 if refused else 0)


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
    out.print(f"{ended} holds on {run_key} ended")
    raise typer.Exit(0 if ended else 1)
