"""Logging in to Globus, as the clients of its services share it. The SDK is loaded when it is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from xpcs_assets.errors import SettingsError
from xpcs_assets.secret import SecretReference

if TYPE_CHECKING:
    import globus_sdk


class Account(Protocol):
    """Who asks, and how."""

    @property
    def client_id(self) -> str:
        """A confidential client of Globus Auth, which gets tokens of its own."""

    @property
    def client_secret(self) -> SecretReference | None:
        """Its secret."""

    @property
    def token(self) -> SecretReference | None:
        """A long-lived token for the service; wins over the client."""

    @property
    def auth_url(self) -> str:
        """Of Globus Auth; empty: that of the SDK."""

    @property
    def timeout_s(self) -> float:
        """The longest wait to connect, and for each piece of an answer."""

    @property
    def tries(self) -> int:
        """How often a request is made; the SDK makes it again after an error of the network or of the service."""

    @property
    def longest_sleep_s(self) -> float:
        """Between two of them, whatever the service asks for."""


@dataclass(frozen=True)
class GlobusAccount:
    """Who asks, and how; see :class:`Account`. ``url``: of the service; empty: the SDK's.

    Raises
    ------
    SettingsError
        There is nothing to log in with, or a token would be sent where it must not be.
    """

    client_id: str = ""
    client_secret: SecretReference | None = None
    token: SecretReference | None = None
    url: str = ""
    auth_url: str = ""
    timeout_s: float = 60.0
    tries: int = 4
    longest_sleep_s: float = 10.0

    def __post_init__(self) -> None:
        if self.token is None and not (self.client_id and self.client_secret):
            raise SettingsError("name a token, or a client_id and client_secret", where="globus")
        if wrong := [*wrong_address("url", self.url), *wrong_address("auth_url", self.auth_url)]:
            raise SettingsError("; ".join(wrong), where="globus")


class Login:
    """What a client of the SDK is made with. Secrets are read anew for each authorizer."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._auth: globus_sdk.ConfidentialAppAuthClient | None = None

    def close(self) -> None:
        """Close the connection to Globus Auth."""
        if self._auth is not None:
            self._auth.transport.close()  # the SDK closes only those that it made
        self._auth = None

    def authorizer(self, scopes: Sequence[Any]) -> Any:
        """The token, or a client that gets itself tokens for scopes.

        Raises
        ------
        ValueError, KeyError, TypeError
            The answer of Globus Auth is not understood.
        """
        sdk = globus()
        self.close()
        if self.account.token is not None:
            return sdk.AccessTokenAuthorizer(self.account.token.read())
        self._auth = sdk.ConfidentialAppAuthClient(
            self.account.client_id,
            self.account.client_secret.read() if self.account.client_secret else "",
            base_url=self.account.auth_url or None,
            transport=self.transport(),
            retry_config=self.retries(),
        )
        return sdk.ClientCredentialsAuthorizer(self._auth, list(scopes))

    def transport(self) -> Any:
        """Connections that end a wait in time."""
        from globus_sdk.transport import RequestsTransport

        return RequestsTransport(verify_ssl=True, http_timeout=float(self.account.timeout_s))

    def retries(self) -> Any:
        """How often a request is made, and how long it is waited between."""
        from globus_sdk.transport import RetryConfig

        return RetryConfig(max_retries=self.account.tries - 1, max_sleep=self.account.longest_sleep_s)


def wrong_address(name: str, address: str) -> list[str]:
    """What is wrong with the address of a service that a token is sent to; an empty address is that of the SDK.

    >>> wrong_address("url", "https://example.org"), wrong_address("url", "http://example.org")
    ([], ['url must be https: a token is sent there'])
    """
    if not address:
        return []
    parts = urlsplit(address)
    loopback = parts.hostname in {"127.0.0.1", "::1", "localhost"}
    return [
        *([f"{name} must be https://host"] if not parts.hostname or parts.scheme not in {"https", "http"} else []),
        *([f"{name} must be https: a token is sent there"] if parts.scheme == "http" and not loopback else []),
        *([f"{name} must not hold a password"] if parts.password or parts.username else []),
    ]


def globus() -> Any:
    """The SDK; SettingsError when it is not installed."""
    try:
        import globus_sdk
    except ImportError as error:
        remedy = "Install it with: pip install 'xpcs-assets[globus]'"
        raise SettingsError("globus-sdk is not installed", where="globus", remedy=remedy) from error
    return globus_sdk
