"""A server on loopback that does what a service is known to do, and fails as it is told to.

What the service answers is its subclass's: see ``scicat_server`` and ``globus_search_server``.
"""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from xpcs_assets.testing.server_faults import Faults, Tokens

RETRY_AFTER_S = 1


class LoopbackServer(ABC):
    """The server; a context manager.

    Attributes
    ----------
    faults
        What is to go wrong.
    tokens
        To expire them.
    seen
        Method, path and status of each request so far; 0 where no answer was given.
    """

    def __init__(self) -> None:
        self.faults = Faults()
        self.tokens = Tokens()
        self.seen: list[tuple[str, str, int]] = []
        self.port = 0
        self._ending = threading.Event()
        self._http: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @abstractmethod
    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        """Status and content of the answer to a request: JSON, or a text's bytes. The headers' names are lower case."""

    @abstractmethod
    def failure(self, status: int) -> Any:
        """What the service says with a status of failure that was ordered."""

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, on the same port as before when it was started before."""
        self._ending.clear()
        server = self

        class Handler(_Handler):
            served = server

        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._http.daemon_threads = False  # so that closing waits for them
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), name=type(self).__name__)
        self._thread.start()

    def stop(self) -> None:
        """Listen no more, and let waiting answers go."""
        self._ending.set()
        if self._http is not None and self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._http.server_close()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Connections are refused meanwhile; what it holds stays."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def wait(self, seconds: float) -> None:
        """Wait, but not beyond the server's end."""
        self._ending.wait(seconds)


class _Handler(BaseHTTPRequestHandler):
    served: LoopbackServer

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        fault = self.served.faults.next(self.command, path)
        status: int = 0
        content: Any = None
        if fault.isdigit() or fault == "500 before":
            status = int(fault.split()[0])
            content = self.served.failure(status)
        elif fault.endswith("proxy"):
            status, content = (502 if fault.startswith("502") else 200), "<html>"
        elif fault not in {"reset", "time-out before"}:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, content = self.served.answer(self.command, self.path, headers, body)
        if fault == "500 after":
            status, content = 500, self.served.failure(500)
        silent = fault.startswith(("reset", "time-out"))
        self.served.seen.append((self.command, path, 0 if silent else status))
        self._end(fault, status, content, silent=silent)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815 - named by http.server

    def _end(self, fault: str, status: int, content: Any, *, silent: bool) -> None:
        if fault.startswith("time-out"):
            self.served.wait(30)
        if fault == "slow":
            self.served.wait(self.served.faults.slow_s)
        if silent:
            self.close_connection = True
            return
        if fault.endswith("proxy"):
            kind, payload = "text/html", content.encode()
        elif isinstance(content, bytes):
            kind, payload = "text/plain", content
        else:
            kind, payload = "application/json; charset=utf-8", json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(payload)))
        if status in {429, 503}:
            self.send_header("Retry-After", str(RETRY_AFTER_S))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: Any) -> None:
        """Say nothing on the console."""
