"""A place that is a folder of a mounted file system."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from xpcs_assets.errors import ConflictingBytesError, CopyError
from xpcs_assets.places import files, reading
from xpcs_assets.places.files import Written
from xpcs_assets.places.place import Listing, Presence, RemovalPermit, Stat, Usage
from xpcs_assets.places.reading import Hashed, Signature
from xpcs_assets.places.syscalls import SYSCALLS, Syscalls
from xpcs_assets.runs.folders import ASIDE_FOLDER, MARKER
from xpcs_assets.runs.manifest import resolve_under


class PosixPlace:
    """A folder.

    Parameters
    ----------
    name
        Its name in the site's settings.
    root
        The folder. While it is not there everything in it is unknown.
    failure_domain
        What is lost together with it; empty means the device that the folder lies on.
    calls
        The system calls to use.
    """

    holds_bundles = False

    def __init__(self, name: str, root: Path, failure_domain: str = "", calls: Syscalls = SYSCALLS) -> None:
        self.name = name
        self.root = root
        self.calls = calls
        self._failure_domain = failure_domain

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.root!s})"

    @property
    def failure_domain(self) -> str:
        """The one given, or the device of the root as it is mounted now.

        Raises
        ------
        CopyError
            The root is not there.
        """
        if reason := self._why_unknown():
            raise CopyError(f"place {self.name!r} is unavailable: {reason}", where=self.root, remedy="Mount it")
        return self._failure_domain or f"device {self.root.stat().st_dev}"

    def path(self, path: str) -> Path:
        """Where a relative path lies; NotVerifiedError when it would leave the root."""
        return resolve_under(self.root, path) if path else self.root

    def stat(self, path: str) -> Stat:
        """Whether a regular file is there; unknown when root or file cannot be asked."""
        try:
            found = self.calls.lstat(self.path(path))
        except (FileNotFoundError, NotADirectoryError):
            reason = self._why_unknown()
            return Stat(Presence.UNKNOWN, reason=reason) if reason else Stat(Presence.NO, reason="it is not there")
        except OSError as error:
            return Stat(Presence.UNKNOWN, reason=error.strerror or str(error))
        if not stat.S_ISREG(found.st_mode):
            return Stat(Presence.NO, reason="it is no regular file")
        return Stat(Presence.YES, Signature.of(found))

    def digest(self, path: str, also: Iterable[str] = ()) -> Hashed:
        """Read a file from the disk now; see :func:`xpcs_assets.places.reading.hash_file`."""
        return reading.hash_file(self.path(path), self.calls, also)

    def read(self, path: str, offset_bytes: int = 0) -> Iterator[bytes]:
        """The bytes of a file from an offset on."""
        with reading.open_regular(self.path(path), self.calls) as descriptor:
            self.calls.seek(descriptor, offset_bytes)
            yield from reading.chunks_of(descriptor, self.calls)

    def put(
        self,
        path: str,
        chunks: Iterable[bytes],
        *,
        sha256: str = "",
        also: Mapping[str, str] = files.ONLY_SHA256,
        mtime_ns: int | None = None,
    ) -> Written:
        """Write a file; CopyError when the root is not there, so that nothing lands below an empty mount point."""
        if reason := self._why_unknown():
            raise CopyError(f"place {self.name!r} is unavailable: {reason}", where=self.root, remedy="Mount it")
        return files.write_file_safely(
            self.path(path), chunks, sha256=sha256, also=also, mtime_ns=mtime_ns, calls=self.calls
        )

    def remove(self, path: str, permit: RemovalPermit) -> bool:
        """Remove a file that the permit allows to go; folders that are empty then go with it."""
        target = self.path(path)
        permit.allow(self.name, path)
        with reading.told_as_copy_error(target):
            try:
                self.calls.unlink(target)
            except FileNotFoundError:
                return False
            files.sync_folder(target.parent, self.calls)
        self._remove_empty_folders(target.parent)
        return True

    def set_aside(self, path: str, label: str, permit: RemovalPermit) -> str:
        """Move a file out of its name within this place, on the same file system and never over another."""
        permit.allow(self.name, path)
        aside_path = f"{ASIDE_FOLDER}/{label}/{path}"
        self._move(self.path(path), self.path(aside_path))
        self._remove_empty_folders(self.path(path).parent)
        return aside_path

    def put_back(self, aside_path: str, path: str) -> None:
        """Give a file that was set aside its name again."""
        self._move(self.path(aside_path), self.path(path))
        self._remove_empty_folders(self.path(aside_path).parent)

    def usage(self) -> Usage | None:
        """How full the file system of the root is, by what is free to this user."""
        if self._why_unknown():
            return None
        try:
            found = self.calls.statvfs(self.root)
        except OSError:
            return None
        used_bytes = (found.f_blocks - found.f_bfree) * found.f_frsize
        return Usage(used_bytes, found.f_bavail * found.f_frsize)

    def _move(self, old: Path, new: Path) -> None:
        with reading.told_as_copy_error(old):
            files.make_folder(new.parent, self.calls)
            try:
                self.calls.link(old, new)
            except FileExistsError:
                if not (reading.exists(old, self.calls) and self._is_one_file(old, new)):
                    if not reading.exists(old, self.calls):
                        return  # moved before
                    raise ConflictingBytesError(
                        "the name is taken by other bytes", where=new, remedy="Both were kept: look which is right"
                    ) from None
            files.sync_folder(new.parent, self.calls)
            self.calls.unlink(old)
            files.sync_folder(old.parent, self.calls)

    def _is_one_file(self, old: Path, new: Path) -> bool:
        one, other = self.calls.lstat(old), self.calls.lstat(new)
        return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)

    def list(self, folder: str = "") -> Listing:
        """What lies below a folder; unknown when any of it cannot be read."""
        if reason := self._why_unknown():
            return Listing(Presence.UNKNOWN, reason=reason)
        regular: tuple[str, ...] = ()
        others: tuple[str, ...] = ()
        start = self.path(folder)
        try:
            if not reading.exists(start, self.calls):
                return Listing(Presence.NO, reason="it is not there")
            for path, mode in self._walk(start):
                relative = path.relative_to(self.root).as_posix()
                if stat.S_ISREG(mode) and not files.is_partial(path.name):
                    regular += (relative,)
                else:
                    others += (relative,)
        except OSError as error:
            return Listing(Presence.UNKNOWN, reason=error.strerror or str(error))
        return Listing(Presence.YES, tuple(sorted(regular)), tuple(sorted(others)))

    def _walk(self, folder: Path) -> Iterator[tuple[Path, int]]:
        for name in self.calls.names(folder):
            if folder == self.root and name in {MARKER, ASIDE_FOLDER}:
                continue
            path = folder / name
            mode = self.calls.lstat(path).st_mode
            if stat.S_ISDIR(mode):
                yield from self._walk(path)
            else:
                yield path, mode

    def _why_unknown(self) -> str:
        """Why nothing can be said about this place now; empty when something can."""
        try:
            names_a_folder = stat.S_ISDIR(self.root.stat().st_mode)
        except OSError as error:
            return error.strerror or str(error)
        return "" if names_a_folder else "it is no folder"

    def _remove_empty_folders(self, folder: Path) -> None:
        with suppress(OSError):  # not empty: somebody's files stay
            while folder != self.root:
                self.calls.rmdir(folder)
                folder = folder.parent
