"""What can go wrong at source, target and network while a run is staged: told, nothing half done, and repeated."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from xpcs_assets.copies.ledger import CopyState
from xpcs_assets.errors import ChangedWhileReadingError, CopyError, LedgerError, NoRoomError, RefusedError
from xpcs_assets.places import pouring, reading
from xpcs_assets.places.syscalls import Syscalls
from xpcs_assets.runs.manifest import Manifest
from xpcs_assets.stage.copy import record_staged, stage_run, take_manifest
from xpcs_assets.testing.faults import FailAt, Fault, FaultySyscalls, partials_below
from xpcs_assets_tests.storage import BEAMLINE, FILES, RUN, Storage

BIG = "A001.imm"
PIECE_BYTES = 1000


@pytest.fixture
def storage(quick_folder: Path) -> Iterator[Storage]:
    storage = Storage.build(quick_folder)
    storage.take()
    yield storage
    storage.close()


@pytest.fixture(params=["plain", "behind the writer"])
def small_pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read in many pieces; in the second form the big one is read back while it is written."""
    monkeypatch.setattr(reading, "CHUNK_BYTES", PIECE_BYTES)
    if request.param != "plain":
        monkeypatch.setattr(pouring, "BLOCK_BYTES", 4 * PIECE_BYTES)


class Source(Syscalls):
    """Gives the pieces of one file of the source as ``answer`` says, from the piece's number and the piece."""

    def __init__(self, storage: Storage, path: str, answer: Callable[[int, bytes], bytes]) -> None:
        self._file = (storage.source / path).stat()
        self._answer = answer
        self._pieces = 0

    def read(self, descriptor: int, size_bytes: int) -> bytes:
        data = super().read(descriptor, size_bytes)
        if not os.path.samestat(os.fstat(descriptor), self._file):
            return data
        self._pieces += 1
        return self._answer(self._pieces, data)


def failing(at: int, code: int = errno.EIO) -> Callable[[int, bytes], bytes]:
    def answer(number: int, data: bytes) -> bytes:
        if number == at:
            raise OSError(code, os.strerror(code))
        return data

    return answer


@contextmanager
def calls_of(storage: Storage, calls: Syscalls) -> Iterator[None]:
    healthy, storage.disk.calls = storage.disk.calls, calls
    yield
    storage.disk.calls = healthy


def is_not_staged(storage: Storage) -> bool:
    """No part of a file, nothing that is wrong, nobody who calls it staged; the source as it was."""
    assert partials_below(storage.root) == ()
    assert all(FILES[path] == data for path, data in storage.files_at("disk").items())
    claimed = [copy.place for copy in storage.ledger.copies(BEAMLINE, RUN)]
    return not storage.target.manifest.exists() and claimed == ["detector"]


def ends_well(storage: Storage) -> bool:
    storage.stage()
    return storage.files_at("disk") == FILES and storage.copy("disk").state is CopyState.PRESENT


@pytest.mark.parametrize("together", [1, 2])
def test_f05_a_full_disk_ends_the_staging_at_once(storage: Storage, together: int) -> None:
    fault = FailAt(1, errno.ENOSPC, frozenset({"write"}))
    with calls_of(storage, FaultySyscalls(fault)), pytest.raises(NoRoomError, match=r"A001\.imm.*disk is full"):
        stage_run(storage.manifest, storage.source, storage.target, storage.disk, together=together)
    assert len(fault.steps) <= together, "after the disk was full another file was begun"
    assert is_not_staged(storage)
    assert ends_well(storage)


def test_f05_no_room_for_the_name_on_a_disk_without_hard_links(storage: Storage) -> None:
    class Full(Syscalls):
        def link(self, *args: object) -> None:
            raise OSError(errno.EPERM, "no links here")

        def rename(self, *args: object) -> None:
            raise OSError(errno.ENOSPC, "no room")

    with calls_of(storage, Full()), pytest.raises(NoRoomError):
        storage.stage()
    assert is_not_staged(storage)
    assert ends_well(storage)


def test_f05_a_ledger_without_room_leaves_the_copy_and_records_it_later(storage: Storage) -> None:
    def no_room(connection: object) -> None:
        raise OperationalError("COMMIT", {}, sqlite3.OperationalError("database or disk is full"))

    manifest = storage.manifest
    stage_run(manifest, storage.source, storage.target, storage.disk)
    event.listen(storage.engine, "commit", no_room)
    with pytest.raises(LedgerError, match=r"disk is full.*has room"):
        record_staged(storage.ledger, storage.target, storage.disk)
    event.remove(storage.engine, "commit", no_room)
    assert [copy.place for copy in storage.ledger.copies(BEAMLINE, RUN)] == ["detector"]
    assert storage.files_at("disk") == FILES
    again = storage.stage()
    assert (again.bytes_moved, storage.copy("disk").state) == (0, CopyState.PRESENT)


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("piece", [1, 17, 31])
def test_f07_a_source_file_that_cannot_be_read_lets_the_others_finish(
    storage: Storage, small_pieces: None, piece: int, together: int
) -> None:
    with (
        calls_of(storage, Source(storage, BIG, failing(piece))),
        pytest.raises(CopyError, match=r"detector/A001/A001\.imm.*input/output"),
    ):
        stage_run(storage.manifest, storage.source, storage.target, storage.disk, together=together)
    assert storage.files_at("disk").keys() == FILES.keys() - {BIG}
    assert is_not_staged(storage)
    assert storage.stage().bytes_moved == len(FILES[BIG])
    assert storage.files_at("disk") == FILES


@pytest.mark.parametrize("together", [1, 2, 8])
def test_f07_every_file_that_failed_is_named(storage: Storage, together: int) -> None:
    gone = [BIG, "sub/notes é.txt"]
    for path in gone:
        (storage.source / path).unlink()
    with pytest.raises(ChangedWhileReadingError, match="2 of 3 files were not copied") as raised:
        stage_run(storage.manifest, storage.source, storage.target, storage.disk, together=together)
    assert all(str(storage.source / path) in str(raised.value) for path in gone)
    assert raised.value.remedy


def test_f08_a_file_whose_fsync_failed_once_is_written_again_from_the_source(storage: Storage) -> None:
    for number in range(1, 40):
        fault = FailAt(number, errno.EIO, frozenset({"fsync"}))
        with calls_of(storage, FaultySyscalls(fault)):
            try:
                storage.stage()
            except CopyError:
                assert partials_below(storage.root) == ()
            else:
                assert fault.failed == ""
                assert number > 5
                return
        before = storage.files_at("disk").keys()
        counted = Fault()
        with calls_of(storage, FaultySyscalls(counted)):
            moved = storage.stage().bytes_moved
        assert moved == sum(len(FILES[path]) for path in FILES.keys() - before)
        assert storage.files_at("disk") == FILES
        for path in storage.target.raw.rglob("*"):
            if path.is_file():
                path.unlink()
    pytest.fail("every fsync failed")


def staged_bytes(storage: Storage, data: bytes | Callable[[Path], object]) -> bool:
    """Stage another run of one file; whether every byte came over."""
    file = storage.root / "detector" / "B" / "x"
    file.parent.mkdir()
    if callable(data):
        data(file)
    else:
        file.write_bytes(data)
    manifest = take_manifest("B", file.parent, ["x"])
    target = type(storage.target)(storage.disk.root, BEAMLINE, "B", 1)
    stage_run(manifest, file.parent, target, storage.disk)
    return (target.raw / "x").read_bytes() == file.read_bytes()


def sparse(file: Path) -> None:
    with file.open("wb") as hole:
        hole.seek(1 << 20)
        hole.write(b"end")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"x" * PIECE_BYTES,
        b"x" * 4 * PIECE_BYTES,
        b"x" * 8 * PIECE_BYTES,
        b"x" * (4 * PIECE_BYTES + 1),
        sparse,
    ],
    ids=["empty", "one byte", "a piece", "a block", "two blocks", "more than a block", "sparse"],
)
def test_f09_files_of_every_length_and_with_holes_come_over(
    storage: Storage, small_pieces: None, data: bytes | Callable[[Path], object]
) -> None:
    assert staged_bytes(storage, data)


def test_f09_short_writes_and_signals_in_the_middle_lose_nothing(storage: Storage, small_pieces: None) -> None:
    class Short(Syscalls):
        def write(self, descriptor: int, data: memoryview) -> int:
            return super().write(descriptor, data[:70])

    told: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: told.append(number))
    done = threading.Event()

    def interrupt() -> None:
        while not done.wait(0.0005):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    try:
        with calls_of(storage, Short()):
            assert staged_bytes(storage, os.urandom(1 << 20))
    finally:
        done.set()
        interrupting.join()
        signal.signal(signal.SIGUSR1, before)
    assert told, "no signal came"


@pytest.mark.parametrize("change", ["grows", "is cut", "is renamed", "is deleted"])
def test_f10_f12_a_source_file_that_is_another_by_now_is_not_staged(storage: Storage, change: str) -> None:
    file = storage.source / BIG
    if change == "grows":
        file.write_bytes(FILES[BIG] + b"more")
    elif change == "is cut":
        os.truncate(file, 100)
    elif change == "is renamed":
        file.rename(file.with_name("B001.imm"))
    else:
        file.unlink()
    with pytest.raises(ChangedWhileReadingError, match=r"A001\.imm"):
        storage.stage()
    assert is_not_staged(storage)
    for other in storage.source.glob("*.imm"):
        other.unlink()
    file.write_bytes(FILES[BIG])
    assert ends_well(storage)


def test_f10_a_source_that_grows_while_it_is_staged_is_not_staged(storage: Storage, small_pieces: None) -> None:
    file = storage.source / BIG

    def grow(number: int, data: bytes) -> bytes:
        if number == 3:
            with file.open("ab") as growing:
                growing.write(b"more")
        return data

    with calls_of(storage, Source(storage, BIG, grow)), pytest.raises(ChangedWhileReadingError, match="changed"):
        storage.stage()
    assert is_not_staged(storage)


def test_f12_a_renamed_file_is_the_same_by_its_content(storage: Storage) -> None:
    (storage.source / BIG).rename(storage.source / "B001.imm")
    again = take_manifest(RUN, storage.source, ["B001.imm"])
    assert again.files[0].sha256 == next(entry.sha256 for entry in storage.manifest.files if entry.path == BIG)


def test_f17_a_file_of_the_source_linked_into_the_target_is_no_copy(storage: Storage) -> None:
    name = storage.target.raw / BIG
    name.parent.mkdir(parents=True)
    name.hardlink_to(storage.source / BIG)
    with pytest.raises(RefusedError, match="under a second name"):
        storage.stage()
    assert is_not_staged(storage)
    name.unlink()
    assert ends_well(storage)


def test_f17_a_source_that_is_mounted_a_second_time_as_the_target_is_refused(storage: Storage) -> None:
    manifest = storage.manifest
    storage.target.path.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "--bind", str(storage.source), str(storage.target.path)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this user cannot mount")
    try:
        with pytest.raises(RefusedError, match="lie in each other"):
            stage_run(manifest, storage.source, storage.target, storage.disk)
    finally:
        subprocess.run(["umount", str(storage.target.path)], check=True)
    assert storage.files_at("detector") == FILES


ODD_NAMES = [
    "x" * 255,
    "a\nnew line",
    "-rf",
    "%2e%2e",
    unicodedata.normalize("NFC", "é.imm"),
    unicodedata.normalize("NFD", "é.imm"),
    "CASE.imm",
    "case.imm",
    "dot.",
    " ",
    "*",
    os.fsdecode(b"latin-\xe9\xff.imm"),
]


def test_f18_odd_names_are_carried_exactly_and_never_merged(storage: Storage) -> None:
    source = storage.root / "detector" / "odd"
    source.mkdir()
    for number, name in enumerate(ODD_NAMES):
        (source / name).write_bytes(str(number).encode())
    manifest = take_manifest("odd", source, ODD_NAMES)
    version = storage.ledger.record_version(BEAMLINE, "odd", manifest, "odd")
    target = type(storage.target)(storage.disk.root, BEAMLINE, "odd", version.version)
    stage_run(storage.ledger.version(BEAMLINE, "odd", 1).manifest, source, target, storage.disk, together=3)
    record_staged(storage.ledger, target, storage.disk)
    staged = {path.name: path.read_bytes() for path in target.raw.iterdir()}
    assert staged == {name: str(number).encode() for number, name in enumerate(ODD_NAMES)}
    assert Manifest.from_json(target.manifest.read_text()) == manifest


@pytest.mark.parametrize("aim", ["/etc/passwd", "..", "nowhere", BIG])
def test_f19_a_link_in_the_place_of_a_source_file_is_not_followed(storage: Storage, aim: str) -> None:
    file = storage.source / BIG
    file.unlink()
    file.symlink_to(aim)
    with pytest.raises(CopyError, match=r"A001\.imm.*symbolic link"):
        storage.stage()
    assert is_not_staged(storage)


def test_f19_a_folder_of_the_source_that_became_a_link_is_not_followed(storage: Storage) -> None:
    (storage.source / "sub").rename(storage.root / "outside")
    (storage.source / "sub").symlink_to(storage.root / "outside")
    with pytest.raises(CopyError, match=r"sub.*through a link"):
        storage.stage()
    assert is_not_staged(storage)


def make_socket(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as unix:
        unix.bind(str(path))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, make_socket], ids=["pipe", "folder", "socket"])
@pytest.mark.parametrize("where", ["source", "target"])
def test_f21_what_is_no_file_is_refused_without_waiting(
    storage: Storage, make: Callable[[Path], None], where: str
) -> None:
    path = {"source": storage.source, "target": storage.target.raw}[where] / BIG
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)
    with pytest.raises(CopyError, match=r"A001\.imm"):
        storage.stage()
    assert is_not_staged(storage)


SIZE_BYTES = len(FILES[BIG])


@pytest.mark.parametrize("lost_at_bytes", [SIZE_BYTES // 3, SIZE_BYTES * 999 // 1000, SIZE_BYTES])
@pytest.mark.parametrize("how", ["timed out", "stale handle", "silently ended"])
def test_f24_a_source_that_breaks_off_leaves_nothing_and_the_repeat_ends_well(
    storage: Storage, small_pieces: None, lost_at_bytes: int, how: str
) -> None:
    given = 0

    def broken_off(number: int, data: bytes) -> bytes:
        nonlocal given
        left, given = lost_at_bytes - given, given + len(data)
        if left >= len(data) and data:
            return data
        if how == "silently ended":
            return data[: max(0, left)]
        code = {"timed out": errno.ETIMEDOUT, "stale handle": errno.ESTALE}[how]
        raise OSError(code, os.strerror(code))

    whole = how == "silently ended" and lost_at_bytes == SIZE_BYTES
    with calls_of(storage, Source(storage, BIG, broken_off)):
        if whole:  # the end came after the last byte: nothing is missing
            assert ends_well(storage)
            return
        with pytest.raises(CopyError, match=r"detector/A001/A001\.imm"):
            storage.stage()
    assert is_not_staged(storage)
    assert ends_well(storage)
