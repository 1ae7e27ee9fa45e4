"""What every test may use."""

from __future__ import annotations

import gc
import signal
from pathlib import Path

import pytest

from xpcs_assets_tests import at_the_end, once


def pytest_configure() -> None:
    """Have each process ready for thousands of tests, and its children ended by a signal.

    Also where a shell had the tests ignore Ctrl-C: Dagster has SIGTERM do what SIGINT does once a job runs in this
    process, and what is ignored is inherited.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.disable()  # until all is collected: what is imported stays
    once.compile_statements_once()
    once.build_commands_once()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Begin to look for garbage."""
    once.leave_what_was_collected_alone()
    gc.enable()


def pytest_sessionfinish() -> None:
    """End what the tests of this process have started."""
    at_the_end.end_all()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real and golden data that lie beside a checkout of the project; the test is skipped without them."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared data do not lie beside this checkout")
    return folder
