"""The endpoint over real HTTP: who may speak, and what each request is answered."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import SettingsError
from xpcs_assets.intake.server import MOST_BYTES, Endpoint, serve
from xpcs_assets.orchestrate.processes import free_port
from xpcs_assets.secret import SecretReference
from xpcs_assets_tests.unit.conftest import Altered, bare_run

Post = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("a word\n")
    return tmp_path / "token"


@pytest.fixture
def post(altered: Altered, secret: Path) -> Iterator[Post]:
    opened = altered({"runs": {"from": {"documents": "{scan_name}"}}})
    bare_run(opened.source_root / "A001")
    endpoint = Endpoint(opened.site, SecretReference(file=str(secret)))
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(endpoint.app(), host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)

    def send(path: str, body: Any, authorization: str = "Bearer a word") -> tuple[int, dict[str, Any]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Authorization": authorization})
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    yield send
    server.should_exit = True
    thread.join()
    for each in endpoint.opened:
        each.engine.dispose()


def test_a_run_is_submitted_and_its_key_told(post: Post) -> None:
    status, told = post("/beamlines/xpcs/files", {"file_path": "A001"})
    run = {"file_path": "A001", "key": "A001", "known": False, "reason": "", "parked": ""}
    assert (status, told) == (200, {"runs": [run]})


def test_what_is_refused_in_part_or_whole_is_seen_by_the_status(post: Post) -> None:
    assert post("/beamlines/xpcs/files", {"file_path": ["A001", "A002"]})[0] == 207
    status, told = post("/beamlines/xpcs/files", {"file_path": "A001", "is_export_control": True})
    assert (status, told["runs"][0]["key"], bool(told["runs"][0]["parked"])) == (422, "", True)


def test_documents_of_a_scan_submit_its_run(post: Post) -> None:
    assert post("/beamlines/xpcs/documents", ["start", {"uid": "1", "scan_name": "A001"}]) == (200, {"runs": []})
    status, told = post("/beamlines/xpcs/documents", [["stop", {"run_start": "1", "exit_status": "success"}]])
    assert (status, told["runs"][0]["key"]) == (200, "A001")
    assert post("/beamlines/xpcs/documents", {"start": {}})[0] == 400


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer another", "Basic a word", "Bearer ä"])
def test_who_does_not_know_the_word_is_told_nothing(post: Post, token: str) -> None:
    for path in ("/beamlines/xpcs/files", "/beamlines/no/files"):
        assert post(path, {"file_path": "A001"}, token)[0] == 401


def test_the_word_can_be_changed_while_it_listens(post: Post, secret: Path) -> None:
    secret.write_text("another\n")
    assert post("/beamlines/xpcs/files", {"file_path": "A001"})[0] == 401
    assert post("/beamlines/xpcs/files", {"file_path": "A001"}, "Bearer another")[0] == 200


def test_what_cannot_be_understood_is_told(post: Post) -> None:
    assert post("/beamlines/xpcs/files", b"{")[0] == 400
    assert post("/beamlines/no/files", {"file_path": "A001"})[0] == 404
    assert post("/beamlines/xpcs/files", b" " * (MOST_BYTES + 1))[0] == 413


def test_a_site_that_has_none_does_not_listen(beamline: OpenBeamline) -> None:
    with pytest.raises(SettingsError, match=r"Give site\.yaml `intake`"):
        serve(beamline.site)
