"""What every command shares: consoles, common options, opening a site or beamline, printing rows and errors."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from xpcs_assets.errors import RefusedError
from xpcs_assets.plain import counted as counted  # for every command
from xpcs_assets.plain import plain as plain

if TYPE_CHECKING:
    from xpcs_assets.beamline import OpenBeamline
    from xpcs_assets.site import Site

# No markup: file names, paths and reasons may hold anything that looks like it.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

PID_PREFIX = "xpcs-assets/"
"""Of every dataset's identifier; lists leave it out."""
HomeOption = Annotated[Path | None, typer.Option("--home", help="The site's folder; else XPCS_ASSETS_HOME.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Plain JSON for scripts.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
BeamlineArgument = Annotated[str, typer.Argument(help="Name of the beamline.")]
RunArgument = Annotated[str, typer.Argument(help="Run key.")]
TargetOption = Annotated[
    str | None, typer.Option("--target", help="Where a command is the analysis: other targets, with commas.")
]
ContextOption = Annotated[
    str | None, typer.Option("--context", help="Where a command is the analysis: another context.")
]


def open_site(home: Path | None) -> Site:
    """The site that an option or the environment names."""
    from xpcs_assets.site import Site, find_home

    return Site(find_home(home))


def open_beamline(home: Path | None, beamline: str) -> OpenBeamline:
    """A beamline of that site."""
    from xpcs_assets.beamline import OpenBeamline

    site = open_site(home)
    return OpenBeamline(site, site.beamline(beamline))


def changes_of(settings: list[str] | None, target: str | None, context: str | None) -> list[str]:
    """What is to differ from the beamline's own analysis, each as ``key=value``."""
    named = {"target": target, "context": context}
    return [*(settings or []), *(f"{name}={value}" for name, value in named.items() if value is not None)]


def watched(site: Site, name: str) -> str:
    """Where the runs of a beamline come from, as people call it."""
    from xpcs_assets.arrive.source import source_of
    from xpcs_assets.beamline import OpenBeamline

    return source_of(OpenBeamline(site, site.beamline(name))).where


def columns(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows under each other; nothing is cut, so that a key can be copied from any terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        out.print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def full_pid(dataset: str) -> str:
    """The identifier of a dataset that is named as `search` prints it, or in full."""
    return dataset if dataset.startswith(PID_PREFIX) else f"{PID_PREFIX}{dataset}"


def tell_error(text: str, word: str = "error", style: str = "red") -> None:
    """One line on standard error."""
    err.print(f"{word}:", style=style, end=" ")
    err.print(plain(text))


def write_table(table: Path, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV to a new file.

    Raises
    ------
    RefusedError
        There is a file of that name, or it cannot be written.
    """
    try:
        file = table.open("x", newline="", encoding="utf-8")
    except OSError as error:
        raise RefusedError(
            f"the table cannot be written ({error.strerror})",
            where=table,
            remedy="Name a new file in a folder that is there",
        ) from error
    with file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def time_of(opened: OpenBeamline, text: str, option: str) -> datetime:
    """A day or time in UTC, or how long ago, as a person types it after ``option``."""
    from xpcs_assets.compute.qmap_registry import in_utc
    from xpcs_assets.units import seconds

    try:
        return in_utc(text)
    except (ValueError, OverflowError):
        ago = text.removesuffix(" ago")
    try:
        return opened.ledger.clock() - timedelta(seconds=float(str(seconds(ago))))
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter("a day, a time, or how long ago such as '24 h'", param_hint=option) from error
