"""What the engine's tests share."""

from __future__ import annotations

import pytest

from xpcs_assets.engine.device import keep_compiled


@pytest.fixture(scope="session", autouse=True)
def compiled_programs() -> None:
    """What jax compiles is kept for the next run of the tests, as what numba compiles is."""
    keep_compiled()
