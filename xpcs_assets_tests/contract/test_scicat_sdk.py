"""What the SciCat SDK does of itself, measured with a real backend: why the catalog judges its answers alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pydantic
import pytest
import scicat_sdk_py as sc
import urllib3

from xpcs_assets.testing.scicat_server import ScicatServer
from xpcs_assets_tests.scicat import DATASETS, call, dataset

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_the_sdk_fails_on_the_answer_to_a_block_that_was_stored(
    server: ScicatServer, held: dict[str, Any], sdk: sc.ApiClient
) -> None:
    entry = sc.DataFile(path="a", size=1, time=NOW)
    body = sc.CreateOrigDatablockDto(size=1, data_file_list=[entry], dataset_id="p/1")
    with pytest.raises(pydantic.ValidationError, match="version"):
        sc.OrigdatablocksV4Api(sdk).orig_datablocks_v4_controller_create_v4(body)
    assert len(server.store.blocks) == 2


def test_the_sdk_fails_on_the_answer_to_an_attachment_of_version_3(
    server: ScicatServer, held: dict[str, Any], sdk: sc.ApiClient
) -> None:
    body = sc.CreateAttachmentV3Dto(owner_group="group1", caption="x", thumbnail="data:image/png;base64,")
    with pytest.raises(pydantic.ValidationError, match="aid"):
        sc.DatasetsApi(sdk).datasets_controller_create_attachment_v3("p/1", body)
    assert len(server.store.attachments) == 1


def test_the_sdk_fails_on_the_answer_to_a_proposal(server: ScicatServer, sdk: sc.ApiClient) -> None:
    body = sc.CreateProposalDto(owner_group="group1", proposal_id="P1", email="a@lbl.gov", title="t")
    with pytest.raises(pydantic.ValidationError, match="keywords"):
        sc.ProposalsApi(sdk).proposals_controller_create_v3(body)
    assert list(server.store.proposals) == ["P1"]


def test_the_sdk_fails_on_a_list_of_datasets_made_through_version_3(server: ScicatServer, sdk: sc.ApiClient) -> None:
    body = {**dataset(), "principalInvestigator": "P I", "creationLocation": "/ALS/7.0.1.1"}
    assert call(server, "POST", "/api/v3/datasets", body)[0] == 201
    assert call(server, "GET", DATASETS)[1][0]["sampleIds"] == [None]
    with pytest.raises(pydantic.ValidationError, match="sampleIds"):
        sc.DatasetsV4Api(sdk).datasets_v4_controller_find_all_v4()


def test_the_sdks_own_patch_unpublishes_and_writes_zeros(
    server: ScicatServer, held: dict[str, Any], sdk: sc.ApiClient
) -> None:
    held["isPublished"] = True
    patch = sc.PartialUpdateDatasetDto(keywords=["k"])
    sc.DatasetsV4Api(sdk).datasets_v4_controller_find_by_id_and_update_v4_without_preload_content("p/1", patch).read()
    assert (held["keywords"], held["isPublished"], held["size"], held["numberOfFilesArchived"]) == (["k"], False, 0, 0)


def test_the_sdks_own_patch_of_the_lifecycle_wipes_its_messages(
    server: ScicatServer, held: dict[str, Any], sdk: sc.ApiClient
) -> None:
    patch = sc.PartialUpdateDatasetLifecycleDto(archivable=False)
    api = sc.DatasetsV4Api(sdk)
    api.datasets_v4_controller_find_by_id_and_update_lifecycle_v4_without_preload_content("p/1", patch).read()
    assert (held["datasetlifecycle"]["archivable"], held["datasetlifecycle"]["archiveStatusMessage"]) == (False, "")


def test_the_sdk_drops_unknown_keys_and_takes_naive_times() -> None:
    made = sc.CreateDatasetDto.model_validate({**dataset(), "nosuch": 1, "creationTime": "2026-05-01T12:00:00"})
    assert "nosuch" not in made.to_dict()
    assert made.creation_time.tzinfo is None


@pytest.mark.parametrize("size", ["12", True])
def test_the_sdk_is_strict_about_types(size: object) -> None:
    with pytest.raises(pydantic.ValidationError):
        sc.DataFile(path="a", size=size, time=NOW)  # type: ignore[arg-type]


def test_the_sdks_operations_raise_by_status_and_their_raw_forms_never(server: ScicatServer, sdk: sc.ApiClient) -> None:
    api = sc.DatasetsV4Api(sdk)
    with pytest.raises(sc.ApiException) as raised:
        api.datasets_v4_controller_find_by_id_v4("p/none")
    assert raised.value.status == 404
    answer = api.datasets_v4_controller_find_by_id_v4_without_preload_content("p/none")
    assert (answer.status, json.loads(answer.read())["statusCode"]) == (404, 404)


def test_a_refused_connection_is_no_error_of_the_sdk(server: ScicatServer) -> None:
    client = sc.ApiClient(sc.Configuration(host=server.url, retries=0))
    with server.down(), pytest.raises(urllib3.exceptions.MaxRetryError):
        sc.HealthApi(client).health_controller_check_v3()
    assert sc.HealthApi(client).health_controller_check_v3().status == "ok"
    client.rest_client.pool_manager.clear()


def test_a_time_out_is_no_error_of_the_sdk_and_has_to_be_asked_for(
    server: ScicatServer, sdk: sc.ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    original = sdk.rest_client.pool_manager.request

    def request(*arguments: Any, **parts: Any) -> Any:
        asked.append(parts["timeout"])
        return original(*arguments, **parts)

    monkeypatch.setattr(sdk.rest_client.pool_manager, "request", request)
    api = sc.DatasetsV4Api(sdk)
    api.datasets_v4_controller_find_all_v4_without_preload_content().read()
    assert asked == [None], "it would wait for ever"
    sdk.configuration.retries = 0
    server.faults.add("GET", "/datasets$", "time-out before", times=9)
    with pytest.raises(urllib3.exceptions.HTTPError):
        api.datasets_v4_controller_find_all_v4(_request_timeout=(1.0, 0.1))


@pytest.mark.parametrize("changes", [{"type": "rubbish"}, {"contactEmail": "no address"}])
def test_the_sdk_looks_at_neither_type_nor_address(
    server: ScicatServer, sdk: sc.ApiClient, changes: dict[str, str]
) -> None:
    body = sc.CreateDatasetDto.model_validate({**dataset(), **changes})
    sc.DatasetsV4Api(sdk).datasets_v4_controller_create_v4_without_preload_content(body).read()
    assert server.seen[-1][:2] == ("POST", DATASETS), "the backend was asked"


def test_the_sdk_takes_no_arrays_and_sends_nan_and_large_integers_as_they_are(
    server: ScicatServer, sdk: sc.ApiClient
) -> None:
    def sent(value: Any) -> int:
        body = sc.CreateDatasetDto.model_validate({**dataset(), "scientificMetadata": {"a": value}})
        answer = sc.DatasetsV4Api(sdk).datasets_v4_controller_create_v4_without_preload_content(body)
        answer.read()
        return int(answer.status)

    with pytest.raises(AttributeError):
        sent(np.zeros(2))
    assert sent(float("nan")) == 400
    assert sent(2**60) == 201
    assert server.store.datasets["p/1"]["scientificMetadata"]["a"] == 1152921504606847000


def test_the_sdk_replaces_metadata_unless_it_is_told_to_merge(
    server: ScicatServer, held: dict[str, Any], sdk: sc.ApiClient
) -> None:
    api, patch = sc.DatasetsV4Api(sdk), sc.PartialUpdateDatasetDto(scientific_metadata={"c": {"value": 3, "unit": ""}})
    update = api.datasets_v4_controller_find_by_id_and_update_v4_without_preload_content
    update("p/1", patch, _content_type="application/merge-patch+json").read()
    assert set(held["scientificMetadata"]) == {"a", "b", "c"}
    update("p/1", patch).read()
    assert set(held["scientificMetadata"]) == {"c"}
