"""What runs the jobs behind ``sfapi_server``: a real Slurm, or processes of this machine with Slurm's words."""

from __future__ import annotations

import getpass
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Protocol

from xpcs_assets.commands import LocalCommands

Row = Mapping[str, str]
_QUEUED = {"jobid": "%A", "name": "%j", "state": "%T", "reason": "%r", "user": "%u", "uid": "%U"}
_ACCOUNTED = ("jobid", "jobname", "state", "exitcode", "uid", "user", "submit", "end")
_LIMIT_S = 30.0


class RefusedError(Exception):
    """What the scheduler says no with."""


class SfapiScheduler(Protocol):
    """What takes jobs and tells of them, in the rows of squeue and sacct."""

    @property
    def user(self) -> str:
        """Whose jobs all are."""

    def submit(self, script: str) -> str:
        """The id of a script's job; :class:`RefusedError` when it is not taken."""

    def queue(self, options: Mapping[str, str]) -> list[Row]:
        """Jobs that wait or run, by ``jobid`` or ``user``; :class:`RefusedError` when it is not told."""

    def accounting(self, options: Mapping[str, str]) -> list[Row]:
        """All jobs, by ``jobid`` or ``user``."""

    def cancel(self, job_id: str) -> None:
        """End a job; :class:`RefusedError` when there is none."""


@dataclass(frozen=True)
class RealSlurm:
    """A Slurm of this machine."""

    commands: LocalCommands

    @property
    def user(self) -> str:
        """Who this process runs as."""
        return getpass.getuser()

    def submit(self, script: str) -> str:
        """See :meth:`SfapiScheduler.submit`."""
        return self._run(["sbatch", "--parsable"], script.encode()).strip()

    def queue(self, options: Mapping[str, str]) -> list[Row]:
        """See :meth:`SfapiScheduler.queue`."""
        said = self._run(["squeue", "--noheader", f"--format={'|'.join(_QUEUED.values())}", *_words(options)])
        return _rows(said, tuple(_QUEUED))

    def accounting(self, options: Mapping[str, str]) -> list[Row]:
        """See :meth:`SfapiScheduler.accounting`."""
        words = ["sacct", "--noheader", "--parsable2", f"--format={','.join(_ACCOUNTED)}", *_words(options)]
        return _rows(self._run(words), _ACCOUNTED)

    def cancel(self, job_id: str) -> None:
        """See :meth:`SfapiScheduler.cancel`."""
        self._run(["scancel", job_id])

    def _run(self, words: Sequence[str], data: bytes = b"") -> str:
        answer = self.commands.run(words, limit_s=_LIMIT_S, data=data)
        if answer.code != 0:
            raise RefusedError(answer.err.decode())
        return answer.out.decode()


def _words(options: Mapping[str, str]) -> list[str]:
    return [f"--{'jobs' if name == 'jobid' else name}={value}" for name, value in options.items()]


def _rows(said: str, names: tuple[str, ...]) -> list[Row]:
    return [dict(zip(names, line.split("|"), strict=True)) for line in said.splitlines() if line]


@dataclass
class _Process:
    row: dict[str, str]
    limit_s: float
    started_s: float = 0.0
    running: subprocess.Popen[bytes] | None = None


@dataclass
class Processes:
    """Jobs as processes of this machine.

    Attributes
    ----------
    is_full
        Jobs wait as long as this holds.
    minute_s
        How long one of Slurm's minutes takes.
    user
        Whose jobs all are.
    """

    is_full: bool = False
    minute_s: float = 60.0
    user: str = "beamline"
    _jobs: dict[str, _Process] = field(default_factory=dict)
    _scripts: dict[str, str] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def submit(self, script: str) -> str:
        """See :meth:`SfapiScheduler.submit`."""
        said = _header(script)
        if said.get("partition", said.get("qos", "")) == "no-such-queue":
            raise RefusedError("sbatch: error: Batch job submission failed: Invalid qos specification")
        with self._lock:
            job_id = str(1000 + len(self._jobs))
            row = {"jobid": job_id, "name": said["job-name"], "jobname": said["job-name"], "state": "PENDING"}
            row |= {"reason": "Resources", "user": self.user, "uid": "1000", "exitcode": "0:0"}
            self._jobs[job_id] = _Process(row, self.minute_s * float(said.get("time", "60")))
            self._scripts[job_id] = script
            self._look()
            return job_id

    def queue(self, options: Mapping[str, str]) -> list[Row]:
        """See :meth:`SfapiScheduler.queue`."""
        with self._lock:
            found = [row for row in self._found(options) if row["state"] in {"PENDING", "RUNNING"}]
            if not found and "," not in options.get("jobid", ","):
                raise RefusedError("slurm_load_jobs error: Invalid job id specified")
            return found

    def accounting(self, options: Mapping[str, str]) -> list[Row]:
        """See :meth:`SfapiScheduler.accounting`."""
        with self._lock:
            return self._found(options)

    def cancel(self, job_id: str) -> None:
        """See :meth:`SfapiScheduler.cancel`."""
        if job_id not in self._jobs:
            raise RefusedError(f"scancel: error: Kill job error on job id {job_id}: Invalid job id specified")
        self.end(job_id, "CANCELLED by 1000")

    def end(self, job_id: str, state: str, exit_code: str = "0:15") -> None:
        """End a job in one of Slurm's states; one that has ended stays as it is."""
        with self._lock:
            self._look()
            _kill(self._jobs[job_id], state, exit_code)

    def end_all(self) -> None:
        """End every job."""
        for job_id in list(self._jobs):
            self.end(job_id, "CANCELLED by 0")

    def _found(self, options: Mapping[str, str]) -> list[Row]:
        self._look()
        rows = [dict(job.row) for job in self._jobs.values()]
        if "jobid" in options:
            return [row for row in rows if row["jobid"] in options["jobid"].split(",")]
        return [row for row in rows if row["user"] == options["user"]]

    def _look(self) -> None:
        for job_id, job in self._jobs.items():
            if job.running is None and job.row["state"] == "PENDING" and not self.is_full:
                self._start(job, self._scripts[job_id])
            elif job.running is not None and job.row["state"] == "RUNNING":
                code = job.running.poll()
                if code is not None:
                    ended = f"{code}:0" if code >= 0 else f"0:{-code}"
                    job.row |= {"state": "FAILED" if code else "COMPLETED", "exitcode": ended}
                elif time.monotonic() - job.started_s > job.limit_s:
                    _kill(job, "TIMEOUT", "0:0")

    @staticmethod
    def _start(job: _Process, script: str) -> None:
        said = _header(script)
        with Path(said["output"].replace("%%", "%")).open("wb") as output:
            job.running = subprocess.Popen(
                ["sh", "-c", script],
                cwd=said["chdir"],
                env={"PATH": os.environ.get("PATH", os.defpath)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        job.started_s = time.monotonic()
        job.row |= {"state": "RUNNING", "reason": "None"}


def _kill(job: _Process, state: str, exit_code: str) -> None:
    """End a job in a state; one that has ended stays as it is."""
    if job.row["state"] not in {"PENDING", "RUNNING"}:
        return
    if job.running is not None:
        os.killpg(job.running.pid, signal.SIGKILL)
        job.running.wait()
    job.row |= {"state": state, "exitcode": exit_code}


def _header(script: str) -> dict[str, str]:
    """The options in the lines of a script that are for sbatch: those before its first command."""
    lines = takewhile(lambda line: line.startswith("#"), script.splitlines())
    words = [
        word for line in lines if line.startswith("#SBATCH ") for word in shlex.split(line.removeprefix("#SBATCH "))
    ]
    return dict(word.removeprefix("--").partition("=")[::2] for word in words)
