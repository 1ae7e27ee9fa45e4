"""One request to the far side of a place over ssh: the program is sent, and what it says is heard.

Nothing is waited for longer than ``PATIENCE_S``: the far side says from time to time that it is still at work.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from xpcs_assets.commands import Answer, SshCommands
from xpcs_assets.errors import CopyError, NotFoundError, UnreachableError, named
from xpcs_assets.places import ssh_far, ssh_far_files
from xpcs_assets.places.marker import Marker
from xpcs_assets.places.reading import told_as_copy_error
from xpcs_assets.runs.folders import ARRIVING_FOLDER, ASIDE_FOLDER, MARKER, PARTIAL_SUFFIX

PATIENCE_S = 300.0
"""A disk that is slow, or flushes much, says nothing for so long."""
PIECE_BYTES = 1 << 20
# The system's own first: what an account has put before it in PATH may be slow to start, or broken.
_FIND = """
for python in /usr/bin/python3 /usr/libexec/platform-python; do [ -x "$python" ] && exec "$python" "$@"; done
exec python3 "$@"
"""
_PYTHON = ("/bin/sh", "-c", _FIND, "sh", "-I", "-S", "-c")
_FAREWELL_S = 10.0
_NOISE_BYTES = 1 << 16
_LEFT_BYTES = 4 << 20
_LOAD = """
import sys, types
for name, size in zip(sys.argv[1::2], sys.argv[2::2]):
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(sys.stdin.buffer.read(int(size)), name, "exec"), module.__dict__)
module.main()
"""


class OutOfReachError(CopyError):
    """The machine or the root of the place cannot be reached, or not any more: what was asked may have been done."""


class Session:
    """A request under way; made by :func:`session`.

    Parameters
    ----------
    where
        What the request is about, for messages.
    patience_s
        How long to wait for a word from the far side, or for it to take one.
    """

    def __init__(self, process: subprocess.Popen[bytes], where: str, patience_s: float) -> None:
        self._process = process
        self._where = where
        self._patience_s = patience_s
        self._heard = bytearray()
        self._in, self._out = (pipe.fileno() for pipe in _pipes(process))
        for pipe in (self._in, self._out):
            os.set_blocking(pipe, False)

    def say(self, **facts: Any) -> None:
        """Say a line."""
        self._send(json.dumps(facts).encode("ascii") + b"\n")

    def hear(self) -> dict[str, Any]:
        """The next line, no beat.

        Raises
        ------
        CopyError, NotFoundError
            What the far side tells as an error.
        OutOfReachError
            No answer came, or the root cannot be opened.
        """
        while True:
            facts: dict[str, Any] = json.loads(self._line())
            if "error" in facts:
                self._raise(facts)
            if "beat" not in facts:
                return facts

    def take(self, size_bytes: int) -> Iterator[bytes]:
        """The bytes that a line has told of."""
        while size_bytes:
            if not self._heard:
                self._listen()
            data = bytes(self._heard[:size_bytes])
            del self._heard[: len(data)]
            size_bytes -= len(data)
            yield data

    def pour(self, data: bytes | memoryview) -> bool:
        """Send bytes of a file; False when the far side has said something instead of taking them all."""
        view = memoryview(data)
        while view:
            piece = view[:PIECE_BYTES]
            if not self._send(struct.pack(">I", len(piece)), heeding=True) or not self._send(piece, heeding=True):
                return False
            view = view[len(piece) :]
        return True

    def end_of_file(self) -> None:
        """Tell that no more bytes come."""
        self._send(struct.pack(">I", 0))

    def begin(self, program: bytes, request: dict[str, Any], token: str) -> None:
        """Send program and request, and pass over what the account's shell says before the program says ``token``."""
        self._send(program)
        self.say(**request, token=token)
        noise = 0
        while (line := self._line()) != token.encode() + b"\n":
            noise += len(line)
            if noise > _NOISE_BYTES:
                raise CopyError(
                    "the account's shell says too much when it starts",
                    where=self._where,
                    remedy="Let it print nothing where there is no terminal",
                )

    def _line(self) -> bytes:
        searched = 0
        while (end := self._heard.find(b"\n", searched)) < 0:
            searched = len(self._heard)
            self._listen()
        line = bytes(self._heard[: end + 1])
        del self._heard[: end + 1]
        return line

    def _listen(self) -> None:
        if not _ready({self._out: select.POLLIN}, self._patience_s):
            raise self._silent()
        data = os.read(self._out, PIECE_BYTES)
        if not data:
            raise OutOfReachError("the connection ended before the answer", where=self._where)
        self._heard += data

    def _send(self, data: bytes | memoryview, *, heeding: bool = False) -> bool:
        view = memoryview(data)
        while view:
            heeded = {self._out: select.POLLIN} if heeding else {}
            ready = _ready({self._in: select.POLLOUT, **heeded}, self._patience_s)
            if self._out in ready:
                return False
            if not ready:
                raise self._silent()
            try:
                view = view[os.write(self._in, view) :]
            except BrokenPipeError:
                if heeding:
                    return False
                raise OutOfReachError("the connection ended", where=self._where) from None
        return True

    def _silent(self) -> OutOfReachError:
        return OutOfReachError(
            f"nothing was heard for {self._patience_s:g} s", where=self._where, remedy="Look at its disk"
        )

    def _raise(self, facts: dict[str, Any]) -> None:
        if facts["error"] == "root":
            cause = OSError(facts["errno"], facts["strerror"])
            raise OutOfReachError(facts["strerror"], where=self._where) from cause
        if facts["error"] == "OSError":
            with told_as_copy_error(Path(self._where)):
                raise OSError(facts["errno"], facts["strerror"])
        kind = named(facts["error"]) or CopyError
        raise kind(facts["what"], where=self._where, remedy=facts["remedy"])


def request_of(root: str, do: str, **facts: Any) -> dict[str, Any]:
    """A request about what lies below a root."""
    return {
        "do": do,
        "root": root,
        "marker": MARKER,
        "not_listed": [MARKER, ASIDE_FOLDER, ARRIVING_FOLDER],
        "partial_suffix": PARTIAL_SUFFIX,
        **facts,
    }


def told_marker(told: dict[str, Any], where: str) -> Marker | None:
    """The marker that the far side tells of; None when there is none.

    Raises
    ------
    CopyError
        It cannot be read, or is damaged.
    """
    if "errno" in told:
        with told_as_copy_error(Path(where)):
            raise OSError(told["errno"], told["strerror"])
    if "error" in told:
        raise (named(told["error"]) or CopyError)(told["what"], where=where, remedy=told["remedy"])
    return None if "missing" in told else Marker.from_json(told["text"], where)


@contextmanager
def session(
    commands: SshCommands, request: dict[str, Any], where: str, patience_s: float = PATIENCE_S
) -> Iterator[Session]:
    """Make a request; at the end, whatever that is, the far side has stopped or the connection to it is gone.

    Raises
    ------
    OutOfReachError
        The far side cannot be reached, has no Python, or was cut off.
    """
    program = sources()
    told = [word for name, source in program.items() for word in (name, str(len(source)))]
    token = secrets.token_hex(8)
    with tempfile.TemporaryFile() as err:  # no pipe: see SshCommands.run
        process = subprocess.Popen(
            commands.reach([*_PYTHON, _LOAD, *told]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=err,
            bufsize=0,
            start_new_session=True,
        )
        try:
            made = Session(process, where, patience_s)
            made.begin(b"".join(program.values()), request, token)
            yield made
        except OutOfReachError as error:
            if not _end(process) or process.returncode == 0:
                raise
            err.seek(0)
            raise _explained(error, commands, Answer(process.returncode, b"", err.read())) from error
        finally:
            _end(process)


def sources() -> dict[str, bytes]:
    """The modules of the far side's program by their names, in the order in which they are loaded there."""
    return {module.__name__: Path(module.__file__ or "").read_bytes() for module in (ssh_far_files, ssh_far)}


def _explained(error: OutOfReachError, commands: SshCommands, answer: Answer) -> OutOfReachError:
    """What ssh or Python have said of it, if they have."""
    try:
        commands.refuse_failure(answer, "python3")
    except (UnreachableError, NotFoundError) as failure:
        return OutOfReachError(failure.what, where=failure.where, remedy=failure.remedy)
    told = f": {answer.told}" if answer.err else ""
    return OutOfReachError(f"{error.what}{told}", where=error.where, remedy=error.remedy)


def _end(process: subprocess.Popen[bytes]) -> bool:
    """Say no more, and wait until the far side has put away what it had begun; False when it had to be killed."""
    if process.returncode is not None:
        return True
    said, heard = _pipes(process)
    said.close()
    left, until = _LEFT_BYTES, time.monotonic() + _FAREWELL_S
    while left > 0 and _ready({heard.fileno(): select.POLLIN}, max(0.0, until - time.monotonic())):
        data = os.read(heard.fileno(), PIECE_BYTES)
        left = left - len(data) if data else 0
    heard.close()
    try:
        process.wait(_FAREWELL_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True


def _ready(wanted: dict[int, int], limit_s: float) -> list[int]:
    """Which descriptors have something to read, take something or are closed; none after ``limit_s``."""
    poll = select.poll()
    for descriptor, events in wanted.items():
        poll.register(descriptor, events)
    return [descriptor for descriptor, _ in poll.poll(limit_s * 1000)]


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise ValueError("a session needs both pipes")
    return process.stdin, process.stdout
