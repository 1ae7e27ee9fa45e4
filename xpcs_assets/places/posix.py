"""A place that is a folder of a mounted file system."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath

from xpcs_assets.errors import CopyError, NotFoundError
from xpcs_assets.places import files, reading
from xpcs_assets.places.files import Written
from xpcs_assets.places.folders import open_below, open_folder
from xpcs_assets.places.marker import UNMARKED, marker_in, why_unknown
from xpcs_assets.places.moving import move_file, remove_empty_folders
from xpcs_assets.places.place import Listing, Presence, RemovalPermit, Stat, Usage
from xpcs_assets.places.reading import Hashed, Signature, told_as_copy_error
from xpcs_assets.places.syscalls import SYSCALLS, Syscalls
from xpcs_assets.runs.folders import ASIDE_FOLDER, UNLISTED
from xpcs_assets.runs.manifest import check_relative

_ABSENT = "it is not there"


class PosixPlace:
    """A folder, and the marker in it that tells it from any other disk mounted in its stead.

    Every operation opens the root, looks at the marker there where it matters, and goes on from that descriptor: what
    is mounted or swapped meanwhile changes nothing for it.

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
    identity
        Which marker the root must bear. While it bears another or none, the place is *unavailable*: a file that is
        there is read, but nothing is taken for absent, and nothing is written, moved or removed.
        :data:`~xpcs_assets.places.marker.UNMARKED` for a root that cannot be written and so bears none: a file that is
        there may be read and, behind a permit, removed; nothing is taken for absent and nothing is put.
        None for a folder that is what it is, such as a test's: its root is taken at its word. A site never does that.
    unavailable
        Why the place is unavailable whatever its root bears, such as that it could not be met.
    """

    holds_bundles = False
    seeks = True

    def __init__(
        self,
        name: str,
        root: Path,
        failure_domain: str = "",
        calls: Syscalls = SYSCALLS,
        identity: str | None = None,
        unavailable: str = "",
    ) -> None:
        self.name = name
        self.root = root
        self.calls = calls
        self.identity = identity
        self._failure_domain = failure_domain
        self._not_met = unavailable

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.root!s})"

    @property
    def failure_domain(self) -> str:
        """The one given, or the device of the root as it is mounted now; CopyError while the place is unavailable."""
        with self._available() as root:
            return self._failure_domain or f"device {self.calls.fstat(root).st_dev}"

    def why_unavailable(self) -> str:
        """Why nothing is done here now (not mounted, another disk); empty when this is the place."""
        try:
            with open_folder(self.root, self.calls) as root:
                return self._why_refused(root)
        except OSError as error:
            return _told(error)

    def stat(self, path: str) -> Stat:
        """Whether a regular file is there; what is not is absent only where the root is known to be the place's."""
        *above, name = check_relative(path).parts
        absent = _ABSENT
        try:
            with open_folder(self.root, self.calls) as root:
                with suppress(FileNotFoundError, NotADirectoryError), open_below(root, above, self.calls) as folder:
                    found = self.calls.lstat(name, folder)
                    if stat.S_ISREG(found.st_mode):
                        return Stat(Presence.YES, Signature.of(found))
                    absent = "it is no regular file"
                unknown = self._why_unknown(root)
        except (CopyError, OSError) as error:
            return Stat(Presence.UNKNOWN, reason=_told(error))
        return Stat(Presence.UNKNOWN, reason=unknown) if unknown else Stat(Presence.NO, reason=absent)

    def digest(self, path: str, also: Iterable[str] = ()) -> Hashed:
        """Read a file from the disk now; see :func:`xpcs_assets.places.reading.hash_file`."""
        with self._folder_of(path) as folder:
            return reading.hash_file(self.root / path, self.calls, also, folder)

    def read(self, path: str, offset_bytes: int = 0) -> Iterator[bytes]:
        """The bytes of a file from an offset on."""
        file = self.root / path
        with self._folder_of(path) as folder, reading.open_regular(file, self.calls, folder) as descriptor:
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
        """Write a file; CopyError while the place is unavailable, so that nothing lands below an empty mount point."""
        above, target, calls = check_relative(path).parts[:-1], self.root / path, self.calls
        with self._known() as root, told_as_copy_error(target), open_below(root, above, calls, make=True) as folder:
            return files.write_in(folder, target, chunks, sha256=sha256, also=also, mtime_ns=mtime_ns, calls=calls)

    def remove(self, path: str, permit: RemovalPermit) -> bool:
        """Remove a file that the permit allows to go; folders that are empty then go with it."""
        *above, name = check_relative(path).parts
        with self._available() as root, told_as_copy_error(self.root / path):
            removed = False
            with suppress(FileNotFoundError), open_below(root, above, self.calls) as folder:
                permit.allow(self.name, path)  # at the last moment: whoever is stopped before it may wake up too late
                self.calls.unlink(name, folder)
                self.calls.fsync(folder)
                removed = True
            if not removed:
                self._refuse_unknown(root)
            remove_empty_folders(root, above, self.calls)
        return removed

    def set_aside(self, path: str, label: str, permit: RemovalPermit) -> str:
        """Move a file out of its name within this place, on the same file system and never over another."""
        aside_path = str(check_relative(f"{ASIDE_FOLDER}/{label}/{path}"))
        self._move(path, aside_path, partial(permit.allow, self.name, path))
        return aside_path

    def put_back(self, aside_path: str, path: str) -> None:
        """Give a file that was set aside its name again."""
        self._move(aside_path, path)

    def _move(self, old: str, new: str, allow: Callable[[], None] = lambda: None) -> None:
        with self._known() as root, told_as_copy_error(self.root / old):
            move_file(root, self.root, old, new, self.calls, allow)

    def sweep(self, folder: str = "") -> int:
        """Remove the partials below a folder whose writers are dead; how many those were."""
        with self._available() as root, told_as_copy_error(self.root / folder):
            try:
                with open_below(root, _parts(folder), self.calls) as start:
                    return files.sweep_in(start, self.calls)
            except FileNotFoundError:
                return 0

    def settle(self, paths: Iterable[str]) -> None:
        """Have the names of all folders above files on the disk: another process may have made one, and died before.

        To be called once the files are written, and before anybody is told that they are here.
        """
        folders = {above for path in paths for above in check_relative(path).parents}
        with self._available() as root:
            for folder in sorted(folders):
                with told_as_copy_error(self.root / folder), open_below(root, folder.parts, self.calls) as descriptor:
                    self.calls.fsync(descriptor)

    def usage(self) -> Usage | None:
        """How full the file system of the root is, by what is free to this user."""
        try:
            with self._available() as root:
                found = self.calls.statvfs(root)
        except (CopyError, OSError):
            return None
        used_bytes = (found.f_blocks - found.f_bfree) * found.f_frsize
        return Usage(used_bytes, found.f_bavail * found.f_frsize)

    def list(self, folder: str = "") -> Listing:
        """What lies below a folder; unknown when any of it cannot be read, or the root may be another disk's."""
        parts = _parts(folder)
        found: list[tuple[str, bool]] = []
        try:
            with open_folder(self.root, self.calls) as root:
                if unknown := self._why_unknown(root):
                    return Listing(Presence.UNKNOWN, reason=unknown)
                with ExitStack() as stack:
                    try:
                        start = stack.enter_context(open_below(root, parts, self.calls))
                    except (FileNotFoundError, NotADirectoryError):
                        return Listing(Presence.NO, reason=_ABSENT)
                    found.extend(self._walk(start, PurePosixPath(*parts)))
        except (CopyError, OSError) as error:
            return Listing(Presence.UNKNOWN, reason=_told(error))
        files_there, others = (sorted(path for path, is_file in found if is_file is wanted) for wanted in (True, False))
        return Listing(Presence.YES, tuple(files_there), tuple(others))

    def _walk(self, folder: int, path: PurePosixPath) -> Iterator[tuple[str, bool]]:
        """Each name below an open folder that is none of a folder, and whether it is one of a file."""
        for name in self.calls.names(folder):
            inner = path / name
            if len(inner.parts) == 1 and name in UNLISTED:
                continue
            # What another has taken away since the folder was listed is not there.
            with suppress(FileNotFoundError, NotADirectoryError):
                mode = self.calls.lstat(name, folder).st_mode
                if stat.S_ISDIR(mode):
                    with open_below(folder, [name], self.calls) as below:
                        yield from self._walk(below, inner)
                else:
                    yield str(inner), stat.S_ISREG(mode) and not files.is_partial(name)

    @contextmanager
    def entered(self, folder: str) -> Iterator[int]:
        """An open folder, for what is about the folder itself; NotFoundError when it is not there."""
        parts, calls = _parts(folder), self.calls
        with self._known() as root, told_as_copy_error(self.root / folder), open_below(root, parts, calls) as opened:
            yield opened

    @contextmanager
    def _root(self) -> Iterator[int]:
        """The root's descriptor; CopyError when it cannot be opened."""
        with ExitStack() as stack:
            try:
                root = stack.enter_context(open_folder(self.root, self.calls))
            except OSError as error:
                raise self._unavailable(_told(error)) from error
            yield root

    @contextmanager
    def _available(self) -> Iterator[int]:
        """The root's descriptor; CopyError unless the marker, where one is expected, is there."""
        with self._root() as root:
            if reason := self._why_refused(root):
                raise self._unavailable(reason)
            yield root

    @contextmanager
    def _known(self) -> Iterator[int]:
        """The root's descriptor; CopyError unless it is known to be the place's."""
        with self._root() as root:
            self._refuse_unknown(root)
            yield root

    @contextmanager
    def _folder_of(self, path: str) -> Iterator[int]:
        """The open folder of a file; what is not found there is an absence only where the root is the place's."""
        above = check_relative(path).parts[:-1]
        with self._root() as root:
            try:
                with told_as_copy_error(self.root / path), open_below(root, above, self.calls) as folder:
                    yield folder
            except NotFoundError:
                self._refuse_unknown(root)
                raise

    def _why_refused(self, root: int) -> str:
        return self._not_met if self.identity == UNMARKED else self._why_unknown(root)

    def _why_unknown(self, root: int) -> str:
        """Why what is not found below the open root may be there all the same; empty when it is not."""
        return self._not_met or why_unknown(self.identity, lambda: marker_in(root, self.root, self.calls))

    def _refuse_unknown(self, root: int) -> None:
        if unknown := self._why_unknown(root):
            raise self._unavailable(unknown)

    def _unavailable(self, reason: str) -> CopyError:
        return CopyError(
            f"place {self.name!r} is unavailable: {reason}",
            where=self.root,
            remedy="Mount its disk; `xpcs-assets place` shows what is expected there, and takes another with --adopt",
        )


def _parts(folder: str) -> tuple[str, ...]:
    return check_relative(folder).parts if folder else ()


def _told(error: CopyError | OSError) -> str:
    return error.what if isinstance(error, CopyError) else error.strerror or str(error)
