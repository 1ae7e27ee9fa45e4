"""The contract server does what was measured on a real backend of SciCat: each fact has its test.

The facts were measured on the backend of 14 February 2026 with scicat-sdk-py 5.3.3, but for those in whose test's
name it says that they were read in its code.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
import scicat_sdk_py as sc

from xpcs_assets.testing.scicat_server import ScicatServer
from xpcs_assets_tests.scicat import BLOCKS, DATASETS, INGESTOR, MERGE, USER, block, call, dataset

ONE, ATTACHMENTS, PROPOSALS = "/api/v4/datasets/p%2F1", "/api/v4/attachments", "/api/v3/proposals"
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def filtered(**asked: Any) -> str:
    return f"?filter={quote(json.dumps(asked))}"


# Who may


def test_a_login_gives_a_token_and_201(server: ScicatServer) -> None:
    body = {"username": INGESTOR.name, "password": INGESTOR.password}
    status, content = call(server, "POST", "/api/v3/auth/login", body, token="")
    assert status == 201
    assert content["expires_in"] == 3600
    assert call(server, "GET", DATASETS, token=content["access_token"])[0] == 200


def test_a_wrong_password_is_401(server: ScicatServer) -> None:
    body = {"username": INGESTOR.name, "password": "wrong"}
    assert call(server, "POST", "/api/v3/auth/login", body, token="")[0] == 401


@pytest.mark.parametrize("token", ["", "no.such.token", "nonsense"])
def test_a_bad_token_is_403_on_protected_reads(server: ScicatServer, token: str) -> None:
    assert call(server, "GET", DATASETS, token=token)[0] == 403


def test_an_expired_token_is_403(server: ScicatServer) -> None:
    assert call(server, "GET", DATASETS, token=server.tokens.give(INGESTOR, -1))[0] == 403
    token = server.tokens.give(INGESTOR, 60)
    server.tokens.expire()
    assert call(server, "GET", DATASETS, token=token)[0] == 403


def test_a_token_that_lasts_is_made_for_a_user(server: ScicatServer, sdk: sc.ApiClient) -> None:
    users = sc.UsersApi(sdk)
    answer = users.users_controller_create_custom_jwtv3_with_http_info(USER.name, sc.CreateCustomJwt(expires_in="30d"))
    assert answer.status_code == 201
    assert call(server, "GET", "/api/v3/users/my/self", token=answer.data.jwt)[1]["username"] == USER.name


def test_a_token_that_lasts_is_for_administrators(server: ScicatServer) -> None:
    token = server.tokens.give(USER, 60)
    assert call(server, "POST", "/api/v3/users/user/jwt", {"expiresIn": "30d"}, token=token)[0] == 403


def test_health_needs_no_token(server: ScicatServer) -> None:
    assert call(server, "GET", "/api/v3/health", token="")[1]["status"] == "ok"


def test_another_groups_dataset_is_403(server: ScicatServer) -> None:
    token = server.tokens.give(USER, 60)
    assert call(server, "POST", DATASETS, dataset(), token=token)[0] == 201
    assert call(server, "POST", DATASETS, dataset("p/2", ownerGroup="group2"), token=token)[0] == 403


# Creating


def test_a_dataset_without_an_owner_is_500(server: ScicatServer) -> None:
    assert call(server, "POST", DATASETS, dataset(owner=None))[0] == 500
    assert server.store.datasets == {}


def test_a_pid_that_is_given_is_kept_and_a_second_one_is_409(server: ScicatServer) -> None:
    assert call(server, "POST", DATASETS, dataset())[1]["pid"] == "p/1"
    status, content = call(server, "POST", DATASETS, dataset())
    assert status == 409
    assert "p/1" in content["message"]
    assert len(server.store.datasets) == 1


@pytest.mark.parametrize("name", ["ownerGroup", "contactEmail", "sourceFolder", "creationTime", "datasetName", "type"])
def test_what_a_dataset_needs(server: ScicatServer, name: str) -> None:
    assert call(server, "POST", DATASETS, dataset(**{name: None}))[0] == 400


def test_unknown_keys_are_errors_nested_ones_too(server: ScicatServer, held: dict[str, Any]) -> None:
    status, content = call(server, "POST", DATASETS, dataset("p/2", nosuch=1))
    assert (status, content["message"]) == (400, ["property nosuch should not exist"])
    body = block()
    body["dataFileList"][0]["checksum"] = "x"
    assert call(server, "POST", BLOCKS, body)[1]["message"] == ["property dataFileList.checksum should not exist"]


@pytest.mark.parametrize(("email", "status"), [("a@b.c", 400), ("a@lbl.gov", 201), ("a@lbl.gov; b@aps.gov", 201)])
def test_a_contacts_email_needs_a_real_domain(server: ScicatServer, email: str, status: int) -> None:
    assert call(server, "POST", DATASETS, dataset(contactEmail=email))[0] == status


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_in_the_metadata_is_400(server: ScicatServer, value: float) -> None:
    assert call(server, "POST", DATASETS, dataset(scientificMetadata={"a": value}))[0] == 400


@pytest.mark.parametrize(("sent", "stored"), [(2**60, 1152921504606847000), (2**53 + 1, 2**53), (2**53, 2**53), (3, 3)])
def test_integers_beyond_2_to_the_53_are_rounded(server: ScicatServer, sent: int, stored: int) -> None:
    content = call(server, "POST", DATASETS, dataset(size=sent, scientificMetadata={"a": sent}))[1]
    assert (content["size"], content["scientificMetadata"]["a"]) == (stored, stored)


def test_keys_are_percent_encoded(server: ScicatServer) -> None:
    metadata = {"a.b": 1, "$x": {"entry/c.d": 2}, "plain": 3, "listed": [{"a.b": 4}]}
    content = call(server, "POST", DATASETS, dataset(scientificMetadata=metadata))[1]
    stored = {"a%2Eb": 1, "%24x": {"entry%2Fc%2Ed": 2}, "plain": 3, "listed": [{"a.b": 4}]}
    assert content["scientificMetadata"] == stored


def test_keys_that_are_encoded_already_stay_as_read_in_its_code(server: ScicatServer) -> None:
    content = call(server, "POST", DATASETS, dataset(scientificMetadata={"a%2Eb": 1, "50%25": 2}))[1]
    assert content["scientificMetadata"] == {"a%2Eb": 1, "50%25": 2}


def test_values_with_units_get_their_si_values(server: ScicatServer) -> None:
    metadata = {"a": {"value": 3, "unit": "mm"}, "g": {"t": {"value": 5, "unit": "s"}}, "n": {"value": 1, "unit": ""}}
    stored = call(server, "POST", DATASETS, dataset(scientificMetadata=metadata))[1]["scientificMetadata"]
    assert stored["a"] == {"value": 3, "unit": "mm", "valueSI": 0.003, "unitSI": "m"}
    assert stored["g"]["t"]["unitSI"] == "s"
    assert stored["n"] == {"value": 1, "unit": ""}


def test_a_time_without_a_zone_is_taken_for_the_servers_own(server: ScicatServer) -> None:
    content = call(server, "POST", DATASETS, dataset(creationTime="2026-05-01T12:00:00"))[1]
    assert content["creationTime"] == "2026-05-01T20:00:00.000Z"


def test_a_pid_in_a_path_must_be_encoded(server: ScicatServer, held: dict[str, Any]) -> None:
    assert call(server, "GET", ONE)[0] == 200
    assert call(server, "GET", "/api/v4/datasets/p/1")[0] == 404
    assert call(server, "GET", "/api/v4/datasets/p%2F2")[0] == 404


# Changing


@pytest.mark.parametrize("headers", [{}, MERGE], ids=["json", "merge-patch"])
def test_a_patch_of_version_4_resets_size_and_counts(
    server: ScicatServer, held: dict[str, Any], headers: dict[str, str]
) -> None:
    assert (held["size"], held["packedSize"], held["numberOfFiles"]) == (21, 5, 7)
    assert call(server, "PATCH", ONE, {"description": "x"}, headers=headers)[0] == 200
    assert (held["size"], held["packedSize"], held["numberOfFiles"]) == (0, 0, 0)


def test_a_patch_of_version_3_keeps_them(server: ScicatServer, held: dict[str, Any]) -> None:
    assert call(server, "PATCH", "/api/v3/datasets/p%2F1", {"description": "x"})[0] == 200
    assert (held["size"], held["packedSize"], held["numberOfFiles"], held["description"]) == (21, 5, 7, "x")


def test_a_json_patch_replaces_the_metadata(server: ScicatServer, held: dict[str, Any]) -> None:
    call(server, "PATCH", ONE, {"scientificMetadata": {"c": 1}})
    assert held["scientificMetadata"] == {"c": 1}


def test_a_merge_patch_merges_deeply_and_null_removes(server: ScicatServer, held: dict[str, Any]) -> None:
    patch = {"scientificMetadata": {"a": {"value": 5, "unit": "mm"}, "b": None, "c": 1}}
    call(server, "PATCH", ONE, patch, headers=MERGE)
    assert held["scientificMetadata"] == {"a": {"value": 5, "unit": "mm", "valueSI": 0.005, "unitSI": "m"}, "c": 1}


def test_a_value_without_its_unit_is_refused_as_read_in_its_code(server: ScicatServer, held: dict[str, Any]) -> None:
    assert call(server, "PATCH", ONE, {"scientificMetadata": {"a": {"value": 5}}}, headers=MERGE)[0] == 400


@pytest.mark.parametrize(("later_ms", "status"), [(-1, 412), (0, 412), (1, 200)])
def test_a_patch_is_refused_when_the_dataset_changed_since(
    server: ScicatServer, held: dict[str, Any], later_ms: int, status: int
) -> None:
    at = datetime.fromisoformat(held["updatedAt"]).timestamp() + later_ms / 1000
    header = datetime.fromtimestamp(round(at, 3), UTC).isoformat(timespec="milliseconds")
    headers = {**MERGE, "If-Unmodified-Since": header}
    assert call(server, "PATCH", ONE, {"description": "x"}, headers=headers)[0] == status


def test_a_lifecycle_patch_changes_what_is_given(server: ScicatServer, held: dict[str, Any]) -> None:
    status, content = call(server, "PATCH", f"{ONE}/datasetlifecycle", {"isOnCentralDisk": False}, headers=MERGE)
    assert (status, content["isOnCentralDisk"], content["archiveStatusMessage"]) == (200, False, "datasetCreated")
    assert held["size"] == 21
    assert call(server, "PATCH", f"{ONE}/datasetlifecycle", {}, headers=MERGE)[0] == 400


# Files and attachments


def test_size_and_number_of_files_become_the_sums_over_the_blocks(server: ScicatServer, held: dict[str, Any]) -> None:
    call(server, "POST", BLOCKS, block(files=2, size=10))
    assert (held["size"], held["numberOfFiles"], held["packedSize"]) == (41, 9, 5)


def test_only_the_newest_ten_blocks_are_summed_as_read_in_its_code(server: ScicatServer, held: dict[str, Any]) -> None:
    for _ in range(12):
        call(server, "POST", BLOCKS, block(files=1, size=1))
    assert (held["size"], held["numberOfFiles"]) == (10, 10)


def test_a_block_belongs_to_its_datasets_groups(server: ScicatServer, held: dict[str, Any]) -> None:
    content = call(server, "POST", BLOCKS, {**block(), "ownerGroup": "others"})[1]
    assert (content["ownerGroup"], content["version"]) == ("group1", None)


def test_blocks_have_no_key_so_that_a_second_one_is_a_second_one(server: ScicatServer, held: dict[str, Any]) -> None:
    call(server, "POST", BLOCKS, block())
    call(server, "POST", BLOCKS, block())
    assert len(server.store.blocks) == 3


def test_a_block_of_no_dataset_and_one_of_no_files_are_refused(server: ScicatServer, held: dict[str, Any]) -> None:
    assert call(server, "POST", BLOCKS, block("p/none"))[0] == 404
    assert call(server, "POST", BLOCKS, {**block(), "dataFileList": []})[0] == 400
    assert call(server, "POST", BLOCKS, {**block(), "size": 1.5})[0] == 400


def test_20_000_files_go_into_one_block(server: ScicatServer, held: dict[str, Any]) -> None:
    assert call(server, "POST", BLOCKS, block(files=20_000))[0] == 201
    assert held["numberOfFiles"] == 20_007


def test_a_block_can_be_deleted(server: ScicatServer, held: dict[str, Any]) -> None:
    name = call(server, "POST", BLOCKS, block())[1]["_id"]
    assert call(server, "DELETE", f"{BLOCKS}/{name}")[0] == 200
    assert call(server, "DELETE", f"{BLOCKS}/{name}")[0] == 404
    assert held["size"] == 21


@pytest.mark.parametrize(("size", "status"), [(2**20, 201), (20 * 2**20, 500)], ids=["1 MB", "20 MB"])
def test_an_attachment_of_1_mb_is_taken_and_one_of_20_mb_is_500(server: ScicatServer, size: int, status: int) -> None:
    body = {"ownerGroup": "group1", "caption": "x", "isPublished": False, "thumbnail": "x" * size}
    assert call(server, "POST", ATTACHMENTS, body)[0] == status


def test_an_attachment_is_found_at_its_dataset(server: ScicatServer, held: dict[str, Any]) -> None:
    relation = {"targetId": "p/1", "targetType": "dataset", "relationType": "is attached to"}
    body = {"ownerGroup": "group1", "caption": "x", "isPublished": False, "aid": "a1", "relationships": [relation]}
    assert call(server, "POST", ATTACHMENTS, body)[0] == 201
    with_all = call(server, "GET", f"{ONE}?include=attachments&include=origdatablocks")[1]
    assert ([one["aid"] for one in with_all["attachments"]], len(with_all["origdatablocks"])) == (["a1"], 1)
    assert call(server, "GET", f"{ATTACHMENTS}/a2")[0] == 404
    wrong = {**body, "aid": "a3", "relationships": [{**relation, "targetType": "file"}]}
    assert call(server, "POST", ATTACHMENTS, wrong)[0] == 400


def test_a_taken_attachments_name_is_500_as_read_in_its_code(server: ScicatServer) -> None:
    body = {"ownerGroup": "group1", "caption": "x", "isPublished": False, "aid": "a1"}
    assert [call(server, "POST", ATTACHMENTS, body)[0] for _ in range(2)] == [201, 500]


# Version 3


def test_version_3_wants_other_fields_and_gives_them_out(server: ScicatServer, sdk: sc.ApiClient) -> None:
    assert call(server, "POST", "/api/v3/datasets", dataset())[0] == 400
    dto = sc.CreateRawDatasetObsoleteDto(
        **dataset(), principalInvestigator="P I", creationLocation="/ALS/7.0.1.1", proposalId="P1", sampleId="S1"
    )
    request = sc.DatasetsControllerCreateV3Request(dto)
    answer = sc.DatasetsApi(sdk).datasets_controller_create_v3_without_preload_content(request)
    assert answer.status == 201
    answer.read()
    assert server.store.datasets["p/1"]["proposalIds"] == ["P1"]
    given = call(server, "GET", "/api/v3/datasets/p%2F1")[1]
    assert (given["proposalId"], given["sampleId"], given["principalInvestigator"]) == ("P1", "S1", "P I")


@pytest.mark.parametrize("missing", ["investigator", "inputDatasets", "usedSoftware"])
def test_what_a_derived_dataset_of_version_3_needs(server: ScicatServer, missing: str) -> None:
    body = dataset(type="derived", investigator="P I", inputDatasets=["p/1"], usedSoftware=["x"])
    assert call(server, "POST", "/api/v3/datasets", {k: v for k, v in body.items() if k != missing})[0] == 400
    assert call(server, "POST", "/api/v3/datasets", body)[0] == 201


def test_version_4_takes_the_names_of_version_3_for_unknown(server: ScicatServer) -> None:
    assert call(server, "POST", DATASETS, dataset(proposalId="P1"))[0] == 400


# Looking for


@pytest.fixture
def three(server: ScicatServer) -> ScicatServer:
    for n, keywords in enumerate((["a"], ["a", "b"], [])):
        call(server, "POST", DATASETS, dataset(f"p/{n}", size=n, keywords=keywords))
    return server


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["p/2", "p/1", "p/0"]),
        ({"where": {"pid": "p/1"}}, ["p/1"]),
        ({"where": {"keywords": "a"}, "limits": {"sort": {"createdAt": "asc"}}}, ["p/0", "p/1"]),
        ({"where": {"size": {"$gte": 1}}, "limits": {"limit": 1, "sort": {"size": "desc"}}}, ["p/2"]),
        ({"limits": {"limit": 2, "skip": 1, "sort": {"pid": "asc"}}}, ["p/1", "p/2"]),
        ({"where": {"$or": [{"pid": "p/0"}, {"pid": {"$in": ["p/2"]}}]}}, ["p/2", "p/0"]),
        ({"where": {"pid": {"$regex": "0$"}}}, ["p/0"]),
        ({"where": {"comment": {"$exists": True}}}, []),
    ],
)
def test_filters_of_version_4(three: ScicatServer, asked: dict[str, Any], found: list[str]) -> None:
    status, content = call(three, "GET", DATASETS + filtered(**asked))
    assert (status, [one["pid"] for one in content]) == (200, found)


def test_a_filter_names_fields_and_what_to_include(three: ScicatServer) -> None:
    call(three, "POST", BLOCKS, block("p/0"))
    asked = filtered(where={"pid": "p/0"}, include=["origdatablocks"])
    assert call(three, "GET", DATASETS + asked)[1][0]["origdatablocks"][0]["datasetId"] == "p/0"
    asked = filtered(where={"pid": "p/0"}, fields=["pid", "size"])
    assert call(three, "GET", DATASETS + asked)[1] == [{"pid": "p/0", "size": 7, "_id": "p/0"}]


@pytest.mark.parametrize(
    "asked", [{"limits": {"order": "pid:asc"}}, {"nosuch": 1}, {"where": {"pid": {"$where": "1"}}}]
)
def test_what_version_4_does_not_know_in_a_filter_is_400(three: ScicatServer, asked: dict[str, Any]) -> None:
    assert call(three, "GET", DATASETS + filtered(**asked))[0] == 400


def test_ten_are_found_when_no_limit_is_given(server: ScicatServer, held: dict[str, Any]) -> None:
    for _ in range(11):
        call(server, "POST", BLOCKS, block())
    assert len(call(server, "GET", BLOCKS)[1]) == 10
    assert len(call(server, "GET", BLOCKS + filtered(limits={"limit": 50}))[1]) == 12


# Proposals, samples and older backends


def test_a_second_proposal_of_the_same_name_is_409(server: ScicatServer) -> None:
    body = {"ownerGroup": "group1", "proposalId": "P1", "email": "a@lbl.gov", "title": "t"}
    assert [call(server, "POST", PROPOSALS, body)[0] for _ in range(2)] == [201, 409]
    assert call(server, "GET", f"{PROPOSALS}/P1")[1]["keywords"] is None
    assert call(server, "GET", f"{PROPOSALS}/P2")[0] == 404


def test_samples_and_instruments_of_an_older_backend_know_other_names() -> None:
    sample = {"ownerGroup": "group1", "sampleId": "S1", "sampleName": "silica"}
    instrument = {"name": "8-ID", "uniqueName": "aps-8-id-i", "pid": "i1"}
    with ScicatServer() as new, ScicatServer(sdk="4.27") as old:
        assert call(new, "POST", "/api/v3/samples", sample)[0] == 201
        assert call(new, "POST", "/api/v3/instruments", instrument)[0] == 201
        status, content = call(old, "POST", "/api/v3/samples", sample)
        assert (status, content["message"]) == (400, ["property sampleName should not exist"])
        assert call(old, "POST", "/api/v3/instruments", instrument)[0] == 400
        del sample["sampleName"], instrument["pid"]
        assert call(old, "POST", "/api/v3/samples", sample)[0] == 201
        assert call(old, "POST", "/api/v3/instruments", instrument)[0] == 201


# The server's own part


def test_what_is_not_served_is_told_from_what_is_not_there(server: ScicatServer) -> None:
    assert call(server, "GET", f"{DATASETS}/fullfacet")[0] == 501
    assert call(server, "GET", "/api/v9/datasets")[0] == 404


@pytest.mark.parametrize(
    ("kind", "stored", "status"),
    [("401", 0, 401), ("403", 0, 403), ("500 before", 0, 500), ("500 after", 1, 500), ("slow", 1, 201)],
)
def test_faults_are_answers_with_or_without_having_stored(
    server: ScicatServer, kind: str, stored: int, status: int
) -> None:
    server.faults.slow_s = 0.01
    server.faults.add("POST", "/datasets$", kind)
    assert call(server, "POST", DATASETS, dataset())[0] == status
    assert len(server.store.datasets) == stored
    assert call(server, "POST", DATASETS, dataset("p/2"))[0] == 201


@pytest.mark.parametrize(("kind", "stored"), [("reset", 0), ("reset after", 1)])
def test_a_reset_gives_no_answer_with_or_without_having_stored(server: ScicatServer, kind: str, stored: int) -> None:
    server.faults.add("POST", "/datasets$", kind)
    with pytest.raises(ConnectionError):
        call(server, "POST", DATASETS, dataset())
    assert len(server.store.datasets) == stored
    assert server.seen[-1] == ("POST", DATASETS, 0)


def test_a_fault_can_wait_for_its_turn_and_must_have_a_name(server: ScicatServer) -> None:
    server.faults.add("GET", "/datasets$", "500 before", passed=1, times=2)
    assert [call(server, "GET", DATASETS)[0] for _ in range(4)] == [200, 500, 500, 200]
    with pytest.raises(ValueError, match="none of"):
        server.faults.add("GET", "/", "nonsense")


def test_what_is_no_json_and_what_holds_no_object_is_400(server: ScicatServer) -> None:
    assert call(server, "POST", DATASETS, "{")[0] == 400
    assert call(server, "POST", DATASETS, "[]")[0] == 400
