"""Taking a run's manifest at its source, and copying the run to a place so that every byte is known to have arrived."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xpcs_assets.copies.clock import Stopwatch
from xpcs_assets.copies.ledger import Copy, Evidence, Ledger
from xpcs_assets.errors import ChangedWhileReadingError, CopyError, NotFoundError, NotVerifiedError, RefusedError
from xpcs_assets.places import files, reading
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.reading import Signature
from xpcs_assets.places.syscalls import SYSCALLS, Syscalls
from xpcs_assets.runs.folders import VersionFolder
from xpcs_assets.runs.manifest import FileEntry, Manifest, check_relative

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


def take_manifest(run_key: str, root: Path, paths: Sequence[str], *, calls: Syscalls = SYSCALLS) -> Manifest:
    """Hash the files of a run in one read each, and make sure that none changed meanwhile.

    Parameters
    ----------
    run_key
        Of the run.
    root
        Its folder at the source.
    paths
        Its files, relative to the folder.

    Raises
    ------
    ChangedWhileReadingError
        A file grew, was rewritten or vanished between the first look at it and the last.
    CopyError
        A file is a link, a FIFO, a device or a folder, lies behind a linked folder, or cannot be read.
    """
    entries = [_entry(root, path, calls) for path in dict.fromkeys(paths)]
    for entry, before in entries:  # a file read early may have changed while a later one was read
        if _look(root / entry.path, calls) != before:
            raise _changed(root / entry.path)
    return Manifest.of(run_key, [entry for entry, _ in entries])


def stage_run(
    manifest: Manifest,
    source_root: Path,
    target: VersionFolder,
    place: PosixPlace,
    *,
    on_bytes: Callable[[int], None] = lambda size_bytes: None,
    stopwatch: Stopwatch = time.monotonic,
) -> Staged:
    """Copy the files of ``manifest`` into ``target.raw``, each hashed while written and read back from the disk.

    What is there and right is not moved again; ``manifest.json``, written last, marks the copy as complete.

    Parameters
    ----------
    on_bytes
        Called with the length of each piece that was read: to show progress, and to renew a lease (what it raises
        ends the staging).

    Raises
    ------
    ChangedWhileReadingError
        A source file is no longer what the manifest says, or vanished.
    ConflictingBytesError, NoRoomError, NotVerifiedError, CopyError
        As :func:`xpcs_assets.places.files.write_file_safely`. The files that are complete stay and are found again.
    RefusedError
        Source and target are the same folder, or one lies in the other.
    """
    _refuse_nested(source_root, target)
    began = stopwatch()
    files.sweep_partials(target.path, place.calls)
    moved = already_there = 0
    for entry in manifest.files:
        name = _inside(place, target.raw / entry.path)
        chunks = _source_chunks(source_root, entry, on_bytes, place.calls)
        written = place.put(name, chunks, sha256=entry.sha256, mtime_ns=entry.mtime_ns)
        moved += 0 if written.already_there else written.size_bytes
        already_there += written.already_there
    place.put(_inside(place, target.manifest), [manifest.to_json().encode()])
    return Staged(moved, manifest.size_bytes, already_there, stopwatch() - began)


def record_staged(ledger: Ledger, target: VersionFolder, place: PosixPlace) -> Copy:
    """Tell the ledger of a copy that :func:`stage_run` has just made or found."""
    return ledger.record_copy(
        target.beamline,
        target.run_key,
        target.version,
        place=place.name,
        path=_inside(place, target.raw),
        failure_domain=place.failure_domain,
        evidence=Evidence.READ_BACK,
    )


def _entry(root: Path, path: str, calls: Syscalls) -> tuple[FileEntry, Signature]:
    _refuse_linked_folders(root, path, calls)
    file = root / path
    before = _look(file, calls)
    digest = hashlib.sha256()
    size_bytes = 0
    try:
        with reading.open_regular(file, calls) as descriptor:
            opened = Signature.of(calls.fstat(descriptor))
            for data in reading.chunks_of(descriptor, calls):
                digest.update(data)
                size_bytes += len(data)
            after = Signature.of(calls.fstat(descriptor))
    except NotFoundError as error:
        raise _vanished(file) from error
    if not before == opened == after or size_bytes != after.size_bytes:
        raise _changed(file)
    return FileEntry(path, size_bytes, digest.hexdigest(), after.mtime_ns), after


def _look(file: Path, calls: Syscalls) -> Signature:
    try:
        with reading.told_as_copy_error(file):
            found = calls.lstat(file)
    except NotFoundError as error:
        raise _vanished(file) from error
    if not stat.S_ISREG(found.st_mode):
        raise CopyError("it is no regular file", where=file, remedy="Links, pipes and devices are not taken: copy them")
    return Signature.of(found)


def _refuse_linked_folders(root: Path, path: str, calls: Syscalls) -> None:
    folder = root
    for part in check_relative(path).parts[:-1]:
        folder = folder / part
        if os.path.lexists(folder) and stat.S_ISLNK(calls.lstat(folder).st_mode):
            raise CopyError("it is a symbolic link, which is never followed", where=folder, remedy="Copy what it names")


def _source_chunks(root: Path, entry: FileEntry, on_bytes: Callable[[int], None], calls: Syscalls) -> Iterator[bytes]:
    """The source's bytes; ends only if they are those of the manifest."""
    _refuse_linked_folders(root, entry.path, calls)
    file, digest = root / entry.path, hashlib.sha256()
    try:
        with reading.open_regular(file, calls) as descriptor:
            for data in reading.chunks_of(descriptor, calls):
                digest.update(data)
                on_bytes(len(data))
                yield data
    except NotFoundError as error:
        raise _vanished(file) from error
    if digest.hexdigest() != entry.sha256:
        raise _changed(file)


def _refuse_nested(source_root: Path, target: VersionFolder) -> None:
    source, goal = source_root.resolve(), target.path.resolve()
    if source == goal or source in goal.parents or goal in source.parents:
        raise RefusedError(
            "source and target lie in each other", where=target.path, remedy="Stage to a folder outside the source"
        )


def _inside(place: PosixPlace, path: Path) -> str:
    if not path.is_relative_to(place.root):
        raise NotVerifiedError(
            f"it does not lie in place {place.name!r}", where=path, remedy="Use the place's own root"
        )
    return path.relative_to(place.root).as_posix()


def _vanished(file: Path) -> ChangedWhileReadingError:
    return ChangedWhileReadingError("it vanished before it was read", where=file, remedy=_WRITING)


def _changed(file: Path) -> ChangedWhileReadingError:
    return ChangedWhileReadingError("it changed while it was read", where=file, remedy=_WRITING)
