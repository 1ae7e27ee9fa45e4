"""Start, watch and end the processes of a site: code location, webserver and daemon, all on loopback.

Each runs in a process group of its own and is ended by its process id. One that dies is started again, so that a
crash of the code location costs seconds, not a night.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import IO, Self

import yaml

from xpcs_assets.errors import ComputeError, RefusedError, SettingsError
from xpcs_assets.site import HOME_VARIABLE, Site

GRACE_S = 15.0
START_LIMIT_S = 180.0
_RESTART_AFTER_S = 2.0
_RUNNING = "log/running"
CODE_LOCATION = "xpcs_assets"
_DAEMON = '{instance {daemonHealth {daemonStatus(daemonType: "SENSOR") {healthy}}}}'


@dataclass
class Service:
    """A process to keep running."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0


@dataclass
class Services:
    """The processes of a site: the three of Dagster, and what listens for runs where it has that.

    Attributes
    ----------
    site
        Whose they are.
    web_port, code_port
        Where webserver and code location listen.
    """

    site: Site
    web_port: int = 0
    code_port: int = 0
    _all: list[Service] = field(default_factory=list)
    _lock: IO[str] | None = None

    def __post_init__(self) -> None:
        self.web_port = self.site.settings.webserver.port or free_port()
        self.code_port = free_port()

    @property
    def address(self) -> str:
        """Of the Dagster UI."""
        return f"http://{self.site.settings.webserver.host}:{self.web_port}"

    def start(self) -> None:
        """Start all of them and wait until the UI answers and sensors are looked after.

        Raises
        ------
        RefusedError
            The site is running already: two daemons would do everything twice.
        SettingsError
            The UI's port is taken.
        ComputeError
            A process ended or did not answer in time; its log says why.
        """
        (self.site.home / "log").mkdir(exist_ok=True)
        self._lock = _only_one(self.site)
        try:
            self._start_all()
        except BaseException:
            self.stop()
            raise
        self._lock.truncate(0)
        self._lock.write(self.address)
        self._lock.flush()

    def _start_all(self) -> None:
        host = self.site.settings.webserver.host
        if not is_free(host, self.web_port):
            raise SettingsError(
                f"port {self.web_port} is taken",
                where=self.site.home / "site.yaml",
                remedy="Set webserver.port to another one, or 0 for any that is free",
            )
        listening = self.site.settings.intake
        if listening is not None and not is_free(listening.host, listening.port):
            raise SettingsError(
                f"port {listening.port} is taken", where=self.site.home / "site.yaml", remedy="Give intake.port another"
            )
        workspace = self.site.home / "log" / "workspace.yaml"
        server = {"host": "127.0.0.1", "port": self.code_port, "location_name": CODE_LOCATION}
        workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}), encoding="utf-8")
        code = ["-m", "dagster", "code-server", "start", "-h", "127.0.0.1", "-p", str(self.code_port)]
        self._all = [
            Service("code-location", [*code, "-m", "xpcs_assets.definitions"]),
            Service(
                "webserver",
                ["-m", "dagster_webserver", "-h", host, "-p", str(self.web_port), "-w", str(workspace)],
            ),
            Service("daemon", ["-m", "dagster._daemon", "run", "-w", str(workspace)]),
        ]
        if listening is not None:
            self._all.append(Service("intake", ["-m", "xpcs_assets", "intake", "--home", str(self.site.home)]))
        if self.site.settings.kafka is not None:
            listen = ["-m", "xpcs_assets", "intake", "--kafka", "--home", str(self.site.home)]
            self._all.append(Service("kafka", listen))
        self._all[0].process = self._launch(self._all[0])
        self._wait(lambda: not is_free("127.0.0.1", self.code_port), "code-location")
        for service in self._all[1:]:
            service.process = self._launch(service)
        self._wait(lambda: not is_free(host, self.web_port), "webserver")
        self._wait(lambda: daemon_lives(self.address), "daemon")
        if listening is not None:
            self._wait(lambda: not is_free(listening.host, listening.port), "intake")

    def pid(self, name: str) -> int:
        """Process id of one of them."""
        return next(s.process.pid for s in self._all if s.name == name and s.process is not None)

    def keep(self) -> list[str]:
        """Start again what has died; the names of those."""
        restarted = []
        for service in self._all:
            dead = service.process is not None and service.process.poll() is not None
            if dead and time.monotonic() - service.started_s > _RESTART_AFTER_S:
                service.process = self._launch(service)
                restarted.append(service.name)
        return restarted

    def stop(self) -> None:
        """End all of them and what they started: ask first, then kill."""
        running = [service.process for service in self._all if service.process is not None]
        for process in running:
            _signal_group(process, signal.SIGTERM)
        deadline_s = time.monotonic() + GRACE_S
        for process in running:
            try:
                process.wait(timeout=max(0.1, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal_group(process, signal.SIGKILL)
                process.wait()
            _signal_group(process, signal.SIGKILL)  # what it started and left behind
        self._all = []
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch(self, service: Service) -> subprocess.Popen[bytes]:
        service.started_s = time.monotonic()
        with (self.site.home / "log" / f"{service.name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *service.command],
                env={**os.environ, **environment(self.site)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.site.home,
                start_new_session=True,
            )

    def _wait(self, ready: Callable[[], bool], name: str) -> None:
        service = next(service for service in self._all if service.name == name)
        deadline_s = time.monotonic() + START_LIMIT_S
        while not ready():
            code = service.process.poll() if service.process is not None else None
            if code is not None or time.monotonic() > deadline_s:
                ended = f"ended with {code}" if code is not None else f"did not answer in {START_LIMIT_S:.0f} s"
                log = self.site.home / "log" / f"{name}.log"
                raise ComputeError(f"the {name} {ended}", where=log, remedy=_last_lines(log))
            time.sleep(0.1)


def address_of(site: Site) -> str:
    """Address of a running site's UI; the configured one where the site was started otherwise."""
    try:
        told = (site.home / _RUNNING).read_text(encoding="utf-8")
    except FileNotFoundError:
        told = ""
    return told or f"http://{site.settings.webserver.host}:{site.settings.webserver.port}"


@contextmanager
def not_running(site: Site) -> Iterator[None]:
    """Keep a site from being started meanwhile.

    Raises
    ------
    RefusedError
        It runs.
    """
    (site.home / "log").mkdir(exist_ok=True)
    lock = _only_one(site)
    try:
        yield
    finally:
        lock.close()


def _only_one(site: Site) -> IO[str]:
    """The lock that a running site holds; it goes with the process, however that ends."""
    lock = (site.home / _RUNNING).open("a", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise RefusedError(
            "this site is running already", where=site.home, remedy=f"It is at {address_of(site)}"
        ) from error
    return lock


def environment(site: Site) -> dict[str, str]:
    """What Dagster's processes need to know of a site."""
    return {"DAGSTER_HOME": str(site.dagster_home), HOME_VARIABLE: str(site.home), "PYTHONUNBUFFERED": "1"}


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end this process as Ctrl-C does, with a :class:`KeyboardInterrupt`; as before afterwards.

    What is started meanwhile can be ended by both too. A script's shell has what it starts with ``&`` ignore Ctrl-C;
    Dagster's processes would inherit that, and take SIGTERM for the same signal.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [(number, signal.signal(number, _interrupt)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def is_free(host: str, port: int) -> bool:
    """Tell whether nobody accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return False
    except OSError:
        return True


def daemon_lives(address: str) -> bool:
    """Tell whether the webserver at ``address`` answers and knows of a daemon that looks after sensors."""
    request = urllib.request.Request(  # noqa: S310 - the address is our own
        f"{address}/graphql", json.dumps({"query": _DAEMON}).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:  # noqa: S310
            return bool(json.load(reply)["data"]["instance"]["daemonHealth"]["daemonStatus"]["healthy"])
    except (OSError, HTTPException, ValueError, KeyError, TypeError):  # not yet, or it is another program
        return False


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def _last_lines(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return "Its last words: " + " | ".join(lines[-3:]) if lines else "It said nothing"
