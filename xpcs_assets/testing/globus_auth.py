"""The token endpoint of Globus Auth, as far as confidential clients use it; for servers on loopback."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from xpcs_assets.testing.globus_search_index import Refused
from xpcs_assets.testing.server_faults import Named, Tokens

TOKEN_PATH = "/v2/oauth2/token"  # noqa: S105 - a path


def log_in(headers: Mapping[str, str], secrets: Mapping[str, str]) -> str:
    """The name of the client that a request's id and secret are of; ``secrets`` by name."""
    kind, _, encoded = headers.get("authorization", "").partition(" ")
    name, _, secret = base64.b64decode(encoded).decode().partition(":") if kind == "Basic" else ("", "", "")
    if not name or secrets.get(name) != secret:
        raise Refused(401, "Error", "invalid_client")
    return name


def asked_scopes(body: bytes, known: Callable[[str], bool]) -> list[str]:
    """The scopes that a client asks a token for; refused when one is not known."""
    form = parse_qs(body.decode())
    scopes = form.get("scope", [""])[0].split()
    if form.get("grant_type") != ["client_credentials"] or not scopes:
        raise Refused(400, "Error", "unsupported_grant_type")
    if not all(known(scope) for scope in scopes):
        raise Refused(400, "Error", "unknown_scope")
    return scopes


def answer(tokens: Tokens, client: Named, seconds: float, scopes: list[str], resource_server: str) -> dict[str, Any]:
    """What the endpoint says when it gives a token."""
    told = {"access_token": tokens.give(client, seconds), "scope": " ".join(scopes), "resource_server": resource_server}
    return {**told, "expires_in": int(seconds), "token_type": "Bearer", "other_tokens": []}
