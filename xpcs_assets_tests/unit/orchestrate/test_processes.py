"""Ports, answers and logs of a site's services; the services themselves are started in the end-to-end tests."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from xpcs_assets.errors import ComputeError, RefusedError, SettingsError
from xpcs_assets.orchestrate import processes
from xpcs_assets.orchestrate.processes import (
    Service,
    Services,
    daemon_lives,
    environment,
    free_port,
    interruptible,
    is_free,
)
from xpcs_assets.site import Site


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server


def test_a_free_port_is_free_until_somebody_listens() -> None:
    port = free_port()
    assert is_free("127.0.0.1", port)
    with socket.socket() as server:
        server.bind(("127.0.0.1", port))
        server.listen()
        assert not is_free("127.0.0.1", port)
        assert not is_free("localhost", port)
    assert is_free("127.0.0.1", port)


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_a_port_of_an_ipv6_address_can_be_asked_for() -> None:
    assert is_free("::1", free_port())


def test_sigterm_ends_as_ctrl_c_does_and_neither_is_ignored_by_what_is_started_though_a_shell_said_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ask = "import signal; print([int(signal.getsignal(n) == signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGTERM)])"
    try:
        with interruptible():
            told = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
            for number in (signal.SIGINT, signal.SIGTERM):
                with pytest.raises(KeyboardInterrupt):
                    os.kill(os.getpid(), number)
        assert told.stdout == "[0, 0]\n"
        assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def test_a_port_that_is_taken_is_refused_with_the_setting_to_change(site: Site, listening: socket.socket) -> None:
    port = listening.getsockname()[1]
    (site.home / "site.yaml").write_text(f"webserver: {{port: {port}}}\n")
    services = Services(Site(site.home))
    assert services.address == f"http://127.0.0.1:{port}"
    with pytest.raises(SettingsError, match=rf"site\.yaml: port {port} is taken\. Set webserver\.port"):
        services.start()


def test_a_port_of_the_intake_that_is_taken_is_refused_before_anything_starts(
    site: Site, listening: socket.socket
) -> None:
    port = listening.getsockname()[1]
    intake = f"{{port: {port}, token: {{file: token}}}}"
    (site.home / "site.yaml").write_text(f"webserver: {{port: 0}}\nintake: {intake}\n")
    with pytest.raises(SettingsError, match=rf"port {port} is taken\. Give intake\.port another"):
        Services(Site(site.home)).start()


def test_what_listens_to_kafka_is_a_process_of_its_own(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[list[str]] = []
    monkeypatch.setattr(Services, "_launch", lambda _, service: began.append(service.command))
    monkeypatch.setattr(Services, "_wait", lambda *_: None)
    kafka = 'kafka: {brokers: ["127.0.0.1:9092"], topics: {runs: xpcs}}'
    for text, expected in ((kafka, [["intake", "--kafka", "--home", str(site.home)]]), ("", [])):
        began.clear()
        (site.home / "site.yaml").write_text(f"webserver: {{port: 0}}\n{text}\n")
        services = Services(Site(site.home))
        services.start()
        services.stop()
        assert [command[2:] for command in began if "intake" in command] == expected


def test_port_0_is_any_that_is_free(site: Site) -> None:
    (site.home / "site.yaml").write_text("webserver: {port: 0}\n")
    services = Services(Site(site.home))
    assert services.web_port > 0
    assert services.web_port != services.code_port


def test_the_processes_are_told_of_their_site(site: Site) -> None:
    told = environment(site)
    assert told["XPCS_ASSETS_HOME"] == str(site.home)
    assert told["DAGSTER_HOME"] == str(site.dagster_home)
    assert (site.dagster_home / "dagster.yaml").is_file()


class _Reply(BaseHTTPRequestHandler):
    body = b""

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        return


@pytest.mark.parametrize(
    ("body", "lives"),
    [
        (json.dumps({"data": {"instance": {"daemonHealth": {"daemonStatus": {"healthy": True}}}}}).encode(), True),
        (json.dumps({"data": {"instance": {"daemonHealth": {"daemonStatus": {"healthy": None}}}}}).encode(), False),
        (b'{"data": null, "errors": ["not yet"]}', False),
        (b"<html>another program", False),
    ],
)
def test_a_daemon_lives_when_the_webserver_says_so(monkeypatch: pytest.MonkeyPatch, body: bytes, lives: bool) -> None:
    monkeypatch.setattr(_Reply, "body", body)
    with HTTPServer(("127.0.0.1", 0), _Reply) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert daemon_lives(f"http://127.0.0.1:{server.server_address[1]}") is lives
        thread.join()


def test_no_daemon_lives_where_nobody_listens() -> None:
    assert not daemon_lives(f"http://127.0.0.1:{free_port()}")


def service(services: Services, script: str) -> Service:
    """Keep a small process in place of a real service."""
    (services.site.home / "log").mkdir(exist_ok=True)
    kept = Service("small", ["-c", script])
    services._all = [kept]
    kept.process = services._launch(kept)
    return kept


def test_what_died_is_started_again_with_a_pause_between(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    services = Services(site)
    kept = service(services, "import time; time.sleep(60)")
    assert kept.process is not None
    assert services.keep() == []
    first = services.pid("small")
    kept.process.kill()
    kept.process.wait()
    assert services.keep() == []
    monkeypatch.setattr(processes, "_RESTART_AFTER_S", 0.0)
    assert services.keep() == ["small"]
    assert services.pid("small") != first
    services.stop()


CHILDREN = """
import subprocess, sys, time, pathlib
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path("child").write_text(str(child.pid))
time.sleep(60)
"""


def test_stopping_ends_a_service_and_what_it_started(site: Site) -> None:
    services = Services(site)
    kept = service(services, CHILDREN)
    written = site.home / "child"
    while not written.exists() or not written.read_text():
        time.sleep(0.01)
    services.stop()
    assert kept.process is not None
    assert kept.process.poll() is not None
    deadline_s = time.monotonic() + 5
    stat = Path(f"/proc/{written.read_text()}/stat")
    while stat.exists() and ") Z " not in stat.read_text():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_service_that_ends_at_its_start_is_told_with_its_last_words(site: Site) -> None:
    services = Services(site)
    service(services, "import sys; sys.exit('no room left')")
    with pytest.raises(ComputeError, match=r"small\.log: the small ended with 1\. Its last words: no room left"):
        services._wait(lambda: False, "small")


def loaded(module: str) -> set[str]:
    """The heavy packages that importing a module brings in."""
    heavy = ("numba", "jax", "h5py", "matplotlib", "scipy", "pandas")
    script = f"import {module}, sys, json; print(json.dumps([name for name in {heavy!r} if name in sys.modules]))"
    told = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=120)
    return set(json.loads(told.stdout))


def test_loading_the_definitions_brings_in_no_heavy_package() -> None:
    assert loaded("xpcs_assets.definitions") == set()


def test_a_site_that_is_running_is_not_started_again(site: Site) -> None:
    (site.home / "log").mkdir()
    running = processes._only_one(site)
    running.write("http://127.0.0.1:4711")
    running.flush()
    with pytest.raises(RefusedError, match="running already"):
        Services(site).start()
    running.close()
    processes._only_one(site).close()


def test_the_address_of_a_site_is_what_it_said_when_it_started_or_the_configured_one(site: Site) -> None:
    assert processes.address_of(site) == "http://127.0.0.1:3000"
    (site.home / "log").mkdir()
    (site.home / "log" / "running").write_text("http://127.0.0.1:4711")
    assert processes.address_of(site) == "http://127.0.0.1:4711"
