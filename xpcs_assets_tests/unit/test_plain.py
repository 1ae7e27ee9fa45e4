"""Words for people."""

from __future__ import annotations

import pytest

from xpcs_assets.plain import counted, plain, size


def test_control_characters_and_those_that_turn_text_around_are_shown_as_what_they_are() -> None:
    assert plain("a\x1b[2J\u202e\tb é µ") == "a\ufffd[2J\ufffd\ufffdb é µ"


@pytest.mark.parametrize(
    ("size_bytes", "told"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1234567, "1.23 MB"), (2e12, "2 TB"), (5e18, "5e+03 PB")],
)
def test_a_size_is_told_in_the_largest_unit_that_it_fills(size_bytes: float, told: str) -> None:
    assert size(size_bytes) == told


def test_one_thing_is_one_and_all_others_are_many() -> None:
    assert [counted(number, "file") for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
