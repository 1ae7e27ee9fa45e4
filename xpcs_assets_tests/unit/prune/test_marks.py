"""The water marks, a byte on each side."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xpcs_assets.places.place import Usage
from xpcs_assets.prune.marks import Marked, by_marks
from xpcs_assets.runs.retention import Retention

PLAIN = Retention(keep_for_s=1, min_copies=1)
MARKS = replace(PLAIN, high_water=0.57, low_water=0.29)  # neither is a binary fraction
TOTAL = 1000
HIGH, LOW = 570, 290


def usage(used_bytes: int, total_bytes: int = TOTAL) -> Usage:
    return Usage(used_bytes, total_bytes - used_bytes)


def test_without_marks_all_that_may_go_goes() -> None:
    assert by_marks([1, 2, 3], None, 0, PLAIN) == Marked(3, "")


def test_a_disk_that_does_not_say_how_full_it_is_keeps_everything() -> None:
    marked = by_marks([1, 2, 3], None, 0, MARKS, draining=True)
    assert (marked.goes, "cannot be known" in marked.why) == (0, True)


@pytest.mark.parametrize(("offset", "goes"), [(-1, 0), (0, 0), (1, 1)])
def test_nothing_goes_before_the_high_mark_is_passed(offset: int, goes: int) -> None:
    marked = by_marks([TOTAL], usage(HIGH + offset), 0, MARKS)
    assert marked.goes == goes
    if offset == 0:
        assert marked.why == "its disk is 57.0% full, and the high mark of 57% is not passed"


@pytest.mark.parametrize(("offset", "goes"), [(-1, 2), (0, 1), (1, 1)])
def test_the_oldest_goes_until_the_low_mark_is_reached(offset: int, goes: int) -> None:
    used = 600
    marked = by_marks([used - LOW + offset, 50, 50], usage(used), 0, MARKS)
    assert (marked.goes, marked.draining) == (goes, True)
    assert marked.why == "its disk is then at the low mark of 29%"


def test_what_is_on_its_way_out_counts_as_gone() -> None:
    assert by_marks([50] * 9, usage(700), 130, MARKS).goes == 0
    assert by_marks([50] * 9, usage(700), 129, MARKS).goes == 6


@pytest.mark.parametrize(("used", "goes", "on"), [(LOW, 0, False), (LOW + 1, 1, True), (HIGH, 2, True)])
def test_a_disk_on_its_way_to_the_low_mark_goes_on_below_the_high_one(used: int, goes: int, on: bool) -> None:
    marked = by_marks([200, 200, 200], usage(used), 0, MARKS, draining=True)
    assert (marked.goes, marked.draining) == (goes, on)


def test_when_all_that_may_go_is_too_little_all_of_it_goes() -> None:
    assert by_marks([1, 1], usage(900), 0, MARKS) == Marked(2, "", draining=True)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sizes=st.lists(st.integers(0, 10**15)), used=st.integers(0, 10**15), more=st.integers(1, 10**15))
def test_never_more_goes_than_brings_the_disk_to_the_low_mark(sizes: list[int], used: int, more: int) -> None:
    total = used + more
    marked = by_marks(sizes, usage(used, total), 0, MARKS)
    if used * 100 <= 57 * total:
        assert marked.goes == 0
    for gone in range(marked.goes):
        assert (used - sum(sizes[:gone])) * 100 > 29 * total
    if 0 < marked.goes < len(sizes):
        assert (used - sum(sizes[: marked.goes])) * 100 <= 29 * total
