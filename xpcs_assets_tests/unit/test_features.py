"""The reference page on features: every row says yes with a test that exists, or what lacks, or why not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xpcs_assets_tests.faults.test_the_table import NAMED, there_are

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "features.md"
NUMBERS = (*(str(number) for number in range(1, 100)), *(f"W{number}" for number in range(1, 25)))
LACKS = re.compile(r"(partly|no): \S+")


def rows() -> dict[str, list[str]]:
    """The cells of each row, by its number."""
    found: dict[str, list[str]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
        if line.startswith("|") and re.fullmatch(r"W?\d+", cells[0]):
            assert cells[0] not in found, f"{cells[0]} has two rows"
            found[cells[0]] = cells
    return found


def test_every_feature_has_a_row_in_its_order() -> None:
    assert tuple(rows()) == NUMBERS


@pytest.mark.parametrize("number", NUMBERS)
def test_yes_is_said_with_a_test_and_everything_else_with_what_lacks(number: str) -> None:
    _, feature, here, where, shown = rows()[number]
    assert feature
    assert here == "yes" or LACKS.match(here), f"{number} says neither yes nor what lacks"
    assert where or here.startswith("no: ")
    named = NAMED.findall(shown)
    assert (named == []) == here.startswith("no: "), f"{number}: what is there has a test, what is not has none"
    assert [test for test in named if test not in there_are()] == []
