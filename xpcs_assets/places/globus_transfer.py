"""Files moved between two Globus collections by Globus Transfer.

What the service says of a task is put in words, and believed for nothing else: SUCCEEDED can come with a file skipped
or a byte wrong, so that whoever asked reads and hashes what arrived. The SDK's ``task_wait`` is not used: it says True
of a task that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from xpcs_assets.errors import CopyError, UnreachableError
from xpcs_assets.globus_login import GlobusAccount, globus
from xpcs_assets.places.globus import Collection
from xpcs_assets.places.globus_client import WHERE, GlobusConnection, unreachable
from xpcs_assets.places.transfer import Item, TransferPhase, TransferSeen

_LABEL = 128  # characters, of the service
_WORDS = 300
_NAMED = 5  # skipped files, of how many
_WEEK_S = 7 * 86400.0
_FINE = ("OK", "QUEUED", "")
_CONSENT = "Run `globus session consent` for the collection as the account; `globus task show` names it"
_ROOM = "Make room at the target, or have its quota raised"
_RIGHTS = "Give the account the right to read at the source and to write at the target"
_WAITS_FOR_A_PERSON = {
    "AMBIGUOUS_PATH": "See what lies at the source under that name",
    "AUTH": _RIGHTS,
    "CONSENT_REQUIRED": _CONSENT,
    "FILE_NOT_FOUND": "See whether the file still lies at the source",
    "GC_PAUSED": "Let Globus Connect go on at that machine",
    "INVALID_SERVICE_CREDENTIAL": "Tell the collection's manager",
    "NO_CREDENTIALS": "Run `globus session update` as the account",
    "NO_SPACE_LEFT": _ROOM,
    "PERMISSION_DENIED": _RIGHTS,
    "QUOTA_EXCEEDED": _ROOM,
}
"""Trouble that the service tries again and again until the deadline, though only a person ends it, and how."""


class GlobusTransfers:
    """Transfers from one collection to another. Not for several threads at once.

    Parameters
    ----------
    account
        Who asks.
    source, target
        What items' paths are relative to. Where both can compute sha256 the service is told the files', and fails a
        transfer in which one differs.
    deadline_s
        The service gives up a transfer that takes longer.
    now
        Wall time.
    """

    def __init__(
        self,
        account: GlobusAccount,
        source: Collection,
        target: Collection,
        *,
        deadline_s: float = _WEEK_S,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.source = source
        self.target = target
        self._connection = GlobusConnection(account)
        self._deadline = timedelta(seconds=deadline_s)
        self._sha256 = source.sha256 and target.sha256
        self._now = now

    def close(self) -> None:
        """Close its connections."""
        self._connection.close()

    def why_unavailable(self) -> str:
        """Why nothing can be moved now: no answer, no log-in, no right, no such folder; empty when it can."""
        for collection in (self.source, self.target):
            try:
                self._ask("ls", _listing(collection))
            except (CopyError, UnreachableError) as error:
                return f"{collection.uuid}: {error.what}. {error.remedy}".strip()
        return ""

    def new_submission(self) -> str:
        """An id of the service to begin a transfer with; to be stored before :meth:`begin`."""
        said = self._ask("submission id", lambda transfer: transfer.get_submission_id())
        return self._word(said, "value")

    def begin(self, submission: str, label: str, items: Sequence[Item]) -> str:
        """Begin a transfer, or find the one that was begun with this submission; its task's id.

        Raises
        ------
        UnreachableError
            No answer came: it may have begun. The same call again finds it.
        CopyError
            The service refuses.
        """
        document = self._document(submission, label, items)
        return self._word(self._ask("transfer", lambda transfer: transfer.submit_transfer(document)), "task_id")

    def look(self, task: str) -> TransferSeen:
        """How a task goes. What waits for a person is PAUSED, though the service may call it active."""
        said = self._ask("task", lambda transfer: transfer.get_task(task))
        phase, reason = self._judged(task, said)
        return TransferSeen(phase, reason, _count(said, "bytes_transferred"), _count(said, "files_skipped"))

    def cancel(self, task: str) -> None:
        """End a task; one that has ended is no error."""
        try:
            self._ask("cancel", lambda transfer: transfer.cancel_task(task))
        except CopyError:
            if self.look(task).phase not in {TransferPhase.SUCCEEDED, TransferPhase.FAILED}:
                raise

    def _document(self, submission: str, label: str, items: Sequence[Item]) -> Any:
        if not items:
            raise CopyError("there is nothing to move", where=WHERE)
        document = globus().TransferData(
            self.source.uuid,
            self.target.uuid,
            label=" ".join(label.split())[:_LABEL].strip(),
            submission_id=submission,
            sync_level="checksum",
            verify_checksum=True,
            preserve_timestamp=True,
            encrypt_data=True,
            deadline=(self._now() + self._deadline).astimezone(UTC),
            skip_source_errors=False,
            fail_on_quota_errors=True,
            delete_destination_extra=False,
            notify_on_succeeded=False,
            notify_on_failed=False,
            notify_on_inactive=False,
        )
        for item in items:
            checksum = {"external_checksum": item.sha256, "checksum_algorithm": "SHA256"} if self._sha256 else {}
            paths = self.source.path(item.source), self.target.path(item.target)
            document.add_item(*paths, recursive=False, **checksum)
        return document

    def _judged(self, task: str, said: Mapping[str, Any]) -> tuple[TransferPhase, str]:
        """The phase, and in words what a person should know of it."""
        status, trouble = str(said.get("status")), str(said.get("nice_status") or "")
        match status:
            case "SUCCEEDED":
                return TransferPhase.SUCCEEDED, self._skipped(task, said)
            case "FAILED":
                return TransferPhase.FAILED, self._why_failed(task, said)
            case "INACTIVE":
                told = "its credentials have expired; run `globus session update` as the account"
                return TransferPhase.PAUSED, _joined(told, _trouble(said))
            case "ACTIVE" if said.get("is_paused"):
                return TransferPhase.PAUSED, self._why_paused(task)
            case "ACTIVE" if trouble.upper() in _WAITS_FOR_A_PERSON:
                told = _joined(_trouble(said), self._last_fault(task, said))
                return TransferPhase.PAUSED, f"{told}. {_WAITS_FOR_A_PERSON[trouble.upper()]}"
            case "ACTIVE":
                return TransferPhase.ACTIVE, _joined(_trouble(said), self._last_fault(task, said))
        raise unreachable(f"task {task}: its status is {status[:40]!r}")

    def _why_failed(self, task: str, said: Mapping[str, Any]) -> str:
        fatal = said.get("fatal_error")
        fatal = fatal if isinstance(fatal, dict) else {}
        remedy = _WAITS_FOR_A_PERSON.get(str(fatal.get("code") or "").upper(), "")
        words = _joined(
            _shortened(": ".join(str(fatal[name]) for name in ("code", "description") if fatal.get(name))),
            _shortened(str(said.get("canceled_by_admin_message") or "")),
            f"{failed} of {said.get('subtasks_total')} parts failed"
            if (failed := _count(said, "subtasks_failed"))
            else "",
            self._last_fault(task, said),
        )
        return f"{words or 'the service says no more'}{'. ' if remedy else ''}{remedy}"

    def _why_paused(self, task: str) -> str:
        said = self._details("pause info", lambda transfer: transfer.task_pause_info(task))
        rules = said.get("pause_rules")
        messages = [rule.get("message") for rule in rules or () if isinstance(rule, dict)]
        messages += [value for name, value in said.items() if "pause_message" in name]
        told = "; ".join(dict.fromkeys(str(message) for message in messages if message))
        return f"paused by the manager of a collection{f': {_shortened(told)}' if told else ''}. Ask there"

    def _last_fault(self, task: str, said: Mapping[str, Any]) -> str:
        """The newest error of a task that had any."""
        faults = _count(said, "faults")
        if not faults:
            return ""
        said = self._details(
            "events", lambda transfer: transfer.task_event_list(task, limit=1, query_params={"filter": "is_error:1"})
        )
        event = next(iter(_entries(said)), {})
        told = "; ".join(str(event[name]) for name in ("code", "details") if event.get(name))
        return f"{faults} fault{'s' if faults > 1 else ''}{f', the last: {_shortened(told)}' if told else ''}"

    def _skipped(self, task: str, said: Mapping[str, Any]) -> str:
        """Which files a task that SUCCEEDED did not move."""
        if not (count := _count(said, "subtasks_skipped_errors")):
            return ""
        entries = _entries(self._details("skipped errors", lambda transfer: transfer.task_skipped_errors(task)))
        named = ", ".join(f"{one.get('source_path')} ({one.get('error_code')})" for one in entries[:_NAMED])
        return f"{count} skipped{f': {named}' if named else ''}"

    def _details(self, what: str, request: Callable[[Any], Any]) -> Mapping[str, Any]:
        """An answer that only explains; empty when it is refused, as it is for tasks whose history is deleted."""
        with suppress(CopyError):
            return self._ask(what, request)
        return {}

    def _ask(self, what: str, request: Callable[[Any], Any]) -> Mapping[str, Any]:
        return self._connection.ask(what, request)

    def _word(self, said: Mapping[str, Any], name: str) -> str:
        word = said.get(name)
        if not isinstance(word, str) or not word:
            raise unreachable(f"the answer has no {name}")
        return word


def _listing(collection: Collection) -> Callable[[Any], Any]:
    return lambda transfer: transfer.operation_ls(collection.uuid, path=collection.root, limit=1)


def _trouble(said: Mapping[str, Any]) -> str:
    code = str(said.get("nice_status") or "")
    if code.upper() in _FINE:
        return ""
    return _joined(code, _shortened(str(said.get("nice_status_short_description") or "")))


def _entries(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = said.get("DATA")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _count(said: Mapping[str, Any], name: str) -> int:
    found = said.get(name)
    return found if isinstance(found, int) else 0


def _joined(*words: str) -> str:
    return "; ".join(word for word in words if word)


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WORDS else f"{line[:_WORDS]}..."
