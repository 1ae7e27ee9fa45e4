"""Run any command as a process of this machine, with all it starts, and follow it to its end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from xpcs_assets.errors import ComputeError

_GRACE_S = 10.0
_LOOK_EVERY_S = 0.05
_LAST_WORDS_BYTES = 4000
_INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "TZ")
"""Of the environment; the rest may hold the site's secrets."""


@dataclass(frozen=True)
class Command:
    """One call of a command.

    Attributes
    ----------
    words
        The program and its arguments, which no shell reads.
    folder
        Where it runs.
    log
        The file that gets all it says.
    time_limit_s
        After this long it is ended.
    environment
        Variables beside the few that every program needs.
    """

    words: Sequence[str]
    folder: Path
    log: Path
    time_limit_s: float
    environment: Mapping[str, str]


def run_command(
    command: Command, tell: Callable[[str], None], *, keep_open: int, look: Callable[[], None] = lambda: None
) -> float:
    """Run a command, pass on its last words, and return how long it took (s).

    It has the descriptor ``keep_open`` for as long as it lives, so that a lock on it outlives this process. What it has
    started in the background is ended with it.

    Parameters
    ----------
    look
        Is called every moment while the command runs and once after its end; what it raises ends the command.

    Raises
    ------
    ComputeError
        There is no such program, it took too long, or it ended with another exit code than 0.
    """
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ} | dict(command.environment)
    started_s = time.monotonic()
    with command.log.open("wb") as log:
        try:
            process = subprocess.Popen(
                list(command.words),
                cwd=command.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(keep_open,),
            )
        except OSError as error:
            remedy = "Name a program that is on this machine, with its whole path"
            raise ComputeError(
                f"it cannot be started: {error.strerror}", where=command.words[0], remedy=remedy
            ) from error
        in_time = False
        try:
            in_time = _has_ended(process, command.time_limit_s, look)
        finally:
            code = _end(process)
    look()
    if not in_time:
        raise _failed(command, f"took longer than {command.time_limit_s:g} s and was ended")
    if code != 0:
        raise _failed(command, f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}")
    for line in _last_words(command.log).splitlines():
        tell(line)
    return time.monotonic() - started_s


def _failed(command: Command, how: str) -> ComputeError:
    words = " / ".join(_last_words(command.log).splitlines()[-5:])
    said = f"; its last words: {words}" if words else ", and it said nothing"
    return ComputeError(f"the command {how}{said}", where=command.words[0], remedy="Mend what it names, and repeat")


def _last_words(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST_WORDS_BYTES))
        return file.read().decode("utf-8", "replace")


def _has_ended(process: subprocess.Popen[bytes], within_s: float, look: Callable[[], None] = lambda: None) -> bool:
    """Whether it ends in time. Its number is left to it, so that no other group can be meant by a signal to its own."""
    until_s = time.monotonic() + within_s
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if time.monotonic() > until_s:
            return False
        look()
        time.sleep(_LOOK_EVERY_S)
    return True


def _end(process: subprocess.Popen[bytes]) -> int:
    """Let nothing of it outlive the call: ask all that it started, then kill them; its exit code."""
    if not _has_ended(process, 0):
        _signal(process, signal.SIGTERM)
        _has_ended(process, _GRACE_S)
    _signal(process, signal.SIGKILL)
    return process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
