"""What the program at the far side of a place over ssh is made of: its wire, and what it does to open folders.

It runs there with Python 3.6 or newer, so nothing is imported but the standard library's, and no newer syntax is used.
"""

import errno
import hashlib
import json
import os
import stat
import struct
import sys
import threading
import time
import zlib
from contextlib import suppress

TYPE_CHECKING = False  # the module typing takes longer to load than the rest
if TYPE_CHECKING:
    from typing import Any

CHUNK_BYTES = 1 << 20
BEAT_S = 5.0
SYNC_S = 3600.0
"""A disk that takes longer to have a file is not said to be at work any more."""
DIGESTS = ("adler32", "md5")
"""The digests that can be made there beside sha256."""
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class ToldError(Exception):
    """What the near side is told as one of its own errors, by its kind."""

    def __init__(self, kind: str, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.facts = {"error": kind, "what": what, "remedy": remedy}


class CutError(Exception):
    """The near side is gone."""


class Wire:
    """What is heard from the near side, and said to it."""

    def __init__(self) -> None:
        self._heard = sys.stdin.buffer
        self._said = sys.stdout.buffer
        self._beaten_s = time.monotonic()

    def hear(self) -> "dict[str, Any]":
        """The next line."""
        line = self._heard.readline()
        if not line.endswith(b"\n"):
            raise CutError
        return dict(json.loads(line.decode("ascii")))

    def say(self, **facts: object) -> None:
        """Say a line."""
        self._said.write(json.dumps(facts).encode("ascii") + b"\n")
        self._said.flush()

    def ask(self, **facts: object) -> None:
        """Say a line, and wait for the word to go on."""
        self.say(**facts)
        self.hear()

    def beat(self) -> None:
        """Say from time to time that work goes on."""
        if time.monotonic() - self._beaten_s > BEAT_S:
            self.say(beat=True)
            self._beaten_s = time.monotonic()

    def sync(self, descriptor: int) -> None:
        """Have an open file or folder on the disk; a big file takes its time, in which this says that work goes on."""
        failed = []  # type: list[OSError]

        def act() -> None:
            try:
                os.fsync(descriptor)
            except OSError as error:
                failed.append(error)

        thread = threading.Thread(target=act, daemon=True)
        thread.start()
        began_s = time.monotonic()
        while thread.is_alive():
            thread.join(BEAT_S)
            if time.monotonic() - began_s < SYNC_S:
                self.beat()
        if failed:
            raise failed[0]

    def give(self, data: bytes) -> None:
        """Send bytes of a file."""
        self.say(data=len(data))
        self._said.write(data)

    def take(self) -> bytes:
        """The next bytes of a file; empty at its end."""
        header = self._heard.read(4)
        size_bytes = struct.unpack(">I", header)[0] if len(header) == 4 else -1
        data = self._heard.read(size_bytes) if size_bytes > 0 else b""
        if len(data) != size_bytes:
            raise CutError
        return data


def open_below(root: int, parts: "list[bytes]", make: bool = False, settle: bool = False) -> int:
    """Open the folder ``parts`` below an open one, following no link; ``make`` what is missing, ``settle`` names."""
    folder = os.dup(root)
    for part in parts:
        above = folder
        try:
            folder = _enter(part, above, make, settle)
        finally:
            os.close(above)
    return folder


def _enter(name: bytes, above: int, make: bool, settle: bool) -> int:
    try:
        folder = _open_name(name, above)
    except FileNotFoundError:
        if not make:
            raise
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=above)
        os.fsync(above)  # the folder's name is on the disk before anything is put into it
        return _open_name(name, above)
    if settle:
        os.fsync(above)
    return folder


def _open_name(name: bytes, above: int) -> int:
    try:
        return os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=above)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
            raise ToldError(
                "NotVerifiedError", "the path leaves its root through a link", "Refuse what named it"
            ) from None
        raise


def open_regular(name: bytes, folder: int) -> int:
    """Open a regular file in an open folder to read it; a link, FIFO, device or folder is refused without blocking."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise ToldError("CopyError", "it is no regular file", "Only files are copied")
    return descriptor


def give_name(old: bytes, new: bytes, folder: int, new_folder: int) -> bool:
    """Move a name from one open folder to another, never over what is there; False if it is taken."""
    try:
        os.link(old, new, src_dir_fd=folder, dst_dir_fd=new_folder, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without hard links has no rename that refuses to overwrite: the run's lease guards this gap.
        if exists(new, new_folder):
            return False
        os.rename(old, new, src_dir_fd=folder, dst_dir_fd=new_folder)
        os.fsync(new_folder)
        return True
    os.fsync(new_folder)
    os.unlink(old, dir_fd=folder)
    return True


def names_in(folder: int) -> "list[bytes]":
    """The names in an open folder, sorted."""
    return sorted(os.fsencode(name) for name in os.listdir(folder))


def tell_folder(
    below: "tuple[int, list[bytes]]", depth: int, until_s: float, wire: Wire, told: "dict[str, Any]"
) -> None:
    """Tell what lies in a folder ``below`` an open one, and in those in it down to a depth; -1: in all of them."""
    root, parts = below
    path = b"/".join(parts).decode("utf-8", "surrogateescape")
    try:
        folder = open_below(root, parts)
    except ToldError:
        told[path] = {"errno": errno.ELOOP, "strerror": os.strerror(errno.ELOOP)}
        return
    except OSError as error:
        told[path] = {"errno": error.errno, "strerror": error.strerror}
        return
    found = []  # type: list[tuple[str, str, list[int]]]
    try:
        for name in names_in(folder):
            wire.beat()
            if time.monotonic() > until_s:
                raise ToldError("CopyError", "to list it takes too long", "Watch a folder with fewer files in it")
            with suppress(FileNotFoundError):  # another has taken it away since
                found.append((name.decode("utf-8", "surrogateescape"), *_what_is(name, folder)))
    finally:
        os.close(folder)
    told[path] = {"entries": found}
    for text, what, _ in found:
        if what == "folder" and depth and (depth < 0 or not text.startswith(".")):
            inner = [*parts, name_of(text)]
            tell_folder((root, inner), depth - 1 if depth > 0 else depth, until_s, wire, told)


def _what_is(name: bytes, folder: int) -> "tuple[str, list[int]]":
    """What a name in an open folder is: of a file, a folder, a locked one, a door (a link to a folder), or other."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    what = "file" if stat.S_ISREG(found.st_mode) else "other"
    if stat.S_ISDIR(found.st_mode):
        what = "folder" if os.access(name, os.R_OK | os.X_OK, dir_fd=folder) else "locked"
    elif stat.S_ISLNK(found.st_mode):
        with suppress(OSError):
            what = "door" if stat.S_ISDIR(os.stat(name, dir_fd=folder).st_mode) else what
    return what, signature_of(found)


def exists(name: bytes, folder: int) -> bool:
    """Whether anything has this name in an open folder."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def hash_descriptor(descriptor: int, wire: Wire, also: "list[str]") -> "dict[str, str]":
    """The sha256 of an open file from where it stands on, and of the digests ``also``, read from the disk."""
    drop_cache(descriptor)
    sha256, md5, adler32 = hashlib.sha256(), _md5() if "md5" in also else None, 1
    data = os.read(descriptor, CHUNK_BYTES)
    while data:
        sha256.update(data)
        if md5 is not None:
            md5.update(data)
        if "adler32" in also:
            adler32 = zlib.adler32(data, adler32)
        wire.beat()
        data = os.read(descriptor, CHUNK_BYTES)
    made = {"sha256": sha256.hexdigest(), "adler32": "%08x" % adler32}  # noqa: UP031
    if md5 is not None:
        made["md5"] = md5.hexdigest()
    return made


def _md5() -> "hashlib._Hash":
    try:
        return hashlib.md5(usedforsecurity=False)
    except TypeError:  # Python before 3.9
        return hashlib.md5()  # noqa: S324 - for no secret


def drop_cache(descriptor: int) -> None:
    """Ask the kernel to forget what it has of a file, so that it is read from the disk."""
    with suppress(OSError):  # an advice, which some file systems do not take
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def signature_of(found: os.stat_result) -> "list[int]":
    """The five numbers of ``reading.Signature``."""
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def has_changed(descriptor: int, before: os.stat_result) -> bool:
    """Whether an open file is another than it was."""
    return signature_of(os.fstat(descriptor)) != signature_of(before)


def name_of(text: str) -> bytes:
    """A name as it is on the disk, whatever language this account is set to."""
    return text.encode("utf-8", "surrogateescape")
