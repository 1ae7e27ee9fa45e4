"""Datasets in SciCat's shape."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from xpcs_assets.catalog.dataset import Dataset
from xpcs_assets.catalog.documents import derived_document, finite, owner_group, raw_document, words_of
from xpcs_assets.catalog.globus_search_config import GlobusSearchConfig
from xpcs_assets.catalog.globus_search_content import ROOT, content_of, document_of
from xpcs_assets.catalog.scicat_compare import as_meant
from xpcs_assets.catalog.scicat_metadata import NOTES, sanitised
from xpcs_assets.describe.record import Change, Drift, Entry, Owner, Record
from xpcs_assets.secret import SecretReference
from xpcs_assets_tests.unit.catalog.made import derived, described, owned_by

INDEX = "3f0a8ac4-5b1d-4d8f-8d9c-0c3c1c1c1c1c"
# SciCat's CreateDatasetDto asks for these, and its server for the owner too.
NEEDED = {"ownerGroup", "sourceFolder", "creationTime", "datasetName", "type", "owner"}


def test_raw_and_derived_documents_have_what_scicat_needs_and_are_strict_json() -> None:
    for document in (raw_document(described(), "/staged/A001/v1/raw"), derived_document(derived())):
        assert document.keys() >= NEEDED
        assert all(document[name] for name in NEEDED)
        assert json.loads(json.dumps(document, allow_nan=False)) == document
        assert datetime.fromisoformat(document["creationTime"]).tzinfo is not None


def test_the_raw_document_tells_where_how_much_and_what() -> None:
    document = raw_document(described(), "/staged/A001/v1/raw")
    assert document["pid"] == "xpcs-assets/test-beamline/A001/v1"
    assert (document["type"], document["datasetName"]) == ("raw", "A001")
    assert (document["sourceFolder"], document["size"], document["numberOfFiles"]) == ("/staged/A001/v1/raw", 4096, 2)
    assert document["proposalIds"] == ["P-1234"]
    assert (document["ownerGroup"], document["accessGroups"]) == ("p1234", ["staff"])
    assert document["isPublished"] is False


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, {}),
        ({"/entry/start_time": "2026-05-01T14:00:00.5+02:00"}, {"startTime": "2026-05-01T12:00:00.500000+00:00"}),
        (
            {"/bluesky/start/time": 1777636800.0, "/bluesky/stop/time": 1777636860.5},
            {"startTime": "2026-05-01T12:00:00+00:00", "endTime": "2026-05-01T12:01:00.500000+00:00"},
        ),
        ({"/entry/start_time": "2026-05-01T14:00:00", "/entry/end_time": "yesterday"}, {}),
        ({"/entry/start_time": "0001-01-01T00:00:00+14:00", "/entry/end_time": None}, {}),
    ],
)
def test_when_it_was_measured_is_told_in_utc_and_never_guessed(told: dict[str, Any], expected: dict[str, str]) -> None:
    record = replace(described(), others=tuple(Entry(path, value) for path, value in told.items()))
    document = raw_document(record, "/f")
    assert {name: document[name] for name in ("startTime", "endTime") if name in document} == expected
    assert not {"startTime", "endTime"} & derived_document(derived(record)).keys()


def test_every_field_is_a_value_with_a_unit_under_a_key_of_its_own() -> None:
    slits = tuple(Entry(f"/entry/instrument/sl{n}/horizontal_gap", float(n), "mm") for n in (4, 7))
    flagged = Entry("/entry/instrument/ring", None, "mA", not_finite=True, note="it is NaN")
    metadata = raw_document(replace(described(), others=(*slits, flagged)), "/f")["scientificMetadata"]
    assert metadata["sample"] == {"entry/sample/short_description": {"value": "silica in water", "unit": ""}}
    assert metadata["others"]["entry/instrument/sl4/horizontal_gap"] == {"value": 4.0, "unit": "mm"}
    assert metadata["others"]["entry/instrument/sl7/horizontal_gap"] == {"value": 7.0, "unit": "mm"}
    assert metadata["others"]["entry/instrument/ring"] == {
        "value": None,
        "unit": "mA",
        "not_finite": True,
        "note": "it is NaN",
    }
    assert metadata["raw"]["rows_px"] == {"value": 60, "unit": "pixel"}


def test_the_derived_document_names_input_software_recipe_and_fits() -> None:
    content = derived()
    document = derived_document(content)
    assert document["pid"] == f"xpcs-assets/test-beamline/A001/v1/{content.recipe.folder}"
    assert document["inputDatasets"] == ["xpcs-assets/test-beamline/A001/v1"]
    assert "made 1" in document["usedSoftware"]
    assert document["jobParameters"]["recipe_digest"] == content.recipe.digest
    assert document["jobParameters"]["recipe"] == content.recipe.to_dict()
    first = document["scientificMetadata"]["bins"][0]
    assert first["bin"] == content.labels[0]
    assert first["tau"] == {"value": content.fits[0].tau_s, "error": content.fits[0].tau_error_s, "unit": "s"}
    assert document["scientificMetadata"]["report"]["seconds"] == {"read": 0.1, "correlate": None}


def test_a_failed_fit_is_null_not_nan_and_no_law_is_no_exponent() -> None:
    content = derived()
    lost = replace(content.fits[0], tau_s=float("nan"), tau_error_s=float("inf"), ok=False)
    document = derived_document(replace(content, fits=[lost, *content.fits[1:]], law=None))
    assert document["scientificMetadata"]["bins"][0]["tau"] == {"value": None, "error": None, "unit": "s"}
    assert "tau_q_exponent" not in document["scientificMetadata"]


def test_an_incomplete_record_says_in_its_document_what_is_missing() -> None:
    record = replace(described(), missing=("there is no metadata file",))
    about = raw_document(record, "/f")["scientificMetadata"]["record"]
    assert about["complete"]["value"] is False
    assert about["missing"]["value"] == ["there is no metadata file"]


CHANGES = (
    Change("/entry/sample/temperature", "type", "float64", "object"),
    Change("/entry/sample/temperature", "unit", "K", "C"),
)
DATACITE = {
    "creators": [{"name": "Doe, Jane", "affiliation": [{"name": "Example University"}]}],
    "titles": [{"title": "Ageing of laponite"}],
    "types": {"resourceTypeGeneral": "Dataset", "resourceType": "XPCS series"},
    "publicationYear": 2026,
}


def noted() -> Record:
    return replace(
        described(), notes=("the field comment was cut",), drift=Drift("A000/v1", CHANGES), datacite=DATACITE
    )


def test_the_raw_document_carries_notes_drift_and_the_datacite_block() -> None:
    metadata = raw_document(noted(), "/f")["scientificMetadata"]
    assert metadata["record"]["notes"] == {"value": ["the field comment was cut"], "unit": ""}
    assert metadata["datacite"] == DATACITE
    assert metadata["drift"] == {
        "compared_with": {"value": "A000/v1", "unit": ""},
        "changes": {
            "entry/sample/temperature": {
                "type": {"before": "float64", "value": "object", "unit": ""},
                "unit": {"before": "K", "value": "C", "unit": ""},
            }
        },
    }
    assert raw_document(described(), "/f")["scientificMetadata"]["drift"] == {}


def test_scicat_takes_and_globus_search_gives_back_notes_drift_and_the_datacite_block() -> None:
    document = raw_document(noted(), "/f")
    metadata = document["scientificMetadata"]
    sent = sanitised(metadata)
    assert NOTES not in sent  # nothing had to be changed for it
    assert as_meant(sent) == metadata
    search = GlobusSearchConfig(INDEX, (f"urn:globus:groups:id:{INDEX}",), token=SecretReference(variable="T"))
    content = content_of(Dataset(document), search, {})
    assert document_of(content) == document
    items = {tuple(item["path"][1:]): item for item in content[ROOT]["fields"]}
    assert items["drift", "changes", "entry/sample/temperature", "unit", "value"]["text"] == "C"
    assert items["datacite", "creators", "[0]", "name"]["text"] == "Doe, Jane"
    assert items["datacite", "publicationYear"]["number"] == 2026


def test_words_hold_the_notes_and_who_made_the_dataset_but_not_what_every_block_says() -> None:
    lines = words_of(noted()).split("\n")
    assert {"the field comment was cut", "doe, jane", "example university", "ageing of laponite"} <= set(lines)
    assert "xpcs series" not in lines


def test_the_owning_group_falls_back_to_proposal_and_beamline() -> None:
    assert owner_group(replace(described(), owner=owned_by("P1", "g1", "g2"))) == "g1"
    assert owner_group(replace(described(), owner=owned_by("P1"))) == "P1"
    assert owner_group(replace(described(), owner=Owner())) == "test-beamline"


def test_words_hold_names_owner_and_texts_of_the_metadata_in_lower_case() -> None:
    lines = words_of(described("Gel_A7", sample="Laponite RD"), "more").split("\n")
    assert {"gel_a7", "p-1234", "comm202610", "p1234", "laponite rd", "more"} <= set(lines)


def test_finite_leaves_everything_else_as_it_is() -> None:
    value = {"a": [1, "x", None, True, {"b": 2.5}]}
    assert finite(value) == value
