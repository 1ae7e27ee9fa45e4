"""The page on quality says what the code does: its tables, lists of fields and pieces of beamline files."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from xpcs_assets.describe.expected_fields import layouts
from xpcs_assets.describe.judgement import in_words
from xpcs_assets.runs.criteria import CRITERIA, PARAMETERS, Criterion
from xpcs_assets.settings_quality import QualitySettings

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "reference" / "quality.md").read_text(encoding="utf-8")


def row_of(criterion: Criterion) -> str:
    limit = in_words(criterion.bound, criterion.limit)
    cells = (f"`{criterion.name}`", criterion.what, criterion.unit or "-", limit, criterion.action, criterion.why)
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("criterion", CRITERIA.values(), ids=list(CRITERIA))
def test_each_judgement_stands_in_the_table_of_its_check_as_the_code_has_it(criterion: Criterion) -> None:
    (section,) = [part for part in PAGE.split("\n## ") if part.startswith(f"`{criterion.check}`")]
    assert row_of(criterion) in section.splitlines()


def test_no_table_has_a_judgement_that_the_code_has_not() -> None:
    named = re.findall(r"^\| `([a-z0-9_]+)` \|(?:[^|]*\|){5}$", PAGE, re.MULTILINE)
    assert named == list(CRITERIA)
    assert all(f"`{name}` (built in: {value:g})" in PAGE for name, (value, _) in PARAMETERS.items())


def test_the_layouts_and_how_many_fields_each_has_are_told() -> None:
    for layout in layouts():
        levels = Counter(field.level for field in layout.fields)
        assert f"| {layout.name} | `{layout.mark}` | {levels['expected']} | {levels['usual']} |" in PAGE


@pytest.mark.parametrize("name", ["reference/quality.md", "how-to/quarantine.md"])
def test_pieces_of_beamline_files_are_taken(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    pieces: list[Any] = [yaml.safe_load(piece) for piece in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    assert pieces
    for piece in pieces:
        assert QualitySettings.model_validate(piece["quality"]).rules.actions
