"""What every test may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

ONE_SITE = "end_to_end"


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """With several workers, the tests of the one running site stay in one of them, and it begins first."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent / ONE_SITE):
            item.add_marker(pytest.mark.xdist_group(ONE_SITE))
    yield
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real and golden data that lie beside a checkout of the project; the test is skipped without them."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared data do not lie beside this checkout")
    return folder
