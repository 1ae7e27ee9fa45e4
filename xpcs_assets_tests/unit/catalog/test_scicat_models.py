"""Nothing leaves that the SDK's models do not know, and older backends get their own names."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from xpcs_assets.catalog.scicat_models import checked, obsolete, older
from xpcs_assets.errors import CatalogError
from xpcs_assets_tests.scicat import block, dataset

MODEL = "CreateDatasetDto"


def test_only_what_was_given_is_sent() -> None:
    assert checked("PartialUpdateDatasetDto", {"keywords": ["k"]}) == {"keywords": ["k"]}
    assert checked("PartialUpdateDatasetLifecycleDto", {"archivable": False}) == {"archivable": False}


def test_an_aware_time_is_sent_with_its_zone() -> None:
    sent = checked(MODEL, dataset(creationTime=datetime(2026, 5, 1, tzinfo=UTC)))
    assert sent["creationTime"] == "2026-05-01T00:00:00Z"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"nosuch": 1}, "nosuch: no such field"),
        ({"owner_group": "g"}, "owner_group: no such field"),
        ({"creationTime": "2026-05-01T12:00:00"}, "creationTime: a time without a zone"),
        ({"creationTime": datetime(2026, 5, 1)}, "creationTime: a time without a zone"),  # noqa: DTZ001
        ({"creationTime": "yesterday"}, "creationTime"),
        ({"size": "12"}, "size"),
        ({"keywords": "XPCS"}, "keywords"),
        ({"contactEmail": None}, "contactEmail: Field required"),
    ],
)
def test_what_does_not_fit_is_told_by_its_name(change: dict[str, Any], told: str) -> None:
    with pytest.raises(CatalogError, match=told) as raised:
        checked(MODEL, dataset(**change))
    assert raised.value.where == "p/1"


def test_nested_objects_are_looked_into() -> None:
    body = block(files=2)
    body["dataFileList"][1] |= {"checksum": "x", "time": "2026-05-01T12:00:00"}
    with pytest.raises(CatalogError, match=r"dataFileList\.checksum: no such field; dataFileList\.1\.time: a time"):
        checked("CreateOrigDatablockDto", body)


def test_values_are_not_told() -> None:
    with pytest.raises(CatalogError) as raised:
        checked("CredentialsDto", {"username": "me", "password": ["s3cret"]})
    assert "s3cret" not in str(raised.value)


def test_older_names_keep_what_is_given_already() -> None:
    assert older("CreateSampleDto", {"sampleName": "a", "description": "b"}) == {"description": "b"}
    assert older("CreateInstrumentDto", {"pid": "i", "name": "8-ID"}) == {"name": "8-ID"}
    assert older("CreateProposalDto", {"title": "t"}) == {"title": "t"}


def test_a_document_of_version_3_has_one_of_each() -> None:
    document = {
        **dataset(proposalIds=["P1", "P2"], sampleIds=["S1"], instrumentIds=[], principalInvestigators=["A", "B"]),
        "creationLocation": "/x",
    }
    body = obsolete(document)
    assert (body["proposalId"], body["sampleId"], body["principalInvestigator"]) == ("P1", "S1", "A; B")
    assert not {"proposalIds", "sampleIds", "instrumentIds", "principalInvestigators", "instrumentId"} & set(body)
    assert checked("CreateRawDatasetObsoleteDto", body)["creationLocation"] == "/x"


def test_a_derived_document_of_version_3_leaves_out_what_it_does_not_know() -> None:
    document = dataset(
        type="derived", principalInvestigators=["A"], sampleIds=["S1"], creationLocation="/x", dataFormat="h5"
    )
    body = obsolete(document | {"inputDatasets": ["p/0"], "usedSoftware": ["x"]})
    assert checked("CreateDerivedDatasetObsoleteDto", body)["investigator"] == "A"
