"""A contract server for SciCat on loopback: what catalogs are tested against where no real backend can be had.

Its routes and models are those of the installed SDK, and unknown keys are errors; what it does with requests was
measured on a real backend. A test starts it, orders faults and looks at what it holds::

    with ScicatServer() as server:
        server.faults.add("POST", "/datasets$", "500 after")  # stored, then an error
        ...
        assert len(server.store.datasets) == 1
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from xpcs_assets.testing.loopback import LoopbackServer
from xpcs_assets.testing.scicat_datasets import Account, Request, Store, checked
from xpcs_assets.testing.scicat_related import Related
from xpcs_assets.testing.scicat_routes import routes
from xpcs_assets.testing.scicat_rules import RefusedByRule, parse
from xpcs_assets.testing.server_faults import Tokens

BODY_LIMIT = 16 * 2**20
SECONDS_OF = {"s": 1, "m": 60, "h": 3600, "d": 86400}
ACCOUNTS = (Account("ingestor", "correct horse", everything=True), Account("user", "battery staple", ("group1",)))
_NO_TOKEN = re.compile(r"/(health|auth/login|users/login)$")


class Backend(Related):
    """All handlers; those of accounts and of the server itself are here."""

    def __init__(self, store: Store, tokens: Tokens, accounts: tuple[Account, ...], *, older: bool) -> None:
        super().__init__(store)
        self.tokens = tokens
        self.accounts = {account.name: account for account in accounts}
        self.older = older
        self.token_seconds = 3600.0

    def auth_controller_login_v3(self, request: Request) -> dict[str, Any]:
        """Give a token for a name and password."""
        body = checked("CredentialsDto", request.body)
        account = self.accounts.get(body["username"])
        if account is None or account.password != body["password"]:
            raise RefusedByRule(401, "Unauthorized")
        token = self.tokens.give(account, self.token_seconds)
        lasts = {"expires_in": self.token_seconds, "ttl": self.token_seconds, "created": self.store.stamp()}
        return {"access_token": token, "id": token, "userId": account.name, "user": _person(account), **lasts}

    users_controller_login_v3 = auth_controller_login_v3

    def users_controller_create_custom_jwtv3(self, request: Request) -> dict[str, str]:
        """A token that lasts as long as asked for; for administrators."""
        lasts = checked("CreateCustomJwt", request.body).get("expiresIn", "1h")
        if not request.account.everything:
            raise RefusedByRule(403, "Forbidden resource")
        seconds = float(lasts[:-1]) * SECONDS_OF[lasts[-1]]
        return {"jwt": self.tokens.give(self.accounts[request.values["id"]], seconds)}

    def users_controller_get_my_user_v3(self, request: Request) -> dict[str, Any]:
        """Who asks."""
        return _person(request.account)

    def health_controller_check_v3(self, _: Request) -> dict[str, Any]:
        """Whether it is well."""
        up = {"mongodb": {"status": "up"}}
        return {"status": "ok", "info": up, "error": {}, "details": up}


class ScicatServer(LoopbackServer):
    """The server; its ``url`` is without ``/api``.

    Parameters
    ----------
    sdk
        ``5.3`` or ``4.27``: whose field names samples and instruments have.
    accounts
        Who may log in.

    Attributes
    ----------
    store
        What it holds.
    """

    def __init__(self, *, sdk: str = "5.3", accounts: tuple[Account, ...] = ACCOUNTS) -> None:
        super().__init__()
        self.store = Store()
        self.backend = Backend(self.store, self.tokens, accounts, older=sdk == "4.27")
        self._lock = threading.Lock()

    def failure(self, status: int) -> Any:
        """What the backend says with a status."""
        return {"statusCode": status, "message": "Internal server error" if status >= 500 else "Forbidden resource"}

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        """Status and content of the answer to a request."""
        url = urlsplit(target)
        try:
            operation, values = self._operation(method, url.path)
            account = self._account(url.path, headers)
            content = _parsed(body)
            request = Request(values, parse_qs(url.query), headers, content, account)
            with self._lock:
                done = getattr(self.backend, operation)(request)
                return 201 if method == "POST" else 200, json.loads(json.dumps(done))
        except RefusedByRule as refusal:
            return refusal.status, {"statusCode": refusal.status, "message": refusal.message}

    def _operation(self, method: str, path: str) -> tuple[str, dict[str, str]]:
        for route in routes():
            values = route.match(path) if route.method == method else None
            if values is not None:
                if not hasattr(self.backend, route.operation):
                    raise RefusedByRule(501, f"the contract server does not do {route.operation}")
                return route.operation, values
        raise RefusedByRule(404, f"Cannot {method} {path}")

    def _account(self, path: str, headers: Mapping[str, str]) -> Account:
        name = self.tokens.user(headers.get("authorization", ""))
        if name:
            return self.backend.accounts[name]
        if _NO_TOKEN.search(path):
            return Account("nobody", "")
        raise RefusedByRule(403, "Forbidden resource")


def _parsed(body: bytes) -> Any:
    if len(body) > BODY_LIMIT:
        raise RefusedByRule(500, "Internal server error")  # measured; not 413
    return parse(body) if body else {}


def _person(account: Account) -> dict[str, Any]:
    return {
        "_id": account.name,
        "id": account.name,
        "username": account.name,
        "email": f"{account.name}@example.org",
        "emailVerified": True,
        "authStrategy": "local",
    }
