"""Further copies and returned results in a beamline file: each place for one purpose, each path with fields it has."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from xpcs_assets.settings import Beamline

S3 = {"bucket": "runs", "access_key_id": {"variable": "KEY"}, "secret_access_key": {"variable": "SECRET"}}
PLACES: dict[str, Any] = {
    "detector": {"kind": "posix", "root": "/gdata"},
    "store": {"kind": "posix", "root": "/data"},
    "tape": {"kind": "tape", "root": "/tape"},
    "mirror": {"kind": "ssh", "host": "far", "root": "/tank"},
    "bucket-1": {"kind": "s3", **S3},
    "bucket_1": {"kind": "s3", **S3},
    "the beamline": {"kind": "posix", "root": "/results"},
}


def beamline(*, places: dict[str, Any] = PLACES, **pipeline: Any) -> Beamline:
    return Beamline.model_validate(
        {
            "beamline": "b",
            "places": places,
            "runs": {"from": {"watch": "detector", "path": "{cycle}/{experiment}/{run}/"}},
            "pipeline": {"stage": {"to": "store"}, "correlate": {"qmap": {"in_run": "*"}}, **pipeline},
        }
    )


def test_each_further_place_has_an_asset() -> None:
    pipeline = beamline(copies=["mirror", "bucket-1"]).pipeline
    assert pipeline.copy_assets == {"mirror": "copy_in_mirror", "bucket-1": "copy_in_bucket_1"}


@pytest.mark.parametrize("place", ["detector", "store"])
def test_a_place_that_has_a_copy_gets_no_second_one(place: str) -> None:
    with pytest.raises(ValidationError, match=f"place {place} is used twice"):
        beamline(copies=[place])


def test_a_place_has_one_purpose() -> None:
    with pytest.raises(ValidationError, match="place mirror is used twice"):
        beamline(copies=["mirror", "mirror"])
    with pytest.raises(ValidationError, match="place mirror is used twice"):
        beamline(copies=["mirror"], return_results={"to": "mirror"})


@pytest.mark.parametrize("pipeline", [{"copies": ["tape"]}, {"return_results": {"to": "tape"}}])
def test_a_tape_holds_bundles_and_no_files(pipeline: dict[str, Any]) -> None:
    with pytest.raises(
        ValidationError, match=r"place 'tape' is of kind tape; one of kind posix or globus or ssh or s3"
    ):
        beamline(**pipeline)


@pytest.mark.parametrize("copies", [["bucket-1", "bucket_1"], ["the beamline"]])
def test_two_places_never_give_one_asset(copies: list[str]) -> None:
    with pytest.raises(ValidationError, match=r"pipeline\.copies: names are"):
        beamline(copies=copies)


def test_a_place_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="no place is called 'mars'"):
        beamline(copies=["mars"])


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("{cycle}/{proposal}/{recipe}/", "names proposal"),
        ("{cycle}/{recipe}/{}", "something that is no field"),
        ("{cycle}/results/", r"must hold \{recipe\}"),
        ("../{recipe}", "no empty part"),
        ("/{recipe}", "no empty part"),
        ("a//{recipe}", "no empty part"),
    ],
)
def test_results_go_back_below_the_place_by_fields_that_a_run_has(path: str, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        beamline(return_results={"to": "the beamline", "path": path})
    good = "{cycle}/{experiment}/{run}/{run_key}/{analysis_key}/{recipe}/"
    assert beamline(return_results={"to": "the beamline", "path": good}).pipeline.return_results is not None


def test_a_beamline_that_only_keeps_data_returns_no_results() -> None:
    with pytest.raises(ValidationError, match="has no results"):
        beamline(return_results={"to": "the beamline"}, correlate=None)


def test_access_is_said_where_copies_or_results_of_runs_are_put() -> None:
    places = {**PLACES, "the beamline": {"kind": "posix", "root": "back", "access": {}}}
    path = "{run}/{run_key}/x/{recipe}"
    made = beamline(places=places, return_results={"to": "the beamline", "path": path})
    assert made.guarded == ("the beamline",)
    assert made.pipeline.return_results is not None
    assert made.pipeline.return_results.own_folder == 2
    with pytest.raises(ValidationError, match=r"a folder must hold \{run_key\}"):
        beamline(places=places, return_results={"to": "the beamline", "path": "{run}/{recipe}"})
    with pytest.raises(ValidationError, match="no copies of runs are put into place the beamline"):
        beamline(places=places)
