"""The access rules of collections, as Globus Transfer keeps them: one for each principal and path, and not too many."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from xpcs_assets.testing.globus_search_index import Refused

PATH = re.compile(r"/v0\.10/endpoint/(?P<uuid>[^/]+)/access(_list|/(?P<rule>[^/]+))?")
_KEYS = {"DATA_TYPE", "principal_type", "principal", "path", "permissions"}
_NAMELESS = {"all_authenticated_users", "anonymous"}


@dataclass
class AccessRules:
    """Rules by collection.

    Attributes
    ----------
    most
        How many a collection takes.
    forbidden
        Collections whose rules the account may not change.
    """

    most: int = 1000
    forbidden: set[str] = field(default_factory=set)
    _rules: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def of(self, uuid: str) -> list[dict[str, Any]]:
        """The rules of a collection, that of its manager's role among them."""
        role = {"id": None, "role_id": "r-1", "role_type": "administrator", "path": "/", "permissions": "rw"}
        manager = {"DATA_TYPE": "access", "principal_type": "identity", "principal": str(UUID(int=1)), **role}
        return [manager, *self._rules.get(uuid, [])]

    def told(self, uuid: str, path: str) -> set[tuple[str, str, str]]:
        """Kind, principal and permissions of the rules about a path."""
        names = ("principal_type", "principal", "permissions")
        found = [rule for rule in self._rules.get(uuid, []) if rule["path"] == path]
        return {(rule[names[0]], rule[names[1]], rule[names[2]]) for rule in found}

    def add(self, uuid: str, document: Any) -> dict[str, Any]:
        """Make a rule; refused where there is one for this principal and path."""
        self._refuse_forbidden(uuid)
        _check(document)
        rules = self._rules.setdefault(uuid, [])
        same = [rule for rule in rules if all(rule[key] == document[key] for key in ("principal", "path"))]
        if any(rule["principal_type"] == document["principal_type"] for rule in same):
            raise Refused(409, "Exists", "This principal already has permissions set on this path")
        if len(rules) >= self.most:
            raise Refused(409, "LimitExceeded", f"The endpoint has {self.most} access rules, and takes no more")
        rules.append({**document, "id": str(uuid4()), "role_id": None, "role_type": None})
        return {"DATA_TYPE": "access_create_result", "code": "Created", "access_id": rules[-1]["id"], "message": "made"}

    def delete(self, uuid: str, rule_id: str) -> dict[str, Any]:
        """Take a rule away; refused where there is none."""
        self._refuse_forbidden(uuid)
        rules = self._rules.get(uuid, [])
        kept = [rule for rule in rules if rule["id"] != rule_id]
        if len(kept) == len(rules):
            raise Refused(404, "AccessRuleNotFound", f"There is no access rule '{rule_id}'")
        self._rules[uuid] = kept
        return {"DATA_TYPE": "result", "code": "Deleted", "message": "deleted"}

    def _refuse_forbidden(self, uuid: str) -> None:
        if uuid in self.forbidden:
            raise Refused(403, "PermissionDenied", "You do not have the access manager role on this endpoint")


def _check(document: Any) -> None:
    kind, path = document.get("principal_type"), str(document.get("path"))
    wrong = [
        *(f"unknown field {name}" for name in sorted(set(document) - _KEYS)),
        *(["DATA_TYPE must be access"] if document.get("DATA_TYPE") != "access" else []),
        *(["the path must begin and end with '/'"] if not (path.startswith("/") and path.endswith("/")) else []),
        *(["permissions must be r or rw"] if document.get("permissions") not in {"r", "rw"} else []),
    ]
    if kind in _NAMELESS:
        wrong += ["the principal must be empty"] if document.get("principal") else []
    elif kind in {"group", "identity"}:
        try:
            UUID(str(document.get("principal")))
        except ValueError:
            wrong.append("the principal must be a uuid")
    else:
        wrong.append("unknown principal_type")
    if wrong:
        raise Refused(400, "BadRequest", "; ".join(wrong))
