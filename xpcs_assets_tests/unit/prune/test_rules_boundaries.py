"""Borders of the rules of deletion that only a wrong rule in ``mutation`` has shown to be untried."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from xpcs_assets.copies.ledger import CopyState
from xpcs_assets.prune.limits import limit_of
from xpcs_assets.prune.rules import Eligible, Stays, judge, judge_emptying
from xpcs_assets.runs.retention import Retention
from xpcs_assets_tests.unit.prune.test_rules import DUE, MICROSECOND, SITUATION


@pytest.mark.parametrize(("moved_after", "says"), [(-MICROSECOND, False), (timedelta(0), False), (MICROSECOND, True)])
def test_what_was_moved_to_the_trash_this_very_moment_was_not_moved_in_the_future(
    moved_after: timedelta, says: bool
) -> None:
    without_grace = replace(SITUATION, copy=replace(SITUATION.copy, state=CopyState.IN_TRASH))
    judgement = judge_emptying(without_grace, DUE + moved_after)
    assert isinstance(judgement, Eligible) is not says


def test_the_share_is_of_the_copies_that_were_there_before_the_day_s_removals() -> None:
    rule = Retention(keep_for_s=1, min_copies=1, at_most_share=0.2)
    removed = {("old", number, "path") for number in range(20)}
    assert limit_of(rule, 80, [], removed, frozenset()).at_most == 20


def test_a_copy_whose_names_are_a_later_version_s_stays() -> None:
    judgement = judge(replace(SITUATION, taken_later=2))
    assert judgement == Stays(("version 2 was taken later from the same path: its files stay",))
