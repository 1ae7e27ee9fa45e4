"""The only unlink of retained data. It takes a proof, and writes intent and tombstone before the first byte goes.

Each file goes under the ledger's lock: the lease (with its fencing number) is still ours, no hold stands, the proof has
not expired, and the file is the very one that was read for the proof. Whatever else lies there stays and is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from xpcs_assets.copies.clock import Stopwatch, boot_time_s
from xpcs_assets.copies.ledger import Copy, CopyState, Lease, Ledger, RemovalKind
from xpcs_assets.errors import RemovalRefusedError, XpcsAssetsError
from xpcs_assets.places.place import Place
from xpcs_assets.prune.plan import situation_of
from xpcs_assets.prune.proof import RemovalProof, prove
from xpcs_assets.prune.rules import Stays, judge
from xpcs_assets.runs.retention import Retention

PURPOSE = "prune"
LEASE_S = 3600.0


@dataclass(frozen=True)
class Removed:
    """What a removal did.

    Attributes
    ----------
    copy
        The copy, in the state that the ledger has it in now.
    intent
        Number of the removal's lines in the ledger.
    files, size_bytes
        What went.
    kept
        Paths of the manifest that stayed, each with the reason.
    strangers
        Files beside it that are not of the manifest: never touched.
    """

    copy: Copy
    intent: int
    files: int
    size_bytes: int
    kept: tuple[tuple[str, str], ...]
    strangers: tuple[str, ...]


def prune_copy(
    ledger: Ledger,
    copy: Copy,
    places: Mapping[str, Place],
    retention: Retention | None,
    *,
    catalogued: bool,
    holder: str,
    by: str,
    reason: str,
    stopwatch: Stopwatch = boot_time_s,
) -> Removed:
    """Judge a copy, prove that it may go, and remove it, alone with the run from the first to the last.

    Done again after a crash it finishes what was begun.

    Parameters
    ----------
    places
        Every place of the beamline by name.
    retention
        The word of the copy's place; None refuses.
    catalogued
        Whether the catalog was asked now and has the version.
    holder, by, reason
        Of the lease; who wants this, and why.

    Raises
    ------
    RemovalRefusedError
        It stays; the message has every reason.
    RefusedError
        Somebody works on the run, or a hold was set meanwhile.
    CopyError, LedgerError
        The removal ended half-way: the copy is marked as partly removed; repeat it.
    """
    with ledger.lease(copy.beamline, copy.run_key, PURPOSE, holder, LEASE_S) as lease:
        known = ledger.copies(copy.beamline, copy.run_key, copy.version)
        current = next((row for row in known if (row.place, row.path) == (copy.place, copy.path)), None)
        if current is None or retention is None:
            raise _refused(copy, ("the ledger or the site's settings no longer know it",))
        judgement = judge(situation_of(ledger, current, retention, catalogued, lease))
        if isinstance(judgement, Stays):
            raise _refused(current, judgement.reasons)
        manifest = ledger.version(copy.beamline, copy.run_key, copy.version).manifest
        proof = prove(
            current,
            manifest,
            known,
            places,
            retention,
            on_file=partial(ledger.renew, lease, LEASE_S),
            on_finding=partial(_mark, ledger),
            stopwatch=stopwatch,
        )
        return remove_copy(ledger, proof, lease, places, by=by, reason=reason)


def remove_copy(
    ledger: Ledger, proof: RemovalProof, lease: Lease, places: Mapping[str, Place], *, by: str, reason: str
) -> Removed:
    """Remove the files that a proof covers; see :func:`prune_copy`, which makes the proof.

    Parameters
    ----------
    lease
        The prune lease on the run.
    """
    copy = proof.victim
    _refuse_lost(ledger, proof)
    before = CopyState.PART_REMOVED if proof.gone else copy.state
    intent = ledger.intend_removal(
        copy.beamline,
        copy.run_key,
        copy.version,
        place=copy.place,
        path=copy.path,
        by=by,
        detail={"reason": reason, "files": len(proof.files), "lease": lease.fencing, "holder": lease.holder},
    )
    ledger.record_tombstone(intent.id, proof.to_dict())
    gone: list[str] = []
    kept = list(proof.kept)
    try:
        proof.confirm(places)
        _mark(ledger, copy, CopyState.PART_REMOVED, f"removal {intent.id} is under way")
        _unlink(ledger, proof, lease, places[copy.place], gone, kept)
    except XpcsAssetsError as error:
        state = CopyState.PART_REMOVED if gone else before
        _mark(ledger, copy, state, f"removal {intent.id} ended early: {error.what}")
        ledger.record_outcome(intent.id, {"state": state.value, "removed": gone, "error": str(error)})
        raise
    strangers = _strangers(places[copy.place], copy, proof)
    state, why = _state_after(proof, gone, kept, intent.id)
    row = _mark(ledger, copy, state, why)
    size_bytes = sum(file.signature.size_bytes for file in proof.files if file.path in set(gone))
    ledger.record_outcome(
        intent.id,
        {"state": state.value, "removed": gone, "size_bytes": size_bytes, "kept": kept, "strangers": list(strangers)},
    )
    ledger.note(copy.beamline, copy.run_key, "pruned", f"{len(gone)} files removed from {copy.place}", {"why": why})
    return Removed(row, intent.id, len(gone), size_bytes, tuple(kept), strangers)


def _refuse_lost(ledger: Ledger, proof: RemovalProof) -> None:
    """Refuse to call removed what no removal took: it was lost, or its disk is not mounted."""
    copy = proof.victim
    begun = any(
        (line.version, line.place, line.path) == (copy.version, copy.place, copy.path) and line.at >= copy.recorded_at
        for line in ledger.removals(copy.beamline, copy.run_key, RemovalKind.TOMBSTONE)
    )
    if proof.gone and not begun:
        why = f"{len(proof.gone)} of its files are gone, and no removal took them"
        _mark(ledger, copy, CopyState.LOST, why)
        raise _refused(copy, (why,))


def _unlink(
    ledger: Ledger,
    proof: RemovalProof,
    lease: Lease,
    place: Place,
    gone: list[str],
    kept: list[tuple[str, str]],
) -> None:
    for file in proof.files:
        with ledger.guard(lease, LEASE_S):
            now = place.stat(file.path)
            if now.signature != file.signature:
                kept.append((file.path, now.reason or "it changed after the proof was made"))
                continue
            if place.remove(file.path, proof):
                gone.append(file.path)


def _state_after(
    proof: RemovalProof, gone: list[str], kept: list[tuple[str, str]], intent: int
) -> tuple[CopyState, str]:
    if not kept:
        return CopyState.REMOVED, f"removal {intent}"
    why = f"removal {intent}: " + "; ".join(f"{path}: {reason}" for path, reason in kept)
    return (CopyState.PART_REMOVED if gone or proof.gone else CopyState.BAD), why


def _strangers(place: Place, copy: Copy, proof: RemovalProof) -> tuple[str, ...]:
    if copy.path in {"", "."}:
        return ()  # the run lies among others in the place's root: what is beside it is no stranger
    listing = place.list(copy.path)
    ours = {path for path, _ in proof.kept} | {file.path for file in proof.files}
    return tuple(path for path in (*listing.files, *listing.others) if path not in ours)


def _mark(ledger: Ledger, copy: Copy, state: CopyState, reason: str) -> Copy:
    where = {"place": copy.place, "path": copy.path}
    return ledger.mark_copy(copy.beamline, copy.run_key, copy.version, **where, state=state, reason=reason)


def _refused(copy: Copy, reasons: tuple[str, ...]) -> RemovalRefusedError:
    return RemovalRefusedError(
        f"the copy stays: {'; '.join(reasons)}",
        where=f"{copy.beamline}/{copy.run_key}/v{copy.version} in {copy.place}",
        remedy="`xpcs-assets prune --dry-run` lists what may go",
    )
