"""The far side's program for a place over ssh: sent, asked, kept for the next request, and ended.

To start it takes a tenth of a second, so one that has answered is kept for a minute. Nothing is waited for longer than
``PATIENCE_S``: it says from time to time that it is still at work.
"""

from __future__ import annotations

import atexit
import os
import select
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from xpcs_assets.commands import Answer, SshCommands
from xpcs_assets.errors import NotFoundError, UnreachableError
from xpcs_assets.places import ssh_far, ssh_far_files
from xpcs_assets.places.ssh_wire import PIECE_BYTES, OutOfReachError, Session, pipes_of, ready

PATIENCE_S = 300.0
"""A disk that is slow, or flushes much, says nothing for so long."""
# The system's own first: what an account has put before it in PATH may be slow to start, or broken.
_FIND = """
for python in /usr/bin/python3 /usr/libexec/platform-python; do [ -x "$python" ] && exec "$python" "$@"; done
exec python3 "$@"
"""
_PYTHON = ("/bin/sh", "-c", _FIND, "sh", "-I", "-S", "-c")
_FAREWELL_S = 10.0
_LEFT_BYTES = 4 << 20
_KEPT_AT_MOST = 4
_LOAD = """
import sys, types
for name, size in zip(sys.argv[1::2], sys.argv[2::2]):
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(sys.stdin.buffer.read(int(size)), name, "exec"), module.__dict__)
module.main()
"""


@dataclass(frozen=True, eq=False)
class _Program:
    """One that runs at the far side, what it says of its trouble, and its pipes."""

    process: subprocess.Popen[bytes]
    err: IO[bytes]
    session: Session

    @classmethod
    def start(cls, commands: SshCommands, sizes: dict[str, int]) -> _Program:
        err = tempfile.TemporaryFile()  # noqa: SIM115 - end() closes it. No pipe: see SshCommands.run
        process = subprocess.Popen(
            commands.reach([*_PYTHON, _LOAD, *(word for name, size in sizes.items() for word in (name, str(size)))]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=err,
            bufsize=0,
            start_new_session=True,
        )
        return cls(process, err, Session(process))

    @property
    def is_usable(self) -> bool:
        """Whether it is there and silent."""
        return not ready({pipes_of(self.process)[1].fileno(): select.POLLIN}, 0)

    def end(self) -> Answer | None:
        """Say no more, and wait until it has put away what it had begun; how it ended, None if it had to be killed."""
        said, heard = pipes_of(self.process)
        said.close()
        left, until = _LEFT_BYTES, time.monotonic() + _FAREWELL_S
        while left > 0 and ready({heard.fileno(): select.POLLIN}, max(0.0, until - time.monotonic())):
            data = os.read(heard.fileno(), PIECE_BYTES)
            left = left - len(data) if data else 0
        heard.close()
        with self.err:
            try:
                code = self.process.wait(_FAREWELL_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                return None
            self.err.seek(0)
            return Answer(code, b"", self.err.read())


_kept: dict[tuple[int, SshCommands], deque[_Program]] = {}
"""Programs that wait for a request, by machine; and by our process: a forked child must not use its parent's pipes."""


@contextmanager
def session(
    commands: SshCommands, request: dict[str, Any], where: str, patience_s: float = PATIENCE_S
) -> Iterator[Session]:
    """Make a request; one that does not come to its end is broken off, and what it had begun is put away.

    Raises
    ------
    OutOfReachError
        The far side cannot be reached, has no Python, or was cut off.
    """
    program = _asked_again(commands, request, where, patience_s)
    is_over = False
    try:
        if program is None:
            modules = sources()
            program = _Program.start(commands, {name: len(source) for name, source in modules.items()})
            program.session.begin(request, where, patience_s, b"".join(modules.values()))
        yield program.session
        is_over = program.session.is_over()
    except OutOfReachError as error:
        ended, program = program.end() if program else None, None
        explained = _explained(error, commands, ended)
        if explained is error:
            raise
        raise explained from error
    finally:
        if program is not None and is_over:
            _keep(commands, program)
        elif program is not None:
            program.end()


def sources() -> dict[str, bytes]:
    """The modules of the far side's program by their names, in the order in which they are loaded there."""
    return {module.__name__: Path(module.__file__ or "").read_bytes() for module in (ssh_far_files, ssh_far)}


def _asked_again(commands: SshCommands, request: dict[str, Any], where: str, patience_s: float) -> _Program | None:
    """A program that was kept and takes this request; None when there is none.

    One that was gone after all has done nothing: it asks, and hears an answer, before it does.
    """
    while waiting := _kept.get((os.getpid(), commands)):
        try:
            program = waiting.pop()
        except IndexError:  # another thread was quicker
            return None
        if program.is_usable:
            try:
                program.session.begin(request, where, patience_s)
                return program
            except OutOfReachError:
                program.end()
        else:
            program.end()
    return None


def _keep(commands: SshCommands, program: _Program) -> None:
    waiting = _kept.setdefault((os.getpid(), commands), deque())
    if len(waiting) < _KEPT_AT_MOST:
        waiting.append(program)
    else:
        program.end()


@atexit.register
def _end_all() -> None:
    for (owner, _), waiting in _kept.items():
        while owner == os.getpid() and waiting:
            program = waiting.pop()
            program.process.kill()  # it has nothing to put away, and a machine that is gone is not waited for
            program.end()


def _explained(error: OutOfReachError, commands: SshCommands, ended: Answer | None) -> OutOfReachError:
    """What ssh or Python have said of it, if they have."""
    if ended is None or ended.code == 0:
        return error
    try:
        commands.refuse_failure(ended, "python3")
    except (UnreachableError, NotFoundError) as failure:
        return OutOfReachError(failure.what, where=failure.where, remedy=failure.remedy)
    return OutOfReachError(f"{error.what}: {ended.told}", where=error.where, remedy=error.remedy)
