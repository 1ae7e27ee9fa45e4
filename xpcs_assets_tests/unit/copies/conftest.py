"""A ledger in a fresh file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from xpcs_assets.copies.database import migrate, open_database
from xpcs_assets.copies.ledger import Ledger
from xpcs_assets_tests.storage import HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def ledger(tmp_path: Path, clock: HandClock) -> Iterator[Ledger]:
    engine = open_database(f"sqlite:///{tmp_path / 'ledger.db'}")
    migrate(engine)
    yield Ledger(engine, clock)
    engine.dispose()
