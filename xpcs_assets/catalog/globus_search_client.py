"""A connection to Globus Search: log-in, requests through the SDK, tasks followed to their end, errors in our tree.

The SDK makes a request again after errors of the network and of the service, a write too; an entry written twice is
one entry. It has no end of its own to waiting for a task.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xpcs_assets.catalog.globus_search_config import GlobusSearchConfig
from xpcs_assets.errors import CatalogError, CatalogUnavailableError
from xpcs_assets.globus_login import Login, globus

if TYPE_CHECKING:
    import globus_sdk

_LATER = (408, 409, 425, 429)
_WORDS = 500  # of what the service says


@dataclass
class GlobusSearchClient:
    """A connection. Not for several threads at once.

    Parameters
    ----------
    config
        The index and the account.
    before_write
        Called before each request that may change something; what it raises keeps the request from being made.
    """

    config: GlobusSearchConfig
    before_write: Callable[[], object] = field(default=lambda: None, repr=False)
    _search: globus_sdk.SearchClient | None = field(init=False, default=None, repr=False)
    _login: Login = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._login = Login(self.config)

    def close(self) -> None:
        """Close its connections."""
        if self._search is not None:
            self._search.transport.close()  # the SDK closes only those that it made
        self._search = None
        self._login.close()

    def entry(self, subject: str, entry_id: str) -> Mapping[str, Any] | None:
        """Content of an entry; None when there is none, or none that the account may see.

        Raises
        ------
        CatalogUnavailableError
            No answer, or not now.
        CatalogError
            Refused.
        """
        index = self.config.index_id
        answer = self._call("entry", lambda search: search.get_entry(index, subject, entry_id=entry_id), missing=True)
        if answer is None:
            return None
        entries = answer.get("entries")
        content = entries[0].get("content") if isinstance(entries, list) and entries else None
        if not isinstance(content, dict):
            raise self._unavailable("entry: the answer has no content")
        return content

    def ingest(self, subject: str, entry_id: str, visible_to: list[str], content: Mapping[str, Any]) -> None:
        """Write an entry, and wait until the service has done so.

        Raises
        ------
        CatalogUnavailableError
            No answer, or the task is not done in time: it may still be done later.
        CatalogError
            Refused, or the task failed.
        """
        if not visible_to:
            raise CatalogError("nobody would see the entry", where=subject, remedy="Name the operators")
        entry = {"subject": subject, "id": entry_id, "visible_to": visible_to, "content": dict(content)}
        document = {"ingest_type": "GMetaEntry", "ingest_data": entry}
        self.before_write()
        answer = self._call("ingest", lambda search: search.ingest(self.config.index_id, document)) or {}
        if not answer.get("task_id"):
            raise self._unavailable("ingest: the answer names no task")
        self._follow(str(answer["task_id"]), subject)

    def check(self) -> None:
        """Ask whether the index is open and the account may write; changes nothing.

        Raises
        ------
        CatalogUnavailableError
            No answer, or the index is not open.
        CatalogError
            There is no such index, or the account may not write to it.
        """
        index = self._call("index", lambda search: search.get_index(self.config.index_id)) or {}
        if index.get("status", "open") != "open":
            raise self._unavailable(f"the index is {str(index['status'])[:40]}", remedy="Reopen the index")
        self._call("tasks", lambda search: search.get_task_list(self.config.index_id))  # for those who may write

    def _follow(self, task_id: str, subject: str) -> None:
        """Wait for the end of a task."""
        deadline = time.monotonic() + self.config.task_limit_s
        while True:
            task = self._call("task", lambda search: search.get_task(task_id), missing=True) or {}
            state = task.get("state")
            if state == "SUCCESS":
                return
            if state == "FAILED":
                said = "; ".join(str(task[name]) for name in ("message", "additional_details") if task.get(name))
                remedy = "Compare the types of the index's fields with those of the entry"
                raise CatalogError(f"the ingest failed: {said[:_WORDS]}", where=subject, remedy=remedy)
            if time.monotonic() + self.config.poll_s > deadline:
                raise self._unavailable(f"the ingest {task_id} is {state or 'not known yet'}")
            time.sleep(self.config.poll_s)

    def _call(
        self, what: str, request: Callable[[globus_sdk.SearchClient], Any], *, missing: bool = False, again: bool = True
    ) -> dict[str, Any] | None:
        """Make a request; refused as unknown, log in and make it once more. None for what is missing."""
        sdk = globus()
        try:
            content = request(self._connected()).data
        except sdk.AuthAPIError as error:
            self.close()  # so that the secret is read anew
            if error.http_status >= 500 or error.http_status in _LATER:
                raise self._unavailable(f"log-in: HTTP {error.http_status}") from None
            raise self._unavailable(f"the log-in is refused (HTTP {error.http_status})", remedy=_LOGIN) from None
        except sdk.GlobusAPIError as error:
            if error.http_status == 404 and missing:
                return None
            if error.http_status == 401:
                self.close()
                if again:
                    return self._call(what, request, missing=missing, again=False)
            raise self._refused(what, error.http_status, error.message) from None
        except sdk.GlobusError as error:
            inner = getattr(error, "underlying_exception", None)
            kinds = ", ".join(type(one).__name__ for one in (error, inner) if one is not None)
            raise self._unavailable(f"{what}: {kinds}") from None
        if not isinstance(content, dict):
            raise self._unavailable(f"{what}: the answer is no JSON object")
        return content

    def _connected(self) -> globus_sdk.SearchClient:
        if self._search is None:
            client = globus().SearchClient
            try:
                authorizer = self._login.authorizer([client.scopes.ingest, client.scopes.search])
            except (ValueError, KeyError, TypeError) as error:
                raise self._unavailable(f"the log-in's answer is not understood ({type(error).__name__})") from None
            self._search = client(
                base_url=self.config.url or None,
                authorizer=authorizer,
                transport=self._login.transport(),
                retry_config=self._login.retries(),
            )
        return self._search

    def _refused(self, what: str, status: int, message: str | None) -> CatalogError:
        said = f"{what}: HTTP {status} {(message or '')[:_WORDS]}".rstrip()
        if status == 401:
            return self._unavailable(said, remedy=_LOGIN)
        if status >= 500 or status in _LATER:
            return self._unavailable(said)
        remedies = {
            403: "Give the account the role writer of the index, and the scopes ingest and search",
            404: "Check index_id: there is no such index, or the account may not see it",
        }
        return CatalogError(said, where=self._where(), remedy=remedies.get(status, ""))

    def _unavailable(self, what: str, *, remedy: str = "The entry waits; nothing else does") -> CatalogUnavailableError:
        return CatalogUnavailableError(what, where=self._where(), remedy=remedy)

    def _where(self) -> str:
        return f"Globus Search index {self.config.index_id}"


_LOGIN = "Put a good token or secret; it is read anew each time"
