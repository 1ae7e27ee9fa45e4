"""What every test may use."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest


def pytest_configure() -> None:
    """Let children be ended by a signal, also where a shell had the tests ignore Ctrl-C.

    Dagster has SIGTERM do what SIGINT does once a job runs in this process, and what is ignored is inherited.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real and golden data that lie beside a checkout of the project; the test is skipped without them."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared data do not lie beside this checkout")
    return folder
