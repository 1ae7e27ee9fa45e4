"""The disk that remembers what was synced, and what it shows after the power failed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from xpcs_assets.testing.faults import KILLED, Fault, FaultySyscalls, in_children
from xpcs_assets.testing.power_cut import CutAt, Disk, Shown, WatchedSyscalls


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "disk"
    (root / "old").mkdir(parents=True)
    (root / "old" / "a").write_bytes(b"before")
    (root / "ledger.db").write_bytes(b"ledger")
    return root


def sync(disk: Disk, path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    disk.synced(descriptor)
    os.close(descriptor)


def found(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


OLD = {"ledger.db": b"ledger", "old/a": b"before"}


@pytest.mark.parametrize("shown", Shown)
def test_what_was_there_before_stays(root: Path, shown: Shown) -> None:
    Disk(root).cut(shown)
    assert found(root) == OLD


@pytest.mark.parametrize(
    ("shown", "left"), [(Shown.NOTHING, {}), (Shown.EMPTY, {"new": b""}), (Shown.ZEROS, {"new": bytes(4)})]
)
def test_a_file_that_was_not_synced_is_lost_by_name_or_bytes(root: Path, shown: Shown, left: dict[str, bytes]) -> None:
    disk = Disk(root)
    (root / "new").write_bytes(b"data")
    disk.cut(shown)
    assert found(root) == OLD | left


def test_half_of_what_was_not_synced_may_be_there(root: Path) -> None:
    disk = Disk(root)
    for name in ("n1", "n2", "n3"):
        (root / name).write_bytes(b"data")
    disk.cut(Shown.HALF)
    assert found(root) == OLD | {"n1": b"da", "n3": b"da"}


def test_a_synced_file_without_a_synced_name_is_gone_and_with_it_stays(root: Path) -> None:
    disk = Disk(root)
    for name in ("x", "y"):
        (root / "old" / name).write_bytes(b"data")
        sync(disk, root / "old" / name)
        if name == "x":
            sync(disk, root / "old")
    disk.cut(Shown.NOTHING)
    assert found(root) == OLD | {"old/x": b"data"}


def test_a_synced_name_of_bytes_that_were_not_synced_is_an_empty_file(root: Path) -> None:
    disk = Disk(root)
    (root / "new").write_bytes(b"data")
    sync(disk, root)
    disk.cut(Shown.NOTHING)
    assert found(root) == OLD | {"new": b""}


def test_what_was_written_after_the_last_sync_is_lost(root: Path) -> None:
    disk = Disk(root)
    with (root / "old" / "a").open("ab") as growing:
        growing.write(b" and after")
    disk.cut(Shown.EMPTY)
    assert found(root) == OLD


def test_removals_and_renames_that_were_not_synced_are_undone(root: Path) -> None:
    disk = Disk(root)
    (root / "old" / "a").rename(root / "b")
    (root / "old").rmdir()
    disk.cut(Shown.NOTHING)
    assert found(root) == OLD


def test_synced_removals_stay_though_another_file_takes_over(root: Path) -> None:
    disk = Disk(root)
    (root / "old" / "a").unlink()
    (root / "old" / "c").write_bytes(b"may get the number of the inode that a had")
    sync(disk, root / "old")
    disk.cut(Shown.NOTHING)
    assert found(root) == {"ledger.db": b"ledger", "old/c": b""}


def test_a_folder_s_names_need_the_folder_synced_and_its_own_name_too(root: Path) -> None:
    disk = Disk(root)
    (root / "new" / "inner").mkdir(parents=True)
    (root / "new" / "inner" / "file").write_bytes(b"data")
    for path in (root / "new" / "inner" / "file", root / "new" / "inner", root / "new"):
        sync(disk, path)
    disk.cut(Shown.NOTHING)
    assert found(root) == OLD
    assert not (root / "new").exists()


def test_two_names_of_one_file_are_two_names_of_one_file_again(root: Path) -> None:
    disk = Disk(root)
    (root / "second").hardlink_to(root / "old" / "a")
    sync(disk, root)
    disk.cut(Shown.NOTHING)
    assert (root / "second").samefile(root / "old" / "a")


def careless(calls: FaultySyscalls, root: Path) -> None:
    """Writes a file under its final name as most programs do."""
    descriptor = calls.open(root / "partial", os.O_WRONLY | os.O_CREAT)
    calls.write(descriptor, memoryview(b"data"))
    calls.close(descriptor)
    (root / "partial").rename(root / "final")


def careful(calls: FaultySyscalls, root: Path) -> None:
    descriptor = calls.open(root / "partial", os.O_WRONLY | os.O_CREAT)
    calls.write(descriptor, memoryview(b"data"))
    calls.fsync(descriptor)
    calls.close(descriptor)
    (root / "partial").rename(root / "final")


@pytest.mark.parametrize(("write", "left"), [(careless, b""), (careful, b"data")])
def test_a_cut_at_the_end_tells_who_forgot_to_sync(
    root: Path, write: Callable[[FaultySyscalls, Path], None], left: bytes
) -> None:
    def child() -> None:
        disk = Disk(root)
        fault = CutAt(2 if write is careless else 3, disk, Shown.EMPTY)
        write(WatchedSyscalls(fault, disk), root)
        fault.done()

    assert in_children(child) == [KILLED]
    assert found(root) == OLD | {"final": left}


def test_a_cut_in_the_middle_of_a_write_comes_after_half_of_it(root: Path) -> None:
    def child() -> None:
        disk = Disk(root)
        careful(WatchedSyscalls(CutAt(1, disk, Shown.ZEROS), disk), root)

    assert in_children(child) == [KILLED]
    assert found(root) == OLD | {"partial": b"\0\0"}


def test_an_operation_with_fewer_steps_is_not_cut(root: Path) -> None:
    def child() -> None:
        disk = Disk(root)
        fault: Fault = CutAt(40, disk, Shown.NOTHING)
        careful(WatchedSyscalls(fault, disk), root)

    assert in_children(child) == [0]
    assert found(root) == OLD | {"final": b"data"}
