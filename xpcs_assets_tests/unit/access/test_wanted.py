"""Whom a run should be read by: groups by their names in a place, the staff, and all once the embargo has ended."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from xpcs_assets.access.wanted import wanted_of
from xpcs_assets.catalog.roster import Member, Roster
from xpcs_assets.describe.record import Owner
from xpcs_assets.settings_places import AccessSettings, FolderSettings

NOON = datetime(2027, 1, 31, 12, tzinfo=UTC)
NEXT = datetime(2027, 2, 1, tzinfo=UTC)


def test_the_runs_groups_come_first_and_the_staff_last_by_their_names_there() -> None:
    roster = Roster({"P-1": Member(groups=("p1", "staff"))})
    settings = AccessSettings(groups="als-{group}", staff=("xpcs-staff", "als-p1"))
    wanted = wanted_of(Owner("P-1", groups=("intake",)), "xpcs", roster, settings, NOON)
    assert wanted.groups == ("als-p1", "als-staff", "als-intake", "xpcs-staff")
    assert (wanted.everybody, wanted.opens_at) == (False, None)


def test_a_group_that_the_roster_no_longer_names_is_not_wanted() -> None:
    owner, settings = Owner("P-1"), AccessSettings()
    before, after = Roster({"P-1": Member(groups=("a", "b"))}), Roster({"P-1": Member(groups=("b",))})
    assert wanted_of(owner, "xpcs", before, settings, NOON).groups == ("a", "b")
    assert wanted_of(owner, "xpcs", after, settings, NOON).groups == ("b",)


@pytest.mark.parametrize(
    ("embargo", "opens", "now", "everybody"),
    [
        ("2027-01-31", True, NOON, False),
        ("2027-01-31", True, NEXT, True),
        ("2027-01-31", False, NEXT, False),
        ("2027-01-31T11:00:00Z", True, NOON, True),
        ("", True, NEXT, False),
        ("soon", True, NEXT, False),
    ],
)
def test_all_may_read_it_once_its_embargo_has_ended(embargo: str, opens: bool, now: datetime, everybody: bool) -> None:
    owner = Owner(groups=("a",), embargo_until=embargo)
    wanted = wanted_of(owner, "xpcs", Roster(), AccessSettings(opens=opens), now)
    assert (wanted.everybody, wanted.groups) == (everybody, ("a",))


@pytest.mark.parametrize("groups", ["staff", "{group}-{proposal}", "{group"])
def test_what_a_group_is_called_there_holds_its_name_alone(groups: str) -> None:
    with pytest.raises(ValidationError, match=r"must hold \{group\}"):
        AccessSettings(groups=groups)


def test_tape_does_not_tell_people_apart() -> None:
    with pytest.raises(ValidationError, match="access is for places of kind posix and globus"):
        FolderSettings.model_validate({"kind": "tape", "root": "tape", "access": {}})
