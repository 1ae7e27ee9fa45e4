"""Catalogs of the site file: which one a name opens, with which settings, and what is refused when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from xpcs_assets.catalog.globus_search import GlobusSearchCatalog
from xpcs_assets.catalog.opening import open_catalog
from xpcs_assets.catalog.scicat import ScicatCatalog
from xpcs_assets.errors import SettingsError
from xpcs_assets.secret import SecretReference
from xpcs_assets.site import SITE_FILE, Site

SCICAT = {
    "kind": "scicat",
    "url": "https://scicat.example.org",
    "contact_email": "beamline@example.org",
    "token": {"file": "scicat-token"},
}
GLOBUS = {
    "kind": "globus-search",
    "index_id": "3f0a8ac4-5b1d-4d8f-8d9c-0c3c1c1c1c1c",
    "operators": ["urn:globus:groups:id:3f0a8ac4-5b1d-4d8f-8d9c-0c3c1c1c1c1c"],
    "client_id": "3f0a8ac4-5b1d-4d8f-8d9c-0c3c1c1c1c1c",
    "client_secret": {"variable": "GLOBUS_SECRET"},
}


def site_with(home: Path, **catalogs: dict[str, Any]) -> Site:
    content = {"catalogs": {name.replace("_", "-"): said for name, said in catalogs.items()}}
    (home / SITE_FILE).write_text(yaml.safe_dump(content), encoding="utf-8")
    return Site(home)


def test_every_key_of_a_scicat_catalog_arrives(tmp_path: Path) -> None:
    said = SCICAT | {
        "username": "ingestor",
        "password": {"variable": "SCICAT_PASSWORD"},
        "api": "v3",
        "backend": "older",
        "pid_prefix": "20.500.1",
        "principal_investigator": "staff",
        "owner_group": "p{proposal}",
        "access_groups": ["{beamline}-staff"],
        "creation_location": "/ALS/{beamline}",
        "make_links": True,
        "connect": "2 s",
        "read": "1 min",
        "reads_tried": 4,
        "files_in_block": 10,
        "bytes_in_block": "1 MiB",
        "attachment_bytes": "64 KiB",
    }
    catalog = open_catalog(site_with(tmp_path, scicat_prod=said), "scicat-prod")
    assert isinstance(catalog, ScicatCatalog)
    config = catalog.config
    assert config.token == SecretReference(file=str(tmp_path / "scicat-token"))
    assert config.password == SecretReference(variable="SCICAT_PASSWORD")
    assert (config.connect_s, config.read_s, config.bytes_in_block, config.attachment_bytes) == (2, 60, 2**20, 2**16)
    plain = {name for name in said if name not in {"kind", "token", "password", "connect", "read"}}
    given = {name: getattr(config, name) for name in plain - {"bytes_in_block", "attachment_bytes", "access_groups"}}
    assert given == {name: said[name] for name in given}
    assert config.access_groups == ("{beamline}-staff",)
    catalog.close()


def test_every_key_of_a_globus_search_catalog_arrives(tmp_path: Path) -> None:
    said = GLOBUS | {
        "groups": {"p1": "urn:globus:groups:id:00000000-5b1d-4d8f-8d9c-0c3c1c1c1c1c"},
        "public_after_embargo": True,
        "subject": "https://portal.example.org/{pid}",
        "timeout": "20 s",
        "tries": 2,
        "longest_sleep": "3 s",
        "poll": "2 s",
        "task_limit": "5 min",
        "entry_bytes": "1 MB",
    }
    catalog = open_catalog(site_with(tmp_path, search=said), "search")
    assert isinstance(catalog, GlobusSearchCatalog)
    config = catalog.config
    assert (config.timeout_s, config.tries, config.longest_sleep_s, config.poll_s) == (20, 2, 3, 2)
    assert (config.task_limit_s, config.entry_bytes, config.public_after_embargo) == (300, 10**6, True)
    assert config.client_secret == SecretReference(variable="GLOBUS_SECRET")
    assert config.groups == said["groups"]
    catalog.close()


def test_a_name_that_the_site_has_not_is_refused_with_those_it_has(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no catalog 'other'\. There are: scicat"):
        open_catalog(site_with(tmp_path, scicat=SCICAT), "other")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"url": "scicat.example.org"}, r"url must be http"),
        ({"url": "https://me:secret@scicat.example.org"}, r"must not hold a password"),
        ({"owner_group": "{cycle}"}, r"the words in braces are group, proposal and beamline"),
        ({"token": None}, r"name a token, or a username and password"),
        ({"token": None, "password": {"variable": "P"}}, r"name a token, or a username and password"),
        ({"token": {}}, r"give either file or variable"),
        ({"token": {"file": "a", "variable": "B"}}, r"give either file or variable"),
        ({"token": "the secret itself"}, r"token"),
        ({"passwort": {"variable": "P"}}, r"passwort: Extra inputs"),
        ({"kind": "icat"}, r"kind"),
        ({"api": "v5"}, r"api"),
        ({"read": 0}, r"read"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_when_they_are_read(
    tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    with pytest.raises(SettingsError, match=why):
        site_with(tmp_path, scicat=SCICAT | change)


@pytest.mark.parametrize(
    ("entry_bytes", "taken"), [(9_999, False), (10_000, True), (9_900_000, True), (9_900_001, False)]
)
def test_settings_and_catalog_agree_on_how_long_an_entry_may_be(tmp_path: Path, entry_bytes: int, taken: bool) -> None:
    said = GLOBUS | {"entry_bytes": entry_bytes}
    if taken:
        catalog = open_catalog(site_with(tmp_path, search=said), "search")
        assert isinstance(catalog, GlobusSearchCatalog)
        assert catalog.config.entry_bytes == entry_bytes
        catalog.close()
        return
    with pytest.raises(SettingsError, match=r"entry_bytes"):
        site_with(tmp_path, search=said)


@pytest.mark.parametrize("name", ["embedded", "SciCat", "a b"])
def test_a_catalog_has_a_plain_name_and_never_that_of_the_sites_own(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=r"a name has lower-case letters"):
        site_with(tmp_path, **{name: SCICAT})


def test_a_secret_is_in_no_error_about_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        site_with(tmp_path, scicat=SCICAT | {"token": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_beamline_that_names_an_unknown_catalog_is_broken_and_the_error_names_it(site: Site) -> None:
    file = site.home / "beamlines" / "xpcs.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content["pipeline"]["catalog"] = ["embedded", "scicat-prod"]
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    broken = Site(site.home).broken["xpcs"]
    assert "has no catalog scicat-prod" in str(broken)
    found = site_with(site.home, scicat_prod=SCICAT)
    assert found.beamline("xpcs").pipeline.told == ("scicat-prod",)


@pytest.mark.parametrize("names", [["scicat"], [], ["embedded", "embedded"]])
def test_the_sites_own_catalog_is_always_among_those_that_get_an_entry(site: Site, names: list[str]) -> None:
    file = site.home / "beamlines" / "xpcs.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content["pipeline"]["catalog"] = names
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert "each once" in str(site_with(site.home, scicat=SCICAT).broken["xpcs"])
