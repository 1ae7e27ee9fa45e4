"""A site with its real daemon, webserver and code location on loopback, for all tests of this folder."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.follow import wait
from xpcs_assets.new_site import init
from xpcs_assets.orchestrate.processes import Services, free_port
from xpcs_assets.site import Site
from xpcs_assets.testing.simulate import SimulatedRun, simulate


@dataclass
class Running:
    """A running site, and what a test does to it."""

    site: Site
    services: Services
    beamline: OpenBeamline
    aside: Path
    _seeds: Iterator[int] = field(default_factory=lambda: iter(range(1, 1000)))

    def simulated(self, **options: Any) -> SimulatedRun:
        """A run beside the detector's folder."""
        seed = next(self._seeds)
        settings = {"format": "imm", "frames": 300, "shape": (48, 64), "n_dynamic": 4, "n_static": 12} | options
        return simulate(self.aside, seed=seed, **settings)

    def drop(self, run: SimulatedRun) -> str:
        """Move it into the detector's folder; its run key."""
        run.folder.rename(self.beamline.source_root / run.name)
        return run.name

    def wait(self, key: str, asset: str = "", timeout_s: float = 90) -> int:
        """Exit code of `xpcs-assets wait`."""
        return eventually(lambda: self._wait(key, asset, timeout_s), timeout_s)

    def _wait(self, key: str, asset: str, timeout_s: float) -> int | None:
        if self.beamline.ledger.arrival(self.beamline.name, key.partition("~")[0]) is None:
            return None
        return wait(self.beamline, key, asset=asset, timeout_s=timeout_s)

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask the webserver."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.services.address}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            content: dict[str, Any] = json.load(reply)
        assert "errors" not in content, content
        return content["data"]


def eventually(look: Callable[[], Any], timeout_s: float) -> Any:
    """What ``look`` gives once it gives anything but None or False."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"nothing came in {timeout_s} s")
        time.sleep(0.1)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A running site; what dies is started again, as `xpcs-assets up` does."""
    home = tmp_path_factory.mktemp("site")
    init(home)
    beamline_file = home / "beamlines" / "xpcs.yaml"
    text = beamline_file.read_text().replace("quiet: 5 s", "quiet: 1 s").replace("10 min ", "15 s ")
    beamline_file.write_text(text)
    (home / "token").write_text("a word\n")
    intake = f"{{port: {free_port()}, token: {{file: token}}}}"
    (home / "site.yaml").write_text(f"webserver: {{port: 0}}\nintake: {intake}\n")
    aside = home / "aside"
    aside.mkdir()
    site = Site(home)
    with Services(site) as services:
        ended = threading.Event()
        keeper = threading.Thread(target=_keep, args=(services, ended), daemon=True)
        keeper.start()
        yield Running(site, services, OpenBeamline(site, site.beamlines["xpcs"]), aside)
        ended.set()
        keeper.join()


def _keep(services: Services, ended: threading.Event) -> None:
    while not ended.wait(0.5):
        services.keep()
