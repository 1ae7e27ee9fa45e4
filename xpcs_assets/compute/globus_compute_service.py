"""A connection to Globus Compute: log-in, requests through globus-sdk, each made once; errors in our tree."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from xpcs_assets.errors import ComputeError, UnreachableError
from xpcs_assets.globus_login import GlobusAccount, Login, globus

_LATER = (408, 425, 429)
_WORDS = 500  # of what the service says
_REMEDIES = {
    401: "Put a good token or secret; it is read anew each time",
    403: "Let the account use the endpoint, and the function if the endpoint allows only some",
    404: "Check the endpoint's id",
}


class Service:
    """The service while a connection stands. Only :func:`connected` makes one."""

    def __init__(self, two: Any, three: Any, where: str) -> None:
        self._two = two
        self._three = three
        self._where = where

    def endpoint_status(self, endpoint: str) -> str:
        """What is said of an endpoint: ``online``, or why not."""
        return str(self._ask("status", lambda: self._two.get_endpoint_status(endpoint)).get("status", "unknown"))

    def register(self, name: str, source: str) -> str:
        """Register a function by its source; its id."""
        version = ".".join(map(str, sys.version_info[:3]))
        about = {"python_version": version, "serde_identifier": "st"}
        data = {"function_name": name, "function_code": source, "serialized": False, "meta": about}
        return str(self._ask("register", lambda: self._three.register_function(data))["function_uuid"])

    def submit(self, endpoint: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Hand tasks over."""
        return self._ask("submit", lambda: self._three.submit(endpoint, dict(data)))

    def group(self, group_id: str) -> list[str]:
        """The tasks of a group, by id; none when there is no such group."""
        told = self._ask("find", lambda: self._two.get_task_group(group_id), instead_of=404)
        return [str(task["id"]) for task in told.get("tasks", ())]

    def tasks(self, ids: list[str]) -> Mapping[str, Any]:
        """What is said of tasks, by id; those that are not known are left out."""
        told = self._ask("poll", lambda: self._two.get_task_batch(ids)).get("results")
        return told if isinstance(told, dict) else {}

    def _ask(self, what: str, request: Callable[[], Any], *, instead_of: int = 0) -> Mapping[str, Any]:
        """Make a request; an empty answer instead of a refusal with this status."""
        sdk = globus()
        try:
            content = request().data
        except sdk.AuthAPIError as error:
            raise _refused("log-in", error, self._where) from None
        except sdk.GlobusAPIError as error:
            if error.http_status == instead_of:
                return {}
            raise _refused(what, error, self._where) from None
        except sdk.GlobusError as error:
            inner = getattr(error, "underlying_exception", None)
            kinds = ", ".join(type(one).__name__ for one in (error, inner) if one is not None)
            raise UnreachableError(f"{what}: {kinds}", where=self._where) from None
        if not isinstance(content, dict):
            raise UnreachableError(f"{what}: the answer is no JSON object", where=self._where)
        return content


@contextmanager
def connected(account: GlobusAccount, where: str) -> Iterator[Service]:
    """The service, with secrets that are read now.

    Raises
    ------
    UnreachableError
        No answer that can be used came to what was asked inside.
    ComputeError
        It was refused.
    SettingsError
        A secret or the SDK is not there.
    """
    sdk = globus()
    login = Login(account)
    try:
        authorizer = login.authorizer([sdk.ComputeClientV3.scopes.all])
    except sdk.GlobusAPIError as error:
        login.close()
        raise _refused("log-in", error, where) from None
    except (sdk.GlobusError, ValueError, KeyError, TypeError) as error:
        login.close()
        raise UnreachableError(f"the log-in failed ({type(error).__name__})", where=where) from None
    how = {"base_url": account.url or None, "authorizer": authorizer, "retry_config": login.retries()}
    two = sdk.ComputeClientV2(**how, transport=login.transport())
    three = sdk.ComputeClientV3(**how, transport=login.transport())
    try:
        yield Service(two, three, where)
    finally:
        for client in (two, three):
            client.transport.close()  # the SDK closes only those that it made
        login.close()


def _refused(what: str, error: Any, where: str) -> ComputeError | UnreachableError:
    """What a refusal of the service is in our tree."""
    reason = (error.raw_json or {}).get("reason") or error.message or ""
    said = f"{what}: HTTP {error.http_status} {error.code or ''} {reason}"[:_WORDS].strip()
    if error.http_status >= 500 or error.http_status in _LATER:
        return UnreachableError(said, where=where)
    return ComputeError(said, where=where, remedy=_REMEDIES.get(error.http_status, ""))
