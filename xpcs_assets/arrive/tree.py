"""What lies at the source of runs, as one look finds it: a folder of this machine, or listings of another machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from xpcs_assets.places.reading import Signature
from xpcs_assets.places.ssh import SshPlace

LOOK_S = 30.0
"""How long a listing of another machine may take."""
_AT_ONCE = 200


class Entry(Protocol):
    """A name in a folder, as :class:`os.DirEntry` has it."""

    @property
    def name(self) -> str:
        """The name."""

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a folder."""

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a regular file."""


class Tree(Protocol):
    """Folders and files, by their paths at the source."""

    @property
    def is_near(self) -> bool:
        """Whether its files can be opened here, and looking again costs next to nothing."""

    def entries(self, folder: Path) -> Sequence[Entry]:
        """The names in a folder, in any order; OSError when it cannot be listed."""

    def measured(self, path: Path) -> tuple[int, int]:
        """The length of a file (bytes; -1 of what is no regular file) and its time of last change (ns)."""

    def exists(self, path: Path) -> bool:
        """Whether anything has this name."""

    def may_list(self, folder: Path) -> bool:
        """Whether this user may list a folder."""

    def expect(self, folders: Iterable[Path]) -> None:
        """Be told which folders will be asked for, so that they can be had together."""


class NearTree:
    """A folder of this machine, asked each time."""

    is_near = True

    def entries(self, folder: Path) -> Sequence[Entry]:
        """See :class:`Tree`."""
        with os.scandir(folder) as entries:
            return list(entries)

    def measured(self, path: Path) -> tuple[int, int]:
        """See :class:`Tree`."""
        found = path.lstat()
        return found.st_size if stat.S_ISREG(found.st_mode) else -1, found.st_mtime_ns

    def exists(self, path: Path) -> bool:
        """See :class:`Tree`."""
        return path.exists()

    def may_list(self, folder: Path) -> bool:
        """See :class:`Tree`."""
        return os.access(folder, os.R_OK | os.X_OK)

    def expect(self, folders: Iterable[Path]) -> None:
        """Nothing is had beforehand."""


HERE = NearTree()


@dataclass(frozen=True)
class FarEntry:
    """A name in a folder of another machine.

    Attributes
    ----------
    what
        ``folder``, ``locked`` (one that may not be listed), ``file``, ``door`` (a link to a folder) or ``other``.
    signature
        What it is when it is a file.
    """

    name: str
    what: str
    signature: Signature

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """See :class:`Entry`."""
        return self.what in {"folder", "locked"} or (follow_symlinks and self.what == "door")

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """See :class:`Entry`; a link to a file is not followed."""
        return self.what == "file"


@dataclass(frozen=True)
class _Refused:
    """A folder that could not be listed there."""

    errno: int
    strerror: str


class FarTree:
    """A folder of another machine at one moment: each part of it is listed once, when it is first asked for.

    Every method raises CopyError while the machine or its disk cannot be asked: what is not known is never absent.

    Parameters
    ----------
    place
        Where it is.
    levels
        How many names the path of a run has. The folders down to there come in one listing; each run's, with all that
        is below it, in another, together with others that are expected.
    """

    is_near = False

    def __init__(self, place: SshPlace, levels: int) -> None:
        self._place = place
        self._root = Path(place.root)
        self._levels = levels
        self._listed: dict[Path, dict[str, FarEntry] | _Refused] = {}
        self._expected: list[Path] = []

    def entries(self, folder: Path) -> Sequence[Entry]:
        """See :class:`Tree`."""
        return list(self._names(folder).values())

    def measured(self, path: Path) -> tuple[int, int]:
        """See :class:`Tree`."""
        found = self._entry(path)
        return found.signature.size_bytes if found.is_file() else -1, found.signature.mtime_ns

    def signature(self, path: Path) -> Signature:
        """What a file is; OSError when it is not there."""
        return self._entry(path).signature

    def exists(self, path: Path) -> bool:
        """See :class:`Tree`."""
        if path == self._root:
            return True
        try:
            self._entry(path)
        except OSError:
            return False
        return True

    def may_list(self, folder: Path) -> bool:
        """See :class:`Tree`."""
        return folder == self._root or self._entry(folder).what == "folder"

    def expect(self, folders: Iterable[Path]) -> None:
        """See :class:`Tree`."""
        self._expected = list(dict.fromkeys(folders))

    def _entry(self, path: Path) -> FarEntry:
        found = self._names(path.parent).get(path.name)
        if found is None:
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return found

    def _names(self, folder: Path) -> dict[str, FarEntry]:
        if folder not in self._listed:
            self._list(folder)
        found = self._listed[folder]
        if isinstance(found, _Refused):
            raise OSError(found.errno, found.strerror, str(folder))
        return found

    def _list(self, folder: Path) -> None:
        depth = max(-1, self._levels - 1 - self._depth(folder))
        others = [one for one in self._expected if one not in self._listed and one != folder]
        alike = [one for one in others if self._depth(one) == self._depth(folder)][: _AT_ONCE - 1]
        asked = [folder.relative_to(self._root), *(one.relative_to(self._root) for one in alike)]
        told = self._place.request(
            "folders",
            patience_s=LOOK_S,
            limit_s=LOOK_S,
            depth=depth,
            paths=["" if path == Path() else path.as_posix() for path in asked],
        )
        for path, found in told["folders"].items():
            self._listed[self._root / path] = _understood(found)

    def _depth(self, folder: Path) -> int:
        return len(folder.relative_to(self._root).parts)


def _understood(found: dict[str, Any]) -> dict[str, FarEntry] | _Refused:
    if "errno" in found:
        return _Refused(found["errno"], found["strerror"])
    return {name: FarEntry(name, what, Signature(*facts)) for name, what, facts in found["entries"]}
