"""The state of a Globus Transfer service: collections that are folders of this machine, and tasks that move files.

It does what the service's documentation says, and what it was seen to do all the same: a task may be told to SUCCEED
with a file skipped, lost or changed. Nothing happens by itself: a task goes on when it is submitted or advanced.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

from xpcs_assets.testing.globus_search_index import Refused

TRANSFER_SCOPE = "urn:globus:auth:scope:transfer.api.globus.org:all"
TROUBLES = (
    *("fails", "is over quota", "is paused", "loses its credentials", "is denied"),
    *("skips a file", "loses a file", "flips a byte"),  # and says SUCCEEDED
)
_ITEM_KEYS = {"DATA_TYPE", "source_path", "destination_path", "recursive", "external_checksum", "checksum_algorithm"}
_KEYS = {
    *("DATA_TYPE", "DATA", "source_endpoint", "destination_endpoint", "label", "submission_id", "deadline"),
    *("verify_checksum", "preserve_timestamp", "encrypt_data", "skip_source_errors", "fail_on_quota_errors"),
    *("delete_destination_extra", "notify_on_succeeded", "notify_on_failed", "notify_on_inactive", "sync_level"),
}


class ConsentRequired(Refused):
    """A refusal that names the scope that lacks."""

    def __init__(self, scope: str) -> None:
        super().__init__(403, "ConsentRequired", "Missing required data_access consent")
        self.scope = scope


@dataclass
class Collection:
    """A collection: the paths below ``root`` are those of a folder.

    Attributes
    ----------
    wants_consent
        Whether it is a mapped one, for which data_access is to be consented to.
    """

    uuid: str
    root: PurePosixPath
    folder: Path
    wants_consent: bool = False

    @property
    def scope(self) -> str:
        """What is to be consented to."""
        return f"https://auth.globus.org/scopes/{self.uuid}/data_access"

    def locate(self, path: str) -> Path:
        """The file of this machine behind a path; ValueError when it is none of this collection."""
        return self.folder / PurePosixPath(path).relative_to(self.root)


@dataclass
class Task:
    """A task, and how far it is."""

    task_id: str
    owner: str
    document: dict[str, Any]
    trouble: str = ""
    status: str = "ACTIVE"
    nice_status: str = "Queued"
    is_paused: bool = False
    done: int = 0
    bytes_transferred: int = 0
    files_skipped: int = 0
    fatal_error: dict[str, str] | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    moved: list[dict[str, Any]] = field(default_factory=list)

    def about(self) -> dict[str, Any]:
        """The task's document."""
        ended = self.status in {"SUCCEEDED", "FAILED"}
        total = 2 * len(self.document["DATA"])
        return {
            "DATA_TYPE": "task",
            **{name: self.document.get(name) for name in ("label", "deadline", "sync_level", "verify_checksum")},
            **{name: getattr(self, name) for name in ("task_id", "status", "is_paused", "fatal_error")},
            **{name: getattr(self, name) for name in ("bytes_transferred", "files_skipped")},
            "type": "TRANSFER",
            "owner_id": self.owner,
            "source_endpoint_id": self.document["source_endpoint"],
            "destination_endpoint_id": self.document["destination_endpoint"],
            "nice_status": None if ended else self.nice_status,
            "nice_status_short_description": None if ended else self.nice_status.replace("_", " ").capitalize(),
            "is_ok": None if ended else self.nice_status in {"OK", "Queued"},
            "faults": sum(event["is_error"] for event in self.events),
            "files": len(self.document["DATA"]),
            "files_transferred": len(self.moved),
            "subtasks_total": total,
            "subtasks_failed": total - 2 * self.done if self.status == "FAILED" else 0,
            "subtasks_skipped_errors": len(self.skipped),
            "history_deleted": False,
            "canceled_by_admin_message": None,
        }

    def note(self, code: str, details: str = "", *, is_error: bool = False) -> None:
        """Add an event; the newest comes first."""
        event = {"DATA_TYPE": "event", "code": code, "description": code.lower(), "details": details}
        self.events.insert(0, {**event, "is_error": is_error, "time": datetime.now(UTC).isoformat()})

    def stop(self, code: str, description: str) -> None:
        """End it as FAILED."""
        self.status, self.fatal_error = "FAILED", {"code": code, "description": description}
        self.note(code, description, is_error=code != "CANCELED")


class TransferService:
    """Collections and tasks.

    Attributes
    ----------
    by_hand
        Whether tasks wait for :meth:`advance`; else they are done when they are submitted.
    troubles
        What happens to each of the next tasks, of :data:`TROUBLES` or empty.
    tasks
        By id, in their order.
    """

    def __init__(self) -> None:
        self.collections: dict[str, Collection] = {}
        self.by_hand = False
        self.troubles: list[str] = []
        self.tasks: dict[str, Task] = {}
        self._submissions: dict[str, str] = {}

    def share(self, folder: Path, root: str = "/", *, wants_consent: bool = False) -> str:
        """Make a folder a collection, which calls it ``root``; its id."""
        made = Collection(str(uuid4()), PurePosixPath(root), folder, wants_consent)
        self.collections[made.uuid] = made
        return made.uuid

    def collection(self, uuid: str, consents: set[str]) -> Collection:
        """A collection that the caller has consented to reach."""
        if uuid not in self.collections:
            raise Refused(404, "EndpointNotFound", f"No such endpoint '{uuid}'")
        found = self.collections[uuid]
        if found.wants_consent and found.scope not in consents:
            raise ConsentRequired(f"{TRANSFER_SCOPE}[*{found.scope}]")
        return found

    def new_submission(self) -> str:
        """An id to submit with."""
        submission = str(uuid4())
        self._submissions[submission] = ""
        return submission

    def submit(self, document: Any, owner: str, consents: set[str]) -> tuple[str, str]:
        """The code of the answer, and the id of the task, which is the same for the same submission."""
        submission = document.get("submission_id") if isinstance(document, dict) else None
        if submission not in self._submissions:
            raise _bad("a submission_id of this service is needed")
        if known := self._submissions[submission]:
            return "Duplicate", known
        _check(document)
        for end in ("source_endpoint", "destination_endpoint"):
            self.collection(document[end], consents)
        task = Task(str(uuid4()), owner, document, self.troubles.pop(0) if self.troubles else "")
        self.tasks[task.task_id] = task
        self._submissions[submission] = task.task_id
        if not self.by_hand:
            self.advance(task.task_id)
        return "Accepted", task.task_id

    def task(self, task_id: str, owner: str) -> Task:
        """A task of this owner."""
        if task_id not in self.tasks or self.tasks[task_id].owner != owner:
            raise Refused(404, "TaskNotFound", f"No task with id '{task_id}'")
        return self.tasks[task_id]

    def cancel(self, task: Task) -> str:
        """End a task; the code of the answer."""
        if task.status in {"SUCCEEDED", "FAILED"}:
            raise Refused(409, "TaskComplete", "the task completed before the cancel request could be processed")
        task.stop("CANCELED", "canceled by the user")
        return "Canceled"

    def advance(self, task_id: str, files: int = 10**9) -> None:
        """Let a task move some files, as far as its trouble lets it."""
        task = self.tasks[task_id]
        for _ in range(files):
            if task.status != "ACTIVE" or task.is_paused:
                return
            task.nice_status = "OK"
            if self._held_up(task):
                return
            self._move(task, task.document["DATA"][task.done])
            if task.nice_status != "OK":
                return
            if task.status == "ACTIVE" and task.done == len(task.document["DATA"]):
                task.status = "SUCCEEDED"
                task.note("SUCCEEDED")

    def resume(self, task_id: str) -> None:
        """What a person had to do was done: the task goes on."""
        task = self.tasks[task_id]
        task.trouble, task.status, task.is_paused = "", "ACTIVE", False
        if not self.by_hand:
            self.advance(task_id)

    def _held_up(self, task: Task) -> bool:
        """Whether its trouble comes now."""
        match task.trouble:
            case "fails" if task.done or len(task.document["DATA"]) == 1:
                task.stop("ENDPOINT_ERROR", "the endpoint gave up")
            case "is over quota" if task.document["fail_on_quota_errors"]:
                task.stop("QUOTA_EXCEEDED", "the target's quota is exceeded")
            case "is paused":
                task.is_paused = True
                task.note("PAUSED")
            case "loses its credentials":
                task.status = "INACTIVE"
            case "is denied":
                _fault(task, "PERMISSION_DENIED", "Path not allowed.")
            case _:
                return False
        return True

    def _move(self, task: Task, item: dict[str, Any]) -> None:
        ends = [self.collections[task.document[end]] for end in ("source_endpoint", "destination_endpoint")]
        try:
            source, target = (end.locate(item[key]) for end, key in zip(ends, _PATHS, strict=True))
            content = source.read_bytes()
        except (OSError, ValueError):
            _fault(task, "FILE_NOT_FOUND", f"No such file {item['source_path']}")
            return
        if task.trouble == "skips a file":
            task.skipped.append({"source_path": item["source_path"], "error_code": "PERMISSION_DENIED"})
        elif not _as_promised(content, item):
            task.stop("EXTERNAL_CHECKSUM_MISMATCH", f"the checksum of {item['source_path']} is another")
            return
        elif target.is_file() and target.read_bytes() == content:
            task.files_skipped += 1
        else:
            if task.trouble != "loses a file":
                _write(
                    source, target, flip=task.trouble == "flips a byte", keep_times=task.document["preserve_timestamp"]
                )
            task.bytes_transferred += len(content)
            task.moved.append({"DATA_TYPE": "successful_transfer", **{key: item[key] for key in _PATHS}})
        task.trouble = "" if task.trouble in TROUBLES[5:] else task.trouble
        task.done += 1


_PATHS = ("source_path", "destination_path")


def _write(source: Path, target: Path, *, flip: bool, keep_times: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    if flip:
        content = bytearray(target.read_bytes())
        content[len(content) // 2] ^= 1
        target.write_bytes(content)
    if keep_times:
        told = source.stat()
        os.utime(target, (int(told.st_atime), int(told.st_mtime)))  # the service keeps whole seconds


def _as_promised(content: bytes, item: dict[str, Any]) -> bool:
    promised = item.get("external_checksum")
    algorithm = item.get("checksum_algorithm") or "MD5"
    return not promised or hashlib.new(algorithm.lower(), content, usedforsecurity=False).hexdigest() == promised


def _fault(task: Task, code: str, details: str) -> None:
    """An error that the service tries again, until the deadline."""
    task.nice_status = code
    task.note(code, details, is_error=True)


def _bad(message: str) -> Refused:
    return Refused(400, "ClientError.BadRequest", message)


def _check(document: dict[str, Any]) -> None:
    """Refuse a document that the service would not take."""
    label = document.get("label", "")
    items = document.get("DATA") or []
    wrong = [
        *(f"unknown field {name}" for name in sorted(set(document) - _KEYS)),
        *(["DATA_TYPE must be transfer"] if document.get("DATA_TYPE") != "transfer" else []),
        *(["A transfer requires at least one item"] if not items else []),
        *(
            ["the label is too long, or of several lines"]
            if len(label) > 128 or label != " ".join(label.split())
            else []
        ),
        *(["the sync_level is unknown"] if document.get("sync_level") not in {None, 0, 1, 2, 3} else []),
    ]
    for item in items:
        wrong += [f"unknown field {name} of an item" for name in sorted(set(item) - _ITEM_KEYS)]
        wrong += [f"{key} must be absolute" for key in _PATHS if not str(item.get(key, "")).startswith("/")]
    if datetime.fromisoformat(document["deadline"]) < datetime.now(UTC):
        wrong.append("the deadline has passed")
    if wrong:
        raise _bad("; ".join(wrong))
