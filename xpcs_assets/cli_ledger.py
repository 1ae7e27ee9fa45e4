"""``xpcs-assets rebuild``: the ledger, made again from the data and the journal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from xpcs_assets.cli_shared import HomeOption, open_site, out, plain, tell_error

if TYPE_CHECKING:
    from xpcs_assets.audit.rebuild import Rebuilt

_SHOWN = 5
_VALUE = 80  # characters; a catalog's documents have tens of thousands


def rebuild(home: HomeOption = None) -> None:
    """Make ledger and catalog again from manifests, notes, archives, results and journal. The site must be down."""
    from xpcs_assets.audit.rebuild import rebuild as make

    done = make(open_site(home), say=lambda text: out.print(f"reading    {text}"))
    for place, reason in done.found.unavailable.items():
        tell_error(f"{place} cannot be asked: {reason}; what lies there is not in the new ledger", "partial", "yellow")
    for told in done.found.told:
        out.print(f"note       {plain(told)}")
    _tell_differences(done)
    if not done.replaced:
        tell_error("the old ledger opens and stays: a partial one does not replace it")
    elif done.kept:
        out.print(f"kept       the old ledger is {done.kept}")
    raise typer.Exit(1 if done.partial or done.found.frozen else 0)


def _tell_differences(done: Rebuilt) -> None:
    if done.why_not_read:
        out.print(f"compared   with nothing: {plain(done.why_not_read)}")
        return
    for each in done.differences:
        if each.only_old or each.only_new:
            out.print(
                f"differs    {each.table}: {each.same} rows are the same, {len(each.only_old)} only in the old ledger, "
                f"{len(each.only_new)} only in the new"
            )
            for sign, rows in (("-", each.only_old), ("+", each.only_new)):
                for row in rows[:_SHOWN]:
                    out.print(f"  {sign} {plain(_shortened(row))}")
    if done.same:
        out.print(f"compared   the same, {sum(each.same for each in done.differences)} rows")


def _shortened(row: str) -> str:
    """A row as it is compared, its long values cut."""
    values = {name: json.dumps(value, ensure_ascii=False) for name, value in json.loads(row).items()}
    cut = {name: value if len(value) <= _VALUE else f"{value[:_VALUE]}..." for name, value in values.items()}
    return ", ".join(f"{name} {value}" for name, value in cut.items())
