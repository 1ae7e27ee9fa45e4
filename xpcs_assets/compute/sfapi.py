"""Jobs at NERSC through its Superfacility API: Slurm's words, told to a service.

Only what an account for jobs may do is asked of it: jobs, their tasks, and the small file with a job's output.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from xpcs_assets.compute.backend import Job, Phase, Resources, Seen
from xpcs_assets.compute.scheduler import check, output_of, script
from xpcs_assets.compute.sfapi_service import Account, Session, session
from xpcs_assets.compute.slurm import SILENT, UNKNOWN_JOB, Record, options_of, seen_of
from xpcs_assets.errors import ComputeError, UnreachableError

_LOG_LETTERS = 20_000
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_NO_FILE = re.compile(r"No such file or directory")
_LIVE = (Phase.WAITING, Phase.RUNNING)


@dataclass(frozen=True)
class Sfapi:
    """The back end of one machine. For several threads: each call logs in anew, and reads the key anew.

    Attributes
    ----------
    name
        In the site's settings.
    account
        Who asks, and where.
    machine
        As the service calls it.
    defaults
        What a job gets that leaves something open.
    limit_s
        How long a call may take.
    poll_s
        How long to wait between two looks at a task of the service.
    queue_is
        What a job's queue is called: at NERSC its QOS.
    """

    name: str
    account: Account
    machine: str = "perlmutter"
    defaults: Resources = field(default_factory=Resources)
    limit_s: float = 25.0
    poll_s: float = 1.0
    queue_is: Literal["partition", "qos"] = "qos"

    def why_unavailable(self) -> str:
        """See :meth:`xpcs_assets.compute.backend.Backend.why_unavailable`."""
        try:
            with self._session() as service:
                service.get("account/")  # the status is for everybody, and says nothing of the key
                told = service.get(f"status/{self.machine}")
        except (ComputeError, UnreachableError) as error:
            return str(error)
        return str(told.get("description") or "unavailable") if told.get("status") == "unavailable" else ""

    def find(self, name: str) -> str | None:
        """See :meth:`xpcs_assets.compute.backend.Backend.find`; an older one of the name that lives yet is ended.

        One that has ended is found on the day of its submission: the service tells no more without its id.
        """
        with self._session() as service:
            return self._newest(service, name)

    def submit(self, job: Job) -> str:
        """See :meth:`xpcs_assets.compute.backend.Backend.submit`; of a job that was taken twice one is ended."""
        check(job, self._where)
        text = self._script(job)
        with self._session() as service:
            result = service.post(self._jobs, {"job": text, "isPath": "false"})
            if result["status"] != "ok":
                raise self._refused(f"it did not take job {job.name}", result)
            return self._only(service, job.name, str(result.get("jobid")))

    def poll(self, ids: Iterable[str]) -> dict[str, Seen]:
        """See :meth:`xpcs_assets.compute.backend.Backend.poll`; one request for all, and one for those that ended."""
        asked = list(dict.fromkeys(ids))
        if not asked:
            return {}
        with self._session() as service:
            return self._poll(service, asked)

    def cancel(self, job_id: str) -> None:
        """See :meth:`xpcs_assets.compute.backend.Backend.cancel`."""
        with self._session() as service:
            self._end(service, job_id)

    def logs(self, job_id: str, job: Job) -> str:
        """See :meth:`xpcs_assets.compute.backend.Backend.logs`."""
        path = quote(output_of(job).lstrip("/"))
        with self._session() as service:
            told = service.get(f"utilities/download/{self.machine}/{path}", binary=True)
        if str(told.get("status", "")).upper() == "ERROR":
            if _NO_FILE.search(str(told.get("error"))):
                return ""
            raise self._refused("it does not give the log", told)
        content = str(told.get("file") or "")
        text = base64.b64decode(content).decode(errors="replace") if told.get("is_binary") else content
        return text[-_LOG_LETTERS:]

    @property
    def _where(self) -> str:
        return f"{self.name} ({self.machine}, Superfacility API)"

    @property
    def _jobs(self) -> str:
        return f"compute/jobs/{self.machine}"

    def _session(self) -> AbstractContextManager[Session]:
        return session(self.account, self._where, self.limit_s, self.poll_s)

    def _script(self, job: Job) -> str:
        """A job as the service takes it: what sbatch is told stands in the script."""
        options = options_of(job, job.resources.over(self.defaults), self.queue_is)
        if any(map(_UNPRINTABLE.search, options)):
            raise ComputeError("a control character is in what sbatch is told", where=self._where)
        try:
            first, _, rest = script(job).decode().partition("\n")
        except UnicodeDecodeError as error:
            raise ComputeError(f"job {job.name} says what is no UTF-8", where=self._where) from error
        return "\n".join((first, *(f"#SBATCH {_quoted(option)}" for option in options), rest))

    def _newest(self, service: Session, name: str) -> str | None:
        """The newest job of a name; of several that live it ends the others."""
        user = str(service.get("account/").get("name", ""))
        found = {str(row.get("jobid")) for row in self._rows(service, user=user) if row.get("name") == name}
        live = sorted((one for one in found if one.isdigit()), key=int)
        for job_id in live[:-1]:
            self._end(service, job_id)
        if live:
            return live[-1]
        rows = self._rows(service, accounting=True, user=user)
        ended = [int(row["jobid"]) for row in rows if row.get("jobname") == name and str(row.get("jobid")).isdigit()]
        return str(max(ended)) if ended else None

    def _only(self, service: Session, name: str, job_id: str) -> str:
        """The newest job of a name of which one was just taken: whatever is said now, it is no refusal of that one."""
        if not job_id.isdigit():
            raise UnreachableError(f"no id was told for job {name}", where=self._where)
        try:
            newest = self._newest(service, name)
        except ComputeError as error:
            what = f"job {name} was taken, and is not shown: {error.what}"
            raise UnreachableError(what, where=self._where) from error
        return str(max(int(newest or 0), int(job_id)))

    def _end(self, service: Session, job_id: str) -> None:
        result = service.delete(f"{self._jobs}/{job_id}")
        if result["status"] != "ok" and self._poll(service, [job_id])[job_id].phase in _LIVE:
            raise self._refused(f"it did not end job {job_id}", result)

    def _poll(self, service: Session, ids: Sequence[str]) -> dict[str, Seen]:
        jobs = ",".join(ids)
        told = {job_id: Seen(Phase.FORGOTTEN) for job_id in ids}
        told |= _seen(ids, self._rows(service, jobid=jobs))
        over = [job_id for job_id in ids if told[job_id].phase not in _LIVE]
        if over:
            # Accounting may say of a moment more that what left the queue is running: it ended, and how is told later.
            told |= _seen(over, self._rows(service, accounting=True, jobid=",".join(over)))
        return told

    def _rows(self, service: Session, *, accounting: bool = False, **wanted: str) -> list[Mapping[str, Any]]:
        """Rows of squeue or sacct."""
        words = [f"{name}={value}" for name, value in wanted.items()]
        # The client's own reading of this answer passes over its status, and over states that it does not know.
        told = service.get(self._jobs, sacct=accounting, cached=False, kwargs=words)
        if str(told.get("status", "")).upper() == "ERROR":
            if UNKNOWN_JOB.search(str(told.get("error"))):
                return []
            raise self._refused("it told nothing of jobs", told)
        return list(told.get("output") or [])

    def _refused(self, what: str, told: Mapping[str, Any]) -> ComputeError | UnreachableError:
        said = " ".join(str(told.get("error") or "no reason").split())[:500]
        if SILENT.search(said):
            return UnreachableError(f"{what}: {said}", where=self._where, remedy="It is asked again")
        return ComputeError(f"{what}: {said}", where=self._where, remedy="Its own words say what to change")


def _seen(ids: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> dict[str, Seen]:
    """What rows say of jobs; those of other jobs, and of steps, are passed over."""
    wanted = set(ids)
    return {str(row["jobid"]): seen_of(_record(row)) for row in rows if str(row.get("jobid")) in wanted}


def _record(row: Mapping[str, Any]) -> Record:
    return Record(*(str(row.get(name) or "") for name in ("state", "exitcode", "uid", "reason")))


def _quoted(word: str) -> str:
    r"""A word in a line for sbatch.

    >>> print(_quoted('--chdir=/a "b"'))
    "--chdir=/a \"b\""
    """
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
