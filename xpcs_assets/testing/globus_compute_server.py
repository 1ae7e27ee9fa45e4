"""A stand-in for Globus Compute with one endpoint, and for the token endpoint of Globus Auth, on loopback.

The real globus-sdk talks to it. Functions are kept as source and run as an endpoint's worker runs them: in a Python of
their own, with the arguments that the payload holds. A test starts it, orders faults and looks at what was asked::

    with GlobusComputeServer() as server:
        server.endpoint_status = "offline"  # tasks wait
        server.faults.add("POST", "/submit$", "reset after")  # taken, and no answer
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from xpcs_assets.globus_login import GlobusAccount
from xpcs_assets.secret import SecretReference
from xpcs_assets.testing import globus_auth
from xpcs_assets.testing.globus_search_index import Refused
from xpcs_assets.testing.globus_search_server import Client
from xpcs_assets.testing.loopback import LoopbackServer

ENDPOINT = "dddddddd-0000-4000-8000-00000000000d"
ASKER = Client("ffffffff-0000-4000-8000-00000000000f", "correct horse")
_SCOPE = re.compile(r"https://auth\.globus\.org/scopes/facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/all")
_RESOURCE_SERVER = "funcx_service"
_PATH = re.compile(r"/v[23]/(?P<kind>[a-z_]+)(?:/(?P<id>[^/]+))?(?:/(?P<part>[a-z]+))?")
_KNOWN = {"tasks", "task_group_id", "create_queue", "result_serializers", "user_endpoint_config", "user_runtime"}
_WORKER = """
import json, sys
told = json.load(sys.stdin)
space = {}
exec(told["source"], space)
args, kwargs = told["arguments"]
print("\\nanswer:" + json.dumps(space[told["name"]](*args, **kwargs)))
"""


@dataclass
class ComputeTask:
    """A task; ``process`` is its worker once it has one."""

    id: str
    group: str
    call: dict[str, Any]
    process: subprocess.Popen[str] | None = None
    said: dict[str, Any] = field(default_factory=dict)
    reader: threading.Thread | None = None


class GlobusComputeServer(LoopbackServer):
    """The service; ``url`` is that of Compute and of Auth.

    Attributes
    ----------
    endpoint_status
        ``online``, or what else it is: then tasks wait for it.
    tasks, functions
        What there is, by id.
    configs
        What each submission wanted the endpoint's workers to be made with.
    allowed
        The functions that the endpoint runs; empty: all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.endpoint_status = "online"
        self.tasks: dict[str, ComputeTask] = {}
        self.functions: dict[str, dict[str, Any]] = {}
        self.configs: list[Any] = []
        self.allowed: set[str] = set()
        self._lock = threading.Lock()

    def failure(self, status: int) -> Any:
        """An error document with a status."""
        return {"status": "Failed", "code": status, "error_args": [], "reason": "it was ordered"}

    def account(self, folder: Path) -> GlobusAccount:
        """A client of it, with its secret in a file."""
        file = folder / "globus-compute"
        file.write_text(ASKER.secret, encoding="utf-8")
        return GlobusAccount(
            ASKER.name, SecretReference(str(file)), url=self.url, auth_url=self.url, timeout_s=10.0, tries=1
        )

    def lose(self) -> None:
        """End the workers of all tasks, as when a node dies: the service says of each that it failed."""
        for task in self.tasks.values():
            if task.process is not None and not task.said:
                task.said = {"status": "failed", "exception": "Traceback:\nManagerLost: Task lost with its manager"}
                _kill(task.process.pid)

    def stop_all(self) -> None:
        """End what still runs, with what it has started."""
        for task in self.tasks.values():
            if task.process is not None and task.process.poll() is None:
                _kill(task.process.pid)
            if task.reader is not None:
                task.reader.join()

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        """Status and content of the answer to a request."""
        path = urlsplit(target).path
        try:
            with self._lock:
                if path == globus_auth.TOKEN_PATH:
                    return 200, self._log_in(headers, body)
                self._authenticate(headers)
                return 200, self._do(method, path, json.loads(body) if body else {})
        except Refused as refusal:
            return refusal.status, {"status": "Failed", "code": refusal.code, "reason": refusal.message}

    def _log_in(self, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        globus_auth.log_in(headers, {ASKER.name: ASKER.secret})
        scopes = globus_auth.asked_scopes(body, lambda scope: _SCOPE.fullmatch(scope) is not None)
        return globus_auth.answer(self.tokens, ASKER, 3600, scopes, _RESOURCE_SERVER)

    def _authenticate(self, headers: Mapping[str, str]) -> None:
        if self.tokens.user(headers.get("authorization", "")) != ASKER.name:
            raise Refused(401, "INVALID_AUTH", "Invalid credentials")

    def _do(self, method: str, path: str, told: Mapping[str, Any]) -> dict[str, Any]:
        found = _PATH.fullmatch(path)
        match method, found and (found["kind"], found["part"]):
            case "GET", ("endpoints", "status") if found and found["id"] == ENDPOINT:
                return {"status": self.endpoint_status, "details": {}}
            case "POST", ("functions", None):
                return self._register(told)
            case "POST", ("endpoints", "submit") if found and found["id"] == ENDPOINT:
                return self._submit(told)
            case "POST", ("batch_status", None):
                self._go_on()
                known = [self.tasks[one] for one in told["task_ids"] if one in self.tasks]
                return {"response": "batch", "results": {task.id: self._about(task) for task in known}}
            case "GET", ("taskgroup", None) if found:
                tasks = [{"id": task.id} for task in self.tasks.values() if task.group == found["id"]]
                if tasks:
                    return {"taskgroup_id": found["id"], "create_websockets_queue": False, "tasks": tasks}
        raise Refused(404, "RESOURCE_NOT_FOUND", f"there is nothing to {method} at {path}")

    def _register(self, told: Mapping[str, Any]) -> dict[str, Any]:
        if told.keys() - {"function_name", "function_code", "serialized", "meta", "description"} or told["serialized"]:
            raise Refused(400, "BAD_REQUEST", "only the source of a function is taken here")
        function = str(uuid4())
        self.functions[function] = dict(told)
        return {"function_uuid": function}

    def _submit(self, told: Mapping[str, Any]) -> dict[str, Any]:
        if told.keys() - _KNOWN or not told.get("tasks"):
            raise Refused(422, "SEMANTICALLY_INVALID", f"what is {sorted(told.keys() - _KNOWN)}?")
        group = str(UUID(told.get("task_group_id") or str(uuid4())))
        taken: dict[str, list[str]] = {}
        for function, payloads in told["tasks"].items():
            if function not in self.functions or (self.allowed and function not in self.allowed):
                raise Refused(403, "FUNCTION_NOT_PERMITTED", f"function {function} is not allowed at this endpoint")
            known = self.functions[function]
            for payload in payloads:
                call = {"source": known["function_code"], "name": known["function_name"]}
                task = ComputeTask(str(uuid4()), group, {**call, "arguments": _unpacked(payload)})
                self.tasks[task.id] = task
                taken.setdefault(function, []).append(task.id)
        self.configs.append(told.get("user_endpoint_config"))
        self._go_on()
        return {"request_id": str(uuid4()), "task_group_id": group, "endpoint_id": ENDPOINT, "tasks": taken}

    def _go_on(self) -> None:
        for task in self.tasks.values():
            if task.process is None and self.endpoint_status == "online":
                task.process = subprocess.Popen(
                    [sys.executable, "-I", "-c", _WORKER],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    start_new_session=True,
                )
                task.reader = threading.Thread(target=_work, args=(task,))
                task.reader.start()

    def _about(self, task: ComputeTask) -> dict[str, Any]:
        waits = {"status": "waiting-for-ep" if task.process is None else "running"}
        return {"task_id": task.id, "details": {}, **(task.said or waits)}


def _work(task: ComputeTask) -> None:
    """Let a worker do a task, and note what came of it."""
    if task.process is None:
        raise ValueError(task.id)
    out, _ = task.process.communicate(json.dumps(task.call))
    _, _, answer = out.rpartition("\nanswer:")
    if task.said:
        return
    if task.process.returncode == 0 and answer:
        task.said = {"status": "success", "result": f"11\n{answer.strip()}", "completion_t": "0"}
    else:
        task.said = {"status": "failed", "exception": out or "WorkerLost: the worker was killed"}


def _kill(pid: int) -> None:
    """End a process and what it has started, each in a session of its own as it may be."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    pids = children.read_text().split() if children.exists() else []
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    for child in pids:
        _kill(int(child))


def _unpacked(payload: str) -> list[Any]:
    """The arguments of a call: two parts, each after its length, in plain JSON."""
    parts: list[Any] = []
    while payload:
        length, _, rest = payload.partition("\n")
        part, payload = rest[: int(length)], rest[int(length) :]
        if not part.startswith("11\n"):
            raise Refused(422, "SEMANTICALLY_INVALID", "only plain JSON is read here")
        parts.append(json.loads(part.removeprefix("11\n")))
    return parts
