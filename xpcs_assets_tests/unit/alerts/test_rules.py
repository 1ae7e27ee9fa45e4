"""What is wrong now, each rule on a real ledger."""

from __future__ import annotations

import shutil
from datetime import timedelta

import pytest

from xpcs_assets.alerts.word import LONGEST
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.campaign.campaign import DONE, FAILED, Campaign, begin, note_asked, note_ended, stop
from xpcs_assets.catalog.cataloguing import catalogue_raw
from xpcs_assets.catalog.delivery import reach_of
from xpcs_assets.copies import lately
from xpcs_assets.copies.ledger import ArrivalState, JobState
from xpcs_assets.describe.describing import describe
from xpcs_assets.intake.parked import park, settle
from xpcs_assets.places.place import Usage
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.prune.pruning import approve, plan
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.alerts.conftest import NOON, Watched, fails, goes_well, taken, told_of, wrong

DAY_S = 86400.0


def test_nothing_is_wrong_with_a_new_site_nor_with_a_run_that_was_just_taken(at_noon: OpenBeamline) -> None:
    assert wrong(at_noon) == []
    taken(at_noon, "A001")
    assert wrong(at_noon) == []


def test_a_run_with_a_failed_step_is_wrong_until_the_step_is_done(at_noon: OpenBeamline) -> None:
    taken(at_noon, "A001", "A002")
    fails(at_noon, "A001")
    (found,) = wrong(at_noon)
    assert (found.kind, found.subject, found.text, found.since) == ("failed", "A001", "correlation: no q-map", NOON)
    assert found.remedy == "`xpcs-assets why xpcs A001`"
    goes_well(at_noon, "A001")
    assert wrong(at_noon) == wrong(at_noon, found) == []


def test_a_reprocessing_that_failed_is_not_the_run(at_noon: OpenBeamline) -> None:
    taken(at_noon, "A001")
    fails(at_noon, "A001", key="A001~wide")
    assert told_of(wrong(at_noon), "failed") == ["A001~wide: correlation: no q-map"]


def test_a_failure_before_the_last_word_stands_as_long_as_nothing_happens_to_its_run(at_noon: OpenBeamline) -> None:
    taken(at_noon, "A001", "A002")
    fails(at_noon, "A001")
    (stood,) = wrong(at_noon)
    seen = lately.news(at_noon.engine, "xpcs", after=0).last
    assert wrong(at_noon, seen=seen) == []
    assert wrong(at_noon, stood, seen=seen) == [stood]
    fails(at_noon, "A002")
    assert [one.subject for one in wrong(at_noon, stood, seen=seen)] == ["A001", "A002"]
    goes_well(at_noon, "A001")
    assert [one.subject for one in wrong(at_noon, stood, seen=seen)] == ["A002"]


def test_where_too_much_was_noted_since_every_failure_that_stood_is_looked_at_again(
    at_noon: OpenBeamline, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken(at_noon, "A001", "A002")
    fails(at_noon, "A001")
    (stood,) = wrong(at_noon)
    goes_well(at_noon, "A001")
    monkeypatch.setattr(lately, "MOST_LINES", 1)
    goes_well(at_noon, "A002")
    goes_well(at_noon, "A002")
    assert wrong(at_noon, stood) == []


def test_what_a_reason_holds_is_one_plain_line_of_bounded_length(at_noon: OpenBeamline) -> None:
    taken(at_noon, "A001")
    fails(at_noon, "A001", "a\x1b[2Jb\nc \u202e" + "x" * 5000)
    (found,) = wrong(at_noon)
    assert found.text.startswith("correlation: a\ufffd[2Jb c \ufffdxxx")
    assert len(found.text) == LONGEST


def test_a_run_without_result_and_entry_is_late_after_its_time(at_noon: OpenBeamline, clock: HandClock) -> None:
    taken(at_noon, "A001")
    clock.advance(DAY_S - 1)
    assert told_of(wrong(at_noon), "late") == []
    clock.advance(1)
    assert told_of(wrong(at_noon), "late") == ["A001: it has no result and no catalog entry, and nothing of it failed"]


def test_what_a_late_run_lacks_is_said_and_a_run_that_lacks_nothing_is_not_late(
    watched: Watched, clock: HandClock
) -> None:
    beamline = watched()
    taken(beamline, "A001", "A002")
    stage(beamline, "A002")
    describe(beamline, "A002")
    catalogue_raw(beamline, "A002")
    clock.advance(DAY_S)
    late = told_of(wrong(beamline), "late")
    assert [line.split(",")[0] for line in late] == [
        "A001: it has no result and no catalog entry",
        "A002: it has no result",
    ]
    keeps_only = watched({"pipeline": {"correlate": None}})
    assert [line[:27] for line in told_of(wrong(keeps_only), "late")] == ["A001: it has no catalog ent"]


def test_a_late_run_that_failed_is_told_as_failed(at_noon: OpenBeamline, clock: HandClock) -> None:
    taken(at_noon, "A001")
    fails(at_noon, "A001")
    clock.advance(DAY_S)
    seen = lately.news(at_noon.engine, "xpcs", after=0).last
    found = [one for one in wrong(at_noon, seen=seen) if one.kind != "silent"]
    assert [one.kind for one in found] == ["failed"]


def test_runs_that_have_been_late_for_long_are_history_unless_somebody_was_told(
    at_noon: OpenBeamline, clock: HandClock
) -> None:
    taken(at_noon, "A001")
    clock.advance(DAY_S)
    late = [one for one in wrong(at_noon) if one.kind == "late"]
    clock.advance(30 * DAY_S)
    assert told_of(wrong(at_noon), "late") == []
    assert told_of(wrong(at_noon, *late), "late") == told_of(late, "late")


def test_of_a_run_that_was_taken_again_the_newest_version_counts(at_noon: OpenBeamline, clock: HandClock) -> None:
    taken(at_noon, "A001")
    clock.advance(DAY_S - 60)
    (at_noon.source_root / "A001" / "A001.imm").write_bytes(b"other frames")
    taken(at_noon, "A001")
    assert at_noon.latest("A001").version == 2
    clock.advance(60)
    assert told_of(wrong(at_noon), "late") == []
    clock.advance(DAY_S - 60)
    assert len(told_of(wrong(at_noon), "late")) == 1


def test_a_run_that_never_became_complete_is_late(at_noon: OpenBeamline) -> None:
    seen = {"source": "A009", "fingerprint": "x", "reason": "no metadata file"}
    at_noon.ledger.note_arrival("xpcs", "A009", state=ArrivalState.INCOMPLETE, **seen)
    at_noon.ledger.note_arrival("xpcs", "A010", state=ArrivalState.WAITING, **{**seen, "source": "A010"})
    (found,) = wrong(at_noon)
    assert (found.kind, found.subject, found.text) == ("late", "A009", "incomplete: no metadata file")


def test_a_beamline_without_new_runs_is_silent_but_not_while_it_is_paused(watched: Watched, clock: HandClock) -> None:
    beamline = watched(silent_for="20 min", mute=["late"])
    clock.advance(DAY_S)
    assert wrong(beamline) == []  # it never had a run
    taken(beamline, "A001")
    clock.advance(1199)
    assert wrong(beamline) == []
    clock.advance(1)
    (found,) = wrong(beamline)
    assert (found.kind, found.subject, found.since) == ("silent", "xpcs", clock() - timedelta(minutes=20))
    assert "A001" in found.text
    beamline.ledger.pause("xpcs", "shutdown", "me")
    assert wrong(beamline) == []
    clock.advance(DAY_S)
    beamline.ledger.end_pause("xpcs", "me")
    clock.advance(1199)
    assert wrong(beamline) == []  # nobody could have taken a run before
    clock.advance(1)
    assert [one.kind for one in wrong(beamline)] == ["silent"]


def test_a_place_that_is_gone_is_wrong_and_one_that_was_never_met_is_left_alone(at_noon: OpenBeamline) -> None:
    shutil.rmtree(at_noon.root("tape"))
    assert wrong(at_noon) == []
    assert "tape" not in {known.place for known in at_noon.ledger.known_places("xpcs")}
    at_noon.place("store")
    shutil.rmtree(at_noon.root("store"))
    (found,) = wrong(at_noon)
    assert (found.kind, found.subject) == ("unavailable", "store")
    assert found.text.startswith("the place cannot be used: ")


def test_a_full_disk_is_wrong_until_clearly_less_of_it_is_in_use(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    beamline = watched(quota="80 %", mute=["prune"])  # the forecast would meet more places
    beamline.place("store")
    used = {"bytes": 79}
    monkeypatch.setattr(PosixPlace, "usage", lambda _: Usage(used["bytes"] * 10**9, (100 - used["bytes"]) * 10**9))
    assert wrong(beamline) == []
    used["bytes"] = 80
    (found,) = wrong(beamline)
    assert (found.kind, found.subject, found.text) == ("quota", "store", "80% of the disk is in use, 20 GB are free")
    used["bytes"] = 79
    assert [one.key for one in wrong(beamline, found)] == [found.key]
    used["bytes"] = 77
    assert wrong(beamline, found) == []


def test_the_days_on_which_copies_may_go_are_told_ahead_each_once(watched: Watched, clock: HandClock) -> None:
    rule = {"detector": {"keep_for": "10 days", "min_copies": 1, "needs": []}}
    rooms = {name: {"failure_domain": f"{name} room"} for name in ("detector", "store", "tape")}
    beamline = watched({"retention": {**rule, "store": {"keep_for": "300 days", "min_copies": 1}}, "places": rooms})
    taken(beamline, "A001", "A002")
    stage(beamline, "A001")
    stage(beamline, "A002")
    clock.advance(6 * DAY_S)
    assert told_of(wrong(beamline), "prune") == []
    clock.advance(DAY_S)
    (found,) = [one for one in wrong(beamline) if one.kind == "prune"]
    assert found.text.startswith("on 2026-05-11 2 copies, ")
    assert (found.subject, found.is_news) == ("detector", True)
    assert "xpcs-assets hold" in found.remedy


def test_removals_beyond_the_limits_of_a_day_are_wrong_until_a_person_has_said_so(
    watched: Watched, clock: HandClock
) -> None:
    rule = {"detector": {"keep_for": "10 days", "min_copies": 1, "needs": [], "at_most_copies": 1}}
    rooms = {name: {"failure_domain": f"{name} room"} for name in ("detector", "store", "tape")}
    beamline = watched({"retention": rule, "places": rooms}, mute=["prune", "late", "silent"])
    taken(beamline, "A001", "A002")
    stage(beamline, "A001")
    clock.advance(11 * DAY_S)
    assert wrong(beamline) == [], "one copy may go by itself"
    stage(beamline, "A002")
    (found,) = wrong(beamline)
    assert (found.kind, found.subject, found.is_news) == ("approval", "detector", False)
    assert found.text == (
        "2 copies may go from it by the rules and wait for a person's word: no more than 1 in a day go without"
    )
    assert "xpcs-assets prune xpcs --dry-run" in found.remedy
    planned = plan(beamline, "detector")
    approve(beamline, [planned], planned.digest, "a scientist")
    assert wrong(beamline, found) == []


@pytest.fixture
def telling(watched: Watched) -> OpenBeamline:
    """A beamline that would tell a catalog; nothing is asked of it."""
    beamline = watched()
    object.__setattr__(beamline.settings.pipeline, "catalog", ("embedded", "scicat-prod"))
    return beamline


def test_a_catalog_that_does_not_answer_is_wrong_after_an_hour(telling: OpenBeamline, clock: HandClock) -> None:
    reach_of(telling).silent("scicat-prod", "connection refused")
    clock.advance(3599)
    reach_of(telling).silent("scicat-prod", "connection refused")
    assert wrong(telling) == []
    clock.advance(1)
    (found,) = wrong(telling)
    assert (found.kind, found.subject, found.since) == ("catalog", "scicat-prod", NOON)
    reach_of(telling).answered("scicat-prod")
    assert wrong(telling) == []


@pytest.mark.parametrize(
    ("reason", "is_told"),
    [
        ("cluster does not answer: no route", True),
        ("cluster: no route", True),
        ("cluster has the 4 jobs that it may have", False),
        ("PENDING (Priority)", False),
    ],
)
def test_a_back_end_that_keeps_jobs_waiting_is_wrong_after_an_hour(
    at_noon: OpenBeamline, clock: HandClock, reason: str, *, is_told: bool
) -> None:
    for key in ("A001", "A002"):
        job = at_noon.ledger.intend_job("xpcs", key, 1, "correlation", backend="cluster", request={})
        at_noon.ledger.note_job(job, reason)
    clock.advance(3599)
    assert wrong(at_noon) == []
    clock.advance(1)
    found = wrong(at_noon)
    assert told_of(found, "backend") == ([f"cluster: 2 of its jobs wait: {reason}"] if is_told else [])
    for job in at_noon.ledger.jobs("xpcs"):
        at_noon.ledger.change_job(job, JobState.DONE)
    assert wrong(at_noon, *found) == []


def test_a_message_that_was_parked_is_wrong_until_a_person_settles_it(at_noon: OpenBeamline) -> None:
    name = park(at_noon, "A\n1", "there is no such run", is_export_control=False)
    (found,) = wrong(at_noon)
    assert (found.kind, found.subject, found.text) == ("parked", f"message {name}", "A 1: there is no such run")
    settle(at_noon, name, "dismissed", "me")
    assert wrong(at_noon) == []


def test_a_campaign_that_is_over_is_news_for_some_days(at_noon: OpenBeamline, clock: HandClock) -> None:
    taken(at_noon, "A001", "A002", "A003")
    begin(at_noon, Campaign("wide", ("A001", "A002", "A003"), {"stride": 2}, 2), "me")
    note_asked(at_noon, "wide", ["A001", "A002"])
    assert wrong(at_noon) == []
    note_ended(at_noon, "wide", {"A001": (DONE, ""), "A002": (FAILED, "x")})
    assert wrong(at_noon) == []
    stop(at_noon, "wide", "me", stopped=True)
    (found,) = wrong(at_noon)
    assert (found.text, found.is_news) == ("is over: 1 done, 1 failed, 1 not asked for", True)
    clock.advance(7 * DAY_S)
    assert told_of(wrong(at_noon), "campaign") == []


def test_nobody_looks_for_what_is_mute(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    beamline = watched(mute=["failed", "parked"])
    taken(beamline, "A001")
    fails(beamline, "A001")
    park(beamline, "A1", "no", is_export_control=False)
    monkeypatch.setattr("xpcs_assets.alerts.rules.failed", None)
    assert wrong(beamline) == []
