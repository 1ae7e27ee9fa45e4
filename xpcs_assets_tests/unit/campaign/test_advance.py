"""Bringing a campaign on: never more under way than may be, nothing asked for twice, nothing falsely called done."""

from __future__ import annotations

import pytest

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.campaign.advance import Request, RunEnd, advance
from xpcs_assets.campaign.campaign import ASKED, DONE, FAILED, Campaign, ask_again, begin, note_asked, progress, stop
from xpcs_assets_tests.unit.campaign.conftest import ALL_DONE, note_steps


class Dagster:
    """Takes a run key once, and says how its runs ended."""

    def __init__(self) -> None:
        self.runs: dict[str, RunEnd] = {}

    def take(self, requests: tuple[Request, ...]) -> list[str]:
        for request in requests:
            assert request.run_key not in self.runs
            self.runs[request.run_key] = RunEnd.GOING
        return [request.member.run_key for request in requests]

    def ended(self, run: str, end: RunEnd, attempt: int = 1) -> None:
        self.runs[f"xpcs:campaign:wide:{run}~wide:{attempt}"] = end

    def how_ended(self, run_key: str) -> RunEnd:
        return self.runs.get(run_key, RunEnd.NONE)


@pytest.fixture
def dagster() -> Dagster:
    return Dagster()


def go(beamline: OpenBeamline, dagster: Dagster) -> list[str]:
    return dagster.take(advance(beamline, progress(beamline, "wide"), dagster.how_ended))


def states(beamline: OpenBeamline) -> list[str]:
    return [member.state for member in progress(beamline, "wide").members]


@pytest.mark.usefixtures("campaign")
def test_as_many_are_asked_for_as_may_be_under_way_and_the_next_when_one_is_done(
    beamline: OpenBeamline, dagster: Dagster
) -> None:
    assert go(beamline, dagster) == ["A001", "A002"]
    assert go(beamline, dagster) == []
    note_steps(beamline, "A001", *ALL_DONE)
    dagster.ended("A001", RunEnd.WELL)
    assert go(beamline, dagster) == ["A003"]
    assert states(beamline) == [DONE, ASKED, ASKED, "waiting"]


@pytest.mark.usefixtures("campaign")
def test_after_a_crash_before_dagster_was_asked_the_same_request_is_made(
    beamline: OpenBeamline, dagster: Dagster
) -> None:
    lost = advance(beamline, progress(beamline, "wide"), dagster.how_ended)
    again = advance(beamline, progress(beamline, "wide"), dagster.how_ended)
    assert [request.run_key for request in again] == [request.run_key for request in lost]
    assert len(progress(beamline, "wide").of(ASKED)) == 2


@pytest.mark.usefixtures("campaign")
def test_a_run_that_ended_well_without_a_result_is_still_under_way(beamline: OpenBeamline, dagster: Dagster) -> None:
    go(beamline, dagster)
    dagster.ended("A001", RunEnd.WELL)  # its analysis was handed to a cluster
    assert go(beamline, dagster) == []
    note_steps(beamline, "A001", *ALL_DONE)
    assert go(beamline, dagster) == ["A003"]


@pytest.mark.usefixtures("campaign")
def test_a_failed_step_is_told_with_its_reason_once_the_dagster_run_is_over(
    beamline: OpenBeamline, dagster: Dagster
) -> None:
    go(beamline, dagster)
    note_steps(beamline, "A001", "correlation: the q-map is not there")
    assert go(beamline, dagster) == []  # Dagster may try again
    dagster.ended("A001", RunEnd.BADLY)
    assert go(beamline, dagster) == ["A003"]
    (failed,) = progress(beamline, "wide").of(FAILED)
    assert failed.reason == "correlation: the q-map is not there"


@pytest.mark.usefixtures("campaign")
def test_a_dagster_run_that_was_cancelled_or_died_is_a_failure(beamline: OpenBeamline, dagster: Dagster) -> None:
    go(beamline, dagster)
    dagster.ended("A002", RunEnd.BADLY)
    go(beamline, dagster)
    assert [member.run_key for member in progress(beamline, "wide").of(FAILED)] == ["A002"]


@pytest.mark.usefixtures("runs")
def test_a_result_from_before_the_campaign_asked_is_none_of_its_own(beamline: OpenBeamline, dagster: Dagster) -> None:
    note_steps(beamline, "A001", *ALL_DONE)
    begin(beamline, Campaign("wide", ("A001",), {"stride": 2}, 1), "a scientist")
    assert go(beamline, dagster) == ["A001"]
    assert states(beamline) == [ASKED]


@pytest.mark.usefixtures("campaign")
def test_a_member_that_failed_is_asked_for_under_a_new_key_and_its_old_failure_does_not_count(
    beamline: OpenBeamline, dagster: Dagster
) -> None:
    go(beamline, dagster)
    note_steps(beamline, "A001", "correlation: out of memory")
    dagster.ended("A001", RunEnd.BADLY)
    go(beamline, dagster)
    ask_again(beamline, "wide", "a scientist")
    stop(beamline, "wide", "a scientist", stopped=False)
    note_steps(beamline, "A002", *ALL_DONE)
    assert go(beamline, dagster) == ["A001"]
    assert "xpcs:campaign:wide:A001~wide:2" in dagster.runs
    go(beamline, dagster)
    assert progress(beamline, "wide").members[0].state == ASKED


@pytest.mark.usefixtures("campaign")
def test_a_stopped_campaign_asks_for_nobody_and_sees_the_others_end(beamline: OpenBeamline, dagster: Dagster) -> None:
    go(beamline, dagster)
    stop(beamline, "wide", "an operator", stopped=True)
    note_steps(beamline, "A001", *ALL_DONE)
    assert go(beamline, dagster) == []
    assert states(beamline) == [DONE, ASKED, "waiting", "waiting"]


@pytest.mark.usefixtures("campaign")
def test_a_stopped_member_whose_request_never_reached_dagster_is_still_asked_for(
    beamline: OpenBeamline, dagster: Dagster
) -> None:
    note_asked(beamline, "wide", ["A001"])
    stop(beamline, "wide", "an operator", stopped=True)
    assert go(beamline, dagster) == ["A001"]
