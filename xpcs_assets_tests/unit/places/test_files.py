"""The one way to write a data file, and to read one."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xpcs_assets.errors import ConflictingBytesError, CopyError, NoRoomError, NotFoundError, NotVerifiedError
from xpcs_assets.places.files import is_partial, sweep_in, write_file_safely
from xpcs_assets.places.folders import open_folder
from xpcs_assets.places.reading import hash_file
from xpcs_assets.places.syscalls import SYSCALLS, Syscalls
from xpcs_assets.testing.faults import FailAt, Fault, FaultySyscalls, partials_below


def sweep(folder: Path, calls: Syscalls = SYSCALLS) -> int:
    with open_folder(folder, calls) as descriptor:
        return sweep_in(descriptor, calls)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunks=st.lists(st.binary(max_size=600), max_size=6))
def test_what_is_written_is_what_was_given(tmp_path: Path, chunks: list[bytes]) -> None:
    data = b"".join(chunks)
    target = tmp_path / sha256(data) / "x.bin"
    written = write_file_safely(target, chunks, mtime_ns=1_700_000_000_123_456_789)
    assert target.read_bytes() == data
    assert (written.size_bytes, written.sha256) == (len(data), sha256(data))
    assert target.stat().st_mtime_ns == 1_700_000_000_123_456_789 or written.already_there
    assert [path.name for path in target.parent.iterdir()] == ["x.bin"]


@pytest.mark.parametrize(
    "name", ["n" * 255, "a\nb", "-rf", "%2e%2e", "\u00e9", "e\u0301", "dot.", os.fsdecode(b"\xff\xfe")]
)
def test_f18_odd_names_are_carried_exactly(tmp_path: Path, name: str) -> None:
    write_file_safely(tmp_path / name, [b"x"])
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_name_that_is_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(CopyError, match="name is too long"):
        write_file_safely(tmp_path / ("n" * 256), [b"x"])
    assert list(tmp_path.iterdir()) == []


def test_f15_the_same_bytes_are_a_no_op_and_not_even_read(tmp_path: Path) -> None:
    def never() -> Iterator[bytes]:
        pytest.fail("the source was read")
        yield b""

    target = tmp_path / "x"
    write_file_safely(target, [b"same"])
    before = target.stat()
    again = write_file_safely(target, never(), sha256=sha256(b"same"))
    assert (again.already_there, again.size_bytes, target.stat()) == (True, 4, before)
    unknown = write_file_safely(target, [b"sa", b"me"])
    assert (unknown.already_there, target.stat().st_ino, partials_below(tmp_path)) == (True, before.st_ino, ())


@pytest.mark.parametrize("hash_is_known", [True, False])
def test_f14_other_bytes_under_the_name_stay(tmp_path: Path, hash_is_known: bool) -> None:
    target = tmp_path / "x"
    target.write_bytes(b"theirs")
    with pytest.raises(ConflictingBytesError, match="taken by other bytes"):
        write_file_safely(target, [b"ours!!"], sha256=sha256(b"ours!!") if hash_is_known else "")
    assert (target.read_bytes(), partials_below(tmp_path)) == (b"theirs", ())


@pytest.mark.parametrize("kind", ["folder", "link", "fifo"])
def test_a_name_taken_by_something_that_is_no_file_is_a_conflict(tmp_path: Path, kind: str) -> None:
    target, elsewhere = tmp_path / "x", tmp_path / "elsewhere"
    if kind == "folder":
        target.mkdir()
    elif kind == "link":
        target.symlink_to(elsewhere)
    else:
        os.mkfifo(target)
    with pytest.raises(ConflictingBytesError, match="something that is no file"):
        write_file_safely(target, [b"x"])
    assert not elsewhere.exists()


def test_replacing_swaps_the_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "record.json"
    write_file_safely(target, [b"old"])
    assert not write_file_safely(target, [b"new"], replace=True).already_there
    assert (target.read_bytes(), partials_below(tmp_path)) == (b"new", ())


def test_replacing_by_the_same_bytes_leaves_the_file_and_its_time_alone(tmp_path: Path) -> None:
    target = tmp_path / "record.json"
    write_file_safely(target, [b"same"])
    before = target.stat()
    assert write_file_safely(target, [b"same"], replace=True).already_there
    assert (target.stat().st_mtime_ns, target.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert partials_below(tmp_path) == ()


def test_f27_bytes_that_are_not_the_expected_ones_get_no_name(tmp_path: Path) -> None:
    with pytest.raises(NotVerifiedError, match="hash to"):
        write_file_safely(tmp_path / "x", [b"wrong"], sha256=sha256(b"right"))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_gives_back_other_bytes_is_found_before_the_file_has_its_name(tmp_path: Path) -> None:
    class Flipping(Syscalls):
        def read(self, descriptor: int, size_bytes: int) -> bytes:
            return super().read(descriptor, size_bytes).replace(b"a", b"b", 1)

    with pytest.raises(NotVerifiedError, match="not what was written"):
        write_file_safely(tmp_path / "x", [b"data"], calls=Flipping())
    assert list(tmp_path.iterdir()) == []


def test_f09_short_writes_lose_nothing(tmp_path: Path) -> None:
    class Short(Syscalls):
        def write(self, descriptor: int, data: memoryview) -> int:
            return super().write(descriptor, data[:7])

    write_file_safely(tmp_path / "x", [b"0123456789" * 10, b"end"], calls=Short())
    assert (tmp_path / "x").read_bytes() == b"0123456789" * 10 + b"end"


@pytest.mark.parametrize(
    ("code", "error", "cause"),
    [
        (errno.ENOSPC, NoRoomError, "disk is full"),
        (errno.EDQUOT, NoRoomError, "quota is used up"),
        (errno.EROFS, CopyError, "read-only"),
        (errno.EACCES, CopyError, "no permission"),
        (errno.EIO, CopyError, "input/output"),
        (errno.EBUSY, CopyError, "busy"),
    ],
)
@pytest.mark.parametrize("call", ["open", "write", "fsync", "link", "mkdir"])
def test_f06_what_the_system_refuses_is_named_and_leaves_nothing(
    tmp_path: Path, call: str, code: int, error: type[CopyError], cause: str
) -> None:
    fault = FailAt(1, code, frozenset({call}))
    with pytest.raises(error, match=f"(?i){cause}"):
        write_file_safely(tmp_path / "folder" / "x", [b"data"], calls=FaultySyscalls(fault))
    assert fault.failed == call
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_f08_a_failed_fsync_is_a_lost_file_that_is_written_again(tmp_path: Path) -> None:
    target = tmp_path / "x"
    with pytest.raises(CopyError, match="input/output"):
        write_file_safely(target, [b"data"], calls=FaultySyscalls(FailAt(1, errno.EIO, frozenset({"fsync"}))))
    counted = Fault()
    write_file_safely(target, [b"data"], calls=FaultySyscalls(counted))
    assert (target.read_bytes(), "write" in counted.steps) == (b"data", True)


@pytest.mark.parametrize("taken_by", [b"", b"data", b"other"])
def test_a_file_system_without_hard_links_still_overwrites_nothing(tmp_path: Path, taken_by: bytes) -> None:
    target = tmp_path / "x"
    if taken_by:
        target.write_bytes(taken_by)
    calls = FaultySyscalls(FailAt(1, errno.EOPNOTSUPP, frozenset({"link"})))
    if taken_by == b"other":
        with pytest.raises(ConflictingBytesError):
            write_file_safely(target, [b"data"], calls=calls)
    else:
        assert write_file_safely(target, [b"data"], calls=calls).already_there is bool(taken_by)
    assert (target.read_bytes(), partials_below(tmp_path)) == (taken_by or b"data", ())


def test_a_file_system_without_locks_can_be_written(tmp_path: Path) -> None:
    calls = FaultySyscalls(FailAt(1, errno.ENOLCK, frozenset({"lock"})))
    assert write_file_safely(tmp_path / "x", [b"data"], calls=calls).size_bytes == 4


@pytest.mark.parametrize("sweeper", ["has the lock", "has unlinked it"])
def test_a_partial_that_a_sweeper_takes_at_once_is_made_anew(tmp_path: Path, sweeper: str) -> None:
    class Racing(Syscalls):
        raced = False

        def lock(self, descriptor: int) -> None:
            if not self.raced:
                self.raced = True
                if sweeper == "has the lock":
                    raise BlockingIOError(errno.EAGAIN, "taken")
                (partial,) = partials_below(tmp_path)
                partial.unlink()
            super().lock(descriptor)

    write_file_safely(tmp_path / "x", [b"data"], calls=Racing())
    assert (tmp_path / "x").read_bytes() == b"data"
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_lock_that_fails_for_another_reason_is_told(tmp_path: Path) -> None:
    with pytest.raises(CopyError, match="input/output"):
        write_file_safely(tmp_path / "x", [b""], calls=FaultySyscalls(FailAt(1, errno.EIO, frozenset({"lock"}))))
    assert not (tmp_path / "x").exists()


def test_the_order_is_bytes_then_read_back_then_name_then_folder(tmp_path: Path) -> None:
    fault = Fault()
    write_file_safely(tmp_path / "x", [b"data"], calls=FaultySyscalls(fault))
    order = [step for step in fault.steps if step in {"write", "fsync", "read", "link", "unlink"}]
    assert order == ["write", "fsync", "read", "read", "link", "unlink", "fsync"]


def test_partials_of_the_dead_are_swept_and_those_of_the_living_stay(tmp_path: Path) -> None:
    dead = tmp_path / "sub" / ".abc-123.xpcs-partial"
    dead.parent.mkdir()
    dead.write_bytes(b"half")
    (tmp_path / "kept.imm").write_bytes(b"whole")
    seen = []

    def chunks() -> Iterator[bytes]:
        yield b"first"
        seen.append((sweep(tmp_path), partials_below(tmp_path)))
        yield b"second"

    write_file_safely(tmp_path / "x", chunks())
    ((swept, living),) = seen
    assert (swept, len(living), dead.exists()) == (1, 1, False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.imm", "sub", "x"]


@pytest.mark.parametrize(("name", "partial"), [(".a.xpcs-partial", True), ("a.xpcs-partial", False), (".a.imm", False)])
def test_only_hidden_names_with_the_suffix_are_partials(name: str, partial: bool) -> None:
    assert is_partial(name) is partial


def test_hashing_refuses_what_is_no_regular_file_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(CopyError, match="no regular file"):
        hash_file(tmp_path / "fifo")
    with pytest.raises(CopyError, match="symbolic link"):
        hash_file(tmp_path / "link")
    with pytest.raises(CopyError, match="no regular file"):
        hash_file(tmp_path)
    with pytest.raises(NotFoundError, match="no such file"):
        hash_file(tmp_path / "gone")


def test_hashing_a_file_that_grows_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"data")

    class Growing(Syscalls):
        def read(self, descriptor: int, size_bytes: int) -> bytes:
            with file.open("ab") as growing:
                growing.write(b"" if file.stat().st_size > 10 else b"more data")
            return super().read(descriptor, size_bytes)

    with pytest.raises(CopyError, match="changed while it was read"):
        hash_file(file, Growing())


def test_a_sparse_file_hashes_like_its_zeros(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.truncate(100_000)
    assert hash_file(tmp_path / "x").sha256 == sha256(bytes(100_000))


def test_f16_a_partial_that_its_writer_takes_away_while_the_folder_is_swept_is_no_fault(tmp_path: Path) -> None:
    class NamesOfAMomentAgo(Syscalls):
        def names(self, folder: int) -> tuple[str, ...]:
            return (*super().names(folder), ".0123456789ab-0123456789ab.xpcs-partial")

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "kept").write_bytes(b"x")
    assert sweep(tmp_path, NamesOfAMomentAgo()) == 0
    assert (tmp_path / "run" / "kept").read_bytes() == b"x"


def test_a_folder_swapped_for_a_link_while_it_is_swept_is_left_alone(tmp_path: Path) -> None:
    dead = tmp_path / "outside" / ".0-1.xpcs-partial"
    dead.parent.mkdir()
    dead.touch()
    (tmp_path / "place" / "run").mkdir(parents=True)

    class Swapping(Syscalls):
        def lstat(self, name: Path | str, folder: int | None = None) -> os.stat_result:
            found = super().lstat(name, folder)
            if name == "run" and not (tmp_path / "place" / "run").is_symlink():
                (tmp_path / "place" / "run").rmdir()
                (tmp_path / "place" / "run").symlink_to(dead.parent)
            return found

    assert sweep(tmp_path / "place", Swapping()) == 0
    assert dead.exists()
