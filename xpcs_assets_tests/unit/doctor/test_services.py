"""What answers over the network, as the doctor sees it: hosts, catalogs, back ends, the site's own processes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import yaml

from xpcs_assets.doctor import services
from xpcs_assets.doctor.found import Found, State, look_at_all
from xpcs_assets.orchestrate.processes import free_port
from xpcs_assets.run_database import database
from xpcs_assets.site import SITE_FILE, Site
from xpcs_assets_tests import mongo, sshd


@contextmanager
def answering(status: int, content: object) -> Iterator[int]:
    """A server that answers every POST alike; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content if isinstance(content, bytes) else json.dumps(content).encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


Said = Callable[[dict[str, Any]], dict[str, Found]]


@pytest.fixture
def looked(site: Site) -> Said:
    def look(said: dict[str, Any]) -> dict[str, Found]:
        content = {"title": "XPCS", "webserver": {"port": free_port()}, **said}
        (site.home / SITE_FILE).write_text(yaml.safe_dump(content), encoding="utf-8")
        probes = list(services.probes(Site(site.home), 10.0))
        return {found.what: found for found in look_at_all(probes, 30.0)}

    return look


def dagster(*, healthy: bool = True, location: str = "RepositoryLocation") -> dict[str, Any]:
    daemons = [
        {"daemonType": "SENSOR", "required": True, "healthy": True},
        {"daemonType": "QUEUED_RUN_COORDINATOR", "required": True, "healthy": healthy},
        {"daemonType": "BACKFILL", "required": False, "healthy": False},
    ]
    entries = [{"name": "xpcs_assets", "locationOrLoadError": {"__typename": location}}]
    return {
        "data": {
            "instance": {"daemonHealth": {"allDaemonStatuses": daemons}},
            "workspaceOrError": {"locationEntries": entries},
        }
    }


def test_dagster_knows_what_it_is_asked() -> None:
    graphql = pytest.importorskip("graphql")
    schema = pytest.importorskip("dagster_graphql.schema").create_schema().graphql_schema
    assert graphql.validate(schema, graphql.parse(services.DAGSTER_QUERY)) == []


@pytest.mark.parametrize(
    ("status", "answer", "state", "reason"),
    [
        (200, dagster(), State.OK, "queued_run_coordinator, sensor"),
        (200, dagster(healthy=False), State.WRONG, "QUEUED_RUN_COORDINATOR is not healthy"),
        (200, dagster(location="PythonError"), State.WRONG, "code location xpcs_assets does not load"),
        (200, b"<html>", State.WRONG, "does not answer as this site's webserver"),
        (500, [], State.WRONG, "does not answer as this site's webserver"),
    ],
)
def test_daemon_queue_and_code_location(looked: Said, status: int, answer: object, state: State, reason: str) -> None:
    with answering(status, answer) as port:
        found = looked({"webserver": {"port": port}})["daemon"]
    assert (found.state, reason in found.reason) == (state, True)


def test_a_site_that_is_not_up_is_skipped_and_says_how_to_start_it(looked: Said) -> None:
    found = looked({})
    assert found["daemon"].state is found["intake"].state is State.SKIPPED
    assert "xpcs-assets up" in found["daemon"].reason


@pytest.mark.parametrize(("status", "state"), [(401, State.OK), (200, State.WRONG)])
def test_an_intake_sends_away_who_has_no_token(looked: Said, status: int, state: State) -> None:
    with answering(status, {}) as port:
        assert looked({"intake": {"port": port, "token": {"variable": "X"}}})["intake"].state is state


def test_an_intake_that_is_down_while_the_site_is_up_is_wrong(looked: Said) -> None:
    intake = {"port": free_port(), "token": {"variable": "X"}}
    assert looked({"intake": intake})["intake"].state is State.SKIPPED
    with answering(200, dagster()) as port:
        assert looked({"intake": intake, "webserver": {"port": port}})["intake"].state is State.WRONG


def test_a_catalog_or_back_end_that_does_not_answer_is_wrong_and_the_reason_says_which(looked: Said) -> None:
    scicat = {"kind": "scicat", "url": f"http://127.0.0.1:{free_port()}", "contact_email": "a@example.org"}
    cluster = {"kind": "slurm", "programs": "/nowhere", "folder": "/scratch", "python": "python3"}
    found = looked(
        {"catalogs": {"scicat": {**scicat, "token": {"variable": "X"}}}, "compute": {"cluster": cluster}},
    )
    for what in ("catalog scicat", "compute cluster"):
        assert (found[what].state, bool(found[what].reason)) == (State.WRONG, True)
    assert "/nowhere/sinfo" in found["compute cluster"].reason


@pytest.mark.skipif(bool(sshd.why_missing()), reason=sshd.why_missing())
def test_a_host_is_called(looked: Said, site: Site) -> None:
    commands = sshd.server().commands
    said = {
        "address": commands.address,
        "port": commands.port,
        "user": commands.user,
        "key": commands.key,
        "known_hosts": commands.known_hosts,
    }
    found = looked({"hosts": {"far": said, "dead": {**said, "port": free_port()}}})
    assert (found["host far"].state, found["host dead"].state) == (State.OK, State.WRONG)
    assert "refused" in found["host dead"].reason


def test_a_run_database_is_asked_and_nothing_in_it_is_claimed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def look() -> Found:
        return {one.what: one for one in look_at_all(list(services.probes(Site(site.home), 10.0)), 30.0)}[
            "xpcs run database"
        ]

    with mongo.runs() as rundb:
        monkeypatch.setenv(mongo.VARIABLE, rundb.url)
        rundb.feed(site.home)
        found = look()
        assert (found.state, found.reason) == (State.OK, "it answers")
    monkeypatch.setenv(
        mongo.VARIABLE, f"mongodb://someone:hunter2@127.0.0.1:{free_port()}/?serverSelectionTimeoutMS=500"
    )
    monkeypatch.setattr(database, "_LIMIT_MS", 1000)
    found = look()
    assert (found.state, "hunter2" in f"{found.reason}{found.remedy}") == (State.WRONG, False)
