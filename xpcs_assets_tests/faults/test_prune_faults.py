"""Pruning under faults: killed, stopped, refused by the system, or with others at the run."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from xpcs_assets.copies.clock import boot_time_s
from xpcs_assets.copies.ledger import CopyState, Lease, Ledger, RemovalKind
from xpcs_assets.errors import RefusedError, RemovalRefusedError, XpcsAssetsError
from xpcs_assets.places.place import RemovalPermit
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.prune.proof import prove
from xpcs_assets.prune.remove import PURPOSE, remove_copy
from xpcs_assets.prune.trash import in_trash, put_back_copy
from xpcs_assets.runs.folders import ASIDE_FOLDER
from xpcs_assets.testing.faults import FailAt, FaultySyscalls, in_children
from xpcs_assets_tests.faults.everywhere import KILLS, Killed, Onlooker, Runner, everywhere, prepared, reopened
from xpcs_assets_tests.storage import BEAMLINE, FILES, KEEP_S, RETENTION, RUN, Storage

GRACE_S = 7200.0
TRASH = replace(RETENTION, trash_for_s=GRACE_S)


def to_trash(storage: Storage) -> None:
    storage.prune("detector", TRASH)


def empty(storage: Storage) -> None:
    storage.clock.advance(GRACE_S)
    storage.empty_trash("detector", TRASH)


def back(storage: Storage) -> None:
    put_back_copy(storage.ledger, storage.copy("detector"), storage.places["detector"], holder="test")


def trash(storage: Storage) -> list[bytes]:
    """What lies in the detector's trash, a file with two names in it once."""
    found = {path.stat().st_ino: path for path in (storage.detector.root / ASIDE_FOLDER).rglob("*") if path.is_file()}
    return sorted(path.read_bytes() for path in found.values())


def nothing_is_lost(storage: Storage) -> None:
    """The staged copy is whole, and every file of the detector's copy is in its place or in the trash."""
    assert storage.files_at("disk") == FILES
    left = [data for path, data in FILES.items() if path not in storage.files_at("detector")]
    assert all(data in trash(storage) for data in left)
    assert all(FILES[path] == data for path, data in storage.files_at("detector").items())


@pytest.mark.parametrize("kill", KILLS)
def test_f40_a_move_to_the_trash_killed_anywhere_loses_nothing_and_is_finished(
    quick_folder: Path, kill: Runner | Onlooker
) -> None:
    moved = False
    for killed in everywhere(prepared(quick_folder, lambda storage: storage.fill()), to_trash, kill):
        storage = reopened(killed.root)
        nothing_is_lost(storage)
        written = {row.path for row in in_trash(storage.ledger, storage.copy("detector"))}
        missing = {f"{RUN}/{path}" for path in FILES.keys() - storage.files_at("detector").keys()}
        assert missing <= written, "a file is in the trash of which no line was written before"
        if missing:
            moved = True
            kinds = [line.kind for line in storage.ledger.removals(BEAMLINE, RUN)]
            assert RemovalKind.TOMBSTONE in kinds
        if storage.copy("detector").state is not CopyState.IN_TRASH:
            storage.prune("detector", TRASH, holder="another process")
        assert storage.copy("detector").state is CopyState.IN_TRASH
        assert (storage.files_at("detector"), trash(storage)) == ({}, sorted(FILES.values()))
        storage.close()
    assert moved, "no kill fell after the first move"


def _in_trash(storage: Storage) -> None:
    storage.fill()
    to_trash(storage)


@pytest.mark.parametrize("kill", KILLS)
def test_f40_emptying_the_trash_killed_anywhere_never_goes_below_min_copies(
    quick_folder: Path, kill: Runner | Onlooker
) -> None:
    gone = False
    for killed in everywhere(prepared(quick_folder, _in_trash), empty, kill):
        storage = reopened(killed.root)
        assert storage.files_at("disk") == FILES
        gone |= trash(storage) != sorted(FILES.values())
        if in_trash(storage.ledger, storage.copy("detector")):  # what the planner asks by
            storage.clock.advance(GRACE_S)
            storage.empty_trash("detector", TRASH, holder="another process")
        assert storage.copy("detector").state is CopyState.REMOVED
        assert (trash(storage), in_trash(storage.ledger, storage.copy("detector"))) == ([], ())
        assert storage.files_at("disk") == FILES
        storage.close()
    assert gone, "no kill fell after the first unlink"


@pytest.mark.parametrize("kill", KILLS)
def test_f40_putting_back_killed_anywhere_loses_nothing_and_is_finished(
    quick_folder: Path, kill: Runner | Onlooker
) -> None:
    def ends_well(killed: Killed) -> None:
        storage = reopened(killed.root)
        nothing_is_lost(storage)
        if storage.copy("detector").state is not CopyState.PRESENT:
            put_back_copy(storage.ledger, storage.copy("detector"), storage.detector, holder="another process")
        assert (storage.files_at("detector"), trash(storage)) == (FILES, [])
        storage.close()

    for killed in everywhere(prepared(quick_folder, _in_trash), back, kill):
        ends_well(killed)


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EPERM, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("retention", [RETENTION, TRASH], ids=["unlink", "trash"])
def test_f50_a_system_that_refuses_half_way_is_told_and_the_rest_goes_later(
    quick_folder: Path, code: int, retention: object
) -> None:
    root = prepared(quick_folder, lambda storage: storage.fill())
    fault = FailAt(2, code, frozenset({"unlink"}))
    storage = Storage(root, FaultySyscalls(fault))
    storage.clock.advance(KEEP_S)
    with pytest.raises(XpcsAssetsError):
        storage.prune("detector", retention)  # type: ignore[arg-type]
    assert fault.failed == "unlink"
    assert storage.copy("detector").state is CopyState.PART_REMOVED
    assert len(storage.files_at("detector")) == 2
    outcome = storage.ledger.removals(BEAMLINE, RUN, RemovalKind.OUTCOME)[-1].detail
    assert (outcome["state"], len(outcome["removed"])) == ("part removed", 1)
    storage.close()
    again = reopened(root)
    ended = again.prune("detector", retention)  # type: ignore[arg-type]
    assert (ended.copy.state, again.files_at("detector")) == (
        CopyState.REMOVED if retention is RETENTION else CopyState.IN_TRASH,
        {},
    )
    again.close()


def test_f50_a_file_that_is_gone_at_the_unlink_is_no_error(quick_folder: Path) -> None:
    root = prepared(quick_folder, lambda storage: storage.fill())
    storage = Storage(root, FaultySyscalls(FailAt(2, errno.ENOENT, frozenset({"unlink"}))))
    storage.clock.advance(KEEP_S)
    removed = storage.prune()
    assert (removed.files, removed.copy.state) == (2, CopyState.REMOVED)
    storage.close()


STOPPED_FOR_S = 3.2


class StopsItself(PosixPlace):
    """A place whose process is stopped before its second removal, until another process continues it."""

    left = 2

    def remove(self, path: str, permit: RemovalPermit) -> bool:
        self.left -= 1
        if self.left == 0:
            waker = subprocess.Popen(["sh", "-c", f"sleep {STOPPED_FOR_S}; kill -CONT {os.getpid()}"])
            os.kill(os.getpid(), signal.SIGSTOP)
            waker.wait()
        return super().remove(path, permit)


def test_f41_a_process_stopped_past_the_proof_s_end_removes_nothing_more(quick_folder: Path) -> None:
    root = prepared(quick_folder, lambda storage: storage.fill())

    def child() -> None:
        storage = Storage(root)
        storage.clock.advance(KEEP_S)
        storage.places["detector"] = StopsItself("detector", storage.detector.root, "detector room")
        lease = storage.ledger.take_lease(BEAMLINE, RUN, PURPOSE, "one", 3600)
        others = storage.ledger.copies(BEAMLINE, RUN, 1)
        proof = prove(
            storage.copy("detector"),
            storage.manifest,
            others,
            storage.places,
            RETENTION,
            valid_for_s=STOPPED_FOR_S - 0.2,
        )
        with pytest.raises(RemovalRefusedError, match="the proof has expired"):
            remove_copy(storage.ledger, proof, lease, storage.places, by="operator", reason="retention")
        assert boot_time_s() > proof.expires_at_s

    assert in_children(child) == [0]
    storage = reopened(root)
    assert (len(storage.files_at("detector")), storage.copy("detector").state) == (2, CopyState.PART_REMOVED)
    assert storage.prune(holder="another process").files == 2  # behind a new proof
    storage.close()


@pytest.mark.parametrize("purpose", ["stage", "correlate", "archive", "retrieve", "transfer", "view"])
def test_f39_whatever_is_at_work_on_the_run_keeps_its_copies(quick_folder: Path, purpose: str) -> None:
    storage = Storage.build(quick_folder / "site").fill()
    for place in ("detector", "disk"):
        with (
            storage.ledger.lease(BEAMLINE, RUN, purpose, "somebody", 60),
            pytest.raises(RefusedError, match=rf"somebody works on it \({purpose}\)"),
        ):
            storage.prune(place)
    assert storage.files_at("detector") == storage.files_at("disk") == FILES
    storage.close()


def test_f39_nobody_begins_to_work_on_a_run_while_a_copy_of_it_goes(quick_folder: Path) -> None:
    storage = Storage.build(quick_folder / "site").fill()
    refused: list[str] = []

    class Meddled(PosixPlace):
        def stat(self, path: str) -> object:  # type: ignore[override]
            if not refused:
                with pytest.raises(RefusedError, match=r"works on it \(prune\)") as caught:
                    storage.ledger.take_lease(BEAMLINE, RUN, "correlate", "worker", 60)
                refused.append(str(caught.value))
            return super().stat(path)

    storage.places["disk"] = Meddled("disk", storage.disk.root, "disk room")
    assert storage.prune().copy.state is CopyState.REMOVED
    assert len(refused) == 1
    storage.close()


def test_f49_a_hold_set_while_a_copy_goes_keeps_the_rest_of_it(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = prepared(quick_folder, lambda storage: storage.fill())
    storage = Storage(root)
    storage.clock.advance(KEEP_S)
    guard, calls = Ledger.guard, count(1)

    def hold() -> None:
        Storage(root).ledger.hold(BEAMLINE, RUN, "wanted", "a scientist")

    def guarded(ledger: Ledger, lease: Lease, for_s: float) -> AbstractContextManager[None]:
        if next(calls) == 2:  # another process holds the run before the second file goes
            assert in_children(hold) == [0]
        return guard(ledger, lease, for_s)

    monkeypatch.setattr(Ledger, "guard", guarded)
    with pytest.raises(RefusedError, match="a scientist holds it: wanted"):
        storage.prune()
    assert (len(storage.files_at("detector")), storage.copy("detector").state) == (2, CopyState.PART_REMOVED)
    monkeypatch.undo()
    with pytest.raises(RemovalRefusedError, match="a scientist holds it"):
        storage.prune()
    storage.ledger.release(BEAMLINE, RUN, "a scientist")
    assert storage.prune().copy.state is CopyState.REMOVED
    storage.close()
