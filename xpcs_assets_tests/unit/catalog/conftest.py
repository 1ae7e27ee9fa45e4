"""An embedded catalog in a fresh database of each kind, with a clock that tests move."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from xpcs_assets.catalog.embedded import EmbeddedCatalog
from xpcs_assets.catalog.reader import CatalogReader
from xpcs_assets.catalog.viewer import OPERATOR
from xpcs_assets.copies.database import open_database
from xpcs_assets_tests import postgres
from xpcs_assets_tests.storage import HandClock, empty_ledger


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated database."""
    if request.param == "sqlite":
        (tmp_path / "site.db").write_bytes(empty_ledger())
        yield f"sqlite:///{tmp_path / 'site.db'}"
        return
    if reason := postgres.why_missing():
        pytest.skip(reason)
    with postgres.database() as made:
        yield made


@pytest.fixture
def catalog(url: str, clock: HandClock) -> Iterator[EmbeddedCatalog]:
    engine = open_database(url)
    yield EmbeddedCatalog(engine, clock)
    engine.dispose()


@pytest.fixture
def reader(catalog: EmbeddedCatalog, clock: HandClock) -> CatalogReader:
    return CatalogReader(catalog.engine, OPERATOR, clock)
