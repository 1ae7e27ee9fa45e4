"""Taking a run's manifest at its source, and copying the run to a place so that every byte is known to have arrived."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xpcs_assets.copies.beside import write_note
from xpcs_assets.copies.clock import Stopwatch
from xpcs_assets.copies.ledger import Copy, Evidence, Ledger
from xpcs_assets.errors import (
    ChangedWhileReadingError,
    ConflictingBytesError,
    CopyError,
    NotFoundError,
    NotVerifiedError,
    RefusedError,
    SourceDiffersError,
)
from xpcs_assets.places import reading
from xpcs_assets.places.hashing import Hasher
from xpcs_assets.places.place import Place
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.reading import Signature
from xpcs_assets.places.syscalls import SYSCALLS, Syscalls
from xpcs_assets.runs.folders import VersionFolder
from xpcs_assets.runs.manifest import FileEntry, Manifest, check_relative
from xpcs_assets.stage.side_by_side import SideBySide

_WRITING = "It is taken when the writer is done; nothing was kept of this attempt"


@dataclass(frozen=True)
class Staged:
    """What staging a run did.

    Attributes
    ----------
    bytes_moved, bytes_total
        What had to be copied, and what the run has.
    already_there
        Files that were right before.
    seconds
        From the first byte to the last, reading back included.
    """

    bytes_moved: int
    bytes_total: int
    already_there: int
    seconds: float

    @property
    def rate_bytes_per_s(self) -> float:
        """Bytes really moved a second; 0 when there were none."""
        return self.bytes_moved / self.seconds if self.bytes_moved and self.seconds > 0 else 0.0


def take_manifest(
    run_key: str, root: Path, paths: Sequence[str], also: Iterable[str] = (), *, calls: Syscalls = SYSCALLS
) -> Manifest:
    """Hash the files of a run in one read each, and make sure that none changed meanwhile.

    Parameters
    ----------
    run_key
        Of the run.
    root
        Its folder at the source.
    paths
        Its files, relative to the folder.
    also
        Digests to record beside sha256, made in the same read; of :data:`xpcs_assets.places.hashing.KINDS`.

    Raises
    ------
    ChangedWhileReadingError
        A file grew, was rewritten or vanished between the first look at it and the last.
    CopyError
        A file is a link, a FIFO, a device or a folder, lies behind a linked folder, or cannot be read.
    SettingsError
        The library that makes a digest is not installed.
    """
    kinds = tuple(also)
    entries = [_entry(root, path, kinds, calls) for path in dict.fromkeys(paths)]
    for entry, before in entries:  # a file read early may have changed while a later one was read
        if _look(root / entry.path, calls) != before:
            raise changed(root / entry.path)
    return Manifest.of(run_key, [entry for entry, _ in entries])


def stage_run(
    manifest: Manifest,
    source_root: Path,
    target: VersionFolder,
    place: PosixPlace,
    *,
    together: int = 1,
    on_bytes: Callable[[int], None] = lambda size_bytes: None,
    stopwatch: Stopwatch = time.monotonic,
) -> Staged:
    """Copy the files of ``manifest`` into ``target.raw``, each hashed while written and read back from the disk.

    What is there and right is not moved again; ``manifest.json``, written last, marks the copy as complete. A file
    whose source fails lets the others finish; then the run fails, and is not staged.

    Parameters
    ----------
    together
        Files that are copied side by side. With one, all system calls of files smaller than a block (see
        :mod:`xpcs_assets.places.pouring`) come in the same order every time.
    on_bytes
        Called with the length of each piece that was read, by one thread at a time: to show progress, and to renew a
        lease (what it raises ends the staging).

    Raises
    ------
    ChangedWhileReadingError
        A source file is no longer what the manifest says, or vanished.
    ConflictingBytesError, NoRoomError, NotVerifiedError, CopyError
        As :func:`xpcs_assets.places.files.write_file_safely`. The files that are complete stay and are found again.
        Of several that failed, each is named.
    RefusedError
        Source and target are the same folder or file, or one lies in the other.
    """
    _refuse_one_in_the_other(source_root, target)
    _refuse_hard_links(manifest, source_root, target, place.calls)
    began = stopwatch()
    place.sweep(_inside(place, target.path))
    moved: list[int] = []  # by the files that were not there
    side_by_side = SideBySide(together, lambda error: _is_of_one_file(error, source_root), on_bytes)

    def copy(entry: FileEntry) -> None:
        name = _inside(place, target.raw / entry.path)
        chunks = _source_chunks(source_root, entry, side_by_side.moved, place.calls)
        try:
            written = place.put(name, chunks, sha256=entry.sha256, also=dict(entry.also), mtime_ns=entry.mtime_ns)
        except SourceDiffersError as error:
            raise changed(source_root / entry.path) from error
        if not written.already_there:
            moved.append(written.size_bytes)

    side_by_side.each(manifest.files, copy)
    mark_complete(manifest, target, place)
    return Staged(sum(moved), manifest.size_bytes, len(manifest.files) - len(moved), stopwatch() - began)


def mark_complete(manifest: Manifest, target: VersionFolder, place: PosixPlace) -> None:
    """Write ``manifest.json``, the last file of a copy, once every file has its name."""
    place.settle(_inside(place, target.raw / entry.path) for entry in manifest.files)
    place.put(_inside(place, target.manifest), [manifest.to_json().encode()])


def record_staged(ledger: Ledger, target: VersionFolder, place: PosixPlace) -> Copy:
    """Tell the ledger, and the note beside the manifest, of a copy that :func:`stage_run` has just made or found."""
    return _record(ledger, target, place, _inside(place, target.raw), place.calls)


def inside(staged: VersionFolder) -> VersionFolder:
    """Where a version lies in any place, relative to its root."""
    return replace(staged, root=Path())


def complete(
    ledger: Ledger, manifest: Manifest, staged: VersionFolder, place: Place, renew: Callable[[int], None]
) -> Copy:
    """Mark a copy in any place as complete once its every file was read there, and tell the ledger and the note of it.

    Parameters
    ----------
    staged
        Where the version is staged: beside that manifest lies the note.
    renew
        Of the run's lease; what it raises keeps the copy out of the ledger.
    """
    folder = inside(staged)
    place.settle(str(folder.raw / entry.path) for entry in manifest.files)
    place.put(str(folder.manifest), [manifest.to_json().encode()])
    renew(0)
    return _record(ledger, staged, place, str(folder.raw), SYSCALLS)


def _record(ledger: Ledger, staged: VersionFolder, place: Place, path: str, calls: Syscalls) -> Copy:
    copy = ledger.record_copy(
        staged.beamline,
        staged.run_key,
        staged.version,
        place=place.name,
        path=path,
        failure_domain=place.failure_domain,
        evidence=Evidence.READ_BACK,
    )
    write_note(ledger.engine, staged, calls)
    return copy


def _entry(root: Path, path: str, also: tuple[str, ...], calls: Syscalls) -> tuple[FileEntry, Signature]:
    file = root / check_relative(path)
    before = _look(file, calls)
    hasher = Hasher(also)
    size_bytes = 0
    try:
        with reading.open_inside(root, path, calls) as descriptor:
            opened = Signature.of(calls.fstat(descriptor))
            for data in reading.chunks_of(descriptor, calls):
                hasher.update(data)
                size_bytes += len(data)
            after = Signature.of(calls.fstat(descriptor))
    except NotFoundError as error:
        raise vanished(file) from error
    if not before == opened == after or size_bytes != after.size_bytes:
        raise changed(file)
    return FileEntry(path, size_bytes, hasher.sha256, after.mtime_ns, tuple(sorted(hasher.also.items()))), after


def _look(file: Path, calls: Syscalls) -> Signature:
    try:
        with reading.told_as_copy_error(file):
            found = calls.lstat(file)
    except NotFoundError as error:
        raise vanished(file) from error
    if not stat.S_ISREG(found.st_mode):
        raise CopyError("it is no regular file", where=file, remedy="Links, pipes and devices are not taken: copy them")
    return Signature.of(found)


def _source_chunks(root: Path, entry: FileEntry, on_bytes: Callable[[int], None], calls: Syscalls) -> Iterator[bytes]:
    """The source's bytes; whoever writes them compares their digests with the manifest's."""
    try:
        with reading.open_inside(root, entry.path, calls) as descriptor:
            for data in reading.chunks_of(descriptor, calls):
                on_bytes(len(data))
                yield data
    except NotFoundError as error:
        raise vanished(root / entry.path) from error


def _is_of_one_file(error: CopyError, source_root: Path) -> bool:
    """Whether an error says nothing of the other files: not so when the target's disk is full or refuses."""
    if isinstance(error, ChangedWhileReadingError | ConflictingBytesError):
        return True
    return bool(error.where) and Path(error.where).is_relative_to(source_root)


def _refuse_one_in_the_other(source_root: Path, target: VersionFolder) -> None:
    """Compares what the folders are, not only their names: a folder may be mounted a second time under another."""
    source, goal = source_root.resolve(), target.path.resolve()
    if source in {goal, *goal.parents} or goal in source.parents or _among(source, goal) or _among(goal, source):
        raise RefusedError(
            "source and target lie in each other", where=target.path, remedy="Stage to a folder outside the source"
        )


def _among(folder: Path, inner: Path) -> bool:
    if not folder.exists():
        return False
    return any(folder.samefile(outer) for outer in (inner, *inner.parents) if outer.exists())


def _refuse_hard_links(manifest: Manifest, source_root: Path, target: VersionFolder, calls: Syscalls) -> None:
    for entry in manifest.files:
        name, source = target.raw / entry.path, source_root / entry.path
        if os.path.lexists(name) and os.path.lexists(source):
            one, other = calls.lstat(name), calls.lstat(source)
            if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino):
                raise RefusedError(
                    "it is the source's file under a second name, and no copy of it",
                    where=name,
                    remedy="Take this name away, then stage again",
                )


def _inside(place: PosixPlace, path: Path) -> str:
    if not path.is_relative_to(place.root):
        raise NotVerifiedError(
            f"it does not lie in place {place.name!r}", where=path, remedy="Use the place's own root"
        )
    return path.relative_to(place.root).as_posix()


def vanished(where: Path | str) -> ChangedWhileReadingError:
    """A file of the source that is not there any more."""
    return ChangedWhileReadingError("it vanished before it was read", where=where, remedy=_WRITING)


def changed(where: Path | str) -> ChangedWhileReadingError:
    """A file of the source that is not what it was."""
    return ChangedWhileReadingError("it changed while it was read", where=where, remedy=_WRITING)
