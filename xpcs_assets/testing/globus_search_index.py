"""The state of a Globus Search service with one index: entries, tasks in their order, and who may do what.

It does what the service's documentation says, and refuses what that does not name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from xpcs_assets.testing.globus_search_types import (
    ENTRIES_OF_A_SUBJECT,
    PRINCIPALS,
    SUBJECT_BYTES,
    Mapped,
    TaskFailure,
)

_PRINCIPAL = re.compile(r"public|all_authenticated_users|urn:globus:(groups:id|auth:identity):[0-9a-f-]{36}")
_ENTRY_KEYS = {"@datatype", "@version", "subject", "visible_to", "content", "id", "mimetype"}
_QUERY_KEYS = {"@datatype", "@version", "q", "limit", "offset", "filters", "advanced"}
_DESCRIPTIONS = {
    "PENDING": "Task is pending",
    "PROGRESS": "Task is in progress",
    "SUCCESS": "Task succeeded",
    "FAILED": "Task failed",
}


class Refused(Exception):  # noqa: N818 - it becomes an answer, not a failure of the server
    """A request that is answered with an error: status, code and message of a GError."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True)
class Caller:
    """Who asks, by the token.

    Attributes
    ----------
    principals
        URNs of the identity and its groups; none without a token.
    scopes
        Names of Search's scopes: ``all``, ``ingest``, ``search``.
    role
        On the index: empty, ``writer`` or ``admin``.
    """

    name: str = ""
    principals: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    role: str = ""

    def sees(self, visible_to: Sequence[str]) -> bool:
        """Whether an entry is for this caller."""
        everybody = {"public", *(["all_authenticated_users"] if self.name else [])}
        return bool((self.principals | everybody) & set(visible_to))


@dataclass
class Task:
    """A task; ``asked`` counts how often its state was asked for."""

    task_id: str
    kind: str
    work: Any
    state: str = "PENDING"
    message: str | None = None
    asked: int = 0


@dataclass
class Index:
    """One index.

    Attributes
    ----------
    index_id
        A UUID.
    entries
        ``visible_to`` and ``content`` by subject and id.
    polls
        How often a task is asked for until it is done.
    held
        Nothing is done while it is true.
    failures
        Messages: each of the next tasks fails with one.
    """

    index_id: str
    status: str = "open"
    entries: dict[tuple[str, str | None], dict[str, Any]] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)
    mapped: Mapped = field(default_factory=Mapped)
    polls: int = 2
    held: bool = False
    failures: list[str] = field(default_factory=list)

    def ingest(self, body: Any, caller: Caller) -> dict[str, Any]:
        """Queue what is to be written."""
        self._may_write(caller, "ingest")
        entries = [_entry(one) for one in _ingested(body)]
        task = self._queue("ingest", lambda: self._write(entries))
        told = {"@datatype": "GIngestResponse", "@version": "2017-09-01", "acknowledged": True, "success": True}
        return {**told, "task_id": task.task_id, "num_documents_ingested": len(entries)}

    def delete_subject(self, subject: str, caller: Caller) -> dict[str, Any]:
        """Queue the removal of all entries of a subject."""
        self._may_write(caller, "ingest")
        return {"task_id": self._queue("delete", lambda: self._remove(subject)).task_id}

    def subject(self, subject: str, caller: Caller, *, bypass: bool = False) -> dict[str, Any]:
        """The entries of a subject that the caller may see."""
        self._may_search(caller, bypass=bypass)
        found = self._visible(caller, bypass=bypass).get(subject)
        if not found:
            raise Refused(404, "NotFoundGeneric.NotFound", f"no subject {subject!r}")
        return _result(subject, found)

    def entry(self, subject: str, entry_id: str | None, caller: Caller, *, bypass: bool = False) -> dict[str, Any]:
        """One entry that the caller may see."""
        found = [one for one in self.subject(subject, caller, bypass=bypass)["entries"] if one["entry_id"] == entry_id]
        if not found:
            raise Refused(404, "NotFoundGeneric.NotFound", f"no entry {entry_id!r} of {subject!r}")
        return {**_result(subject, {}), "entries": found}

    def task(self, task_id: str, caller: Caller) -> dict[str, Any]:
        """A task, which goes on by being asked for."""
        self._may_write(caller, "ingest")
        task = next((one for one in self.tasks if one.task_id == task_id), None)
        if task is None:
            raise Refused(404, "NotFoundGeneric.NotFound", "no such task")
        task.asked += 1
        if not self.held:
            if task.state == "PENDING" and task.asked > 1:
                task.state = "PROGRESS"
            if task.asked > self.polls:
                self._run_until(task)
        return self._told(task)

    def task_list(self, caller: Caller) -> dict[str, Any]:
        """All tasks; for those who may write."""
        self._may_write(caller, "ingest")
        return {"index_id": self.index_id, "tasks": [self._told(task) for task in reversed(self.tasks)]}

    def about(self) -> dict[str, Any]:
        """What the index is."""
        numbers = {"num_entries": len(self.entries), "num_subjects": len({subject for subject, _ in self.entries})}
        told = {"@datatype": "GSearchIndex", "@version": "2017-09-01", "id": self.index_id, "status": self.status}
        return {**told, "display_name": "an index", "description": "", "is_trial": True, **numbers}

    def search(self, body: Any, caller: Caller) -> dict[str, Any]:
        """Subjects with an entry that holds every word of ``q`` and passes every filter."""
        self._may_search(caller)
        if not isinstance(body, dict) or set(body) - _QUERY_KEYS or not ({"q", "filters"} & set(body)):
            raise Refused(
                400, "BadRequest.ValidationError", "a GSearchRequest holds q or filters, and no unknown field"
            )
        found = {
            subject: entries
            for subject, entries in self._visible(caller).items()
            if any(_matches(body, one["content"]) for one in entries.values())
        }
        offset, limit = body.get("offset", 0), body.get("limit", 10)
        page = [_result(subject, entries) for subject, entries in list(found.items())[offset : offset + limit]]
        told = {"@datatype": "GSearchResult", "@version": "2017-09-01", "gmeta": page, "total": len(found)}
        return {**told, "count": len(page), "offset": offset, "has_next_page": offset + limit < len(found)}

    def settle(self) -> None:
        """Do what is queued, as the service does by itself."""
        for task in self.tasks:
            self._run(task)

    def _may_write(self, caller: Caller, scope: str) -> None:
        if not caller.name:
            raise Refused(401, "Unauthorized.Generic", "a token is needed")
        if caller.role not in {"writer", "admin"} or not caller.scopes & {"all", scope}:
            raise Refused(403, "Forbidden.Generic", "the role writer and the scope ingest are needed")
        if self.status != "open":
            raise Refused(409, "Conflict.IndexState", f"the index is {self.status}")

    def _may_search(self, caller: Caller, *, bypass: bool = False) -> None:
        if caller.name and not caller.scopes & {"all", "search"}:
            raise Refused(403, "Forbidden.Generic", "the scope search is needed")
        if bypass and caller.role != "admin":
            raise Refused(403, "Forbidden.Generic", "bypass_visible_to is for admins")

    def _visible(self, caller: Caller, *, bypass: bool = False) -> dict[str, dict[str | None, dict[str, Any]]]:
        found: dict[str, dict[str | None, dict[str, Any]]] = {}
        for (subject, entry_id), entry in self.entries.items():
            if bypass or caller.sees(entry["visible_to"]):
                found.setdefault(subject, {})[entry_id] = entry
        return found

    def _queue(self, kind: str, work: Any) -> Task:
        self.tasks.append(Task(str(uuid4()), kind, work))
        return self.tasks[-1]

    def _run_until(self, last: Task) -> None:
        for task in self.tasks[: self.tasks.index(last) + 1]:
            self._run(task)

    def _run(self, task: Task) -> None:
        if task.state in {"SUCCESS", "FAILED"}:
            return
        if self.failures:
            task.state, task.message = "FAILED", self.failures.pop(0)
            return
        try:
            task.work()
            task.state = "SUCCESS"
        except TaskFailure as failure:
            task.state, task.message = "FAILED", str(failure)

    def _write(self, entries: Sequence[dict[str, Any]]) -> None:
        for entry in entries:
            others = [key for key in self.entries if key[0] == entry["subject"] and key[1] != entry["id"]]
            if len(others) >= ENTRIES_OF_A_SUBJECT:
                raise TaskFailure(f"more than {ENTRIES_OF_A_SUBJECT} entries of one subject")
            self.mapped.take(entry["content"])
            held = {name: entry[name] for name in ("visible_to", "content")}
            self.entries[entry["subject"], entry["id"]] = json.loads(json.dumps(held))

    def _remove(self, subject: str) -> None:
        for key in [key for key in self.entries if key[0] == subject]:
            del self.entries[key]

    def _told(self, task: Task) -> dict[str, Any]:
        told = {"task_id": task.task_id, "index_id": self.index_id, "task_type": task.kind, "message": task.message}
        return {**told, "state": task.state, "state_description": _DESCRIPTIONS[task.state], "additional_details": None}


def _ingested(body: Any) -> list[Any]:
    if not isinstance(body, dict) or set(body) - {"@datatype", "@version", "ingest_type", "ingest_data"}:
        raise Refused(400, "BadRequest.ValidationError", "a GIngest holds ingest_type and ingest_data")
    data = body.get("ingest_data")
    if body.get("ingest_type") == "GMetaEntry":
        return [data]
    listed = data.get("gmeta") if isinstance(data, dict) and body.get("ingest_type") == "GMetaList" else None
    if not isinstance(listed, list) or not listed:
        raise Refused(400, "BadRequest.ValidationError", "ingest_type is GMetaEntry, or GMetaList with gmeta")
    return listed


def _entry(entry: Any) -> dict[str, Any]:
    wrong = _wrong_with(entry)
    if wrong:
        raise Refused(400, "BadRequest.ValidationError", wrong)
    return {"id": None, **entry}


def _wrong_with(entry: Any) -> str:
    """What is wrong with a GMetaEntry; empty for nothing."""
    if not isinstance(entry, dict) or set(entry) - _ENTRY_KEYS:
        return "a GMetaEntry holds subject, visible_to, content and id, and no unknown field"
    subject, visible_to = entry.get("subject"), entry.get("visible_to")
    if not isinstance(subject, str) or not 0 < len(subject.encode()) <= SUBJECT_BYTES:
        return f"subject must be a text of at most {SUBJECT_BYTES} bytes"
    if not isinstance(visible_to, list) or not 0 < len(visible_to) <= PRINCIPALS:
        return f"visible_to must name 1 to {PRINCIPALS} principals"
    if not all(isinstance(one, str) and _PRINCIPAL.fullmatch(one) for one in visible_to):
        return "visible_to must hold principal URNs or public"
    if not isinstance(entry.get("id", ""), str) and entry["id"] is not None:
        return "id must be a text or null"
    content = entry.get("content")
    return "" if isinstance(content, dict) and "@context" not in content else "content must be an object"


def _result(subject: str, entries: Mapping[str | None, Mapping[str, Any]]) -> dict[str, Any]:
    """A GMetaResult: who may see it is not in it."""
    told = [
        {"entry_id": entry_id, "content": entry["content"], "matched_principal_sets": []}
        for entry_id, entry in entries.items()
    ]
    return {"@datatype": "GMetaResult", "@version": "2019-08-27", "subject": subject, "entries": told}


def _matches(body: Mapping[str, Any], content: Any) -> bool:
    text = json.dumps(content, ensure_ascii=False).lower()
    words = body.get("q", "*").lower().split()
    return all(word == "*" or word in text for word in words) and all(
        _passes(one, content) for one in body.get("filters", ())
    )


def _passes(wanted: Mapping[str, Any], content: Any) -> bool:
    found = _at(content, wanted["field_name"].split("."))
    if wanted["type"] == "range":
        return any(
            (one["from"] == "*" or value >= one["from"]) and (one["to"] == "*" or value <= one["to"])
            for value in found
            for one in wanted["values"]
        )
    if wanted["type"] not in {"match_all", "match_any"}:
        raise Refused(400, "BadRequest.ValidationError", f"no filter {wanted['type']}")
    held = [value in found for value in wanted["values"]]
    return all(held) if wanted["type"] == "match_all" else any(held)


def _at(content: Any, path: Sequence[str]) -> list[Any]:
    """All values of a field."""
    if isinstance(content, list):
        return [value for item in content for value in _at(item, path)]
    if not path:
        return [] if content is None else [content]
    return _at(content[path[0]], path[1:]) if isinstance(content, dict) and path[0] in content else []
