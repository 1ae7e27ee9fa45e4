"""A full disk at every step of staging and archiving: a clear error, nothing partial, and the repeat ends well."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from xpcs_assets.errors import CopyError, NoRoomError
from xpcs_assets.testing.faults import FailAt, FaultySyscalls, partials_below
from xpcs_assets_tests.storage import FILES, Storage

WRITING = frozenset({"write", "fsync", "link", "mkdir", "set_mtime"})


def failing_everywhere(
    folder: Path, code: int, prepare: Callable[[Storage], object], operation: Callable[[Storage], object]
) -> Iterator[tuple[Storage, CopyError]]:
    """Run ``operation`` with ``code`` at each of its writing calls in turn; what was left each time."""
    for number in count(1):
        storage = Storage.build(folder / f"{number}")
        prepare(storage)
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


@pytest.mark.parametrize(
    ("code", "error"), [(errno.ENOSPC, NoRoomError), (errno.EDQUOT, NoRoomError), (errno.EROFS, CopyError)]
)
def test_f05_f06_staging_onto_a_full_disk_is_told_and_repeated(
    quick_folder: Path, code: int, error: type[CopyError]
) -> None:
    for storage, raised in failing_everywhere(quick_folder, code, lambda s: s.take(), lambda s: s.stage()):
        assert isinstance(raised, error)
        assert raised.remedy
        assert partials_below(storage.root) == ()
        assert all(FILES[path] == data for path, data in storage.files_at("disk").items())
        assert storage.files_at("detector") == FILES
        assert [copy.place for copy in storage.ledger.copies("test-beamline", "A001")] == ["detector"]
        storage.stage()
        assert storage.files_at("disk") == FILES


def test_f05_archiving_onto_a_full_tape_is_told_and_repeated(quick_folder: Path) -> None:
    def prepare(storage: Storage) -> None:
        storage.take()
        storage.stage()

    for storage, raised in failing_everywhere(quick_folder, errno.ENOSPC, prepare, lambda s: s.archive()):
        assert isinstance(raised, NoRoomError)
        assert partials_below(storage.root) == ()
        assert storage.ledger.bundles("test-beamline", "A001") == ()
        assert storage.archive().members == 3


def test_a_real_file_system_without_room_is_told(quick_folder: Path) -> None:
    """Every write to ``/dev/full`` fails as on a full disk: the kernel's own answer instead of an injected one."""
    from xpcs_assets.places.files import write_file_safely
    from xpcs_assets.places.syscalls import Syscalls

    class Full(Syscalls):
        def write(self, descriptor: int, data: memoryview) -> int:
            with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123 - a device, not a path of data
                return full.write(data)

    with pytest.raises(NoRoomError, match="disk is full"):
        write_file_safely(quick_folder / "x", [b"data"], calls=Full())
    assert list(quick_folder.iterdir()) == []
