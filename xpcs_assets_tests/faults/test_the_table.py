"""The reference page on faults: every scenario is in its table with a test that exists, or with the reason why not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "reference" / "faults.md"
FAULTS = tuple(f"F{number:02}" for number in range(1, 61))
INVARIANTS = tuple(f"I{number}" for number in range(1, 23))
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")
NUMBERS = re.compile(r"_f(\d\d)(?=_)")


def rows(first: str) -> dict[str, list[str]]:
    """The cells of each row of the page whose first cell is a number that begins so."""
    found: dict[str, list[str]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and re.fullmatch(rf"{first}\d+", cells[0]):
            assert cells[0] not in found, f"{cells[0]} has two rows"
            found[cells[0]] = cells
    return found


@cache
def there_are() -> frozenset[tuple[str, str]]:
    """Every test: its file below the tests' folder, and its name."""
    return frozenset(
        (file.relative_to(TESTS).as_posix(), node.name)
        for file in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def numbered() -> Iterator[tuple[str, str, str]]:
    """Every test with numbers of faults in its name: number, file and name."""
    for file, name in there_are():
        for number in NUMBERS.findall(name):
            yield f"F{number}", file, name


def test_every_fault_has_a_row_and_every_row_a_test_or_a_reason() -> None:
    table = rows("F")
    assert tuple(table) == FAULTS
    for number, cells in table.items():
        assert len(cells) == 4, number
        _, done, must_hold, held = cells
        assert done, number
        assert must_hold, number
        assert NAMED.search(held) or held.startswith("Not run: "), f"{number} has neither a test nor a reason"


def test_every_invariant_has_a_row_that_says_where_it_is_held() -> None:
    table = rows("I")
    assert tuple(table) == INVARIANTS
    for number, cells in table.items():
        assert len(cells) == 3, number
        assert NAMED.search(cells[2]), f"{number} names no test"


@pytest.mark.parametrize("first", ["F", "I"])
def test_every_test_that_is_named_exists(first: str) -> None:
    named = [test for cells in rows(first).values() for test in NAMED.findall(cells[-1])]
    assert named
    assert [test for test in named if test not in there_are()] == []


def test_every_test_of_a_fault_is_in_the_row_of_its_number() -> None:
    table = rows("F")
    missing = [
        f"{number}: `{file}::{name}`"
        for number, file, name in sorted(numbered())
        if (file, name) not in NAMED.findall(table[number][-1])
    ]
    assert missing == [], "add them to docs/reference/faults.md"
