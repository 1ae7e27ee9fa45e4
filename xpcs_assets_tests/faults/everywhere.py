"""An operation on a storage, done in a child process with a fault at each of its steps in turn.

Either a child is killed at a step, one for each; or one child does all, and before each change a picture is made of
what is there: the same as is left by one that is killed then, in a fraction of the time. Only the inodes' numbers are
others: what a name is made of by them is killed.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import Engine

from xpcs_assets.copies.database import open_database
from xpcs_assets.places.files import is_partial
from xpcs_assets.prune.remove import LEASE_S
from xpcs_assets.testing.faults import KILLED, DieAt, Fault, FaultySyscalls, ShowAt, count_commits, in_children
from xpcs_assets.testing.power_cut import CutAt, Disk, Shown, WatchedSyscalls
from xpcs_assets_tests.storage import FILES, KEEP_S, Storage

NAMES = frozenset({"mkdir", "rmdir", "link", "rename", "unlink", "commit"})
Operation = Callable[[Storage], object]
Runner = Callable[[Path, Operation, int], None]


@dataclass
class Killed:
    """What a process that died at step ``number`` left behind."""

    number: int
    root: Path


@dataclass(frozen=True)
class Onlooker:
    """Does an operation below a folder, and makes a picture of the folder at each change."""

    look: Callable[[Path, Operation, Album], None]


class Album:
    """Folders that were made one after the other."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._numbers = count(1)

    def page(self) -> Path:
        """Where the next picture goes."""
        return self._folder / f"{next(self._numbers):06}"

    def take(self, root: Path) -> None:
        """Copy a folder with its files' other names; by another process, which leaves locks of SQLite's as they are."""
        subprocess.run(["cp", "-a", root, self.page()], check=True)

    def close(self) -> None:
        """Throw away what is left of it."""
        shutil.rmtree(self._folder)

    def pages(self) -> list[Path]:
        """The pictures, oldest first."""
        return sorted(self._folder.iterdir())


def prepared(folder: Path, prepare: Operation) -> Path:
    storage = Storage.build(folder / "prepared")
    prepare(storage)
    storage.close()
    return storage.root


def killed_at_any(root: Path, operation: Operation, number: int) -> None:
    """Do the operation, and die at a step."""
    run(root, operation, DieAt(number))


def killed_at_a_name(root: Path, operation: Operation, number: int) -> None:
    """Do the operation, and die before a name is made or taken away, or before a commit."""
    run(root, operation, DieAt(number, NAMES))


def _seen_at_a_change(root: Path, operation: Operation, album: Album) -> None:
    run(root, operation, ShowAt(lambda: album.take(root)))


def seen_cut_at(shown: Shown) -> Onlooker:
    """Do the operation, and see what is left by a loss of power before a changing step or at the end."""

    def look(root: Path, operation: Operation, album: Album) -> None:
        disk = Disk(root)
        fault = ShowAt(lambda: disk.picture(shown, album.page()))
        _do(Storage(root, WatchedSyscalls(fault, disk), engine=_engine_of(root)), operation, fault)
        fault.show()

    return Onlooker(look)


def cut_at(shown: Shown) -> Runner:
    """Do the operation, and lose the power before a changing step or at the end."""

    def runner(root: Path, operation: Operation, number: int) -> None:
        disk = Disk(root)
        fault = CutAt(number, disk, shown)
        _do(Storage(root, WatchedSyscalls(fault, disk), engine=_engine_of(root)), operation, fault)
        fault.done()

    return runner


def run(root: Path, operation: Operation, fault: Fault) -> None:
    """Do the operation with a fault, when the retention is over."""
    _do(Storage(root, FaultySyscalls(fault), engine=_engine_of(root)), operation, fault)


_ENGINES: dict[str, Engine] = {}


def engine_at(url: str) -> Engine:
    """The engine of a database that process after process opens under the same name.

    It has no connection when a process is forked, and the statements that it compiled: that takes longer than to run
    them.
    """
    if url not in _ENGINES:
        _ENGINES.clear()
        _ENGINES[url] = open_database(url)
    return _ENGINES[url]


def _engine_of(root: Path) -> Engine:
    return engine_at(f"sqlite:///{root / 'ledger.db'}")


def _do(storage: Storage, operation: Operation, fault: Fault) -> None:
    storage.clock.advance(KEEP_S)
    count_commits(storage.engine, fault)
    operation(storage)


def everywhere(start: Path, operation: Operation, runner: Runner | Onlooker, at_least: int = 20) -> Iterator[Killed]:
    """Run ``operation`` on copies of ``start``, ended at each of its steps in turn, until it has no more.

    Gives what each left behind; once only what several left alike, as those do that died in a row of mere reads.
    """
    seen: set[object] = set()
    root = start.parent / "killed"
    number = 0
    ends = _pictured if isinstance(runner, Onlooker) else _killed
    for number, _ in enumerate(ends(start, root, operation, runner), 1):  # type: ignore[operator]
        left = state_in(root)
        if left not in seen:
            seen.add(left)
            yield Killed(number, root)
        shutil.rmtree(root)
    assert number >= at_least, "the operation has hardly any steps: the faults are not where they should be"


def _killed(start: Path, root: Path, operation: Operation, runner: Runner) -> Iterator[None]:
    for number in count(1):
        if _in_a_child(start, root, lambda number=number: runner(root, operation, number)) == 0:  # type: ignore[misc]
            shutil.rmtree(root)
            return
        yield


def _pictured(start: Path, root: Path, operation: Operation, onlooker: Onlooker) -> Iterator[None]:
    album = Album(start.parent / "album")
    assert _in_a_child(start, root, lambda: onlooker.look(root, operation, album)) == 0
    shutil.rmtree(root)
    for page in album.pages():
        page.rename(root)
        yield
    album.close()


def _in_a_child(start: Path, root: Path, operation: Callable[[], object]) -> int:
    shutil.copytree(start, root)
    for engine in _ENGINES.values():
        engine.dispose()
    (status,) = in_children(operation)
    assert status in {0, KILLED}, "the operation failed by itself"
    return status


def state_in(root: Path) -> object:
    """Every file with its bytes and number of names, a partial's random name aside; and all that the ledger says."""
    files = []
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_file() and relative.parts[0] != "ledger.db" and not path.name.startswith("ledger.db-"):
            name = str(relative.parent / "partial" if is_partial(path.name) else relative)
            files.append((name, path.read_bytes(), path.stat().st_nlink))
        elif path.is_dir():
            files.append((str(relative), b"", 0))
    with closing(sqlite3.connect(root / "ledger.db")) as connection:
        return tuple(sorted(files)), tuple(connection.iterdump())


def reopened(root: Path) -> Storage:
    """The storage as another process opens it, when the lease of the dead has run out."""
    storage = Storage(root, engine=_engine_of(root))
    storage.clock.advance(KEEP_S + LEASE_S)
    return storage


def whole_or_absent(storage: Storage, place: str) -> bool:
    """No final name with wrong bytes: what is there is right."""
    return all(FILES[path] == data for path, data in storage.files_at(place).items())


seen_at_a_change = Onlooker(_seen_at_a_change)
"""What may be there when a process has died at a step that may change something: who dies at a look leaves the same."""

KILLS = [
    pytest.param(seen_at_a_change, id="at every change"),
    pytest.param(killed_at_any, id="at every call", marks=pytest.mark.long),
]
