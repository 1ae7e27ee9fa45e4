"""F05 to F21 as a place and its files meet them: full and failing disks, racing links, odd names, what is no file."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

from xpcs_assets.errors import ConflictingBytesError, CopyError, NoRoomError, XpcsAssetsError
from xpcs_assets.places.place import Place, Presence
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.syscalls import Syscalls
from xpcs_assets.runs.folders import ASIDE_FOLDER
from xpcs_assets.testing.faults import FailAt, FaultySyscalls

DATA = b"frames" * 1000
PAIRS = 50


class Anything:
    """A permit for every file."""

    def allow(self, place: str, path: str) -> None:
        """Always."""


@pytest.fixture
def root(quick_folder: Path) -> Path:
    (quick_folder / "root").mkdir()
    return quick_folder / "root"


def failing(root: Path, at: int, code: int, *calls: str) -> tuple[PosixPlace, FailAt]:
    fault = FailAt(at, code, frozenset(calls))
    return PosixPlace("disk", root, calls=FaultySyscalls(fault)), fault


def files_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["mkdir", "open", "write", "fsync", "link"])
def test_f05_a_full_disk_leaves_nothing_partial_and_the_repeat_ends_well(root: Path, call: str, code: int) -> None:
    told: list[CopyError] = []
    while True:
        place, fault = failing(root, len(told) + 1, code, call)
        try:
            place.put("run/x", [DATA])
            break
        except CopyError as error:
            told.append(error)
        # Only its folder was not synchronised when it has its name already.
        assert files_below(root) in ([], ["run/x"])
    assert (fault.failed, files_below(root)) == ("", ["run/x"])
    assert any(isinstance(error, NoRoomError) and "Make room" in error.remedy for error in told)


@pytest.mark.parametrize(
    ("code", "cause"),
    [(errno.EROFS, "read-only"), (errno.EACCES, "no permission"), (errno.EPERM, "does not permit")],
)
@pytest.mark.parametrize("doing", ["put", "remove", "set aside"])
def test_f06_what_the_system_forbids_is_named_and_changes_nothing(
    root: Path, doing: str, code: int, cause: str
) -> None:
    PosixPlace("disk", root).put("run/x", [DATA])
    place, fault = failing(root, 1, code, "write", "unlink", "mkdir")
    do: dict[str, Callable[[], object]] = {
        "put": lambda: place.put("run/y", [DATA]),
        "remove": lambda: place.remove("run/x", Anything()),
        "set aside": lambda: place.set_aside("run/x", "trash", Anything()),
    }
    with pytest.raises(CopyError, match=cause):
        do[doing]()
    assert (bool(fault.failed), files_below(root)) == (True, ["run/x"])


@pytest.mark.parametrize("block", [1, 2, 3])
def test_f07_a_block_that_cannot_be_read_fails_its_file_alone(root: Path, block: int) -> None:
    for name in ("x", "y"):
        with (root / name).open("wb") as file:
            file.truncate(12 << 20)
    place, fault = failing(root, block, errno.EIO, "read")
    with pytest.raises(CopyError, match=r"x: the device reports an input/output error"):
        place.digest("x")
    assert (fault.failed, place.digest("y").size_bytes, place.stat("x").presence) == ("read", 12 << 20, Presence.YES)


def test_f08_after_a_failed_fsync_the_file_is_written_anew(root: Path) -> None:
    written = 0

    class Failing(Syscalls):
        failed = False

        def write(self, descriptor: int, data: memoryview) -> int:
            nonlocal written
            written += len(data)
            return super().write(descriptor, data)

        def fsync(self, descriptor: int) -> None:
            if not self.failed:
                self.failed = True
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            super().fsync(descriptor)

    place = PosixPlace("disk", root, calls=Failing())
    with pytest.raises(CopyError, match="input/output"):
        place.put("x", [DATA])
    assert files_below(root) == []
    place.put("x", [DATA])
    assert (written, files_below(root)) == (2 * len(DATA), ["x"])


@pytest.mark.parametrize("size_bytes", [0, 1, 4096, 4 << 20, (4 << 20) + 1])
def test_f09_files_of_any_length_and_sparse_ones_come_back_as_they_were(root: Path, size_bytes: int) -> None:
    with (root / "sparse").open("wb") as file:
        file.truncate(size_bytes)
    place = PosixPlace("disk", root)
    written = place.put("copy", place.read("sparse"))
    assert (written.size_bytes, written.sha256) == (size_bytes, place.digest("sparse").sha256)
    assert place.digest("copy").sha256 == written.sha256


def test_f14_f15_other_bytes_are_refused_and_the_same_ones_are_there_already(root: Path) -> None:
    place = PosixPlace("disk", root)
    first = place.put("run/x", [DATA])
    inode = place.stat("run/x").signature
    with pytest.raises(ConflictingBytesError, match="Both were kept"):
        place.put("run/x", [DATA[:-1]])
    again = place.put("run/x", [DATA], sha256=first.sha256)
    assert (again.already_there, place.stat("run/x").signature, files_below(root)) == (True, inode, ["run/x"])


def test_f17_a_file_copied_onto_itself_stays_what_it_is(root: Path) -> None:
    place = PosixPlace("disk", root)
    place.put("x", [DATA])
    os.link(root / "x", root / "y")
    for name in ("x", "y"):
        assert place.put(name, place.read("x")).already_there
    one, other = place.stat("x").signature, place.stat("y").signature
    assert one is not None
    assert one == other  # device and inode tell that they are one file: they count once


NAMES = {
    "an accent composed and decomposed": ("\u00e9", "e\u0301"),
    "a case pair": ("Run", "run"),
    "a dot and none": ("run", "run."),
    "an escape and what it means": ("%2e%2e", "%2e"),
    "bytes that are no text": (os.fsdecode(b"\xff"), os.fsdecode(b"\xfe")),
}


@pytest.mark.parametrize("pair", NAMES.values(), ids=NAMES)
def test_f18_names_that_look_alike_are_two_files_also_in_the_trash(root: Path, pair: tuple[str, str]) -> None:
    place = PosixPlace("disk", root)
    for name in pair:
        place.put(f"{name}/{name}", [os.fsencode(name)])
    aside = [place.set_aside(f"{name}/{name}", "trash", Anything()) for name in pair]
    assert place.list().files == ()
    for name, path in zip(pair, aside, strict=True):
        place.put_back(path, f"{name}/{name}")
        assert b"".join(place.read(f"{name}/{name}")) == os.fsencode(name)


def test_f18_a_name_too_long_for_the_disk_is_refused_with_a_reason(root: Path) -> None:
    place = PosixPlace("disk", root)
    for path in (f"run/{'n' * 256}", f"{'n' * 256}/x"):
        with pytest.raises(CopyError, match="name is too long"):
            place.put(path, [DATA])
        assert place.stat(path).presence is Presence.UNKNOWN
    deep = "/".join(["d" * 200] * 30)  # longer than a path may be: each folder is opened by its name alone
    place.put(f"{deep}/x", [DATA])
    assert place.stat(f"{deep}/x").presence is Presence.YES
    assert place.list().files == (f"{deep}/x",)
    assert place.remove(f"{deep}/x", Anything())


@pytest.mark.parametrize("target", ["/etc/passwd", "..", "nowhere", "odd"])
def test_f19_a_link_is_never_followed_whatever_it_names(root: Path, target: str) -> None:
    place = PosixPlace("disk", root)
    (root / "odd").symlink_to(target)
    assert (place.stat("odd").presence, place.list().others) == (Presence.NO, ("odd",))
    doing: tuple[Callable[[], object], ...] = (
        lambda: place.digest("odd"),
        lambda: list(place.read("odd")),
        lambda: place.put("odd", [DATA]),
        lambda: place.put("odd/x", [DATA]),
        lambda: place.set_aside("odd", "trash", Anything()),
    )
    for do in doing:
        with pytest.raises(CopyError):
            do()
    assert (root / "odd").is_symlink()


class Swapper:
    """Turns a folder into a link that leads outside and back, as long as it is asked to."""

    def __init__(self, door: Path, outside: Path) -> None:
        self.door, self.outside = door, outside
        self.swaps = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._swap)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._ended.set()
        self._thread.join()

    def _swap(self) -> None:
        kept = self.door.with_name(self.door.name + ".kept")
        while not self._ended.is_set():
            with suppress(OSError):  # the writer makes the folder anew in between
                self.door.rename(kept)
                self.door.symlink_to(self.outside)
                self.swaps += 1
            with suppress(OSError):
                self.door.unlink()
            with suppress(OSError):
                kept.rename(self.door)
            shutil.rmtree(kept, ignore_errors=True)


@pytest.mark.parametrize("doing", ["put", "remove", "set aside", "put back", "read", "sweep"])
def test_f20_a_link_swapped_into_the_path_never_leads_outside(root: Path, quick_folder: Path, doing: str) -> None:
    outside = quick_folder / "outside"
    outside.mkdir()
    place = PosixPlace("disk", root)
    bait = {"x": b"secret", ".0-1.xpcs-partial": b""} if doing in {"remove", "set aside", "read", "sweep"} else {}
    for name, data in bait.items():
        (outside / name).write_bytes(data)
    swaps = 0
    for pair in range(PAIRS):
        door = root / f"door{pair}"
        door.mkdir()
        (door / "x").write_bytes(DATA)
        with Swapper(door, outside) as swapper:
            for _ in range(20):
                with suppress(XpcsAssetsError):
                    _do(place, doing, door.name)
                (door / "x").exists()  # gives the other thread its turn
        swaps += swapper.swaps
        assert {path.name: path.read_bytes() for path in outside.iterdir()} == bait
    assert swaps > PAIRS


def _do(place: Place, doing: str, door: str) -> None:
    if doing == "put":
        place.put(f"{door}/new", [DATA])
    elif doing == "remove":
        place.remove(f"{door}/x", Anything())
    elif doing == "set aside":
        place.set_aside(f"{door}/x", "trash", Anything())
    elif doing == "put back":
        place.put_back(place.set_aside(f"{door}/x", "trash", Anything()), f"{door}/x")
    elif doing == "read":
        assert place.digest(f"{door}/x").size_bytes != len(b"secret")
    else:
        assert isinstance(place, PosixPlace)
        place.sweep()


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


ODD: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "socket": _socket,
    "device": lambda path: os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3)),
}


@pytest.fixture(params=ODD)
def odd(request: pytest.FixtureRequest, root: Path) -> str:
    """The name of something that is no file."""
    try:
        ODD[request.param](root / "odd")
    except PermissionError:
        pytest.skip("only root may make a device here")
    return "odd"


def test_f21_what_is_no_file_is_refused_without_waiting(root: Path, odd: str) -> None:
    place = PosixPlace("disk", root)
    assert place.stat(odd).presence is Presence.NO
    doing: tuple[Callable[[], object], ...] = (
        lambda: place.digest(odd),
        lambda: list(place.read(odd)),
        lambda: place.put(odd, [DATA]),
        lambda: place.set_aside(odd, "trash", Anything()),
        lambda: place.put_back(odd, "x"),
    )
    for do in doing:
        with pytest.raises(CopyError):
            do()
    assert files_below(root) in (["odd"], [])
    assert not (root / ASIDE_FOLDER).exists()
