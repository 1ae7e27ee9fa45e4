"""The power fails before every changing step of staging, archiving and pruning; then it is done again.

What was not synced is lost, each time in another way. The states before and after a lost sync are told by a disk that
is kept in memory beside the real folder (``testing/power_cut.py``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import pytest

from xpcs_assets.archive.bundle import read_bundle
from xpcs_assets.copies.ledger import CopyState, RemovalKind
from xpcs_assets.testing.faults import KILLED, Fault, in_children, partials_below
from xpcs_assets.testing.power_cut import Disk, Shown, WatchedSyscalls
from xpcs_assets_tests.faults.everywhere import cut_at, everywhere, prepared, reopened, whole_or_absent
from xpcs_assets_tests.storage import BEAMLINE, FILES, RUN, Storage

EVERY_WAY = [
    pytest.param(shown, marks=[] if shown is Shown.NOTHING else [pytest.mark.long], id=shown.name.lower())
    for shown in Shown
]


@pytest.mark.parametrize("shown", EVERY_WAY)
def test_f03_f04_staging_ends_well_after_a_power_cut_anywhere(quick_folder: Path, shown: Shown) -> None:
    start = prepared(quick_folder, lambda storage: storage.take())
    claimed = False
    for cut in everywhere(start, lambda storage: storage.stage(), cut_at(shown)):
        storage = reopened(cut.root)
        assert whole_or_absent(storage, "disk"), "a final name has bytes that it should not have"
        if "disk" in [copy.place for copy in storage.ledger.copies(BEAMLINE, RUN)]:
            claimed = True
            assert storage.files_at("disk") == FILES, "the ledger claims a copy that is not there"
            assert storage.target.manifest.read_text() == storage.manifest.to_json()
        storage.stage()
        assert storage.files_at("disk") == storage.files_at("detector") == FILES
        assert partials_below(storage.root) == ()
        assert storage.copy("disk").state is CopyState.PRESENT
        storage.close()
    assert claimed, "no cut fell after the ledger had the copy"


@pytest.mark.parametrize("shown", EVERY_WAY)
def test_f03_f04_archiving_ends_well_after_a_power_cut_anywhere(quick_folder: Path, shown: Shown) -> None:
    def prepare(storage: Storage) -> None:
        storage.take()
        storage.stage()

    start = prepared(quick_folder, prepare)
    for cut in everywhere(start, lambda storage: storage.archive(), cut_at(shown)):
        storage = reopened(cut.root)
        for name in storage.tape.list().files:
            if name.endswith(".tar"):
                read_bundle(storage.tape.read(name), where=name)
        for bundle in storage.ledger.bundles(BEAMLINE, RUN):
            read_bundle(storage.tape.read(bundle.name), where=bundle.name)
        if any(copy.place == "tape" for copy in storage.ledger.copies(BEAMLINE, RUN)):
            assert len(storage.ledger.bundles(BEAMLINE, RUN)) == 2
        storage.archive()
        assert len(storage.ledger.bundles(BEAMLINE, RUN)) == 2
        assert len(storage.tape.list().files) == 4
        assert partials_below(storage.root) == ()
        storage.close()


@pytest.mark.long
@pytest.mark.parametrize("shown", Shown)
def test_f40_pruning_ends_well_after_a_power_cut_anywhere(quick_folder: Path, shown: Shown) -> None:
    start = prepared(quick_folder, lambda storage: storage.fill())
    for cut in everywhere(start, lambda storage: storage.prune(), cut_at(shown), at_least=10):
        storage = reopened(cut.root)
        assert whole_or_absent(storage, "detector")
        assert storage.files_at("disk") == FILES
        removed = storage.copy("detector").state is CopyState.REMOVED
        missing = FILES.keys() - storage.files_at("detector").keys()
        if missing:
            assert RemovalKind.TOMBSTONE in [line.kind for line in storage.ledger.removals(BEAMLINE, RUN)]
        if removed:
            assert missing == FILES.keys(), "the ledger says removed, and the files are back"
        else:
            assert storage.prune(holder="another process").copy.state is CopyState.REMOVED
        assert storage.files_at("detector") == {}
        assert storage.files_at("disk") == FILES
        storage.close()


NAMING = frozenset({"mkdir", "link", "rename", "unlink", "fsync"})


class DeadAt(Fault):
    """The process does nothing more from naming step ``number`` on; the system closes what it had open."""

    class Dead(BaseException):
        """It is."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def step(self, name: str, act: Callable[[], Any], begin: Callable[[], Any] | None = None) -> Any:
        if name in NAMING:
            self.steps.append(name)
        if len(self.steps) >= self.number and name != "close":
            raise self.Dead
        return act()


def taken(storage: Storage) -> None:
    storage.take()


def staged(storage: Storage) -> None:
    storage.take()
    storage.stage()


def staged_copy_is_there(storage: Storage) -> bool:
    return storage.copy("disk").state is CopyState.PRESENT and storage.files_at("disk") == FILES


def archive_is_there(storage: Storage) -> bool:
    bundles = storage.ledger.bundles(BEAMLINE, RUN)
    on_tape = storage.tape.list().files
    return len(bundles) == 2 and all(bundle.name in on_tape for bundle in bundles)


@pytest.mark.parametrize(
    ("prepare", "operation", "is_there"),
    [
        pytest.param(taken, Storage.stage, staged_copy_is_there, id="staging"),
        pytest.param(staged, Storage.archive, archive_is_there, id="archiving"),
    ],
)
def test_f04_what_a_second_process_finished_outlives_a_power_cut(
    quick_folder: Path,
    prepare: Callable[[Storage], None],
    operation: Callable[[Storage], object],
    is_there: Callable[[Storage], bool],
) -> None:
    """The first dies before it synced what it named; the second finds the name, and must not take it for safe."""
    start = prepared(quick_folder, prepare)

    def finished_by_another(root: Path, number: int) -> None:
        disk = Disk(root)
        first = Storage(root, WatchedSyscalls(DeadAt(number), disk))
        try:
            operation(first)
        except DeadAt.Dead:
            second = Storage(root, WatchedSyscalls(Fault(), disk))
            operation(second)
            second.close()
            disk.cut(Shown.NOTHING)
            os._exit(KILLED)

    for number in count(1):
        root = copytree(start, quick_folder / f"dead at {number}")
        if in_children(partial(finished_by_another, root, number)) == [0]:
            assert number > 20
            return
        storage = reopened(root)
        assert is_there(storage), f"the ledger claims a copy that is not there (dead at {number})"
        storage.close()
        rmtree(root)
