"""A ledger in a fresh database: every test of these books runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from xpcs_assets.copies.database import open_database
from xpcs_assets.copies.ledger import Ledger
from xpcs_assets_tests import postgres
from xpcs_assets_tests.storage import HandClock, empty_ledger

KINDS = ("sqlite", "postgresql")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated database."""
    if request.param == "sqlite":
        (tmp_path / "ledger.db").write_bytes(empty_ledger())
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    if reason := postgres.why_missing():
        pytest.skip(reason)
    with postgres.database() as made:
        yield made


@pytest.fixture
def ledger(url: str, clock: HandClock) -> Iterator[Ledger]:
    engine = open_database(url)
    yield Ledger(engine, clock)
    engine.dispose()


@pytest.fixture
def sqlite_ledger(tmp_path: Path, clock: HandClock) -> Iterator[Ledger]:
    (tmp_path / "ledger.db").write_bytes(empty_ledger())
    engine = open_database(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield Ledger(engine, clock)
    engine.dispose()
