"""A beamline whose places are collections of a Globus that stands on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.clock import utc_now
from xpcs_assets.copies.ledger import Ledger, Transfer
from xpcs_assets.places import globus_site
from xpcs_assets.site import Site
from xpcs_assets.testing.globus_transfer_server import GlobusTransferServer
from xpcs_assets.testing.globus_transfer_tasks import Task
from xpcs_assets_tests.globus_transfer import account_for
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.conftest import bare_run

PLACES = ("detector", "store", "eagle")


@dataclass
class GlobusSite:
    """A site at home with that Globus, its beamline open; the clock stands still until it is moved."""

    home: Path
    server: GlobusTransferServer
    beamline: OpenBeamline
    clock: HandClock

    def restart(self) -> OpenBeamline:
        """The beamline as another process opens it."""
        self.beamline.engine.dispose()
        self.beamline = _opened(self.home, self.clock)
        return self.beamline

    def taken(self, key: str = "A001") -> None:
        """A run that was taken at the detector."""
        submit(self.beamline, bare_run(self.beamline.source_root / key), as_is=True)
        take(self.beamline, key)

    @property
    def tasks(self) -> list[Task]:
        """All that was ever begun."""
        return list(self.server.service.tasks.values())

    def transfers(self, key: str = "A001") -> tuple[Transfer, ...]:
        """What the ledger has of them."""
        return self.beamline.ledger.transfers_of("xpcs", key, 1)


@contextmanager
def globus_site_at(home: Path, monkeypatch: pytest.MonkeyPatch, copies: tuple[str, ...]) -> Iterator[GlobusSite]:
    """Turn the site at ``home`` into one whose detector, store and eagle are collections."""
    with GlobusTransferServer() as server:
        monkeypatch.setattr(globus_site, "account_of", lambda site: account_for(server, home))
        file = home / "beamlines" / "xpcs.yaml"
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        (home / "eagle").mkdir()
        content["places"] |= {name: _place(home, server.service.share, name) for name in PLACES}
        content["pipeline"]["copies"] = list(copies)
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        with (home / "site.yaml").open("a", encoding="utf-8") as more:
            more.write("\nglobus: {token: {variable: NOT_ASKED_FOR}}\n")
        clock = HandClock(utc_now())
        made = GlobusSite(home, server, _opened(home, clock), clock)
        try:
            yield made
        finally:
            made.beamline.engine.dispose()


def _place(home: Path, share: Callable[[Path, str], str], name: str) -> dict[str, Any]:
    root = f"/facility/{name}"
    return {
        "kind": "globus",
        "collection": share(home / name, root),
        "root": root,
        "mounted_at": name,
        "failure_domain": f"room of the {name}",
    }


def _opened(home: Path, clock: HandClock) -> OpenBeamline:
    site = Site(home)
    beamline = OpenBeamline(site, site.beamline("xpcs"))
    beamline.__dict__["ledger"] = Ledger(beamline.engine, clock)
    return beamline
