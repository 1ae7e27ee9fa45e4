"""Which settings have datasets told again when they change, and of which proposals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from xpcs_assets.catalog.roster import Roster
from xpcs_assets.catalog.rules import rules_of
from xpcs_assets.site import SITE_FILE, Site
from xpcs_assets_tests.unit.catalog.test_opening import GLOBUS, SCICAT

URN = "urn:globus:groups:id:00000000-5b1d-4d8f-8d9c-0c3c1c1c1c1c"


def digest(home: Path, said: dict[str, Any], roster: str = "{}", proposal: str = "P-1", **of_roster: Any) -> str:
    (home / "roster.yaml").write_text(roster, encoding="utf-8")
    content = {"catalogs": {"there": said}, "roster": {"file": "roster.yaml", **of_roster}}
    (home / SITE_FILE).write_text(yaml.safe_dump(content), encoding="utf-8")
    site = Site(home)
    return rules_of(site, "there", Roster.of(site))(proposal)


@pytest.mark.parametrize(
    ("said", "change", "other"),
    [
        (SCICAT, {"owner_group": "p{proposal}"}, True),
        (SCICAT, {"access_groups": ["staff"]}, True),
        (SCICAT, {"creation_location": "/ALS"}, True),
        (SCICAT, {"principal_investigator": "staff"}, True),
        (SCICAT, {"make_links": True}, True),
        (SCICAT, {"url": "https://other.example.org"}, True),
        (SCICAT, {"pid_prefix": "20.500.1"}, False),
        (SCICAT, {"token": {"variable": "TOKEN"}}, False),
        (SCICAT, {"read": "5 min"}, False),
        (SCICAT, {"files_in_block": 7}, False),
        (GLOBUS, {"groups": {"p1": URN}}, True),
        (GLOBUS, {"operators": [URN]}, True),
        (GLOBUS, {"public_after_embargo": True}, True),
        (GLOBUS, {"index_id": "00000000-5b1d-4d8f-8d9c-0c3c1c1c1c1c"}, True),
        (GLOBUS, {"entry_bytes": "1 MB"}, True),
        (GLOBUS, {"subject": "https://portal.example.org/{pid}"}, False),
        (GLOBUS, {"client_secret": {"variable": "OTHER"}}, False),
        (GLOBUS, {"poll": "3 s"}, False),
    ],
)
def test_what_is_said_is_a_rule_and_how_it_gets_there_is_none(
    tmp_path: Path, said: dict[str, Any], change: dict[str, Any], other: bool
) -> None:
    before = digest(tmp_path, said)
    assert digest(tmp_path, said) == before
    assert (digest(tmp_path, said | change) != before) is other


def test_a_proposal_s_line_of_the_roster_is_a_rule_for_that_proposal_alone(tmp_path: Path) -> None:
    plain = digest(tmp_path, SCICAT)
    named = digest(tmp_path, SCICAT, "P-1: {groups: [a]}")
    assert digest(tmp_path, SCICAT, "{P-1: {groups: [a]}, P-2: {groups: [b]}}") == named != plain
    assert digest(tmp_path, SCICAT, "P-1: {groups: [a], investigator: Jane Doe}") != named
    assert digest(tmp_path, SCICAT, "P-2: {groups: [b]}") == plain
    assert digest(tmp_path, SCICAT, groups=["p{proposal}"]) != plain  # by it the groups of the unnamed are made
    assert digest(tmp_path, SCICAT, "P-1: {groups: [a]}", groups=["p{proposal}"]) == named
