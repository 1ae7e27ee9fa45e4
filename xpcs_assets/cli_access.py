"""``xpcs-assets access``: who may read the copies of runs, whether it is whom it should be, and have it be so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpcs_assets.cli_shared import (
    BeamlineArgument,
    HomeOption,
    JsonOption,
    columns,
    open_beamline,
    out,
    plain,
    tell_error,
)

if TYPE_CHECKING:
    from xpcs_assets.access.keeper import Found
    from xpcs_assets.beamline import OpenBeamline


def access(
    beamline: BeamlineArgument,
    run_key: Annotated[str, typer.Argument(help="One run; what is wrong with any of them without.")] = "",
    set_it: Annotated[bool, typer.Option("--set", help="Have those read it who should, and nobody else.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Who may read a run's copies: exit 0 only when at each place it is exactly whom it should be."""
    from xpcs_assets.access.keeper import keeping_access
    from xpcs_assets.errors import NotFoundError

    opened = open_beamline(home, beamline)
    if not opened.settings.guarded:
        remedy = "Give one `access` in the beamline file"
        raise NotFoundError("no place says who may read runs there", where=beamline, remedy=remedy)
    if run_key:
        opened.latest(run_key)
    found: list[Found] = []
    right = 0
    with keeping_access(opened) as keeper:
        for owned in opened.ledger.owned(beamline, run_key=run_key):
            looked = keeper.look(owned)
            done = [each for each in (keeper.settle(looked) if set_it else looked) if each.is_there]
            right += sum(each.is_right for each in done)
            found += [each for each in done if run_key or each.changed or not each.is_right]
    wrong = sum(not each.is_right for each in found)
    if as_json:
        out.print_json(json.dumps([_as_json(each) for each in found]))
    elif found:
        columns([("run", "version", "place", "folder", "who may read it", "state"), *map(_row, found)])
        _tell_owner(found if run_key else [])
    if not as_json:
        out.print(f"as it should be: {right}; not so: {wrong}")
    for each in found:
        if not each.is_right:
            tell_error(f"{each.owned.run_key} v{each.owned.version} in {each.gate.place}: {each.why}", "wrong")
    raise typer.Exit(1 if wrong or (run_key and not found) else 0)


def restore_access(opened: OpenBeamline, run_key: str) -> None:
    """Have a run that was brought back be read by whom it should; what could not be set is said, and tried again."""
    from xpcs_assets.access.keeper import settle_run
    from xpcs_assets.errors import XpcsAssetsError

    if not opened.settings.guarded:
        return
    try:
        wrong = [f"{each.gate.place}: {each.why}" for each in settle_run(opened, run_key) if not each.is_right]
    except XpcsAssetsError as error:
        wrong = [str(error)]
    for told in wrong:
        tell_error(f"who may read it could not be set, and is tried again: {told}", "access", "yellow")


def _row(found: Found) -> tuple[str, ...]:
    from xpcs_assets.access.keeper import readers_of

    state = "wrong" if not found.is_right else "set now" if found.changed else "right"
    owned, gate = found.owned, found.gate
    return (owned.run_key, f"v{owned.version}", gate.place, plain(gate.folder), plain(readers_of(found)), state)


def _tell_owner(found: list[Found]) -> None:
    """Whose the run is, and from when on others may read it: what decides."""
    for each in found[:1]:
        owner = each.owned.owner
        out.print(f"owner      proposal {plain(str(owner.get('proposal') or '-'))}")
        out.print(f"groups     {plain(', '.join(each.wanted.groups)) or '-'}")
        opens = each.wanted.opens_at
        out.print(f"others     {f'from {opens:%Y-%m-%d %H:%M} UTC on' if opens else 'never'}")


def _as_json(found: Found) -> dict[str, Any]:
    owned, wanted = found.owned, found.wanted
    return {
        "run_key": owned.run_key,
        "version": owned.version,
        "place": found.gate.place,
        "folder": found.gate.folder,
        "readers": sorted(map(str, found.seen.readers)) if found.seen else None,
        "wanted": sorted(map(str, found.readers)),
        "groups": list(wanted.groups),
        "opens_at": wanted.opens_at.isoformat() if wanted.opens_at else None,
        "right": found.is_right,
        "changed": found.changed,
        "why": found.why,
    }
