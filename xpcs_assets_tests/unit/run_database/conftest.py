"""A run database, a site that takes its runs from there, and the parts of it whose clocks a test sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from xpcs_assets.arrive.take import take
from xpcs_assets.arrive.watch import Ready
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.run_database.database import RunDatabase
from xpcs_assets.run_database.report import Reporter
from xpcs_assets.run_database.watch import DatabaseWatch
from xpcs_assets.site import Site
from xpcs_assets_tests.mongo import VARIABLE, Runs, runs
from xpcs_assets_tests.storage import HandStopwatch
from xpcs_assets_tests.unit.conftest import bare_run

QUIET_S = 5.0
GIVE_UP_S = 600.0


@pytest.fixture
def rundb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    with runs() as made:
        monkeypatch.setenv(VARIABLE, made.url)
        yield made


@pytest.fixture
def database(rundb: Runs) -> Iterator[RunDatabase]:
    opened = rundb.open()
    yield opened
    opened.close()


@pytest.fixture
def daq(site: Site, rundb: Runs) -> Iterator[OpenBeamline]:
    """The site's beamline, its runs from the run database."""
    fresh = rundb.feed(site.home)
    opened = OpenBeamline(fresh, fresh.beamline("xpcs"))
    yield opened
    opened.engine.dispose()


class Processing:
    """The sensor's two parts, as a site has them that can be ended and started anew at any time."""

    def __init__(self, beamline: OpenBeamline, rundb: Runs, holder: str = "a site") -> None:
        self.beamline = beamline
        self.rundb = rundb
        self.database = rundb.open(holder)
        self.clock = HandStopwatch()
        self.start()

    def start(self) -> None:
        self.watch = DatabaseWatch(self.beamline, self.database, self.clock)
        self.reporter = Reporter(self.beamline, self.database)

    def put(self, number: int) -> Path:
        return bare_run(self.beamline.source_root / f"{number:06d}")

    def look(self, limit: int = 20) -> list[Ready]:
        return self.watch.look(limit)

    def settle(self, limit: int = 20) -> list[str]:
        """Look, wait for the quiet time and look again: the keys that are asked for."""
        first = self.look(limit)
        self.clock.seconds += QUIET_S
        return [ready.key for ready in [*first, *self.look(limit)]]

    def tick(self) -> list[Ready]:
        self.reporter.report()
        return self.look()

    def note(self, key: str, step: str, what: str = "done") -> None:
        self.beamline.ledger.note("xpcs", key, step, what, {"partition": key})

    def done(self, number: int) -> None:
        """All that an ingest run does for the ledger."""
        key = f"{number:06d}"
        take(self.beamline, key)
        for step in ("raw_file", "staged_copy", "correlation", "plots", "metadata", "catalog_entry", "result_entry"):
            self.note(key, step)


@pytest.fixture
def processing(daq: OpenBeamline, rundb: Runs) -> Iterator[Processing]:
    made = Processing(daq, rundb)
    yield made
    made.database.close()
