"""A recipe's digest changes with everything that decides a result, and with nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpcs_assets.errors import CorrelationError
from xpcs_assets.runs.recipe import AnalysisSettings, Recipe, selected_bins, selected_frames

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
    "exclude_frames": "3,100-120",
    "beam_dump_below": 0.5,
    "normalize": "monitor:/entry/monitor",
    "dark_frames": 0,
    "offset_region": "0:8,0:8",
    "lld": 2.0,
    "sigma": 3.0,
    "adu_per_photon": 100.0,
    "round_photons": True,
    "frames_per_burst": 10,
    "partial_g2": 4,
    "save_g2": True,
    "smoothing": "none",
    "twotime_bins": "2",
}
# What these name is read: its bytes count, not where it lies.
FILES = {"exclude_file", "dark_file", "flat_file"}


def otherwise(name: str) -> AnalysisSettings:
    """Settings of which one differs from the default; what it needs beside itself is at its own default else."""
    needed = {"adu_per_photon": 100.0} if name == "round_photons" else {}
    return AnalysisSettings(**{**needed, name: OTHERWISE[name]})


def test_every_setting_is_tried() -> None:
    assert set(OTHERWISE) | FILES == {item.name for item in fields(AnalysisSettings)}


@pytest.mark.parametrize("name", OTHERWISE)
def test_each_setting_changes_the_digest_and_the_results_folder(name: str) -> None:
    other = replace(RECIPE, settings=otherwise(name))
    assert other.digest != RECIPE.digest
    assert other.folder != RECIPE.folder


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_bytes_of_a_named_file_change_the_digest_and_its_place_does_not(name: str, tmp_path: Path) -> None:
    digests = []
    for folder, content in (("a", "1-2"), ("b", "1-2"), ("c", "3")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "named.txt").write_text(content)
        settings = replace(AnalysisSettings(), **{name: "named.txt"}).with_files((tmp_path / folder).joinpath)
        assert getattr(settings, name) == str(tmp_path / folder / "named.txt")
        digests.append(Recipe.of(settings, RECIPE.qmap_digest, RECIPE.engine).digest)
    assert digests[0] == digests[1]
    assert len({*digests, RECIPE.digest}) == 3


def test_a_named_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    settings = AnalysisSettings(flat_file=str(tmp_path / "flat.npy"))
    with pytest.raises(CorrelationError, match=r"flat\.npy: it cannot be read"):
        Recipe.of(settings, RECIPE.qmap_digest, RECIPE.engine)


@pytest.mark.parametrize("name", OTHERWISE)
def test_the_workers_options_say_the_same_settings(name: str) -> None:
    settings = otherwise(name)
    said = dict(option.partition("=")[::2] for option in settings.arguments())
    (item,) = [item for item in fields(AnalysisSettings) if item.name == name]
    value = OTHERWISE[name]
    assert said[item.metadata["option"]] == ("" if value is True else str(value))
    assert AnalysisSettings().arguments() == ()


@pytest.mark.parametrize(("bins", "same"), [("1,2,3", True), ("3,1-2", True), ("1-4", False)])
def test_how_a_selection_is_written_makes_no_difference(bins: str, same: bool) -> None:
    one = replace(RECIPE, settings=AnalysisSettings(dynamic_bins="1-3", exclude_frames="1-3"))
    other = replace(RECIPE, settings=AnalysisSettings(dynamic_bins=bins, exclude_frames=bins))
    assert (one.digest == other.digest) is same


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
    {"beam_dump_below": 1.0},
    {"normalize": "monitor:entry"},
    {"dark_frames": -2},
    {"sigma": -1.0},
    {"adu_per_photon": -1.0},
    {"round_photons": True},
    {"frames_per_burst": -1},
    {"partial_g2": -1},
    {"scheme": "linear"},
]


@pytest.mark.parametrize("settings", WRONG, ids=str)
def test_settings_that_make_no_analysis_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(CorrelationError, match="these settings make no analysis"):
        AnalysisSettings(**settings)


@given(st.sets(st.integers(1, 500), min_size=1, max_size=20))
def test_any_selection_of_bins_is_read_in_order(bins: set[int]) -> None:
    assert selected_bins(", ".join(str(number) for number in bins)) == tuple(sorted(bins))


def test_stretches_of_frames_are_joined_in_order() -> None:
    assert selected_frames("7, 0-3,2-5") == ((0, 5), (7, 7))
    with pytest.raises(CorrelationError, match="selects no frames"):
        selected_frames("5-3")


@pytest.mark.parametrize("text", ["x", "1-", "-1", "3-1", "0", "1,0-2", "1.5", "1;2", "²", "1-²"])
def test_what_selects_no_bins_is_refused(text: str) -> None:
    with pytest.raises(CorrelationError, match="selects no bins"):
        selected_bins(text)
