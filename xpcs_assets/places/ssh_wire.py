"""What is said to the far side of a place over ssh, and heard of it: lines of JSON, and bytes that a line tells of."""

from __future__ import annotations

import json
import os
import secrets
import select
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from xpcs_assets.errors import CopyError, named
from xpcs_assets.places.marker import Marker
from xpcs_assets.places.reading import told_as_copy_error
from xpcs_assets.runs.folders import MARKER, PARTIAL_SUFFIX, UNLISTED

PIECE_BYTES = 1 << 20
_NOISE_BYTES = 1 << 16


class OutOfReachError(CopyError):
    """The machine or the root of the place cannot be reached, or not any more: what was asked may have been done."""


class Session:
    """Requests to one process, one after the other."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._where = ""
        self._patience_s = 0.0
        self._heard = bytearray()
        self._in, self._out = (pipe.fileno() for pipe in pipes_of(process))
        for pipe in (self._in, self._out):
            os.set_blocking(pipe, False)

    def is_over(self) -> bool:
        """Whether the far side has done the request and waits for another; False when it was not read to its end."""
        try:
            return "over" in self.hear()
        except CopyError:  # the request was answered before that
            return False

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
            try:
                facts: dict[str, Any] = json.loads(self._line())
            except ValueError:
                raise OutOfReachError("it says what is not understood", where=self._where) from None
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

    def begin(self, request: dict[str, Any], where: str, patience_s: float, program: bytes = b"") -> None:
        """Make a request, to a ``program`` that is to be sent before it; passes over what the account's shell says.

        Parameters
        ----------
        where
            What it is about, for messages.
        patience_s
            How long to wait for a word from the far side, or for it to take one.
        """
        self._where, self._patience_s = where, patience_s
        token = secrets.token_hex(8)
        self._send(program)
        self.say(**request, token=token)
        noise = 0
        while (line := self._line()) != token.encode() + b"\n":
            noise += len(line)
            if noise > _NOISE_BYTES:
                raise OutOfReachError(
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
        if not ready({self._out: select.POLLIN}, self._patience_s):
            raise self._silent()
        data = os.read(self._out, PIECE_BYTES)
        if not data:
            raise OutOfReachError("the connection ended before the answer", where=self._where)
        self._heard += data

    def _send(self, data: bytes | memoryview, *, heeding: bool = False) -> bool:
        view = memoryview(data)
        while view:
            heeded = {self._out: select.POLLIN} if heeding else {}
            found = ready({self._in: select.POLLOUT, **heeded}, self._patience_s)
            if self._out in found:
                return False
            if not found:
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
        "not_listed": list(UNLISTED),
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


def ready(wanted: dict[int, int], limit_s: float) -> list[int]:
    """Which descriptors have something to read, take something or are closed; none after ``limit_s``."""
    poll = select.poll()
    for descriptor, events in wanted.items():
        poll.register(descriptor, events)
    return [descriptor for descriptor, _ in poll.poll(limit_s * 1000)]


def pipes_of(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    """Where a process is spoken to, and where it is heard."""
    if process.stdin is None or process.stdout is None:
        raise ValueError("a session needs both pipes")
    return process.stdin, process.stdout
