"""A power cut on purpose: what a disk may show of a folder afterwards, when not all of it was synced.

POSIX promises of a file's bytes only what was there at its last ``fsync``, and of a folder's names only those of the
folder's. The operation runs on a real folder; :class:`Disk` keeps beside it what is safe, and :meth:`Disk.cut` puts the
folder into a state that it may be found in. The ledger's file stays as it is: its commits are synced by the database.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from xpcs_assets.testing.faults import CHANGING, KILLED, Fault, FaultySyscalls


class Shown(StrEnum):
    """What of the things that were not synced is found after the cut."""

    NOTHING = "names undone, bytes lost"
    EMPTY = "names kept, files empty"
    ZEROS = "names kept, files of zeros"
    HALF = "every other name kept, half of the bytes"


@dataclass(frozen=True)
class _Node:
    """A file or folder, whatever its names are."""

    device: int
    inode: int
    is_folder: bool


@dataclass
class _Safe:
    """What is on the disk for certain."""

    bytes_of: dict[_Node, bytes] = field(default_factory=dict)
    names_in: dict[_Node, dict[str, _Node]] = field(default_factory=dict)


class Disk:
    """The disk below ``root``; what is there now is safe.

    Parameters
    ----------
    root
        A folder of ordinary files and folders.
    kept
        How the names begin, in the root, of files that are left as they are.
    """

    def __init__(self, root: Path, kept: str = "ledger.db") -> None:
        self._root = root
        self._kept = kept
        self._safe = _Safe()
        self._busy = threading.Lock()
        self._held: dict[_Node, int] = {}  # open, so that no other file gets the number
        self._top = self._hold(os.open(root, os.O_RDONLY | os.O_DIRECTORY))
        self._settle(self._top)

    def synced(self, descriptor: int) -> None:
        """Take what an open file or folder is now as safe."""
        with self._busy:
            node = self._hold(os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY))
            if node.is_folder:
                self._safe.names_in[node] = self._names(node)
            else:
                self._safe.bytes_of[node] = self._bytes(node)

    def cut(self, shown: Shown) -> None:
        """Leave the folder as it may be found after a loss of power."""
        after = self._root.with_name(f"{self._root.name} after the cut")
        after.mkdir()
        with self._busy:
            self._show(self._top, after, shown, {})
            for path in self._root.glob(f"{self._kept}*"):
                path.rename(after / path.name)
            self._root.rename(self._root.with_name(f"{self._root.name} before the cut"))
            after.rename(self._root)
        shutil.rmtree(self._root.with_name(f"{self._root.name} before the cut"))

    def picture(self, shown: Shown, into: Path) -> None:
        """Make the folder ``into`` as this one may be found after a loss of power; all goes on here."""
        into.mkdir()
        with self._busy:
            self._show(self._top, into, shown, {})
        # By another process: to close a file of SQLite's gives up the locks that this one has.
        subprocess.run(["cp", "-a", *self._root.glob(f"{self._kept}*"), into], check=True)

    def _settle(self, folder: _Node) -> None:
        self._safe.names_in[folder] = self._names(folder)
        for node in self._safe.names_in[folder].values():
            if node.is_folder:
                self._settle(node)
            else:
                self._safe.bytes_of[node] = self._bytes(node)

    def _hold(self, descriptor: int) -> _Node:
        found = os.fstat(descriptor)
        node = _Node(found.st_dev, found.st_ino, stat.S_ISDIR(found.st_mode))
        if self._held.setdefault(node, descriptor) != descriptor:
            os.close(descriptor)
        return node

    def _names(self, folder: _Node) -> dict[str, _Node]:
        above = self._held[folder]
        return {
            name: self._hold(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=above))
            for name in sorted(os.listdir(above))  # noqa: PTH208 - names in an open folder
            if not (folder == self._top and name.startswith(self._kept))
        }

    def _bytes(self, file: _Node) -> bytes:
        return Path(f"/proc/self/fd/{self._held[file]}").read_bytes()

    def _show(self, folder: _Node, into: Path, shown: Shown, made: dict[_Node, Path]) -> None:
        for name, node in _found_names(self._safe.names_in.get(folder, {}), self._names(folder), shown):
            path = into / name
            if node.is_folder:
                path.mkdir()
                self._show(node, path, shown, made)
            elif node in made:
                path.hardlink_to(made[node])
            else:
                path.write_bytes(self._found_bytes(node, shown))
                made[node] = path

    def _found_bytes(self, file: _Node, shown: Shown) -> bytes:
        safe, now = self._safe.bytes_of.get(file), self._bytes(file)
        if safe == now or shown in {Shown.NOTHING, Shown.EMPTY}:
            return safe or b""
        return (safe or b"").ljust(len(now), b"\0") if shown is Shown.ZEROS else now[: len(now) // 2]


def _found_names(safe: Mapping[str, _Node], now: Mapping[str, _Node], shown: Shown) -> Iterator[tuple[str, _Node]]:
    keep = shown is not Shown.NOTHING
    for name in sorted(safe.keys() | now.keys()):
        node = safe.get(name)
        if node != now.get(name):
            node = now.get(name) if keep else node
            keep = keep != (shown is Shown.HALF)
        if node is not None:
            yield name, node


class CutAt(Fault):
    """The power fails before changing step ``number``, or in the middle of it where that is a write.

    The end of the operation, :meth:`done`, is a step too.
    """

    def __init__(self, number: int, disk: Disk, shown: Shown) -> None:
        super().__init__()
        self.number = number
        self.disk = disk
        self.shown = shown

    def step(self, name: str, act: Callable[[], Any], begin: Callable[[], Any] | None = None) -> Any:
        """Do the step, or die."""
        if name in CHANGING:
            self._cut_if_due(name, begin)
        return act()

    def done(self) -> None:
        """The operation has returned: the power may fail now, once."""
        self._cut_if_due("done", None)

    def _cut_if_due(self, name: str, begin: Callable[[], Any] | None) -> None:
        if self.count(name) == self.number:
            if begin is not None:
                begin()
            self.disk.cut(self.shown)
            os._exit(KILLED)


class WatchedSyscalls(FaultySyscalls):
    """System calls whose syncs ``disk`` is told of."""

    def __init__(self, fault: Fault, disk: Disk) -> None:
        super().__init__(fault)
        self._disk = disk

    def fsync(self, descriptor: int) -> None:
        """Sync, and let the disk know."""
        super().fsync(descriptor)
        self._disk.synced(descriptor)

    def fdatasync(self, descriptor: int) -> None:
        """Sync the bytes, and let the disk know."""
        super().fdatasync(descriptor)
        self._disk.synced(descriptor)
