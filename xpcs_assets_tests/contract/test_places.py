"""What every kind of place must do, and what it must answer while it is unavailable."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from xpcs_assets.errors import (
    ConflictingBytesError,
    CopyError,
    NotFoundError,
    NotVerifiedError,
    RemovalRefusedError,
    XpcsAssetsError,
)
from xpcs_assets.places.marker import UNMARKED, Marker, leave_marker
from xpcs_assets.places.place import Place, Presence, Usage
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.syscalls import SYSCALLS, Syscalls
from xpcs_assets.places.tape import TapePlace
from xpcs_assets.runs.folders import ASIDE_FOLDER, MARKER
from xpcs_assets.testing.faults import KILLED, DieAt, FailAt, Fault, FaultySyscalls, in_children

KINDS: dict[str, type[PosixPlace]] = {"posix": PosixPlace, "tape": TapePlace}
DATA = b"0123456789" * 100
SHA256 = hashlib.sha256(DATA).hexdigest()
OURS = Marker("0f" * 16, "here", "2024-05-01T12:00:00+00:00")
OTHERS = Marker("e1" * 16, "somewhere else", "2023-01-01T00:00:00+00:00")


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


@pytest.fixture(params=["any disk", "marked disk"])
def identity(request: pytest.FixtureRequest, root: Path) -> str | None:
    """What the place expects of its root, which bears it."""
    if request.param == "any disk":
        return None
    return leave_marker(root, OURS).identity


@pytest.fixture
def place(kind: str, root: Path, identity: str | None) -> Place:
    return KINDS[kind]("here", root, identity=identity)


def test_conformance_from_nothing_to_nothing(place: Place) -> None:
    path, permit = "run/a.bin", Permit("run/a.bin")
    assert place.why_unavailable() == ""
    assert place.stat(path).presence is Presence.NO
    assert place.put(path, [DATA[:300], DATA[300:]]).already_there is False
    assert place.put(path, [DATA]).already_there is True
    with pytest.raises(ConflictingBytesError):
        place.put(path, [b"other"])
    assert [b"".join(place.read(path, offset)) for offset in (0, 333, 1000)] == [DATA, DATA[333:], b""]
    found, there = place.digest(path, ["md5"]), place.stat(path)
    assert (there.presence, there.signature, found.size_bytes) == (Presence.YES, found.signature, len(DATA))
    assert (found.sha256, found.also) == (SHA256, {"md5": hashlib.md5(DATA, usedforsecurity=False).hexdigest()})
    with pytest.raises(RemovalRefusedError):
        place.remove(path, Permit())
    if place.holds_bundles:
        with pytest.raises(RemovalRefusedError, match="from an archive"):
            place.remove(path, permit)
        assert place.list().files == (path,)
    else:
        assert [place.remove(path, permit) for _ in range(2)] == [True, False]
        assert (place.stat(path).presence, place.list().files) == (Presence.NO, ())


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


def test_what_lies_below_a_file_is_not_there(place: Place) -> None:
    place.put("a", [DATA])
    assert (place.stat("a/b").presence, place.list("a").presence) == (Presence.NO, Presence.NO)


def test_bytes_that_are_not_the_promised_ones_are_not_put(place: Place) -> None:
    with pytest.raises(CopyError, match="hash to"):
        place.put("x", [b"other"], sha256=SHA256)
    assert place.put("x", [DATA], sha256=SHA256, also={"crc32c": place_crc32c(DATA)}).sha256 == SHA256
    assert place.list().files == ("x",)


def place_crc32c(data: bytes) -> str:
    import google_crc32c

    return f"{google_crc32c.value(data):08x}"


ODD = [
    "n" * 255,
    "a\nb",
    "-rf",
    "%2e%2e",
    "dot.",
    os.fsdecode(b"\xff\xfe"),
    "\u00e9",
    "e\u0301",
    "Case",
    "case",
    ".hidden",
]


def test_f18_odd_names_are_carried_exactly_and_never_merged(place: Place) -> None:
    for name in ODD:
        place.put(f"run/{name}", [os.fsencode(name)])
    assert place.list("run").files == tuple(sorted(f"run/{name}" for name in ODD))
    assert all(b"".join(place.read(f"run/{name}")) == os.fsencode(name) for name in ODD)


def test_a_listing_has_every_file_and_tells_what_is_none(place: Place, root: Path) -> None:
    for name in ("a/1", "a/b/2", "c"):
        place.put(name, [b"x"])
    (root / "a" / ".0-1.xpcs-partial").write_bytes(b"")
    (root / "a" / "link").symlink_to("/etc/passwd")
    (root / "door").symlink_to("/etc")
    assert (place.list().files, place.list().others) == (
        ("a/1", "a/b/2", "c"),
        ("a/.0-1.xpcs-partial", "a/link", "door"),
    )
    assert (place.list("a").files, place.list("a").others) == (("a/1", "a/b/2"), ("a/.0-1.xpcs-partial", "a/link"))


def test_the_marker_and_what_was_set_aside_are_not_listed_with_the_rest(place: Place, root: Path) -> None:
    place.put("a/x", [DATA])
    for name in (f"{ASIDE_FOLDER}/trash/a/y", MARKER, f"a/{MARKER}"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    assert place.list("a").files == (f"a/{MARKER}", "a/x")  # only in the root do these names mean something
    if not (root / MARKER).stat().st_size:
        assert place.list().files == (f"a/{MARKER}", "a/x")


def test_what_vanishes_while_it_is_listed_is_not_there(kind: str, root: Path) -> None:
    class NamesOfAMomentAgo(Syscalls):
        def names(self, folder: int) -> tuple[str, ...]:
            return (*super().names(folder), "gone")

    (root / "a").mkdir()
    (root / "a" / "x").touch()
    assert KINDS[kind]("here", root, calls=NamesOfAMomentAgo()).list().files == ("a/x",)


def test_a_link_or_folder_under_the_name_is_no_file(place: Place, root: Path) -> None:
    (root / "link").symlink_to("/etc/passwd")
    (root / "folder").mkdir()
    assert {place.stat(name).presence for name in ("link", "folder")} == {Presence.NO}
    for name in ("link", "folder"):
        with pytest.raises(CopyError):
            place.digest(name)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a//b", "./a", "a\0b"])
def test_i17_no_path_leaves_the_root(place: Place, path: str) -> None:
    everything: tuple[Callable[[str], object], ...] = (
        place.stat,
        place.digest,
        place.list,
        lambda path: list(place.read(path)),
        lambda path: place.put(path, [b"x"]),
    )
    for asking in everything:
        with pytest.raises(NotVerifiedError, match="no path inside"):
            asking(path)


def test_i17_no_linked_folder_leads_out_of_the_root(place: Place, root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    (root / "door").symlink_to(tmp_path / "outside")
    doing: tuple[Callable[[], object], ...] = (
        lambda: place.put("door/x", [b"x"]),
        lambda: place.put("door/new/x", [b"x"]),
        lambda: place.digest("door/secret"),
        lambda: list(place.read("door/secret")),
    )
    for do in doing:
        with pytest.raises(NotVerifiedError, match="through a link"):
            do()
    assert (place.stat("door/secret").presence, place.list("door").presence) == (Presence.UNKNOWN, Presence.UNKNOWN)
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["secret"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("call", ["open", "lstat", "names"])
def test_what_the_system_will_not_tell_is_unknown(kind: str, root: Path, call: str, code: int) -> None:
    def broken() -> Place:
        return KINDS[kind]("here", root, calls=FaultySyscalls(FailAt(1, code, frozenset({call}))))

    KINDS[kind]("here", root).put("a/x", [b"x"])
    assert broken().list("a").presence is Presence.UNKNOWN
    if call != "names":
        assert (broken().stat("a/x").presence, broken().stat("a/x").reason) == (Presence.UNKNOWN, os.strerror(code))


def test_the_failure_domain_is_the_device_unless_given(place: Place, kind: str, root: Path) -> None:
    assert place.failure_domain == f"device {root.stat().st_dev}"
    assert KINDS[kind]("here", root, "room 5").failure_domain == "room 5"


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


# ---- removing and setting aside --------------------------------------------------------------------------------------


@pytest.fixture
def disk(root: Path, identity: str | None) -> PosixPlace:
    """A place that gives up files."""
    made = PosixPlace("here", root, identity=identity)
    for name in ("a/x", "a/y", "b/z"):
        made.put(name, [DATA])
    return made


def test_a_permit_is_asked_before_anything_goes(disk: PosixPlace, root: Path) -> None:
    permit = Permit("a/x")
    assert disk.remove("a/x", permit)
    assert not disk.remove("a/x", permit)
    for going in (lambda: disk.remove("a/y", permit), lambda: disk.set_aside("a/y", "trash", permit)):
        with pytest.raises(RemovalRefusedError):
            going()
    assert permit.asked == [("here", "a/x"), ("here", "a/x"), ("here", "a/y"), ("here", "a/y")]
    assert disk.list().files == ("a/y", "b/z")
    disk.remove("b/z", Permit("b/z"))
    assert not (root / "b").exists()
    assert [path for path in (root / ASIDE_FOLDER).rglob("*") if not path.is_dir()] == []


def test_what_is_set_aside_is_out_of_its_name_and_comes_back(disk: PosixPlace, root: Path) -> None:
    before = disk.stat("b/z").signature
    aside = disk.set_aside("b/z", "trash/7", Permit("b/z"))
    assert (aside, disk.list().files) == (f"{ASIDE_FOLDER}/trash/7/b/z", ("a/x", "a/y"))
    assert (disk.digest(aside).sha256, (root / "b").exists()) == (SHA256, False)
    assert disk.set_aside("b/z", "trash/7", Permit("b/z")) == aside
    for _ in range(2):
        disk.put_back(aside, "b/z")
    after = disk.stat("b/z").signature
    assert before is not None
    assert after is not None
    assert (after.inode, after.mtime_ns) == (before.inode, before.mtime_ns)
    assert (disk.list(ASIDE_FOLDER).presence, disk.list().files) == (Presence.NO, ("a/x", "a/y", "b/z"))


def test_what_is_neither_here_nor_there_is_told(disk: PosixPlace) -> None:
    with pytest.raises(NotFoundError):
        disk.set_aside("gone", "trash", Permit("gone"))
    with pytest.raises(NotFoundError):
        disk.put_back(f"{ASIDE_FOLDER}/trash/gone", "gone")


def test_nothing_is_moved_over_other_bytes(disk: PosixPlace) -> None:
    aside = disk.set_aside("a/x", "trash", Permit("a/x"))
    disk.put("a/x", [b"other"])
    for moving in (lambda: disk.put_back(aside, "a/x"), lambda: disk.set_aside("a/x", "trash", Permit("a/x"))):
        with pytest.raises(ConflictingBytesError):
            moving()
    assert (disk.digest(aside).sha256, b"".join(disk.read("a/x"))) == (SHA256, b"other")


def test_the_same_bytes_under_both_names_are_one_file_in_the_end(disk: PosixPlace) -> None:
    aside = disk.set_aside("a/x", "trash", Permit("a/x"))
    disk.put("a/x", [DATA])
    disk.put_back(aside, "a/x")
    assert (disk.stat(aside).presence, disk.digest("a/x").sha256) == (Presence.NO, SHA256)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/passwd")])
def test_f21_only_files_are_moved_and_only_to_free_names(
    disk: PosixPlace, root: Path, make: Callable[[Path], None]
) -> None:
    make(root / "odd")
    with pytest.raises(CopyError, match="no regular file"):
        disk.set_aside("odd", "trash", Permit("odd"))
    aside = disk.set_aside("a/x", "trash", Permit("a/x"))
    with pytest.raises(ConflictingBytesError):
        disk.put_back(aside, "odd")
    assert disk.digest(aside).sha256 == SHA256


@pytest.mark.parametrize("label", ["..", "/tmp", "a/../..", ""])
def test_i17_no_label_leads_out_of_the_place(disk: PosixPlace, label: str) -> None:
    with pytest.raises(NotVerifiedError):
        disk.set_aside("a/x", label, Permit("a/x"))
    assert disk.stat("a/x").presence is Presence.YES


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


def test_partials_of_dead_writers_are_swept(place: PosixPlace, root: Path) -> None:
    assert place.sweep("run") == 0
    place.put("run/a/x", [DATA])
    for name in (".0-1.xpcs-partial", "a/.0-2.xpcs-partial"):
        (root / "run" / name).touch()
    assert (place.sweep("run"), place.sweep()) == (2, 0)
    assert place.list().files == ("run/a/x",)


# ---- unavailable -----------------------------------------------------------------------------------------------------


@dataclass
class Away:
    """A root in whose stead something else is, and what the place says of it."""

    said: str
    make: Callable[[Path], object]
    options: dict[str, object] = field(default_factory=lambda: {"identity": OURS.identity})
    has_a_file: bool = True
    """Whether a file can lie there."""


def _another_disk(root: Path) -> None:
    leave_marker(root, OTHERS)


def _broken(code: int, call: str) -> dict[str, object]:
    return {"identity": OURS.identity, "calls": FaultySyscalls(FailAt(1, code, frozenset({call})))}


AWAY = {
    "root missing": Away("No such file", Path.rmdir, has_a_file=False),
    "root missing, no marker expected": Away("No such file", Path.rmdir, {}, has_a_file=False),
    "root a file": Away("Not a directory", lambda root: (root.rmdir(), root.touch()), has_a_file=False),
    "root empty": Away(f"no marker {MARKER} is there, and that of {OURS.identity} should be", lambda root: None),
    "another disk": Away(f"is that of {OTHERS.identity} (somewhere else), and not of {OURS.identity}", _another_disk),
    "damaged marker": Away("cannot be read", lambda root: (root / MARKER).write_text('{"identity": "')),
    "marker of another format": Away("cannot be read", lambda root: (root / MARKER).write_text("{}")),
    "marker without identity": Away(
        "not one of this format",
        lambda root: (root / MARKER).write_text(OURS.to_json().replace(OURS.identity, "f")),
    ),
    "linked marker": Away("symbolic link", lambda root: (root / MARKER).symlink_to("/etc/hostname")),
    "never met": Away("it was not met", lambda root: None, {"identity": UNMARKED, "unavailable": "it was not met"}),
}


@pytest.fixture(params=AWAY)
def away(request: pytest.FixtureRequest, root: Path) -> Away:
    found = AWAY[str(request.param)]
    found.make(root)
    return found


def _contents(folder: Path) -> list[tuple[str, bytes]]:
    return sorted((str(path), path.read_bytes()) for path in folder.rglob("*") if path.is_file())


def doings(place: PosixPlace, path: str) -> dict[str, Callable[[], object]]:
    """Everything that changes a place."""
    return {
        "put": lambda: place.put("new/x", [b"x"]),
        "remove": lambda: place.remove(path, Permit(path)),
        "set_aside": lambda: place.set_aside(path, "trash", Permit(path)),
        "put_back": lambda: place.put_back(path, "back"),
        "sweep": place.sweep,
    }


def test_an_unavailable_place_answers_neither_yes_nor_no(away: Away, kind: str, root: Path) -> None:
    place = KINDS[kind]("here", root, **away.options)  # type: ignore[arg-type]
    assert away.said in place.why_unavailable()
    for answer in (place.stat("a/x"), place.stat("x"), place.list(), place.list("a")):
        assert (answer.presence, away.said in answer.reason) == (Presence.UNKNOWN, True)
    assert place.usage() is None
    asking: tuple[Callable[[], object], ...] = (
        lambda: place.digest("a/x"),
        lambda: list(place.read("a/x")),
        lambda: place.failure_domain,
    )
    for ask in asking:
        with pytest.raises(CopyError, match=r"'here' is unavailable: .*xpcs-assets place"):
            ask()


@pytest.mark.parametrize("doing", ["put", "remove", "set_aside", "put_back", "sweep"])
def test_nothing_is_done_in_an_unavailable_place(away: Away, kind: str, root: Path, tmp_path: Path, doing: str) -> None:
    place = KINDS[kind]("here", root, **away.options)  # type: ignore[arg-type]
    if away.has_a_file:
        (root / "a").mkdir()
        (root / "a" / "x").write_bytes(DATA)
        (root / ".0-1.xpcs-partial").touch()
    before = _contents(tmp_path)
    with pytest.raises((CopyError, RemovalRefusedError)):
        doings(place, "a/x")[doing]()
    assert (_contents(tmp_path), (root / "new").exists()) == (before, False)


@pytest.mark.parametrize("away", [name for name, away in AWAY.items() if away.has_a_file], indirect=True)
def test_a_file_that_is_there_is_read_whatever_the_disk(away: Away, kind: str, root: Path) -> None:
    (root / "a").mkdir()
    (root / "a" / "x").write_bytes(DATA)
    place = KINDS[kind]("here", root, **away.options)  # type: ignore[arg-type]
    assert (place.stat("a/x").presence, place.digest("a/x").sha256) == (Presence.YES, SHA256)
    assert b"".join(place.read("a/x")) == DATA


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


def test_the_disk_that_comes_back_is_available_again(kind: str, root: Path, tmp_path: Path) -> None:
    leave_marker(root, OURS)
    place = KINDS[kind]("here", root, identity=OURS.identity)
    place.put("x", [DATA])
    root.rename(tmp_path / "unmounted")
    root.mkdir()
    assert place.stat("x").presence is Presence.UNKNOWN
    root.rmdir()
    (tmp_path / "unmounted").rename(root)
    assert (place.stat("x").presence, place.stat("y").presence) == (Presence.YES, Presence.NO)


def test_a_root_without_a_marker_is_read_and_nothing_is_absent_there(root: Path) -> None:
    (root / "x").write_bytes(DATA)
    (root / "y").write_bytes(DATA)
    place = PosixPlace("here", root, identity=UNMARKED)
    assert (place.why_unavailable(), place.failure_domain) == ("", f"device {root.stat().st_dev}")
    assert (place.digest("x").sha256, place.usage() is None) == (SHA256, False)
    for answer in (place.stat("gone"), place.list()):
        assert (answer.presence, "another disk there would not be noticed" in answer.reason) == (Presence.UNKNOWN, True)
    assert place.remove("x", Permit("x"))
    for doing in (
        lambda: place.remove("x", Permit("x")),
        lambda: place.put("z", [DATA]),
        lambda: place.set_aside("y", "trash", Permit("y")),
    ):
        with pytest.raises(CopyError, match="unavailable"):
            doing()
    assert [path.name for path in root.iterdir()] == ["y"]
