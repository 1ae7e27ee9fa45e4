"""Running a program here or on another machine: a list of words in, what it said and its exit code out.

Every call has a time limit. A word is a word at the far side too, whatever is in it and whatever shell the account
has there: see :func:`line_of`.

One connection serves all calls to a host (ssh's ControlMaster) until a minute after the last one: a new one costs a
handshake of some tenths of a second. Its socket lies in a folder of this user's alone.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import stat
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from xpcs_assets.errors import NotFoundError, UnreachableError

SSH_FAILED = 255
"""What ssh itself ends with when it did not reach the host; a program there may end so as well."""
NOT_FOUND = 127
"""What every shell ends with when it does not find a program."""
_SAID_BYTES = 2000
_SOCKETS = "/tmp"  # noqa: S108 - a socket's path has room for 100 bytes; the folder made there is looked at


@dataclass(frozen=True)
class Answer:
    """What a program left.

    Attributes
    ----------
    code
        Its exit code; negative when a signal ended it.
    out, err
        What it wrote.
    """

    code: int
    out: bytes
    err: bytes

    @property
    def told(self) -> str:
        """The end of what it said of its trouble, in one line, for a message."""
        return in_a_line(self.err or self.out)


class Commands(Protocol):
    """A machine that runs programs."""

    @property
    def where(self) -> str:
        """What people call the machine."""

    def run(self, words: Sequence[str], *, limit_s: float, data: bytes = b"") -> Answer:
        """Run a program to its end, with ``data`` as its input.

        Raises
        ------
        UnreachableError
            The machine did not answer, or the program took longer: what it did meanwhile is not known.
        NotFoundError
            There is no such program.
        """


@dataclass(frozen=True)
class LocalCommands:
    """The machine that the program itself runs on.

    Attributes
    ----------
    environment
        Variables to add.
    """

    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """What people call it."""
        return "this machine"

    def run(self, words: Sequence[str], *, limit_s: float, data: bytes = b"") -> Answer:
        """See :meth:`Commands.run`."""
        return run_here(words, limit_s=limit_s, data=data, environment=self.environment)


@dataclass(frozen=True)
class SshCommands:
    """Another machine, by the system's ssh: a key and no password, and no host whose key is not known.

    Attributes
    ----------
    address, port, user
        Where, and who to be there.
    key, known_hosts
        Files of the private key, and of the host's key.
    connect_s
        How long to wait for a connection.
    """

    address: str
    port: int
    user: str
    key: str
    known_hosts: str
    connect_s: float = 10.0

    @property
    def where(self) -> str:
        """What people call it."""
        return f"{self.user}@{self.address}"

    @property
    def ssh(self) -> tuple[str, ...]:
        """The words before the host's; rsync takes them, joined, as its remote shell."""
        said = {
            "BatchMode": "yes",
            "PreferredAuthentications": "publickey",
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "yes",
            "IdentityFile": _quoted(self.key),
            "UserKnownHostsFile": _quoted(self.known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            "UpdateHostKeys": "no",
            "ConnectTimeout": str(max(1, round(self.connect_s))),
            "ServerAliveInterval": "15",
            "ServerAliveCountMax": "4",
            "RequestTTY": "no",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "ClearAllForwardings": "yes",
            "LogLevel": "ERROR",
            **self._shared,
        }
        options = [word for name, value in said.items() for word in ("-o", f"{name}={value}")]
        return ("ssh", "-F", "none", "-p", str(self.port), "-l", self.user, *options)

    @property
    def _shared(self) -> dict[str, str]:
        """Options to share one connection; those of none where there is no safe folder for its socket."""
        folder = _folder_of_sockets()
        if folder is None:
            return {"ControlMaster": "no", "ControlPath": "none"}
        # All that tells one connection from another: whoever names another key gets another connection.
        facts = repr((self.address, self.port, self.user, self.key, self.known_hosts)).encode()
        name = hashlib.sha256(facts).hexdigest()[:16]
        return {"ControlMaster": "auto", "ControlPath": str(folder / name), "ControlPersist": "60"}

    def reach(self, words: Sequence[str]) -> list[str]:
        """The words that run others at the far side."""
        return [*self.ssh, self.address, "--", line_of(words)]

    def run(self, words: Sequence[str], *, limit_s: float, data: bytes = b"") -> Answer:
        """See :meth:`Commands.run`."""
        with tempfile.TemporaryFile() as err:
            # No pipe: ssh before 8.5 leaves it open in the shared connection, and we would wait for its end.
            answer = _run(self.reach(words), self.where, limit_s=limit_s, data=data, err=err.fileno())
            err.seek(0)
            answer = Answer(answer.code, answer.out, err.read())
        self.refuse_failure(answer, words[0])
        return answer

    def refuse_failure(self, answer: Answer, program: str) -> None:
        """Raise what :meth:`Commands.run` says of a host that was not reached, or a program that is not there."""
        if answer.code == SSH_FAILED or answer.code < 0:
            raise UnreachableError(
                f"ssh did not get there, or was cut off: {answer.told or 'it said nothing'}",
                where=self.where,
                remedy="See that the machine is up, and that its key and ours are right",
            )
        if answer.code == NOT_FOUND:
            raise NotFoundError(
                f"there is no program {program!r}: {answer.told}", where=self.where, remedy="Install it there"
            )


def run_here(
    words: Sequence[str],
    *,
    limit_s: float,
    data: bytes = b"",
    environment: Mapping[str, str] | None = None,
    keep: Sequence[int] = (),
) -> Answer:
    """Run a program of this machine to its end; see :meth:`Commands.run` for what is raised.

    Parameters
    ----------
    keep
        Open files that it has as well as long as it runs, and with them their locks, even when we have died.
    """
    return _run(words, "this machine", limit_s=limit_s, data=data, environment=environment, keep=keep)


def line_of(words: Sequence[str]) -> str:
    """Words as one line that gives them back in any shell, such as csh, which takes no line break and no ``!`` quoted.

    >>> line_of(["echo", "a b"])
    "echo 'a b'"
    """
    line = shlex.join(words)
    if line.isascii() and line.isprintable() and "!" not in line:
        return line
    octal = "".join(f"\\0{byte:03o}" for byte in os.fsencode(line))
    return f"""exec /bin/sh -c 'eval "$(printf %b "$1")"' sh '{octal}'"""


def in_a_line(said: bytes) -> str:
    """The end of what a program said, in one line, for a message."""
    return " ".join(said[-_SAID_BYTES:].decode(errors="replace").split())


def _run(
    words: Sequence[str],
    where: str,
    *,
    limit_s: float,
    data: bytes,
    environment: Mapping[str, str] | None = None,
    err: int = subprocess.PIPE,
    keep: Sequence[int] = (),
) -> Answer:
    try:
        done = subprocess.run(
            list(words),
            input=data,
            stdout=subprocess.PIPE,
            stderr=err,
            timeout=limit_s,
            check=False,
            env={**os.environ, **(environment or {})},
            pass_fds=keep,
            start_new_session=True,  # no terminal: nothing can ask for a password there
        )
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no program {words[0]!r}", where="this machine", remedy="Install it") from error
    except subprocess.TimeoutExpired as error:
        raise UnreachableError(
            f"{words[0]} did not end within {limit_s:g} s and was killed",
            where=where,
            remedy="See whether the service it asks is up",
        ) from error
    return Answer(done.returncode, done.stdout, done.stderr or b"")


def _quoted(path: str) -> str:
    """A path as an option of ssh takes it, which splits at spaces and replaces what begins with ``%``."""
    return '"' + path.replace("%", "%%") + '"'


def _folder_of_sockets() -> Path | None:
    """A folder that is this user's alone, its path short; None where that cannot be had."""
    folder = Path(_SOCKETS) / f"xpcs-assets-ssh-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077
    return folder if is_ours else None
