"""A recipe's digest changes with everything that decides a result, and with nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpcs_assets.errors import CorrelationError
from xpcs_assets.runs.recipe import AnalysisSettings, Recipe, selected_bins

RECIPE = Recipe(AnalysisSettings(), "sha256:" + "0" * 64, "engine 1")
OTHERWISE: dict[str, Any] = {
    "analysis_type": "twotime",
    "begin_frame": 1,
    "end_frame": 100,
    "stride": 2,
    "average": 2,
    "dynamic_bins": "1",
    "delays_per_level": 8,
    "scheme": "skbeam",
    "empty_bins": "zero",
    "error_rule": "boost",
    "frames": 1000,
}


def test_every_setting_is_tried() -> None:
    assert set(OTHERWISE) == {item.name for item in fields(AnalysisSettings)}


@pytest.mark.parametrize("name", OTHERWISE)
def test_each_setting_changes_the_digest_and_the_results_folder(name: str) -> None:
    other = replace(RECIPE, settings=replace(RECIPE.settings, **{name: OTHERWISE[name]}))
    assert other.digest != RECIPE.digest
    assert other.folder != RECIPE.folder


@pytest.mark.parametrize("name", ["qmap_digest", "engine", "definition"])
def test_q_map_engine_and_definition_change_the_digest(name: str) -> None:
    assert replace(RECIPE, **{name: "another"}).digest != RECIPE.digest


def test_the_same_recipe_made_twice_is_one() -> None:
    assert Recipe(AnalysisSettings(), "sha256:" + "0" * 64, "engine 1").digest == RECIPE.digest
    assert RECIPE.digest.startswith(f"sha256:{RECIPE.folder}")


def test_a_recipe_stored_with_a_result_is_read_back() -> None:
    recipe = replace(RECIPE, settings=AnalysisSettings(stride=3, dynamic_bins="1,4-6"))
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_a_setting_of_a_later_version_is_left_out_when_read() -> None:
    content = RECIPE.to_dict()
    content["settings"]["from_the_future"] = 1
    assert Recipe.from_dict(content) == RECIPE


WRONG = [
    {"begin_frame": -1},
    {"end_frame": -2},
    {"begin_frame": 10, "end_frame": 10},
    {"end_frame": 0},
    {"stride": 0},
    {"average": 0},
    {"delays_per_level": 0},
    {"frames": -1},
]


@pytest.mark.parametrize("settings", WRONG, ids=str)
def test_settings_that_make_no_analysis_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(CorrelationError, match="these settings make no analysis"):
        AnalysisSettings(**settings)  # type: ignore[arg-type]


@given(st.sets(st.integers(1, 500), min_size=1, max_size=20))
def test_any_selection_of_bins_is_read_in_order(bins: set[int]) -> None:
    assert selected_bins(", ".join(str(number) for number in bins)) == tuple(sorted(bins))


@pytest.mark.parametrize("text", ["x", "1-", "-1", "3-1", "0", "1,0-2", "1.5", "1;2", "²", "1-²"])
def test_what_selects_no_bins_is_refused(text: str) -> None:
    with pytest.raises(CorrelationError, match="selects no bins"):
        selected_bins(text)
