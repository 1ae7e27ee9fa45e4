"""What the stand-ins of batch schedulers share: jobs that are processes of this machine, and what is known of them.

A stand-in is a folder of programs that are put on the path, and a folder of state that they share: ``jobs/<number>``
holds what a job was submitted with (``told``) and how it ended (``end``). It may be told to be down, or to lose its
answer to a submission that it takes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]  # the programs need this package alone: they start in a third of the time
DOWN, LOSES_ANSWERS = "down", "loses answers"
_RUNNER = """
import json, os, subprocess, sys
folder, output, walltime_s, script, cwd = sys.argv[1:]
said = {"code": None, "late": False}
try:
    with open(output, "wb") as log:
        job = subprocess.Popen(["/bin/sh", script], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=cwd)
    said["code"] = job.wait(timeout=float(walltime_s) or None)
except subprocess.TimeoutExpired:
    job.kill()
    said["late"] = True
except OSError:
    said["code"] = 1
with open(folder + "/part", "w") as end:
    json.dump(said, end)
os.replace(folder + "/part", folder + "/end")
"""


class Batch:
    """The state of a stand-in: jobs by their numbers.

    Parameters
    ----------
    folder
        Where it lies; the programs lie in ``bin`` of it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "bin"
        self._jobs = folder / "jobs"

    def install(self, module: str, programs: Sequence[str]) -> None:
        """Make the folders and the programs, each of which calls ``main`` of a module."""
        self._jobs.mkdir(parents=True)
        self.programs.mkdir()
        for program in programs:
            path = self.programs / program
            path.write_text(
                f"#!{sys.executable} -IS\nimport sys\nsys.path.insert(0, {str(_ROOT)!r})\nfrom {module} import main\n"
                f"sys.exit(main({str(self.folder)!r}, {program!r}, sys.argv[1:]))\n"
            )
            path.chmod(0o755)

    @contextmanager
    def faulty(self, fault: str) -> Iterator[None]:
        """Be ``down``, or take what is submitted and ``lose answers``, for a while."""
        (self.folder / "fault").write_text(fault)
        try:
            yield
        finally:
            (self.folder / "fault").unlink()

    @property
    def fault(self) -> str:
        """What it was told to be; empty: in order."""
        path = self.folder / "fault"
        return path.read_text() if path.exists() else ""

    def numbers(self) -> list[int]:
        """Of all jobs, the oldest first."""
        return sorted(int(path.name) for path in self._jobs.iterdir())

    def take(self, told: Mapping[str, Any], script: bytes, *, output: str, cwd: str, walltime_s: float) -> int:
        """Start a job; its number."""
        number = max(self.numbers(), default=0) + 1
        folder = self._jobs / str(number)
        folder.mkdir()
        (folder / "script").write_bytes(script)
        words = [str(folder), output, str(walltime_s), str(folder / "script"), cwd]
        runner = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _RUNNER, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        runner.returncode = 0  # nobody waits for it here: it outlives this program
        self.change(number, **told, group=runner.pid)
        return number

    def told(self, number: int) -> dict[str, Any]:
        """What is known of a job, and how it ended: ``code`` (negative for a signal) and ``late``."""
        folder = self._jobs / str(number)
        told: dict[str, Any] = json.loads((folder / "told").read_text())
        end = folder / "end"
        return told | (json.loads(end.read_text()) if end.exists() else {})

    def change(self, number: int, **told: Any) -> None:
        """Know other things of a job."""
        path = self._jobs / str(number) / "told"
        before = json.loads(path.read_text()) if path.exists() else {}
        path.with_suffix(".part").write_text(json.dumps(before | told))
        path.with_suffix(".part").replace(path)

    def kill(self, number: int) -> None:
        """End a job's processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.told(number)["group"], signal.SIGKILL)

    def forget(self, number: int) -> None:
        """Know nothing of a job any more."""
        shutil.rmtree(self._jobs / str(number))

    def close(self) -> None:
        """End every job that has not ended."""
        for number in self.numbers():
            if "code" not in self.told(number):
                self.kill(number)
