"""Run the worker as a process of this machine and follow it to its end."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from xpcs_assets.errors import ComputeError, XpcsAssetsError, named

_GRACE_S = 10.0


@dataclass(frozen=True)
class WorkerJob:
    """One call of the worker.

    Attributes
    ----------
    arguments
        What follows ``xpcs-assets correlate``.
    report
        The JSON file that the worker leaves beside its result.
    time_limit_s
        After this long it is stopped.
    environment
        Variables to add.
    """

    arguments: tuple[str, ...]
    report: Path
    time_limit_s: float
    environment: Mapping[str, str] = field(default_factory=dict)


def run(job: WorkerJob, log: Callable[[str], None]) -> dict[str, Any]:
    """Run the worker, pass on what it says, and return its report, with ``reused``: whether the result was there.

    The worker is ended with this process's own end of interest (an error, an interrupt) but survives a kill -9 of
    it: it holds a lock on its output, so that a retried run waits for it and finds the result.

    Raises
    ------
    ComputeError
        It was killed, took too long or left no report.
    XpcsAssetsError
        It failed: the worker's own error.
    """
    command = [sys.executable, "-m", "xpcs_assets.correlate", *job.arguments, "--progress", "json"]
    with tempfile.TemporaryFile() as silent:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=silent,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, **job.environment},
        )
        follower = _Follower(process, log, str(job.report.with_suffix(".hdf")))
        try:
            code = follower.wait(job)
        finally:
            _end(process)
            follower.hear_out()
    if code != 0:
        raise follower.error or ComputeError(
            f"the worker {_how_it_ended(code)}",
            where=job.report.with_suffix(".hdf"),
            remedy="The run's log holds its last words",
        )
    try:
        content: dict[str, Any] = dict(json.loads(job.report.read_text(encoding="utf-8")).items())
    except (OSError, ValueError, AttributeError) as error:
        raise ComputeError(
            f"the worker ended well but left no report ({error})", where=job.report, remedy="Correlate it again"
        ) from error
    return {**content, "reused": follower.reused}


class _Follower:
    """Reads the worker's lines in a thread, so that a time limit holds even when it says nothing."""

    def __init__(self, process: subprocess.Popen[str], log: Callable[[str], None], where: str) -> None:
        self._where = where
        self.error: XpcsAssetsError | None = None
        self.reused = False
        self._process = process
        self._log = log
        self._thread = threading.Thread(target=self._read, args=(process.stderr,), daemon=True)
        self._thread.start()

    def wait(self, job: WorkerJob) -> int:
        started_s = time.monotonic()
        try:
            code = self._process.wait(timeout=job.time_limit_s)
        except subprocess.TimeoutExpired as error:
            raise ComputeError(
                f"the worker took longer than {job.time_limit_s:g} s and was stopped",
                where=job.report.with_suffix(".hdf"),
                remedy="Raise pipeline.correlate.time_limit in the beamline file, or take fewer frames",
            ) from error
        self.hear_out()
        self._log(f"worker ended with {code} after {time.monotonic() - started_s:.2f} s")
        return code

    def hear_out(self) -> None:
        """Hear the last words of a worker that has ended; a child it left behind may hold the line for ever."""
        self._thread.join(timeout=_GRACE_S)

    def _read(self, lines: IO[str] | None) -> None:
        if lines is None:
            return
        with lines:  # closed here alone: closing it under a reader waits for the reader
            self._pass_on(lines)

    def _pass_on(self, lines: IO[str]) -> None:
        for line in lines:
            text = line.rstrip()
            content = _json_object(text)
            if "error" in content:
                kind = named(str(content.get("kind"))) or ComputeError
                where = str(content.get("where", "")) or self._where
                remedy = str(content.get("remedy", ""))
                self.error = kind(str(content["error"]), where=where, remedy=remedy)
            elif text and "progress" not in content:
                self.reused = bool(content.get("reused", self.reused))
                self._log(text)


def _json_object(text: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        content = json.loads(text)
        if isinstance(content, dict):
            return content
    return {}


def _end(process: subprocess.Popen[str]) -> None:
    """Let no worker outlive an error here: ask, then kill."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _how_it_ended(code: int) -> str:
    if code == -9:
        return "was killed (signal 9): out of memory, or by hand"
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
