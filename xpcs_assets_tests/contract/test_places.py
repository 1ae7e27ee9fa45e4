"""What every kind of place must do, and what it must answer while it is unavailable."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from xpcs_assets.errors import ConflictingBytesError, CopyError, NotFoundError, NotVerifiedError, RemovalRefusedError
from xpcs_assets.places.marker import UNMARKED, Marker
from xpcs_assets.places.place import Place, Presence
from xpcs_assets.runs.folders import ASIDE_FOLDER, FLIGHT_FOLDER, MARKER
from xpcs_assets_tests.contract.place_kinds import KINDS, PlaceKind

DATA = b"0123456789" * 100
SHA256 = hashlib.sha256(DATA).hexdigest()
OURS = Marker("0f" * 16, "here", "2024-05-01T12:00:00+00:00")
OTHERS = Marker("e1" * 16, "somewhere else", "2023-01-01T00:00:00+00:00")


def of_kinds(wanted: Callable[[PlaceKind], bool]) -> pytest.MarkDecorator:
    """For the kinds of place that can do what the test is about."""
    return pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if wanted(kind)], indirect=True)


FOLDERS = of_kinds(lambda kind: kind.is_folder)
GIVING_UP = of_kinds(lambda kind: kind.gives_up)
FOLDERS_GIVING_UP = of_kinds(lambda kind: kind.is_folder and kind.gives_up)


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
def kind(request: pytest.FixtureRequest) -> PlaceKind:
    found = KINDS[str(request.param)]
    if missing := found.why_missing():
        pytest.skip(missing)
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture(params=["any disk", "marked disk"])
def identity(request: pytest.FixtureRequest, kind: PlaceKind, root: Path) -> str | None:
    """What the place expects of its root, which bears it."""
    if request.param == "any disk":
        return None
    return kind.mark(root, OURS).identity


@pytest.fixture
def place(kind: PlaceKind, root: Path, identity: str | None) -> Place:
    return kind.open(root, identity=identity)


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


def test_f18_odd_names_are_carried_exactly_and_never_merged(kind: PlaceKind, place: Place) -> None:
    names = [name for name in ODD if kind.carries(name)]
    for name in names:
        place.put(f"run/{name}", [os.fsencode(name)])
    assert place.list("run").files == tuple(sorted(f"run/{name}" for name in names))
    assert all(b"".join(place.read(f"run/{name}")) == os.fsencode(name) for name in names)


@FOLDERS
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


@FOLDERS
def test_the_marker_and_what_was_set_aside_are_not_listed_with_the_rest(place: Place, root: Path) -> None:
    place.put("a/x", [DATA])
    for name in (f"{ASIDE_FOLDER}/trash/a/y", f"{FLIGHT_FOLDER}/a/b/y", MARKER, f"a/{MARKER}"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    assert place.list("a").files == (f"a/{MARKER}", "a/x")  # only in the root do these names mean something
    if not (root / MARKER).stat().st_size:
        assert place.list().files == (f"a/{MARKER}", "a/x")


@FOLDERS
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


@FOLDERS
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


def test_the_failure_domain_is_that_of_the_kind_unless_given(place: Place, kind: PlaceKind, root: Path) -> None:
    assert place.failure_domain == kind.domain(root)
    assert kind.open(root, "room 5").failure_domain == "room 5"


# ---- removing and setting aside --------------------------------------------------------------------------------------


@pytest.fixture
def disk(place: Place) -> Place:
    """A place that has files to give up."""
    for name in ("a/x", "a/y", "b/z"):
        place.put(name, [DATA])
    return place


@FOLDERS_GIVING_UP
def test_a_permit_is_asked_before_anything_goes(disk: Place, root: Path) -> None:
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


@FOLDERS_GIVING_UP
def test_what_is_set_aside_is_out_of_its_name_and_comes_back(disk: Place, root: Path) -> None:
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


@GIVING_UP
def test_what_is_neither_here_nor_there_is_told(disk: Place) -> None:
    with pytest.raises(NotFoundError):
        disk.set_aside("gone", "trash", Permit("gone"))
    with pytest.raises(NotFoundError):
        disk.put_back(f"{ASIDE_FOLDER}/trash/gone", "gone")


@GIVING_UP
def test_nothing_is_moved_over_other_bytes(disk: Place) -> None:
    aside = disk.set_aside("a/x", "trash", Permit("a/x"))
    disk.put("a/x", [b"other"])
    for moving in (lambda: disk.put_back(aside, "a/x"), lambda: disk.set_aside("a/x", "trash", Permit("a/x"))):
        with pytest.raises(ConflictingBytesError):
            moving()
    assert (disk.digest(aside).sha256, b"".join(disk.read("a/x"))) == (SHA256, b"other")


@GIVING_UP
def test_the_same_bytes_under_both_names_are_one_file_in_the_end(disk: Place) -> None:
    aside = disk.set_aside("a/x", "trash", Permit("a/x"))
    disk.put("a/x", [DATA])
    disk.put_back(aside, "a/x")
    assert (disk.stat(aside).presence, disk.digest("a/x").sha256) == (Presence.NO, SHA256)


@FOLDERS_GIVING_UP
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/passwd")])
def test_f21_only_files_are_moved_and_only_to_free_names(disk: Place, root: Path, make: Callable[[Path], None]) -> None:
    make(root / "odd")
    with pytest.raises(CopyError, match="no regular file"):
        disk.set_aside("odd", "trash", Permit("odd"))
    aside = disk.set_aside("a/x", "trash", Permit("a/x"))
    with pytest.raises(ConflictingBytesError):
        disk.put_back(aside, "odd")
    assert disk.digest(aside).sha256 == SHA256


@GIVING_UP
@pytest.mark.parametrize("label", ["..", "/tmp", "a/../..", ""])
def test_i17_no_label_leads_out_of_the_place(disk: Place, label: str) -> None:
    with pytest.raises(NotVerifiedError):
        disk.set_aside("a/x", label, Permit("a/x"))
    assert disk.stat("a/x").presence is Presence.YES


# ---- unavailable -----------------------------------------------------------------------------------------------------


@dataclass
class Away:
    """A root in whose stead something else is, and what the place says of it."""

    said: str
    make: Callable[[PlaceKind, Path], object]
    identity: str | None = OURS.identity
    unavailable: str = ""
    has_a_file: bool = True
    """Whether a file can lie there."""
    is_folder: bool = False
    """Whether only a folder can be like that."""

    def open(self, kind: PlaceKind, root: Path) -> Place:
        return kind.open(root, identity=self.identity, unavailable=self.unavailable)


def _as_it_is(kind: PlaceKind, root: Path) -> None:
    pass


def _marker(text: str) -> Callable[[PlaceKind, Path], object]:
    return lambda kind, root: kind.plant_marker(root, text)


AWAY = {
    "root missing": Away("No such file", lambda kind, root: root.rmdir(), has_a_file=False, is_folder=True),
    "root missing, no marker expected": Away(
        "No such file", lambda kind, root: root.rmdir(), None, has_a_file=False, is_folder=True
    ),
    "root a file": Away(
        "Not a directory", lambda kind, root: (root.rmdir(), root.touch()), has_a_file=False, is_folder=True
    ),
    "root empty": Away(f"no marker {MARKER} is there, and that of {OURS.identity} should be", _as_it_is),
    "another disk": Away(
        f"is that of {OTHERS.identity} (somewhere else), and not of {OURS.identity}",
        lambda kind, root: kind.mark(root, OTHERS),
    ),
    "damaged marker": Away("cannot be read", _marker('{"identity": "')),
    "marker of another format": Away("cannot be read", _marker("{}")),
    "marker without identity": Away("not one of this format", _marker(OURS.to_json().replace(OURS.identity, "f"))),
    "linked marker": Away(
        "symbolic link", lambda kind, root: (root / MARKER).symlink_to("/etc/hostname"), is_folder=True
    ),
    "never met": Away("it was not met", _as_it_is, UNMARKED, "it was not met"),
}


@pytest.fixture(params=AWAY)
def away(request: pytest.FixtureRequest, kind: PlaceKind, root: Path) -> Away:
    found = AWAY[str(request.param)]
    if found.is_folder and not kind.is_folder:
        pytest.skip("only a folder can be like that")
    found.make(kind, root)
    return found


DOINGS: dict[str, Callable[[Place], object]] = {
    "put": lambda place: place.put("new/x", [b"x"]),
    "remove": lambda place: place.remove("a/x", Permit("a/x")),
    "set_aside": lambda place: place.set_aside("a/x", "trash", Permit("a/x")),
    "put_back": lambda place: place.put_back("a/x", "back"),
    "settle": lambda place: place.settle(["a/x"]),
}
"""Everything that changes a place, and what says that it was changed."""


def test_an_unavailable_place_answers_neither_yes_nor_no(away: Away, kind: PlaceKind, root: Path) -> None:
    place = away.open(kind, root)
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


@pytest.mark.parametrize("doing", DOINGS)
def test_nothing_is_done_in_an_unavailable_place(away: Away, kind: PlaceKind, root: Path, doing: str) -> None:
    place = away.open(kind, root)
    if away.has_a_file:
        kind.plant(root, "a/x", DATA)
        kind.plant(root, ".0-1.xpcs-partial", b"")
    before = kind.contents(root)
    with pytest.raises((CopyError, RemovalRefusedError)):
        DOINGS[doing](place)
    assert (kind.contents(root), (root / "new").exists()) == (before, False)


@pytest.mark.parametrize("away", [name for name, away in AWAY.items() if away.has_a_file], indirect=True)
def test_a_file_that_is_there_is_read_whatever_the_disk(away: Away, kind: PlaceKind, root: Path) -> None:
    kind.plant(root, "a/x", DATA)
    place = away.open(kind, root)
    assert (place.stat("a/x").presence, place.digest("a/x").sha256) == (Presence.YES, SHA256)
    assert b"".join(place.read("a/x")) == DATA


@FOLDERS
def test_the_disk_that_comes_back_is_available_again(kind: PlaceKind, root: Path, tmp_path: Path) -> None:
    place = kind.open(root, identity=kind.mark(root, OURS).identity)
    place.put("x", [DATA])
    root.rename(tmp_path / "unmounted")
    root.mkdir()
    assert place.stat("x").presence is Presence.UNKNOWN
    root.rmdir()
    (tmp_path / "unmounted").rename(root)
    assert (place.stat("x").presence, place.stat("y").presence) == (Presence.YES, Presence.NO)


@GIVING_UP
def test_a_root_without_a_marker_is_read_and_nothing_is_absent_there(kind: PlaceKind, root: Path) -> None:
    kind.plant(root, "x", DATA)
    kind.plant(root, "y", DATA)
    place = kind.open(root, identity=UNMARKED)
    assert (place.why_unavailable(), place.failure_domain) == ("", kind.domain(root))
    assert place.digest("x").sha256 == SHA256
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
    assert list(kind.contents(root)) == ["y"]
