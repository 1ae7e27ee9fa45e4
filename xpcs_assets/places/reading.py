"""Reading data files: regular files only, never through a link, and every error of the system told with its cause."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from xpcs_assets.errors import CopyError, NoRoomError, NotFoundError
from xpcs_assets.places.folders import open_below, open_folder
from xpcs_assets.places.hashing import Hasher
from xpcs_assets.places.syscalls import SYSCALLS, Syscalls
from xpcs_assets.runs.manifest import check_relative

CHUNK_BYTES = 4 << 20
_NO_ROOM = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up"}
_CAUSES = {
    errno.EACCES: ("there is no permission", "Give this user the right to it"),
    errno.EPERM: ("the system does not permit it", "See who owns it and whether it is immutable"),
    errno.EROFS: ("the file system is read-only", "Mount it writable, or choose another place"),
    errno.EIO: ("the device reports an input/output error", "Have the disk looked at; the source is untouched"),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "Rename it at the source"),
    errno.EXDEV: (
        "the two names lie on another file system each",
        "Give the place's root, with all that is in it, one file system",
    ),
    errno.ELOOP: ("the name is a symbolic link, which is never followed", "Put the file itself there"),
}


@dataclass(frozen=True)
class Signature:
    """What of a file changes when its bytes do: compared to tell whether it is still the file that was read."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Signature:
        """The signature in an answer of ``stat``."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(frozen=True)
class Hashed:
    """What a file's bytes hash to, all from one read of them.

    Attributes
    ----------
    sha256
        64 hex digits.
    also
        Digests of other kinds that were asked for, hex digits by kind; see :class:`xpcs_assets.places.hashing.Hasher`.
    signature
        What the file was before and after that read.
    """

    sha256: str
    also: Mapping[str, str]
    signature: Signature

    @property
    def size_bytes(self) -> int:
        """Length of the file."""
        return self.signature.size_bytes


def exists(name: str, calls: Syscalls, folder: int) -> bool:
    """Whether anything has this name in an open folder; an error that leaves that open is raised, and is no no."""
    try:
        calls.lstat(name, folder)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def open_regular(path: Path, calls: Syscalls = SYSCALLS, folder: int | None = None) -> Iterator[int]:
    """Open a regular file to read it; a link, FIFO, device or folder is refused without blocking.

    Parameters
    ----------
    folder
        The folder that it lies in, where that is open: then only the last part of ``path`` is looked up, there.

    Raises
    ------
    NotFoundError
        Nothing has this name.
    CopyError
        It is no regular file, or cannot be opened.
    """
    with told_as_copy_error(path):
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = calls.open(path, flags) if folder is None else calls.open(path.name, flags, 0, folder)
        try:
            if not stat.S_ISREG(calls.fstat(descriptor).st_mode):
                raise CopyError("it is no regular file", where=path, remedy="Only files are copied")
            yield descriptor
        finally:
            calls.close(descriptor)


@contextmanager
def open_inside(root: Path, path: str, calls: Syscalls = SYSCALLS) -> Iterator[int]:
    """Open a regular file below a trusted root, folder by folder: no link leads elsewhere, whenever it is swapped in.

    Raises
    ------
    NotFoundError, CopyError
        As :func:`open_regular`; CopyError as well where a folder on the way is a link.
    """
    *above, _ = check_relative(path).parts
    file = root / path
    with (
        told_as_copy_error(file),
        open_folder(root, calls) as top,
        open_below(top, above, calls) as folder,
        open_regular(file, calls, folder) as descriptor,
    ):
        yield descriptor


def chunks_of(descriptor: int, calls: Syscalls = SYSCALLS) -> Iterator[bytes]:
    """The rest of an open file, piece by piece."""
    while data := calls.read(descriptor, CHUNK_BYTES):
        yield data


def hash_file(path: Path, calls: Syscalls = SYSCALLS, also: Iterable[str] = (), folder: int | None = None) -> Hashed:
    """Read a file from the disk (as far as the kernel follows the advice): its digests, and what it was when read.

    Parameters
    ----------
    also
        Digests to make in the same pass beside sha256, of :data:`xpcs_assets.places.hashing.KINDS`.
    folder
        As for :func:`open_regular`.

    Raises
    ------
    NotFoundError, CopyError
        It is not there, no regular file, cannot be read or changed while it was read.
    SettingsError
        The library that makes one of the digests is not installed.
    """
    hasher = Hasher(also)
    with open_regular(path, calls, folder) as descriptor:
        before = Signature.of(calls.fstat(descriptor))
        with suppress(OSError):
            calls.drop_cache(descriptor)
        for data in chunks_of(descriptor, calls):
            hasher.update(data)
        if Signature.of(calls.fstat(descriptor)) != before:
            raise CopyError("it changed while it was read", where=path, remedy="Read it again when nobody writes it")
    return Hashed(hasher.sha256, hasher.also, before)


@contextmanager
def told_as_copy_error(path: Path) -> Iterator[None]:
    """Turn what the system says about ``path`` into the package's errors, with cause and remedy."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(
            "no such file", where=_named(error, path), remedy="See whether its disk is mounted"
        ) from error
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise NoRoomError(
                _NO_ROOM[error.errno], where=path, remedy="Make room and repeat; nothing partial was left"
            ) from error
        cause, remedy = _CAUSES.get(error.errno or 0, (error.strerror or str(error), "Repeat when that is mended"))
        raise CopyError(cause, where=_named(error, path), remedy=remedy) from error


def _named(error: OSError, path: Path) -> Path:
    """What the system said it was about, unless that is a name in an open folder and says too little."""
    named = Path(error.filename) if isinstance(error.filename, (str, Path)) else path
    return named if named.is_absolute() else path
