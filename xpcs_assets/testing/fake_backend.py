"""A back end in a folder: a job lives as a test says, or runs as a process of this machine when it is told to.

Its state is files alone, so that any process sees the same jobs, also after another was killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xpcs_assets.compute.backend import Job, Phase, Resources, Seen
from xpcs_assets.errors import ComputeError, UnreachableError


@dataclass
class FakeBackend:
    """A back end whose every answer a test decides.

    Attributes
    ----------
    folder
        Where its jobs are kept.
    name
        Its name in the site's settings.
    is_down
        No call is answered.
    is_down_at_submit
        A submission is not answered: ``lost`` (nothing was taken) or ``taken`` (the job is there all the same).
    takes_twice
        A job that is handed over is there twice.
    unavailable
        Why it takes no jobs.
    refuses
        Its word when it refuses a job.
    asked
        The calls it had, in order.
    before
        Is told of each call before it is answered.
    """

    folder: Path
    name: str = "cluster"
    is_down: bool = False
    is_down_at_submit: str = ""
    takes_twice: bool = False
    unavailable: str = ""
    refuses: str = ""
    asked: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda _: None

    def why_unavailable(self) -> str:
        """See :meth:`xpcs_assets.compute.backend.Backend.why_unavailable`."""
        self._asked("why_unavailable")
        return self.unavailable

    def find(self, name: str) -> str | None:
        """See :meth:`xpcs_assets.compute.backend.Backend.find`."""
        self._asked("find")
        ids = [job_id for job_id, content in self._all().items() if content["job"]["name"] == name]
        return max(ids, key=int) if ids else None

    def submit(self, job: Job) -> str:
        """See :meth:`xpcs_assets.compute.backend.Backend.submit`."""
        self._asked("submit")
        if self.refuses:
            raise ComputeError(self.refuses, where=self.name)
        if self.is_down_at_submit == "lost":
            raise UnreachableError("no answer", where=self.name)
        job_id = self._take(job)
        if self.takes_twice:
            job_id = self._take(job)
        if self.is_down_at_submit == "taken":
            raise UnreachableError("no answer", where=self.name)
        return job_id

    def poll(self, ids: Iterable[str]) -> dict[str, Seen]:
        """See :meth:`xpcs_assets.compute.backend.Backend.poll`."""
        self._asked("poll")
        known = self._all()
        return {
            job_id: self._seen(known[job_id]["seen"]) if job_id in known else Seen(Phase.FORGOTTEN) for job_id in ids
        }

    def cancel(self, job_id: str) -> None:
        """See :meth:`xpcs_assets.compute.backend.Backend.cancel`."""
        self._asked("cancel")
        content = self._all().get(job_id)
        if content is not None and content["seen"]["phase"] in (Phase.WAITING, Phase.RUNNING):
            self.say(job_id, Seen(Phase.ENDED, 0, "CANCELLED"))

    def logs(self, job_id: str, job: Job) -> str:
        """See :meth:`xpcs_assets.compute.backend.Backend.logs`."""
        self._asked("logs")
        file = self.folder / f"{job_id}.out"
        return file.read_text(errors="replace") if file.is_file() else ""

    # What a test says and asks.

    def jobs(self) -> dict[str, Job]:
        """Every job it ever had, by its id."""
        return {
            job_id: Job(
                **{
                    **content["job"],
                    "words": tuple(content["job"]["words"]),
                    "resources": Resources(
                        **{**content["job"]["resources"], "extra": tuple(content["job"]["resources"]["extra"])}
                    ),
                }
            )
            for job_id, content in self._all().items()
        }

    def say(self, job_id: str, seen: Seen, output: str = "") -> None:
        """Have a job be seen so, and have written this."""
        file = self.folder / f"{job_id}.json"
        content = json.loads(file.read_text())
        file.write_text(json.dumps(content | {"seen": asdict(seen)}))
        if output:
            (self.folder / f"{job_id}.out").write_text(output)

    def forget(self, job_id: str) -> None:
        """Have a job be known no more."""
        (self.folder / f"{job_id}.json").unlink()

    def run(self, job_id: str, *, limit_s: float = 120.0, kill: bool = False) -> int:
        """Run a job's words to their end, or kill them; its exit code."""
        job = self.jobs()[job_id]
        with (self.folder / f"{job_id}.out").open("wb") as output:
            process = subprocess.Popen(
                job.words,
                cwd=job.folder,
                env={**os.environ, **job.environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
            if kill:
                process.send_signal(signal.SIGKILL)
            code = process.wait(limit_s)
        self.say(job_id, Seen(Phase.ENDED, code))
        return code

    def _asked(self, call: str) -> None:
        self.before(call)
        self.asked.append(call)
        if self.is_down:
            raise UnreachableError("no answer", where=self.name)

    def _take(self, job: Job) -> str:
        job_id = str(1 + max(map(int, self._all()), default=0))
        content = {"job": asdict(job), "seen": asdict(Seen(Phase.WAITING, reason="PENDING (Priority)"))}
        (self.folder / f"{job_id}.json").write_text(json.dumps(content))
        return job_id

    def _all(self) -> dict[str, dict[str, Any]]:
        files: Sequence[Path] = sorted(self.folder.glob("*.json"))
        return {file.stem: json.loads(file.read_text()) for file in files}

    @staticmethod
    def _seen(content: dict[str, Any]) -> Seen:
        return Seen(**{**content, "phase": Phase(content["phase"])})
