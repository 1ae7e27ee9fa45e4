"""Access lists on a folder of this machine: set as a whole, read as they are, and nobody else gets in."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from xpcs_assets.errors import CopyError, NotFoundError
from xpcs_assets.places import posix_access
from xpcs_assets.places.access import EVERYBODY, Principal
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.posix_access import ATTRIBUTE, PosixDoors

A, B = Principal("group", "64101"), Principal("group", "64102")
STRANGER = 64200

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def doors(tmp_path: Path) -> PosixDoors:
    """A place with one run's folder and a file in it."""
    (tmp_path / "place" / "run" / "raw").mkdir(parents=True)
    (tmp_path / "place" / "run" / "raw" / "a.imm").write_bytes(b"frames")
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o011)  # so that the run's folder is what keeps people out
    try:
        os.setxattr(tmp_path / "place" / "run", ATTRIBUTE, posix_access._list_of([64101]))
        os.removexattr(tmp_path / "place" / "run", ATTRIBUTE)
        (tmp_path / "place" / "run").chmod(0o755)
    except OSError:
        pytest.skip("the file system has no access lists")
    return PosixDoors(PosixPlace("place", tmp_path / "place"))


def readers(doors: PosixDoors) -> frozenset[Principal]:
    seen = doors.look("run", inside=False)
    assert seen is not None
    return seen.readers


def can_read(tmp_path: Path, *groups: int) -> bool:
    """Whether somebody of these groups reads the file."""
    done = subprocess.run(
        ["/bin/cat", str(tmp_path / "place" / "run" / "raw" / "a.imm")],
        user=STRANGER,
        group=STRANGER,
        extra_groups=list(groups),
        capture_output=True,
        timeout=30,
        check=False,
        cwd="/",
    )
    assert done.stdout == b"frames" or b"Permission denied" in done.stderr, done.stderr
    return done.returncode == 0


@needs_root
def test_those_who_should_read_do_and_nobody_else(doors: PosixDoors, tmp_path: Path) -> None:
    doors.allow("run", {A, B})
    assert readers(doors) == {A, B}
    assert (can_read(tmp_path, 64101), can_read(tmp_path, 64102), can_read(tmp_path)) == (True, True, False)
    doors.allow("run", {B})
    assert (can_read(tmp_path, 64101), can_read(tmp_path, 64102)) == (False, True)
    doors.allow("run", {EVERYBODY})
    assert can_read(tmp_path)
    doors.allow("run", {A})
    doors.allow("run", ())
    assert not can_read(tmp_path, 64101, 64102)


@needs_root
def test_a_file_that_comes_later_is_behind_the_same_gate(doors: PosixDoors, tmp_path: Path) -> None:
    doors.allow("run", {A})
    (tmp_path / "place" / "run" / "raw" / "a.imm").unlink()
    PosixPlace("place", tmp_path / "place").put("run/raw/a.imm", [b"frames"])
    assert (can_read(tmp_path, 64101), can_read(tmp_path)) == (True, False)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (0o700, set()),
        (0o750, {Principal("group", str(os.getegid()))}),
        (0o755, {EVERYBODY}),
        (0o705, {EVERYBODY, Principal("group", str(os.getegid()), "no right")}),
        (0o770, {Principal("group", str(os.getegid()), "rwx")}),
        (0o757, {Principal("everybody", rights="rwx"), Principal("group", str(os.getegid()))}),
    ],
)
def test_a_folder_without_a_list_is_told_by_its_mode(
    doors: PosixDoors, tmp_path: Path, mode: int, expected: set[Principal]
) -> None:
    (tmp_path / "place" / "run").chmod(mode)
    assert readers(doors) == expected


def test_whom_somebody_else_let_in_is_told_with_what_they_may_do(doors: PosixDoors, tmp_path: Path) -> None:
    listed = posix_access._VERSION + b"".join(
        posix_access._ENTRY.pack(*entry)
        for entry in (
            (0x01, 7, 0xFFFFFFFF), (0x02, 7, 1234), (0x04, 0, 0xFFFFFFFF), (0x08, 5, 64101), (0x10, 7, 0xFFFFFFFF),
            (0x20, 0, 0xFFFFFFFF),
        )
    )  # fmt: skip
    os.setxattr(tmp_path / "place" / "run", ATTRIBUTE, listed)
    assert readers(doors) == {A, Principal("user", "1234", "rwx")}
    doors.allow("run", {A})
    assert readers(doors) == {A}


def test_a_mask_takes_rights_away(doors: PosixDoors, tmp_path: Path) -> None:
    doors.allow("run", {A})
    (tmp_path / "place" / "run").chmod(0o700)  # of a list it is the mask
    assert readers(doors) == frozenset()
    doors.allow("run", {A})
    assert readers(doors) == {A}


def test_what_cannot_be_read_inside_is_counted_and_mended(doors: PosixDoors, tmp_path: Path) -> None:
    inside = tmp_path / "place" / "run" / "raw"
    (inside / "a.imm").chmod(0o600)
    inside.chmod(0o700)
    (inside / "link").symlink_to("/nowhere")
    seen = doors.look("run", inside=True)
    assert seen is not None
    assert seen.unreadable == 2
    doors.allow("run", {A})
    seen = doors.look("run", inside=True)
    assert seen is not None
    assert seen.unreadable == 0
    assert ((inside / "a.imm").stat().st_mode & 0o777, inside.stat().st_mode & 0o777) == (0o644, 0o755)


def test_a_folder_that_is_not_there_lets_nobody_in(doors: PosixDoors) -> None:
    assert doors.look("other", inside=True) is None


def test_a_group_is_known_by_its_name_or_number(doors: PosixDoors) -> None:
    assert doors.group("64101") == A
    assert doors.group("root") == Principal("group", "0")
    with pytest.raises(NotFoundError, match="no group 'nobody-has-this'"):
        doors.group("nobody-has-this")


def test_without_lists_a_folder_has_one_group(
    doors: PosixDoors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    for name in ("setxattr", "getxattr", "removexattr"):
        monkeypatch.setattr(os, name, unsupported)
    own = Principal("group", str(os.getegid()))
    doors.allow("run", {own})
    assert readers(doors) == {own}
    assert (tmp_path / "place" / "run").stat().st_mode & 0o777 == 0o750
    with pytest.raises(CopyError, match="does not let the access be set"):
        doors.allow("run", {A, B})
    assert readers(doors) == {own}, "what could not be set is as it was"
    doors.allow("run", {EVERYBODY})
    assert readers(doors) == {EVERYBODY}


@needs_root
def test_a_folder_of_another_is_refused_with_a_remedy(doors: PosixDoors) -> None:
    before = readers(doors)
    os.seteuid(STRANGER)
    try:
        with pytest.raises(CopyError, match="Have the site's user own it"):
            doors.allow("run", {A})
    finally:
        os.seteuid(0)
    assert readers(doors) == before
