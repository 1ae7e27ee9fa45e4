"""The one way to write a data file: partial name, hash, fsync, read-back, final name, fsync of the folder.

A file has its final name only when it is complete, on the disk and was read back with the right hash. A final name is
never given to other bytes. Partials end in ``PARTIAL_SUFFIX``, begin with a dot and stay locked while their writer
lives; :func:`sweep_in` removes those of the dead.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from xpcs_assets.errors import ConflictingBytesError, NotVerifiedError, SourceDiffersError
from xpcs_assets.places.folders import open_below, open_folder
from xpcs_assets.places.moving import give_name
from xpcs_assets.places.pouring import Digests, Pouring
from xpcs_assets.places.reading import exists, hash_file, told_as_copy_error
from xpcs_assets.places.syscalls import SYSCALLS, Syscalls
from xpcs_assets.runs.folders import PARTIAL_SUFFIX

ONLY_SHA256: Mapping[str, str] = MappingProxyType({})
"""No digest beside it."""
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


@dataclass(frozen=True)
class Written:
    """What :func:`write_file_safely` did.

    Attributes
    ----------
    size_bytes, sha256
        Of the file.
    already_there
        Whether the very bytes had that name before, and nothing was written.
    """

    size_bytes: int
    sha256: str
    already_there: bool


def write_file_safely(
    target: Path,
    chunks: Iterable[bytes],
    *,
    sha256: str = "",
    also: Mapping[str, str] = ONLY_SHA256,
    mtime_ns: int | None = None,
    replace: bool = False,
    calls: Syscalls = SYSCALLS,
) -> Written:
    """Write ``chunks`` to ``target`` so that nobody ever sees a part of it; missing folders are made.

    The same bytes under that name are a no-op. The read-back goes to the disk where the kernel follows the advice to
    forget its pages (local file systems do, tmpfs and most network clients do not): it proves what the file system
    returns, not what a drive's own cache would return after a loss of power; for that there is the fsync.

    Parameters
    ----------
    target
        The final name.
    chunks
        The bytes; not asked for when ``sha256`` says that they are there already.
    sha256
        What they must hash to, 64 hex digits, where that is known beforehand.
    also
        Other digests that they must have, hex digits by kind; what is read back is compared with them as well.
    mtime_ns
        Time of last change to give the file, ns since 1970.
    replace
        Let new bytes take the name over, at once and as a whole: only for files that can be made again.

    Raises
    ------
    ConflictingBytesError
        Other bytes, a folder or a link have the name; nothing was changed.
    NoRoomError
        Disk or quota are full; no partial is left.
    SourceDiffersError
        The bytes are not those of ``sha256`` and ``also``.
    NotVerifiedError
        They did not come back from the disk as they were written.
    CopyError
        The system refused; the message names the cause.
    """
    with told_as_copy_error(target), open_folder(target.parent, calls, make=True) as folder:
        return write_in(
            folder, target, chunks, sha256=sha256, also=also, mtime_ns=mtime_ns, replace=replace, calls=calls
        )


def write_in(
    folder: int,
    target: Path,
    chunks: Iterable[bytes],
    *,
    sha256: str = "",
    also: Mapping[str, str] = ONLY_SHA256,
    mtime_ns: int | None = None,
    replace: bool = False,
    calls: Syscalls = SYSCALLS,
) -> Written:
    """Do what :func:`write_file_safely` does, in a folder that is open; what the system refuses is an OSError here."""
    goal = _Name(folder, target)
    if sha256 and not replace and exists(goal.name, calls, folder):
        _refuse_other_bytes(goal, sha256, calls, also)
        calls.fsync(folder)  # whoever named it may have died before this
        return Written(calls.lstat(goal.name, folder).st_size, sha256, already_there=True)
    partial, descriptor = _claim_partial(goal, calls)
    try:
        with Pouring(descriptor, also, calls) as pouring:
            written = pouring.write(chunks)
            refuse_wrong_source(target, written, sha256, also)
            if mtime_ns is not None:
                calls.set_mtime(descriptor, mtime_ns)
            calls.fsync(descriptor)
            _refuse_wrong_disk(target, written, pouring.read_back())
        already_there = not _give_name(partial, goal, written.sha256, replace=replace, calls=calls)
    except BaseException:
        with suppress(OSError):
            calls.unlink(partial, folder)
        raise
    finally:
        calls.close(descriptor)
    calls.fsync(folder)
    return Written(written.size_bytes, written.sha256, already_there)


@dataclass(frozen=True)
class _Name:
    """A file's name in an open folder; its path is for people."""

    folder: int
    path: Path

    @property
    def name(self) -> str:
        return self.path.name


def sweep_in(folder: int, calls: Syscalls = SYSCALLS) -> int:
    """Remove the partials below an open folder whose writers are dead; how many those were."""
    swept = 0
    for name in calls.names(folder):
        if _is_folder(name, folder, calls):
            # A folder that another writer has taken away since it was listed has no partials.
            with suppress(FileNotFoundError, NotVerifiedError), open_below(folder, [name], calls) as inner:
                swept += sweep_in(inner, calls)
        elif is_partial(name):
            swept += _sweep(name, folder, calls)
    return swept


def _is_folder(name: str, folder: int, calls: Syscalls) -> bool:
    try:
        return stat.S_ISDIR(calls.lstat(name, folder).st_mode)
    except FileNotFoundError:  # a name that another writer has taken away since the folder was listed
        return False


def is_partial(name: str) -> bool:
    """Whether a file name is one of a partial."""
    return name.startswith(".") and name.endswith(PARTIAL_SUFFIX)


def _claim_partial(target: _Name, calls: Syscalls) -> tuple[str, int]:
    # The name is new each time and as short as 255-byte names need: a second writer has a partial of its own.
    stem = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]
    while True:
        partial = f".{stem}-{secrets.token_hex(6)}{PARTIAL_SUFFIX}"
        descriptor = calls.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, target.folder)
        try:
            calls.lock(descriptor)
        except BlockingIOError:  # a sweeper came between open and lock
            calls.close(descriptor)
            continue
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                calls.close(descriptor)
                raise
        if calls.fstat(descriptor).st_nlink:
            return partial, descriptor
        calls.close(descriptor)


def refuse_wrong_source(target: str | os.PathLike[str], written: Digests, sha256: str, also: Mapping[str, str]) -> None:
    """Raise SourceDiffersError unless the bytes that came have the digests that were promised of them."""
    expected = ({"sha256": sha256} if sha256 else {}) | dict(also)
    found = {"sha256": written.sha256} | written.also
    wrong = [
        f"{kind} {found.get(kind, 'cannot be made')}, not {value}"
        for kind, value in expected.items()
        if found.get(kind) != value
    ]
    if wrong:
        raise SourceDiffersError(
            f"the bytes to write hash to {'; '.join(wrong)}",
            where=target,
            remedy="The source is not what its manifest says: take a new one",
        )


def _refuse_wrong_disk(target: Path, written: Digests, found: Digests) -> None:
    if found != written:
        raise NotVerifiedError(
            "what came back from the disk is not what was written", where=target, remedy="Have the disk looked at"
        )


def _give_name(partial: str, target: _Name, sha256: str, *, replace: bool, calls: Syscalls) -> bool:
    """Whether the name was given; False when the same bytes had it."""
    folder = target.folder
    if replace and not (exists(target.name, calls, folder) and _is_same(target, sha256, calls)):
        calls.rename(partial, target.name, folder, folder)
        return True
    given = give_name(partial, target.name, folder, folder, calls)
    if not given:
        _refuse_other_bytes(target, sha256, calls)
        calls.unlink(partial, folder)
    return given


def _is_same(target: _Name, sha256: str, calls: Syscalls, also: Mapping[str, str] = ONLY_SHA256) -> bool:
    if not stat.S_ISREG(calls.lstat(target.name, target.folder).st_mode):
        return False
    found = hash_file(target.path, calls, also, target.folder)
    return found.sha256 == sha256 and found.also == also


def _refuse_other_bytes(target: _Name, sha256: str, calls: Syscalls, also: Mapping[str, str] = ONLY_SHA256) -> None:
    regular = stat.S_ISREG(calls.lstat(target.name, target.folder).st_mode)
    if not _is_same(target, sha256, calls, also):
        raise ConflictingBytesError(
            "the name is taken by other bytes" if regular else "the name is taken by something that is no file",
            where=target.path,
            remedy="Both were kept: look which is right, and move the other away",
        )


def _sweep(name: str, folder: int, calls: Syscalls) -> int:
    with suppress(OSError):  # locked, or gone meanwhile: then its writer lives
        # NFS locks only what is open to write.
        descriptor = calls.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, 0, folder)
        try:
            calls.lock(descriptor)
            calls.unlink(name, folder)
            return 1
        finally:
            calls.close(descriptor)
    return 0
