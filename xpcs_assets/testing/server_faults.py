"""What a test may do to a server on loopback from outside: order faults, and make its tokens worthless."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from dataclasses import dataclass, field
from typing import Protocol

KINDS = (
    *("401", "403", "404", "409", "429", "503", "500 before", "500 after"),
    *("time-out before", "time-out after", "reset", "reset after", "slow"),
    *("502 of a proxy", "page of a proxy"),  # HTML, with status 502 or 200
)


class Named(Protocol):
    """An account, as far as tokens go."""

    @property
    def name(self) -> str:
        """What tells it from others."""


@dataclass
class Fault:
    """What goes wrong with the next ``times`` requests that match, after ``passed`` of them went well."""

    method: str
    path: str
    kind: str
    times: int = 1
    passed: int = 0

    def takes(self, method: str, path: str) -> bool:
        """Whether this request is to fail; counts it."""
        if not (re.fullmatch(self.method, method) and re.search(self.path, path) and self.times):
            return False
        if self.passed:
            self.passed -= 1
            return False
        self.times -= 1
        return True


@dataclass
class Faults:
    """The faults that are ordered; ``slow_s``: how long a slow answer takes."""

    ordered: list[Fault] = field(default_factory=list)
    slow_s: float = 0.2

    def add(self, method: str, path: str, kind: str, *, times: int = 1, passed: int = 0) -> None:
        """Order a fault: ``method`` and ``path`` are regular expressions, ``kind`` is one of :data:`KINDS`."""
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is none of {KINDS}")
        self.ordered.append(Fault(method, path, kind, times, passed))

    def next(self, method: str, path: str) -> str:
        """The fault of this request; empty for none."""
        return next((fault.kind for fault in self.ordered if fault.takes(method, path)), "")


class Tokens:
    """JSON web tokens of this server; ``expire`` makes all that were given out worthless."""

    def __init__(self) -> None:
        self.generation = 0

    def expire(self) -> None:
        """Refuse every token given out so far."""
        self.generation += 1

    def give(self, account: Named, seconds: float) -> str:
        """A token for an account."""
        content = {"username": account.name, "iat": time.time(), "exp": time.time() + seconds}
        parts = [_base64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, content)]
        return ".".join([*parts, self._signature(".".join(parts))])

    def user(self, header: str) -> str:
        """Who a header's token was given to; empty when it is none, or no longer good."""
        kind, _, token = header.partition(" ")
        signed, _, signature = token.rpartition(".")
        if kind != "Bearer" or not signed or not hmac.compare_digest(signature, self._signature(signed)):
            return ""
        content = json.loads(base64.urlsafe_b64decode(signed.split(".")[1] + "=="))
        return str(content["username"]) if content["exp"] > time.time() else ""

    def _signature(self, signed: str) -> str:
        key = f"generation {self.generation}".encode()
        return _base64(hmac.new(key, signed.encode(), hashlib.sha256).digest())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
