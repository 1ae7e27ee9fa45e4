"""A run that is taken, staged and archived, and whose time at the detector is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from xpcs_assets_tests.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    storage = Storage.build(tmp_path).fill()
    yield storage
    storage.close()
