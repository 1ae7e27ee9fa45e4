"""The far side of a place over ssh without ssh: the same program, run here, with faults where a test puts them."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from xpcs_assets.commands import SshCommands
from xpcs_assets.places import ssh_session

# Before the program is loaded: it dies, without a word, at the call with this number of those that change something.
_DIE = """
import os
left = [{number}]
def dying(call):
    def made(*args, **options):
        left[0] -= 1
        if not left[0]:
            os._exit(137)
        return call(*args, **options)
    return made
for name in ("open", "write", "fsync", "utime", "mkdir", "rmdir", "link", "unlink"):
    setattr(os, name, dying(getattr(os, name)))
"""


@dataclass(frozen=True)
class FarSide(SshCommands):
    """A machine that is this one.

    Attributes
    ----------
    startup
        Run by ``sh`` with the words to run as its arguments; empty to run them at once.
    die_at
        The call at which the program there dies; 0 for none.
    """

    address: str = "far"
    port: int = 22
    user: str = "somebody"
    key: str = ""
    known_hosts: str = ""
    startup: str = ""
    die_at: int = 0

    def reach(self, words: list[str]) -> list[str]:  # type: ignore[override]
        """The words themselves."""
        die = _DIE.format(number=self.die_at) if self.die_at else ""
        program = [
            sys.executable,
            "-I",
            "-S",
            "-c",
            die + ssh_session._LOAD,
            *words[words.index(ssh_session._LOAD) + 1 :],
        ]
        return ["sh", "-c", self.startup, "sh", *program] if self.startup else program
