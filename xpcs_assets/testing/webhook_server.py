"""A chat or a logbook on loopback that keeps the messages which are posted to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from xpcs_assets.testing.loopback import LoopbackServer


class WebhookServer(LoopbackServer):
    """The server.

    Attributes
    ----------
    path
        Whoever knows it may write; all other paths are not found.
    token
        What must come as ``Authorization: Bearer``; empty: nothing need.
    messages
        What was posted.
    moved
        Whether it answers that it is elsewhere.
    """

    def __init__(self, path: str = "/services/T0/S3CRET", token: str = "") -> None:
        super().__init__()
        self.path, self.token, self.moved = path, token, False
        self.messages: list[dict[str, Any]] = []

    @property
    def address(self) -> str:
        """The whole address, which is a secret."""
        return self.url + self.path

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        """Take a message."""
        if self.moved:
            return 307, b""
        if method != "POST" or target != self.path:
            return 404, {"error": f"there is no {target}"}
        if self.token and headers.get("authorization") != f"Bearer {self.token}":
            return 401, {"error": "who are you?"}
        self.messages.append(json.loads(body))
        return 200, b"ok"

    def failure(self, status: int) -> Any:
        """What it says when it fails."""
        return {"error": status}
