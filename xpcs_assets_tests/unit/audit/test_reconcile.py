"""Missed runs: found, asked for a bounded number of times, parked, and never done twice."""

from __future__ import annotations

from datetime import timedelta

import pytest

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.arrive.watch import Watch
from xpcs_assets.audit.reconcile import (
    ATTEMPTS,
    COPIES_OF,
    FROM_RECORD,
    FROM_STAGED,
    LONGEST_PAUSE,
    SETTLES,
    Missed,
    to_ask_for,
)
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.catalog.documents import raw_pid
from xpcs_assets.copies import versions
from xpcs_assets.copies.ledger import Errand, FindingKind, FindingState, Ledger, TransferState
from xpcs_assets.errors import LedgerError
from xpcs_assets.stage.further import copy_further
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.conftest import Altered, bare_run

PAST_ANY_PAUSE_S = LONGEST_PAUSE.total_seconds() + 1


@pytest.fixture
def clock(beamline: OpenBeamline) -> HandClock:
    """The beamline's time, which stands still."""
    hand = HandClock()
    vars(beamline)["ledger"] = Ledger(beamline.engine, hand)
    return hand


def asked(beamline: OpenBeamline, limit: int = 100, busy: tuple[str, ...] = ()) -> list[Missed]:
    return to_ask_for(beamline, limit, lambda key: key in busy)


def taken(beamline: OpenBeamline, name: str) -> str:
    key = submit(beamline, bare_run(beamline.source_root / name), as_is=True).key
    take(beamline, key)
    return key


def test_a_run_that_was_taken_and_never_staged_is_asked_for_once_it_was_left_alone(
    beamline: OpenBeamline, clock: HandClock
) -> None:
    key = taken(beamline, "A001")
    assert asked(beamline) == []
    clock.advance(SETTLES.total_seconds() + 1)
    assert asked(beamline, busy=(key,)) == []
    (missed,) = asked(beamline)
    assert (missed.key, missed.version, missed.steps, missed.attempt) == (key, 1, (), 0)
    assert "never staged" in beamline.ledger.timeline("xpcs", key)[-1].what
    assert asked(beamline) == []


def test_a_run_that_was_staged_and_has_no_result_is_taken_up_from_its_copy(
    beamline: OpenBeamline, clock: HandClock
) -> None:
    key = taken(beamline, "A001")
    stage(beamline, key)
    clock.advance(SETTLES.total_seconds() + 1)
    assert [missed.steps for missed in asked(beamline)] == [FROM_STAGED]


def test_a_run_that_was_submitted_and_that_no_run_took_is_asked_for(beamline: OpenBeamline, clock: HandClock) -> None:
    submit(beamline, bare_run(beamline.source_root / "A001"), as_is=True)
    clock.advance(SETTLES.total_seconds() + 1)
    assert [(missed.key, missed.version) for missed in asked(beamline)] == [("A001", 0)]


def test_a_run_that_waits_at_its_source_is_left_to_the_watch(beamline: OpenBeamline, clock: HandClock) -> None:
    beamline.ledger.note_arrival("xpcs", "A001", source="A001", fingerprint="1", state="waiting", reason="no raw file")
    clock.advance(PAST_ANY_PAUSE_S)
    assert asked(beamline) == []


def test_raw_data_without_a_catalog_record_are_catalogued_again(beamline: OpenBeamline, clock: HandClock) -> None:
    key = taken(beamline, "A001")
    beamline.ledger.see_finding(
        "xpcs", FindingKind.UNCATALOGUED, path=raw_pid("xpcs", key, 1), run_key=key, version=1, reason="none"
    )
    assert [missed.steps for missed in asked(beamline)] == [FROM_RECORD]


def test_each_try_waits_longer_and_the_last_one_parks_the_run_until_it_is_done(
    beamline: OpenBeamline, clock: HandClock
) -> None:
    key = taken(beamline, "A001")
    beamline.ledger.note("xpcs", key, "staged_copy", "failed: the disk is full", {"partition": key})
    waited: list[timedelta] = []
    clock.advance(SETTLES.total_seconds() + 1)
    last = clock.now
    while not beamline.ledger.findings("xpcs", kinds=[FindingKind.PARKED]):
        if asked(beamline):
            waited.append(clock.now - last)
            last = clock.now
        clock.advance(60)
    assert len(waited) == ATTEMPTS
    assert waited[1:] == sorted(waited[1:])
    assert waited[3] >= 4 * SETTLES
    (parked,) = beamline.ledger.findings("xpcs", kinds=[FindingKind.PARKED])
    assert "the disk is full" in parked.reason
    clock.advance(PAST_ANY_PAUSE_S)
    assert asked(beamline) == []
    stage(beamline, key)
    beamline.ledger.record_result(
        "xpcs", key, run_key=key, version=1, recipe_digest="r", path="a/b", result_digest="sha256:0", report={}
    )
    assert asked(beamline) == []
    assert beamline.ledger.findings("xpcs", kinds=[FindingKind.PARKED]) == ()


def test_at_most_so_many_are_asked_for_at_a_time_and_the_rest_next(beamline: OpenBeamline, clock: HandClock) -> None:
    for number in range(5):
        taken(beamline, f"A00{number}")
    clock.advance(SETTLES.total_seconds() + 1)
    first, second, third = asked(beamline, 2), asked(beamline, 2), asked(beamline, 2)
    assert [len(each) for each in (first, second, third)] == [2, 2, 1]
    assert len({missed.key for missed in (*first, *second, *third)}) == 5


def test_f55_one_poisoned_run_of_fifty_is_parked_with_its_error_and_the_others_proceed(
    beamline: OpenBeamline, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [taken(beamline, f"A{number:03d}") for number in range(50)]
    clock.advance(SETTLES.total_seconds() + 1)
    timeline = versions.VersionBook.timeline

    def poisoned(book: versions.VersionBook, name: str, key: str) -> object:
        if key == keys[7]:
            raise LedgerError("this row cannot be read", where=key)
        return timeline(book, name, key)

    monkeypatch.setattr(versions.VersionBook, "timeline", poisoned)
    assert {missed.key for missed in asked(beamline)} == set(keys) - {keys[7]}
    (parked,) = beamline.ledger.findings("xpcs", kinds=[FindingKind.PARKED])
    assert (parked.run_key, parked.state) == (keys[7], FindingState.OPEN)
    assert "this row cannot be read" in parked.reason


def test_f53_one_completion_a_thousand_times_is_one_run(beamline: OpenBeamline, clock: HandClock) -> None:
    path = bare_run(beamline.source_root / "A001")
    keys = {submit(beamline, path, as_is=True).key for _ in range(300)}
    assert len(keys) == 1
    (key,) = keys
    assert [take(beamline, key).version.version for _ in range(3)] == [1, 1, 1]
    clock.advance(366 * 86400)
    assert all(submit(beamline, path, as_is=True).known for _ in range(700))
    assert [watch.look(10) for watch in (Watch(beamline), Watch(beamline))] == [[], []]
    assert len(beamline.ledger.versions("xpcs", key)) == 1
    assert len(beamline.ledger.arrivals("xpcs")) == 1


def test_f54_what_was_asked_for_is_remembered_by_the_ledger_and_not_by_dagster(
    beamline: OpenBeamline, clock: HandClock
) -> None:
    key = taken(beamline, "A001")
    clock.advance(SETTLES.total_seconds() + 1)
    names = [missed.name for missed in asked(beamline)]
    for _ in range(5):  # ticks of a daemon that has forgotten everything
        assert asked(beamline) == []
    stage(beamline, key)
    beamline.ledger.record_result(
        "xpcs", key, run_key=key, version=1, recipe_digest="r", path="a/b", result_digest="sha256:0", report={}
    )
    clock.advance(PAST_ANY_PAUSE_S)
    assert asked(beamline) == []
    assert names == [f"{key}:v1:ingest:0"]


def with_a_mirror(altered: Altered) -> tuple[OpenBeamline, HandClock, str]:
    """A beamline that keeps data in two places, with a staged run; and its time."""
    mirror = {"kind": "posix", "root": "mirror", "failure_domain": "another town"}
    opened = altered({"places": {"mirror": mirror}, "pipeline": {"copies": ["mirror"], "correlate": None}})
    opened.root("mirror").mkdir()
    clock = HandClock()
    vars(opened)["ledger"] = Ledger(opened.engine, clock)
    key = taken(opened, "A001")
    stage(opened, key)
    return opened, clock, key


def test_a_run_that_lacks_a_further_copy_is_asked_for_until_it_has_one(altered: Altered) -> None:
    beamline, clock, key = with_a_mirror(altered)
    assert asked(beamline) == []
    clock.advance(SETTLES.total_seconds() + 1)
    (missed,) = asked(beamline)
    assert (missed.key, missed.steps, missed.reason) == (key, ("copy_in_mirror",), "it has no copy in mirror")
    clock.advance(PAST_ANY_PAUSE_S)
    copy_further(beamline, key, "mirror")
    assert asked(beamline) == []


def test_a_copy_that_cannot_be_made_is_parked_until_it_is(altered: Altered) -> None:
    beamline, clock, key = with_a_mirror(altered)
    for _ in range(ATTEMPTS + 2):
        clock.advance(PAST_ANY_PAUSE_S)
        asked(beamline)
    (parked,) = beamline.ledger.findings("xpcs", kinds=[FindingKind.PARKED])
    assert parked.reason.startswith("it has no copy in mirror")
    copy_further(beamline, key, "mirror")
    assert asked(beamline) == []
    assert beamline.ledger.findings("xpcs", kinds=[FindingKind.PARKED]) == ()


def test_a_place_that_was_named_later_is_not_filled_with_old_runs(altered: Altered) -> None:
    beamline, clock, _ = with_a_mirror(altered)
    clock.advance((COPIES_OF + 2 * SETTLES).total_seconds())
    assert asked(beamline) == []


def test_a_version_that_another_has_replaced_gets_no_copy(altered: Altered) -> None:
    beamline, clock, key = with_a_mirror(altered)
    (beamline.source_root / "A001" / "more.txt").write_text("measured again")
    clock.advance(1)
    take(beamline, key)
    clock.advance(SETTLES.total_seconds() + 1)
    assert [missed.steps for missed in asked(beamline)] == [()], "the new version is staged first"


@pytest.mark.parametrize("purpose", ["stage", "copy"])
def test_what_is_on_its_way_is_not_asked_for(altered: Altered, purpose: str) -> None:
    beamline, clock, key = with_a_mirror(altered)
    if purpose == "stage":
        key = taken(beamline, "A002")
        copy_further(beamline, "A001", "mirror")
    target = {"stage": "store", "copy": "mirror"}[purpose]
    errand = Errand("xpcs", key, 1, purpose, "detector", target)
    beamline.ledger.intend_transfer(errand, "submission", 10, clock.now)
    clock.advance(SETTLES.total_seconds() + 1)
    assert asked(beamline) == []
    beamline.ledger.change_transfer("submission", state=TransferState.FAILED)
    assert [missed.key for missed in asked(beamline)] == [key]


def with_a_result(altered: Altered) -> tuple[OpenBeamline, HandClock, str]:
    """A beamline whose results go back, its clock, and a run with a result."""
    back = {"kind": "posix", "root": "back"}
    returns = {"to": "back", "path": "{run_key}/{recipe}/"}
    opened = altered({"places": {"back": back}, "pipeline": {"return_results": returns}})
    clock = HandClock()
    vars(opened)["ledger"] = Ledger(opened.engine, clock)
    key = taken(opened, "A001")
    stage(opened, key)
    has_result(opened, key)
    return opened, clock, key


def has_result(beamline: OpenBeamline, key: str, digest: str = "sha256:0") -> None:
    beamline.ledger.record_result(
        "xpcs", key, run_key="A001", version=1, recipe_digest="r", path="a/b", result_digest=digest, report={}
    )


def test_a_result_whose_way_back_was_killed_is_asked_for_until_it_went(altered: Altered) -> None:
    beamline, clock, key = with_a_result(altered)
    assert asked(beamline) == [], "it has only just been made"
    beamline.ledger.note("xpcs", key, "returned_results", "failed: its worker ended", {"partition": key})
    clock.advance(SETTLES.total_seconds() + 1)
    (missed,) = asked(beamline)
    assert (missed.key, missed.steps, missed.attempt) == (key, ("returned_results",), 0)
    assert missed.reason == "its result has not gone back to back"
    assert asked(beamline) == [], "the next try comes later"
    clock.advance(PAST_ANY_PAUSE_S)
    assert [again.attempt for again in asked(beamline)] == [1]
    clock.advance(PAST_ANY_PAUSE_S)
    beamline.ledger.note("xpcs", key, "returned_results", "done", {"partition": key})
    assert asked(beamline) == []


def test_a_result_of_another_recipe_and_one_made_anew_go_back_as_well(altered: Altered) -> None:
    beamline, clock, key = with_a_result(altered)
    beamline.ledger.note("xpcs", key, "returned_results", "done", {"partition": key})
    has_result(beamline, f"{key}~wide")
    clock.advance(SETTLES.total_seconds() + 1)
    assert [missed.key for missed in asked(beamline)] == [f"{key}~wide"]
    has_result(beamline, key, "sha256:1")
    clock.advance(SETTLES.total_seconds() + 1)
    assert key in {missed.key for missed in asked(beamline)}


def test_a_result_that_cannot_go_back_is_parked_until_it_did(altered: Altered) -> None:
    beamline, clock, key = with_a_result(altered)
    tries = 0
    for _ in range(ATTEMPTS + 3):
        clock.advance(PAST_ANY_PAUSE_S)
        tries += len(asked(beamline))
    assert tries == ATTEMPTS
    (parked,) = beamline.ledger.findings("xpcs", kinds=[FindingKind.PARKED])
    assert parked.reason.startswith("its result has not gone back to back")
    beamline.ledger.note("xpcs", key, "returned_results", "done", {"partition": key})
    assert asked(beamline) == []
    assert beamline.ledger.findings("xpcs", kinds=[FindingKind.PARKED]) == ()


def test_results_of_long_ago_and_of_replaced_versions_do_not_go_back_by_themselves(altered: Altered) -> None:
    beamline, clock, key = with_a_result(altered)
    (beamline.source_root / "A001" / "more.txt").write_text("measured again")
    clock.advance(1)
    take(beamline, key)
    stage(beamline, key)
    clock.advance(SETTLES.total_seconds() + 1)
    assert ("returned_results",) not in [missed.steps for missed in asked(beamline)]
    clock.advance(COPIES_OF.total_seconds())
    has_result(beamline, f"{key}~wide")
    clock.advance((COPIES_OF + 2 * SETTLES).total_seconds())
    assert ("returned_results",) not in [missed.steps for missed in asked(beamline)]
