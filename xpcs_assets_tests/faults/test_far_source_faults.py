"""Runs that are brought from another machine: cut off, changed on the way or at the source, killed at any point."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.arrive.watch import Watch
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.commands import Answer
from xpcs_assets.copies.ledger import ArrivalState
from xpcs_assets.errors import (
    ChangedWhileReadingError,
    ConflictingBytesError,
    CopyError,
    NoRoomError,
    NotVerifiedError,
)
from xpcs_assets.places import ssh_rsync
from xpcs_assets.places.place import Place
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.runs.folders import ARRIVING_FOLDER
from xpcs_assets.site import Site
from xpcs_assets.stage.moves import Waits
from xpcs_assets.stage.staging import StagedRun, stage
from xpcs_assets.testing.faults import (
    CHANGING,
    KILLED,
    DieAt,
    FaultySyscalls,
    count_commits,
    in_children,
    partials_below,
)
from xpcs_assets_tests import sshd
from xpcs_assets_tests.far_side import FarSide
from xpcs_assets_tests.far_source import Altered, far_beamline
from xpcs_assets_tests.unit.conftest import altered as altered  # fixtures
from xpcs_assets_tests.unit.conftest import bare_run
from xpcs_assets_tests.unit.conftest import site as site
from xpcs_assets_tests.unit.conftest import template_site as template_site

FILES = ("A001.imm", "A001_metadata.hdf")


@dataclass(frozen=True)
class NoSsh(FarSide):
    """A machine that is this one, whose rsync is reached without ssh as well."""

    shell: str = ""

    @property
    def ssh(self) -> tuple[str, ...]:
        """The words before the host's."""
        return (self.shell,)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "daq"


@pytest.fixture
def far(site: Site, altered: Altered, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenBeamline:
    """A beamline with a run that was taken from another machine, and not staged yet."""
    if missing := sshd.why_missing():
        pytest.skip(missing)
    shell = tmp_path / "no-ssh"
    shell.write_text('#!/bin/sh\nshift\nexec "$@"\n')
    shell.chmod(0o755)
    commands = NoSsh(shell=str(shell), key=str(shell), known_hosts=str(shell))
    monkeypatch.setattr(Site, "host", lambda self, name: commands)
    return taken(far_beamline(site, altered, root, commands), root)


@pytest.fixture
def server() -> Iterator[sshd.Server]:
    """One that a test may stop."""
    if missing := sshd.why_missing():
        pytest.skip(missing)
    with sshd.another_server() as made:
        yield made


def taken(beamline: OpenBeamline, root: Path) -> OpenBeamline:
    submit(beamline, bare_run(root / "A001"), as_is=True)
    take(beamline, "A001")
    return beamline


def staged(beamline: OpenBeamline) -> StagedRun:
    done = stage(beamline, "A001")
    assert not isinstance(done, Waits)
    return done


def there(beamline: OpenBeamline) -> dict[str, bytes]:
    """What has its final name in the store."""
    raw = beamline.staged(beamline.latest("A001")).raw
    return {str(path.relative_to(raw)): path.read_bytes() for path in raw.rglob("*") if path.is_file()}


def is_recorded(beamline: OpenBeamline) -> bool:
    return "store" in {copy.place for copy in beamline.ledger.copies("xpcs", "A001")}


def after_rsync(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let something happen between rsync's end and the reading back."""
    run_here = ssh_rsync.run_here

    def then(*words: Any, **options: Any) -> Answer:
        answer = run_here(*words, **options)
        act()
        return answer

    monkeypatch.setattr(ssh_rsync, "run_here", then)


def flip(file: Path) -> None:
    """Another byte, of the same size and time."""
    found = file.stat()
    file.write_bytes(b"\xff" + file.read_bytes()[1:])
    os.utime(file, ns=(found.st_mtime_ns, found.st_mtime_ns))


def test_a_byte_flipped_on_the_way_gets_no_name_and_is_sent_again(
    far: OpenBeamline, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arriving = far.root("store") / ARRIVING_FOLDER
    with monkeypatch.context() as once:
        after_rsync(once, lambda: flip(next(arriving.rglob("A001.imm"))))
        with pytest.raises(NotVerifiedError, match=r"arrived as other bytes.*it is sent again"):
            stage(far, "A001")
    assert (set(there(far)), is_recorded(far)) == ({"A001_metadata.hdf"}, False)
    assert staged(far).staged.already_there == 1
    assert there(far)["A001.imm"] == (root / "A001" / "A001.imm").read_bytes()
    assert not arriving.exists()


def test_a_file_rewritten_there_since_it_was_taken_is_the_source_s_and_a_new_version(
    far: OpenBeamline, root: Path
) -> None:
    flip(root / "A001" / "A001.imm")
    with pytest.raises(ChangedWhileReadingError, match=r"A001\.imm: it changed while it was read"):
        stage(far, "A001")
    assert (set(there(far)), is_recorded(far)) == ({"A001_metadata.hdf"}, False)
    assert take(far, "A001").version.version == 2
    assert set(there(far)) == set()
    staged(far)
    assert there(far)["A001.imm"] == (root / "A001" / "A001.imm").read_bytes()


def test_a_file_that_vanished_there_since_it_was_taken_is_named(far: OpenBeamline, root: Path) -> None:
    content = (root / "A001" / "A001.imm").read_bytes()
    (root / "A001" / "A001.imm").unlink()
    with pytest.raises(ChangedWhileReadingError, match=r"A001\.imm: it vanished"):
        stage(far, "A001")
    assert not is_recorded(far)
    (root / "A001" / "A001.imm").write_bytes(content)
    assert staged(far).staged.bytes_moved


def test_a_file_that_became_a_link_there_is_not_followed(far: OpenBeamline, root: Path, tmp_path: Path) -> None:
    (root / "A001" / "A001.imm").rename(tmp_path / "elsewhere")
    (root / "A001" / "A001.imm").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CopyError):
        stage(far, "A001")
    assert (is_recorded(far), "A001.imm" in there(far)) == (False, False)


def test_other_bytes_under_the_final_name_stay(far: OpenBeamline) -> None:
    raw = far.staged(far.latest("A001")).raw
    raw.mkdir(parents=True)
    (raw / "A001.imm").write_bytes(b"theirs")
    with pytest.raises(ConflictingBytesError, match="taken by other bytes"):
        stage(far, "A001")
    assert ((raw / "A001.imm").read_bytes(), is_recorded(far)) == (b"theirs", False)


def test_bytes_that_an_older_rsync_puts_under_the_name_are_read_before_they_count(
    far: OpenBeamline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has outlived its caller gives its file the arriving name after the other was read back."""
    put_back = PosixPlace.put_back

    def late(self: PosixPlace, arrived: str, name: str) -> None:
        if name.endswith(".imm"):
            (self.root / "other").write_bytes(b"others")
            (self.root / "other").replace(self.root / arrived)
        put_back(self, arrived, name)

    monkeypatch.setattr(PosixPlace, "put_back", late)
    with pytest.raises(ConflictingBytesError, match="other bytes"):
        stage(far, "A001")
    assert not is_recorded(far)


def test_a_worker_that_is_killed_while_rsync_runs_is_followed_by_one_that_waits_for_it(
    far: OpenBeamline, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(3 << 20)
    (root / "A001" / "A001.imm").write_bytes(data)
    take(far, "A001")
    home = far.site.home
    far.engine.dispose()

    def killed() -> None:
        ssh_rsync._OPTIONS = (*ssh_rsync._OPTIONS, "--bwlimit=1000")
        threading.Timer(1.5, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
        _staged_until(home, 10_000)

    assert in_children(killed) == [-signal.SIGKILL]
    monkeypatch.setattr(ssh_rsync, "_ENDS_WITHIN_S", 0.0)
    with pytest.raises(CopyError, match="an rsync that has outlived an earlier attempt"):
        _staged_until(home, 0)
    monkeypatch.setattr(ssh_rsync, "_ENDS_WITHIN_S", 60.0)
    _staged_until(home, 0)
    assert there(far)["A001.imm"] == data
    assert not (far.root("store") / ARRIVING_FOLDER).exists()


def test_a_full_disk_is_told_as_that(far: OpenBeamline, monkeypatch: pytest.MonkeyPatch) -> None:
    said = Answer(11, b"", b"rsync: write failed: No space left on device (28)")
    with monkeypatch.context() as full:
        full.setattr(ssh_rsync, "run_here", lambda *words, **options: said)
        with pytest.raises(NoRoomError):
            stage(far, "A001")
    assert not is_recorded(far)
    assert staged(far).staged.bytes_moved


@pytest.mark.parametrize("stride", [8, pytest.param(1, marks=pytest.mark.long)])
def test_staging_from_another_machine_killed_anywhere_ends_well(
    far: OpenBeamline, root: Path, tmp_path: Path, stride: int
) -> None:
    home = far.site.home
    far.engine.dispose()
    expected = {name: (root / "A001" / name).read_bytes() for name in FILES}
    number, status = 1 - stride, KILLED
    while status == KILLED:
        number += stride
        copy = tmp_path / f"killed-{number}"
        shutil.copytree(home, copy)
        (status,) = in_children(lambda copy=copy, number=number: _staged_until(copy, number))  # type: ignore[misc]
        again = OpenBeamline(Site(copy), Site(copy).beamline("xpcs"))
        found = there(again)
        assert found.items() <= expected.items()
        if again.staged(again.latest("A001")).manifest.exists():
            assert found == expected
        if is_recorded(again):
            assert again.staged(again.latest("A001")).manifest.exists()
        again.engine.dispose()
        _staged_until(copy, 0)
        again = OpenBeamline(Site(copy), Site(copy).beamline("xpcs"))
        assert (there(again), is_recorded(again)) == (expected, True)
        assert partials_below(again.root("store")) == ()
        assert [path for path in (again.root("store") / ARRIVING_FOLDER).rglob("*") if path.is_file()] == []
        again.engine.dispose()
        shutil.rmtree(copy)
    assert (status, number > 40) == (0, True)


def _staged_until(home: Path, number: int) -> None:
    """Stage the run, and die at a changing step; not at all with 0."""
    opened = OpenBeamline(Site(home), Site(home).beamline("xpcs"))
    fault = DieAt(number, CHANGING)
    store, place = opened.place("store"), opened.place
    assert isinstance(store, PosixPlace)
    store.calls = FaultySyscalls(fault)

    def open_place(name: str) -> Place:
        return store if name == "store" else place(name)

    opened.__dict__["place"] = open_place
    count_commits(opened.engine, fault)
    if not number:  # the lease of the dead is over
        with opened.ledger.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM leases")
    stage(opened, "A001")
    opened.engine.dispose()


def test_a_host_that_goes_in_the_middle_is_gone_on_with_where_it_was(
    site: Site, altered: Altered, root: Path, server: sshd.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = far_beamline(site, altered, root, server.commands)
    run = bare_run(root / "A001")
    data = os.urandom(3 << 20)
    (run / "A001.imm").write_bytes(data)
    submit(far, run, as_is=True)
    take(far, "A001")
    with monkeypatch.context() as slowly:
        slowly.setattr(ssh_rsync, "_OPTIONS", (*ssh_rsync._OPTIONS, "--bwlimit=1000"))
        timer = threading.Timer(1.5, server.stop)
        timer.start()
        with pytest.raises(CopyError, match=r"place 'detector' is unavailable: rsync was cut off"):
            stage(far, "A001")
        timer.join()
    assert not is_recorded(far)
    server.start()
    done = staged(far)
    assert (0 < done.staged.bytes_moved < len(data), there(far)["A001.imm"] == data) == (True, True)


def test_a_host_that_was_down_when_it_was_first_looked_for_is_watched_once_it_is_up(
    site: Site, altered: Altered, root: Path, server: sshd.Server
) -> None:
    far = far_beamline(site, altered, root, server.commands)
    bare_run(root / "A001")
    (root / "A001" / ".done").touch()
    far = altered({"runs": {"from": {"complete_when": {"marker": ".done"}}}})
    watch = Watch(far)
    server.stop()
    with pytest.raises(CopyError, match="is unavailable"):
        watch.look(10)
    server.start()
    assert [ready.key for ready in watch.look(10)] == ["A001"]


def test_a_host_that_is_down_is_told_and_no_run_is_gone(
    site: Site, altered: Altered, root: Path, server: sshd.Server
) -> None:
    far = far_beamline(site, altered, root, server.commands)
    for name in ("A001", "A002"):
        submit(far, bare_run(root / name), as_is=True)
    take(far, "A001")
    watch = Watch(far)
    server.stop()
    with pytest.raises(CopyError, match="place 'detector' is unavailable: ssh did not get there"):
        watch.look(10)
    with pytest.raises(CopyError, match="is unavailable"):
        take(far, "A002")
    states = {each.run_key: each.state for each in far.ledger.arrivals("xpcs")}
    assert states == {"A001": ArrivalState.TAKEN, "A002": ArrivalState.WAITING}
    server.start()
    assert [ready.key for ready in watch.look(10)] == ["A002"] or take(far, "A002").is_new
