"""The power fails before every changing step of staging, archiving and pruning; then it is done again.

What was not synced is lost, each time in another way. The states before and after a lost sync are told by a disk that
is kept in memory beside the real folder (``testing/power_cut.py``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import pytest

from xpcs_assets.archive.bundle import read_bundle
from xpcs_assets.audit.repair import repair
from xpcs_assets.audit.reread import mark
from xpcs_assets.audit.scope import Scope
from xpcs_assets.copies.ledger import CopyState, RemovalKind
from xpcs_assets.prune.trash import LEASE_S, in_trash, put_back_copy
from xpcs_assets.testing.faults import KILLED, Fault, FaultySyscalls, in_children, partials_below
from xpcs_assets.testing.power_cut import Disk, Shown, WatchedSyscalls
from xpcs_assets_tests.faults.everywhere import (
    Onlooker,
    Runner,
    cut_at,
    everywhere,
    prepared,
    reopened,
    seen_cut_at,
    whole_or_absent,
)
from xpcs_assets_tests.storage import BEAMLINE, FILES, KEEP_S, RETENTION, RUN, Storage

TRASH = replace(RETENTION, trash_for_s=86400.0)
EVERY_WAY = [
    pytest.param(seen_cut_at(Shown.NOTHING), id="nothing"),
    *(
        pytest.param(cut_at(shown), id=f"{shown.name.lower()} for every process", marks=pytest.mark.long)
        for shown in Shown
    ),
]


@pytest.mark.parametrize("cut_off", EVERY_WAY)
def test_f03_f04_staging_ends_well_after_a_power_cut_anywhere(quick_folder: Path, cut_off: Runner | Onlooker) -> None:
    start = prepared(quick_folder, lambda storage: storage.take())
    claimed = False
    for cut in everywhere(start, lambda storage: storage.stage(), cut_off):
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


@pytest.mark.parametrize("cut_off", EVERY_WAY)
def test_f03_f04_archiving_ends_well_after_a_power_cut_anywhere(quick_folder: Path, cut_off: Runner | Onlooker) -> None:
    def prepare(storage: Storage) -> None:
        storage.take()
        storage.stage()

    start = prepared(quick_folder, prepare)
    for cut in everywhere(start, lambda storage: storage.archive(), cut_off):
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


NAMES = frozenset({"mkdir", "link", "rename", "unlink"})
NAMING = NAMES | {"fsync"}


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


def filled(storage: Storage) -> None:
    storage.fill()


def to_trash(storage: Storage) -> object:
    if storage.copy("detector").state is CopyState.IN_TRASH:
        return None
    return storage.prune("detector", TRASH, holder=str(id(storage)))


def trash_is_there(storage: Storage) -> bool:
    rows = in_trash(storage.ledger, storage.copy("detector"))
    return len(rows) == len(FILES) and all((storage.detector.root / row.aside_path).is_file() for row in rows)


def in_the_trash(storage: Storage) -> None:
    to_trash(storage.fill())


def back(storage: Storage) -> object:
    if storage.copy("detector").state is CopyState.PRESENT:
        return None
    return put_back_copy(storage.ledger, storage.copy("detector"), storage.detector, holder=str(id(storage)))


def is_back(storage: Storage) -> bool:
    return storage.copy("detector").state is CopyState.PRESENT and storage.files_at("detector") == FILES


def lost(storage: Storage) -> None:
    storage.fill()
    rmtree(storage.target.raw)
    mark(Scope(BEAMLINE, storage.ledger, storage.places), "audit", storage.copy("disk"), CopyState.LOST, "gone")


def repaired(storage: Storage) -> object:
    return repair(Scope(BEAMLINE, storage.ledger, storage.places), storage.copy("disk"))


@pytest.mark.parametrize("where", ["behind a name", pytest.param("anywhere", marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("prepare", "operation", "is_there", "at_least"),
    [
        pytest.param(taken, Storage.stage, staged_copy_is_there, 20, id="staging"),
        pytest.param(staged, Storage.archive, archive_is_there, 20, id="archiving"),
        pytest.param(filled, to_trash, trash_is_there, 10, id="moving to the trash"),
        pytest.param(in_the_trash, back, is_back, 10, id="putting back"),
        pytest.param(lost, repaired, staged_copy_is_there, 10, id="repairing"),
    ],
)
def test_f04_what_a_second_process_finished_outlives_a_power_cut(
    quick_folder: Path,
    prepare: Callable[[Storage], None],
    operation: Callable[[Storage], object],
    is_there: Callable[[Storage], bool],
    at_least: int,
    where: str,
) -> None:
    """The first dies before it synced what it named; the second finds the name, and must not take it for safe."""
    start = prepared(quick_folder, prepare)

    def finished_by_another(root: Path, number: int) -> None:
        disk = Disk(root)
        first = Storage(root, WatchedSyscalls(DeadAt(number), disk))
        first.clock.advance(KEEP_S)
        try:
            operation(first)
        except DeadAt.Dead:
            second = Storage(root, WatchedSyscalls(Fault(), disk))
            second.clock.advance(KEEP_S + LEASE_S)
            operation(second)
            second.close()
            disk.cut(Shown.NOTHING)
            os._exit(KILLED)

    steps = naming_steps(Path(copytree(start, quick_folder / "whole")), operation)
    assert len(steps) >= at_least
    numbers = list(range(1, len(steps) + 1))
    if where == "behind a name":
        numbers = [number for number in numbers if number == 1 or steps[number - 2] in NAMES]
    for number in numbers:
        root = copytree(start, quick_folder / f"dead at {number}")
        (status,) = in_children(partial(finished_by_another, root, number))
        assert status == KILLED, f"the second process failed (dead at {number})"
        storage = reopened(root)
        assert is_there(storage), f"the ledger claims a copy that is not there (dead at {number})"
        storage.close()
        rmtree(root)


def naming_steps(root: Path, operation: Callable[[Storage], object]) -> list[str]:
    """The names of the steps that a process may be dead at."""
    fault = Fault()
    storage = Storage(root, FaultySyscalls(fault))
    storage.clock.advance(KEEP_S)
    operation(storage)
    storage.close()
    return [name for name in fault.steps if name in NAMING]
