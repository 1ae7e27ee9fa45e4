"""The system calls through which data files are read, written and removed: the seam where tests put faults.

Where a call takes ``folder``, an open one, the name is looked up in it and may not leave it; without, it is a path.

Nothing else in the package writes or unlinks a data file (``correlate`` has a writer of its own: it installs alone).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Syscalls:
    """The calls of this machine, one method each, with no logic of their own."""

    def open(self, name: Path | str, flags: int, mode: int = 0o644, folder: int | None = None) -> int:
        """Open a file or folder; the descriptor is not inherited."""
        return os.open(name, flags | os.O_CLOEXEC, mode, dir_fd=folder)

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

    def lstat(self, name: Path | str, folder: int | None = None) -> os.stat_result:
        """What is known of a name; links are not followed."""
        return os.stat(name, dir_fd=folder, follow_symlinks=False)

    def names(self, folder: int) -> tuple[str, ...]:
        """The names in an open folder, sorted."""
        return tuple(sorted(os.listdir(folder)))

    def statvfs(self, folder: int) -> os.statvfs_result:
        """How full the file system of an open folder is."""
        return os.statvfs(folder)

    def mkdir(self, name: str, folder: int) -> None:
        """Make one folder."""
        os.mkdir(name, dir_fd=folder)

    def rmdir(self, name: str, folder: int) -> None:
        """Remove an empty folder."""
        os.rmdir(name, dir_fd=folder)

    def link(self, existing: str, name: str, folder: int, new_folder: int) -> None:
        """Give a file in ``folder`` a second name, in ``new_folder``; FileExistsError when that is taken."""
        os.link(existing, name, src_dir_fd=folder, dst_dir_fd=new_folder, follow_symlinks=False)

    def rename(self, old: str, new: str, folder: int, new_folder: int) -> None:
        """Move a name from ``folder`` to ``new_folder``, over whatever has the new one."""
        os.replace(old, new, src_dir_fd=folder, dst_dir_fd=new_folder)

    def unlink(self, name: str, folder: int) -> None:
        """Take a name away."""
        os.unlink(name, dir_fd=folder)


SYSCALLS = Syscalls()
