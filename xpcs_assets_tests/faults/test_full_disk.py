"""A full disk at every step of staging, archiving and pruning: a clear error, nothing partial, and a good repeat.

Once with the errors put in, at each call in turn; and once on a real file system of a few MiB, filled up so far that
the room runs out at another point each time, the ledger's own file among the rest.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from shutil import copytree, rmtree

import pytest

from xpcs_assets.copies.ledger import CopyState, RemovalKind
from xpcs_assets.errors import CopyError, LedgerError, NoRoomError
from xpcs_assets.places.files import write_file_safely
from xpcs_assets.places.syscalls import Syscalls
from xpcs_assets.testing.faults import FailAt, FaultySyscalls, partials_below
from xpcs_assets_tests.faults.everywhere import engine_at, prepared
from xpcs_assets_tests.storage import BEAMLINE, FILES, KEEP_S, RUN, Storage

WRITING = frozenset({"write", "fsync", "link", "mkdir", "set_mtime"})
KIB = 1024
STEP_KIB = 8


def failing_everywhere(
    folder: Path, code: int, prepare: Callable[[Storage], object], operation: Callable[[Storage], object]
) -> Iterator[tuple[Storage, CopyError]]:
    """Run ``operation`` with ``code`` at each of its writing calls in turn; what was left each time."""
    start = prepared(folder, prepare)
    for number in count(1):
        storage = opened(copytree(start, folder / "failing"))
        fault = FailAt(number, code, WRITING)
        for place in (storage.disk, storage.tape):
            place.calls = FaultySyscalls(fault)
        try:
            operation(storage)
        except CopyError as error:
            for place in (storage.disk, storage.tape):
                place.calls = storage.detector.calls
            yield storage, error
        else:
            assert fault.failed == ""
            assert number > 15
            return
        finally:
            storage.close()
        rmtree(storage.root)


def opened(root: Path) -> Storage:
    """The storage below a folder that is made again and again: its engine, at which nobody is, keeps its statements."""
    storage = Storage(root, engine=engine_at(f"sqlite:///{root / 'ledger.db'}"))
    storage.clock.advance(KEEP_S)
    return storage


def nothing_but_the_truth(storage: Storage) -> None:
    """No partial, no wrong byte, and no copy in the ledger that is not there."""
    assert partials_below(storage.root) == ()
    assert storage.files_at("detector") == FILES
    assert all(FILES[path] == data for path, data in storage.files_at("disk").items())
    claimed = {copy.place for copy in storage.ledger.copies(BEAMLINE, RUN)}
    assert "disk" not in claimed or storage.files_at("disk") == FILES
    assert "tape" not in claimed or len(storage.ledger.bundles(BEAMLINE, RUN)) == 2


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.ENOSPC, NoRoomError),
        (errno.EDQUOT, NoRoomError),
        (errno.EROFS, CopyError),
        (errno.EACCES, CopyError),
        (errno.EIO, CopyError),
    ],
)
def test_f05_f06_f08_staging_onto_a_disk_that_takes_nothing_is_told_and_repeated(
    quick_folder: Path, code: int, error: type[CopyError]
) -> None:
    for storage, raised in failing_everywhere(quick_folder, code, lambda s: s.take(), lambda s: s.stage()):
        assert type(raised) is error
        assert raised.remedy
        nothing_but_the_truth(storage)
        storage.stage()
        assert storage.files_at("disk") == FILES


def test_f05_archiving_onto_a_full_tape_is_told_and_repeated(quick_folder: Path) -> None:
    for storage, raised in failing_everywhere(quick_folder, errno.ENOSPC, staged, lambda s: s.archive()):
        assert isinstance(raised, NoRoomError)
        nothing_but_the_truth(storage)
        assert storage.archive().members == 3


def taken(storage: Storage) -> None:
    storage.take()


def staged(storage: Storage) -> None:
    storage.take()
    storage.stage()


def filled(storage: Storage) -> None:
    storage.fill()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=3M", "xpcs-assets-test", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this user cannot mount a file system")
    try:
        yield tmp_path
    finally:
        # Lazily: the database's driver may keep a file open until its connection, which failed, is collected.
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def fill_up(disk: Path, leave_bytes: int) -> None:
    found = os.statvfs(disk)
    with (disk / "filler").open("wb") as filler:
        filler.write(bytes(found.f_bavail * found.f_frsize - leave_bytes))


def check_staged(storage: Storage) -> None:
    storage.stage()
    assert storage.files_at("disk") == FILES
    assert storage.copy("disk").state is CopyState.PRESENT


def check_archived(storage: Storage) -> None:
    assert storage.archive().members == 3
    assert storage.copy("tape").state is CopyState.PRESENT


@pytest.mark.parametrize(
    ("prepare", "operation", "check"),
    [(taken, Storage.stage, check_staged), (staged, Storage.archive, check_archived)],
    ids=["staging", "archiving"],
)
def test_f05_a_real_disk_that_fills_up_anywhere(
    small_disk: Path,
    prepare: Callable[[Storage], None],
    operation: Callable[[Storage], object],
    check: Callable[[Storage], None],
) -> None:
    failed: list[NoRoomError | LedgerError] = []
    for leave_kib in count(0, STEP_KIB):
        storage = Storage.build(small_disk / "storage")
        prepare(storage)
        fill_up(small_disk, leave_kib * KIB)
        try:
            operation(storage)
        except (NoRoomError, LedgerError) as error:
            failed.append(error)
            nothing_but_the_truth(storage)
        else:
            break
        finally:
            (small_disk / "filler").unlink()
        check(storage)
        storage.close()
        rmtree(storage.root)
    storage.close()
    assert all("full" in error.what for error in failed)
    assert {type(error) for error in failed} == {NoRoomError, LedgerError}, (
        "the room never ran out at the data, or never at the ledger"
    )


def test_f05_pruning_beside_a_full_disk_removes_nothing_that_is_not_written_down(small_disk: Path) -> None:
    failed = 0
    for leave_kib in count(0, STEP_KIB):
        storage = Storage.build(small_disk / "storage")
        filled(storage)
        fill_up(small_disk, leave_kib * KIB)
        try:
            storage.prune()
        except LedgerError:
            failed += 1
            missing = FILES.keys() - storage.files_at("detector").keys()
            written_down = [line.kind for line in storage.ledger.removals(BEAMLINE, RUN)]
            assert not missing or RemovalKind.TOMBSTONE in written_down
            assert storage.files_at("disk") == FILES
        else:
            break
        finally:
            (small_disk / "filler").unlink()
        storage.clock.advance(10_000)
        if storage.copy("detector").state is not CopyState.REMOVED:
            storage.prune(holder="another process")
        assert storage.files_at("detector") == {}
        assert storage.files_at("disk") == FILES
        storage.close()
        rmtree(storage.root)
    storage.close()
    assert failed, "the ledger never ran out of room"


def test_f05_the_system_s_own_answer_of_a_full_device_is_told(quick_folder: Path) -> None:
    class Full(Syscalls):
        """Writes to ``/dev/full``, where every write fails as on a full disk."""

        def write(self, descriptor: int, data: memoryview) -> int:
            with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123 - a device, not a path of data
                return full.write(data)

    with pytest.raises(NoRoomError, match="disk is full"):
        write_file_safely(quick_folder / "x", [b"data"], calls=Full())
    assert list(quick_folder.iterdir()) == []
