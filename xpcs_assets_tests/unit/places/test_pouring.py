"""The way of a file's bytes to the disk and back, of one block and of many."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from xpcs_assets.errors import CopyError, NotVerifiedError, SourceDiffersError
from xpcs_assets.places import pouring
from xpcs_assets.places.files import write_file_safely
from xpcs_assets.places.syscalls import Syscalls
from xpcs_assets.testing.faults import FailAt, Fault, FaultySyscalls

BLOCK = 4096
MANY = [bytes([number]) * 1000 for number in range(40)]  # pieces that end nowhere near a block's end


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pouring, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(pouring, "_PIECE_BYTES", 1500)


class Watching(Syscalls):
    """Notes which thread makes which call."""

    def __init__(self) -> None:
        self.threads: dict[str, set[int]] = {}
        self.read_back_bytes = 0
        self.order: list[tuple[str, int, int]] = []

    def _note(self, name: str) -> None:
        self.threads.setdefault(name, set()).add(threading.get_ident())

    def write(self, descriptor: int, data: memoryview) -> int:
        self._note("write")
        return super().write(descriptor, data)

    def read(self, descriptor: int, size_bytes: int) -> bytes:
        self._note("read")
        data = super().read(descriptor, size_bytes)
        self.read_back_bytes += len(data)
        return data

    def fdatasync(self, descriptor: int) -> None:
        self._note("fdatasync")
        super().fdatasync(descriptor)

    def pread(self, descriptor: int, size_bytes: int, offset_bytes: int) -> bytes:
        self._note("pread")
        data = super().pread(descriptor, size_bytes, offset_bytes)
        self.read_back_bytes += len(data)
        self.order.append(("read", offset_bytes, len(data)))
        return data

    def drop_cache(self, descriptor: int, offset_bytes: int = 0, size_bytes: int = 0) -> None:
        super().drop_cache(descriptor, offset_bytes, size_bytes)
        self.order.append(("forgotten", offset_bytes, size_bytes))


@pytest.mark.parametrize("size_bytes", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 40 * 1000])
def test_f09_every_byte_is_written_and_read_back_once(tmp_path: Path, small_blocks: None, size_bytes: int) -> None:
    data, calls = b"".join(MANY)[:size_bytes], Watching()
    pieces = [data[at : at + 700] for at in range(0, size_bytes, 700)]
    also = {"md5": hashlib.md5(data, usedforsecurity=False).hexdigest()}
    written = write_file_safely(tmp_path / "x", pieces, also=also, calls=calls)
    assert (tmp_path / "x").read_bytes() == data
    assert (written.size_bytes, written.sha256) == (size_bytes, hashlib.sha256(data).hexdigest())
    assert calls.read_back_bytes == size_bytes


def test_a_file_under_one_block_is_written_and_read_by_one_thread(tmp_path: Path, small_blocks: None) -> None:
    calls = Watching()
    write_file_safely(tmp_path / "x", [b"x" * (BLOCK - 1)], calls=calls)
    assert calls.threads == {name: {threading.get_ident()} for name in ("write", "read")}


def test_a_block_is_forgotten_before_it_is_read_back_and_after(tmp_path: Path, small_blocks: None) -> None:
    calls = Watching()
    write_file_safely(tmp_path / "x", [b"x" * 1000] * 9, calls=calls)
    first, second = ("forgotten", 0, 5000), ("forgotten", 5000, 4000)
    assert [step for step in calls.order if step[0] == "forgotten"][:4] == [first, first, second, second]
    assert calls.order[:6] == [first, *[("read", at, min(1500, 5000 - at)) for at in range(0, 5000, 1500)], first]


def test_a_bigger_file_is_read_back_by_another_thread_while_it_is_written(tmp_path: Path, small_blocks: None) -> None:
    calls, before = Watching(), threading.active_count()
    write_file_safely(tmp_path / "x", MANY, calls=calls)
    assert threading.get_ident() not in calls.threads["pread"] | calls.threads["fdatasync"]
    assert calls.threads["write"] == {threading.get_ident()}
    assert threading.active_count() == before


def test_the_whole_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, small_blocks: None) -> None:
    fault = Fault()
    write_file_safely(tmp_path / "x", MANY, calls=FaultySyscalls(fault))
    last_write = len(fault.steps) - fault.steps[::-1].index("write")
    named = fault.steps.index("link")
    assert fault.steps[last_write:named].count("fsync") == 1
    assert "read" in fault.steps[fault.steps.index("fsync", last_write) : named]


@pytest.mark.parametrize("call", ["fdatasync", "pread", "drop_cache"])
def test_f08_what_fails_behind_the_writer_fails_the_file(tmp_path: Path, small_blocks: None, call: str) -> None:
    calls = FaultySyscalls(FailAt(1, errno.EIO, frozenset({call})))
    if call == "drop_cache":  # an advice only
        write_file_safely(tmp_path / "x", MANY, calls=calls)
        return
    with pytest.raises(CopyError, match="input/output"):
        write_file_safely(tmp_path / "x", MANY, calls=calls)
    assert list(tmp_path.iterdir()) == []


class Altering(Syscalls):
    """Changes one answer in the middle of what is read back behind the writer."""

    def __init__(self, alter: Callable[[bytes], bytes]) -> None:
        self.alter, self.asked = alter, 0

    def pread(self, descriptor: int, size_bytes: int, offset_bytes: int) -> bytes:
        self.asked += 1
        data = super().pread(descriptor, size_bytes, offset_bytes)
        return self.alter(data) if self.asked == 3 else data


def test_f26_bytes_that_come_back_otherwise_are_never_named(tmp_path: Path, small_blocks: None) -> None:
    with pytest.raises(NotVerifiedError, match="not what was written"):
        write_file_safely(tmp_path / "x", MANY, calls=Altering(lambda data: bytes([data[0] ^ 1]) + data[1:]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", [0, 1, 100])
def test_f09_less_than_was_asked_for_is_asked_for_again(tmp_path: Path, small_blocks: None, left: int) -> None:
    write_file_safely(tmp_path / "x", MANY, calls=Altering(lambda data: data[:left]))
    assert (tmp_path / "x").read_bytes() == b"".join(MANY)


def test_f08_a_part_that_got_lost_behind_the_writer_is_found(tmp_path: Path, small_blocks: None) -> None:
    class Losing(Syscalls):
        """A disk that takes the first block and gives back nothing but zeros."""

        def fdatasync(self, descriptor: int) -> None:
            super().fdatasync(descriptor)
            os.pwrite(descriptor, bytes(BLOCK // 2), 0)

    with pytest.raises(NotVerifiedError, match="not what was written"):
        write_file_safely(tmp_path / "x", [b"x" * 500] * 40, calls=Losing())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_f27_f28_one_digest_that_differs_refuses_the_bytes(tmp_path: Path, kind: str) -> None:
    right = {"sha256": hashlib.sha256(b"x").hexdigest(), "md5": hashlib.md5(b"x", usedforsecurity=False).hexdigest()}
    digests = right | {kind: "0" * len(right[kind])}
    sha256 = digests.pop("sha256")
    with pytest.raises(SourceDiffersError, match=f"{kind} .* not 000"):
        write_file_safely(tmp_path / "x", [b"x"], sha256=sha256, also=digests)
    assert list(tmp_path.iterdir()) == []


def test_f31_a_digest_that_cannot_be_made_refuses_the_bytes(tmp_path: Path) -> None:
    with pytest.raises(SourceDiffersError, match="whirlpool cannot be made"):
        write_file_safely(tmp_path / "x", [b"x"], also={"whirlpool": "00"})
    assert list(tmp_path.iterdir()) == []


def test_what_the_source_raises_ends_the_helpers_too(tmp_path: Path, small_blocks: None) -> None:
    def broken() -> object:
        yield from MANY
        raise OSError(errno.EIO, "gone")

    before = threading.active_count()
    with pytest.raises(CopyError):
        write_file_safely(tmp_path / "x", broken())  # type: ignore[arg-type]
    assert threading.active_count() == before
    assert list(tmp_path.iterdir()) == []
