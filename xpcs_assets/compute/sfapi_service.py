"""Requests to NERSC's Superfacility API through its client: log-in, time limits, tasks to their end, errors as ours.

The client makes every request up to ten times, submissions too. Here reading is repeated as long as the time limit
lasts, and what changes something is asked for once: whether it was done is then found out, not guessed.
"""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xpcs_assets.errors import ComputeError, SettingsError, UnreachableError

API_URL = "https://api.nersc.gov/api/v1.2"
TOKEN_URL = "https://oidc.nersc.gov/c2id/token"  # noqa: S105 - an address
_TRY_S = 10.0  # which the client gives to each try
_LATER = (408, 429)
_WORDS = 500  # of what the service says
_PEM = "-----BEGIN"
_REFUSALS = {
    *("invalid_request", "invalid_client", "invalid_grant"),
    *("unauthorized_client", "unsupported_grant_type", "invalid_scope"),
}
"""What OAuth (RFC 6749, 5.2) says no with."""


@dataclass(frozen=True)
class Account:
    """A client of the API, as Iris makes them.

    Attributes
    ----------
    client_id
        Its id.
    key_file
        A file of its private key, PEM or JWK, that nobody else may read.
    api_url, token_url
        Where the API is, and where it is logged in to.
    """

    client_id: str
    key_file: str
    api_url: str = API_URL
    token_url: str = TOKEN_URL

    def key(self) -> Any:
        """The private key, read anew each time so that it can be changed while the site runs.

        Raises
        ------
        SettingsError
            It is not there, others may read it, or it is no key.
        """
        from joserfc.errors import JoseError
        from joserfc.jwk import RSAKey

        file = Path(self.key_file)
        try:
            if stat.S_IMODE(file.stat().st_mode) & 0o077:
                raise SettingsError("others may read the key", where=file, remedy=f"Run: chmod 600 {file}")
            text = file.read_text("utf-8").strip()
            # In the client's own file the id stands before the key.
            return RSAKey.import_key(text[text.index(_PEM) :] if _PEM in text else dict(json.loads(text)))
        except OSError as error:
            raise SettingsError(f"the key cannot be read ({type(error).__name__})", where=file) from None
        except (JoseError, ValueError, TypeError):
            raise SettingsError(
                "it is no private key", where=file, remedy="Write the key there as Iris shows it"
            ) from None


@dataclass
class Session:
    """What is asked within one time limit. Not for several threads at once.

    Attributes
    ----------
    account
        Who asks.
    where
        What people call the back end, for messages.
    ends_s
        When the limit is over, by the clock that only goes forward.
    poll_s
        How long to wait between two looks at a task.
    """

    account: Account
    where: str
    ends_s: float
    poll_s: float
    _client: Any = field(default=None, repr=False)

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """What there is to read; see :meth:`_ask`."""
        return self._ask("get", path, params=params)

    def post(self, path: str, data: Mapping[str, str]) -> dict[str, Any]:
        """Ask for a change, and wait for the end of its task; see :meth:`_ask` and :meth:`_follow`."""
        return self._follow(self._ask("post", path, data=dict(data)))

    def delete(self, path: str) -> dict[str, Any]:
        """Ask for an end, and wait for the end of its task; see :meth:`_ask` and :meth:`_follow`."""
        return self._follow(self._ask("delete", path))

    def close(self) -> None:
        """Close its connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _follow(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a task when it has ended: its ``status`` is ``ok``, or ``error`` and the reason in ``error``.

        Raises
        ------
        UnreachableError
            It is not known how it ended, or not in time: what was asked may have been done, or be done yet.
        """
        if str(asked.get("status", "")).upper() == "ERROR" and asked.get("error"):
            return {"status": "error", "error": str(asked["error"])[:_WORDS]}
        if not asked.get("task_id"):
            raise UnreachableError("the answer names no task", where=self.where, remedy=_AGAIN)
        while True:
            try:
                task = self.get(f"tasks/{asked['task_id']}")
            except ComputeError as error:
                raise UnreachableError(f"its task is not shown: {error.what}", where=self.where) from error
            state = str(task.get("status", "")).lower()
            if state in {"completed", "failed", "cancelled"}:
                return self._result(task, state)
            if time.monotonic() + self.poll_s > self.ends_s:
                raise UnreachableError(f"the task is {state or 'not known'} yet", where=self.where, remedy=_AGAIN)
            time.sleep(self.poll_s)

    def _result(self, task: Mapping[str, Any], state: str) -> dict[str, Any]:
        said = task.get("result")
        try:
            found = json.loads(said) if isinstance(said, str) else said
        except ValueError:
            found = {"error": said}
        if not isinstance(found, dict):
            found = {}
        if state == "completed" and str(found.get("status", "")).lower() == "ok":
            return {**found, "status": "ok"}
        if not found.get("error"):
            raise UnreachableError(f"the task is {state}, without a reason", where=self.where, remedy=_AGAIN)
        return {**found, "status": "error", "error": str(found["error"])[:_WORDS]}

    def _ask(self, method: str, path: str, *, log_in_again: bool = True, **told: Any) -> dict[str, Any]:
        """Make a request; refused as unknown, log in and make it once more.

        Raises
        ------
        UnreachableError
            No answer, or not now.
        ComputeError
            Refused.
        """
        httpx, authlib_error = _errors()
        if time.monotonic() > self.ends_s:
            raise UnreachableError("there is no time left to ask", where=self.where, remedy=_AGAIN)
        try:
            answer = self._bound(method)(self._logged_in(), path, **told)
            content = answer.json()
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 401 and log_in_again:
                self.close()  # a token may end before its time
                return self._ask(method, path, log_in_again=False, **told)
            raise self._refused(error.response) from None
        except httpx.HTTPError as error:
            raise UnreachableError(f"no answer ({type(error).__name__})", where=self.where, remedy=_AGAIN) from None
        except authlib_error as error:
            raise self._not_let_in(str(error.error)) from None
        except ValueError:
            raise UnreachableError("the answer is no JSON", where=self.where, remedy=_AGAIN) from None
        if not isinstance(content, dict):
            raise UnreachableError("the answer is no JSON object", where=self.where, remedy=_AGAIN)
        return content

    def _bound(self, method: str) -> Callable[..., Any]:
        """A method of the client, with our word on how often it tries."""
        import tenacity

        stop: Any = tenacity.stop_after_attempt(1)
        if method == "get":
            stop = tenacity.stop_before_delay(max(0.0, self.ends_s - time.monotonic() - _TRY_S))
        tried: Callable[..., Any] = getattr(_sdk(), method).retry_with(stop=stop, reraise=True)
        return tried

    def _logged_in(self) -> Any:
        if self._client is None:
            account = self.account
            self._client = _sdk()(
                account.client_id, account.key(), api_base_url=account.api_url, token_url=account.token_url
            )
        return self._client

    def _not_let_in(self, error: str) -> ComputeError | UnreachableError:
        """The client takes any JSON for a token: only what the standard names is a refusal."""
        if error not in _REFUSALS:
            return UnreachableError(f"the log-in gives no token ({error})", where=self.where, remedy=_AGAIN)
        remedy = "See in Iris whether the client has expired, and may be used from here"
        return ComputeError(f"the log-in is refused: {error}", where=self.where, remedy=remedy)

    def _refused(self, response: Any) -> ComputeError | UnreachableError:
        code = response.status_code
        try:
            said = response.json()
        except ValueError:
            said = {}
        detail = str(said.get("detail", ""))[:_WORDS] if isinstance(said, dict) else ""
        what = f"HTTP {code} {detail}".rstrip()
        if code >= 500 or code in _LATER:
            return UnreachableError(what, where=self.where, remedy=_AGAIN)
        remedy = {401: _KEY, 403: "Make a client in Iris that may submit jobs"}.get(code, "")
        return ComputeError(what, where=self.where, remedy=remedy)


@contextmanager
def session(account: Account, where: str, limit_s: float, poll_s: float) -> Iterator[Session]:
    """A session with a time limit."""
    made = Session(account, where, time.monotonic() + limit_s, poll_s)
    try:
        yield made
    finally:
        made.close()


_AGAIN = "It is asked again; see whether the service is up"
_KEY = "Name the client's id and its key; both are read anew each time"


def _sdk() -> Any:
    try:
        from sfapi_client import Client
    except ImportError as error:
        remedy = "Install it with: pip install 'xpcs-assets[sfapi]'"
        raise SettingsError("sfapi_client is not installed", where="compute: sfapi", remedy=remedy) from error
    return Client


def _errors() -> tuple[Any, Any]:
    _sdk()
    import httpx
    from authlib.common.errors import AuthlibBaseError

    return httpx, AuthlibBaseError
