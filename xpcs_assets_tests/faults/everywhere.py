"""An operation on a storage, done in a child process with a fault at each of its steps in turn."""

from __future__ import annotations

import shutil
import sqlite3
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
from xpcs_assets.testing.faults import CHANGING, KILLED, DieAt, Fault, FaultySyscalls, count_commits, in_children
from xpcs_assets.testing.power_cut import CutAt, Disk, Shown, WatchedSyscalls
from xpcs_assets_tests.storage import FILES, KEEP_S, Storage

Operation = Callable[[Storage], object]
Runner = Callable[[Path, Operation, int], None]


@dataclass
class Killed:
    """What a process that died at step ``number`` left behind."""

    number: int
    root: Path


def prepared(folder: Path, prepare: Operation) -> Path:
    storage = Storage.build(folder / "prepared")
    prepare(storage)
    storage.close()
    return storage.root


def killed_at_any(root: Path, operation: Operation, number: int) -> None:
    """Do the operation, and die at a step."""
    run(root, operation, DieAt(number))


def killed_at_a_change(root: Path, operation: Operation, number: int) -> None:
    """Do the operation, and die at a step that may change something: who dies at a look leaves what was there."""
    run(root, operation, DieAt(number, CHANGING))


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


def everywhere(start: Path, operation: Operation, runner: Runner, at_least: int = 20) -> Iterator[Killed]:
    """Run ``operation`` on copies of ``start``, ended at each of its steps in turn, until it has no more.

    Gives what each left behind; once only what several left alike, as those do that died in a row of mere reads.
    """
    seen: set[object] = set()
    root = start.parent / "killed"
    for number in count(1):
        shutil.copytree(start, root)
        for engine in _ENGINES.values():
            engine.dispose()
        (status,) = in_children(lambda number=number: runner(root, operation, number))  # type: ignore[misc]
        if status == 0:
            assert number > at_least, "the operation has hardly any steps: the faults are not where they should be"
            return
        assert status == KILLED, f"the operation failed by itself before step {number}"
        left = _state(root)
        if left not in seen:
            seen.add(left)
            yield Killed(number, root)
        shutil.rmtree(root)


def _state(root: Path) -> object:
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


KILLS = [
    pytest.param(killed_at_a_change, id="at every change"),
    pytest.param(killed_at_any, id="at every call", marks=pytest.mark.long),
]
