"""The table of what is judged, and how limits bind."""

from __future__ import annotations

import pytest

from xpcs_assets.errors import SettingsError
from xpcs_assets.runs.criteria import CRITERIA, FRAMES, G2, RAW, Rules


def test_every_criterion_says_what_it_is_and_where_its_limit_comes_from() -> None:
    for name, criterion in CRITERIA.items():
        assert name == criterion.name
        assert criterion.what
        assert criterion.why
        assert criterion.check in {RAW, FRAMES, G2}
        assert isinstance(criterion.limit, tuple) == (criterion.bound == "between")


def test_both_ends_of_a_limit_are_kept() -> None:
    at_most, at_least, between = CRITERIA["hot_pixels"], CRITERIA["fitted_share"], CRITERIA["baseline"]
    assert [at_most.keeps(value, 1.0) for value in (0, 1, 1.001)] == [True, True, False]
    assert [at_least.keeps(value, 0.5) for value in (0.499, 0.5, 1)] == [False, True, True]
    assert [between.keeps(value, (0.9, 1.1)) for value in (0.899, 0.9, 1.1, 1.101)] == [False, True, True, False]


def test_rules_of_nothing_are_refused_and_say_what_there_is() -> None:
    with pytest.raises(SettingsError, match=r"nothing is judged by the name 'hot_pixel'.*hot_pixels"):
        Rules({"hot_pixel": 1.0})
    with pytest.raises(SettingsError, match=r"the limit of baseline is 1.*two numbers"):
        Rules({"baseline": 1.0})
    with pytest.raises(SettingsError, match=r"the limit of hot_pixels is \(0, 1\).*one number"):
        Rules({"hot_pixels": (0, 1)})
