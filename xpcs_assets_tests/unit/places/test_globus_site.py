"""Settings of Globus: the account, places by collection or by endpoint, endpoints in the splash form."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import ValidationError

from xpcs_assets.errors import SettingsError
from xpcs_assets.places.globus import Collection, GlobusPlace
from xpcs_assets.places.globus_site import Endpoint, account_of, collection_of, read_endpoints, transfers_between
from xpcs_assets.places.transfer import Item, TransferPhase
from xpcs_assets.settings_places import GlobusPlaceSettings
from xpcs_assets.site import Site
from xpcs_assets.testing.globus_transfer_server import MOVER, GlobusTransferServer
from xpcs_assets_tests.unit.conftest import Altered

RAW, CFS = "44ae904c-ab64-4145-a8f0-7287de38324d", "df82346e-9a15-11ea-b3c4-0ae144191ee3"
SPLASH = f"""
globus:
  globus_endpoints:
    storage7011:
      root_path: /data/
      uri: storage7011.example.org
      uuid: {RAW}
      name: storage7011
    cfs7011:
      root_path: ${{CFS_ROOT}}/7.0.1.1
      uri: example.org
      uuid: ${{CFS_UUID}}
      name: cfs7011
  globus_apps:
    mover: {{client_id: "${{GLOBUS_CLIENT_ID}}", client_secret: "${{GLOBUS_CLIENT_SECRET}}"}}
scicat:
  jobs_api_url: https://example.org/api
"""
ENVIRONMENT = {"CFS_ROOT": "/global/cfs", "CFS_UUID": CFS}


def site_of(home: Path, text: str) -> Site:
    (home / "site.yaml").write_text(text, encoding="utf-8")
    return Site(home)


def place(**said: object) -> GlobusPlaceSettings:
    return GlobusPlaceSettings.model_validate({"kind": "globus", "mounted_at": "/mnt/eagle", **said})


def test_a_splash_file_is_read_as_it_is() -> None:
    assert read_endpoints(SPLASH, "config.yml", ENVIRONMENT) == {
        "storage7011": Endpoint(UUID(RAW), "/data", "storage7011.example.org"),
        "cfs7011": Endpoint(UUID(CFS), "/global/cfs/7.0.1.1", "example.org"),
    }


def test_a_variable_that_is_not_set_is_told_by_name() -> None:
    with pytest.raises(SettingsError, match=r"config\.yml: cfs7011: the environment has no CFS_UUID"):
        read_endpoints(SPLASH, "config.yml", {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"no globus\.globus_endpoints"),
        ("globus: {}", r"no globus\.globus_endpoints"),
        ("globus: [", r"no globus\.globus_endpoints"),
        ("globus: {globus_endpoints: 5}", r"no globus\.globus_endpoints"),
        ("globus: {globus_endpoints: {a: 5}}", "this is no endpoint"),
        ("globus: {globus_endpoints: {a: {root_path: /x, uuid: five}}}", "uuid is 'five'"),
        (f"globus: {{globus_endpoints: {{a: {{root_path: x, uuid: {RAW}}}}}}}", "absolute path"),
        (f"globus: {{globus_endpoints: {{a: {{root_path: /x/../y, uuid: {RAW}}}}}}}", "absolute path"),
        (f"globus: {{globus_endpoints: {{a: {{uuid: {RAW}}}}}}}", "absolute path"),
    ],
)
def test_what_is_no_splash_file_is_told(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read_endpoints(text, "config.yml", {})


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"collection": RAW},
        {"root": "/x"},
        {"endpoint": "a", "root": "/x"},
        {"endpoint": "a", "collection": RAW},
        {"endpoint": "a", "collection": RAW, "root": "/x"},
    ],
)
def test_a_place_names_an_endpoint_or_a_folder_of_a_collection(said: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="give either endpoint, or collection and root"):
        place(**said)


@pytest.mark.parametrize("root", ["x", "/x/../y"])
def test_the_folder_in_a_collection_is_an_absolute_path(root: str) -> None:
    with pytest.raises(ValidationError, match="absolute path"):
        place(collection=RAW, root=root)


def test_a_place_lies_where_its_settings_or_the_endpoints_file_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "config.yml").write_text(SPLASH, encoding="utf-8")
    site = site_of(tmp_path, "globus: {endpoints_file: config.yml}")
    assert collection_of(site, place(collection=RAW, root="/eagle/XPCS/")) == Collection(RAW, "/eagle/XPCS")
    assert collection_of(site, place(endpoint="cfs7011", sha256=False)) == Collection(
        CFS, "/global/cfs/7.0.1.1", sha256=False
    )
    with pytest.raises(SettingsError, match=r"no endpoint 'b'\. There are: storage7011, cfs7011"):
        collection_of(site, place(endpoint="b"))
    (tmp_path / "config.yml").unlink()
    with pytest.raises(SettingsError, match=r"config\.yml: the file cannot be read"):
        collection_of(site, place(endpoint="cfs7011"))


def test_an_endpoint_without_a_file_and_an_account_that_is_none_are_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"endpoint 'a': there is no globus\.endpoints_file"):
        collection_of(site_of(tmp_path, "globus: {client_id: x}"), place(endpoint="a"))
    with pytest.raises(SettingsError, match="there is no account for Globus"):
        account_of(site_of(tmp_path, "title: a site"))
    with pytest.raises(SettingsError, match="name a token, or a client_id and client_secret"):
        account_of(site_of(tmp_path, "globus: {client_id: x}"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://example.org", "must be https: a token is sent there"),
        ("ftp://127.0.0.1", "must be https://host"),
        ("https://", "must be https://host"),
        ("https://me:secret@example.org", "must not hold a password"),
    ],
)
def test_a_token_is_sent_nowhere_in_the_clear(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"auth_url {said}"):
        account_of(site_of(tmp_path, f"globus: {{token: {{variable: X}}, auth_url: '{url}'}}"))


def site_with(home: Path, server: GlobusTransferServer) -> Site:
    text = f"""
globus:
  client_id: {MOVER.name}
  client_secret: {{file: secret}}
  url: {server.url}
  auth_url: {server.url}
  timeout: 2 s
  deadline: 2 days
"""
    (home / "secret").write_text(MOVER.secret, encoding="utf-8")
    return site_of(home, text)


def test_a_site_moves_a_file_with_what_its_settings_say(tmp_path: Path) -> None:
    with GlobusTransferServer() as server:
        site = site_with(tmp_path, server)
        ends = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            lies = collection_of(site, place(collection=server.service.share(tmp_path / name), root="/"))
            ends.append(GlobusPlace(name, tmp_path / name, collection=lies))
        source, target = ends
        sha256 = source.put("x", [b"data"]).sha256
        transfers = transfers_between(site, source, target)
        task = transfers.begin(transfers.new_submission(), "run", [Item("x", "y", 4, sha256)])
        assert transfers.look(task).phase is TransferPhase.SUCCEEDED
        transfers.close()
        (made,) = server.service.tasks.values()
    assert target.digest("y").sha256 == sha256
    days = (datetime.fromisoformat(made.document["deadline"]) - datetime.now(UTC)) / timedelta(days=1)
    assert 1.9 < days < 2.1


def test_a_beamline_opens_such_a_place_by_the_marker_of_the_mounted_folder(altered: Altered, tmp_path: Path) -> None:
    (tmp_path / "eagle").mkdir()
    said = {"kind": "globus", "collection": RAW, "root": "/eagle", "mounted_at": str(tmp_path / "eagle")}
    opened = altered({"places": {"eagle": {**said, "failure_domain": "room 5"}}})
    eagle = opened.place("eagle")
    assert isinstance(eagle, GlobusPlace)
    assert (eagle.collection, eagle.failure_domain) == (Collection(RAW, "/eagle"), "room 5")
    (tmp_path / "eagle").rename(tmp_path / "gone")
    (tmp_path / "eagle").mkdir()
    assert "is not mounted" in opened.place("eagle").why_unavailable()
