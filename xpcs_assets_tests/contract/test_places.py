"""What every kind of place must do, and what it must answer while it is unavailable."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Protocol

import pytest

from xpcs_assets.errors import ConflictingBytesError, CopyError, NotFoundError, NotVerifiedError, RemovalRefusedError
from xpcs_assets.places.place import Place, Presence
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.syscalls import SYSCALLS, Syscalls
from xpcs_assets.places.tape import TapePlace
from xpcs_assets.testing.faults import FailAt, FaultySyscalls


class Kind(Protocol):
    """How a test makes a place of a kind."""

    def __call__(self, root: Path, calls: Syscalls = SYSCALLS) -> Place: ...


KINDS: dict[str, Kind] = {
    "posix": lambda root, calls=SYSCALLS: PosixPlace("here", root, calls=calls),
    "tape": lambda root, calls=SYSCALLS: TapePlace("here", root, calls=calls),
}
DATA = b"0123456789" * 100


class Permit:
    """Allows what it was told, and remembers what it was asked."""

    def __init__(self, *paths: str) -> None:
        self.paths = paths
        self.asked: list[tuple[str, str]] = []

    def allow(self, place: str, path: str) -> None:
        self.asked.append((place, path))
        if path not in self.paths:
            raise RemovalRefusedError("no")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def place(kind: str, root: Path) -> Place:
    return KINDS[kind](root)


@pytest.fixture
def missing(kind: str, tmp_path: Path) -> Place:
    """A place whose disk is not mounted."""
    return KINDS[kind](tmp_path / "not mounted")


def test_what_was_put_is_there_and_comes_back(place: Place) -> None:
    written = place.put("a/b.bin", [DATA[:300], DATA[300:]])
    stat = place.stat("a/b.bin")
    assert stat.presence is Presence.YES
    assert stat.signature is not None
    assert stat.signature.size_bytes == written.size_bytes == len(DATA)
    found = place.digest("a/b.bin", ["md5"])
    assert (found.sha256, found.signature) == (hashlib.sha256(DATA).hexdigest(), stat.signature)
    assert found.also == {"md5": hashlib.md5(DATA, usedforsecurity=False).hexdigest()}
    assert b"".join(place.read("a/b.bin")) == DATA


@pytest.mark.parametrize("offset", [0, 1, 333, 999, 1000, 2000])
def test_reading_may_begin_anywhere(place: Place, offset: int) -> None:
    place.put("x", [DATA])
    assert b"".join(place.read("x", offset)) == DATA[offset:]


def test_what_was_never_put_is_not_there(place: Place) -> None:
    assert place.stat("a/b").presence is Presence.NO
    assert place.list("a").presence is Presence.NO
    for asking in (place.digest, lambda path: list(place.read(path))):
        with pytest.raises(NotFoundError):
            asking("a/b")


def test_putting_twice_is_once_and_other_bytes_are_refused(place: Place) -> None:
    place.put("x", [DATA])
    assert place.put("x", [DATA]).already_there
    with pytest.raises(ConflictingBytesError):
        place.put("x", [b"other"])
    assert b"".join(place.read("x")) == DATA


def test_a_listing_has_every_file_and_tells_what_is_none(place: Place, root: Path) -> None:
    for name in ("a/1", "a/b/2", "c"):
        place.put(name, [b"x"])
    (root / "a" / ".0-1.xpcs-partial").write_bytes(b"")
    (root / "a" / "link").symlink_to("/etc/passwd")
    assert place.list().files == ("a/1", "a/b/2", "c")
    assert (place.list("a").files, place.list("a").others) == (("a/1", "a/b/2"), ("a/.0-1.xpcs-partial", "a/link"))


def test_a_link_or_folder_under_the_name_is_no_file(place: Place, root: Path) -> None:
    (root / "link").symlink_to("/etc/passwd")
    (root / "folder").mkdir()
    assert {place.stat(name).presence for name in ("link", "folder")} == {Presence.NO}
    with pytest.raises(CopyError):
        place.digest("link")


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a//b", "./a", "a\0b"])
def test_no_path_leaves_the_root(place: Place, path: str) -> None:
    for asking in (place.stat, place.digest, lambda path: place.put(path, [b"x"]), place.list):
        with pytest.raises(NotVerifiedError, match="no path inside"):
            asking(path)


def test_no_linked_folder_leads_out_of_the_root(place: Place, root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (root / "door").symlink_to(tmp_path / "outside")
    with pytest.raises(NotVerifiedError, match="through a link"):
        place.put("door/x", [b"x"])
    assert list((tmp_path / "outside").iterdir()) == []


def test_an_unavailable_place_answers_unknown(missing: Place) -> None:
    assert missing.stat("x").presence is Presence.UNKNOWN
    assert missing.list().presence is Presence.UNKNOWN
    assert missing.stat("x").reason
    with pytest.raises(CopyError, match="unavailable"):
        _ = missing.failure_domain


def test_nothing_is_put_where_no_disk_is_mounted(missing: Place, tmp_path: Path) -> None:
    with pytest.raises(CopyError, match="unavailable"):
        missing.put("x", [b"x"])
    assert not (tmp_path / "not mounted").exists()


def test_a_root_that_is_no_folder_is_unknown(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    place = KINDS[kind](tmp_path / "file")
    assert (place.stat("x").presence, place.list().presence) == (Presence.UNKNOWN, Presence.UNKNOWN)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_what_the_system_will_not_tell_is_unknown(kind: str, root: Path, code: int) -> None:
    def broken() -> Place:
        return KINDS[kind](root, FaultySyscalls(FailAt(1, code, frozenset({"lstat", "names"}))))

    KINDS[kind](root).put("a/x", [b"x"])
    assert (broken().stat("a/x").presence, broken().list("a").presence) == (Presence.UNKNOWN, Presence.UNKNOWN)
    assert broken().stat("a/x").reason == os.strerror(code)


def test_the_failure_domain_is_the_device_unless_given(kind: str, root: Path) -> None:
    assert KINDS[kind](root).failure_domain == f"device {root.stat().st_dev}"
    assert PosixPlace("here", root, "room 5").failure_domain == "room 5"


def test_a_permit_is_asked_before_anything_goes(root: Path) -> None:
    place, permit = PosixPlace("here", root), Permit("a/x")
    for name in ("a/x", "a/y", "b/z"):
        place.put(name, [b"x"])
    assert place.remove("a/x", permit)
    assert not place.remove("a/x", permit)
    with pytest.raises(RemovalRefusedError):
        place.remove("a/y", permit)
    assert permit.asked == [("here", "a/x"), ("here", "a/x"), ("here", "a/y")]
    assert place.list().files == ("a/y", "b/z")
    place.remove("b/z", Permit("b/z"))
    assert sorted(path.name for path in root.iterdir()) == ["a"]


def test_an_archive_removes_nothing_whatever_the_permit(root: Path) -> None:
    place = TapePlace("here", root)
    place.put("x", [b"x"])
    with pytest.raises(RemovalRefusedError, match="nothing is removed from an archive"):
        place.remove("x", Permit("x"))
    assert place.list().files == ("x",)
