"""``xpcs-assets pause`` and ``resume``: a person's word that a beamline takes no new runs."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from xpcs_assets.cli_shared import BeamlineArgument, HomeOption, open_beamline, out, plain, tell_error


def pause(
    beamline: BeamlineArgument,
    reason: Annotated[str, typer.Option(help="Why; everybody who asks is told.")],
    home: HomeOption = None,
) -> None:
    """Take no new runs, whatever says that there are some; what is under way goes on, and nothing is lost."""
    ledger = open_beamline(home, beamline).ledger
    ledger.pause(beamline, reason, getpass.getuser())
    out.print(f"{beamline} takes no new runs until `xpcs-assets resume {beamline}`")


def resume(beamline: BeamlineArgument, home: HomeOption = None) -> None:
    """Take new runs again, those that came meanwhile included."""
    ledger = open_beamline(home, beamline).ledger
    stood = ledger.paused(beamline)
    if stood is None:
        tell_error(f"{beamline} is not paused")
        raise typer.Exit(1)
    ledger.end_pause(beamline, getpass.getuser())
    out.print(f"{beamline} takes new runs again; it was {plain(stood.told)}")
