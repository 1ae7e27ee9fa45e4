"""Choosing runs among many: every condition must hold, and what cannot be understood is refused."""

from __future__ import annotations

import pytest

from xpcs_assets.errors import SettingsError
from xpcs_assets.runs.selection import Selection, number_in, ranges_of

RUNS = ["A053_silica", "A054_silica", "A055_latex", "B060_silica", "dark"]


def told(run: str) -> tuple[str, str, dict[str, str]]:
    return f"2025-1/{run}", run, {"cycle": "2025-1", "run": run}


def chosen(selection: Selection) -> list[str]:
    return list(selection.among(RUNS, told))


def test_without_conditions_all_are_meant() -> None:
    assert chosen(Selection()) == RUNS


def test_numbers_are_those_in_the_names_and_a_run_without_one_is_not_meant() -> None:
    assert chosen(Selection.of(numbers="53-54,60")) == ["A053_silica", "A054_silica", "B060_silica"]


def test_every_condition_must_hold() -> None:
    both = Selection.of(fields=["run=A*", "cycle=2025-*"], match="silica$", numbers="54-60")
    assert chosen(both) == ["A054_silica"]
    assert chosen(Selection.of(fields=["cycle=2024-1"])) == []


def test_an_expression_is_looked_for_in_the_whole_path() -> None:
    assert chosen(Selection.of(match=r"2025-1/A05[35]")) == ["A053_silica", "A055_latex"]


def test_a_limit_counts_what_is_meant_from_where_it_starts() -> None:
    assert chosen(Selection.of(start_from="A054_silica", limit=2)) == ["A054_silica", "A055_latex"]


def test_a_field_that_no_path_has_is_refused() -> None:
    selection = Selection.of(fields=["cycle=2", "experiment=x"])
    selection.refuse_unknown(["cycle", "experiment"], "xpcs")
    with pytest.raises(SettingsError, match=r"have no experiment\. There are: cycle, run"):
        selection.refuse_unknown(["cycle", "run"], "xpcs")


def test_a_number_in_the_middle_of_a_longer_one_is_another_number() -> None:
    assert [number_in(name) for name in ("600", "6000", "x600y1")] == [600, 6000, 600]


@pytest.mark.parametrize("text", ["", "a", "5-", "-5", "7-5", "1,,2", "1;2", "٥x"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"53-57,60"):
        ranges_of(text)


def test_a_range_may_hold_blanks() -> None:
    assert ranges_of(" 5 - 7 , 9") == ((5, 7), (9, 9))


@pytest.mark.parametrize(("fields", "match"), [(["cycle"], ""), (["=x"], ""), ([], "(")])
def test_what_cannot_be_understood_is_refused(fields: list[str], match: str) -> None:
    with pytest.raises(SettingsError):
        Selection.of(fields=fields, match=match)
