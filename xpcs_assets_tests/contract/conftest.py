"""A SciCat contract server for each test, what it holds, and the SDK that asks it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import scicat_sdk_py as sc

from xpcs_assets.testing.scicat_server import ScicatServer
from xpcs_assets_tests.scicat import BLOCKS, DATASETS, INGESTOR, block, call, dataset


@pytest.fixture
def server() -> Iterator[ScicatServer]:
    with ScicatServer() as running:
        yield running


@pytest.fixture
def held(server: ScicatServer) -> dict[str, Any]:
    """A dataset with metadata, sizes and an OrigDatablock."""
    metadata = {"a": {"value": 1, "unit": "mm"}, "b": {"value": 2, "unit": "s"}}
    assert call(server, "POST", DATASETS, dataset(scientificMetadata=metadata, packedSize=5))[0] == 201
    assert call(server, "POST", BLOCKS, block(files=7, size=3))[0] == 201
    return server.store.datasets["p/1"]


@pytest.fixture
def sdk(server: ScicatServer) -> Iterator[sc.ApiClient]:
    """The SDK as its documentation says, logged in."""
    configuration = sc.Configuration(host=server.url)
    client = sc.ApiClient(configuration)
    credentials = sc.CredentialsDto(username=INGESTOR.name, password=INGESTOR.password)
    token = sc.AuthApi(client).auth_controller_login_v3(credentials, _request_timeout=(3.0, 30.0))
    configuration.access_token = token.access_token
    yield client
    client.rest_client.pool_manager.clear()
