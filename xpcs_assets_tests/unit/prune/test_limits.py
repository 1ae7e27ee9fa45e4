"""The limits of a day, and what names a list."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from xpcs_assets.prune.limits import Limit, beginning_of, digest_of, item, limit_of, which
from xpcs_assets.runs.retention import Retention
from xpcs_assets_tests.unit.prune.test_rules import VICTIM

RULE = Retention(keep_for_s=1, min_copies=1, at_most_copies=10, at_most_share=0.2)
ITEMS = [item(replace(VICTIM, run_key=f"r{number}")) for number in range(20)]


@pytest.mark.parametrize(("number", "beyond"), [(9, False), (10, False), (11, True)])
def test_f47_more_copies_than_the_limit_ask(number: int, beyond: bool) -> None:
    limit = limit_of(RULE, 1000, ITEMS[:number], frozenset(), frozenset())
    assert (limit, limit.beyond) == (Limit(10, 0, number), beyond)


@pytest.mark.parametrize(("copies", "at_most"), [(0, 1), (4, 1), (9, 1), (10, 2), (49, 9), (50, 10), (5000, 10)])
def test_f47_a_share_of_the_place_is_a_limit_too_and_one_a_day_may_always_go(copies: int, at_most: int) -> None:
    assert limit_of(RULE, copies, ITEMS, frozenset(), frozenset()).at_most == at_most


@pytest.mark.parametrize(("gone", "beyond"), [(5, False), (6, True)])
def test_f47_what_went_in_the_last_day_counts(gone: int, beyond: bool) -> None:
    removed = {("old", number, "path") for number in range(gone)}
    assert limit_of(RULE, 1000, ITEMS[:5], removed, frozenset()).beyond is beyond


def test_what_a_person_approved_does_not_count_and_nothing_else_is_meant() -> None:
    approved = frozenset(ITEMS[:15])
    removed = {which(text) for text in ITEMS[:5]}
    assert limit_of(RULE, 1000, ITEMS[5:15], removed, approved) == Limit(10, 0, 0)
    assert not limit_of(RULE, 1000, ITEMS[5:15], removed, approved).beyond
    more = limit_of(replace(RULE, at_most_copies=4), 1000, ITEMS[5:], removed, approved)
    assert (more, more.beyond) == (Limit(4, 0, 5), True)


def test_an_empty_list_never_asks() -> None:
    assert not limit_of(RULE, 10, [], {("old", number, "path") for number in range(99)}, frozenset()).beyond


def test_an_item_names_one_stay_of_one_copy() -> None:
    assert which(item(VICTIM)) == (VICTIM.run_key, VICTIM.version, VICTIM.path)
    again = replace(VICTIM, recorded_at=VICTIM.recorded_at + timedelta(microseconds=1))
    others = [replace(VICTIM, run_key="r2"), replace(VICTIM, version=2), replace(VICTIM, path="x"), again]
    assert len({item(copy) for copy in (VICTIM, *others)}) == 5


def test_the_digest_is_of_the_list_its_order_and_its_place() -> None:
    lists = [("a", ITEMS[:2]), ("a", ITEMS[1::-1]), ("a", ITEMS[:3]), ("b", ITEMS[:2]), ("a", [])]
    assert len({digest_of(place, items) for place, items in lists}) == 5
    assert digest_of("a", ITEMS) == digest_of("a", list(ITEMS))


@pytest.mark.parametrize("count", [0, 1, 7, len(ITEMS)])
def test_a_list_that_only_grew_is_known_by_the_digest_that_was_read(count: int) -> None:
    assert beginning_of("a", ITEMS, digest_of("a", ITEMS[:count])) == ITEMS[:count]


@pytest.mark.parametrize("before", [ITEMS[1:], [*ITEMS[:3], ITEMS[4]], ITEMS[::-1], [*ITEMS, "more"]])
def test_a_list_that_changed_otherwise_is_not(before: list[str]) -> None:
    assert beginning_of("a", ITEMS, digest_of("a", before)) is None
    assert beginning_of("b", ITEMS, digest_of("a", ITEMS)) is None
