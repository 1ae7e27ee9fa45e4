"""What a rule wants of a value: a name pattern, a number, or a comparison with one."""

from __future__ import annotations

import pytest

from xpcs_assets.runs.matching import Wanted, fits, problem_with


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("dark_003", "dark*"),
        ("2", 2),
        (2.0, 2),
        (True, True),
        (True, "true"),
        (1, True),
        ([["a"], ["led_1"]], "led*"),
        (100, ">= 100"),
        ("1e3", "> 999"),
        (5, "!=4"),
        (4.0, "== 4"),
        (-1, "<0"),
        (0, "<= 0"),
    ],
)
def test_a_value_fits(value: object, wanted: Wanted) -> None:
    assert fits(value, wanted)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("Dark", "dark*"),
        (None, "*"),
        ([], "*"),
        ({"shape": [100], "min": 0}, "*"),
        ("fast", "> 1"),
        ("fast", "!= 1"),
        (float("nan"), ">= 0"),
        (99, ">= 100"),
        (100, "> 100"),
        (4, "!= 4"),
        ("two", 2),
        (False, True),
    ],
)
def test_a_value_does_not_fit(value: object, wanted: Wanted) -> None:
    assert not fits(value, wanted)


@pytest.mark.parametrize("wanted", [">", ">= fast", "<5 keV"])
def test_a_comparison_needs_a_number(wanted: str) -> None:
    assert problem_with(wanted) == f"{wanted!r} compares with no number"
    assert not problem_with("=5")
