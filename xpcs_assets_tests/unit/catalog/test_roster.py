"""Who belongs to a proposal: the file in both forms, the rule, and what is wrong with a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from xpcs_assets.catalog.roster import Roster
from xpcs_assets.describe.record import Owner
from xpcs_assets.errors import SettingsError
from xpcs_assets.site import SITE_FILE, Site
from xpcs_assets_tests.unit.catalog import made

YAML = """
P-1234:
  owner: Doe Group
  groups: [p1234, staff]
  investigator: Jane Doe
  email: jane.doe@example.org
5678: {groups: [g5678]}
"""
CSV = """proposal,owner,groups,investigator,email
P-1234,Doe Group,p1234; staff,Jane Doe,jane.doe@example.org
5678,,g5678,,
"""


def roster_of(home: Path, text: str, name: str = "roster.yaml", rule: str = "[]") -> Roster:
    home.mkdir(exist_ok=True)
    (home / name).write_text(text, encoding="utf-8")
    (home / SITE_FILE).write_text(f"roster: {{file: {name}, groups: {rule}}}\n", encoding="utf-8")
    return Roster.of(Site(home))


@pytest.mark.parametrize(("name", "text"), [("roster.yaml", YAML), ("roster.csv", CSV), ("roster.csv", "\ufeff" + CSV)])
def test_the_file_says_who_sees_a_proposals_data_and_who_its_people_are(tmp_path: Path, name: str, text: str) -> None:
    roster = roster_of(tmp_path, text, name)
    assert roster.groups(Owner(proposal="P-1234"), "b") == ("p1234", "staff")
    assert roster.groups(Owner(proposal="5678"), "b") == ("g5678",)
    assert roster.people("P-1234") == {
        "owner": "Doe Group",
        "principalInvestigators": ["Jane Doe"],
        "contactEmail": "jane.doe@example.org",
    }
    assert roster.people("5678") == {}
    assert roster.people("unknown") == {}


def test_the_files_groups_come_first_and_those_of_the_run_stay(tmp_path: Path) -> None:
    roster = roster_of(tmp_path, YAML)
    owner = Owner(proposal="P-1234", groups=("staff", "beamline"))
    assert roster.groups(owner, "b") == ("p1234", "staff", "beamline")


def test_a_proposal_that_is_not_in_the_file_has_the_groups_of_the_rule(tmp_path: Path) -> None:
    roster = roster_of(tmp_path, YAML, rule="['p{proposal}', '{beamline}-staff']")
    assert roster.groups(Owner(proposal="99"), "aps-8-id-i") == ("p99", "aps-8-id-i-staff")
    assert roster.groups(Owner(proposal="99", groups=("own",)), "b") == ("own", "p99", "b-staff")
    assert roster.groups(Owner(proposal="P-1234"), "b") == ("p1234", "staff")


def test_a_run_without_a_proposal_keeps_its_own_groups(tmp_path: Path) -> None:
    roster = roster_of(tmp_path, YAML, rule="['p{proposal}']")
    assert roster.groups(Owner(groups=("own",)), "b") == ("own",)


def test_the_first_group_owns_a_dataset_and_the_others_have_access(tmp_path: Path) -> None:
    roster = roster_of(tmp_path, YAML)
    found = roster.seen_by(made.owned_by("P-1234", "guests"), "b")
    assert found == {"ownerGroup": "p1234", "accessGroups": ["staff", "guests"]}
    assert roster.seen_by(made.owned_by("P-9"), "b") == {"ownerGroup": "P-9", "accessGroups": []}
    assert roster.seen_by(Owner(), "b") == {"ownerGroup": "b", "accessGroups": []}


def test_the_file_is_read_anew_each_time(tmp_path: Path) -> None:
    roster_of(tmp_path, YAML)
    site = Site(tmp_path)
    (tmp_path / "roster.yaml").write_text("P-1234: {groups: [other]}\n", encoding="utf-8")
    assert Roster.of(site).groups(Owner(proposal="P-1234"), "b") == ("other",)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("roster.yaml", "P-1: {group: [a]}", r"group: Extra inputs"),
        ("roster.yaml", "P-1: {groups: a}", r"groups: "),
        ("roster.yaml", "P-1: {groups: [1]}", r"groups\.0: "),
        ("roster.yaml", "P-1: {email: [a]}", r"email: "),
        ("roster.yaml", "- P-1", r"no mapping"),
        ("roster.yaml", "P-1: [", r"cannot be read"),
        ("roster.yaml", "P-1: a", r"is wrong"),
        ("roster.csv", "owner,groups\nA,b\n", r"no column proposal"),
        ("roster.csv", "proposal,group\nP-1,a\n", r"group: Extra inputs"),
        ("roster.csv", "proposal,groups\nP-1,a\nP-1,b\n", r"there twice"),
        ("roster.csv", "proposal,groups\n,a\n", r"is empty"),
        ("roster.csv", "proposal,groups\nP-1,a,b\n", r"more columns"),
        ("roster.csv", 'proposal,groups\n"P-1,a\n', r"cannot be read"),
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path: Path, name: str, text: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        roster_of(tmp_path, text, name)


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        roster_of(tmp_path, "P-1: [")
    assert "\n" not in str(refused.value)
    roster_of(tmp_path, YAML)
    (tmp_path / "roster.yaml").unlink()
    with pytest.raises(SettingsError, match=r"roster\.yaml: the roster cannot be read"):
        Roster.of(Site(tmp_path))


def test_a_site_without_a_roster_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / SITE_FILE).write_text("title: a site\n", encoding="utf-8")
    assert Roster.of(Site(tmp_path)).groups(made.owned_by("P-1", "own"), "b") == ("own",)
