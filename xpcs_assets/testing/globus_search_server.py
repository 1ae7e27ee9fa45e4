"""A stand-in for Globus Search and for the token endpoint of Globus Auth, on loopback.

The real globus-sdk talks to it. It is stateful, and as strict as the documentation of both: see
``globus_search_index`` for entries and tasks, ``globus_search_types`` for types and limits. A test starts it, orders
faults and looks at what it holds::

    with GlobusSearchServer() as server:
        server.faults.add("POST", "/ingest$", "time-out after")  # stored, and no answer
        ...
        assert len(server.index.entries) == 1
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from xpcs_assets.testing import globus_auth
from xpcs_assets.testing.globus_search_index import Caller, Index, Refused
from xpcs_assets.testing.globus_search_types import REQUEST_BYTES
from xpcs_assets.testing.loopback import LoopbackServer

INDEX_ID = "60d1160b-f016-40b0-8545-99619865873d"
RESOURCE_SERVER = "search.api.globus.org"
SCOPE = f"urn:globus:auth:scope:{RESOURCE_SERVER}:"


def group(number: int) -> str:
    """The URN of a group.

    >>> group(1)
    'urn:globus:groups:id:00000000-0000-4000-8000-000000000001'
    """
    return f"urn:globus:groups:id:00000000-0000-4000-8000-{number:012d}"


OPERATORS, USERS, OTHERS = group(1), group(2), group(3)


@dataclass(frozen=True)
class Client:
    """A confidential client, or whoever a token is given to.

    Attributes
    ----------
    name
        Its id.
    secret
        To get tokens with.
    groups
        URNs of its groups.
    role
        On the index: empty, ``writer`` or ``admin``.
    """

    name: str
    secret: str = ""
    groups: tuple[str, ...] = ()
    role: str = ""

    @property
    def identity(self) -> str:
        """The URN of its identity."""
        return f"urn:globus:auth:identity:{self.name}"


WRITER = Client("aaaaaaaa-0000-4000-8000-00000000000a", "correct horse", (OPERATORS,), "writer")
ADMIN = Client("bbbbbbbb-0000-4000-8000-00000000000b", "battery staple", (), "admin")
USER = Client("cccccccc-0000-4000-8000-00000000000c", "pony", (USERS,))
STRANGER = Client("dddddddd-0000-4000-8000-00000000000d", "donkey")
CLIENTS = (WRITER, ADMIN, USER, STRANGER)


class GlobusSearchServer(LoopbackServer):
    """The server, with one index; ``url`` is that of Search and of Auth.

    Attributes
    ----------
    index
        What it holds, and what its tasks do.
    scopes
        What new tokens are good for.
    token_seconds
        How long new tokens of clients last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.index = Index(INDEX_ID)
        self.clients = {client.name: client for client in CLIENTS}
        self.scopes = frozenset({"all", "ingest", "search"})
        self.token_seconds = 172_800.0
        self._lock = threading.Lock()

    def token(self, client: Client = WRITER) -> str:
        """A token for a client."""
        return self.tokens.give(client, self.token_seconds)

    def failure(self, status: int) -> Any:
        """A GError with a status."""
        return _error(status, "Ordered.Failure", "it was ordered")

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        """Status and content of the answer to a request."""
        url = urlsplit(target)
        try:
            with self._lock:
                if url.path == globus_auth.TOKEN_PATH:
                    client = globus_auth.log_in(headers, {name: one.secret for name, one in self.clients.items()})
                    scopes = globus_auth.asked_scopes(body, lambda scope: scope.startswith(SCOPE))
                    told = (self.clients[client], self.token_seconds, scopes, RESOURCE_SERVER)
                    return 200, globus_auth.answer(self.tokens, *told)
                done = self._search(method, url.path, parse_qs(url.query), self._caller(headers), headers, body)
                return 200, json.loads(json.dumps(done))
        except Refused as refusal:
            return refusal.status, _error(refusal.status, refusal.code, refusal.message)

    def _search(
        self,
        method: str,
        path: str,
        query: Mapping[str, list[str]],
        caller: Caller,
        headers: Mapping[str, str],
        body: bytes,
    ) -> Any:
        root = f"/v1/index/{INDEX_ID}"
        match method, path.removeprefix(root) if path.startswith(root) else path:
            case "GET", "":
                return self.index.about()
            case "POST", "/ingest":
                return self.index.ingest(_parsed(headers, body), caller)
            case "POST", "/search":
                return self.index.search(_parsed(headers, body), caller)
            case "GET", "/subject":
                return self.index.subject(_one(query, "subject"), caller, bypass=_bypass(query))
            case "DELETE", "/subject":
                return self.index.delete_subject(_one(query, "subject"), caller)
            case "GET", "/entry":
                entry_id = query.get("entry_id", [None])[0]
                return self.index.entry(_one(query, "subject"), entry_id, caller, bypass=_bypass(query))
            case "GET", other if other == f"/v1/task_list/{INDEX_ID}":
                return self.index.task_list(caller)
            case "GET", other if other.startswith("/v1/task/"):
                return self.index.task(other.removeprefix("/v1/task/"), caller)
        raise Refused(404, "NotFoundGeneric.NotFound", f"cannot {method} {path}")

    def _caller(self, headers: Mapping[str, str]) -> Caller:
        header = headers.get("authorization", "")
        if not header:
            return Caller()
        client = self.clients.get(self.tokens.user(header))
        if client is None:
            raise Refused(401, "Unauthorized.Generic", "the token is not good")
        return Caller(client.name, frozenset({client.identity, *client.groups}), self.scopes, client.role)


def _parsed(headers: Mapping[str, str], body: bytes) -> Any:
    if len(body) > REQUEST_BYTES:
        raise Refused(413, "BadRequest.TooLarge", "the request is too large")
    try:
        if headers.get("content-type", "").split(";")[0] != "application/json":
            raise ValueError  # noqa: TRY301 - the same answer
        return json.loads(body, parse_constant=_no_json)
    except (ValueError, RecursionError):
        raise Refused(400, "BadRequest.Generic", "a JSON payload is needed") from None


def _no_json(word: str) -> Any:
    raise ValueError(word)


def _one(query: Mapping[str, list[str]], name: str) -> str:
    if len(query.get(name, ())) != 1:
        raise Refused(400, "BadRequest.Generic", f"{name} is needed")
    return query[name][0]


def _bypass(query: Mapping[str, list[str]]) -> bool:
    return query.get("bypass_visible_to", ["false"])[0].lower() == "true"


def _error(status: int, code: str, message: str) -> dict[str, Any]:
    return {"@datatype": "GError", "@version": "2017-09-01", "status": status, "code": code, "message": message}
