"""The HTTP endpoint: who may speak, what a request must look like, and what it is answered.

``POST /beamlines/NAME/files`` and ``POST /beamlines/NAME/documents``, JSON, with ``Authorization: Bearer TOKEN``.
"""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import InputError, NotFoundError, SettingsError, XpcsAssetsError
from xpcs_assets.intake.taking import Said, take_documents, take_files
from xpcs_assets.secret import SecretReference
from xpcs_assets.site import Site

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse

MOST_BYTES = 4 << 20
"""Of a request's body."""
_STATUS = {NotFoundError: 404, InputError: 400, SettingsError: 409}
Take = Callable[[OpenBeamline, Any], tuple[Said, ...]]


class Endpoint:
    """A site's intake.

    Parameters
    ----------
    site
        Whose.
    token
        Where the secret lies that a caller must know; read for every request, so that it can be changed.
    """

    def __init__(self, site: Site, token: SecretReference) -> None:
        self._site = site
        self._token = token
        self._open: dict[str, OpenBeamline] = {}
        self._opening = threading.Lock()

    @property
    def opened(self) -> tuple[OpenBeamline, ...]:
        """The beamlines that were spoken of so far."""
        return tuple(self._open.values())

    def app(self) -> Starlette:
        """The application, for uvicorn."""
        from starlette.applications import Starlette
        from starlette.routing import Route

        return Starlette(
            routes=[
                Route("/beamlines/{beamline}/files", self._route(take_files), methods=["POST"]),
                Route("/beamlines/{beamline}/documents", self._route(take_documents), methods=["POST"]),
            ]
        )

    def _route(self, take: Take) -> Callable[[Request], Any]:
        from starlette.concurrency import run_in_threadpool

        async def route(request: Request) -> JSONResponse:
            from starlette.responses import JSONResponse

            if not self._may_speak(request.headers.get("authorization", "")):
                return JSONResponse({"error": "the token is missing or wrong"}, 401, {"WWW-Authenticate": "Bearer"})
            body = bytearray()
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST_BYTES:
                    return JSONResponse({"error": f"a request has at most {MOST_BYTES} bytes"}, 413)
            status, content = await run_in_threadpool(self._answer, request.path_params["beamline"], take, bytes(body))
            return JSONResponse(content, status)

        return route

    def _may_speak(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token.read().encode())

    def _answer(self, name: str, take: Take, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and content: 200 when all was taken, 207 when a part was, 422 when nothing was."""
        try:
            said = take(self._beamline(name), _json(body))
        except XpcsAssetsError as error:
            status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
            return status, {"error": error.what, "remedy": error.remedy}
        refused = sum(bool(one.reason) for one in said)
        status = 200 if not refused else 422 if refused == len(said) else 207
        return status, {"runs": [asdict(one) for one in said]}

    def _beamline(self, name: str) -> OpenBeamline:
        with self._opening:
            if name not in self._open:
                opened = OpenBeamline(self._site, self._site.beamline(name))
                opened.ledger  # noqa: B018 - opened here, by one thread: each request has a thread of its own
                self._open[name] = opened
            return self._open[name]


def serve(site: Site) -> None:
    """Listen until interrupted.

    Raises
    ------
    SettingsError
        The site has no `intake`, or its secret cannot be read.
    """
    import uvicorn

    settings = site.settings.intake
    token = site.secret(settings.token) if settings is not None else None
    if settings is None or token is None:
        raise SettingsError("this site takes nothing over HTTP", where=site.home, remedy="Give site.yaml `intake`")
    token.read()
    app = Endpoint(site, token).app()
    uvicorn.run(app, host=settings.host, port=settings.port, log_level="warning", server_header=False)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise InputError("the request is no JSON", remedy="Send one JSON value") from error
