"""The connection: log-in and its renewal, consents, what is asked again, errors of our tree without any secret."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.errors import CopyError, SettingsError, UnreachableError
from xpcs_assets.globus_login import GlobusAccount, Login
from xpcs_assets.places.globus_client import GlobusConnection
from xpcs_assets.secret import SecretReference
from xpcs_assets.testing.globus_auth import TOKEN_PATH
from xpcs_assets.testing.globus_transfer_server import MOVER, GlobusTransferServer
from xpcs_assets_tests.globus_transfer import account_for


@pytest.fixture
def server() -> Iterator[GlobusTransferServer]:
    with GlobusTransferServer() as running:
        yield running


@pytest.fixture
def connection(server: GlobusTransferServer, tmp_path: Path) -> Iterator[GlobusConnection]:
    made = GlobusConnection(account_for(server, tmp_path))
    yield made
    made.close()


@pytest.fixture
def with_token(server: GlobusTransferServer, tmp_path: Path) -> Iterator[GlobusConnection]:
    """A connection with a long-lived token in a file."""
    file = tmp_path / "token"
    file.write_text(server.token(), encoding="utf-8")
    made = GlobusConnection(account_for(server, tmp_path, token=SecretReference(file=str(file))))
    yield made
    made.close()


def ask(connection: GlobusConnection) -> Any:
    return connection.ask("submission id", lambda transfer: transfer.get_submission_id())


def listed(connection: GlobusConnection, collection: str) -> Any:
    return connection.ask("ls", lambda transfer: transfer.operation_ls(collection, path="/"))


def logins(server: GlobusTransferServer) -> int:
    return sum(path == TOKEN_PATH for _, path, _ in server.seen)


# ---- log-in ----------------------------------------------------------------------------------------------------------


def test_one_login_serves_many_requests(server: GlobusTransferServer, connection: GlobusConnection) -> None:
    assert ask(connection)["value"] != ask(connection)["value"]
    assert logins(server) == 1


def test_a_client_whose_token_ended_gets_another(server: GlobusTransferServer, connection: GlobusConnection) -> None:
    ask(connection)
    server.tokens.expire()
    ask(connection)
    assert logins(server) == 2


def test_a_token_that_is_about_to_end_is_renewed_before(
    server: GlobusTransferServer, connection: GlobusConnection
) -> None:
    server.token_seconds = 30.0
    ask(connection)
    ask(connection)
    assert logins(server) > 1
    assert all(status != 401 for _, _, status in server.seen)


def test_a_token_in_a_file_is_used_as_it_is_and_read_anew_when_it_ended(
    server: GlobusTransferServer, with_token: GlobusConnection, tmp_path: Path
) -> None:
    ask(with_token)
    server.tokens.expire()
    with pytest.raises(CopyError, match=r"HTTP 401.*Put a good token"):
        ask(with_token)
    (tmp_path / "token").write_text(server.token(), encoding="utf-8")
    ask(with_token)
    assert logins(server) == 0


def test_a_wrong_secret_is_told_and_a_good_one_is_read_anew(
    server: GlobusTransferServer, connection: GlobusConnection, tmp_path: Path
) -> None:
    (tmp_path / "globus-secret").write_text("wrong", encoding="utf-8")
    with pytest.raises(CopyError, match=r"log-in is refused \(HTTP 401\)\. Put a good token or secret"):
        ask(connection)
    (tmp_path / "globus-secret").write_text(MOVER.secret, encoding="utf-8")
    ask(connection)


@pytest.mark.parametrize("kind", ["429", "503", "500 before"])
def test_a_login_that_is_not_answered_now_is_no_refusal(
    server: GlobusTransferServer, connection: GlobusConnection, kind: str
) -> None:
    server.faults.add("POST", TOKEN_PATH, kind, times=2)
    with pytest.raises(UnreachableError, match=f"log-in: HTTP {kind[:3]}"):
        ask(connection)
    ask(connection)


def test_a_login_of_another_service_is_no_answer(
    server: GlobusTransferServer, connection: GlobusConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "answer", lambda *_: (200, {"access_token": "x", "other_tokens": []}))
    with pytest.raises(UnreachableError, match="answer is not understood"):
        ask(connection)


def test_how_often_is_asked_and_how_long_is_waited_is_the_account_s_to_say(
    server: GlobusTransferServer, tmp_path: Path
) -> None:
    login = Login(account_for(server, tmp_path, tries=3, longest_sleep_s=7.0, timeout_s=5.0))
    assert (login.retries().max_retries, login.retries().max_sleep) == (2, 7.0)
    assert login.transport().http_timeout == 5.0


# ---- consents --------------------------------------------------------------------------------------------------------


def test_a_client_consents_for_itself_once(
    server: GlobusTransferServer, connection: GlobusConnection, tmp_path: Path
) -> None:
    collections = [server.service.share(tmp_path, wants_consent=True) for _ in range(2)]
    for _ in range(2):
        for collection in collections:
            listed(connection, collection)
    assert len(server.consents[MOVER.name]) == 2
    assert logins(server) == 3


def test_a_consent_that_is_refused_is_named_and_the_next_request_is_not_held_up(
    server: GlobusTransferServer, connection: GlobusConnection, tmp_path: Path
) -> None:
    server.consents_refused = True
    collection = server.service.share(tmp_path, wants_consent=True)
    for _ in range(2):
        with pytest.raises(
            CopyError, match=rf"the consent urn.*{collection}/data_access\] is refused.*guest collection"
        ):
            listed(connection, collection)
        ask(connection)
    server.consents_refused = False
    listed(connection, collection)


def test_a_token_that_lacks_a_consent_says_which_to_give(
    server: GlobusTransferServer, with_token: GlobusConnection, tmp_path: Path
) -> None:
    collection = server.service.share(tmp_path, wants_consent=True)
    scope = (
        f"'urn:globus:auth:scope:transfer.api.globus.org:all[*https://auth.globus.org/scopes/{collection}/data_access]'"
    )
    with pytest.raises(CopyError, match="ls: HTTP 403 ConsentRequired") as raised:
        listed(with_token, collection)
    assert f"`globus session consent {scope}`" in raised.value.remedy
    assert len(server.seen) == 1


def test_a_wrong_secret_is_told_as_such_by_a_client_that_has_consented(
    server: GlobusTransferServer, connection: GlobusConnection, tmp_path: Path
) -> None:
    listed(connection, server.service.share(tmp_path, wants_consent=True))
    server.tokens.expire()
    server.clients[MOVER.name] = replace(MOVER, secret="another")  # noqa: S106
    with pytest.raises(CopyError, match=r"log-in is refused \(HTTP 401\)"):
        ask(connection)


def test_a_collection_that_wants_a_newer_login_says_so(
    server: GlobusTransferServer, connection: GlobusConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(connection)
    wanted = {"session_message": "log in with example.org", "session_required_single_domain": ["example.org"]}
    said = {"code": "PermissionDenied", "message": "log in anew", "authorization_parameters": wanted}
    monkeypatch.setattr(server, "answer", lambda *_: (403, said))
    with pytest.raises(CopyError, match=r"PermissionDenied log in anew.*`globus session update`"):
        ask(connection)


# ---- other errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "remedy"), [("403", "the right to read at the source"), ("404", "Check the collection"), ("409", "")]
)
def test_a_refusal_says_what_to_do(
    server: GlobusTransferServer, connection: GlobusConnection, kind: str, remedy: str
) -> None:
    server.faults.add("GET", "/submission_id$", kind)
    with pytest.raises(CopyError, match=f"submission id: HTTP {kind} Ordered.{kind} it was ordered.*{remedy}"):
        ask(connection)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("429", "HTTP 429"),
        ("503", "HTTP 503"),
        ("500 before", "HTTP 500"),
        ("502 of a proxy", "HTTP 502"),
        ("reset", "GlobusConnectionError"),
        ("time-out before", "GlobusTimeoutError|GlobusConnectionTimeoutError"),
        ("page of a proxy", "no JSON object"),
    ],
)
def test_a_service_that_stays_away_is_asked_so_often_and_then_told(
    server: GlobusTransferServer, tmp_path: Path, kind: str, said: str
) -> None:
    connection = GlobusConnection(account_for(server, tmp_path, timeout_s=0.5))
    server.faults.add("GET", "/submission_id$", kind, times=10)
    with pytest.raises(UnreachableError, match=f"submission id: .*({said})"):
        ask(connection)
    asked = sum(path.endswith("/submission_id") for _, path, _ in server.seen)
    assert asked == (1 if kind == "page of a proxy" else 2)
    connection.close()


def test_a_service_that_is_down_is_told_and_is_asked_again_when_it_is_back(
    server: GlobusTransferServer, connection: GlobusConnection
) -> None:
    ask(connection)
    with server.down(), pytest.raises(UnreachableError, match="GlobusConnectionError"):
        ask(connection)
    ask(connection)


def test_no_secret_is_in_a_message_a_log_or_a_printed_object(
    server: GlobusTransferServer,
    connection: GlobusConnection,
    with_token: GlobusConnection,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    token = (tmp_path / "token").read_text("utf-8")
    told = []
    for one in (connection, with_token):
        ask(one)
        told += [repr(one), repr(one.account)]
    server.tokens.expire()
    server.clients[MOVER.name] = replace(MOVER, secret="another")  # noqa: S106
    for one in (connection, with_token):
        with pytest.raises(CopyError) as raised:
            ask(one)
        told += [str(raised.value), repr(raised.value.args), *getattr(raised.value, "__notes__", [])]
        assert raised.value.__suppress_context__
    told.append(caplog.text)
    assert all(secret not in text for secret in (token, MOVER.secret) for text in told)


def test_all_connections_are_closed(connection: GlobusConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(connection)
    closed: list[str] = []
    for one in (connection._client, connection._login._auth):
        assert one is not None
        name = type(one).__name__
        monkeypatch.setattr(one.transport.session, "close", lambda name=name: closed.append(name))
    connection.close()
    connection.close()
    assert closed == ["TransferClient", "ConfidentialAppAuthClient"]


def test_the_sdk_is_not_needed_until_something_is_asked(
    server: GlobusTransferServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "globus_sdk", None)
    connection = GlobusConnection(account_for(server, tmp_path))
    with pytest.raises(SettingsError, match=r"pip install 'xpcs-assets\[globus\]'"):
        ask(connection)


def test_an_account_has_something_to_log_in_with() -> None:
    secret = SecretReference(variable="X")
    assert GlobusAccount(client_id="x", client_secret=secret).tries > 1
    assert GlobusAccount(token=secret, url="https://example.org", auth_url="http://localhost:1").url
    for lacking in ({}, {"client_id": "x"}, {"client_secret": secret}):
        with pytest.raises(SettingsError, match="name a token, or a client_id and client_secret"):
            GlobusAccount(**lacking)  # type: ignore[arg-type]
