"""A machine over ssh that is down, is another, is cut off or dies in the middle: nothing is lost, or taken for done."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from xpcs_assets.errors import ConflictingBytesError, CopyError, NoRoomError, NotFoundError, NotVerifiedError
from xpcs_assets.places import ssh_rsync
from xpcs_assets.places.place import Presence
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.ssh import SshPlace
from xpcs_assets.places.ssh_rsync import pull, push
from xpcs_assets.runs.folders import ARRIVING_FOLDER, ASIDE_FOLDER
from xpcs_assets.runs.manifest import FileEntry
from xpcs_assets.testing.faults import KILLED, in_children, partials_below
from xpcs_assets_tests import sshd
from xpcs_assets_tests.far_side import FarSide

DATA = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(DATA).hexdigest()
LIMIT_S = 60.0


class Anything:
    """A permit for all."""

    def allow(self, place: str, path: str) -> None:
        pass


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def server() -> Iterator[sshd.Server]:
    if missing := sshd.why_missing():
        pytest.skip(missing)
    with sshd.another_server() as found:
        yield found


@pytest.fixture
def place(server: sshd.Server, root: Path) -> SshPlace:
    return SshPlace("there", server.commands, str(root))


def check_out_of_reach(place: SshPlace, told: str) -> None:
    assert told in place.why_unavailable()
    assert (place.stat("x").presence, place.list().presence, place.usage()) == (
        Presence.UNKNOWN,
        Presence.UNKNOWN,
        None,
    )
    doings: tuple[Callable[[], object], ...] = (
        lambda: place.put("y", [DATA]),
        lambda: place.digest("x"),
        lambda: list(place.read("x")),
        lambda: place.remove("x", Anything()),
        lambda: place.set_aside("x", "trash", Anything()),
        lambda: place.settle(["x"]),
        lambda: place.failure_domain,
    )
    for doing in doings:
        with pytest.raises(CopyError, match="place 'there' is unavailable"):
            doing()


def test_a_host_that_is_down_is_unknown_until_it_is_back(server: sshd.Server, place: SshPlace, root: Path) -> None:
    place.put("x", [DATA])
    server.stop()
    check_out_of_reach(place, "Connection refused")
    server.start()
    assert (place.stat("x").presence, place.stat("y").presence) == (Presence.YES, Presence.NO)


def test_a_host_with_another_key_is_not_the_place(server: sshd.Server, root: Path, tmp_path: Path) -> None:
    (root / "x").write_bytes(DATA)
    other = SshPlace("there", sshd.with_a_wrong_host_key(server.commands, tmp_path), str(root))
    check_out_of_reach(other, "Host key verification failed")
    assert [path.name for path in root.iterdir()] == ["x"]


def until(true: Callable[[], bool]) -> None:
    for _ in range(500):
        if true():
            return
        time.sleep(0.02)
    pytest.fail("it did not come to that")


def test_a_connection_that_is_cut_in_mid_put_leaves_nothing_and_the_repeat_ends(
    server: sshd.Server, place: SshPlace, root: Path
) -> None:
    def cut() -> Iterator[bytes]:
        yield DATA
        until(lambda: bool(partials_below(root)))
        sshd.hang_up(server.commands)
        while True:
            yield DATA

    with pytest.raises(CopyError, match="place 'there' is unavailable"):
        place.put("run/x", cut())
    until(lambda: not partials_below(root))
    assert place.stat("run/x").presence is Presence.NO
    assert place.put("run/x", [DATA], sha256=SHA256).already_there is False
    assert (place.digest("run/x").sha256, partials_below(root)) == (SHA256, ())


def test_a_put_whose_writer_is_killed_leaves_nothing_and_the_repeat_ends(place: SshPlace, root: Path) -> None:
    def killed() -> Iterator[bytes]:
        yield DATA
        until(lambda: bool(partials_below(root)))
        os._exit(KILLED)

    assert in_children(lambda: place.put("run/x", killed())) == [KILLED]
    until(lambda: not partials_below(root))
    assert place.put("run/x", [DATA], sha256=SHA256).already_there is False
    assert (place.digest("run/x").sha256, place.list().others) == (SHA256, ())


def test_a_far_side_that_is_killed_in_mid_put_leaves_a_partial_that_the_repeat_sweeps(
    place: SshPlace, root: Path
) -> None:
    def killing() -> Iterator[bytes]:
        yield DATA
        until(lambda: bool(partials_below(root)))
        (partial,) = partials_below(root)
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if any(file.samefile(partial) for file in (process / "fd").iterdir() if file.exists()):
                    os.kill(int(process.name), signal.SIGKILL)
        while True:
            yield DATA

    with pytest.raises(CopyError, match="place 'there' is unavailable"):
        place.put("run/x", killing())
    assert len(partials_below(root)) == 1
    place.put("run/x", [DATA])
    assert (place.digest("run/x").sha256, partials_below(root)) == (SHA256, ())


def check_put(root: Path, place: SshPlace) -> None:
    assert not (root / "run" / "x").exists() or (root / "run" / "x").read_bytes() == DATA
    place.put("run/x", [DATA], sha256=SHA256)
    assert (place.digest("run/x").sha256, partials_below(root)) == (SHA256, ())


def check_aside(root: Path, place: SshPlace) -> None:
    aside = root / ASIDE_FOLDER / "trash" / "run" / "x"
    found = [path.read_bytes() for path in (root / "run" / "x", aside) if path.exists()]
    assert found in ([DATA], [DATA, DATA])
    place.set_aside("run/x", "trash", Anything())
    assert (aside.read_bytes(), (root / "run").exists()) == (DATA, False)


def check_removed(root: Path, place: SshPlace) -> None:
    place.remove("run/x", Anything())
    assert not (root / "run" / "x").exists()


OPERATIONS: dict[str, tuple[bool, Callable[[SshPlace], object], Callable[[Path, SshPlace], None]]] = {
    "put": (False, lambda place: place.put("run/x", [DATA]), check_put),
    "set_aside": (True, lambda place: place.set_aside("run/x", "trash", Anything()), check_aside),
    "remove": (True, lambda place: place.remove("run/x", Anything()), check_removed),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_far_side_that_dies_at_any_call_loses_nothing_and_the_repeat_ends(tmp_path: Path, operation: str) -> None:
    is_there, do, check = OPERATIONS[operation]
    for number in count(1):
        root = tmp_path / str(number)
        root.mkdir()
        if is_there:
            (root / "run").mkdir()
            (root / "run" / "x").write_bytes(DATA)
        try:
            do(SshPlace("there", FarSide(die_at=number), str(root)))
        except CopyError:
            check(root, SshPlace("there", FarSide(), str(root)))
        else:
            break
    assert number > 4


def test_a_file_with_the_same_size_and_time_and_other_bytes_is_seen_by_its_digest(place: SshPlace, root: Path) -> None:
    place.put("x", [DATA], mtime_ns=10**18)
    before = place.stat("x").signature
    with (root / "x").open("r+b") as file:
        file.write(b"\xff")
    os.utime(root / "x", ns=(10**18, 10**18))
    after = place.stat("x").signature
    assert before is not None
    assert after is not None
    assert (after.size_bytes, after.mtime_ns) == (before.size_bytes, before.mtime_ns)
    assert place.digest("x").sha256 == hashlib.sha256(b"\xff" + DATA[1:]).hexdigest()
    with pytest.raises(ConflictingBytesError):
        place.put("x", [DATA], sha256=SHA256)


@pytest.fixture
def small_disk(root: Path) -> Iterator[Path]:
    mount = ["mount", "-t", "tmpfs", "-o", "size=3M", "xpcs-assets-test", str(root)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this user cannot mount a file system")
    try:
        yield root
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)


def test_a_full_disk_is_told_keeps_nothing_partial_and_takes_the_file_when_there_is_room(
    place: SshPlace, small_disk: Path
) -> None:
    (small_disk / "filler").write_bytes(bytes(2_500_000))
    with pytest.raises(NoRoomError):
        place.put("x", [DATA, DATA])
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
    (small_disk / "filler").unlink()
    place.put("x", [DATA, DATA])
    assert place.digest("x").size_bytes == 2 * len(DATA)


# ---- rsync -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source" / "deep er").mkdir(parents=True)
    (tmp_path / "source" / "a").write_bytes(DATA)
    (tmp_path / "source" / "deep er" / "b\n").write_bytes(DATA[::-1])
    return tmp_path / "source"


@pytest.fixture
def entries(source: Path) -> list[FileEntry]:
    files = sorted(path for path in source.rglob("*") if path.is_file())
    sums = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return [
        FileEntry(str(path.relative_to(source)), len(DATA), sha256) for path, sha256 in zip(files, sums, strict=True)
    ]


def test_rsync_to_a_host_that_is_down_is_told(
    server: sshd.Server, place: SshPlace, source: Path, entries: list[FileEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = place.request

    def down_after(*args: object, **facts: object) -> object:
        answer = asked(*args, **facts)  # type: ignore[arg-type]
        server.stop()
        return answer

    monkeypatch.setattr(place, "request", down_after)
    with pytest.raises(CopyError, match="place 'there' is unavailable: rsync was cut off"):
        push(place, source, entries, "run", LIMIT_S)
    monkeypatch.undo()
    server.start()
    assert push(place, source, entries, "run", LIMIT_S) == 2 * len(DATA)


def test_an_rsync_that_is_killed_goes_on_where_it_was(
    place: SshPlace, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(3 << 20)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "big").write_bytes(data)
    entry = FileEntry("big", len(data), hashlib.sha256(data).hexdigest())
    with monkeypatch.context() as slowly:
        slowly.setattr(ssh_rsync, "_OPTIONS", (*ssh_rsync._OPTIONS, "--bwlimit=1000"))
        with pytest.raises(CopyError, match="did not end within 2 s"):
            push(place, tmp_path / "source", [entry], "run", 2)
    until(lambda: any(path.is_file() for path in (root / ARRIVING_FOLDER / "run" / ".rsync-partial").glob("*")))
    assert place.stat("run/big").presence is Presence.NO
    moved = push(place, tmp_path / "source", [entry], "run", LIMIT_S)
    assert (0 < moved < len(data), (root / "run" / "big").read_bytes() == data) == (True, True)
    assert push(place, tmp_path / "source", [entry], "run", LIMIT_S) == 0
    assert [path.name for path in root.iterdir()] == ["run"]


def test_what_has_arrived_with_the_same_size_and_time_and_other_bytes_is_sent_again(
    place: SshPlace, source: Path, root: Path, entries: list[FileEntry]
) -> None:
    arriving = root / ARRIVING_FOLDER / "run"
    arriving.mkdir(parents=True)
    (arriving / "a").write_bytes(b"\xff" + DATA[1:])
    found = (source / "a").stat()
    os.utime(arriving / "a", ns=(found.st_mtime_ns, found.st_mtime_ns))
    push(place, source, entries, "run", LIMIT_S)
    assert (root / "run" / "a").read_bytes() == DATA


def test_a_source_that_is_not_what_its_manifest_says_gets_no_name(
    place: SshPlace, source: Path, root: Path, entries: list[FileEntry]
) -> None:
    (source / "a").write_bytes(b"\xff" + DATA[1:])
    with pytest.raises(NotVerifiedError, match="'a' arrived as other bytes"):
        push(place, source, entries, "run", LIMIT_S)
    assert not (root / "run" / "a").exists()
    (source / "a").write_bytes(DATA)
    push(place, source, entries, "run", LIMIT_S)
    assert (root / "run" / "a").read_bytes() == DATA


@pytest.mark.parametrize("way", ["push", "pull"])
def test_other_bytes_under_a_name_are_kept(
    place: SshPlace, source: Path, root: Path, tmp_path: Path, entries: list[FileEntry], way: str
) -> None:
    taken = root / "run" if way == "push" else tmp_path / "back"
    taken.mkdir()
    (taken / "a").write_bytes(b"other")
    if way == "push":
        with pytest.raises(ConflictingBytesError):
            push(place, source, entries, "run", LIMIT_S)
    else:
        push(place, source, entries, "run", LIMIT_S)
        with pytest.raises(ConflictingBytesError):
            pull(place, "run", entries, PosixPlace("here", tmp_path), "back", LIMIT_S)
    assert (taken / "a").read_bytes() == b"other"


def test_a_file_that_is_not_at_the_source_is_told_and_the_others_wait(
    place: SshPlace, source: Path, root: Path, tmp_path: Path, entries: list[FileEntry]
) -> None:
    (source / "a").unlink()
    with pytest.raises(CopyError, match="some files could not be moved"):
        push(place, source, entries, "run", LIMIT_S)
    (source / "a").write_bytes(DATA)
    assert push(place, source, entries, "run", LIMIT_S) == len(DATA)
    (root / "run" / "a").unlink()
    with pytest.raises(CopyError, match="some files could not be moved"):
        pull(place, "run", entries, PosixPlace("here", tmp_path), "back", LIMIT_S)


def test_a_link_at_the_source_is_not_followed(
    place: SshPlace, source: Path, tmp_path: Path, entries: list[FileEntry]
) -> None:
    (source / "a").rename(tmp_path / "elsewhere")
    (source / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotFoundError, match="'a' did not arrive"):
        push(place, source, entries, "run", LIMIT_S)


def test_a_full_disk_stops_rsync_with_a_clear_word(
    place: SshPlace, small_disk: Path, source: Path, entries: list[FileEntry]
) -> None:
    (small_disk / "filler").write_bytes(bytes(2_500_000))
    with pytest.raises(NoRoomError):
        push(place, source, entries, "run", LIMIT_S)
    assert place.list("run").presence is Presence.NO
    (small_disk / "filler").unlink()
    push(place, source, entries, "run", LIMIT_S)
    assert [place.digest(f"run/{entry.path}").sha256 for entry in entries] == [entry.sha256 for entry in entries]
