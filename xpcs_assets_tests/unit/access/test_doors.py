"""A beamline whose copies lie in a guest collection: its groups are found or made, and let in by rules of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from xpcs_assets.access.doors import open_doors
from xpcs_assets.access.keeper import Found, keeping_access, settle_run
from xpcs_assets.copies.ledger import FindingKind
from xpcs_assets.errors import SettingsError
from xpcs_assets.places import globus_site
from xpcs_assets.places.posix_access import PosixDoors
from xpcs_assets.site import Site
from xpcs_assets.testing.globus_groups_server import GlobusGroupsServer
from xpcs_assets_tests.globus_transfer import groups_account_for
from xpcs_assets_tests.unit.stage.globus_site import GlobusSite, globus_site_at

PATH = "/facility/eagle/xpcs/A001/v1/"


@dataclass
class Guarded:
    """A site with a guarded collection and the groups of Globus; one run lies there."""

    globus: GlobusSite
    groups: GlobusGroupsServer

    @property
    def folder(self) -> Path:
        return self.globus.home / "eagle" / "xpcs" / "A001" / "v1"

    @property
    def told(self) -> set[tuple[str, str]]:
        """Kind and principal of the rules about the run."""
        collection = str(self.globus.beamline.settings.places["eagle"].collection)  # type: ignore[union-attr]
        return {(kind, who) for kind, who, _ in self.globus.server.rules.told(collection, PATH)}

    def settled(self) -> Found:
        (found,) = settle_run(self.globus.beamline, "A001")
        return found


@pytest.fixture
def guarded(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guarded]:
    with globus_site_at(site.home, monkeypatch, ("eagle",)) as opened, GlobusGroupsServer() as groups:
        monkeypatch.setattr(globus_site, "groups_account_of", lambda _: groups_account_for(groups, site.home))
        file = site.home / "beamlines" / "xpcs.yaml"
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        content["places"]["eagle"]["access"] = {"groups": "als-{group}", "staff": ["xpcs-staff"], "create": True}
        until = opened.clock() + timedelta(days=2)
        content["runs"]["owner"] = {"groups": ["p1"], "embargo_until": until.isoformat()}
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        opened.restart()
        opened.taken()
        made = Guarded(opened, groups)
        made.folder.mkdir(parents=True)
        yield made


def test_the_groups_of_a_run_are_made_and_let_in_and_everybody_once_its_embargo_has_ended(guarded: Guarded) -> None:
    found = guarded.settled()
    (own,), (staff,) = guarded.groups.named("als-p1"), guarded.groups.named("xpcs-staff")
    assert found.is_right
    assert guarded.told == {("group", own), ("group", staff)}
    assert found.why == ""
    assert not guarded.settled().changed
    guarded.globus.clock.now += timedelta(days=3)
    assert guarded.settled().changed
    assert guarded.told == {("all_authenticated_users", "")}


def test_rules_of_a_copy_that_has_gone_are_taken_away(guarded: Guarded) -> None:
    guarded.settled()
    guarded.folder.rmdir()
    assert settle_run(guarded.globus.beamline, "A001") == []
    assert guarded.told == set()


def test_a_service_that_is_down_lets_nobody_in_or_out_and_is_no_finding(guarded: Guarded) -> None:
    guarded.settled()
    before = guarded.told
    guarded.groups.stop()
    try:
        assert guarded.settled().is_right, "who was found is remembered"
    finally:
        guarded.groups.start()
    with guarded.globus.server.down():
        found = guarded.settled()
        assert (found.is_right, found.asked) == (False, False)
    assert guarded.told == before
    assert guarded.globus.beamline.ledger.findings("xpcs") == ()


def test_a_collection_that_refuses_is_a_finding_until_it_does_not(guarded: Guarded) -> None:
    collection = str(guarded.globus.beamline.settings.places["eagle"].collection)  # type: ignore[union-attr]
    guarded.globus.server.rules.forbidden.add(collection)
    assert "access manager role" in guarded.settled().why
    (finding,) = guarded.globus.beamline.ledger.findings("xpcs", kinds=[FindingKind.ACCESS])
    assert (finding.place, finding.run_key) == ("eagle", "A001")
    guarded.globus.server.rules.forbidden.clear()
    assert guarded.settled().is_right
    assert guarded.globus.beamline.ledger.findings("xpcs") == ()


def test_who_reads_it_is_told_by_name(guarded: Guarded) -> None:
    guarded.settled()
    with keeping_access(guarded.globus.beamline) as keeper:
        (owned,) = guarded.globus.beamline.ledger.owned("xpcs")
        (found,) = keeper.look(owned)
    assert found.seen is not None
    assert {reader.name for reader in found.seen.readers} == {"als-p1", "xpcs-staff"}


def test_a_folder_of_this_machine_has_its_own_doors(guarded: Guarded) -> None:
    assert isinstance(open_doors(guarded.globus.beamline, "store"), PosixDoors)


def test_a_token_for_transfer_is_none_for_groups(site: Site) -> None:
    with (site.home / "site.yaml").open("a", encoding="utf-8") as file:
        file.write("\nglobus: {token: {variable: TRANSFER_TOKEN}, groups_url: 'https://groups.example.org'}\n")
    with pytest.raises(SettingsError, match="a token for Transfer is none for Groups"):
        globus_site.groups_account_of(Site(site.home))
    text = (site.home / "site.yaml").read_text(encoding="utf-8")
    text = text.replace("globus: {", "globus: {groups_token: {variable: GROUPS_TOKEN}, ")
    (site.home / "site.yaml").write_text(text, encoding="utf-8")
    account = globus_site.groups_account_of(Site(site.home))
    assert account.url == "https://groups.example.org"
    assert account.token is not None
    assert "GROUPS_TOKEN" in str(account.token)
