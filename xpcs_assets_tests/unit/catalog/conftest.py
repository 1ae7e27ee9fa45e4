"""An embedded catalog in a fresh file, with a clock that tests move."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from xpcs_assets.catalog.embedded import EmbeddedCatalog
from xpcs_assets.copies.database import migrate, open_database
from xpcs_assets_tests.storage import HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def catalog(tmp_path: Path, clock: HandClock) -> Iterator[EmbeddedCatalog]:
    engine = open_database(f"sqlite:///{tmp_path / 'site.db'}")
    migrate(engine)
    yield EmbeddedCatalog(engine, clock)
    engine.dispose()
