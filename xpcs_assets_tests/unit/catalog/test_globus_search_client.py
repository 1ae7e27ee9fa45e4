"""The connection: log-in, what the SDK tries again, tasks to their end, errors of our tree without any secret."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.catalog.globus_search_client import GlobusSearchClient
from xpcs_assets.errors import CatalogError, CatalogUnavailableError, RefusedError, SettingsError
from xpcs_assets.secret import SecretReference
from xpcs_assets.testing.globus_search_server import OPERATORS, STRANGER, USERS, WRITER, GlobusSearchServer
from xpcs_assets_tests.globus_search import config_for

CONTENT = {"a": "text"}


@pytest.fixture
def server() -> Iterator[GlobusSearchServer]:
    with GlobusSearchServer() as running:
        yield running


@pytest.fixture
def client(server: GlobusSearchServer, tmp_path: Path) -> Iterator[GlobusSearchClient]:
    made = GlobusSearchClient(config_for(server, tmp_path))
    yield made
    made.close()


@pytest.fixture
def impatient(server: GlobusSearchServer, tmp_path: Path) -> Iterator[GlobusSearchClient]:
    """A connection that does not wait long for a task."""
    made = GlobusSearchClient(config_for(server, tmp_path, task_limit_s=0.1))
    yield made
    made.close()


@pytest.fixture
def with_token(server: GlobusSearchServer, tmp_path: Path) -> Iterator[GlobusSearchClient]:
    """A connection with a long-lived token in a file."""
    file = tmp_path / "token"
    file.write_text(server.token(), encoding="utf-8")
    made = GlobusSearchClient(config_for(server, tmp_path, token=SecretReference(file=str(file))))
    yield made
    made.close()


def write(client: GlobusSearchClient, content: Any = None) -> None:
    client.ingest("s", "i", [OPERATORS], content or CONTENT)


def logins(server: GlobusSearchServer) -> int:
    return sum(path == "/v2/oauth2/token" for _, path, _ in server.seen)


def test_what_is_ingested_is_there_when_the_call_returns(
    server: GlobusSearchServer, client: GlobusSearchClient
) -> None:
    assert client.entry("s", "i") is None
    write(client)
    assert client.entry("s", "i") == CONTENT
    assert [path for method, path, _ in server.seen if "/task/" in path], "the task was followed"
    assert logins(server) == 1


def test_a_token_is_used_as_it_is(server: GlobusSearchServer, with_token: GlobusSearchClient) -> None:
    write(with_token)
    assert with_token.entry("s", "i") == CONTENT
    assert logins(server) == 0


def test_a_token_that_was_replaced_is_read_anew(
    server: GlobusSearchServer, with_token: GlobusSearchClient, tmp_path: Path
) -> None:
    write(with_token)
    server.tokens.expire()
    with pytest.raises(CatalogUnavailableError, match=r"HTTP 401.*Put a good token"):
        with_token.entry("s", "i")
    (tmp_path / "token").write_text(server.token(), encoding="utf-8")
    assert with_token.entry("s", "i") == CONTENT


def test_a_client_whose_token_was_taken_back_gets_another(
    server: GlobusSearchServer, client: GlobusSearchClient
) -> None:
    write(client)
    server.tokens.expire()
    write(client, {"a": "other"})
    assert client.entry("s", "i") == {"a": "other"}
    assert logins(server) == 2


def test_a_token_that_is_about_to_end_is_renewed_before(server: GlobusSearchServer, client: GlobusSearchClient) -> None:
    server.token_seconds = 30.0
    client.entry("s", "i")
    client.entry("s", "i")
    assert logins(server) > 1
    assert all(status != 401 for _, _, status in server.seen)


def test_a_wrong_secret_waits_for_a_good_one(
    server: GlobusSearchServer, client: GlobusSearchClient, tmp_path: Path
) -> None:
    (tmp_path / "globus-secret").write_text("wrong", encoding="utf-8")
    with pytest.raises(CatalogUnavailableError, match=r"log-in is refused \(HTTP 401\)"):
        write(client)
    (tmp_path / "globus-secret").write_text(WRITER.secret, encoding="utf-8")
    write(client)


def test_a_secret_that_was_changed_under_way_is_read_anew(
    server: GlobusSearchServer, client: GlobusSearchClient, tmp_path: Path
) -> None:
    write(client)
    server.clients[WRITER.name] = replace(WRITER, secret="new secret")  # noqa: S106
    server.tokens.expire()
    with pytest.raises(CatalogUnavailableError, match="log-in is refused"):
        client.entry("s", "i")
    (tmp_path / "globus-secret").write_text("new secret", encoding="utf-8")
    assert client.entry("s", "i") == CONTENT


@pytest.mark.parametrize("fault", ["500 before", "502 of a proxy", "page of a proxy", "reset", "time-out before"])
def test_a_token_endpoint_that_is_not_well_is_unavailable(
    server: GlobusSearchServer, client: GlobusSearchClient, fault: str
) -> None:
    server.faults.add("POST", "/v2/oauth2/token", fault, times=99)
    client.config = replace(client.config, timeout_s=0.1)
    with pytest.raises(CatalogUnavailableError, match="Globus Search index") as raised:
        client.entry("s", "i")
    assert "refused" not in str(raised.value)
    server.faults.ordered.clear()
    client.config = replace(client.config, timeout_s=1.0)
    assert client.entry("s", "i") is None


def test_a_secret_that_is_not_there_is_an_error_of_the_settings(server: GlobusSearchServer, tmp_path: Path) -> None:
    client = GlobusSearchClient(config_for(server, tmp_path, token=SecretReference(file=str(tmp_path / "none"))))
    with pytest.raises(SettingsError, match="cannot be read"):
        client.entry("s", "i")


@pytest.mark.parametrize("fault", ["429", "500 before", "502 of a proxy", "reset", "time-out before"])
def test_a_passing_fault_is_not_noticed(server: GlobusSearchServer, tmp_path: Path, fault: str) -> None:
    client = GlobusSearchClient(config_for(server, tmp_path, timeout_s=0.5, tries=4))
    for method, path in (("POST", "/ingest$"), ("GET", "/task/"), ("GET", "/entry$")):
        server.faults.add(method, path, fault)
    write(client)
    assert client.entry("s", "i") == CONTENT
    client.close()


@pytest.mark.parametrize(
    "fault", ["409", "429", "500 before", "502 of a proxy", "page of a proxy", "reset", "time-out before"]
)
@pytest.mark.parametrize("path", ["/ingest$", "/task/", "/entry$"])
def test_a_lasting_fault_is_unavailable(server: GlobusSearchServer, tmp_path: Path, fault: str, path: str) -> None:
    client = GlobusSearchClient(config_for(server, tmp_path, timeout_s=0.1))
    server.faults.add("GET|POST", path, fault, times=99)
    with pytest.raises(CatalogUnavailableError) as raised:
        client.entry("s", "i") if "entry" in path else write(client)
    assert raised.value.__context__ is None or raised.value.__suppress_context__
    client.close()


@pytest.mark.parametrize("fault", ["500 after", "time-out after", "reset after"])
def test_what_was_stored_without_an_answer_is_one_entry(server: GlobusSearchServer, tmp_path: Path, fault: str) -> None:
    client = GlobusSearchClient(config_for(server, tmp_path, timeout_s=0.5, tries=4))
    server.faults.add("POST", "/ingest$", fault)
    write(client)
    assert len(server.index.tasks) > 1, "the SDK sent it again"
    assert len(server.index.entries) == 1
    client.close()


def test_a_server_that_is_down_is_unavailable_and_found_again(
    server: GlobusSearchServer, client: GlobusSearchClient
) -> None:
    write(client)
    with server.down(), pytest.raises(CatalogUnavailableError, match="GlobusConnectionError, ConnectionError"):
        client.entry("s", "i")
    assert client.entry("s", "i") == CONTENT


def test_no_request_waits_longer_than_the_time_out_whatever_the_environment_says(
    server: GlobusSearchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOBUS_SDK_HTTP_TIMEOUT", "60")
    monkeypatch.setenv("GLOBUS_SDK_VERIFY_SSL", "0")
    client = GlobusSearchClient(config_for(server, tmp_path, tries=1))
    client.entry("s", "i")
    assert client._search is not None
    assert client._search.transport.verify_ssl is True
    server.faults.add("GET", "/entry$", "time-out before")
    start = time.monotonic()
    with pytest.raises(CatalogUnavailableError, match="GlobusTimeoutError, ReadTimeout"):
        client.entry("s", "i")
    assert time.monotonic() - start < 20
    client.close()


def test_a_service_that_asks_to_wait_is_waited_for_no_longer_than_configured(
    server: GlobusSearchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    client = GlobusSearchClient(config_for(server, tmp_path, tries=3, longest_sleep_s=0.25))
    client.entry("s", "i")
    monkeypatch.setattr("globus_sdk.transport.requests.time.sleep", slept.append)
    server.faults.add("GET", "/entry$", "429", times=9)
    with pytest.raises(CatalogUnavailableError, match="HTTP 429 it was ordered"):
        client.entry("s", "i")
    assert slept == [0.25, 0.25]
    client.close()


def test_the_environment_names_the_service_where_the_configuration_does_not(
    server: GlobusSearchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_SEARCH", server.url)
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_AUTH", server.url)
    client = GlobusSearchClient(config_for(server, tmp_path, url="", auth_url=""))
    write(client)
    assert len(server.index.entries) == 1
    client.close()


def test_a_task_that_fails_is_told_in_the_services_words(
    server: GlobusSearchServer, client: GlobusSearchClient
) -> None:
    write(client, {"a": 1})
    with pytest.raises(
        CatalogError, match=r"field \[a\] of type \[Integer\] does not take.*Compare the types"
    ) as raised:
        write(client, {"a": "text"})
    assert not isinstance(raised.value, CatalogUnavailableError)
    assert raised.value.where == "s"


def test_what_a_service_says_is_told_in_bounds(server: GlobusSearchServer, client: GlobusSearchClient) -> None:
    server.index.failures.append("x" * 10**5)
    with pytest.raises(CatalogError) as raised:
        write(client)
    assert len(str(raised.value)) < 1000


def test_a_task_that_is_not_done_in_time_is_told_again_later_and_done_once(
    server: GlobusSearchServer, client: GlobusSearchClient, impatient: GlobusSearchClient
) -> None:
    server.index.held = True
    with pytest.raises(CatalogUnavailableError, match="is PENDING"):
        write(impatient)
    server.index.held = False
    write(client)
    assert len(server.index.entries) == 1


def test_a_task_that_is_in_progress_for_long_is_not_done(
    server: GlobusSearchServer, impatient: GlobusSearchClient
) -> None:
    server.index.polls = 10**6
    with pytest.raises(CatalogUnavailableError, match="is PROGRESS"):
        write(impatient)


def test_a_task_that_cannot_be_found_yet_is_waited_for(
    server: GlobusSearchServer, client: GlobusSearchClient, impatient: GlobusSearchClient
) -> None:
    server.faults.add("GET", "/task/", "404", times=2)
    write(client)
    server.faults.add("GET", "/task/", "404", times=10**6)
    with pytest.raises(CatalogUnavailableError, match="is not known yet"):
        write(impatient)


@pytest.mark.parametrize("answer", [{}, {"acknowledged": False, "task_id": None}])
def test_an_ingest_without_a_task_is_not_written(
    server: GlobusSearchServer, client: GlobusSearchClient, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    monkeypatch.setattr(server.index, "ingest", lambda *_: answer)
    with pytest.raises(CatalogUnavailableError, match="names no task"):
        write(client)


@pytest.mark.parametrize("answer", [{}, {"entries": []}, {"entries": [{"content": None}]}])
def test_an_entry_without_content_is_no_answer(
    server: GlobusSearchServer, client: GlobusSearchClient, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    monkeypatch.setattr(server.index, "entry", lambda *_, **__: answer)
    with pytest.raises(CatalogUnavailableError, match="has no content"):
        client.entry("s", "i")


@pytest.mark.parametrize(("status", "remedy"), [("403", "role writer"), ("404", "Check index_id")])
def test_what_is_refused_says_what_to_do(
    server: GlobusSearchServer, client: GlobusSearchClient, status: str, remedy: str
) -> None:
    server.faults.add("POST", "/ingest$", status)
    with pytest.raises(CatalogError, match=f"HTTP {status} it was ordered.*{remedy}") as raised:
        write(client)
    assert not isinstance(raised.value, CatalogUnavailableError)


def test_nobody_would_see_an_entry_without_visible_to_and_nothing_is_sent(
    server: GlobusSearchServer, client: GlobusSearchClient
) -> None:
    with pytest.raises(CatalogError, match="nobody would see"):
        client.ingest("s", "i", [], CONTENT)
    assert not server.seen


def test_what_is_called_before_a_write_may_keep_it_from_being_made(server: GlobusSearchServer, tmp_path: Path) -> None:
    def lost() -> None:
        raise RefusedError("another sends")

    client = GlobusSearchClient(config_for(server, tmp_path), before_write=lost)
    assert client.entry("s", "i") is None
    client.check()
    with pytest.raises(RefusedError, match="another sends"):
        write(client)
    assert not server.index.tasks
    client.close()


def test_an_entry_for_others_is_none(server: GlobusSearchServer, client: GlobusSearchClient) -> None:
    client.ingest("s", "i", [USERS], CONTENT)
    assert client.entry("s", "i") is None
    assert len(server.index.entries) == 1


def test_a_check_asks_whether_the_account_may_write_and_changes_nothing(
    server: GlobusSearchServer, client: GlobusSearchClient, tmp_path: Path
) -> None:
    client.check()
    (tmp_path / "stranger").write_text(server.token(STRANGER), encoding="utf-8")
    stranger = GlobusSearchClient(config_for(server, tmp_path, token=SecretReference(file=str(tmp_path / "stranger"))))
    with pytest.raises(CatalogError, match="HTTP 403"):
        stranger.check()
    other = GlobusSearchClient(config_for(server, tmp_path, index_id="00000000-0000-4000-8000-000000000000"))
    with pytest.raises(CatalogError, match="Check index_id"):
        other.check()
    server.index.status = "delete_pending"
    with pytest.raises(CatalogUnavailableError, match=r"the index is delete_pending\. Reopen the index"):
        client.check()
    with server.down(), pytest.raises(CatalogUnavailableError):
        client.check()
    assert {(method, path) for method, path, _ in server.seen if method != "GET"} == {("POST", "/v2/oauth2/token")}
    stranger.close()
    other.close()


def test_a_secret_is_in_no_message_no_log_and_no_printed_object(
    server: GlobusSearchServer, with_token: GlobusSearchClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = (tmp_path / "token").read_text("utf-8")
    client = GlobusSearchClient(config_for(server, tmp_path))
    told = []
    for one in (client, with_token):
        write(one)
        told += [repr(one), str(one), repr(one.config)]
    server.tokens.expire()
    server.clients[WRITER.name] = replace(WRITER, secret="another")  # noqa: S106
    for one in (client, with_token):
        with pytest.raises(CatalogUnavailableError) as raised:
            one.entry("s", "i")
        told += [
            str(raised.value),
            repr(raised.value),
            repr(raised.value.args),
            *getattr(raised.value, "__notes__", []),
        ]
    client.close()
    told.append(caplog.text)
    for secret in (token, WRITER.secret):
        assert all(secret not in text for text in told)


def test_all_connections_are_closed(
    server: GlobusSearchServer, client: GlobusSearchClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.entry("s", "i")
    closed: list[str] = []
    assert client._search is not None
    assert client._login._auth is not None
    for one in (client._search, client._login._auth):
        name = type(one).__name__
        monkeypatch.setattr(one.transport.session, "close", lambda name=name: closed.append(name))
    client.close()
    client.close()
    assert closed == ["SearchClient", "ConfidentialAppAuthClient"]
    assert client.entry("s", "i") is None


def test_the_sdk_is_not_needed_until_something_is_asked(
    server: GlobusSearchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "globus_sdk", None)
    client = GlobusSearchClient(config_for(server, tmp_path))
    with pytest.raises(SettingsError, match=r"pip install 'xpcs-assets\[globus\]'"):
        client.entry("s", "i")
