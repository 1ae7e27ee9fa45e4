"""The system calls through which data files are read, written and removed: the seam where tests put faults.

Nothing else in the package writes or unlinks a data file (``correlate`` has a writer of its own: it installs alone).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Syscalls:
    """The calls of this machine, one method each, with no logic of their own."""

    def open(self, path: Path, flags: int, mode: int = 0o644) -> int:
        """Open a file; the descriptor is not inherited."""
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        os.close(descriptor)

    def read(self, descriptor: int, size_bytes: int) -> bytes:
        """Read on, at most ``size_bytes``; empty at the end."""
        return os.read(descriptor, size_bytes)

    def pread(self, descriptor: int, size_bytes: int, offset_bytes: int) -> bytes:
        """Read at an offset, at most ``size_bytes``, and leave alone where the file is read or written on."""
        return os.pread(descriptor, size_bytes, offset_bytes)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write on; how many bytes were taken."""
        return os.write(descriptor, data)

    def seek(self, descriptor: int, offset_bytes: int) -> None:
        """Go to an offset from the start."""
        os.lseek(descriptor, offset_bytes, os.SEEK_SET)

    def fsync(self, descriptor: int) -> None:
        """Return once the bytes (of a folder: the names) are on the disk."""
        os.fsync(descriptor)

    def fdatasync(self, descriptor: int) -> None:
        """Return once the bytes written so far can be read from the disk; times may be missing yet."""
        os.fdatasync(descriptor)

    def drop_cache(self, descriptor: int, offset_bytes: int = 0, size_bytes: int = 0) -> None:
        """Ask the kernel to forget clean pages, all of them or of a part, so that the next read goes to the disk."""
        os.posix_fadvise(descriptor, offset_bytes, size_bytes, os.POSIX_FADV_DONTNEED)

    def lock(self, descriptor: int) -> None:
        """Lock a file against others until it is closed or its owner is dead; BlockingIOError when another has it."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def set_mtime(self, descriptor: int, mtime_ns: int) -> None:
        """Set the time of last change, ns since 1970."""
        os.utime(descriptor, ns=(mtime_ns, mtime_ns))

    def fstat(self, descriptor: int) -> os.stat_result:
        """What is known of an open file."""
        return os.fstat(descriptor)

    def lstat(self, path: Path) -> os.stat_result:
        """What is known of a name; links are not followed."""
        return path.lstat()

    def names(self, folder: Path) -> tuple[str, ...]:
        """The names in a folder, sorted."""
        return tuple(sorted(os.listdir(folder)))  # noqa: PTH208 - names, not paths

    def statvfs(self, folder: Path) -> os.statvfs_result:
        """How full the file system of a folder is."""
        return os.statvfs(folder)

    def mkdir(self, folder: Path) -> None:
        """Make one folder."""
        folder.mkdir()

    def rmdir(self, folder: Path) -> None:
        """Remove an empty folder."""
        folder.rmdir()

    def link(self, existing: Path, name: Path) -> None:
        """Give a file a second name; FileExistsError when it is taken."""
        name.hardlink_to(existing)

    def rename(self, old: Path, new: Path) -> None:
        """Move a name, over whatever has the new one."""
        old.replace(new)

    def unlink(self, path: Path) -> None:
        """Take a name away."""
        path.unlink()


SYSCALLS = Syscalls()
