"""Taking manifests and staging runs."""

from __future__ import annotations

import errno
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from xpcs_assets.copies.ledger import Evidence
from xpcs_assets.errors import (
    ChangedWhileReadingError,
    ConflictingBytesError,
    CopyError,
    NotVerifiedError,
    RefusedError,
)
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.syscalls import Syscalls
from xpcs_assets.runs.folders import VersionFolder
from xpcs_assets.runs.manifest import Manifest
from xpcs_assets.stage.copy import stage_run, take_manifest
from xpcs_assets.testing.faults import FailAt, Fault, FaultySyscalls, partials_below
from xpcs_assets_tests.storage import BEAMLINE, FILES, RUN, Storage


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    storage = Storage.build(tmp_path)
    yield storage
    storage.close()


class Meddling(Syscalls):
    """Does something to a file when it is read for the ``after``-th time."""

    def __init__(self, meddle: Callable[[], object], after: int = 1) -> None:
        self.meddle, self.left = meddle, after

    def read(self, descriptor: int, size_bytes: int) -> bytes:
        self.left -= 1
        if self.left == 0:
            self.meddle()
        return super().read(descriptor, size_bytes)


def append(file: Path) -> None:
    with file.open("ab") as growing:
        growing.write(b"more")


def rewrite_alike(file: Path) -> None:
    """Other bytes of the same length, in place, with the old time of last change put back."""
    before = file.stat()
    with file.open("r+b") as changing:
        changing.write(b"other!")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_manifest_has_every_file_with_size_hash_and_time(storage: Storage) -> None:
    manifest = take_manifest(RUN, storage.source, list(FILES))
    assert {entry.path: entry.size_bytes for entry in manifest.files} == {k: len(v) for k, v in FILES.items()}
    for entry in manifest.files:
        assert entry.sha256 == hashlib.sha256(FILES[entry.path]).hexdigest()
        assert entry.mtime_ns == (storage.source / entry.path).stat().st_mtime_ns


KINDS = ("md5", "adler32")


def test_a_manifest_has_the_digests_that_were_asked_for_from_the_same_read(storage: Storage) -> None:
    counted = Fault()
    manifest = take_manifest(RUN, storage.source, list(FILES), KINDS, calls=FaultySyscalls(counted))
    for entry in manifest.files:
        data = FILES[entry.path]
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        assert dict(entry.also) == {"md5": md5, "adler32": f"{zlib.adler32(data):08x}"}
    assert counted.steps.count("read") == sum(2 if data else 1 for data in FILES.values())


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("wrong", ["sha256", *KINDS])
def test_f27_f28_staged_bytes_are_compared_with_every_digest(storage: Storage, wrong: str, together: int) -> None:
    manifest = take_manifest(RUN, storage.source, list(FILES), KINDS)
    stage_run(manifest, storage.source, storage.target, storage.disk, together=together)
    assert storage.files_at("disk") == FILES
    entries = [
        replace(entry, sha256="0" * 64)
        if wrong == "sha256"
        else replace(entry, also=tuple((kind, "00" if kind == wrong else value) for kind, value in entry.also))
        for entry in manifest.files
    ]
    target = VersionFolder(storage.disk.root, BEAMLINE, RUN, 2)
    with pytest.raises(ChangedWhileReadingError, match="3 of 3 files"):
        stage_run(Manifest.of(RUN, entries), storage.source, target, storage.disk, together=together)
    assert not target.manifest.exists()
    assert [path for path in target.path.rglob("*") if path.is_file()] == []
    with pytest.raises(ConflictingBytesError):  # nor are files that are there taken for these
        stage_run(Manifest.of(RUN, entries), storage.source, storage.target, storage.disk, together=together)


def test_several_files_at_a_time_give_the_same_copy(storage: Storage) -> None:
    manifest = storage.take()
    told: list[int] = []
    staged = stage_run(manifest, storage.source, storage.target, storage.disk, together=3, on_bytes=told.append)
    assert (storage.files_at("disk"), sum(told)) == (FILES, manifest.size_bytes)
    assert (staged.bytes_moved, staged.already_there) == (manifest.size_bytes, 0)
    again = stage_run(manifest, storage.source, storage.target, storage.disk, together=3)
    assert (again.bytes_moved, again.already_there) == (0, 3)


def test_a_file_named_twice_is_one_entry(storage: Storage) -> None:
    assert len(take_manifest(RUN, storage.source, ["A001.imm", "A001.imm"]).files) == 1


@pytest.mark.parametrize("change", [append, rewrite_alike])
def test_f10_f11_a_file_that_changes_while_it_is_read_gives_no_manifest(
    storage: Storage, change: Callable[[Path], None]
) -> None:
    file = storage.source / "A001.imm"
    with pytest.raises(ChangedWhileReadingError, match=r"A001\.imm.*changed while it was read"):
        take_manifest(RUN, storage.source, list(FILES), calls=Meddling(lambda: change(file)))


def test_f11_a_file_that_changes_after_its_turn_gives_no_manifest(storage: Storage) -> None:
    first = storage.source / "A001.imm"
    meddling = Meddling(lambda: rewrite_alike(first), after=3)  # two reads for the first file, then the next one
    with pytest.raises(ChangedWhileReadingError, match=r"A001\.imm"):
        take_manifest(RUN, storage.source, list(FILES), calls=meddling)


def test_f12_a_file_that_vanishes_is_named(storage: Storage) -> None:
    last = storage.source / "sub" / "notes é.txt"
    with pytest.raises(ChangedWhileReadingError, match=r"notes é\.txt.*vanished"):
        take_manifest(RUN, storage.source, list(FILES), calls=Meddling(last.unlink))


def test_f12_a_file_replaced_between_look_and_open_is_noticed(storage: Storage) -> None:
    class Swapping(Syscalls):
        def open(self, name: Path | str, flags: int, mode: int = 0o644, folder: int | None = None) -> int:
            if name == "A001.imm":
                other = storage.source / "other"
                other.write_bytes(FILES["A001.imm"])
                other.replace(storage.source / name)
            return super().open(name, flags, mode, folder)

    with pytest.raises(ChangedWhileReadingError):
        take_manifest(RUN, storage.source, ["A001.imm"], calls=Swapping())


@pytest.mark.parametrize("target", ["/etc/passwd", "..", "nowhere", "odd"])
def test_f19_links_are_refused(storage: Storage, target: str) -> None:
    (storage.source / "odd").symlink_to(target)
    with pytest.raises(CopyError, match=r"odd.*no regular file"):
        take_manifest(RUN, storage.source, ["odd"])


def test_f19_a_linked_folder_on_the_way_is_refused(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    (storage.source / "door").symlink_to(tmp_path / "outside")
    with pytest.raises(CopyError, match=r"door.*through a link"):
        take_manifest(RUN, storage.source, ["door/secret"])


def test_f19_a_folder_swapped_for_a_link_between_look_and_open_leads_nowhere(storage: Storage, tmp_path: Path) -> None:
    sub, outside = storage.source / "sub", tmp_path / "outside"

    class Swapping(Syscalls):
        def open(self, name: Path | str, flags: int, mode: int = 0o644, folder: int | None = None) -> int:
            if "sub" in {str(name), Path(name).parent.name} and not sub.is_symlink():
                sub.rename(outside)
                sub.symlink_to(outside)
            return super().open(name, flags, mode, folder)

    with pytest.raises(CopyError, match="through a link"):
        take_manifest(RUN, storage.source, ["sub/notes é.txt"], calls=Swapping())


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_f21_what_is_no_file_is_refused_without_waiting(storage: Storage, make: Callable[[Path], None]) -> None:
    make(storage.source / "odd")
    with pytest.raises(CopyError, match="no regular file"):
        take_manifest(RUN, storage.source, ["odd"])


@pytest.mark.parametrize("path", ["../detector/A001/A001.imm", "/etc/passwd", ""])
def test_no_path_leaves_the_run_s_folder(storage: Storage, path: str) -> None:
    with pytest.raises(NotVerifiedError, match="no path inside"):
        take_manifest(RUN, storage.source, [path])


def test_f07_a_source_that_cannot_be_read_is_named(storage: Storage) -> None:
    calls = FaultySyscalls(FailAt(2, errno.EIO, frozenset({"read"})))
    with pytest.raises(CopyError, match=r"A001\.imm.*input/output"):
        take_manifest(RUN, storage.source, list(FILES), calls=calls)


def test_f12_a_file_that_vanishes_between_look_and_open_is_named(storage: Storage) -> None:
    class Vanishing(Syscalls):
        def open(self, name: Path | str, flags: int, mode: int = 0o644, folder: int | None = None) -> int:
            if name == "A001.imm":
                os.unlink(name, dir_fd=folder)
            return super().open(name, flags, mode, folder)

    with pytest.raises(ChangedWhileReadingError, match="vanished"):
        take_manifest(RUN, storage.source, ["A001.imm"], calls=Vanishing())


def test_staging_copies_every_byte_and_marks_the_copy_complete(storage: Storage) -> None:
    manifest = storage.take()
    staged = storage.stage()
    assert storage.files_at("disk") == FILES
    assert Manifest.from_json(storage.target.manifest.read_text()) == manifest
    assert (staged.bytes_moved, staged.bytes_total, staged.already_there) == (30512, 30512, 0)
    assert staged.rate_bytes_per_s == pytest.approx(30512 / staged.seconds)
    for entry in manifest.files:
        assert (storage.target.raw / entry.path).stat().st_mtime_ns == entry.mtime_ns
    copy = storage.copy("disk")
    assert (copy.path, copy.evidence) == (f"{BEAMLINE}/{RUN}/v1/raw", Evidence.READ_BACK)
    assert copy.failure_domain == "disk room"


def test_f15_staging_again_moves_nothing_and_counts_once(storage: Storage) -> None:
    storage.take()
    storage.stage()
    inodes = {path: path.stat().st_ino for path in storage.target.path.rglob("*")}
    again = storage.stage()
    assert (again.bytes_moved, again.already_there, again.rate_bytes_per_s) == (0, 3, 0.0)
    assert [copy.place for copy in storage.ledger.copies(BEAMLINE, RUN)] == ["detector", "disk"]
    assert {path: path.stat().st_ino for path in storage.target.path.rglob("*")} == inodes


def test_f24_an_interrupted_staging_moves_only_what_is_missing(storage: Storage) -> None:
    storage.take()
    storage.stage()
    (storage.target.raw / "A001.imm").unlink()
    assert storage.stage().bytes_moved == len(FILES["A001.imm"])
    assert storage.files_at("disk") == FILES


def test_f14_other_bytes_at_the_target_stop_the_run_and_stay(storage: Storage) -> None:
    storage.take()
    taken = storage.target.raw / "A001.imm"
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"theirs")
    with pytest.raises(ConflictingBytesError, match=r"A001\.imm"):
        storage.stage()
    assert taken.read_bytes() == b"theirs"
    assert not storage.target.manifest.exists()


def test_f11_a_source_that_is_no_longer_its_manifest_is_not_staged(storage: Storage) -> None:
    storage.take()
    rewrite_alike(storage.source / "A001.imm")
    with pytest.raises(ChangedWhileReadingError, match=r"A001\.imm"):
        storage.stage()
    assert not (storage.target.raw / "A001.imm").exists()
    assert not storage.target.manifest.exists()
    assert partials_below(storage.root) == ()


def test_f12_a_source_file_that_vanished_is_named(storage: Storage) -> None:
    storage.take()
    (storage.source / "A001.imm").unlink()
    with pytest.raises(ChangedWhileReadingError, match=r"A001\.imm.*vanished"):
        storage.stage()


@pytest.mark.parametrize("relation", ["same", "inside", "around", "linked"])
def test_f17_source_and_target_in_each_other_are_refused_before_any_write(storage: Storage, relation: str) -> None:
    manifest = storage.take()
    target = storage.target
    if relation == "inside":
        target = VersionFolder(storage.source, BEAMLINE, RUN, 1)
    elif relation == "linked":
        target = VersionFolder(storage.root / "door", BEAMLINE, RUN, 1)
        target.root.symlink_to(storage.source)
    source = {"same": target.path, "around": target.path / "raw"}.get(relation, storage.source)
    before = sorted(storage.root.rglob("*"))
    with pytest.raises(RefusedError, match="lie in each other"):
        stage_run(manifest, source, target, PosixPlace("p", target.root))
    assert sorted(storage.root.rglob("*")) == before


def test_a_target_outside_the_place_is_refused(storage: Storage, tmp_path: Path) -> None:
    manifest = storage.take()
    with pytest.raises(NotVerifiedError, match="does not lie in place 'disk'"):
        stage_run(manifest, storage.source, VersionFolder(tmp_path / "other", BEAMLINE, RUN, 1), storage.disk)


def test_progress_is_told_and_may_stop_the_staging(storage: Storage) -> None:
    manifest, told = storage.take(), []
    stage_run(manifest, storage.source, storage.target, storage.disk, on_bytes=told.append)
    assert sum(told) == manifest.size_bytes

    def lost(_: int) -> None:
        raise RefusedError("the lease was lost")

    target = VersionFolder(storage.disk.root, BEAMLINE, RUN, 2)
    with pytest.raises(RefusedError, match="lease was lost"):
        stage_run(manifest, storage.source, target, storage.disk, on_bytes=lost)
    assert not target.manifest.exists()
    assert partials_below(storage.root) == ()
