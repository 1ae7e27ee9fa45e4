"""What a place that is a folder of this machine does when the system refuses a call, or the process dies at one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from xpcs_assets.errors import ConflictingBytesError, CopyError, RemovalRefusedError, XpcsAssetsError
from xpcs_assets.places.marker import UNMARKED, leave_marker
from xpcs_assets.places.place import Place, Presence, Usage
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.syscalls import SYSCALLS, Syscalls
from xpcs_assets.places.tape import TapePlace
from xpcs_assets.runs.folders import ASIDE_FOLDER
from xpcs_assets.testing.faults import KILLED, DieAt, FailAt, Fault, FaultySyscalls, in_children
from xpcs_assets_tests.contract.test_places import DATA, OURS, SHA256, Permit

KINDS: dict[str, type[PosixPlace]] = {"posix": PosixPlace, "tape": TapePlace}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def test_what_vanishes_while_it_is_listed_is_not_there(kind: str, root: Path) -> None:
    class NamesOfAMomentAgo(Syscalls):
        def names(self, folder: int) -> tuple[str, ...]:
            return (*super().names(folder), "gone")

    (root / "a").mkdir()
    (root / "a" / "x").touch()
    assert KINDS[kind]("here", root, calls=NamesOfAMomentAgo()).list().files == ("a/x",)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("call", ["open", "lstat", "names"])
def test_what_the_system_will_not_tell_is_unknown(kind: str, root: Path, call: str, code: int) -> None:
    def broken() -> Place:
        return KINDS[kind]("here", root, calls=FaultySyscalls(FailAt(1, code, frozenset({call}))))

    KINDS[kind]("here", root).put("a/x", [b"x"])
    assert broken().list("a").presence is Presence.UNKNOWN
    if call != "names":
        assert (broken().stat("a/x").presence, broken().stat("a/x").reason) == (Presence.UNKNOWN, os.strerror(code))


def test_how_full_the_disk_is_is_told_as_this_user_sees_it(kind: str, root: Path) -> None:
    class Disk(Syscalls):
        def statvfs(self, folder: int) -> os.statvfs_result:
            return os.statvfs_result((4096, 1000, 100, 40, 20, 0, 0, 0, 0, 255))  # 20 of 40 free blocks are root's

    usage = KINDS[kind]("here", root, calls=Disk()).usage()
    assert usage == Usage(used_bytes=60_000, free_bytes=20_000)
    assert usage.share == 0.75


def test_a_disk_that_does_not_tell_how_full_it_is_is_not_called_empty(kind: str, root: Path) -> None:
    calls = FaultySyscalls(FailAt(1, errno.EIO, frozenset({"statvfs"})))
    assert KINDS[kind]("here", root, calls=calls).usage() is None


def test_an_archive_removes_and_moves_nothing_whatever_the_permit(root: Path) -> None:
    place = TapePlace("here", root)
    place.put("x", [b"x"])
    with pytest.raises(RemovalRefusedError, match="nothing is removed from an archive"):
        place.remove("x", Permit("x"))
    with pytest.raises(RemovalRefusedError, match="nothing is moved in an archive"):
        place.set_aside("x", "trash", Permit("x"))
    assert place.list().files == ("x",)


def test_a_file_system_without_hard_links_moves_and_still_overwrites_nothing(root: Path) -> None:
    def place() -> PosixPlace:
        return PosixPlace("here", root, calls=FaultySyscalls(FailAt(1, errno.EPERM, frozenset({"link"}))))

    PosixPlace("here", root).put("a/x", [DATA])
    aside = place().set_aside("a/x", "trash", Permit("a/x"))
    PosixPlace("here", root).put("a/x", [b"other"])
    with pytest.raises(ConflictingBytesError):
        place().put_back(aside, "a/x")
    assert place().list().files == ("a/x",)


@pytest.mark.parametrize("moved", ["aside", "back"])
def test_a_move_killed_at_any_call_loses_nothing_and_finishes_when_repeated(tmp_path: Path, moved: str) -> None:
    aside = f"{ASIDE_FOLDER}/trash/run/x"

    def begin(root: Path) -> None:
        root.mkdir()
        place = PosixPlace("here", root)
        place.put("run/x", [DATA])
        if moved == "back":
            place.set_aside("run/x", "trash", Permit("run/x"))

    def move(root: Path, calls: Syscalls = SYSCALLS) -> None:
        place = PosixPlace("here", root, calls=calls)
        if moved == "aside":
            place.set_aside("run/x", "trash", Permit("run/x"))
        else:
            place.put_back(aside, "run/x")

    counted = Fault()
    begin(tmp_path / "whole")
    move(tmp_path / "whole", FaultySyscalls(counted))
    steps = len(counted.steps)
    assert steps > 10
    for step in range(1, steps + 1):
        root = tmp_path / str(step)
        begin(root)
        assert in_children(lambda: move(root, FaultySyscalls(DieAt(step)))) == [KILLED]  # noqa: B023 - run at once
        place = PosixPlace("here", root)
        found = [place.digest(path).sha256 for path in ("run/x", aside) if place.stat(path).presence is Presence.YES]
        assert found in ([SHA256], [SHA256, SHA256])
        move(root)
        assert [place.stat(path).presence is Presence.YES for path in ("run/x", aside)] == [
            moved == "back",
            moved == "aside",
        ]


def test_partials_of_dead_writers_are_swept(root: Path) -> None:
    place = PosixPlace("here", root)
    assert place.sweep("run") == 0
    place.put("run/a/x", [DATA])
    for name in (".0-1.xpcs-partial", "a/.0-2.xpcs-partial"):
        (root / "run" / name).touch()
    assert (place.sweep("run"), place.sweep()) == (2, 0)
    assert place.list().files == ("run/a/x",)


def test_nothing_is_swept_in_an_unavailable_place(root: Path) -> None:
    (root / ".0-1.xpcs-partial").touch()
    with pytest.raises(CopyError, match="unavailable"):
        PosixPlace("here", root, identity=OURS.identity).sweep()
    assert [path.name for path in root.iterdir()] == [".0-1.xpcs-partial"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("at", range(1, 4))
def test_a_root_or_marker_that_cannot_be_read_is_unknown(kind: str, root: Path, code: int, at: int) -> None:
    leave_marker(root, OURS)

    def place() -> PosixPlace:
        calls = FaultySyscalls(FailAt(at, code, frozenset({"open", "read"})))
        return KINDS[kind]("here", root, calls=calls, identity=OURS.identity)

    assert place().why_unavailable()
    assert (place().stat("x").presence, place().list().presence) == (Presence.UNKNOWN, Presence.UNKNOWN)
    with pytest.raises(XpcsAssetsError):
        place().put("x", [DATA])
    assert place().stat("x").reason


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_root_that_may_not_be_opened_is_unknown(kind: str, root: Path) -> None:
    root.chmod(0)
    assert KINDS[kind]("here", root).stat("x").presence is Presence.UNKNOWN
    root.chmod(0o755)


def test_a_root_without_a_marker_tells_how_full_it_is(root: Path) -> None:
    assert PosixPlace("here", root, identity=UNMARKED).usage() is not None
