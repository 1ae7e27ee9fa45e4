"""What the batch schedulers share: asking their programs here or over ssh, the job's script, its log, and its names.

A refusal is told from silence here: a scheduler that says no raises
:class:`~xpcs_assets.errors.ComputeError` with its own words; one that is down, or slower than the time limit, raises
:class:`~xpcs_assets.errors.UnreachableError`, and may have taken the job: whoever submits again looks for the name
first.
"""

from __future__ import annotations

import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import ClassVar

from xpcs_assets.commands import Answer, Commands
from xpcs_assets.compute.backend import Job, Phase, Resources, Seen
from xpcs_assets.errors import ComputeError, NotFoundError, UnreachableError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_LOG_BYTES = 20_000
_KILLED = (-9, 137)
"""By SIGKILL, as a scheduler or a shell tells it."""
_NOT_RUN = (126, 127)
_TOO_LATE = (124, 137)
"""What timeout(1) ends with for a program that is not there, and for one that it ended."""


@dataclass(frozen=True)
class Scheduler(ABC):
    """A batch scheduler behind its own programs.

    Attributes
    ----------
    name
        In the site's settings.
    commands
        The machine that its programs run on.
    defaults
        What a job gets that leaves something open.
    limit_s
        Each program is given this long.
    programs
        The folder of its programs at that machine; empty: they are in its path.
    """

    name: str
    commands: Commands
    defaults: Resources = field(default_factory=Resources)
    limit_s: float = 60.0
    programs: str = ""

    _silent: ClassVar[re.Pattern[str]]
    """What its programs say when the scheduler did not answer."""

    @abstractmethod
    def find(self, name: str) -> str | None:
        """See :meth:`xpcs_assets.compute.backend.Backend.find`."""

    @abstractmethod
    def submit(self, job: Job) -> str:
        """See :meth:`xpcs_assets.compute.backend.Backend.submit`."""

    @abstractmethod
    def poll(self, ids: Iterable[str]) -> dict[str, Seen]:
        """See :meth:`xpcs_assets.compute.backend.Backend.poll`."""

    @abstractmethod
    def _end(self, job_id: str) -> Answer:
        """Ask it to end a job."""

    def cancel(self, job_id: str) -> None:
        """See :meth:`xpcs_assets.compute.backend.Backend.cancel`."""
        answer = self._end(job_id)
        if answer.code != 0 and self.poll([job_id])[job_id].phase in {Phase.WAITING, Phase.RUNNING}:
            raise self.refused(f"it did not end job {job_id}", answer)

    def logs(self, job_id: str, job: Job) -> str:
        """See :meth:`xpcs_assets.compute.backend.Backend.logs`."""
        return self.run("tail", "-c", str(_LOG_BYTES), "--", output_of(job)).out.decode(errors="replace")

    @property
    def where(self) -> str:
        """What people call it, for a message."""
        return f"{self.name} ({self.commands.where})"

    def ask(self, program: str, *words: str, data: bytes = b"") -> Answer:
        """Run one of its programs; an answer that is not 0 is a refusal.

        Raises
        ------
        UnreachableError
            The machine, the program or the scheduler behind it did not answer.
        """
        path = str(PurePosixPath(self.programs, program)) if self.programs else program
        answer = self.run(path, *words, data=data)
        if answer.code != 0 and self._silent.search(said(answer)):
            raise self.no_answer(f"{program}: {answer.told}")
        return answer

    def run(self, program: str, *words: str, data: bytes = b"") -> Answer:
        """Run any program at that machine, and end it there too when it is late: nobody waits for it any more.

        Raises
        ------
        UnreachableError
            The machine did not answer, the program is not there, or was late.
        """
        within_s = 0.8 * self.limit_s
        within = ("timeout", "-k", f"{0.1 * self.limit_s:g}", f"{within_s:g}")
        try:
            answer = self.commands.run([*within, program, *words], limit_s=self.limit_s, data=data)
        except NotFoundError as error:
            raise self._not_there(program, error.what) from error
        if answer.code in _NOT_RUN:
            raise self._not_there(program, answer.told)
        if answer.code in _TOO_LATE:
            raise self.no_answer(f"{program} did not end within {within_s:g} s and was ended")
        return answer

    def _not_there(self, program: str, told: str) -> UnreachableError:
        return UnreachableError(
            f"{program} cannot be run: {told}",
            where=self.where,
            remedy="Install the scheduler's programs, or name their folder",
        )

    def refused(self, what: str, answer: Answer) -> ComputeError:
        """The error of a scheduler that said no."""
        return ComputeError(
            f"{what}: {answer.told or f'exit code {answer.code}'}",
            where=self.where,
            remedy="Its own words say what to change: the account, the queue, or what the job asks for",
        )

    def no_answer(self, what: str) -> UnreachableError:
        """The error of a scheduler that did not answer."""
        return UnreachableError(what, where=self.where, remedy="It is asked again; see whether the scheduler is up")

    def asked(self, job: Job) -> Resources:
        """What a job asks for, and this back end's own where it leaves something open."""
        return job.resources.over(self.defaults)

    def check(self, job: Job) -> None:
        """See :func:`check`."""
        check(job, self.where)


def check(job: Job, where: str) -> None:
    """Refuse what no scheduler could be told, before anything is told.

    Raises
    ------
    ComputeError
        The name, the folder, a word or a variable cannot be passed on.
    """
    folder = PurePosixPath(job.folder)
    for wrong, what, remedy in (
        (
            _NAME.fullmatch(job.name) is None,
            f"{job.name!r} is no name for a job",
            "It is 1 to 100 letters, digits, '-', '_' and '.', the first a letter or a digit",
        ),
        (not job.words, f"job {job.name} has no command", "Give it one"),
        (
            not folder.is_absolute() or _UNPRINTABLE.search(job.folder),
            f"{job.folder!r} is no folder for job {job.name}",
            "It is an absolute path without control characters",
        ),
        (
            not all(map(_VARIABLE.fullmatch, job.environment)),
            f"job {job.name} sets what is no variable",
            "A variable's name is letters, digits and '_'",
        ),
        (
            any("\0" in word for word in (*job.words, *job.environment.values())),
            f"a word or variable of job {job.name} holds a zero byte",
            "No program can be given one",
        ),
    ):
        if wrong:
            raise ComputeError(what, where=where, remedy=remedy)


def script(job: Job) -> bytes:
    """A job as a shell script: the command takes the shell's place, so that its exit code is the job's."""
    lines = [
        "#!/bin/sh",
        *(f"export {name}={_quoted(value)}" for name, value in job.environment.items()),
        f"cd {_quoted(job.folder)} || exit",
        f"exec {' '.join(map(_quoted, job.words))} </dev/null",
    ]
    return "\n".join((*lines, "")).encode(errors="surrogateescape")


def output_of(job: Job) -> str:
    """Where a job's output is left."""
    return str(PurePosixPath(job.folder, f"{job.name}.out"))


def ended(code: int | None, reason: str, *, is_lost: bool = False, is_too_big: bool = False) -> Seen:
    """What is to be said of a job that ended by itself: SIGKILL, of which a scheduler knows nothing, is the kernel's.

    >>> ended(-9, "FAILED").is_too_big, ended(3, "FAILED").is_too_big
    (True, False)
    """
    return Seen(Phase.ENDED, code, reason, is_lost, is_too_big or (not is_lost and code in _KILLED))


def said(answer: Answer) -> str:
    """All that a program said."""
    return (answer.err + b"\n" + answer.out).decode(errors="replace")


def _quoted(word: str) -> str:
    # sbatch refuses a script that holds DOS line breaks: a quote ends and begins again between the two.
    return shlex.quote(word).replace("\r\n", "\r''\n")
