"""Removal on PostgreSQL: proof, holds and two pruners at once, as the other tests try them on SQLite."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from xpcs_assets.copies.ledger import CopyState, RemovalKind
from xpcs_assets.errors import RefusedError
from xpcs_assets.runs.retention import Retention
from xpcs_assets.testing.faults import in_children
from xpcs_assets_tests import postgres
from xpcs_assets_tests.storage import BEAMLINE, FILES, KEEP_S, RUN, Storage

ROUNDS = 5
ONE_OTHER = Retention(keep_for_s=KEEP_S, min_copies=1, needs_archive=False, needs_catalog=False)


@pytest.fixture
def database() -> Iterator[str]:
    if reason := postgres.why_missing():
        pytest.skip(reason)
    with postgres.database() as url:
        yield url


def test_a_copy_goes_behind_a_proof_and_leaves_its_lines(quick_folder: Path, database: str) -> None:
    storage = Storage.build(quick_folder / "site", database=database).fill()
    assert storage.prune().copy.state is CopyState.REMOVED
    kinds = [line.kind for line in storage.ledger.removals(BEAMLINE, RUN)]
    assert kinds == [RemovalKind.INTENT, RemovalKind.TOMBSTONE, RemovalKind.OUTCOME]
    assert (storage.files_at("detector"), storage.files_at("disk")) == ({}, FILES)
    storage.close()


def test_f49_a_hold_keeps_a_copy(quick_folder: Path, database: str) -> None:
    storage = Storage.build(quick_folder / "site", database=database).fill()
    storage.ledger.hold(BEAMLINE, RUN, "wanted", "a scientist")
    with pytest.raises(RefusedError, match="wanted"):
        storage.prune()
    assert storage.files_at("detector") == FILES
    storage.close()


@pytest.mark.parametrize("number", range(ROUNDS))
def test_f38_two_pruners_that_rely_on_each_other_s_copy_leave_one(
    quick_folder: Path, database: str, number: int
) -> None:
    root = quick_folder / str(number)
    storage = Storage.build(root, database=database)
    storage.take()
    storage.stage()
    storage.close()
    barrier = multiprocessing.Barrier(2)

    def prune(place: str) -> None:
        mine = Storage(root, database=database)
        mine.clock.advance(KEEP_S)
        mine.ledger.holds(BEAMLINE, RUN)
        barrier.wait(60)
        with suppress(RefusedError):
            mine.prune(place, ONE_OTHER, holder=f"pruner of {place}")

    assert in_children(lambda: prune("detector"), lambda: prune("disk")) == [0, 0]
    left = [place for place in ("detector", "disk") if storage.files_at(place) == FILES]
    assert len(left) == 1
    assert storage.copy(left[0]).state is CopyState.PRESENT
    storage.close()
