"""Many files to and from a place over ssh: names, times, what is not sent twice, and what rsync's ends mean."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from xpcs_assets.commands import Answer
from xpcs_assets.errors import CopyError, NoRoomError, NotVerifiedError, UnreachableError
from xpcs_assets.places import ssh_rsync
from xpcs_assets.places.marker import Marker, leave_marker
from xpcs_assets.places.place import Presence
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.ssh import SshPlace
from xpcs_assets.places.ssh_rsync import pull, push
from xpcs_assets.runs.folders import ARRIVING_FOLDER
from xpcs_assets.runs.manifest import FileEntry
from xpcs_assets_tests import sshd

ODD = [
    "n" * 255,
    "a\nb",
    "-rf",
    "#comment",
    ";comment",
    "$(touch bad)",
    "*",
    "[a]",
    "a b/c' d\"",
    "\u00e9",
    os.fsdecode(b"\xff\xfe"),
    ".hidden",
]
MTIME_NS = 1_700_000_000_123_456_789
LIMIT_S = 60.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / 'a root\'s "folder" $HOME'
    folder.mkdir()
    return folder


@pytest.fixture
def place(root: Path) -> SshPlace:
    if missing := sshd.why_missing():
        pytest.skip(missing)
    return SshPlace("there", sshd.server().commands, str(root))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    for name in ODD:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(os.fsencode(name) * 100)
    return folder


@pytest.fixture
def entries(source: Path) -> list[FileEntry]:
    return [
        FileEntry(name, len(data), hashlib.sha256(data).hexdigest(), MTIME_NS)
        for name, data in ((name, (source / name).read_bytes()) for name in ODD)
    ]


def back(root: Path) -> PosixPlace:
    """Where files go back to."""
    return PosixPlace("here", root)


def found_below(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_files_go_there_and_back_with_their_names_and_times(
    place: SshPlace, source: Path, root: Path, tmp_path: Path, entries: list[FileEntry]
) -> None:
    expected = {entry.path: ((source / entry.path).read_bytes(), MTIME_NS) for entry in entries}
    size_bytes = sum(entry.size_bytes for entry in entries)
    assert push(place, source, entries, "a run/v1", LIMIT_S) == size_bytes
    assert (found_below(root / "a run" / "v1"), list(root.iterdir())) == (expected, [root / "a run"])
    assert pull(place, "a run/v1", entries, back(tmp_path), "new/back", LIMIT_S) == size_bytes
    assert (found_below(tmp_path / "new" / "back"), (tmp_path / ARRIVING_FOLDER).exists()) == (expected, False)


def test_what_is_there_is_not_sent_again(
    place: SshPlace, source: Path, root: Path, tmp_path: Path, entries: list[FileEntry]
) -> None:
    push(place, source, entries[1:], "run", LIMIT_S)
    assert push(place, source, entries, "run", LIMIT_S) == entries[0].size_bytes
    assert push(place, source, entries, "run", LIMIT_S) == 0
    pull(place, "run", entries[1:], back(tmp_path), "back", LIMIT_S)
    assert pull(place, "run", entries, back(tmp_path), "back", LIMIT_S) == entries[0].size_bytes
    assert pull(place, "run", entries, back(tmp_path), "back", LIMIT_S) == 0
    assert [path.name for path in root.iterdir()] == ["run"]


def test_only_the_files_of_the_list_are_sent(
    place: SshPlace, source: Path, root: Path, entries: list[FileEntry]
) -> None:
    push(place, source, entries[:1], "run", LIMIT_S)
    assert list(found_below(root)) == [f"run/{entries[0].path}"]
    assert push(place, source, [], "other", LIMIT_S) == 0
    assert place.stat("other").presence is Presence.NO


def test_nothing_is_moved_to_or_from_another_disk(
    place: SshPlace, source: Path, root: Path, tmp_path: Path, entries: list[FileEntry]
) -> None:
    push(place, source, entries, "run", LIMIT_S)
    leave_marker(root, Marker.new("other", "now"))
    expecting = SshPlace("there", place.commands, str(root), identity="0f" * 16)
    for moving in (
        lambda: push(expecting, source, entries, "new", LIMIT_S),
        lambda: pull(expecting, "run", entries, back(tmp_path), "back", LIMIT_S),
    ):
        with pytest.raises(CopyError, match="place 'there' is unavailable: the marker"):
            moving()
    assert ((root / "new").exists(), (tmp_path / "back").exists()) == (False, False)


def test_no_link_below_the_root_leads_elsewhere(
    place: SshPlace, source: Path, root: Path, tmp_path: Path, entries: list[FileEntry]
) -> None:
    (tmp_path / "outside").mkdir()
    (root / "door").symlink_to(tmp_path / "outside")
    with pytest.raises(NotVerifiedError, match="through a link"):
        push(place, source, entries, "door/run", LIMIT_S)
    (root / "door").unlink()
    (root / ARRIVING_FOLDER).symlink_to(tmp_path / "outside")
    with pytest.raises(NotVerifiedError, match="through a link"):
        push(place, source, entries, "run", LIMIT_S)
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("folder", ["..", "/tmp", "a/../..", ""])
def test_i17_no_folder_leads_out_of_the_place(
    place: SshPlace, source: Path, tmp_path: Path, entries: list[FileEntry], folder: str
) -> None:
    with pytest.raises(NotVerifiedError, match="no path inside"):
        push(place, source, entries, folder, LIMIT_S)
    with pytest.raises(NotVerifiedError, match="no path inside"):
        pull(place, folder, entries, back(tmp_path), "back", LIMIT_S)


def test_bytes_that_are_not_those_of_the_list_get_no_name_here(
    place: SshPlace, source: Path, root: Path, tmp_path: Path, entries: list[FileEntry]
) -> None:
    push(place, source, entries, "run", LIMIT_S)
    wrong = [replace(entries[0], sha256="0" * 64)]
    with pytest.raises(NotVerifiedError, match="other bytes"):
        pull(place, "run", wrong, back(tmp_path), "back", LIMIT_S)
    assert not (tmp_path / "back" / entries[0].path).exists()


@pytest.mark.parametrize(
    ("code", "said", "kind", "told"),
    [
        (11, b"write failed: No space left on device (28)", NoRoomError, "the disk or the quota is full"),
        (11, b"write failed: Disk quota exceeded (122)", NoRoomError, "the disk or the quota is full"),
        (11, b"mkdir failed: Permission denied (13)", CopyError, "a file could not be read or written: mkdir failed"),
        (12, b"error in rsync protocol data stream", CopyError, r"is unavailable: rsync was cut off \(12\)"),
        (255, b"unexplained error", CopyError, r"is unavailable: rsync was cut off \(255\)"),
        (30, b"io timeout", CopyError, "is unavailable: rsync was cut off"),
        (23, b"some files", CopyError, "some files could not be moved"),
        (127, b"rsync: command not found", CopyError, "there is no rsync at the far side"),
        (99, b"what?", CopyError, r"rsync ended with 99: what\?"),
    ],
)
def test_the_ends_of_rsync_are_told(
    place: SshPlace,
    source: Path,
    entries: list[FileEntry],
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    said: bytes,
    kind: type[CopyError],
    told: str,
) -> None:
    monkeypatch.setattr(ssh_rsync, "run_here", lambda *args, **options: Answer(code, b"", said))
    with pytest.raises(kind, match=told):
        push(place, source, entries, "run", LIMIT_S)


def test_an_rsync_that_is_not_here_or_takes_too_long_is_told(
    place: SshPlace, source: Path, entries: list[FileEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long(*args: object, **options: object) -> Answer:
        raise UnreachableError("rsync did not end within 60 s and was killed")

    with monkeypatch.context() as patched:
        patched.setattr(ssh_rsync, "run_here", too_long)
        with pytest.raises(CopyError, match=r"did not end within 60 s.*it goes on where it was"):
            push(place, source, entries, "run", LIMIT_S)
    place.stat("x")
    with monkeypatch.context() as patched:
        patched.setenv("PATH", "/nonexistent")
        with pytest.raises(CopyError, match="there is no program 'rsync'"):
            push(place, source, entries, "run", LIMIT_S)


def test_an_address_of_ipv6_is_no_path(place: SshPlace) -> None:
    assert ssh_rsync._host(replace(place.commands, address="::1")) == "[::1]"
