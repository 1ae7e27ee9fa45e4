"""A connection to Globus Transfer, or to Globus Groups: log-in, requests through the SDK, errors in our tree.

The SDK makes a request again after errors of the network and of the service, a submission too: that one bears an id
of ours, by which the service knows it. Tokens of a client are renewed by the SDK; one from a file is read anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xpcs_assets.errors import CopyError, UnreachableError, XpcsAssetsError
from xpcs_assets.globus_login import GlobusAccount, Login, globus

if TYPE_CHECKING:
    import globus_sdk


@dataclass(frozen=True)
class Service:
    """A service of Globus: what it is called, and the class of its client in the SDK."""

    name: str
    client: str


TRANSFER = Service("Globus Transfer", "TransferClient")
GROUPS = Service("Globus Groups", "GroupsClient")
WHERE = TRANSFER.name
_LATER = (408, 425, 429)
_WORDS = 500  # of what the service says
_LOGIN = "Put a good token or secret; it is read anew each time"
_REMEDIES = {
    401: _LOGIN,
    403: "Give the account the right to read at the source and to write at the target, in the collection's permissions",
    404: "Check the collection's id and the path in it, and that the account may see them",
}


class GlobusConnection:
    """A connection. Not for several threads at once."""

    def __init__(self, account: GlobusAccount, service: Service = TRANSFER) -> None:
        self.account = account
        self.service = service
        self._login = Login(account)
        self._client: Any = None
        self._consents: tuple[str, ...] = ()

    def close(self) -> None:
        """Close its connections; the next request opens others, with secrets that are read anew."""
        if self._client is not None:
            self._client.transport.close()  # the SDK closes only those that it made
        self._client = None
        self._login.close()

    def ask(self, what: str, request: Callable[[Any], Any]) -> dict[str, Any]:
        """Make a request. Once more with a new log-in, when the token is no longer good or lacks a consent.

        Raises
        ------
        UnreachableError
            No answer, or not now: what was asked may have been done.
        CopyError
            Refused; the remedy says what lacks.
        """
        content: dict[str, Any] = self._asked(what, request, dict)
        return content

    def ask_list(self, what: str, request: Callable[[Any], Any]) -> list[Any]:
        """Make a request whose answer is a list; see :meth:`ask`."""
        content: list[Any] = self._asked(what, request, list)
        return content

    def _asked(self, what: str, request: Callable[[Any], Any], kind: type, *, again: bool = True) -> Any:
        sdk = globus()
        try:
            content = request(self._connected()).data
        except sdk.AuthAPIError as error:
            self.close()
            consents, self._consents = self._consents, ()
            raise _login_failed(error.http_status, consents, self.service) from None
        except sdk.GlobusAPIError as error:
            if again and self._may_help(error):
                self.close()
                return self._asked(what, request, kind, again=False)
            raise _refused(what, error, self.service) from None
        except sdk.GlobusError as error:
            inner = getattr(error, "underlying_exception", None)
            kinds = ", ".join(type(one).__name__ for one in (error, inner) if one is not None)
            raise unreachable(f"{what}: {kinds}", self.service) from None
        if not isinstance(content, kind):
            raise unreachable(f"{what}: the answer is no JSON {'object' if kind is dict else 'list'}", self.service)
        return content

    def _may_help(self, error: globus_sdk.GlobusAPIError) -> bool:
        """Whether another log-in may help against a refusal; a client consents for itself by asking for the scope."""
        if error.http_status == 401:
            return True
        lacking = error.info.consent_required.required_scopes or ()
        if self.account.token is not None or not lacking:
            return False
        self._consents = tuple(dict.fromkeys((*self._consents, *lacking)))
        return True

    def _connected(self) -> Any:
        if self._client is None:
            client = getattr(globus(), self.service.client)
            try:
                authorizer = self._login.authorizer([client.scopes.all, *self._consents])
            except (ValueError, KeyError, TypeError) as error:
                raise unreachable(
                    f"the log-in's answer is not understood ({type(error).__name__})", self.service
                ) from None
            self._client = client(
                base_url=self.account.url or None,
                authorizer=authorizer,
                transport=self._login.transport(),
                retry_config=self._login.retries(),
            )
        return self._client


def _login_failed(status: int, consents: tuple[str, ...], service: Service) -> XpcsAssetsError:
    if status >= 500 or status in _LATER:
        return unreachable(f"log-in: HTTP {status}", service)
    if consents and status != 401:
        remedy = "Have the collection's manager let the client in, or use a guest collection, which wants no consent"
        return CopyError(
            f"the consent {' '.join(consents)} is refused (HTTP {status})", where=service.name, remedy=remedy
        )
    return CopyError(f"the log-in is refused (HTTP {status})", where=service.name, remedy=_LOGIN)


def _refused(what: str, error: globus_sdk.GlobusAPIError, service: Service) -> XpcsAssetsError:
    """What a refusal is in our tree; a consent or log-in that lacks is named in the remedy."""
    said = f"{what}: HTTP {error.http_status} {error.code or ''} {error.message or ''}"[:_WORDS].strip()
    if error.http_status >= 500 or error.http_status in _LATER:
        return unreachable(said, service)
    remedy = _REMEDIES.get(error.http_status, "")
    if scopes := error.info.consent_required.required_scopes:
        wanted = " ".join(f"'{scope}'" for scope in scopes)
        remedy = f"Run `globus session consent {wanted}` as the account, and put a token that was made after it"
    elif error.info.authorization_parameters:
        remedy = "The collection wants a newer log-in, `globus session update`; a client is better given a guest one"
    return CopyError(said, where=service.name, remedy=remedy)


def unreachable(what: str, service: Service = TRANSFER) -> UnreachableError:
    """No answer that could be used came."""
    return UnreachableError(what, where=service.name, remedy="It is asked again; nothing is begun twice")
