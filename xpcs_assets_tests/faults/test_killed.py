"""Staging, archiving and pruning killed at every system call and every commit; then done again by a fresh process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from xpcs_assets.archive.bundle import read_bundle
from xpcs_assets.copies.ledger import CopyState, RemovalKind
from xpcs_assets.errors import RefusedError
from xpcs_assets.places import pouring, reading
from xpcs_assets.prune.remove import LEASE_S
from xpcs_assets.stage.copy import record_staged, stage_run
from xpcs_assets.testing.faults import CHANGING, KILLED, DieAt, in_children, partials_below
from xpcs_assets_tests.faults.everywhere import (
    KILLS,
    Onlooker,
    Operation,
    Runner,
    everywhere,
    killed_at_any,
    prepared,
    reopened,
    run,
    seen_at_a_change,
    state_in,
    whole_or_absent,
)
from xpcs_assets_tests.storage import BEAMLINE, FILES, KEEP_S, RUN, Storage


@pytest.mark.parametrize("kill", KILLS)
def test_f01_f02_staging_killed_anywhere_ends_well(quick_folder: Path, kill: Runner | Onlooker) -> None:
    start = prepared(quick_folder, lambda storage: storage.take())
    steps = 0
    for killed in everywhere(start, lambda storage: storage.stage(), kill):
        storage = reopened(killed.root)
        steps = killed.number
        assert whole_or_absent(storage, "disk")
        assert len(partials_below(storage.disk.root)) <= 1
        if storage.target.manifest.exists():
            assert storage.files_at("disk") == FILES
        recorded = [copy.place for copy in storage.ledger.copies(BEAMLINE, RUN)]
        if "disk" in recorded:
            assert storage.target.manifest.exists()
        storage.stage()
        assert storage.files_at("disk") == FILES
        assert partials_below(storage.root) == ()
        assert storage.files_at("detector") == FILES
        assert storage.copy("disk").state is CopyState.PRESENT
        storage.close()
    assert steps > 25


@pytest.mark.long
def test_f01_staging_side_by_side_and_behind_the_writer_killed_anywhere_ends_well(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with big files: of many blocks, read back by threads while others write. The order of the steps is theirs."""
    monkeypatch.setattr(reading, "CHUNK_BYTES", 3000)
    monkeypatch.setattr(pouring, "BLOCK_BYTES", 6000)

    def stage(storage: Storage) -> None:
        stage_run(storage.manifest, storage.source, storage.target, storage.disk, together=2)
        record_staged(storage.ledger, storage.target, storage.disk)

    start = prepared(quick_folder, lambda storage: storage.take())
    for killed in everywhere(start, stage, killed_at_any):
        storage = reopened(killed.root)
        assert whole_or_absent(storage, "disk")
        assert len(partials_below(storage.disk.root)) <= 2
        if storage.target.manifest.exists():
            assert storage.files_at("disk") == FILES
        stage(storage)
        assert storage.files_at("disk") == FILES
        assert partials_below(storage.root) == ()
        storage.close()


@pytest.mark.parametrize("kill", KILLS)
def test_f01_archiving_killed_anywhere_gives_one_archive(quick_folder: Path, kill: Runner | Onlooker) -> None:
    def prepare(storage: Storage) -> None:
        storage.take()
        storage.stage()

    start = prepared(quick_folder, prepare)
    whole = Storage(shutil.copytree(start, quick_folder / "whole"))
    whole.archive()
    expected = _on_tape(whole)
    whole.close()
    assert len(expected) == 4  # two bundles and an index beside each
    for killed in everywhere(start, lambda storage: storage.archive(), kill):
        storage = reopened(killed.root)
        found = _on_tape(storage)
        assert found.items() <= expected.items(), "a final name has other bytes than it should have"
        assert len(partials_below(storage.tape.root)) <= 1
        for bundle in storage.ledger.bundles(BEAMLINE, RUN):
            read_bundle(storage.tape.read(bundle.name), where=bundle.name)
        if any(copy.place == "tape" for copy in storage.ledger.copies(BEAMLINE, RUN)):
            assert len(storage.ledger.bundles(BEAMLINE, RUN)) == 2
        storage.archive()
        assert _on_tape(storage) == expected
        assert len(storage.ledger.bundles(BEAMLINE, RUN)) == 2
        assert partials_below(storage.root) == ()
        storage.close()


def _on_tape(storage: Storage) -> dict[str, bytes]:
    return {path: (storage.tape.root / path).read_bytes() for path in storage.tape.list().files}


@pytest.mark.parametrize("kill", KILLS)
@pytest.mark.parametrize("place", ["detector", "disk"])
def test_f40_pruning_killed_anywhere_never_goes_below_min_copies(
    quick_folder: Path, place: str, kill: Runner | Onlooker
) -> None:
    other = {"detector": "disk", "disk": "detector"}[place]
    start = prepared(quick_folder, lambda storage: storage.fill())
    before_the_tombstone = True
    on_tape = _on_tape(Storage(start))
    for killed in everywhere(start, lambda storage: storage.prune(place), kill, at_least=10):
        storage = reopened(killed.root)
        assert whole_or_absent(storage, place)
        assert storage.files_at(other) == FILES
        missing = FILES.keys() - storage.files_at(place).keys()
        kinds = [line.kind for line in storage.ledger.removals(BEAMLINE, RUN)]
        if missing:
            assert RemovalKind.TOMBSTONE in kinds
            assert storage.copy(place).state in {CopyState.PART_REMOVED, CopyState.REMOVED}
            before_the_tombstone = False
        if storage.copy(place).state is CopyState.REMOVED:
            assert missing == FILES.keys()
        else:
            assert storage.prune(place, holder="another process").copy.state is CopyState.REMOVED
        assert storage.files_at(place) == {}
        assert storage.files_at(other) == FILES
        assert _on_tape(storage) == on_tape
        storage.close()
    assert not before_the_tombstone, "no kill fell after the first unlink"


@pytest.mark.long
@pytest.mark.parametrize("operation", [Storage.stage, Storage.archive], ids=["staging", "archiving"])
def test_what_is_seen_at_a_change_is_what_a_process_killed_there_leaves(
    quick_folder: Path, operation: Operation
) -> None:
    def prepare(storage: Storage) -> None:
        storage.take()
        if operation is Storage.archive:
            storage.stage()

    def killed_at_a_change(root: Path, operation: Operation, number: int) -> None:
        run(root, operation, DieAt(number, CHANGING))

    start = prepared(quick_folder, prepare)
    seen = [(left.number, state_in(left.root)) for left in everywhere(start, operation, seen_at_a_change)]
    killed = [(left.number, state_in(left.root)) for left in everywhere(start, operation, killed_at_a_change)]
    assert seen == killed


def test_a_lease_of_the_dead_is_refused_until_it_expires(quick_folder: Path) -> None:
    start = prepared(quick_folder, lambda storage: storage.fill())
    assert in_children(lambda: run(start, lambda storage: storage.prune(), DieAt(20))) == [KILLED]
    storage = Storage(start)
    storage.clock.advance(KEEP_S)
    with pytest.raises(RefusedError, match="works on it"):
        storage.prune(holder="another process")
    storage.clock.advance(LEASE_S)
    assert storage.prune(holder="another process").files == 3
    storage.close()
