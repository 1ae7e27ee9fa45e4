"""``xpcs-assets transfers``: what a service moves between places, how fast it was, and ending it."""

from __future__ import annotations

import getpass
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpcs_assets.cli_shared import BeamlineArgument, HomeOption, JsonOption, columns, open_beamline, out, plain
from xpcs_assets.errors import RefusedError
from xpcs_assets.plain import size

if TYPE_CHECKING:
    from xpcs_assets.beamline import OpenBeamline
    from xpcs_assets.copies.ledger import Transfer


def transfers(
    beamline: BeamlineArgument,
    cancel: Annotated[str, typer.Option(metavar="RUN", help="End the transfers of this run.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    limit: Annotated[int, typer.Option(help="Newest transfers to show.")] = 50,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """What Globus moves: how far each transfer is, bytes, seconds and rate, and why it is no further."""
    opened = open_beamline(home, beamline)
    if cancel:
        _cancel(opened, cancel)
    else:
        _list(opened, every=every, limit=limit, as_json=as_json)


def _list(opened: OpenBeamline, *, every: bool, limit: int, as_json: bool) -> None:
    from xpcs_assets.copies.ledger import TransferState
    from xpcs_assets.copies.transfer_book import UNDER_WAY

    found = opened.ledger.transfers(opened.name, states=tuple(TransferState) if every else UNDER_WAY, limit=limit)
    if as_json:
        out.print_json(json.dumps([_as_json(transfer) for transfer in found]))
        return
    if not found:
        out.print(f"no transfer of {opened.name} {'was ever begun' if every else 'is under way'}")
        return
    columns([("run", "way", "state", "attempt", "moved", "took", "rate", "task", "why"), *map(_row, found)])


def _row(transfer: Transfer) -> tuple[str, ...]:
    return (
        transfer.run_key,
        f"{transfer.source} to {transfer.target}",
        transfer.state.value,
        str(transfer.attempt),
        f"{size(transfer.bytes_moved)} of {size(transfer.bytes_total)}",
        f"{transfer.seconds:.0f} s",
        f"{size(round(transfer.rate_bytes_per_s))}/s",
        transfer.task or "-",
        plain(transfer.reason),
    )


def _as_json(transfer: Transfer) -> dict[str, Any]:
    return {
        "run_key": transfer.run_key,
        "version": transfer.version,
        "purpose": transfer.purpose,
        "source": transfer.source,
        "target": transfer.target,
        "state": transfer.state.value,
        "reason": transfer.reason,
        "attempt": transfer.attempt,
        "task": transfer.task,
        "bytes_moved": transfer.bytes_moved,
        "bytes_total": transfer.bytes_total,
        "seconds": transfer.seconds,
        "rate_bytes_per_s": round(transfer.rate_bytes_per_s),
        "made_at": transfer.made_at.isoformat(),
        "changed_at": transfer.changed_at.isoformat(),
    }


def _cancel(opened: OpenBeamline, key: str) -> None:
    """End what is under way for a run; nothing begins it again until a person materialises its copy."""
    from xpcs_assets.audit.reconcile import NO_COPY, Missed, park
    from xpcs_assets.stage.further_transfer import cancel, in_words
    from xpcs_assets.stage.moves import transfers_between

    under_way = opened.ledger.transfers_under_way(opened.name)
    live = [transfer for transfer in under_way if transfer.run_key == key]
    if not live:
        raise RefusedError(
            "no transfer of it can be ended: none is under way",
            where=f"{opened.name}/{key}",
            remedy=f"`xpcs-assets transfers {opened.name} --all` tells how they ended",
        )
    why = f"cancelled by {getpass.getuser()}"
    for transfer in live:
        source, target = opened.place(transfer.source), opened.place(transfer.target)
        with transfers_between(opened, source, target, patient=False) as service:
            ended = cancel(opened, transfer, service, why)
        missed = Missed(key, key, transfer.version, (), f"{NO_COPY} {transfer.target}")
        park(opened, missed, why)
        out.print(plain(in_words(ended)))
