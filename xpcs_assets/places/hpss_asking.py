"""Having a job of a batch system ask HPSS: one job a question, found again after any restart, believed by its report.

A request is kept in scratch, with the name of its job, before the job is handed over. Who asks again finds the job, or
its report; who finds a job that ended and left none asks anew the next time.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from xpcs_assets.compute.backend import Backend, Job, Phase, Resources, Seen
from xpcs_assets.errors import (
    ComputeError,
    ConflictingBytesError,
    CopyError,
    NotVerifiedError,
    UnderWayError,
    UnreachableError,
)
from xpcs_assets.places.hpss_scratch import OUT, REQUEST, Scratch
from xpcs_assets.runs.folders import MARKER

_LATER = "It is asked for again by itself; a command is repeated later"
_REPAIR = {"conflict": ConflictingBytesError, "differs": NotVerifiedError}
_POLL_EVERY_S = 5.0
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class Hands:
    """How jobs are made that reach HPSS.

    Attributes
    ----------
    backend
        Who runs them.
    python
        The Python there that has this package.
    folder
        Where they run and leave their output.
    seen
        What a path of this machine is called there; ValueError when it is not seen.
    hsi, htar
        The programs there.
    resources, environment
        What a job asks for, and variables for it.
    max_jobs
        So many of the place's jobs wait or run at once; what else is asked for waits for its turn.
    wait_s
        How long whoever asks waits for an answer; then the job goes on without.
    settle_s
        So long after a job's end its report may take to be seen here.
    """

    backend: Backend
    python: str
    folder: str
    seen: Callable[[str], str] = str
    hsi: str = "hsi"
    htar: str = "htar"
    resources: Resources = field(default_factory=Resources)
    environment: Mapping[str, str] = field(default_factory=dict)
    max_jobs: int = 15
    wait_s: float = 20.0
    settle_s: float = 60.0


@dataclass(frozen=True)
class Asking:
    """Questions to one root in HPSS.

    Attributes
    ----------
    name
        The place, for messages.
    root
        The folder in HPSS.
    scratch, hands
        Where requests are kept, and who does them.
    """

    name: str
    root: str
    scratch: Scratch
    hands: Hands

    def key(self, do: str, path: str, *facts: object) -> str:
        """What a request is kept under: what it does, and a digest of what it is about."""
        about = json.dumps([self.root, do, path, *facts])
        return f"{do}-{hashlib.sha256(about.encode()).hexdigest()[:20]}"

    def known(self, key: str) -> dict[str, Any] | None:
        """A fresh answer that is there already; None when there is none."""
        request = self.scratch.read(key)
        report = None if request is None else self.scratch.report(key, request)
        return report if report is not None and not report["failed"] and self.scratch.is_fresh(report) else None

    def is_asked(self, key: str) -> bool:
        """Whether a job does this or has done it lately; what was done too long ago is dropped."""
        with self.scratch.locked():
            request = self.scratch.read(key)
            report = None if request is None else self.scratch.report(key, request)
            if report is not None and not self.scratch.is_fresh(report):
                self.scratch.drop(key)
                return False
            return request is not None

    def refuse_too_many(self, path: str) -> None:
        """Raise UnderWayError while as many jobs wait or run as may be: before anything is written for another one."""
        backend = self.hands.backend
        ids = [request["job_id"] for _, request, report in self.scratch.answers() if report is None]
        if len(ids) < self.hands.max_jobs:
            return
        try:
            seen = backend.poll(job_id for job_id in ids if job_id).values()
        except UnreachableError as error:
            raise self._under_way(f"{backend.name} does not answer: {error.what}", path) from error
        going_on = sum(each.phase in {Phase.WAITING, Phase.RUNNING} for each in seen)
        if going_on >= self.hands.max_jobs:
            raise self._under_way(f"{going_on} HPSS jobs of {backend.name} are not done yet, as many as may be", path)

    def ask(
        self, key: str, do: str, path: str, facts: Mapping[str, Any] | None = None, *, wait: bool = True
    ) -> dict[str, Any]:
        """The report of a job that does this, and whatever else it left; ``facts`` are what else it must know.

        Raises
        ------
        UnderWayError
            Its job is not done yet, or the batch system does not answer.
        ConflictingBytesError, NotVerifiedError
            The name is taken; or what came back is not what was put there.
        CopyError
            HPSS could not be asked, the job left no report, or the batch system refuses it.
        """
        give_up_s = time.monotonic() + (self.hands.wait_s if wait else 0.0)
        polled_s = 0.0
        while True:
            with self.scratch.locked():
                request = self._begun(key, do, path, facts or {})
                report = self.scratch.report(key, request)
                if report is not None:
                    return self._believed(key, report, path)
                if not polled_s or time.monotonic() - polled_s > _POLL_EVERY_S:
                    self._refuse_ended(key, request)
                    polled_s = time.monotonic()
            if time.monotonic() >= give_up_s:
                raise self._under_way(
                    f"HPSS job {request['job_id']} of {self.hands.backend.name} is not done yet", path
                )
            time.sleep(_LOOK_EVERY_S)

    def forget(self, key: str) -> None:
        """Ask anew the next time."""
        with self.scratch.locked():
            self.scratch.drop(key)

    def unavailable(self, reason: str) -> CopyError:
        """The error of a place that cannot be asked."""
        remedy = "See whether HPSS is up and the root is the right one: `xpcs-assets place` shows what is expected"
        return CopyError(f"place {self.name!r} is unavailable: {reason}", where=self.root, remedy=remedy)

    def _begun(self, key: str, do: str, path: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """The request, its job handed over: now, or by who asked before."""
        request = self.scratch.read(key)
        if request is not None:
            report = self.scratch.report(key, request)
            if report is not None and not self.scratch.is_fresh(report):
                self.scratch.drop(key)
                request = None
        if request is None:
            if facts.get("sha256") == "":  # whoever asks has poured nothing, since there was an answer a moment ago
                raise self._under_way("its last answer has just become too old", path)
            self.refuse_too_many(path)
            self.scratch.sweep()
            attempt = secrets.token_hex(4)
            request = {
                "do": do,
                "path": path,
                "root": self.root,
                "hsi": self.hands.hsi,
                "htar": self.hands.htar,
                "marker": MARKER,
                "job": f"xpcs-hpss-{key}-{attempt}",
                "report": f"report-{attempt}.json",
                "data": f"data-{attempt}",
                "job_id": "",
                **facts,
            }
            self.scratch.write(key, request)
        if not request["job_id"]:
            request["job_id"] = self._handed_over(key, request)
            self.scratch.write(key, request)
        return request

    def _handed_over(self, key: str, request: Mapping[str, Any]) -> str:
        """The id of the request's job: of the one that was handed over before a crash, or of a new one."""
        backend = self.hands.backend
        file = str(self.scratch.of(key) / REQUEST)
        try:
            words = (self.hands.python, "-m", "xpcs_assets.places.hpss_job", self.hands.seen(file))
            job = Job(request["job"], words, self.hands.folder, dict(self.hands.environment), self.hands.resources)
            return backend.find(job.name) or backend.submit(job)
        except ValueError as error:
            raise CopyError(
                f"its scratch folder is not seen by the jobs of {backend.name}: {error}",
                where=self.scratch.folder,
                remedy="Choose one that both see, or say under the back end's seen_as how it is called there",
            ) from error
        except UnreachableError as error:
            raise self._under_way(f"{backend.name} does not answer: {error.what}", request["path"]) from error
        except ComputeError as error:
            self.scratch.drop_file(f"{key}/{REQUEST}")
            raise CopyError(error.what, where=error.where, remedy=error.remedy) from error

    def _refuse_ended(self, key: str, request: dict[str, Any]) -> None:
        """Raise when the request's job has ended, long enough ago for its report to be seen, and there is none."""
        backend, job_id = self.hands.backend, request["job_id"]
        try:
            seen = backend.poll([job_id])[job_id]
        except UnreachableError as error:
            raise self._under_way(f"{backend.name} does not answer: {error.what}", request["path"]) from error
        except ComputeError as error:
            raise CopyError(error.what, where=error.where, remedy=error.remedy) from error
        if seen.phase in {Phase.WAITING, Phase.RUNNING} or self.scratch.report(key, request) is not None:
            return
        ended_s = request.setdefault("ended_seen_s", self.scratch.now())
        if self.scratch.now() - ended_s < self.hands.settle_s:
            self.scratch.write(key, request)
            return
        self.scratch.drop_file(f"{key}/{REQUEST}")
        why = f"HPSS job {job_id} of {backend.name} ended without a report ({_told(seen)})"
        if seen.is_lost:
            raise self._under_way(f"{why}; another is asked for", request["path"])
        raise CopyError(
            why,
            where=self._where(request["path"]),
            remedy=f"Its output is in {self.hands.folder}/{request['job']}.out; its walltime is set at the place",
        )

    def _believed(self, key: str, report: dict[str, Any], path: str) -> dict[str, Any]:
        failed = report["failed"]
        if not failed:
            return report
        # That a name is taken stays true: who tries the next name asks for this one again.
        self.scratch.drop_file(f"{key}/{OUT if failed == 'conflict' else REQUEST}")
        where, why = self._where(report.get("path") or path), str(report["why"])
        if failed in _REPAIR:
            raise _REPAIR[failed](why, where=where, remedy="Both were kept: look which is right, then repeat")
        if failed == "unreachable":
            raise self.unavailable(why)
        raise CopyError(why, where=where, remedy="Repeat when that is mended")

    def _under_way(self, what: str, path: str) -> UnderWayError:
        return UnderWayError(what, where=self._where(path), remedy=_LATER)

    def _where(self, path: str) -> str:
        return f"{self.name}:{path}"


def _told(seen: Seen) -> str:
    code = "" if seen.code is None else f", exit code {seen.code}"
    return f"{seen.reason or seen.phase.value}{code}"
