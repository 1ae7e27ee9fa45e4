"""Proposals and samples are made once, by the names that a backend knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from xpcs_assets.catalog.scicat_client import ScicatClient
from xpcs_assets.catalog.scicat_links import put_proposal, put_sample
from xpcs_assets.errors import CatalogError
from xpcs_assets.testing.scicat_server import ScicatServer
from xpcs_assets_tests.scicat import config_for


@pytest.fixture
def server() -> Iterator[ScicatServer]:
    with ScicatServer() as running:
        yield running


@pytest.fixture
def client(server: ScicatServer, tmp_path: Path) -> Iterator[ScicatClient]:
    made = ScicatClient(config_for(server, tmp_path))
    yield made
    made.close()


def link(client: ScicatClient) -> None:
    put_proposal(client, "P1", title="Colloids", email="pi@lbl.gov", owner_group="g")
    put_sample(client, "S1", name="silica", owner_group="g", proposal="P1")


@pytest.mark.parametrize("kind", ["500 before", "500 after", "reset after"])
def test_they_are_made_once_whatever_fails(server: ScicatServer, client: ScicatClient, kind: str) -> None:
    server.faults.add("POST", "proposals$", kind)
    server.faults.add("POST", "samples$", kind)
    link(client)
    link(client)
    assert (list(server.store.proposals), list(server.store.samples)) == (["P1"], ["S1"])
    assert server.store.samples["S1"]["sampleName"] == "silica"
    posts = len(server.seen)
    link(client)
    assert {method for method, _, _ in server.seen[posts:]} == {"GET"}


def test_a_proposal_of_the_user_office_stays_as_it_is(server: ScicatServer, client: ScicatClient) -> None:
    link(client)
    server.store.proposals["P1"]["title"] = "theirs"
    link(client)
    assert server.store.proposals["P1"]["title"] == "theirs"


@pytest.mark.parametrize(("backend", "refused"), [("auto", 1), ("older", 0)])
def test_an_older_backend_gets_its_own_names(tmp_path: Path, backend: str, refused: int) -> None:
    with ScicatServer(sdk="4.27") as server:
        client = ScicatClient(config_for(server, tmp_path, backend=backend))
        link(client)
        assert server.store.samples["S1"]["description"] == "silica"
        assert "sampleName" not in server.store.samples["S1"]
        assert sum(status == 400 for _, _, status in server.seen) == refused
        client.close()


def test_what_is_wrong_otherwise_is_not_tried_by_other_names(server: ScicatServer, client: ScicatClient) -> None:
    with pytest.raises(CatalogError, match="email"):
        put_proposal(client, "P1", title="t", email=5, owner_group="g")  # type: ignore[arg-type]
    server.faults.add("POST", "samples$", "403", times=2)
    with pytest.raises(CatalogError, match="403"):
        put_sample(client, "S1", name="silica", owner_group="g")
    assert server.store.samples == {}
