"""The connection: log-in, what is tried again, time-outs, bounds, and that no secret is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from xpcs_assets.catalog import scicat_client
from xpcs_assets.catalog.scicat_client import ScicatClient
from xpcs_assets.errors import CatalogError, CatalogUnavailableError, RefusedError, SettingsError
from xpcs_assets.secret import SecretReference
from xpcs_assets.testing.scicat_server import ScicatServer
from xpcs_assets_tests.scicat import DATASETS, INGESTOR, config_for, dataset


@pytest.fixture
def server() -> Iterator[ScicatServer]:
    with ScicatServer() as running:
        yield running


@pytest.fixture
def client(server: ScicatServer, tmp_path: Path) -> Iterator[ScicatClient]:
    made = ScicatClient(config_for(server, tmp_path))
    yield made
    made.close()


def asked(server: ScicatServer, end: str) -> list[tuple[str, int]]:
    return [(method, status) for method, path, status in server.seen if path.endswith(end)]


def test_it_logs_in_once_for_many_requests(server: ScicatServer, client: ScicatClient) -> None:
    assert client.get(DATASETS) == []
    assert client.get(DATASETS) == []
    assert asked(server, "login") == [("POST", 201)]


@pytest.mark.parametrize("kind", ["401", "403"])
def test_it_logs_in_again_when_refused(server: ScicatServer, client: ScicatClient, kind: str) -> None:
    server.faults.add("GET", "datasets$", kind)
    assert client.get(DATASETS) == []
    assert asked(server, "login") == [("POST", 201)] * 2


def test_a_refused_log_in_is_no_fault_of_the_entry(server: ScicatServer, client: ScicatClient, tmp_path: Path) -> None:
    secret = tmp_path / "scicat-password"
    secret.write_text("wrong", encoding="utf-8")
    with pytest.raises(CatalogUnavailableError, match="log-in of ingestor is refused"):
        client.get(DATASETS)
    secret.write_text(INGESTOR.password, encoding="utf-8")
    assert client.get(DATASETS) == []


def test_a_long_lived_token_is_read_anew_when_it_is_refused(server: ScicatServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(server.tokens.give(INGESTOR, 60) + "\n", encoding="utf-8")
    client = ScicatClient(config_for(server, tmp_path, token=SecretReference(file=str(file)), username=""))
    assert client.get(DATASETS) == []
    server.tokens.expire()
    with pytest.raises(CatalogUnavailableError, match="token is refused"):
        client.get(DATASETS)
    file.write_text(server.tokens.give(INGESTOR, 60), encoding="utf-8")
    assert client.get(DATASETS) == []
    assert asked(server, "login") == []
    client.close()


def test_reads_are_tried_again_and_writes_are_not(server: ScicatServer, client: ScicatClient) -> None:
    server.faults.add("GET", "datasets$", "502 of a proxy")
    server.faults.add("GET", "datasets$", "reset")
    assert client.get(DATASETS) == []
    assert asked(server, "datasets") == [("GET", 502), ("GET", 0), ("GET", 200)]
    server.faults.add("POST", "datasets$", "reset")
    with pytest.raises(CatalogUnavailableError, match="ProtocolError"):
        client.send("POST", DATASETS, dataset())
    assert asked(server, "datasets")[3:] == [("POST", 0)]


def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_told(server: ScicatServer, tmp_path: Path) -> None:
    client = ScicatClient(config_for(server, tmp_path, read_s=0.5, reads_tried=1))
    server.faults.add("GET", "datasets$", "time-out before")
    with pytest.raises(CatalogUnavailableError, match="ReadTimeoutError"):
        client.get(DATASETS)
    server.faults.slow_s = 0.02
    server.faults.add("GET", "datasets$", "slow")
    assert client.get(DATASETS) == []
    client.close()


def test_an_answer_without_end_is_cut_off(client: ScicatClient, monkeypatch: pytest.MonkeyPatch) -> None:
    client.get(DATASETS)
    monkeypatch.setattr(scicat_client, "ANSWER_LIMIT", 1)
    with pytest.raises(CatalogUnavailableError, match="too long"):
        client.get(DATASETS)


@pytest.mark.parametrize("kind", ["page of a proxy", "502 of a proxy"])
def test_a_proxys_page_is_no_answer(server: ScicatServer, tmp_path: Path, kind: str) -> None:
    client = ScicatClient(config_for(server, tmp_path, reads_tried=1))
    server.faults.add("GET", "datasets$", kind)
    with pytest.raises(CatalogUnavailableError, match=r"HTTP (200|502)"):
        client.get(DATASETS)
    client.close()


def test_what_is_not_there_is_none_and_what_is_wrong_an_error(client: ScicatClient) -> None:
    assert client.get("/api/v4/datasets/{pid}", {"pid": "p/1"}) is None
    with pytest.raises(CatalogError, match="property nosuch should not exist") as raised:
        client.send("POST", DATASETS, dataset(nosuch=1))
    assert not isinstance(raised.value, CatalogUnavailableError)


def test_a_status_that_is_accepted_is_given_back(client: ScicatClient) -> None:
    assert client.send("POST", DATASETS, dataset()).status == 201
    assert client.send("POST", DATASETS, dataset(), accept=(409,)).status == 409
    with pytest.raises(CatalogError, match="409"):
        client.send("POST", DATASETS, dataset())


def test_a_body_beyond_the_limit_is_not_sent(server: ScicatServer, client: ScicatClient) -> None:
    with pytest.raises(CatalogError, match="more than SciCat takes"):
        client.send("POST", DATASETS, dataset(description="x" * 2**24))
    assert server.seen == []


def test_nobody_listening_is_unavailable_and_the_check_says_so(server: ScicatServer, client: ScicatClient) -> None:
    client.check()
    with server.down():
        with pytest.raises(CatalogUnavailableError, match=server.url):
            client.check()
        with pytest.raises(CatalogUnavailableError, match=server.url):
            client.get(DATASETS)
    client.check()


@pytest.mark.parametrize("fault", ["500 before", "time-out before", "502 of a proxy", "page of a proxy"])
def test_a_backend_that_is_not_well_is_unavailable(server: ScicatServer, client: ScicatClient, fault: str) -> None:
    server.faults.add("GET", "/health$", fault, times=9)
    with pytest.raises(CatalogUnavailableError):
        client.check()


def test_a_check_asks_whether_the_account_may_log_in_and_changes_nothing(server: ScicatServer, tmp_path: Path) -> None:
    made = ScicatClient(config_for(server, tmp_path, username="stranger"))
    with pytest.raises(CatalogUnavailableError, match="log-in of stranger is refused"):
        made.check()
    made.close()
    assert {method for method, path, _ in server.seen if "login" not in path} == {"GET"}


def test_what_is_called_before_a_write_may_keep_it_from_being_made(server: ScicatServer, tmp_path: Path) -> None:
    def lost() -> None:
        raise RefusedError("another sends")

    made = ScicatClient(config_for(server, tmp_path), before_write=lost)
    assert made.get(DATASETS) == []
    with pytest.raises(RefusedError, match="another sends"):
        made.send("POST", DATASETS, dataset())
    made.close()
    assert not server.store.datasets


def test_no_secret_is_told(
    server: ScicatServer, client: ScicatClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="urllib3")
    client.get(DATASETS)
    token = client._api.configuration.access_token
    told = [repr(client), repr(client.config), str(client), caplog.text]
    server.faults.add("POST", "login", "reset", times=5)
    server.tokens.expire()
    with pytest.raises(CatalogUnavailableError) as raised:
        client.get(DATASETS)
    told += [str(raised.value), repr(raised.value), repr(raised.value.__cause__)]
    (tmp_path / "scicat-password").write_text("another secret", encoding="utf-8")
    with pytest.raises(CatalogUnavailableError) as raised:
        client.get(DATASETS)
    told.append(str(raised.value))
    for secret in (token, INGESTOR.password, "another secret"):
        assert all(secret not in text for text in told)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"url": "scicat.example.org"}, "http"),
        ({"url": "https://me:secret@scicat.example.org"}, "password"),
        ({"api": "v5"}, "v3 or v4"),
        ({"backend": "newest"}, "auto or older"),
        ({"password": None}, "token"),
        ({"owner_group": "{nosuch}"}, "words in braces"),
        ({"access_groups": ("{0}",)}, "words in braces"),
    ],
)
def test_wrong_settings_are_refused(
    server: ScicatServer, tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    with pytest.raises(SettingsError, match=told) as raised:
        replace(config_for(server, tmp_path), **changes)
    assert "secret" not in str(raised.value)


def test_the_url_may_end_in_api(server: ScicatServer, tmp_path: Path) -> None:
    client = ScicatClient(replace(config_for(server, tmp_path), url=f"{server.url}/api/"))
    assert client.get(DATASETS) == []
    client.close()
