"""Faults on purpose: a system call or a commit of the ledger that fails, or at which the process dies.

Every call through ``places.syscalls`` and every commit is a step, counted from 1. A test runs an operation once for
each step, with the fault there, and looks at what is left.
"""

from __future__ import annotations

import os
import threading
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from xpcs_assets.places.syscalls import Syscalls

KILLED = 137
_CALLS = frozenset(name for name in vars(Syscalls) if not name.startswith("_"))
CHANGING = frozenset(
    {"write", "fsync", "fdatasync", "set_mtime", "mkdir", "rmdir", "link", "rename", "unlink", "commit"}
)
"""Steps that may leave something else than was there. The others only look, or open a file that is written next."""


class Fault:
    """Steps that are counted and do nothing else. Several threads may make steps; their order is then the system's.

    Attributes
    ----------
    steps
        The names of all steps so far.
    """

    def __init__(self) -> None:
        self.steps: list[str] = []
        self._counting = threading.Lock()

    def step(self, name: str, act: Callable[[], Any], begin: Callable[[], Any] | None = None) -> Any:
        """Do the next step; ``begin`` does a part of it."""
        self.count(name)
        return act()

    def count(self, name: str) -> int:
        """Count a step; its number, from 1."""
        with self._counting:
            self.steps.append(name)
            return len(self.steps)


class DieAt(Fault):
    """The process ends at step ``number`` without a word, in the middle of it where that is possible.

    Parameters
    ----------
    number
        Of the steps in ``names``; of all when that is empty.
    """

    def __init__(self, number: int, names: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.number = number
        self.names = names

    def step(self, name: str, act: Callable[[], Any], begin: Callable[[], Any] | None = None) -> Any:
        """Do the step, or die."""
        if (not self.names or name in self.names) and self.count(name) == self.number:
            if begin is not None:
                begin()
            os._exit(KILLED)
        return act()


class ShowAt(Fault):
    """Before each step in ``names``, and half way through a write, ``show`` looks; then the operation goes on.

    What there is then of files and database is what a process that died at this step would leave.
    """

    def __init__(self, show: Callable[[], object], names: frozenset[str] = CHANGING) -> None:
        super().__init__()
        self.show = show
        self.names = names

    def step(self, name: str, act: Callable[[], Any], begin: Callable[[], Any] | None = None) -> Any:
        """Show what there is, and do the step."""
        if name not in self.names:
            return act()
        self.count(name)
        if not isinstance(begin, partial):
            self.show()
            return act()
        descriptor = begin.args[0]
        position = os.lseek(descriptor, 0, os.SEEK_CUR)
        begin()
        self.show()
        os.lseek(descriptor, position, os.SEEK_SET)
        return act()


class FailAt(Fault):
    """Step ``number`` of those in ``names`` raises the system's error ``code``.

    Attributes
    ----------
    failed
        The name of the step that failed; empty while none has.
    """

    def __init__(self, number: int, code: int, names: frozenset[str]) -> None:
        super().__init__()
        self.number = number
        self.code = code
        self.names = names
        self.failed = ""

    def step(self, name: str, act: Callable[[], Any], begin: Callable[[], Any] | None = None) -> Any:
        """Do the step, or fail."""
        if name in self.names and self.count(name) == self.number:
            self.failed = name
            raise OSError(self.code, os.strerror(self.code))
        return act()


class FaultySyscalls(Syscalls):
    """The system calls, each one a step of ``fault``."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    def __getattribute__(self, name: str) -> Any:
        """The call, as a step."""
        call = super().__getattribute__(name)
        if name not in _CALLS:
            return call
        return partial(self._step, name, call)

    def _step(self, name: str, call: Callable[..., Any], *args: Any) -> Any:
        begin = partial(call, args[0], args[1][: len(args[1]) // 2]) if name == "write" else None
        return self._fault.step(name, partial(call, *args), begin)


def count_commits(engine: Engine, fault: Fault) -> None:
    """Make every commit over ``engine`` a step of ``fault``; the step comes before the commit."""
    event.listen(engine, "commit", lambda connection: fault.step("commit", lambda: None))


def in_children(*operations: Callable[[], object]) -> list[int]:
    """Run operations side by side, a child process each; exit statuses: 0, 1 with a traceback shown, or 137 (killed).

    An operation opens its own ledger: no engine crosses the fork.
    """
    children = [_fork(operation) for operation in operations]
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def _fork(operation: Callable[[], object]) -> int:
    with warnings.catch_warnings():
        # Python and jax warn of threads that do not live on in a child: it only uses files, hashes and SQLite.
        warnings.simplefilter("ignore")
        child = os.fork()
    if child:
        return child
    status = 1
    try:
        operation()
        status = 0
    except BaseException:  # noqa: BLE001 - a child ends here, whatever happened
        traceback.print_exc()
    finally:
        os._exit(status)


def partials_below(folder: Path) -> tuple[Path, ...]:
    """Files below a folder that have a partial's name."""
    return tuple(path for path in folder.rglob(".*.xpcs-partial") if path.is_file())
