"""A run database for tests: in the server that ``XPCS_TEST_MONGODB_URL`` names, or in one on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymongo import MongoClient

from xpcs_assets.run_database.database import RunDatabase
from xpcs_assets.secret import SecretReference
from xpcs_assets.settings_run_database import RunDatabaseSettings
from xpcs_assets.site import Site
from xpcs_assets.testing.mongo_server import MongoServer

URL = "XPCS_TEST_MONGODB_URL"
VARIABLE = "XPCS_RUN_DATABASE"
_numbers = count(1)


class Runs:
    """The run database as people and the DAQ write it, and the server it is in; the latter None for a real one."""

    def __init__(self, client: MongoClient[dict[str, Any]], url: str, server: MongoServer | None) -> None:
        self.client = client
        self.url = url
        self.server = server
        self.name = f"xpcs_test_{os.getpid()}_{next(_numbers)}"
        self.collection = client[self.name]["runs"]

    @property
    def settings(self) -> dict[str, Any]:
        """What a beamline file says of it."""
        return {
            "url": {"variable": VARIABLE},
            "database": self.name,
            "collection": "runs",
            "switch": f"{self.name}.processing",
            "source": {"place": "detector", "path": "{number:06d}/"},
        }

    def feed(self, home: Path, **source: object) -> Site:
        """The site in ``home``, the runs of its beamline ``xpcs`` from this database."""
        file = home / "beamlines" / "xpcs.yaml"
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        content["runs"] |= {"from": {"run_database": self.settings, **source}, "key": "{number}"}
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        return Site(home)

    def open(self, holder: str = "a site", **changes: object) -> RunDatabase:
        settings = RunDatabaseSettings.model_validate({**self.settings, **changes})
        return RunDatabase(settings, SecretReference(variable=VARIABLE), holder=holder, host="a-host")

    def add(self, number: int, **changes: object) -> None:
        """A run that has ended."""
        start = datetime.now(UTC) - timedelta(hours=2)
        run = {"number": number, "start": start, "end": start + timedelta(hours=1), "mode": "bkg", "detectors": "xams"}
        document = {**run, "tags": [], "data": [], **changes}
        self.collection.insert_one({name: value for name, value in document.items() if value is not ...})

    def run(self, number: int) -> dict[str, Any]:
        found = self.collection.find_one({"number": number})
        assert found is not None
        return found

    def change(self, number: int, **fields: object) -> None:
        assert self.collection.update_one({"number": number}, {"$set": fields}).matched_count == 1

    def status(self, number: int) -> tuple[str, str]:
        said = self.run(number).get("processing_status", {})
        return said.get("status", ""), said.get("reason", "")

    def switch(self, status: str) -> None:
        switches = self.client[self.name]["processing"]
        switches.update_one({"name": "auto_processing"}, {"$set": {"status": status}}, upsert=True)

    def breaking(self) -> MongoServer:
        """The server, to be ended on purpose."""
        if self.server is None:
            pytest.skip(f"the server that {URL} names is nobody's to end")
        return self.server


@contextmanager
def runs() -> Iterator[Runs]:
    """A fresh run database; it is dropped at the end."""
    if url := os.environ.get(URL):
        with _client(url) as client:
            yield from _dropped(Runs(client, url, None))
        return
    with MongoServer() as server, _client(server.url) as client:
        yield from _dropped(Runs(client, server.url, server))


def _client(url: str) -> MongoClient[dict[str, Any]]:
    return MongoClient(url, tz_aware=True, timeoutMS=10_000)


def _dropped(made: Runs) -> Iterator[Runs]:
    try:
        yield made
    finally:
        made.client.drop_database(made.name)
