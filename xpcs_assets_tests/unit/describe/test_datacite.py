"""The DataCite block: what is configured and what the run tells, and nothing that nobody said."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import pytest
from pydantic import ValidationError

from xpcs_assets.describe.datacite import SCHEMA, datacite_block, wrong
from xpcs_assets.describe.describing import describe
from xpcs_assets.describe.record import Entry, Owner, Record, read_record
from xpcs_assets.settings_datacite import Datacite
from xpcs_assets_tests.made_results import make_record
from xpcs_assets_tests.unit.conftest import Altered, Drop
from xpcs_assets_tests.unit.describe.test_describing import staged

LEAST: dict[str, Any] = {
    "publisher": "A Light Source",
    "creators": [{"name": "Beamline staff", "type": "Organizational"}],
}
WHOLE: dict[str, Any] = {
    "publisher": "A Light Source",
    "publisher_id": "https://ror.org/02jbv0t02",
    "prefix": "10.5072",
    "creators": [
        {"name_from": ["/entry/user/name"], "affiliation_from": ["/entry/user/institution"]},
        {
            "name": "Other, Name",
            "orcid": "0000-0002-1825-0097",
            "affiliation": "University of {proposal}",
            "affiliation_id": "https://ror.org/05591te55",
        },
    ],
    "title": "{sample} ({run}, version {version}) at {title}",
    "subjects": ["XPCS", "{sample}"],
    "contributors": [{"name": "Beamline staff", "type": "Organizational", "role": "DataCollector"}],
    "rights": [{"name": "CC BY 4.0", "url": "https://creativecommons.org/licenses/by/4.0/", "spdx": "CC-BY-4.0"}],
    "funding": [{"funder": "A Ministry", "funder_id": "https://ror.org/01bj3aw27", "award": "{proposal}"}],
    "related": [{"identifier": "10.5072/instrument", "relation": "IsCollectedBy"}],
    "placeholders": ["Nobody"],
}


def run(**values: Any) -> Record:
    told = {
        "/entry/sample/short_description": "silica in water",
        "/entry/start_time": "2026-05-01 14:00:00.5",
        "/entry/end_time": "2026-05-01 14:10:00",
        **values,
    }
    entries = tuple(Entry(path, value) for path, value in told.items())
    return replace(make_record(), others=entries)


def block(settings: dict[str, Any], record: Record, title: str = "") -> dict[str, Any]:
    found = datacite_block(Datacite.model_validate(settings), record, title)
    json.dumps(found, allow_nan=False)
    return found


def test_a_block_of_all_that_is_configured_and_told_is_sound() -> None:
    named = {"/entry/user/name": "Family, Given", "/entry/user/institution": "Elsewhere"}
    found = block(WHOLE, run(**named), "XPCS hutch")
    assert wrong(found) == []
    assert found == {
        "schemaVersion": SCHEMA,
        "identifiers": [
            {
                "identifier": "https://doi.org/10.5072/test-beamline.a001_made_a0001_f000400_r00001.v1",
                "identifierType": "DOI",
            }
        ],
        "alternateIdentifiers": [
            {
                "alternateIdentifier": "test-beamline/A001_made_a0001_f000400_r00001/v1",
                "alternateIdentifierType": "run",
            }
        ],
        "creators": [
            {
                "name": "Family, Given",
                "nameType": "Personal",
                "familyName": "Family",
                "givenName": "Given",
                "affiliation": [{"name": "Elsewhere"}],
            },
            {
                "name": "Other, Name",
                "nameType": "Personal",
                "familyName": "Other",
                "givenName": "Name",
                "nameIdentifiers": [
                    {
                        "nameIdentifier": "https://orcid.org/0000-0002-1825-0097",
                        "nameIdentifierScheme": "ORCID",
                        "schemeUri": "https://orcid.org",
                    }
                ],
                "affiliation": [
                    {
                        "name": "University of P-1234",
                        "affiliationIdentifier": "https://ror.org/05591te55",
                        "affiliationIdentifierScheme": "ROR",
                        "schemeUri": "https://ror.org",
                    }
                ],
            },
        ],
        "titles": [{"title": "silica in water (A001_made_a0001_f000400_r00001, version 1) at XPCS hutch"}],
        "publisher": {
            "name": "A Light Source",
            "publisherIdentifier": "https://ror.org/02jbv0t02",
            "publisherIdentifierScheme": "ROR",
            "schemeUri": "https://ror.org",
        },
        "publicationYear": 2026,
        "types": {"resourceTypeGeneral": "Dataset", "resourceType": "XPCS measurement"},
        "subjects": [{"subject": "XPCS"}, {"subject": "silica in water"}],
        "contributors": [{"name": "Beamline staff", "nameType": "Organizational", "contributorType": "DataCollector"}],
        "dates": [
            {"date": "2026-05-01T14:00:00.500000/2026-05-01T14:10:00", "dateType": "Collected"},
            {"date": "2026-05-01T12:00:00+00:00", "dateType": "Created"},
        ],
        "language": "en",
        "sizes": ["4096 bytes", "2 files", "400 frames of 60 x 80 pixels"],
        "formats": ["application/octet-stream", "application/x-hdf5"],
        "version": "1",
        "rightsList": [
            {
                "rights": "CC BY 4.0",
                "rightsUri": "https://creativecommons.org/licenses/by/4.0/",
                "rightsIdentifier": "CC-BY-4.0",
                "rightsIdentifierScheme": "SPDX",
                "schemeUri": "https://spdx.org/licenses/",
            }
        ],
        "fundingReferences": [
            {
                "funderName": "A Ministry",
                "funderIdentifier": "https://ror.org/01bj3aw27",
                "funderIdentifierType": "ROR",
                "awardNumber": "P-1234",
            }
        ],
        "relatedIdentifiers": [
            {
                "relatedIdentifier": "10.5072/instrument",
                "relatedIdentifierType": "DOI",
                "relationType": "IsCollectedBy",
            }
        ],
    }


def test_what_nobody_said_is_left_out_and_an_identifier_is_asked_for() -> None:
    found = block(LEAST, make_record())
    assert not {"identifiers", "contributors", "rightsList", "fundingReferences", "relatedIdentifiers"} & set(found)
    assert wrong(found) == ["no identifier (datacite.prefix gives one)"]


@pytest.mark.parametrize("name", [None, "", "  ", "Nobody", 7])
def test_a_name_that_is_absent_or_a_placeholder_credits_nobody(name: object) -> None:
    settings = {**WHOLE, "creators": [{"name_from": ["/entry/user/name"]}]}
    found = block(settings, run(**{"/entry/user/name": name}))
    assert "creators" not in found
    assert wrong(found) == ["no creator whose name is known"]


def test_a_configured_name_stands_in_for_one_that_is_not_told() -> None:
    settings = {**WHOLE, "creators": [{"name": "Team of {experiment}", "name_from": ["/gone", "/entry/user/name"]}]}
    (creator,) = block(settings, run(**{"/entry/user/name": "Nobody"}))["creators"]
    assert creator["name"] == "Team of comm202610"


def test_an_embargo_moves_publication_to_its_end() -> None:
    found = block(WHOLE, replace(run(), owner=Owner("P-1", embargo_until="2029-01-31")))
    assert found["publicationYear"] == 2029
    assert {"date": "2029-01-31", "dateType": "Available"} in found["dates"]
    strange = block(WHOLE, replace(run(), owner=Owner("P-1", embargo_until="when ready")))
    assert strange["publicationYear"] == 2026
    assert [one["dateType"] for one in strange["dates"]] == ["Collected", "Created"]


@pytest.mark.parametrize(
    ("told", "date"),
    [
        ({"/entry/start_time": "yesterday"}, None),
        ({"/entry/start_time": None, "/bluesky/start/time": 1719609339.25}, "2024-06-28T21:15:39.250000+00:00"),
        ({"/entry/start_time": None, "/bluesky/start/time": 1e300}, None),
        ({"/entry/start_time": True}, None),
        ({"/entry/end_time": None}, "2026-05-01T14:00:00.500000"),
    ],
)
def test_times_are_iso_or_left_out(told: dict[str, Any], date: str | None) -> None:
    found = block(WHOLE, run(**{"/entry/end_time": None, **told}))
    assert [one["date"] for one in found["dates"] if one["dateType"] == "Collected"] == ([date] if date else [])
    assert not any("date" in what for what in wrong(found))


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "identifiers": (lambda b: b.pop("identifiers"), "no identifier"),
    "creators": (lambda b: b.update(creators=[]), "no creator"),
    "titles": (lambda b: b.update(titles=[{"title": ""}]), "no title"),
    "publisher": (lambda b: b.pop("publisher"), "no publisher"),
    "publicationYear": (lambda b: b.update(publicationYear=26), "no publication year"),
    "types": (lambda b: b.update(types={"resourceTypeGeneral": "Data"}), "no general resource type"),
    "date": (lambda b: b["dates"].append({"date": "1 May", "dateType": "Created"}), "a date"),
    "date kind": (lambda b: b["dates"].append({"date": "2026", "dateType": "Made"}), "a date"),
    "contributors": (lambda b: b["contributors"][0].update(contributorType="Friend"), "a contributor"),
    "related": (lambda b: b["relatedIdentifiers"][0].update(relationType="Likes"), "a related identifier"),
    "funding": (lambda b: b["fundingReferences"][0].pop("funderName"), "a funding reference"),
}


@pytest.mark.parametrize("part", BROKEN)
def test_each_required_property_is_checked(part: str) -> None:
    named = {"/entry/user/name": "Family, Given"}
    found = block(WHOLE, run(**named))
    spoil, what = BROKEN[part]
    spoil(found)
    (said,) = wrong(found)
    assert said.startswith(what)


@pytest.mark.parametrize(
    "change",
    [
        {"publisher": ""},
        {"creators": []},
        {"prefix": "10.1"},
        {"title": "{sampel}"},
        {"title": "{}"},
        {"title": "{run"},
        {"title": "{{run}}"},
        {"publisher_id": "02jbv0t02"},
        {"creators": [{"name": "A", "orcid": "1234"}]},
        {"contributors": [{"name": "A", "role": "Friend"}]},
        {"related": [{"identifier": "10.1/x", "relation": "Likes"}]},
        {"unknown": 1},
    ],
)
def test_settings_that_make_no_sound_block_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Datacite.model_validate({**LEAST, **change})


def test_the_block_is_in_the_record_and_what_it_lacks_in_its_notes(
    altered: Altered, drop: Drop, tmp_path: Path
) -> None:
    beamline = altered({"datacite": {**LEAST, "title": "{run} at {title}"}, "title": "The hutch"})
    staged(beamline, drop(beamline))
    record, path = describe(beamline, "A001")
    assert record.datacite["titles"] == [{"title": "A001 at The hutch"}]
    assert record.notes[-1] == "DataCite: no identifier (datacite.prefix gives one)"
    assert record.complete
    assert read_record(path) == record


def test_without_the_section_there_is_no_block(altered: Altered, drop: Drop) -> None:
    beamline = altered({})
    staged(beamline, drop(beamline))
    record, _ = describe(beamline, "A001")
    assert (record.datacite, record.notes) == ({}, ())


def test_a_name_in_a_real_metadata_file_is_credited(altered: Altered, drop: Drop) -> None:
    beamline = altered({"datacite": {**WHOLE, "creators": [{"name_from": ["/entry/user/name"]}]}})
    folder = drop(beamline)
    with h5py.File(folder / "A001_metadata.hdf", "a") as file:
        file.require_group("/entry/user").pop("name", None)
        file["/entry/user/name"] = "Family, Given"
    staged(beamline, folder)
    record, _ = describe(beamline, "A001")
    assert [person["familyName"] for person in record.datacite["creators"]] == ["Family"]
    assert record.notes == ()
