"""The one way to write a data file: partial name, hash, fsync, read-back, final name, fsync of the folder.

A file has its final name only when it is complete, on the disk and was read back with the right hash. A final name is
never given to other bytes. Partials end in ``PARTIAL_SUFFIX``, begin with a dot and stay locked while their writer
lives; :func:`sweep_partials` removes those of the dead.
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
from xpcs_assets.places.pouring import Digests, Pouring
from xpcs_assets.places.reading import exists, hash_file, told_as_copy_error
from xpcs_assets.places.syscalls import SYSCALLS, Syscalls
from xpcs_assets.runs.folders import PARTIAL_SUFFIX

ONLY_SHA256: Mapping[str, str] = MappingProxyType({})
"""No digest beside it."""
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


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
    with told_as_copy_error(target):
        if sha256 and not replace and exists(target, calls):
            _refuse_other_bytes(target, sha256, calls, also)
            sync_folder(target.parent, calls)  # whoever named it may have died before this
            return Written(calls.lstat(target).st_size, sha256, already_there=True)
        make_folder(target.parent, calls)
        partial, descriptor = _claim_partial(target, calls)
        try:
            with Pouring(descriptor, also, calls) as pouring:
                written = pouring.write(chunks)
                _refuse_wrong_source(target, written, sha256, also)
                if mtime_ns is not None:
                    calls.set_mtime(descriptor, mtime_ns)
                calls.fsync(descriptor)
                _refuse_wrong_disk(target, written, pouring.read_back())
            already_there = not _give_name(partial, target, written.sha256, replace=replace, calls=calls)
        except BaseException:
            with suppress(OSError):
                calls.unlink(partial)
            raise
        finally:
            calls.close(descriptor)
        sync_folder(target.parent, calls)
        return Written(written.size_bytes, written.sha256, already_there)


def make_folder(folder: Path, calls: Syscalls = SYSCALLS) -> None:
    """Make a folder and those above it, each one's name on the disk before anything is put into it."""
    if exists(folder, calls):
        return
    make_folder(folder.parent, calls)
    with suppress(FileExistsError):
        calls.mkdir(folder)
    sync_folder(folder.parent, calls)


def sync_folder(folder: Path, calls: Syscalls = SYSCALLS) -> None:
    """Return once the names in a folder are on the disk."""
    descriptor = calls.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        calls.fsync(descriptor)
    finally:
        calls.close(descriptor)


def sweep_partials(folder: Path, calls: Syscalls = SYSCALLS) -> int:
    """Remove the partials below a folder whose writers are dead; how many those were."""
    swept = 0
    with told_as_copy_error(folder):
        for name in calls.names(folder) if exists(folder, calls) else ():
            path = folder / name
            if _is_folder(path, calls):
                swept += sweep_partials(path, calls)
            elif is_partial(name):
                swept += _sweep(path, calls)
    return swept


def _is_folder(path: Path, calls: Syscalls) -> bool:
    try:
        return stat.S_ISDIR(calls.lstat(path).st_mode)
    except FileNotFoundError:  # a name that another writer has taken away since the folder was listed
        return False


def is_partial(name: str) -> bool:
    """Whether a file name is one of a partial."""
    return name.startswith(".") and name.endswith(PARTIAL_SUFFIX)


def _claim_partial(target: Path, calls: Syscalls) -> tuple[Path, int]:
    # The name is new each time and as short as 255-byte names need: a second writer has a partial of its own.
    stem = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]
    while True:
        partial = target.with_name(f".{stem}-{secrets.token_hex(6)}{PARTIAL_SUFFIX}")
        descriptor = calls.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)
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


def _refuse_wrong_source(target: Path, written: Digests, sha256: str, also: Mapping[str, str]) -> None:
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


def _give_name(partial: Path, target: Path, sha256: str, *, replace: bool, calls: Syscalls) -> bool:
    """Whether the name was given; False when the same bytes had it."""
    if replace and not (exists(target, calls) and _is_same(target, sha256, calls)):
        calls.rename(partial, target)
        return True
    try:
        calls.link(partial, target)
    except FileExistsError:
        _refuse_other_bytes(target, sha256, calls)
        given = False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without hard links has no rename that refuses to overwrite: the run's lease guards this gap.
        if exists(target, calls):
            _refuse_other_bytes(target, sha256, calls)
            given = False
        else:
            calls.rename(partial, target)
            return True
    else:
        given = True
    calls.unlink(partial)
    return given


def _is_same(target: Path, sha256: str, calls: Syscalls, also: Mapping[str, str] = ONLY_SHA256) -> bool:
    if not stat.S_ISREG(calls.lstat(target).st_mode):
        return False
    found = hash_file(target, calls, also)
    return found.sha256 == sha256 and found.also == also


def _refuse_other_bytes(target: Path, sha256: str, calls: Syscalls, also: Mapping[str, str] = ONLY_SHA256) -> None:
    regular = stat.S_ISREG(calls.lstat(target).st_mode)
    if not _is_same(target, sha256, calls, also):
        raise ConflictingBytesError(
            "the name is taken by other bytes" if regular else "the name is taken by something that is no file",
            where=target,
            remedy="Both were kept: look which is right, and move the other away",
        )


def _sweep(path: Path, calls: Syscalls) -> int:
    with suppress(OSError):  # locked, or gone meanwhile: then its writer lives
        descriptor = calls.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)  # NFS locks what is open to write
        try:
            calls.lock(descriptor)
            calls.unlink(path)
            return 1
        finally:
            calls.close(descriptor)
    return 0
