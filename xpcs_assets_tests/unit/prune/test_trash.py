"""The trash: into it, out of it again, and the end of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from xpcs_assets.copies.ledger import CopyState, RemovalKind
from xpcs_assets.errors import CopyError, NotVerifiedError, RefusedError, RemovalRefusedError
from xpcs_assets.places.place import RemovalPermit
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.prune.trash import in_trash, put_back_copy
from xpcs_assets.runs.folders import ASIDE_FOLDER
from xpcs_assets_tests.storage import BEAMLINE, FILES, KEEP_S, RETENTION, RUN, Storage

GRACE_S = 86400.0
TRASH = replace(RETENTION, trash_for_s=GRACE_S)
MICROSECOND = timedelta(microseconds=1)


def to_trash(storage: Storage, place: str = "detector") -> None:
    assert storage.prune(place, TRASH).copy.state is CopyState.IN_TRASH


def trash(storage: Storage) -> dict[str, bytes]:
    """What lies in the detector's trash, by the path below each removal."""
    folder = storage.detector.root / ASIDE_FOLDER
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def back(storage: Storage) -> None:
    put_back_copy(storage.ledger, storage.copy("detector"), storage.places["detector"], holder="test")


def expected(intent: int = 1) -> dict[str, bytes]:
    return {f"removal-{intent}/{RUN}/{path}": data for path, data in FILES.items()}


def test_a_removal_goes_to_the_trash_behind_the_same_proof(storage: Storage) -> None:
    removed = storage.prune("detector", TRASH)
    assert (removed.files, removed.size_bytes) == (3, sum(map(len, FILES.values())))
    assert (storage.files_at("detector"), trash(storage)) == ({}, expected())
    assert storage.copy("detector").state is CopyState.IN_TRASH
    rows = in_trash(storage.ledger, storage.copy("detector"))
    assert {(row.path, row.intent) for row in rows} == {(f"{RUN}/{path}", removed.intent) for path in FILES}
    kinds = [line.kind.value for line in storage.ledger.removals(BEAMLINE, RUN)]
    assert kinds == ["intent", "tombstone", "outcome"]
    assert storage.ledger.timeline(BEAMLINE, RUN)[-1].what == "3 files moved to the trash of detector"


def test_a_copy_in_the_trash_is_no_copy_and_is_not_removed_twice(storage: Storage) -> None:
    to_trash(storage)
    with pytest.raises(RemovalRefusedError, match="the copy is in trash"):
        storage.prune("detector", TRASH)
    with pytest.raises(RemovalRefusedError, match="1 other verified copies"):
        storage.prune("disk", TRASH)
    with pytest.raises(RemovalRefusedError, match="1 other copies are right"):
        _without_rules(storage, "disk")
    assert storage.copy("detector").state is CopyState.IN_TRASH


def _without_rules(storage: Storage, place: str) -> None:
    from xpcs_assets.prune.proof import prove

    prove(storage.copy(place), storage.manifest, storage.ledger.copies(BEAMLINE, RUN, 1), storage.places, TRASH)


@pytest.mark.parametrize(("offset", "goes"), [(-MICROSECOND, False), (timedelta(0), True), (MICROSECOND, True)])
def test_the_trash_is_emptied_when_the_grace_is_over_and_not_before(
    storage: Storage, offset: timedelta, goes: bool
) -> None:
    to_trash(storage)
    storage.clock.advance(GRACE_S)
    storage.clock.now += offset
    if not goes:
        with pytest.raises(RemovalRefusedError, match="the trash keeps it until"):
            storage.empty_trash(retention=TRASH)
        assert trash(storage) == expected()
        return
    emptied = storage.empty_trash(retention=TRASH)
    assert (emptied.files, emptied.copy.state, trash(storage)) == (3, CopyState.REMOVED, {})
    assert not (storage.detector.root / ASIDE_FOLDER / "removal-1").exists()
    assert in_trash(storage.ledger, emptied.copy) == ()
    tombstone = storage.ledger.removals(BEAMLINE, RUN, RemovalKind.TOMBSTONE)[-1]
    assert (tombstone.detail["trash"], len(tombstone.detail["witnesses"])) == (True, 2)
    with pytest.raises(RemovalRefusedError, match="nothing of it lies in the trash"):
        storage.empty_trash(retention=TRASH)


def ripe(storage: Storage) -> None:
    to_trash(storage)
    storage.clock.advance(GRACE_S)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s.ledger.hold(BEAMLINE, RUN, "paper", "a scientist"), "a scientist holds it"),
        (lambda s: (s.target.raw / "A001.imm").unlink(), "1 other copies are right"),
        (lambda s: (s.target.raw / "A001.imm").write_bytes(b"x"), "1 other copies are right"),
        (lambda s: s.tape.root.rename(s.root / "away"), "1 other copies are right"),
        (lambda s: s.ledger.take_lease(BEAMLINE, RUN, "view", "viewer", 60), "viewer works on it"),
    ],
)
def test_emptying_needs_a_proof_of_its_own(storage: Storage, change: Callable[[Storage], object], reason: str) -> None:
    ripe(storage)
    change(storage)
    with pytest.raises(RefusedError, match=reason):
        storage.empty_trash(retention=TRASH)
    assert trash(storage) == expected()
    assert storage.copy("detector").state is CopyState.IN_TRASH


def test_no_retention_and_a_clock_that_jumped_keep_the_trash(storage: Storage) -> None:
    to_trash(storage)
    with pytest.raises(RemovalRefusedError, match="no longer know it"):
        storage.empty_trash(retention=None)  # type: ignore[arg-type]
    storage.clock.now += timedelta(days=3650)
    with pytest.raises(RemovalRefusedError, match="xpcs-assets clock --accept"):
        storage.empty_trash(retention=TRASH)
    assert trash(storage) == expected()


def test_bytes_in_the_trash_that_changed_are_kept_and_told(storage: Storage) -> None:
    ripe(storage)
    (storage.detector.root / ASIDE_FOLDER / "removal-1" / RUN / "A001.imm").write_bytes(b"other")
    emptied = storage.empty_trash(retention=TRASH)
    assert (emptied.files, len(emptied.kept), emptied.copy.state) == (2, 1, CopyState.IN_TRASH)
    assert "A001.imm: it holds other bytes" in emptied.copy.reason
    assert trash(storage) == {f"removal-1/{RUN}/A001.imm": b"other"}


def test_a_file_that_somebody_took_out_of_the_trash_is_no_error(storage: Storage) -> None:
    ripe(storage)
    (storage.detector.root / ASIDE_FOLDER / "removal-1" / RUN / "A001.imm").unlink()
    emptied = storage.empty_trash(retention=TRASH)
    assert (emptied.files, emptied.copy.state) == (2, CopyState.REMOVED)
    assert in_trash(storage.ledger, emptied.copy) == ()


def test_what_was_put_back_is_read_and_counts_again_for_its_whole_time(storage: Storage) -> None:
    to_trash(storage)
    storage.clock.advance(60)
    back(storage)
    copy = storage.copy("detector")
    assert (copy.state, copy.recorded_at, copy.verified_at) == (CopyState.PRESENT, storage.clock.now, storage.clock.now)
    assert (storage.files_at("detector"), trash(storage)) == (FILES, {})
    assert in_trash(storage.ledger, copy) == ()
    with pytest.raises(RemovalRefusedError, match="its place keeps it until"):
        storage.prune("detector", TRASH)
    with pytest.raises(RefusedError, match="the copy is present: nothing is put back"):
        back(storage)
    storage.clock.advance(KEEP_S)
    to_trash(storage)
    assert set(trash(storage)) == set(expected(4))


def test_a_hold_does_not_keep_a_copy_from_coming_back(storage: Storage) -> None:
    to_trash(storage)
    storage.ledger.hold(BEAMLINE, RUN, "paper", "a scientist")
    back(storage)
    assert storage.files_at("detector") == FILES


def test_what_does_not_come_back_whole_is_no_copy(storage: Storage) -> None:
    to_trash(storage)
    (storage.detector.root / ASIDE_FOLDER / "removal-1" / RUN / "A001.imm").write_bytes(b"other")
    with pytest.raises(NotVerifiedError, match="not the whole copy"):
        back(storage)
    assert storage.copy("detector").state is CopyState.PART_REMOVED
    storage.clock.advance(GRACE_S)
    storage.empty_trash(retention=TRASH)
    assert storage.copy("detector").state is CopyState.PART_REMOVED, "its files lie under their names"
    assert len(storage.files_at("detector")) == 3


def test_a_newer_file_under_the_old_name_is_never_overwritten(storage: Storage) -> None:
    to_trash(storage)
    storage.source.mkdir(parents=True)
    (storage.source / "A001.imm").write_bytes(b"newer")
    with pytest.raises(CopyError, match="taken by other bytes"):
        back(storage)
    assert (storage.source / "A001.imm").read_bytes() == b"newer"
    assert f"removal-1/{RUN}/A001.imm" in trash(storage)
    assert storage.copy("detector").state is CopyState.PART_REMOVED
    (storage.source / "A001.imm").unlink()  # a person moves it away
    back(storage)
    assert (storage.files_at("detector"), storage.copy("detector").state) == (FILES, CopyState.PRESENT)


def test_what_was_put_back_in_part_is_no_longer_called_removed_when_the_trash_is_emptied(storage: Storage) -> None:
    to_trash(storage)
    storage.source.mkdir(parents=True)
    (storage.source / "A001_metadata.hdf").write_bytes(b"newer")
    with pytest.raises(CopyError, match="taken by other bytes"):
        back(storage)
    storage.clock.advance(GRACE_S)
    assert storage.empty_trash(retention=TRASH).copy.state is CopyState.PART_REMOVED
    assert trash(storage) == {}
    assert storage.files_at("detector") == {"A001.imm": FILES["A001.imm"], "A001_metadata.hdf": b"newer"}
    assert storage.files_at("disk") == FILES


def test_f17_a_trash_on_another_disk_takes_nothing_and_says_why(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(existing: str, name: str, folder: int, new_folder: int) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), existing)

    monkeypatch.setattr(storage.detector.calls, "link", link)
    with pytest.raises(CopyError, match="another file system"):
        storage.prune("detector", TRASH)
    assert (storage.files_at("detector"), trash(storage)) == (FILES, {})
    assert storage.copy("detector").state is CopyState.PRESENT


def test_a_copy_that_is_unknown_is_not_put_back(storage: Storage) -> None:
    stranger = replace(storage.copy("detector"), path="elsewhere")
    with pytest.raises(RefusedError, match="unknown to the ledger"):
        put_back_copy(storage.ledger, stranger, storage.detector, holder="test")


class Stops(PosixPlace):
    """A place whose second move to the trash fails."""

    left = 2

    def set_aside(self, path: str, label: str, permit: RemovalPermit) -> str:
        self.left -= 1
        if self.left == 0:
            raise CopyError("the device is busy")
        return super().set_aside(path, label, permit)


def half_way(storage: Storage) -> None:
    storage.places["detector"] = Stops("detector", storage.detector.root, "detector room")
    with pytest.raises(CopyError, match="busy"):
        storage.prune("detector", TRASH)
    storage.places["detector"] = storage.detector
    assert storage.copy("detector").state is CopyState.PART_REMOVED
    assert (len(storage.files_at("detector")), len(trash(storage))) == (2, 1)


def test_f50_a_move_that_ended_half_way_is_finished_later(storage: Storage) -> None:
    half_way(storage)
    to_trash(storage)
    assert sorted(data for data in trash(storage).values()) == sorted(FILES.values())
    storage.clock.advance(GRACE_S)
    assert storage.empty_trash(retention=TRASH).files == 3
    assert trash(storage) == {}


def test_f50_a_move_that_ended_half_way_can_be_undone(storage: Storage) -> None:
    half_way(storage)
    back(storage)
    assert (storage.files_at("detector"), storage.copy("detector").state) == (FILES, CopyState.PRESENT)


def test_the_trash_of_a_half_removed_copy_may_be_emptied_and_it_stays_half_removed(storage: Storage) -> None:
    half_way(storage)
    storage.clock.advance(GRACE_S)
    emptied = storage.empty_trash(retention=TRASH)
    assert (emptied.files, emptied.copy.state) == (1, CopyState.PART_REMOVED)
    assert len(storage.files_at("detector")) == 2


def test_a_copy_staged_again_while_its_first_stay_is_in_the_trash_loses_nothing(storage: Storage) -> None:
    to_trash(storage, "disk")
    storage.stage()
    assert storage.copy("disk").recorded_at == storage.clock.now
    storage.clock.advance(KEEP_S)
    to_trash(storage, "disk")
    folder = storage.disk.root / ASIDE_FOLDER
    assert sorted(path.name for path in folder.iterdir()) == ["removal-1", "removal-4"]
    storage.clock.advance(GRACE_S)
    assert storage.empty_trash("disk", TRASH).files == 6
    storage.stage()
    assert storage.copy("disk").state is CopyState.PRESENT


def test_the_trash_of_an_earlier_stay_is_emptied_and_the_new_copy_stays(storage: Storage) -> None:
    to_trash(storage, "disk")
    storage.stage()
    storage.clock.advance(GRACE_S)
    emptied = storage.empty_trash("disk", TRASH)
    assert (emptied.files, emptied.copy.state, storage.files_at("disk")) == (3, CopyState.PRESENT, FILES)


def test_a_trash_that_cannot_be_asked_takes_nothing(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    half_way(storage)
    real = storage.detector.stat

    def away(path: str) -> object:
        from xpcs_assets.places.place import Presence, Stat

        return Stat(Presence.UNKNOWN, reason="stale file handle") if ASIDE_FOLDER in path else real(path)

    monkeypatch.setattr(storage.detector, "stat", away)
    with pytest.raises(CopyError, match="its trash cannot be asked"):
        storage.prune("detector", TRASH)
    assert len(storage.files_at("detector")) == 2


def test_a_place_without_a_trash_keeps_the_copy(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, label: str, permit: RemovalPermit) -> str:
        raise RemovalRefusedError("nothing is moved here")

    monkeypatch.setattr(storage.detector, "set_aside", refuse)
    with pytest.raises(RemovalRefusedError, match="nothing is moved here"):
        storage.prune("detector", TRASH)
    assert (storage.files_at("detector"), storage.copy("detector").state) == (FILES, CopyState.PRESENT)


def test_files_of_other_bytes_beside_the_trash_stay(storage: Storage) -> None:
    (storage.source / "A001.imm").write_bytes(b"a newer measurement")
    removed = storage.prune("detector", TRASH)
    assert (removed.files, removed.copy.state) == (2, CopyState.PART_REMOVED)
    assert storage.files_at("detector") == {"A001.imm": b"a newer measurement"}


def test_the_error_of_emptying_is_written_down_and_what_went_is_gone(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ripe(storage)
    real, left = storage.detector.remove, [2]

    def busy(path: str, permit: RemovalPermit) -> bool:
        left[0] -= 1
        if left[0] == 0:
            raise CopyError("the device is busy")
        return real(path, permit)

    monkeypatch.setattr(storage.detector, "remove", busy)
    with pytest.raises(CopyError, match="busy"):
        storage.empty_trash(retention=TRASH)
    outcome = storage.ledger.removals(BEAMLINE, RUN, RemovalKind.OUTCOME)[-1].detail
    assert (len(outcome["removed"]), "busy" in outcome["error"]) == (1, True)
    assert len(in_trash(storage.ledger, storage.copy("detector"))) == 2
    monkeypatch.undo()
    assert storage.empty_trash(retention=TRASH).files == 2


def test_the_folders_of_the_trash_are_no_part_of_the_place(storage: Storage, tmp_path: Path) -> None:
    to_trash(storage)
    assert storage.detector.list().files == ()
