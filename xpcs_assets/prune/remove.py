"""The only unlink of retained data. It takes a proof, and writes intent and tombstone before the first byte goes.

Each file goes under the ledger's lock: the lease (with its fencing number) is still ours, no hold stands, the proof has
not expired, and the file is the very one that was read for the proof. Whatever else lies there stays and is reported.
Where the place has a trash, files are moved there in the same way, and unlinked after the grace period behind a proof
of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from xpcs_assets.copies.clock import Stopwatch, boot_time_s
from xpcs_assets.copies.ledger import Aside, AsideEnd, Copy, CopyState, Lease, Ledger, RemovalKind, Seen
from xpcs_assets.errors import RemovalRefusedError, XpcsAssetsError
from xpcs_assets.places.place import Place
from xpcs_assets.prune.plan import situation_of
from xpcs_assets.prune.proof import RemovalProof, prove
from xpcs_assets.prune.rules import Eligible, Stays, judge, judge_emptying
from xpcs_assets.prune.trash import LEASE_S, PURPOSE, in_trash, write_down
from xpcs_assets.runs.manifest import FileEntry, Manifest
from xpcs_assets.runs.retention import Retention


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

    Done again after a crash it finishes what was begun. Where the retention has a trash, the files are moved there.

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
    stopwatch
        How long this machine has run, s.

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
        seen, rule = _known(ledger, copy, retention, stopwatch)
        _refuse_unless(seen.copy, judge(situation_of(ledger, seen, rule, catalogued, lease)))
        proof = _prove(ledger, seen, places, rule, lease, stopwatch)
        return remove_copy(ledger, proof, lease, places, by=by, reason=reason, to_trash=rule.trash_for_s > 0)


def empty_trash(
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
    """Unlink what lies of a copy in its place's trash, once the grace period is over, behind a proof made now.

    Parameters and errors are those of :func:`prune_copy`.
    """
    with ledger.lease(copy.beamline, copy.run_key, PURPOSE, holder, LEASE_S) as lease:
        seen, rule = _known(ledger, copy, retention, stopwatch)
        rows = in_trash(ledger, seen.copy)
        if not rows:
            raise _refused(copy, ("nothing of it lies in the trash",))
        situation = situation_of(ledger, seen, rule, catalogued, lease)
        _refuse_unless(seen.copy, judge_emptying(situation, max(row.at for row in rows)))
        manifest = ledger.version(copy.beamline, copy.run_key, copy.version).manifest
        files = _trash_files(seen.copy, manifest, rows)
        proof = _prove(ledger, seen, places, rule, lease, stopwatch, files)
        return _empty(ledger, proof, lease, places[copy.place], rows, by=by, reason=reason)


def _known(ledger: Ledger, copy: Copy, retention: Retention | None, stopwatch: Stopwatch) -> tuple[Seen, Retention]:
    seen = ledger.copy_seen(copy)
    if seen is None or retention is None:
        raise _refused(copy, ("the ledger or the site's settings no longer know it",))
    if doubt := ledger.doubt_clock(stopwatch):
        raise _refused(copy, (doubt,))
    return seen, retention


def _refuse_unless(copy: Copy, judgement: Eligible | Stays) -> None:
    if isinstance(judgement, Stays):
        raise _refused(copy, judgement.reasons)


def _prove(
    ledger: Ledger,
    seen: Seen,
    places: Mapping[str, Place],
    retention: Retention,
    lease: Lease,
    stopwatch: Stopwatch,
    files: Sequence[tuple[str, FileEntry]] | None = None,
) -> RemovalProof:
    copy = seen.copy
    return prove(
        copy,
        ledger.version(copy.beamline, copy.run_key, copy.version).manifest,
        (copy, *seen.others),
        places,
        retention,
        files=files,
        on_file=partial(ledger.renew, lease, LEASE_S),
        on_finding=partial(_mark, ledger),
        stopwatch=stopwatch,
    )


def _trash_files(copy: Copy, manifest: Manifest, rows: Sequence[Aside]) -> list[tuple[str, FileEntry]]:
    """Where in the trash each file of the manifest lies; a file of a second stay may lie there twice."""
    entries = {str(PurePosixPath(copy.path) / entry.path): entry for entry in manifest.files}
    return [(row.aside_path, entries[row.path]) for row in rows]


def remove_copy(
    ledger: Ledger,
    proof: RemovalProof,
    lease: Lease,
    places: Mapping[str, Place],
    *,
    by: str,
    reason: str,
    to_trash: bool = False,
) -> Removed:
    """Remove the files that a proof covers, or move them to the trash; see :func:`prune_copy`, which makes the proof.

    Parameters
    ----------
    lease
        The prune lease on the run.
    """
    copy, place = proof.victim, places[proof.victim.place]
    _refuse_lost(ledger, proof)
    before = CopyState.PART_REMOVED if proof.gone else copy.state
    intent = ledger.intend_removal(
        copy.beamline,
        copy.run_key,
        copy.version,
        place=copy.place,
        path=copy.path,
        by=by,
        detail={
            "reason": reason,
            "files": len(proof.files),
            "lease": lease.fencing,
            "holder": lease.holder,
            "to_trash": to_trash,
        },
    )
    ledger.record_tombstone(intent.id, proof.to_dict())
    gone: list[str] = []
    kept = list(proof.kept)
    try:
        proof.confirm(places)
        _mark(ledger, copy, CopyState.PART_REMOVED, f"removal {intent.id} is under way")
        act = partial(place.remove, permit=proof)
        if to_trash:
            labels = write_down(ledger, copy, proof.files, place, intent.id)
            act = partial(_to_trash, place, proof, labels)
        _take(ledger, proof, lease, place, gone, kept, act)
    except XpcsAssetsError as error:
        state = CopyState.PART_REMOVED if gone else before
        _mark(ledger, copy, state, f"removal {intent.id} ended early: {error.what}")
        ledger.record_outcome(intent.id, {"state": state.value, "removed": gone, "error": str(error)})
        raise
    strangers = _strangers(place, copy, proof)
    state, why = _state_after(proof, gone, kept, intent.id, to_trash=to_trash)
    row = _mark(ledger, copy, state, why)
    size_bytes = _bytes_of(proof, gone)
    ledger.record_outcome(
        intent.id,
        {"state": state.value, "removed": gone, "size_bytes": size_bytes, "kept": kept, "strangers": list(strangers)},
    )
    what = "moved to the trash of" if to_trash else "removed from"
    ledger.note(copy.beamline, copy.run_key, "pruned", f"{len(gone)} files {what} {copy.place}", {"why": why})
    return Removed(row, intent.id, len(gone), size_bytes, tuple(kept), strangers)


def _empty(
    ledger: Ledger, proof: RemovalProof, lease: Lease, place: Place, rows: Sequence[Aside], *, by: str, reason: str
) -> Removed:
    copy, intent = proof.victim, max(row.intent or 0 for row in rows)
    ledger.record_tombstone(intent, proof.to_dict() | {"trash": True, "reason": reason, "emptied_by": by})
    gone: list[str] = []
    kept = list(proof.kept)
    error, after = "", copy
    try:
        _take(ledger, proof, lease, place, gone, kept, partial(place.remove, permit=proof))
        # Before the lines about the files end: as long as one is open, a repetition comes here again.
        after = _mark_emptied(ledger, copy, kept, intent)
    except XpcsAssetsError as refusal:
        error = str(refusal)
        raise
    finally:
        ledger.end_aside([row.id for row in rows if row.aside_path in gone], AsideEnd.REMOVED)
        ledger.record_outcome(intent, {"trash": True, "removed": gone, "kept": kept, "error": error})
    ledger.end_aside([row.id for row in rows if row.aside_path in proof.gone], AsideEnd.GONE)
    ledger.note(copy.beamline, copy.run_key, "pruned", f"{len(gone)} files removed from the trash of {copy.place}")
    return Removed(after, intent, len(gone), _bytes_of(proof, gone), tuple(kept), ())


def _mark_emptied(ledger: Ledger, copy: Copy, kept: Sequence[tuple[str, str]], intent: int) -> Copy:
    """Say what became of a copy in the trash; one that is half removed, or staged again meanwhile, stays what it is."""
    if copy.state is not CopyState.IN_TRASH:
        return copy
    state = CopyState.IN_TRASH if kept else CopyState.REMOVED
    why = "; ".join(f"{path}: {reason}" for path, reason in kept) or "the trash was emptied"
    return _mark(ledger, copy, state, f"removal {intent}: {why}")


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


def _take(
    ledger: Ledger,
    proof: RemovalProof,
    lease: Lease,
    place: Place,
    gone: list[str],
    kept: list[tuple[str, str]],
    act: Callable[[str], bool],
) -> None:
    """Do ``act`` to one file after the other, each under the ledger's lock and only while it is what was read."""
    for file in proof.files:
        with ledger.guard(lease, LEASE_S):
            now = place.stat(file.path)
            if now.signature != file.signature:
                kept.append((file.path, now.reason or "it changed after the proof was made"))
            elif act(file.path):
                gone.append(file.path)


def _to_trash(place: Place, proof: RemovalProof, labels: Mapping[str, str], path: str) -> bool:
    place.set_aside(path, labels[path], proof)
    return True


def _bytes_of(proof: RemovalProof, paths: Sequence[str]) -> int:
    these = set(paths)
    return sum(file.signature.size_bytes for file in proof.files if file.path in these)


def _state_after(
    proof: RemovalProof, gone: list[str], kept: list[tuple[str, str]], intent: int, *, to_trash: bool
) -> tuple[CopyState, str]:
    if not kept:
        return (CopyState.IN_TRASH if to_trash else CopyState.REMOVED), f"removal {intent}"
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
