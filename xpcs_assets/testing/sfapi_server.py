"""A stand-in for NERSC's Superfacility API and its log-in, on loopback.

The real sfapi_client talks to it: status, the account, jobs, tasks and small downloads, with the key's signature
looked at as the service does. Its jobs run on what it is given: a real Slurm, or processes. A test starts it, orders
faults and looks at what was asked::

    with SfapiServer(Processes()) as server:
        account = server.account(folder)
        server.faults.add("POST", "/compute/jobs", "reset after")  # taken, and no answer
        server.takes_twice = 1  # the next job is taken twice
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from xpcs_assets.compute.sfapi_service import Account
from xpcs_assets.testing.loopback import LoopbackServer
from xpcs_assets.testing.sfapi_scheduler import RefusedError, SfapiScheduler

CLIENT_ID = "abcdefghijklm"
MACHINE = "perlmutter"
TOO_LONG = 5_000_000
"""Bytes of a file that is not given."""
_API = "/api/v1.2/"
_JOBS = re.compile(rf"compute/jobs/{MACHINE}(?:/(\d+))?")
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class _AnswerError(Exception):
    def __init__(self, status: int, content: Mapping[str, Any]) -> None:
        self.status, self.content = status, content


class _Client:
    name = CLIENT_ID


@cache
def _key() -> Any:
    from joserfc.jwk import RSAKey

    return RSAKey.generate_key(2048, private=True)


class SfapiServer(LoopbackServer):
    """The service; ``url`` is that of the API's host and of its log-in.

    Parameters
    ----------
    scheduler
        What runs the jobs.

    Attributes
    ----------
    takes_twice
        So many of the next jobs are handed to the scheduler twice.
    task_s
        How long a task takes.
    tells
        What is said of the tasks to come in the place of the truth.
    status
        Of the machine: ``active``, ``degraded``, ``unavailable``.
    """

    def __init__(self, scheduler: SfapiScheduler) -> None:
        super().__init__()
        self.scheduler = scheduler
        self.takes_twice = 0
        self.task_s = 0.0
        self.tells: dict[str, Any] | None = None
        self.status = "active"
        self._tasks: list[tuple[float, dict[str, Any]]] = []
        self._used: set[str] = set()
        self._lock = threading.Lock()

    def account(self, folder: Path) -> Account:
        """A client of it, with its key in a file."""
        file = folder / "sfapi.pem"
        file.write_bytes(_key().as_pem(private=True))
        file.chmod(0o600)
        return Account(CLIENT_ID, str(file), f"{self.url}{_API.rstrip('/')}", f"{self.url}/token")

    def failure(self, status: int) -> Any:
        """What the service says with a status of failure that was ordered."""
        return {"detail": "it was ordered"}

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        """Status and content of the answer to a request."""
        url = urlsplit(target)
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        try:
            with self._lock:
                if url.path == "/token":
                    return 200, self._log_in(form)
                self._authenticate(headers)
                return 200, self._route(method, url.path.removeprefix(_API), parse_qs(url.query), form)
        except _AnswerError as answer:
            return answer.status, answer.content
        except RefusedError as refusal:
            return 200, {"status": "ERROR", "output": None, "error": str(refusal)}

    def _route(self, method: str, path: str, query: Mapping[str, list[str]], form: Mapping[str, str]) -> Any:
        if job := _JOBS.fullmatch(path):
            match method, job[1]:
                case "POST", None:
                    return self._submit(form)
                case "DELETE", job_id if job_id:
                    return self._task(lambda: self.scheduler.cancel(job_id))
                case "GET", None:
                    return self._jobs(query)
        head, _, rest = path.partition("/")
        match method, head:
            case "GET", "status" if rest == MACHINE:
                told = f"System is {self.status}"
                return {"name": MACHINE, "full_name": "Perlmutter", "status": self.status, "description": told}
            case "GET", "account":
                return {"name": self.scheduler.user, "userid": 1, "email": "x@example.org"}
            case "GET", "tasks" if rest.isdigit() and int(rest) <= len(self._tasks):
                done_s, task = self._tasks[int(rest) - 1]
                return task if time.monotonic() >= done_s else {"id": rest, "status": "new", "result": None}
            case "GET", "utilities" if rest.startswith(f"download/{MACHINE}/"):
                return _download(Path("/", unquote(rest.removeprefix(f"download/{MACHINE}/"))))
        raise _AnswerError(404, {"detail": "Not Found"})

    def _submit(self, form: Mapping[str, str]) -> Any:
        if form.get("isPath", "").lower() != "false":
            raise _AnswerError(422, {"detail": "only the text of a script is taken here"})
        if self.takes_twice:
            self.takes_twice -= 1
            self.scheduler.submit(form["job"])
        return self._task(lambda: {"jobid": self.scheduler.submit(form["job"])})

    def _jobs(self, query: Mapping[str, list[str]]) -> Any:
        options = dict(word.partition("=")[::2] for word in query.get("kwargs", ()))
        is_accounting = query.get("sacct", ["false"])[0].lower() == "true"
        rows = (self.scheduler.accounting if is_accounting else self.scheduler.queue)(options)
        return {"status": "OK", "output": rows, "error": None}

    def _task(self, work: Any) -> Any:
        """Do something at once, and have its task tell of it after a while."""
        try:
            result = {"status": "ok", "error": None, **(work() or {})}
        except RefusedError as refusal:
            result = {"status": "error", "error": str(refusal)}
        task_id = str(len(self._tasks) + 1)
        told = self.tells or {"status": "completed", "result": json.dumps(result)}
        self._tasks.append((time.monotonic() + self.task_s, {"id": task_id, **told}))
        return {"task_id": task_id, "status": "OK", "error": None}

    def _authenticate(self, headers: Mapping[str, str]) -> None:
        if self.tokens.user(headers.get("authorization", "")) != CLIENT_ID:
            raise _AnswerError(401, {"detail": "Could not validate credentials"})

    def _log_in(self, form: Mapping[str, str]) -> Any:
        """A token for who signs with the client's key, for this service, and not twice with the same words."""
        from joserfc import jwt
        from joserfc.errors import JoseError

        if (form.get("grant_type"), form.get("client_assertion_type")) != ("client_credentials", _ASSERTION):
            raise _AnswerError(400, {"error": "unsupported_grant_type"})
        try:
            claims = jwt.decode(form["client_assertion"], _key(), algorithms=["RS256"]).claims
        except (JoseError, ValueError):
            raise _AnswerError(401, {"error": "invalid_client"}) from None
        told = (claims.get("iss"), claims.get("sub"), claims.get("aud"))
        if told != (CLIENT_ID, CLIENT_ID, f"{self.url}/token") or claims["exp"] < time.time():
            raise _AnswerError(401, {"error": "invalid_client"})
        if claims["jti"] in self._used:
            raise _AnswerError(400, {"error": "invalid_request"})
        self._used.add(claims["jti"])
        return {"access_token": self.tokens.give(_Client(), 600), "token_type": "bearer", "expires_in": 600}


def _download(file: Path) -> Any:
    if not file.is_file():
        return {"status": "ERROR", "file": None, "error": f"cat: {file}: No such file or directory"}
    if file.stat().st_size > TOO_LONG:
        return {"status": "ERROR", "file": None, "error": "the file is too long"}
    content = base64.b64encode(file.read_bytes()).decode()
    return {"status": "OK", "file": content, "is_binary": True, "error": None}
