"""What a beamline file may say, and how it is refused when it says something else."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from xpcs_assets.runs.recipe import AnalysisSettings
from xpcs_assets.settings import Beamline


def content(**changes: Any) -> dict[str, Any]:
    return {
        "beamline": "aps-8-id-i",
        "places": {
            "detector": {"kind": "posix", "root": "detector"},
            "store": {"kind": "posix", "root": "store"},
            "tape": {"kind": "tape", "root": "tape"},
        },
        "runs": {"from": {"watch": "detector", "path": "{cycle}/{run}/"}, "key": "{cycle}_{run}"},
        "pipeline": {"stage": {"to": "store"}, "archive": {"to": "tape"}},
        "retention": {"store": {"keep_for": "30 days", "min_copies": 1}},
    } | changes


def refused(message: str, **changes: Any) -> None:
    with pytest.raises(ValidationError, match=message):
        Beamline.model_validate(content(**changes))


def test_a_beamline_that_only_keeps_data_needs_little() -> None:
    beamline = Beamline.model_validate(content())
    assert beamline.pipeline.correlate is None
    assert beamline.dagster_name == "aps_8_id_i"


@pytest.mark.parametrize("name", ["a_b", "A", "-a", "", "a/b", "a.b", "a" * 64, "é"])
def test_a_name_that_dagster_or_a_folder_cannot_bear_is_refused(name: str) -> None:
    refused("lower-case letters, digits and '-'", beamline=name)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"runs": {"from": {"watch": "nowhere"}}}, "nowhere"),
        ({"pipeline": {"stage": {"to": "elsewhere"}}}, "elsewhere"),
        ({"pipeline": {"stage": {"to": "store"}, "archive": {"to": "vault"}}}, "vault"),
        ({"retention": {"attic": {"keep_for": "1 d", "min_copies": 1}}}, "attic"),
    ],
)
def test_a_place_that_is_not_there_is_refused_with_those_that_are(changes: dict[str, Any], name: str) -> None:
    refused(f"no place is called '{name}'; there are detector, store, tape", **changes)


@pytest.mark.parametrize("min_copies", [0, -1, "", None])
def test_min_copies_below_one_is_refused(min_copies: object) -> None:
    refused(r"retention\.store\.min_copies", retention={"store": {"keep_for": "30 days", "min_copies": min_copies}})


@pytest.mark.parametrize("keep_for", [0, "0 s", "-1 days", "", "for ever", None])
def test_a_retention_that_keeps_for_no_time_is_refused(keep_for: object) -> None:
    refused(r"retention\.store\.keep_for", retention={"store": {"keep_for": keep_for, "min_copies": 1}})


def test_a_retention_without_a_number_of_copies_is_refused() -> None:
    refused(r"retention\.store\.min_copies", retention={"store": {"keep_for": "30 days"}})


def test_the_rule_of_a_place_says_what_must_hold_before_a_copy_goes() -> None:
    settings = {"store": {"keep_for": "30 days", "min_copies": 2, "needs": ["archive"]}}
    rule = Beamline.model_validate(content(retention=settings)).retention["store"].rule
    assert (rule.keep_for_s, rule.min_copies, rule.needs_archive, rule.needs_catalog) == (2592000.0, 2, True, False)


@pytest.mark.parametrize("path", ["", "run/", "{run}/{run}/", "../{run}/", "a//{run}/", "./{run}", "/"])
def test_a_path_without_fields_or_that_climbs_is_refused(path: str) -> None:
    refused(r"runs\.from\.path", runs={"from": {"watch": "detector", "path": path}})


def test_a_key_of_a_field_that_the_path_lacks_is_refused() -> None:
    refused(r"names \{sample\}", runs={"from": {"watch": "detector"}, "key": "{sample}_{run}"})


@pytest.mark.parametrize(("by", "known"), [("cycle", True), ("proposal", True), ("experiment", True), ("run_", False)])
def test_runs_are_gathered_by_what_their_path_or_owner_has(by: str, known: bool) -> None:
    archive = {"to": "tape", "bundle": {"gather": {"by": ["cycle", by]}}}
    pipeline = {"stage": {"to": "store"}, "archive": archive}
    if known:
        assert Beamline.model_validate(content(pipeline=pipeline)).pipeline.archive is not None
    else:
        refused("gather.by names run_, which neither path nor owner", pipeline=pipeline)


def test_a_key_that_cannot_be_undone_is_refused() -> None:
    refused("cannot be undone", runs={"from": {"watch": "detector", "path": "{cycle}/{run}/"}, "key": "{cycle}{run}"})


@pytest.mark.parametrize(
    "qmap", [{}, {"in_run": "*_qmap.hdf", "path": "a.hdf"}, {"in_run": "*_qmap.hdf", "registry": "standard"}]
)
def test_a_q_map_comes_from_one_place(qmap: dict[str, str]) -> None:
    refused("give either in_run or path or registry", pipeline={"stage": {"to": "store"}, "correlate": {"qmap": qmap}})


def test_a_map_of_the_registry_has_a_name() -> None:
    pipeline = {"stage": {"to": "store"}, "correlate": {"qmap": {"registry": "../standard"}}}
    refused("registry: a name has lower-case letters", pipeline=pipeline)


@pytest.mark.parametrize("option", [{"stride": 0}, {"average": 0}, {"begin_frame": -1}, {"end_frame": -2}, {"pol": 1}])
def test_a_recipe_that_is_none_is_refused(option: dict[str, int]) -> None:
    correlate = {"qmap": {"in_run": "*_qmap.hdf"}} | option
    refused(next(iter(option)), pipeline={"stage": {"to": "store"}, "correlate": correlate})


def test_the_beamlines_recipe_reaches_the_engine_whole() -> None:
    options = {
        "stride": 2,
        "average": 3,
        "begin_frame": 4,
        "end_frame": 90,
        "dynamic_bins": "1,3",
        "error_rule": "boost",
    }
    correlate = {"qmap": {"in_run": "*_qmap.hdf"}, "empty_bins": "zero", "delays_per_level": 8} | options
    beamline = Beamline.model_validate(content(pipeline={"stage": {"to": "store"}, "correlate": correlate}))
    assert beamline.pipeline.correlate is not None
    assert beamline.pipeline.correlate.settings == AnalysisSettings(
        begin_frame=4,
        end_frame=90,
        stride=2,
        average=3,
        dynamic_bins="1,3",
        delays_per_level=8,
        empty_bins="zero",
        error_rule="boost",
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"begin_frame": 90, "end_frame": 10}, "end_frame is not beyond begin_frame"),
        ({"dynamic_bins": "1,x"}, "selects no bins"),
        ({"dynamic_bins": "²"}, "selects no bins"),
    ],
)
def test_settings_that_make_no_analysis_together_are_refused_when_the_file_is_read(
    option: dict[str, Any], message: str
) -> None:
    correlate = {"qmap": {"in_run": "*_qmap.hdf"}} | option
    refused(message, pipeline={"stage": {"to": "store"}, "correlate": correlate})


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ({"stage": {"to": "tape"}}, "'tape' is of kind tape"),
        ({"stage": {"to": "store"}, "archive": {"to": "store"}}, "'store' is of kind posix"),
    ],
)
def test_a_place_of_the_wrong_kind_is_refused(pipeline: dict[str, Any], message: str) -> None:
    refused(message, pipeline=pipeline)


def test_watching_a_tape_is_refused() -> None:
    refused("'tape' is of kind tape", runs={"from": {"watch": "tape"}})


def test_a_beamline_that_is_silent_for_less_than_a_minute_is_refused() -> None:
    refused(r"alerts\.silent_for", alerts={"silent_for": "30 s"})
