"""The log-in to the Superfacility API: a key in a file that nobody else may read, and never in a message."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from xpcs_assets.compute.sfapi_service import Account, session
from xpcs_assets.errors import ComputeError, SettingsError, UnreachableError
from xpcs_assets.testing.sfapi_scheduler import Processes
from xpcs_assets.testing.sfapi_server import CLIENT_ID, SfapiServer

pytest.importorskip("sfapi_client")


@pytest.fixture
def server() -> Iterator[SfapiServer]:
    with SfapiServer(Processes()) as made:
        yield made


def name_of(account: Account) -> str:
    """Whose account it is, as the service says."""
    with session(account, "nersc", 5.0, 0.01) as service:
        return str(service.get("account/")["name"])


def test_a_key_in_any_of_its_forms_logs_in(server: SfapiServer, tmp_path: Path) -> None:
    from joserfc.jwk import RSAKey

    account = server.account(tmp_path)
    file = Path(account.key_file)
    pem = file.read_text()
    assert name_of(account) == "beamline"
    file.write_text(f"{CLIENT_ID}\n{pem}\n")  # as the client itself keeps it
    assert name_of(account) == "beamline"
    file.write_text(json.dumps(RSAKey.import_key(pem).as_dict(private=True)))
    assert name_of(account) == "beamline"


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_key_that_others_may_read_is_not_used(server: SfapiServer, tmp_path: Path, mode: int) -> None:
    account = server.account(tmp_path)
    Path(account.key_file).chmod(mode)
    with pytest.raises(SettingsError, match=r"others may read the key.*chmod 600"):
        name_of(account)
    Path(account.key_file).chmod(0o400)
    assert name_of(account) == "beamline"


@pytest.mark.parametrize("content", ["no key", "[]", "-----BEGIN PRIVATE KEY-----\nno key", '{"kty": "RSA"}'])
def test_what_is_no_key_is_named_and_not_shown(server: SfapiServer, tmp_path: Path, content: str) -> None:
    account = server.account(tmp_path)
    Path(account.key_file).write_text(content)
    with pytest.raises(SettingsError, match=r"sfapi\.pem: ") as caught:
        name_of(account)
    assert "no key" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_missing_key_is_named(server: SfapiServer, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        name_of(replace(server.account(tmp_path), key_file=str(tmp_path / "none")))


def test_another_client_or_another_key_is_refused(server: SfapiServer, tmp_path: Path) -> None:
    from joserfc.jwk import RSAKey

    account = server.account(tmp_path)
    with pytest.raises(ComputeError, match="the log-in is refused: invalid_client"):
        name_of(replace(account, client_id="another123456"))
    Path(account.key_file).write_bytes(RSAKey.generate_key(2048, private=True).as_pem(private=True))
    with pytest.raises(ComputeError, match="invalid_client") as caught:
        name_of(account)
    assert "BEGIN" not in repr(caught.value)


def test_a_session_shows_neither_key_nor_token(server: SfapiServer, tmp_path: Path) -> None:
    with session(server.account(tmp_path), "nersc", 5.0, 0.01) as service:
        service.get("account/")
        assert "BEGIN" not in repr(service)
        assert "Client" not in repr(service)


def test_without_the_client_the_extra_to_install_is_named(
    server: SfapiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sfapi_client", None)
    with pytest.raises(SettingsError, match=r"pip install 'xpcs-assets\[sfapi\]'"):
        name_of(server.account(tmp_path))


@pytest.mark.parametrize(
    "fault", ["503", "500 before", "429", "reset", "401", "403", "404", "502 of a proxy", "page of a proxy"]
)
def test_a_log_in_that_is_not_itself_is_no_refusal_of_the_key(server: SfapiServer, tmp_path: Path, fault: str) -> None:
    server.faults.add("POST", "/token", fault, times=2)
    with pytest.raises(UnreachableError, match=r"^nersc: "):
        name_of(server.account(tmp_path))
    server.faults.ordered.clear()
    assert name_of(server.account(tmp_path)) == "beamline"
