"""``xpcs-assets catalogs``: whether the catalogs outside the site answer, what waits for them, and trying again."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpcs_assets.cli_shared import (
    BeamlineArgument,
    HomeOption,
    JsonOption,
    columns,
    err,
    full_pid,
    open_beamline,
    out,
    plain,
)
from xpcs_assets.errors import CatalogError, NotFoundError, RefusedError, SettingsError

if TYPE_CHECKING:
    from xpcs_assets.beamline import OpenBeamline
    from xpcs_assets.catalog.outbox import Entry

_SHOWN = 20
_ALL = 1_000_000


def catalogs(
    beamline: BeamlineArgument,
    name: Annotated[str, typer.Argument(metavar="CATALOG", help="One catalog; else all.")] = "",
    retry: Annotated[bool, typer.Option("--retry", help="Try now what is parked or waits.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Make every record again, by the roster of now, and tell all of it again.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Ask for every dataset that was told; what is gone is told again.")
    ] = False,
    pid: Annotated[str, typer.Option(help="With --retry or --again: only this dataset.")] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Catalogs outside the site: do they answer, what waits, what is parked and why. Exit 1 unless all is told."""
    from xpcs_assets.catalog.delivery import gather, outbox_of

    opened = open_beamline(home, beamline)
    names = _names(opened, name)
    gather(opened)  # what came to be since is not told yet
    if pid and not (retry or again):
        raise RefusedError("--pid says which dataset to try", where="--pid", remedy="Give --retry or --again too")
    if pid and not outbox_of(opened).entries(opened.name, pid=(pid := full_pid(pid))):
        raise NotFoundError("no catalog is told of such a dataset", where=pid, remedy="`xpcs-assets search` lists them")
    if again:
        _again(opened, names, pid)
    if retry:
        _retry(opened, names, pid)
    if again or retry:
        _deliver(opened, names)
    if verify:
        _verify(opened, names)
    told = [_look(opened, one) for one in names]
    if as_json:
        out.print(json.dumps(told, indent=1))
    else:
        _show(told)
    raise typer.Exit(1 if any(one["problem"] or one["waiting"] or one["parked"] for one in told) else 0)


def _names(opened: OpenBeamline, name: str) -> list[str]:
    told = opened.settings.pipeline.told
    if not told:
        raise SettingsError(
            f"{opened.name} tells no catalog outside the site",
            remedy="Name one under pipeline.catalog; docs/how-to/connect-scicat.md says how",
        )
    if name and name not in told:
        raise NotFoundError(f"{opened.name} tells no catalog {name!r}", remedy=f"It tells: {', '.join(told)}")
    return [name] if name else list(told)


def _again(opened: OpenBeamline, names: list[str], pid: str) -> None:
    from xpcs_assets.catalog.cataloguing import recatalogue
    from xpcs_assets.catalog.delivery import gather, outbox_of

    for why in () if pid else recatalogue(opened):
        err.print(plain(why))
    gather(opened)
    for name in names:
        outbox_of(opened).want_again(opened.name, name, pid=pid)


def _retry(opened: OpenBeamline, names: list[str], pid: str) -> None:
    from xpcs_assets.catalog.delivery import outbox_of, reach_of

    for name in names:
        reach_of(opened).ask_now(name)
        outbox_of(opened).retry(opened.name, name, pid=pid)


def _deliver(opened: OpenBeamline, names: list[str]) -> None:
    from xpcs_assets.catalog.delivery import catch_up

    for name in names:
        found = Counter(one.state.value for one in catch_up(opened, catalog=name, rounds=_ALL))
        said = ", ".join(f"{number} {state}" for state, number in sorted(found.items()))
        err.print(f"{name}: {said or 'nothing'}")


def _verify(opened: OpenBeamline, names: list[str]) -> None:
    from xpcs_assets.catalog.delivery import look_again

    def tell(entry: Entry, there: bool) -> None:
        if not there:
            err.print(plain(f"{entry.catalog} has no {entry.pid} any more: it is told again"))

    for name in names:
        asked = look_again(opened, catalog=name, older_than_s=0.0, at_most=_ALL, told=tell)
        err.print(f"{name}: {asked} datasets were asked for")


def _look(opened: OpenBeamline, name: str) -> dict[str, Any]:
    from xpcs_assets.catalog.delivery import outbox_of, reach_of
    from xpcs_assets.catalog.outbox import EntryState

    outbox = outbox_of(opened)
    counts = outbox.counts(opened.name, name)
    known = reach_of(opened).of(name)
    open_entries = [
        entry
        for state in (EntryState.PARKED, EntryState.WAITING)
        for entry in outbox.entries(opened.name, catalog=name, state=state, limit=_SHOWN)
    ]
    return {
        "catalog": name,
        "problem": _problem(opened, name),
        "down_since": known.down_since.isoformat() if known and known.down_since else None,
        **{state.value: number for state, number in counts.items()},
        "entries": [_entry(entry) for entry in open_entries],
    }


def _problem(opened: OpenBeamline, name: str) -> str:
    """Why a catalog, asked now, does not take entries; empty when it does."""
    from xpcs_assets.catalog.opening import open_catalog

    try:
        with closing(open_catalog(opened.site, name)) as catalog:
            catalog.check()
    except (CatalogError, SettingsError) as error:
        return str(error)
    return ""


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "pid": entry.pid,
        "what": entry.what.value,
        "state": entry.state.value,
        "attempts": entry.attempts,
        "wanted_at": entry.wanted_at.isoformat(),
        "next_at": entry.next_at.isoformat(),
        "why": entry.error,
    }


def _show(told: list[dict[str, Any]]) -> None:
    rows = [("CATALOG", "ANSWERS", "TOLD", "WAITING", "PARKED", "DOWN SINCE")]
    rows += [
        (
            one["catalog"],
            "no" if one["problem"] else "yes",
            *(str(one[state]) for state in ("told", "waiting", "parked")),
            (one["down_since"] or "-")[:19],
        )
        for one in told
    ]
    columns(rows)
    for one in told:
        if one["problem"]:
            out.print(plain(f"{one['catalog']}: {one['problem']}"))
        for entry in one["entries"]:
            why = entry["why"] or "its turn comes"
            out.print(plain(f"{one['catalog']}: {entry['pid']} ({entry['what']}) {entry['state']}: {why}"))
        left_out = one["waiting"] + one["parked"] - len(one["entries"])
        if left_out > 0:
            out.print(f"{one['catalog']}: and {left_out} more")
