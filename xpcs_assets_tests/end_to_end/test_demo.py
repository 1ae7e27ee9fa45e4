"""The demonstration is the main job: it must end with 0, and only then."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from xpcs_assets.demo import run_demo

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]


def test_the_demonstration_ends_well_and_says_where_everything_is(tmp_path: Path) -> None:
    said = io.StringIO()
    code = run_demo(tmp_path / "site", Console(file=said, width=200))
    text = said.getvalue()
    assert code == 0, text
    assert text.count("last byte to g2") == 3
    assert "all three runs are right" in text
