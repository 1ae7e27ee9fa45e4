"""A stand-in for Globus Groups and its log-in, on loopback: groups of any name, and any number of one name.

::

    with GlobusGroupsServer() as server:
        server.faults.add("POST", "/v2/groups$", "reset after")  # made, and no answer
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from xpcs_assets.testing import globus_auth
from xpcs_assets.testing.globus_search_index import Refused
from xpcs_assets.testing.globus_search_server import Client
from xpcs_assets.testing.loopback import LoopbackServer

RESOURCE_SERVER = "groups.api.globus.org"
SCOPE = "urn:globus:auth:scope:groups.api.globus.org:all"
KEEPER = Client("eeeeeeee-0000-4000-8000-00000000000e", "correct horse")
_KEYS = {"name", "description", "group_type", "parent_id"}


class GlobusGroupsServer(LoopbackServer):
    """The server; ``url`` is that of Groups and of Auth.

    Attributes
    ----------
    groups
        Names by id.
    may_create
        Whether the account may make groups.
    """

    def __init__(self) -> None:
        super().__init__()
        self.groups: dict[str, str] = {}
        self.may_create = True
        self._lock = threading.Lock()

    def add(self, name: str) -> str:
        """Have a group of which the account is a member; its id."""
        uuid = str(uuid4())
        self.groups[uuid] = name
        return uuid

    def named(self, name: str) -> list[str]:
        """The ids of the groups of a name."""
        return [uuid for uuid, other in self.groups.items() if other == name]

    def failure(self, status: int) -> Any:
        """An error document with a status."""
        return _error(f"ORDERED_{status}", "it was ordered")

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        """Status and content of the answer to a request."""
        path = urlsplit(target).path
        try:
            with self._lock:
                if path == globus_auth.TOKEN_PATH:
                    return 200, self._log_in(headers, body)
                self._refuse_stranger(headers)
                return self._do(method, path, body)
        except Refused as refusal:
            return refusal.status, _error(refusal.code, refusal.message)

    def _refuse_stranger(self, headers: Mapping[str, str]) -> None:
        if self.tokens.user(headers.get("authorization", "")) != KEEPER.name:
            raise Refused(401, "UNAUTHORIZED", "the token is not active")

    def _log_in(self, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        globus_auth.log_in(headers, {KEEPER.name: KEEPER.secret})
        scopes = globus_auth.asked_scopes(body, lambda scope: scope == SCOPE)
        return globus_auth.answer(self.tokens, KEEPER, 172_800.0, scopes, RESOURCE_SERVER)

    def _do(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        match method, path:
            case "GET", "/v2/groups/my_groups":
                return 200, [_about(uuid, name) for uuid, name in self.groups.items()]
            case "POST", "/v2/groups":
                return 201, self._create(json.loads(body))
        raise Refused(404, "NOT_FOUND", f"cannot {method} {path}")

    def _create(self, document: dict[str, Any]) -> dict[str, Any]:
        if not self.may_create:
            raise Refused(403, "FORBIDDEN", "the caller may not make groups")
        if set(document) - _KEYS or not document.get("name") or len(document["name"]) > 200:
            raise Refused(422, "UNPROCESSABLE", "the document is no group")
        uuid = self.add(document["name"])
        return _about(uuid, document["name"])


def _about(uuid: str, name: str) -> dict[str, Any]:
    membership = {"group_id": uuid, "identity_id": KEEPER.name, "role": "admin", "status": "active"}
    return {"id": uuid, "name": name, "group_type": "regular", "my_memberships": [membership]}


def _error(code: str, detail: str) -> dict[str, Any]:
    return {"code": code, "detail": detail, "message": detail}
