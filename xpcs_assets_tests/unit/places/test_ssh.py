"""A place over ssh beyond what every place does: the far side's program, and what is made of what it says."""

from __future__ import annotations

import ast
import errno
import fcntl
import hashlib
import os
import signal
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.errors import ConflictingBytesError, CopyError, NotFoundError, NotVerifiedError, SourceDiffersError
from xpcs_assets.places import ssh_far, ssh_far_files, ssh_session
from xpcs_assets.places.marker import Marker, read_marker
from xpcs_assets.places.place import Presence
from xpcs_assets.places.reading import Signature
from xpcs_assets.places.ssh import SshPlace
from xpcs_assets.places.ssh_far import Far
from xpcs_assets.places.ssh_root import SshRoot
from xpcs_assets.places.ssh_session import session
from xpcs_assets.places.ssh_wire import OutOfReachError, request_of
from xpcs_assets.runs.folders import ARRIVING_FOLDER, MARKER
from xpcs_assets.testing.faults import in_children, partials_below
from xpcs_assets_tests.far_side import FarSide

DATA = b"0123456789" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / 'a root\'s "folder" $HOME'
    folder.mkdir()
    return folder


@pytest.fixture
def place(root: Path) -> SshPlace:
    return SshPlace("there", FarSide(), str(root))


class Anything:
    """A permit for all."""

    def allow(self, place: str, path: str) -> None:
        pass


@pytest.mark.parametrize("module", [ssh_far, ssh_far_files])
def test_the_far_side_needs_an_old_python_and_nothing_else(module: Any) -> None:
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"), feature_version=(3, 6))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names])
    }
    assert imported - {"xpcs_assets"} <= sys.stdlib_module_names - {"__future__", "dataclasses"}


def test_a_root_and_a_domain_are_called_after_the_machine(place: SshPlace, root: Path) -> None:
    assert (place.where, place.failure_domain) == (f"somebody@far:{root}", "host far")
    assert repr(place) == f"SshPlace('there', somebody@far:{root})"


def test_the_time_of_last_change_is_kept_to_the_nanosecond(place: SshPlace, root: Path) -> None:
    place.put("run/x", [DATA], mtime_ns=1_700_000_000_123_456_789)
    found = place.stat("run/x").signature
    assert found == Signature.of((root / "run" / "x").stat())
    assert found.mtime_ns == 1_700_000_000_123_456_789


def test_digests_are_made_at_the_far_side_and_others_of_the_bytes_that_come_here(place: SshPlace) -> None:
    google_crc32c = pytest.importorskip("google_crc32c")
    place.put("x", [DATA])
    made = {"adler32": f"{zlib.adler32(DATA):08x}", "md5": hashlib.md5(DATA, usedforsecurity=False).hexdigest()}
    there = place.digest("x", ["md5", "adler32", "of no known kind"])
    here = place.digest("x", ["md5", "crc32c"])
    assert (there.sha256, there.also) == (SHA256, made)
    assert (here.sha256, here.also) == (SHA256, {"md5": made["md5"], "crc32c": f"{google_crc32c.value(DATA):08x}"})
    assert here.signature == there.signature == place.stat("x").signature


@pytest.mark.parametrize("also", [[], ["crc32c"]])
def test_a_file_that_changes_while_it_is_read_is_not_digested(
    place: SshPlace, root: Path, monkeypatch: pytest.MonkeyPatch, also: list[str]
) -> None:
    place.put("x", [DATA])
    changing = "def has_changed(descriptor, before): return True\n"
    real = ssh_session.sources()
    monkeypatch.setattr(
        ssh_session,
        "sources",
        lambda: {
            name: data.replace(b"\ndef main(", f"\n{changing}\n\ndef main(".encode()) for name, data in real.items()
        },
    )
    with pytest.raises(CopyError, match="it changed while it was read"):
        SshPlace("there", FarSide(user="another"), str(root)).digest("x", also)


def test_what_the_accounts_shell_says_first_is_passed_over(root: Path) -> None:
    shell = "echo Welcome; printf 'You have mail.'; exec \"$@\""
    place = SshPlace("there", FarSide(startup=shell), str(root))
    place.put("x", [DATA])
    assert b"".join(place.read("x")) == DATA


def test_a_shell_that_never_stops_saying_is_told(root: Path) -> None:
    place = SshPlace("there", FarSide(startup="yes"), str(root))
    with pytest.raises(CopyError, match="the account's shell says too much"):
        place.put("x", [DATA])
    assert "the account's shell says too much" in place.why_unavailable()
    assert place.stat("x").presence is Presence.UNKNOWN


@pytest.mark.parametrize(
    ("shell", "told"),
    [
        ("exit 127", "there is no program 'python3'"),
        ("echo boom >&2; exit 1", "boom"),
        ("exit 255", "ssh did not get there, or was cut off"),
        ("kill -9 $$", "ssh did not get there, or was cut off"),
        ("true", "the connection ended"),
    ],
)
def test_a_far_side_that_does_not_answer_is_unknown_and_says_why(root: Path, shell: str, told: str) -> None:
    place = SshPlace("there", FarSide(startup=shell), str(root))
    assert (place.stat("x").presence, told in place.stat("x").reason) == (Presence.UNKNOWN, True)
    assert (place.list().presence, told in place.why_unavailable(), place.usage()) == (Presence.UNKNOWN, True, None)
    for doing in (lambda: place.put("x", [DATA]), lambda: place.digest("x"), lambda: place.remove("x", Anything())):
        with pytest.raises(CopyError, match="place 'there' is unavailable"):
            doing()


def test_a_far_side_that_says_nothing_is_given_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_session, "_FAREWELL_S", 0.1)
    with (
        pytest.raises(OutOfReachError, match=r"nothing was heard for 0\.2 s"),
        session(FarSide(startup="exec sleep 60"), request_of(str(root), "look", path=""), "there", 0.2),
    ):
        pass


def test_a_far_side_that_takes_nothing_is_given_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_session, "_FAREWELL_S", 0.1)
    deaf = FarSide(startup="exec sleep 60")
    request = request_of(str(root), "look", path="x" * (1 << 20))
    with pytest.raises(OutOfReachError, match=r"nothing was heard for 0\.2 s"), session(deaf, request, "there", 0.2):
        pass


_SLOW = b"""
import os, stat, time
def slow(descriptor, fsync=os.fsync):
    time.sleep(1.5 if stat.S_ISREG(os.fstat(descriptor).st_mode) else 0)
    fsync(descriptor)
os.fsync = slow
"""


def test_a_far_side_that_is_long_at_work_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ssh_session.sources()
    changed = {name: _SLOW + data.replace(b"BEAT_S = 5.0", b"BEAT_S = 0.1") for name, data in real.items()}
    monkeypatch.setattr(ssh_session, "sources", lambda: changed)
    with session(FarSide(user="slow"), request_of(str(root), "put", path="x", sha256=""), "there", 1.0) as asked:
        asked.hear()
        asked.say(go_on=True)
        assert asked.hear() == {"ready": True}
        asked.pour(DATA)
        asked.end_of_file()
        asked.say(sha256=SHA256, mtime_ns=None)
        assert asked.hear() == {"already_there": False}


def test_a_source_that_fails_is_not_taken_for_a_machine_that_does(place: SshPlace, root: Path) -> None:
    def broken() -> Any:
        yield DATA
        raise OSError(errno.EIO, "the source's disk")

    with pytest.raises(OSError, match="the source's disk"):
        place.put("x", broken())
    assert (place.stat("x").presence, partials_below(root)) == (Presence.NO, ())


def test_bytes_of_another_digest_are_not_kept(place: SshPlace, root: Path) -> None:
    with pytest.raises(SourceDiffersError, match="md5"):
        place.put("x", [DATA], sha256=SHA256, also={"md5": "0" * 32})
    assert (place.list().files, partials_below(root)) == ((), ())


def test_a_file_that_is_there_has_every_digest_that_was_promised(place: SshPlace) -> None:
    md5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
    place.put("x", [DATA])
    assert place.put("x", [], sha256=SHA256, also={"md5": md5}).already_there
    with pytest.raises(ConflictingBytesError, match="other bytes than the digests say"):
        place.put("x", [], sha256=SHA256, also={"md5": "0" * 32})


def test_a_listing_of_many_names_is_whole(place: SshPlace, root: Path) -> None:
    names = [f"{number:05d}" for number in range(2500)]
    for name in names:
        (root / name).touch()
    assert place.list().files == tuple(names)


def test_what_is_arriving_is_not_listed(place: SshPlace, root: Path) -> None:
    (root / ARRIVING_FOLDER / "run").mkdir(parents=True)
    (root / ARRIVING_FOLDER / "run" / "x").touch()
    assert place.list().files == ()


def test_partials_of_the_dead_are_swept_and_those_of_the_living_stay(place: SshPlace, root: Path) -> None:
    assert place.sweep("run") == 0
    place.put("run/a/x", [DATA])
    for name in (".0-1.xpcs-partial", "a/.0-2.xpcs-partial"):
        (root / "run" / name).touch()
    with (root / "run" / "a" / ".0-2.xpcs-partial").open("wb") as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        assert (place.sweep("run"), place.sweep()) == (1, 0)
    assert (place.sweep(), place.list().files) == (1, ("run/a/x",))


def test_a_file_that_is_put_again_takes_the_place_of_its_dead_partial(place: SshPlace, root: Path) -> None:
    stem = hashlib.sha256(b"x").hexdigest()[:12]
    (root / f".{stem}-000000000000.xpcs-partial").write_bytes(DATA[:10])
    (root / ".other-000000000000.xpcs-partial").touch()
    place.put("x", [DATA])
    assert [path.name for path in partials_below(root)] == [".other-000000000000.xpcs-partial"]


def test_folders_are_settled_in_one_request(place: SshPlace, root: Path) -> None:
    place.put("run/a/x", [DATA])
    place.put("y", [DATA])
    place.settle(["run/a/x", "y"])
    with pytest.raises(NotFoundError, match="no such file"):
        place.settle(["gone/x"])


# ---- the far side's program is kept ----------------------------------------------------------------------------------


def kept(commands: FarSide) -> list[int]:
    """The processes that wait for another request."""
    return [program.process.pid for program in ssh_session._kept.get((os.getpid(), commands), ())]


def test_one_program_serves_many_requests_and_holds_nothing_open(root: Path) -> None:
    mine = FarSide(user="one of many")
    place = SshPlace("there", mine, str(root))
    place.put("run/x", [DATA])
    (first,) = kept(mine)
    assert (b"".join(place.read("run/x")), place.list().files, place.stat("y").presence) == (
        DATA,
        ("run/x",),
        Presence.NO,
    )
    assert kept(mine) == [first]
    assert len(list(Path(f"/proc/{first}/fd").iterdir())) == 3


def test_a_request_that_is_not_done_ends_its_program(root: Path) -> None:
    mine = FarSide(user="not done")
    place = SshPlace("there", mine, str(root))
    place.put("x", [DATA, DATA * 200])
    reading = place.read("x")
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert kept(mine) == []
    with pytest.raises(ConflictingBytesError):
        place.put("x", [b"other"])
    assert kept(mine) == []


def test_a_program_that_is_gone_is_replaced(root: Path) -> None:
    mine = FarSide(user="gone")
    place = SshPlace("there", mine, str(root))
    place.put("x", [DATA])
    (first,) = kept(mine)
    os.kill(first, signal.SIGKILL)
    assert place.digest("x").sha256 == SHA256
    assert kept(mine) != [first]


def test_a_forked_child_has_a_program_of_its_own(root: Path) -> None:
    mine = FarSide(user="forked")
    place = SshPlace("there", mine, str(root))
    place.put("x", [DATA])
    before = kept(mine)

    def child() -> None:
        assert kept(mine) == []
        assert place.digest("x").sha256 == SHA256

    assert in_children(child, child) == [0, 0]
    assert (place.digest("x").sha256, kept(mine)) == (SHA256, before)


def test_threads_do_not_hear_each_others_answers(root: Path) -> None:
    place = SshPlace("there", FarSide(user="threads"), str(root))
    names = [str(number) for number in range(40)]
    for name in names:
        (root / name).write_text(name)
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda name: b"".join(place.read(name)).decode(), names))
    assert found == names
    assert len(kept(FarSide(user="threads"))) <= 4


# ---- the root, as a meeting sees it ----------------------------------------------------------------------------------


def test_a_marker_is_left_once_and_read_back(root: Path) -> None:
    there = SshRoot(FarSide(), str(root))
    assert (there.where, there.read_marker()) == (f"somebody@far:{root}", None)
    first = there.leave_marker(Marker.new("there", "2024-05-01"))
    assert (there.leave_marker(Marker.new("again", "2024-05-02")), there.read_marker()) == (first, first)
    assert read_marker(root) == first


def test_of_two_who_leave_a_marker_at_once_one_wins(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, quicker = SshRoot(FarSide(), str(root)), Marker.new("quicker", "2024-05-01")
    looks = [None, quicker]
    monkeypatch.setattr(SshRoot, "read_marker", lambda self: looks.pop(0))
    (root / MARKER).write_text(quicker.to_json())
    assert there.leave_marker(Marker.new("slower", "2024-05-01")) == quicker


def test_names_below_the_root_are_looked_for_in_one_request(root: Path) -> None:
    (root / "a").mkdir()
    (root / "a" / "link").symlink_to("/nonexistent")
    there = SshRoot(FarSide(), str(root))
    assert [there.has_any(paths) for paths in (["b", "a/link"], ["b", "a/b"], [])] == [True, False, False]


@pytest.mark.parametrize("asking", ["read_marker", "has_any"])
def test_a_root_that_is_not_there_is_not_called_empty(root: Path, asking: str) -> None:
    there = SshRoot(FarSide(), f"{root}/gone")
    with pytest.raises(CopyError, match="No such file") as raised:
        there.read_marker() if asking == "read_marker" else there.has_any(["x"])
    assert isinstance(raised.value.__cause__, FileNotFoundError)


# ---- the far side's program, called directly -------------------------------------------------------------------------


class Near:
    """A near side that lets everything go on, and keeps what was said to it."""

    def __init__(self, *pieces: bytes, told: dict[str, Any] | None = None) -> None:
        self.said: list[dict[str, Any]] = []
        self.pieces = [*pieces, b""]
        self.told = told or {}

    def say(self, **facts: Any) -> None:
        self.said.append(facts)

    def ask(self, **facts: Any) -> None:
        self.said.append(facts)

    def hear(self) -> dict[str, Any]:
        return self.told

    def take(self) -> bytes:
        return self.pieces.pop(0)

    def beat(self) -> None:
        pass

    def sync(self, descriptor: int) -> None:
        os.fsync(descriptor)


def far(root: Path, near: Near, do: str, **facts: Any) -> None:
    getattr(Far(near, request_of(str(root), do, **facts)), do)()  # type: ignore[arg-type]


def forbid(monkeypatch: pytest.MonkeyPatch, call: str, code: int) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, refuse)


def test_a_file_system_without_hard_links_moves_and_still_overwrites_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch, "link", errno.EPERM)
    told = {"sha256": SHA256, "mtime_ns": None}
    far(root, near := Near(DATA, told=told), "put", path="x", sha256="")
    assert (near.said[-1], (root / "x").read_bytes()) == ({"already_there": False}, DATA)
    far(root, near := Near(DATA, told=told), "put", path="x", sha256="")
    assert (near.said[-1], partials_below(root)) == ({"already_there": True}, ())
    (root / "x").write_bytes(b"other")
    with pytest.raises(ssh_far.ToldError, match="other bytes"):
        far(root, Near(DATA, told=told), "put", path="x", sha256="")
    assert ((root / "x").read_bytes(), partials_below(root)) == (b"other", ())


def test_a_request_about_many_files_holds_few_of_them_open(root: Path) -> None:
    names = [f"deep/{number}" for number in range(100)]
    (root / "arriving" / "deep").mkdir(parents=True)
    for name in names:
        (root / "arriving" / name).write_text(name)
    entries = [{"path": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "mtime_ns": 0} for name in names]
    before = len(list(Path("/proc/self/fd").iterdir()))
    for do in ("arriving", "arrived", "arriving"):
        far(root, near := Near(), do, path="arriving", new_path="run", entries=entries)
    far(root, Near(), "settle", paths=["run/deep"] * 100)
    assert near.said[-1] == {"left": []}
    assert [path.name for path in root.iterdir()] == ["run"]
    assert len(list(Path("/proc/self/fd").iterdir())) - before < 20


def test_a_file_system_without_locks_is_written_and_never_swept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    (root / ".0-1.xpcs-partial").touch()
    far(root, near := Near(DATA, told={"sha256": SHA256, "mtime_ns": None}), "put", path="x", sha256="")
    far(root, near, "sweep", path="")
    assert (near.said[-1], len(partials_below(root))) == ({"swept": 0}, 1)


def test_bytes_that_do_not_come_back_from_the_disk_get_no_name(root: Path) -> None:
    near = Near(b"turned over on its way", told={"sha256": SHA256, "mtime_ns": None})
    with pytest.raises(ssh_far.ToldError, match="not what was written"):
        far(root, near, "put", path="x", sha256="")
    assert list(root.iterdir()) == []


def test_a_near_side_that_is_gone_is_waited_for_no_longer(root: Path) -> None:
    class Gone(Near):
        def ask(self, **facts: Any) -> None:
            super().ask(**facts)
            if facts["ask"] == "allow":
                raise ssh_far.CutError

    (root / "x").write_bytes(DATA)
    for do, facts in (("remove", {}), ("move", {"new_path": "y"})):
        with pytest.raises(ssh_far.CutError):
            far(root, Gone(), do, path="x", **facts)
    assert [path.name for path in root.iterdir()] == ["x"]


def test_errors_of_the_far_side_are_those_of_a_place(place: SshPlace, root: Path) -> None:
    place.put("x", [DATA])
    with pytest.raises(ConflictingBytesError, match=f"somebody@far:{root}/x".replace("$", r"\$")):
        place.put("x", [b"other"])
    (root / "door").symlink_to("/etc")
    with pytest.raises(NotVerifiedError, match="through a link"):
        place.digest("door/passwd")
