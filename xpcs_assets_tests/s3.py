"""A real S3 service on loopback (moto's), which fails as it is told to, and what the tests of places in S3 share.

It does not compare the digests that are sent with the bytes: what is damaged is put there by a second client.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

from xpcs_assets.places.s3_bucket import Bucket
from xpcs_assets.secret import SecretReference
from xpcs_assets.testing.server_faults import Faults

KEY_ID = "AKIATHEIDOFTHEKEY"
SECRET = "the/secret+of/the+key"  # noqa: S105 - it opens nothing
_CODES = {"403": "AccessDenied", "404": "NoSuchKey", "409": "ConditionalRequestConflict", "500": "InternalError"}


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        """Say nothing on the console."""


@dataclass(eq=False)
class S3Server:
    """The service.

    Attributes
    ----------
    faults
        What is to go wrong, but for slow answers; the path that a fault is matched with has its query.
    cut_after_bytes
        The next answers to GET break off after so many bytes of their body.
    page
        How many names it lists in one answer, at most; 0 for the thousand of S3.
    ignores_conditions
        Whether it writes whatever ``If-None-Match`` says, as services do that do not know it.
    on_request
        Called before and after each request is done, with its number, counted from 1, and "before" or "after".
    seen
        Method and path of each request.
    """

    faults: Faults = field(default_factory=Faults)
    cut_after_bytes: list[int] = field(default_factory=list)
    page: int = 0
    ignores_conditions: bool = False
    on_request: Callable[[int, str], None] = lambda number, when: None
    seen: list[tuple[str, str]] = field(default_factory=list)
    buckets: set[str] = field(default_factory=set)
    port: int = 0

    def start(self) -> None:
        """Listen, on the same port as before when it was started before."""
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from moto.s3 import models

        models.S3_UPLOAD_PART_MIN_SIZE = 1  # as S3 demands 5 MiB, which only takes time here
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._http = make_server("127.0.0.1", self.port, self, threaded=True, request_handler=_Quiet)
        self.port = self._http.server_address[1]
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), name="s3", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Listen no more; what it holds stays."""
        self._ending.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Connections are refused meanwhile."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def reset(self) -> None:
        """Nothing goes wrong any more, and nothing was seen."""
        self.faults.ordered.clear()
        self.cut_after_bytes.clear()
        self.seen.clear()
        self.page = 0
        self.ignores_conditions = False
        self.on_request = lambda number, when: None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    @cache  # noqa: B019 - there is one service in a process
    def client(self) -> Any:
        """A client that is not the place's."""
        from boto3.session import Session
        from botocore.config import Config

        config = Config(request_checksum_calculation="when_required", s3={"addressing_style": "path"})
        return Session().client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="other",
            aws_secret_access_key="other",  # noqa: S106 - it opens nothing
            config=config,
        )

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        target = f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}"
        self.seen.append((method, target))
        number = len(self.seen)
        fault = self.faults.next(method, target)
        self.on_request(number, "before")
        if self.page and "list-type" in target:
            environ["QUERY_STRING"] += f"&max-keys={self.page}"
        if self.ignores_conditions:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        if fault in {"reset", "time-out before"}:
            return self._silent(fault, environ, start_response)
        if fault.endswith("proxy"):
            return _page(fault, environ, start_response)
        if fault and not fault.endswith(" after"):
            return _refusal(fault.split()[0], environ, start_response)
        answer: list[Any] = []
        body = b"".join(self._moto(environ, lambda status, headers, info=None: answer.extend([status, headers])))
        self.on_request(number, "after")
        if fault == "500 after":
            return _refusal("500", environ, start_response)
        if fault.endswith(" after"):
            return self._silent(fault, environ, start_response)
        start_response(*answer)
        if method == "GET" and self.cut_after_bytes and len(body) > self.cut_after_bytes[0]:
            return _cut(body[: self.cut_after_bytes.pop(0)], environ)
        return [body]

    def _silent(self, fault: str, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if fault.startswith("time-out"):
            self._ending.wait(30)
        _hang_up(environ)
        start_response("500 no answer", [])
        return [b""]


def _page(fault: str, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    status = "502 Bad Gateway" if fault.startswith("502") else "200 OK"
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response(status, [("Content-Type", "text/html"), ("Content-Length", "6")])
    return [b"<html>"]


def _refusal(status: str, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    code = _CODES.get(status, "Refused")
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>no</Message></Error>'.encode()
    start_response(f"{status} Refused", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body] if environ["REQUEST_METHOD"] != "HEAD" else [b""]


def _cut(part: bytes, environ: dict[str, Any]) -> Iterator[bytes]:
    yield part
    _hang_up(environ)


def _hang_up(environ: dict[str, Any]) -> None:
    with_socket: socket.socket = environ["werkzeug.socket"]
    with_socket.shutdown(socket.SHUT_RDWR)


@cache
def s3_server() -> S3Server:
    """The service of this process; it is started when first asked for, and ends with the process."""
    server = S3Server()
    server.start()
    return server


def made_bucket(server: S3Server, folder: Path, name: str = "data", prefix: str = "", **changes: Any) -> Bucket:
    """A part of a bucket, which is made where it is not there; the access key lies in ``folder``."""
    for file, text in (("id", KEY_ID), ("secret", SECRET)):
        (folder / file).write_text(text + "\n", encoding="utf-8")
    if name not in server.buckets:
        server.client().create_bucket(Bucket=name)
        server.buckets.add(name)
    asked: dict[str, Any] = {
        "name": name,
        "prefix": prefix,
        "endpoint": server.url,
        "access_key_id": SecretReference(file=str(folder / "id")),
        "secret_access_key": SecretReference(file=str(folder / "secret")),
        "connect_s": 2.0,
        "read_s": 2.0,
        "attempts": 2,
    }
    return Bucket(**{**asked, **changes})


def keys_of(server: S3Server, name: str, prefix: str = "") -> dict[str, bytes]:
    """All objects of a bucket, as another client sees them."""
    client = server.client()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=name, Prefix=prefix)
    keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
    return {key: client.get_object(Bucket=name, Key=key)["Body"].read() for key in keys}


def uploads_of(server: S3Server, name: str) -> list[str]:
    """The keys of the unfinished uploads of a bucket."""
    return [upload["Key"] for upload in server.client().list_multipart_uploads(Bucket=name).get("Uploads", ())]
