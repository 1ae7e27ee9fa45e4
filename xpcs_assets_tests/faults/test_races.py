"""Two processes at the same run at the same moment."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from xpcs_assets.copies.ledger import CopyState
from xpcs_assets.errors import RefusedError
from xpcs_assets.runs.retention import Retention
from xpcs_assets.testing.faults import in_children, partials_below
from xpcs_assets_tests.storage import BEAMLINE, FILES, KEEP_S, RUN, Storage

ROUNDS = 15
ONE_OTHER = Retention(keep_for_s=KEEP_S, min_copies=1, needs_archive=False, needs_catalog=False)


def together(root: Path, *operations: Callable[[Storage], object]) -> list[int]:
    """Run operations in processes of their own that begin at the same moment."""
    barrier = multiprocessing.Barrier(len(operations))

    def child(operation: Callable[[Storage], object]) -> None:
        storage = Storage(root)
        storage.clock.advance(KEEP_S)
        storage.ledger.holds(BEAMLINE, RUN)  # the ledger is open: nothing is left to do but the operation
        barrier.wait(60)
        operation(storage)

    return in_children(*[lambda operation=operation: child(operation) for operation in operations])  # type: ignore[misc]


def _prune(place: str) -> Callable[[Storage], object]:
    """Prune on the site of a place: each has the ledger and all places, and relies on the other's copy."""

    def operation(storage: Storage) -> None:
        with suppress(RefusedError):
            storage.prune(place, ONE_OTHER, holder=f"pruner of {place}")

    return operation


@pytest.mark.parametrize("rounds", [15, pytest.param(1000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
def test_f38_two_pruners_that_rely_on_each_other_s_copy_leave_one(quick_folder: Path, rounds: int) -> None:
    storage = Storage.build(quick_folder / "start")
    storage.take()
    storage.stage()
    storage.close()
    for number in range(rounds):
        root = shutil.copytree(storage.root, quick_folder / str(number))
        assert together(root, _prune("detector"), _prune("disk")) == [0, 0]
        after = Storage(root)
        left = [place for place in ("detector", "disk") if after.files_at(place) == FILES]
        assert len(left) == 1
        states = {place: after.copy(place).state for place in ("detector", "disk")}
        assert states == dict.fromkeys(states, CopyState.REMOVED) | {left[0]: CopyState.PRESENT}
        after.close()
        shutil.rmtree(root)


def test_f16_two_workers_that_stage_the_same_run_make_one_copy(quick_folder: Path) -> None:
    storage = Storage.build(quick_folder / "start")
    storage.take()
    storage.close()
    for number in range(ROUNDS):
        root = shutil.copytree(storage.root, quick_folder / str(number))
        assert together(root, Storage.stage, Storage.stage) == [0, 0]
        after = Storage(root)
        assert after.files_at("disk") == FILES
        assert partials_below(root) == ()
        assert [copy.place for copy in after.ledger.copies(BEAMLINE, RUN)] == ["detector", "disk"]
        after.close()
        shutil.rmtree(root)
