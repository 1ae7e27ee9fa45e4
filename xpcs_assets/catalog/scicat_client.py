"""A connection to SciCat's backend: requests and their answers, log-in, time-outs, and what may be tried again.

Requests go through the SDK's transport, but answers are judged here: the SDK's operations fail on answers of
requests that succeeded, and have no time-out of their own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xpcs_assets.catalog.scicat_config import ScicatConfig
from xpcs_assets.catalog.scicat_models import checked, sdk
from xpcs_assets.errors import CatalogError, CatalogUnavailableError

__all__ = ["Answer", "ScicatClient", "ScicatConfig"]

BODY_LIMIT = 16 * 2**20  # of the backend, unless its operators raised it
ANSWER_LIMIT = 256 * 2**20
MERGE_PATCH = "application/merge-patch+json"
_LOGIN = "/api/v3/auth/login"
_WHO_AM_I = "/api/v3/users/my/self"
_HEALTH = "/api/v3/health"
_REFUSED = (401, 403)
_LATER = (408, 425, 429)


@dataclass(frozen=True)
class Answer:
    """Status and content of an answer; None for an empty one."""

    status: int
    content: Any


@dataclass
class ScicatClient:
    """A connection. Not for several threads at once.

    Parameters
    ----------
    config
        The backend and the account.
    before_write
        Called before each request that may change something; what it raises keeps the request from being made.
    """

    config: ScicatConfig
    before_write: Callable[[], object] = field(default=lambda: None, repr=False)
    _api: Any = field(init=False, repr=False)
    _logged_in: bool = field(init=False, default=False, repr=False)

    def __post_init__(self) -> None:
        import urllib3

        module = sdk()
        configuration = module.Configuration(host=self.config.url.rstrip("/").removesuffix("/api"))
        configuration.retries = urllib3.Retry(
            total=self.config.reads_tried - 1,
            redirect=0,
            backoff_factor=0.2,
            status_forcelist=(502, 503, 504),
            allowed_methods={"GET"},
            raise_on_status=False,
            raise_on_redirect=False,
            respect_retry_after_header=False,  # a server could make us wait for hours
        )
        self._api = module.ApiClient(configuration)

    def close(self) -> None:
        """Close its connections."""
        self._api.rest_client.pool_manager.clear()

    def get(self, path: str, values: Mapping[str, str] | None = None, query: Sequence[tuple[str, str]] = ()) -> Any:
        """Read; None when there is no such thing.

        Raises
        ------
        CatalogUnavailableError
            No answer, or not now.
        CatalogError
            Refused.
        """
        answer = self._with_login("GET", path, values or {}, query=query)
        return None if answer.status == 404 else self._content(answer, f"GET {path}")

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        values: Mapping[str, str] | None = None,
        *,
        accept: tuple[int, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Write. Nothing is tried again but after a fresh log-in, for the backend may have stored it.

        Parameters
        ----------
        accept
            Statuses beside those of success that the caller deals with.
        headers
            Such as a content type.

        Raises
        ------
        CatalogUnavailableError
            No answer, or an error of the backend: it may have stored it or not.
        CatalogError
            Refused; nothing was stored.
        """
        size = len(json.dumps(body, allow_nan=False)) if body is not None else 0
        if size >= BODY_LIMIT:
            raise CatalogError(f"{size} bytes are more than SciCat takes at once", where=f"{method} {path}")
        self.before_write()
        answer = self._with_login(method, path, values or {}, body=body, headers=headers)
        if answer.status not in accept:
            self._content(answer, f"{method} {path}")
        return answer

    def check(self) -> None:
        """Ask whether the backend is well and knows the account; changes nothing.

        Raises
        ------
        CatalogUnavailableError
            No answer, it is not well, or the log-in is refused.
        """
        status = self._request("GET", _HEALTH, {}).status
        if status not in {200, 404}:  # backends before version 4 have no health to ask
            raise self._unavailable(f"GET {_HEALTH}: HTTP {status}")
        self._content(self._with_login("GET", _WHO_AM_I, {}), f"GET {_WHO_AM_I}")

    def _with_login(self, method: str, path: str, values: Mapping[str, str], **parts: Any) -> Answer:
        """Make a request; refused as unknown or forbidden, log in and make it once more."""
        if not self._logged_in:
            self._log_in()
        answer = self._request(method, path, values, **parts)
        if answer.status in _REFUSED:
            self._log_in()
            answer = self._request(method, path, values, **parts)
        if answer.status in _REFUSED and self._request("GET", _WHO_AM_I, {}).status in _REFUSED:
            raise self._unavailable("the token is refused", remedy="Put a good token, it is read anew each time")
        return answer

    def _log_in(self) -> None:
        """Get a token: by name and password, or the long-lived one as it is now."""
        if self.config.token is not None:
            self._api.configuration.access_token = self.config.token.read()
        else:
            password = self.config.password.read() if self.config.password else ""
            credentials = checked("CredentialsDto", {"username": self.config.username, "password": password})
            answer = self._request("POST", _LOGIN, {}, body=credentials)
            token = answer.content.get("access_token") if isinstance(answer.content, dict) else None
            if answer.status not in {200, 201} or not token:
                what = f"the log-in of {self.config.username} is refused (HTTP {answer.status})"
                raise self._unavailable(what, remedy="Check the account and its password")
            self._api.configuration.access_token = token
        self._logged_in = True

    def _request(
        self,
        method: str,
        path: str,
        values: Mapping[str, str],
        *,
        query: Sequence[tuple[str, str]] = (),
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        from urllib3.exceptions import HTTPError

        told = {"Accept": "application/json", **({"Content-Type": "application/json"} if body is not None else {})}
        line, url, sent, content, _ = self._api.param_serialize(
            method,
            path,
            path_params=dict(values),
            query_params=list(query),
            header_params={**told, **(headers or {})},
            body=body,
            auth_settings=[] if path in {_LOGIN, _HEALTH} else ["bearer"],
        )
        try:
            times = (float(self.config.connect_s), float(self.config.read_s))
            response = self._api.call_api(line, url, sent, content, _request_timeout=times).response
            return Answer(response.status, self._read(response, f"{method} {path}"))
        except (HTTPError, OSError, sdk().ApiException) as error:
            raise self._unavailable(f"{method} {path}: {_reason(error)}") from None

    def _read(self, response: Any, where: str) -> Any:
        """The answer's JSON, bounded in bytes and in time."""
        deadline = time.monotonic() + 10 * self.config.read_s
        pieces, size = [], 0
        for piece in response.stream(2**16):
            pieces.append(piece)
            size += len(piece)
            if size > ANSWER_LIMIT or time.monotonic() > deadline:
                response.close()
                raise self._unavailable(f"{where}: the answer is too long")
        response.release_conn()
        try:
            return json.loads(b"".join(pieces)) if size else None
        except ValueError:
            if response.status < 400:
                raise self._unavailable(f"{where}: the answer (HTTP {response.status}) is no JSON") from None
            return None

    def _content(self, answer: Answer, where: str) -> Any:
        """The content of an answer of success."""
        if 200 <= answer.status < 300:
            return answer.content
        said = f"{where}: HTTP {answer.status} {_message(answer.content)}".rstrip()
        if answer.status >= 500 or answer.status in _LATER:
            raise self._unavailable(said)
        remedy = "Ask the catalog's operators for the right to write for this group" if answer.status == 403 else ""
        raise CatalogError(said, where=self.config.url, remedy=remedy)

    def _unavailable(self, what: str, *, remedy: str = "The entry waits; nothing else does") -> CatalogUnavailableError:
        return CatalogUnavailableError(what, where=self.config.url, remedy=remedy)


def _message(content: Any) -> str:
    """What the backend says, bounded."""
    said = content.get("message") if isinstance(content, dict) else None
    return "; ".join(map(str, said))[:500] if isinstance(said, list) else str(said or "")[:500]


def _reason(error: BaseException) -> str:
    """Why there was no answer: the kinds of error only, for their words repeat the address with all its parts."""
    inner = getattr(error, "reason", None)
    return f"{type(error).__name__}, {type(inner).__name__}" if isinstance(inner, Exception) else type(error).__name__
