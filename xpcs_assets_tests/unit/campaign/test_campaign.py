"""A campaign as the ledger remembers it: who is in it, how far each is, and what people said."""

from __future__ import annotations

from typing import Any

import pytest

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.campaign.campaign import (
    ASKED,
    DONE,
    FAILED,
    WAITING,
    Campaign,
    ask_again,
    begin,
    going,
    names,
    note_asked,
    note_ended,
    progress,
    stop,
)
from xpcs_assets.copies.versions import VersionBook
from xpcs_assets.errors import NotFoundError, RefusedError, SettingsError


def states(beamline: OpenBeamline) -> dict[str, str]:
    return {member.run_key: member.state for member in progress(beamline, "wide").members}


def test_a_new_campaign_has_all_its_members_waiting(beamline: OpenBeamline, campaign: Campaign) -> None:
    found = progress(beamline, "wide")
    assert (found.campaign, found.is_over, found.stopped) == (campaign, False, False)
    assert states(beamline) == dict.fromkeys(campaign.members, WAITING)
    assert [member.key for member in found.members] == [f"{run}~wide" for run in campaign.members]


def test_campaigns_are_listed_in_the_order_they_were_begun(beamline: OpenBeamline, campaign: Campaign) -> None:
    begin(beamline, Campaign("a_later_one", campaign.members[:1], {"stride": 3}, 1), "a scientist")
    assert names(beamline) == ("wide", "a_later_one")


def test_members_go_from_asked_to_their_end(beamline: OpenBeamline, campaign: Campaign) -> None:
    note_asked(beamline, "wide", ["A001", "A002"])
    note_ended(beamline, "wide", {"A001": (DONE, ""), "A002": (FAILED, "no q-map")})
    found = progress(beamline, "wide")
    assert states(beamline) == {"A001": DONE, "A002": FAILED, "A003": WAITING, "A010": WAITING}
    assert [(one.reason, one.attempt) for one in found.of(FAILED)] == [("no q-map", 1)]
    assert not found.is_over


def test_only_the_failed_are_asked_for_once_more(beamline: OpenBeamline, campaign: Campaign) -> None:
    note_asked(beamline, "wide", campaign.members)
    note_ended(beamline, "wide", {"A001": (DONE, ""), "A002": (FAILED, "x"), "A003": (DONE, ""), "A010": (DONE, "")})
    assert progress(beamline, "wide").is_over
    assert [member.run_key for member in ask_again(beamline, "wide", "a scientist")] == ["A002"]
    assert states(beamline) == {"A001": DONE, "A002": WAITING, "A003": DONE, "A010": DONE}
    note_asked(beamline, "wide", ["A002"])
    (asked,) = progress(beamline, "wide").of(ASKED)
    assert (asked.attempt, asked.reason, asked.ended_at) == (2, "", None)
    assert ask_again(beamline, "wide", "a scientist") == ()


def test_a_stopped_campaign_is_over_once_nothing_is_under_way_and_can_go_on(
    beamline: OpenBeamline, campaign: Campaign
) -> None:
    note_asked(beamline, "wide", ["A001"])
    stop(beamline, "wide", "an operator", stopped=True)
    assert (progress(beamline, "wide").stopped, progress(beamline, "wide").is_over) == (True, False)
    note_ended(beamline, "wide", {"A001": (DONE, "")})
    assert progress(beamline, "wide").is_over
    stop(beamline, "wide", "an operator", stopped=False)
    assert not progress(beamline, "wide").is_over


def test_only_campaigns_that_go_on_are_looked_at_and_one_that_a_person_opens_again_goes_on(
    beamline: OpenBeamline, campaign: Campaign
) -> None:
    assert [now.campaign for now in going(beamline)] == [campaign]
    note_asked(beamline, "wide", campaign.members)
    note_ended(beamline, "wide", dict.fromkeys(campaign.members, (FAILED, "x")))
    assert (going(beamline), names(beamline)) == ((), ("wide",))
    ask_again(beamline, "wide", "a scientist")
    assert [now.campaign.name for now in going(beamline)] == ["wide"]


def test_a_campaign_whose_making_was_killed_is_none_and_can_be_made(
    beamline: OpenBeamline, runs: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    note, told = beamline.ledger.note, []

    def killed(*line: Any) -> None:
        if told:
            raise KeyboardInterrupt
        told.append(line)
        note(*line)

    with monkeypatch.context() as patched:
        patched.setattr(VersionBook, "note", lambda self, *line: killed(*line))
        with pytest.raises(KeyboardInterrupt):
            begin(beamline, Campaign("wide", runs, {"stride": 2}, 1), "a scientist")
    assert (names(beamline), going(beamline)) == ((), ())
    begin(beamline, Campaign("wide", runs, {"stride": 2}, 1), "a scientist")
    assert names(beamline) == ("wide",)


def test_what_can_be_no_campaign_is_refused_and_nothing_is_noted(beamline: OpenBeamline, runs: tuple[str, ...]) -> None:
    for name in ("a b", "w" * 90):
        with pytest.raises(SettingsError, match=r"cannot name"):
            begin(beamline, Campaign(name, runs, {"stride": 2}, 1), "a scientist")
    with pytest.raises(RefusedError, match=r"no run is meant"):
        begin(beamline, Campaign("wide", (), {"stride": 2}, 1), "a scientist")
    with pytest.raises(NotFoundError):
        begin(beamline, Campaign("wide", ("A099",), {"stride": 2}, 1), "a scientist")
    assert names(beamline) == ()


def test_a_name_is_taken_once(beamline: OpenBeamline, campaign: Campaign) -> None:
    with pytest.raises(RefusedError, match=r"there is a campaign of this name"):
        begin(beamline, campaign, "a scientist")


def test_an_unknown_campaign_is_not_found(beamline: OpenBeamline, campaign: Campaign) -> None:
    for ask in (progress, lambda *_: stop(beamline, "no", "x", stopped=True)):
        with pytest.raises(NotFoundError, match=r"There are: wide"):
            ask(beamline, "no")
