"""Files of a run that a service moves between two places: begun, followed over any restart, read when they arrived.

Nothing waits here. Each call does what can be done now and says what is waited for; a sensor asks the service
(:func:`look_at`) and has it called again. What the service says of its own work is believed for nothing: a file
counts once it was read at the target.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import timedelta

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Ledger, Transfer, TransferState
from xpcs_assets.errors import ConflictingBytesError, CopyError, NotFoundError, RefusedError, UnreachableError
from xpcs_assets.places.place import Presence
from xpcs_assets.places.transfer import TransferPhase, Transfers, TransferSeen
from xpcs_assets.stage.moves import STAGE, Arrived, Move, Waits, lease_of, transfers_between

ATTEMPTS = 5
"""Transfers that fail one after the other; then a person is asked."""
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=6)
REFUSED_FOR = timedelta(days=7)
"""A transfer that the service will say nothing of for so long has failed."""
_UNASKED = "unasked-"
_NAMED = 3
_STATES = {
    TransferPhase.ACTIVE: TransferState.ACTIVE,
    TransferPhase.PAUSED: TransferState.PAUSED,
    TransferPhase.SUCCEEDED: TransferState.VERIFYING,
}


def asset_of(beamline: OpenBeamline, transfer: Transfer) -> str:
    """The asset that a transfer is a part of."""
    if transfer.purpose == STAGE:
        return "staged_copy"
    return beamline.settings.pipeline.copy_assets.get(transfer.target, "")


def bring(beamline: OpenBeamline, move: Move, renew: Callable[[int], None]) -> Arrived | Waits:
    """:func:`advance` with the service that moves files between these two places."""
    with transfers_between(beamline, move.source, move.target) as service:
        return advance(beamline.ledger, move, service, renew)


def advance(ledger: Ledger, move: Move, service: Transfers, renew: Callable[[int], None]) -> Arrived | Waits:
    """Do what can be done now: intend a transfer, begin it, or read what arrived and try again what is wrong.

    The run's lease is held; ``renew`` prolongs it. :func:`settle` is to be called once the copy is in the ledger.

    Raises
    ------
    ConflictingBytesError
        Other bytes have a file's name at the target, and no transfer of ours put them there.
    CopyError
        The service refuses, or the last of :data:`ATTEMPTS` transfers failed.
    """
    transfers = [each for each in _of_errand(ledger, move) if each.task or each.is_under_way]
    newest = transfers[-1] if transfers else None
    if newest is None or not newest.is_under_way:
        ours = newest is not None and newest.state is not TransferState.DONE
        lacking = move.lacking(renew)
        if not ours:
            _refuse_others(move, lacking)
        if not lacking:
            return Arrived(0, ())
        bytes_total = _bytes_of(move, lacking)
        newest = ledger.intend_transfer(move.errand, _submission(service), bytes_total, ledger.clock())
    if newest.state is TransferState.INTENDED:
        return _begin(ledger, move, newest, service, renew)
    return _look(ledger, move, newest, service, renew)


def settle(ledger: Ledger, arrived: Arrived) -> None:
    """Close the book of what arrived, once the copy is in the ledger."""
    if arrived.transfer is not None:
        ledger.change_transfer(arrived.transfer.submission, state=TransferState.DONE, reason="")


def look_at(beamline: OpenBeamline, transfer: Transfer, service: Transfers) -> bool:
    """Ask the service how a transfer goes and write it down; whether its asset has something to do.

    One that nobody wants any more, since the beamline sends no copies there now, is ended.

    Raises
    ------
    UnreachableError
        No answer came.
    """
    ledger = beamline.ledger
    if not asset_of(beamline, transfer):
        if transfer.task:
            service.cancel(transfer.task)
        why = f"{beamline.name} sends no copies to {transfer.target} any more"
        ledger.change_transfer(transfer.submission, state=TransferState.CANCELLED, reason=why)
        return False
    if transfer.state in {TransferState.INTENDED, TransferState.VERIFYING}:
        return True
    return _see(ledger, transfer, service).phase in {TransferPhase.SUCCEEDED, TransferPhase.FAILED}


def cancel(beamline: OpenBeamline, transfer: Transfer, service: Transfers, why: str) -> Transfer:
    """End a transfer at a person's word and have its asset failed; materialising that by hand begins another.

    Raises
    ------
    RefusedError
        A worker is at it now, or all was moved and is being read.
    UnreachableError
        No answer came: it goes on.
    """
    ledger = beamline.ledger
    with beamline.working(transfer.run_key, lease_of(transfer.purpose, transfer.target)):
        if transfer.state is TransferState.VERIFYING:
            raise RefusedError("all of it was moved already", where=in_words(transfer), remedy="Wait for its copy")
        if transfer.task:
            service.cancel(transfer.task)
        ended = ledger.change_transfer(transfer.submission, state=TransferState.CANCELLED, reason=why)
        told, detail = f"failed: {in_words(ended)}", {"partition": transfer.run_key}
        ledger.note(beamline.name, transfer.run_key, asset_of(beamline, transfer) or transfer.purpose, told, detail)
    return ended


def pause(number: int) -> timedelta:
    """How long to wait after the ``number``-th time that something did not come to its end."""
    return min(FIRST_PAUSE * (1 << min(max(number, 1) - 1, 10)), LONGEST_PAUSE)


def in_words(transfer: Transfer) -> str:
    """Where a transfer is, for people."""
    moved = f", {transfer.bytes_moved} of {transfer.bytes_total} bytes" if transfer.bytes_moved else ""
    named = f" (task {transfer.task})" if transfer.task else ""
    why = f": {transfer.reason}" if transfer.reason else ""
    return f"transfer {transfer.source} to {transfer.target}{named} is {transfer.state}{moved}{why}"


def _refuse_others(move: Move, lacking: dict[str, str]) -> None:
    """A service writes over what has the name: what is not of a transfer of ours is never handed to it."""
    for entry in move.version.manifest.files:
        path = move.at_target(entry)
        if entry.path in lacking and move.target.stat(path).presence is not Presence.NO:
            raise ConflictingBytesError(
                "the name is taken by other bytes",
                where=f"{move.target.name}:{path}",
                remedy="Both were kept: look which is right, and move the other away",
            )


def _begin(
    ledger: Ledger, move: Move, transfer: Transfer, service: Transfers, renew: Callable[[int], None]
) -> Arrived | Waits:
    now = ledger.clock()
    if transfer.next_at > now:
        return Waits(f"{transfer.reason or 'the next attempt'}, not before {transfer.next_at:%Y-%m-%d %H:%M:%S} UTC")
    try:
        if transfer.submission.startswith(_UNASKED):
            told = (TransferState.CANCELLED, "it never had an id of the service", service.new_submission())
            transfer = ledger.replace_transfer(transfer, *told, transfer.bytes_total, now)
        lacking = move.lacking(renew)
        if not lacking:  # it was begun, and has ended, though we were not told
            return Arrived(transfer.bytes_total, (move.source.name,), transfer)
        items = [move.item(entry) for entry in move.version.manifest.files if entry.path in lacking]
        renew(0)
        task = service.begin(transfer.submission, _label(move), items)
    except UnreachableError as error:
        ledger.change_transfer(transfer.submission, reason=str(error))
        return Waits(str(error))
    except CopyError as error:
        ledger.change_transfer(transfer.submission, state=TransferState.FAILED, reason=str(error))
        raise
    begun = ledger.change_transfer(
        transfer.submission, state=TransferState.ACTIVE, reason="", task=task, source=move.source.name
    )
    return Waits(in_words(begun))


def _look(
    ledger: Ledger, move: Move, transfer: Transfer, service: Transfers, renew: Callable[[int], None]
) -> Arrived | Waits:
    if transfer.state is not TransferState.VERIFYING:
        try:
            seen = _see(ledger, transfer, service)
        except UnreachableError as error:
            return Waits(str(error))
        if seen.phase is TransferPhase.FAILED:
            return _again(ledger, move, transfer, service, seen.reason)
        if seen.phase is not TransferPhase.SUCCEEDED:
            return Waits(in_words(_now(ledger, move, transfer)))
    wrong = move.lacking(renew)
    if not wrong:
        return Arrived(transfer.bytes_total, (move.source.name,), transfer)
    told = "; ".join(f"{path}: {why}" for path, why in list(wrong.items())[:_NAMED])
    reason = f"{len(wrong)} files did not arrive as they are, though the service says that it succeeded: {told}"
    return _again(ledger, move, transfer, service, reason)


def _again(ledger: Ledger, move: Move, transfer: Transfer, service: Transfers, reason: str) -> Waits:
    """End a transfer that failed and intend the next one; what it left at the target is sent over."""
    if transfer.attempt % ATTEMPTS == 0:
        ledger.change_transfer(transfer.submission, state=TransferState.FAILED, reason=reason)
        raise CopyError(
            f"{ATTEMPTS} transfers failed, the last: {reason}",
            where=f"{move.source.name} to {move.target.name}, task {transfer.task}",
            remedy="See to it, then materialise this again; what arrived right is not sent again",
        )
    next_at = ledger.clock() + pause(transfer.attempt % ATTEMPTS)
    submission = _submission(service)
    new = ledger.replace_transfer(transfer, TransferState.FAILED, reason, submission, transfer.bytes_total, next_at)
    ledger.change_transfer(new.submission, reason=f"transfer {transfer.attempt} failed: {reason}")
    return Waits(f"transfer {transfer.attempt} failed: {reason}")


def _see(ledger: Ledger, transfer: Transfer, service: Transfers) -> TransferSeen:
    try:
        seen = service.look(transfer.task)
    except (CopyError, NotFoundError) as error:  # no right to ask, or no log-in: a person mends it, and it goes on
        given_up = ledger.clock() - transfer.changed_at > REFUSED_FOR
        phase = TransferPhase.FAILED if given_up else TransferPhase.PAUSED
        seen = TransferSeen(phase, str(error), transfer.bytes_moved)
    state = _STATES.get(seen.phase)
    ledger.change_transfer(transfer.submission, state=state, reason=seen.reason, bytes_moved=seen.bytes_moved)
    return seen


def _of_errand(ledger: Ledger, move: Move) -> list[Transfer]:
    of = move.version
    found = ledger.transfers_of(of.beamline, of.run_key, of.version)
    return [each for each in found if (each.purpose, each.target) == (move.purpose, move.target.name)]


def _now(ledger: Ledger, move: Move, transfer: Transfer) -> Transfer:
    return next(each for each in _of_errand(ledger, move) if each.submission == transfer.submission)


def _bytes_of(move: Move, paths: dict[str, str]) -> int:
    return sum(entry.size_bytes for entry in move.version.manifest.files if entry.path in paths)


def _submission(service: Transfers) -> str:
    """An id of the service; while it is down a word that stands for one, so that what is wanted is known."""
    try:
        return service.new_submission()
    except UnreachableError:
        return _UNASKED + secrets.token_hex(16)


def _label(move: Move) -> str:
    return f"{move.version.beamline} {move.version.run_key} v{move.version.version} {move.purpose}"
