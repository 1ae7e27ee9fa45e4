"""Jobs at a Globus Compute endpoint, one task each, through the service's own API.

A job's tasks are those of a group whose id is made of the job's name, so that it is found again. The service ends no
task: the function there does, when a second task has left the word. Neither xpcs-assets nor its SDK is needed by the
endpoint's workers; the command that they run names its own Python.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any
from uuid import UUID, uuid5

from xpcs_assets.compute.backend import Job, Phase, Resources, Seen
from xpcs_assets.compute.globus_compute_service import Service, connected
from xpcs_assets.compute.scheduler import check, output_of
from xpcs_assets.errors import ComputeError, UnreachableError
from xpcs_assets.globus_login import GlobusAccount

FUNCTION = "xpcs_assets_job"
JSON_DATA = "11\n"
"""What the service's plain JSON begins with."""
_NAMES = UUID("b2c2a4a6-7a0f-5e0c-9d6b-5f6a3c1d2e4f")
"""The namespace of our task groups."""
_RUNNING = {"running", "exec-start"}
_LOST = re.compile(r"\b(ManagerLost|WorkerLost|TaskLost)\b")
_KILLED = (-9, 137)
_functions: dict[GlobusAccount, str] = {}
"""Ids of our function as this process has registered it."""


@dataclass(frozen=True)
class GlobusCompute:
    """The back end of one endpoint. For several threads: each call connects anew, and reads the secret anew.

    Attributes
    ----------
    name
        In the site's settings.
    account
        Who asks, and where; of one try, since a submission that the SDK makes again would be a second task.
    endpoint
        Its id.
    folder
        A folder there in which the word to end a job is left.
    config
        What a multi-user endpoint makes its workers with (``user_endpoint_config``), as its template spells it.
    function
        The id of a function that is registered already, for endpoints that allow only some; empty: ours, registered by
        each process that submits.
    defaults
        What a job gets that leaves something open: its wall time; all else is the endpoint's own.
    """

    name: str
    account: GlobusAccount
    endpoint: str
    folder: str
    config: Mapping[str, Any] = field(default_factory=dict)
    function: str = ""
    defaults: Resources = field(default_factory=Resources)

    def why_unavailable(self) -> str:
        """See :meth:`xpcs_assets.compute.backend.Backend.why_unavailable`."""
        try:
            with self._connected() as service:
                status = service.endpoint_status(self.endpoint)
        except (ComputeError, UnreachableError) as error:
            return str(error)
        return "" if status == "online" else f"the endpoint is {status}"

    def find(self, name: str) -> str | None:
        """See :meth:`xpcs_assets.compute.backend.Backend.find`; known for as long as the service keeps its tasks."""
        with self._connected() as service:
            return self._find(service, name)

    def submit(self, job: Job) -> str:
        """See :meth:`xpcs_assets.compute.backend.Backend.submit`; a job of this name that is there is the answer."""
        check(job, self._where)
        walltime_s = job.resources.over(self.defaults).walltime_s
        told = {
            "stop": self._stop(job_group(job.name)),
            "words": list(job.words),
            "folder": job.folder,
            "output": output_of(job),
            "environment": dict(job.environment),
            "walltime_s": walltime_s or 365 * 86400.0,
        }
        with self._connected() as service:
            found = self._find(service, job.name)
            return found or self._submit(service, job_group(job.name), told)

    def poll(self, ids: Iterable[str]) -> dict[str, Seen]:
        """See :meth:`xpcs_assets.compute.backend.Backend.poll`; one request for all."""
        asked = list(dict.fromkeys(ids))
        if not asked:
            return {}
        with self._connected() as service:
            told = service.tasks([_task_of(job_id) for job_id in asked])
        return {job_id: _seen(told.get(_task_of(job_id))) for job_id in asked}

    def cancel(self, job_id: str) -> None:
        """Leave the word that a job is to end, by a task of its own: where no worker is free it ends no sooner."""
        if self.poll([job_id])[job_id].phase not in (Phase.WAITING, Phase.RUNNING):
            return
        group = job_id.partition("/")[0]
        with self._connected() as service:
            self._submit(service, str(uuid5(_NAMES, f"end {group}")), {"stop": self._stop(group), "end": True})

    def logs(self, job_id: str, job: Job) -> str:
        """See :meth:`xpcs_assets.compute.backend.Backend.logs`; known here once the job has ended."""
        with self._connected() as service:
            told = service.tasks([_task_of(job_id)]).get(_task_of(job_id)) or {}
        return str(_answer(told).get("log", "")) or str(told.get("exception") or "")

    @property
    def _where(self) -> str:
        return f"{self.name} (Globus Compute, endpoint {self.endpoint})"

    def _connected(self) -> AbstractContextManager[Service]:
        return connected(self.account, self._where)

    def _stop(self, group: str) -> str:
        return f"{self.folder.rstrip('/')}/{group}.end"

    def _find(self, service: Service, name: str) -> str | None:
        group = job_group(name)
        tasks = service.group(group)
        # Two are there when two processes submitted at one moment: all take the same one for the job.
        return f"{group}/{min(tasks)}" if tasks else None

    def _submit(self, service: Service, group: str, told: Mapping[str, Any]) -> str:
        function = self.function or self._registered(service)
        data: dict[str, Any] = {
            "tasks": {function: [payload_of(told)]},
            "task_group_id": group,
            "create_queue": False,
            "result_serializers": ["globus_compute_sdk.serialize.JSONData"],
        }
        if self.config:
            data["user_endpoint_config"] = dict(self.config)
        try:
            taken = service.submit(self.endpoint, data).get("tasks")
        except ComputeError:
            _functions.pop(self.account, None)  # it may be the function that is no longer known
            raise
        ids = taken.get(function) if isinstance(taken, dict) else None
        if not ids:
            raise UnreachableError("no id was told for the task", where=self._where)
        return f"{group}/{ids[0]}"

    def _registered(self, service: Service) -> str:
        """The id of our function, which each process registers once for an account."""
        if self.account not in _functions:
            _functions[self.account] = service.register(FUNCTION, source())
        return _functions[self.account]


def job_group(name: str) -> str:
    """The id of the group that a job's task is in."""
    return str(uuid5(_NAMES, name))


def payload_of(told: Mapping[str, Any]) -> str:
    """The arguments of a call as the service packs them: each in plain JSON, after its length."""
    parts: tuple[object, ...] = ([told], {})
    packed = [JSON_DATA + json.dumps(part) for part in parts]
    return "".join(f"{len(part)}\n{part}" for part in packed)


@cache
def source() -> str:
    """The text of the function that runs at an endpoint."""
    return files("xpcs_assets.compute").joinpath("globus_compute_task.py").read_text("utf-8")


def _task_of(job_id: str) -> str:
    return job_id.partition("/")[2]


def _seen(told: Mapping[str, Any] | None) -> Seen:
    """What the service says of a task."""
    if not told:
        return Seen(Phase.FORGOTTEN)
    status = str(told.get("status", "unknown")).lower()
    if status not in {"success", "failed"}:
        return Seen(Phase.RUNNING if status in _RUNNING else Phase.WAITING, reason=status)
    if status == "failed":
        said = str(told.get("exception") or told.get("reason") or "failed").strip()
        return Seen(Phase.ENDED, reason=said.splitlines()[-1][:500], is_lost=bool(_LOST.search(said)))
    answer = _answer(told)
    code, ended = answer.get("code"), str(answer.get("ended", ""))
    if code is not None and not isinstance(code, int):
        code = None
    return Seen(Phase.ENDED, code, ended or status, is_too_big=ended == "walltime" or code in _KILLED)


def _answer(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the function answered; nothing when an old endpoint answered in a form of its own."""
    text = str(told.get("result") or "")
    if not text.startswith(JSON_DATA):
        return {}
    try:
        answer = json.loads(text.removeprefix(JSON_DATA))
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
