"""A run that is taken, staged and archived a moment ago, and the storage as its caretaker sees it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from xpcs_assets.audit.scope import Scope
from xpcs_assets_tests.storage import BEAMLINE, Storage


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    storage = Storage.build(tmp_path).fill()
    yield storage
    storage.close()


@pytest.fixture
def scope(storage: Storage) -> Scope:
    return scope_of(storage)


def scope_of(storage: Storage) -> Scope:
    return Scope(BEAMLINE, storage.ledger, storage.places)


def flip(file: Path, at: int = 0) -> bytes:
    """Flip one bit of a file at rest; the bytes that it held."""
    data = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    return data
