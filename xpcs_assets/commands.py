"""Running a program here or on another machine: a list of words in, what it said and its exit code out.

Every call has a time limit. A word is a word at the far side too, whatever is in it: nothing is ever put together into
a line for a shell but by :func:`shlex.join`.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from xpcs_assets.errors import NotFoundError, UnreachableError

SSH_FAILED = 255
"""What ssh itself ends with when it did not reach the host; a program there may end so as well."""
_SAID_BYTES = 2000


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
        return " ".join((self.err or self.out)[-_SAID_BYTES:].decode(errors="replace").split())


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
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": f'"{self.known_hosts}"',
            "GlobalKnownHostsFile": "/dev/null",
            "ConnectTimeout": str(max(1, round(self.connect_s))),
            "ServerAliveInterval": "15",
            "ServerAliveCountMax": "4",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "ClearAllForwardings": "yes",
        }
        options = [word for name, value in said.items() for word in ("-o", f"{name}={value}")]
        return ("ssh", "-F", "none", "-i", self.key, "-p", str(self.port), "-l", self.user, *options)

    def run(self, words: Sequence[str], *, limit_s: float, data: bytes = b"") -> Answer:
        """See :meth:`Commands.run`."""
        answer = run_here([*self.ssh, self.address, "--", shlex.join(words)], limit_s=limit_s, data=data)
        if answer.code == SSH_FAILED:
            raise UnreachableError(
                f"ssh did not get there: {answer.told}",
                where=self.where,
                remedy="See that the machine is up, and that its key and ours are right",
            )
        if answer.code == 127:  # what every shell says of a program that it does not find
            raise NotFoundError(f"there is no program {words[0]!r}: {answer.told}", where=self.where)
        return answer


def run_here(
    words: Sequence[str], *, limit_s: float, data: bytes = b"", environment: Mapping[str, str] | None = None
) -> Answer:
    """Run a program of this machine to its end; see :meth:`Commands.run` for what is raised."""
    try:
        done = subprocess.run(
            list(words),
            input=data,
            capture_output=True,
            timeout=limit_s,
            check=False,
            env={**os.environ, **(environment or {})},
        )
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no program {words[0]!r}", where="this machine", remedy="Install it") from error
    except subprocess.TimeoutExpired as error:
        raise UnreachableError(
            f"{words[0]} did not end within {limit_s:g} s and was killed",
            where="this machine",
            remedy="See whether the service it asks is up",
        ) from error
    return Answer(done.returncode, done.stdout, done.stderr)
