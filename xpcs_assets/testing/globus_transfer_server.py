"""A stand-in for Globus Transfer and for the token endpoint of Globus Auth, on loopback.

The real globus-sdk talks to it, and files really move between the folders that it is told to share::

    with GlobusTransferServer() as server:
        source, target = server.service.share(tmp_path / "source"), server.service.share(tmp_path / "target")
        server.service.troubles = ["flips a byte"]  # of the next task, which says SUCCEEDED
        server.faults.add("POST", "/transfer$", "reset after")  # taken, and no answer

See ``globus_transfer_tasks`` for what else may happen to a task, and how it goes on.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from xpcs_assets.testing import globus_auth
from xpcs_assets.testing.globus_search_index import Refused
from xpcs_assets.testing.globus_search_server import Client
from xpcs_assets.testing.globus_transfer_access import PATH as _ACCESS
from xpcs_assets.testing.globus_transfer_access import AccessRules
from xpcs_assets.testing.globus_transfer_tasks import TRANSFER_SCOPE, ConsentRequired, Task, TransferService
from xpcs_assets.testing.loopback import LoopbackServer

RESOURCE_SERVER = "transfer.api.globus.org"
MOVER = Client("eeeeeeee-0000-4000-8000-00000000000e", "correct horse")
_SCOPE = re.compile(re.escape(TRANSFER_SCOPE) + r"(\[\*?(?P<consent>[^\[\]]+)\])?")
_TASK = re.compile(r"/v0\.10/task/(?P<task>[^/]+)(?P<part>/[a-z_]+)?")
_LS = re.compile(r"/v0\.10/operation/endpoint/(?P<uuid>[^/]+)/ls")


class GlobusTransferServer(LoopbackServer):
    """The server; ``url`` is that of Transfer and of Auth.

    Attributes
    ----------
    service
        Its collections and tasks.
    rules
        Who may read folders of its collections.
    clients
        Who may log in, by name.
    consents
        What each client has consented to; it does so by asking for a token with the scope.
    consents_refused
        Whether no consent is given.
    token_seconds
        How long new tokens of clients last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.service = TransferService()
        self.rules = AccessRules()
        self.clients = {MOVER.name: MOVER}
        self.consents: dict[str, set[str]] = {}
        self.consents_refused = False
        self.token_seconds = 172_800.0
        self._lock = threading.Lock()

    def token(self, client: Client = MOVER) -> str:
        """A token for a client."""
        return self.tokens.give(client, self.token_seconds)

    def failure(self, status: int) -> Any:
        """An error document with a status."""
        return _error(f"Ordered.{status}", "it was ordered")

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        """Status and content of the answer to a request."""
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        try:
            with self._lock:
                if url.path == globus_auth.TOKEN_PATH:
                    return 200, self._log_in(headers, body)
                return 200, self._do(method, url.path, query, self._caller(headers), body)
        except ConsentRequired as refusal:
            return refusal.status, {**_error(refusal.code, refusal.message), "required_scopes": [refusal.scope]}
        except Refused as refusal:
            return refusal.status, _error(refusal.code, refusal.message)

    def _log_in(self, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        client = globus_auth.log_in(headers, {name: one.secret for name, one in self.clients.items()})
        scopes = globus_auth.asked_scopes(body, self._gives)
        asked = (match["consent"] for scope in scopes if (match := _SCOPE.fullmatch(scope)))
        self.consents.setdefault(client, set()).update(consent for consent in asked if consent)
        told = (self.clients[client], self.token_seconds, scopes, RESOURCE_SERVER)
        return globus_auth.answer(self.tokens, *told)

    def _gives(self, scope: str) -> bool:
        match = _SCOPE.fullmatch(scope)
        return match is not None and not (match["consent"] and self.consents_refused)

    def _caller(self, headers: Mapping[str, str]) -> str:
        name = self.tokens.user(headers.get("authorization", ""))
        if name not in self.clients:
            raise Refused(401, "AuthenticationFailed", "Token is not active")
        return name

    def _do(self, method: str, path: str, query: Mapping[str, str], caller: str, body: bytes) -> dict[str, Any]:
        consents = self.consents.get(caller, set())
        match method, path:
            case "GET", "/v0.10/submission_id":
                return {"DATA_TYPE": "submission_id", "value": self.service.new_submission()}
            case "POST", "/v0.10/transfer":
                code, task_id = self.service.submit(json.loads(body), caller, consents)
                return {**_result("transfer_result", code), "task_id": task_id}
            case "GET", "/v0.10/task_list":
                return _list("task_list", [task.about() for task in self._tasks(caller, query.get("filter", ""))])
        if method == "GET" and (match := _LS.fullmatch(path)):
            return self._ls(match["uuid"], query.get("path", "/"), consents)
        if match := _TASK.fullmatch(path):
            return self._of_task(method, match["part"] or "", self.service.task(match["task"], caller), query)
        if match := _ACCESS.fullmatch(path):
            return self._of_access(method, match["uuid"], match["rule"] or "", consents, body)
        raise Refused(404, "ClientError.NotFound", f"cannot {method} {path}")

    def _of_access(self, method: str, uuid: str, rule: str, consents: set[str], body: bytes) -> dict[str, Any]:
        if self.service.collection(uuid, consents).wants_consent:
            raise Refused(409, "NotSupported", "access rules are for guest collections")
        match method, rule:
            case "GET", "":
                return _list("access_list", self.rules.of(uuid))
            case "POST", "":
                return self.rules.add(uuid, json.loads(body))
            case "DELETE", _:
                return self.rules.delete(uuid, rule)
        raise Refused(404, "ClientError.NotFound", f"cannot {method} an access rule")

    def _of_task(self, method: str, part: str, task: Task, query: Mapping[str, str]) -> dict[str, Any]:
        match method, part:
            case "GET", "":
                return task.about()
            case "GET", "/event_list":
                errors = query.get("filter") == "is_error:1"
                events = [event for event in task.events if event["is_error"] or not errors]
                return _list("event_list", events[: int(query.get("limit", 1000))])
            case "GET", "/pause_info":
                message = "storage is mended until noon"
                rules = [{"DATA_TYPE": "pause_rule_limited", "message": message}] if task.is_paused else []
                return {"DATA_TYPE": "pause_info_limited", "pause_rules": rules, "source_pause_message": None}
            case "GET", "/successful_transfers":
                return _list("successful_transfers", task.moved)
            case "GET", "/skipped_errors":
                return _list("skipped_errors", task.skipped)
            case "POST", "/cancel":
                return _result("result", self.service.cancel(task))
        raise Refused(404, "ClientError.NotFound", f"cannot {method} {part} of a task")

    def _tasks(self, caller: str, filters: str) -> list[Task]:
        """Tasks of a caller, the newest first; filters are ``key:value,value`` with ``/`` between."""
        wanted = {
            key: values.split(",") for key, _, values in (one.partition(":") for one in filters.split("/")) if key
        }
        return [
            task
            for task in reversed(self.service.tasks.values())
            if task.owner == caller and all(str(task.about().get(key)) in values for key, values in wanted.items())
        ]

    def _ls(self, uuid: str, path: str, consents: set[str]) -> dict[str, Any]:
        try:
            names = sorted(self.service.collection(uuid, consents).locate(path).iterdir())
        except (OSError, ValueError):
            raise Refused(404, "ClientError.NotFound", f"Directory '{path}' not found") from None
        told = [{"DATA_TYPE": "file", "name": one.name, "type": "dir" if one.is_dir() else "file"} for one in names]
        return {**_list("file_list", told), "path": path}


def _list(kind: str, data: list[dict[str, Any]]) -> dict[str, Any]:
    return {"DATA_TYPE": kind, "DATA": data, "length": len(data), "limit": 1000, "offset": 0, "total": len(data)}


def _result(kind: str, code: str) -> dict[str, Any]:
    return {"DATA_TYPE": kind, "code": code, "message": code.lower(), "request_id": "fake"}


def _error(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message, "request_id": "fake", "resource": "/"}
