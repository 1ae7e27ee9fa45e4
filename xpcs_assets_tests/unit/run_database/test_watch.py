"""What the run database names is claimed once its files are complete, asked for once, and gone on with after an end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.arrive.watch import REQUEST_STANDS_S
from xpcs_assets.copies.ledger import Arrival, ArrivalState
from xpcs_assets.errors import CopyError, RefusedError, UnreachableError
from xpcs_assets.run_database import watch as watching
from xpcs_assets.runs.folders import MARKER
from xpcs_assets_tests.mongo import Runs
from xpcs_assets_tests.unit.run_database.conftest import GIVE_UP_S, QUIET_S, Processing


def arrival(processing: Processing, key: str = "007000") -> Arrival:
    found = processing.beamline.ledger.arrival("xpcs", key)
    assert found is not None
    return found


@pytest.fixture
def other(processing: Processing, rundb: Runs) -> Iterator[Processing]:
    """Another site, with a ledger of its own were it not a test."""
    made = Processing(processing.beamline, rundb, "another site")
    yield made
    made.database.close()


def test_a_run_is_claimed_and_asked_for_once_it_was_still_for_the_quiet_time(processing: Processing) -> None:
    processing.rundb.add(7000)
    processing.put(7000)
    assert processing.look() == []
    assert processing.rundb.status(7000)[0] == ""
    processing.clock.seconds += QUIET_S
    assert [ready.key for ready in processing.look()] == ["007000"]
    assert processing.rundb.status(7000)[0] == "submitted"
    assert arrival(processing).state is ArrivalState.WAITING
    assert processing.settle() == []


def test_a_folder_that_the_run_database_does_not_name_is_left_alone(processing: Processing) -> None:
    processing.rundb.add(6000)
    processing.put(6000)
    processing.put(600)
    assert processing.settle() == ["006000"]


def test_the_newest_runs_come_first_and_no_more_than_the_beamline_may_hold(processing: Processing, rundb: Runs) -> None:
    for number in range(7000, 7004):
        rundb.add(number)
        processing.put(number)
    processing.database = rundb.open(runs_at_most=3)
    processing.start()
    assert processing.settle(limit=2) == ["007003", "007002"]
    assert processing.settle() == ["007001"]
    processing.done(7003)
    processing.reporter.report()
    assert processing.settle() == ["007000"]
    processing.database.close()


def test_a_run_without_files_has_failed_with_its_reason_and_holds_up_no_other(processing: Processing) -> None:
    processing.rundb.add(7001)
    processing.rundb.add(7000)
    processing.put(7000)
    assert processing.settle() == ["007000"]
    assert processing.rundb.status(7001)[0] == ""
    processing.clock.seconds += GIVE_UP_S
    processing.look()
    status, reason = processing.rundb.status(7001)
    assert (status, reason) == ("failed", "there is no readable file of it at '007001' in place 'detector'")
    run = processing.rundb.run(7001)
    assert (run["processing_failed"], run["tags"]) == (1, [])


def test_files_that_stay_incomplete_are_a_failure_that_says_so(processing: Processing) -> None:
    processing.rundb.add(7000)
    (processing.put(7000) / "007000_metadata.hdf").unlink()
    processing.settle()
    processing.clock.seconds += GIVE_UP_S
    processing.look()
    assert processing.rundb.status(7000)[0] == "failed"
    assert "'*_metadata.hdf'" in processing.rundb.status(7000)[1]


def test_nothing_is_said_of_any_run_while_the_disk_is_not_there(processing: Processing) -> None:
    processing.rundb.add(7000)
    processing.look()
    (processing.beamline.source_root / MARKER).unlink()
    processing.clock.seconds += GIVE_UP_S
    with pytest.raises(CopyError, match=r"unavailable"):
        processing.look()
    assert processing.rundb.status(7000) == ("", "")


def test_with_the_switch_off_nothing_new_is_taken_and_what_was_claimed_goes_on(processing: Processing) -> None:
    processing.rundb.add(7000)
    processing.rundb.add(7001)
    processing.put(7000)
    processing.settle()
    processing.put(7001)
    processing.rundb.switch("off")
    processing.start()
    assert processing.settle() == ["007000"]  # asked for again: this process does not know that it was
    assert processing.watch.told == ["the run database's switch is off: no new run is taken"]
    processing.rundb.switch("on")
    assert processing.settle() == ["007001"]


def test_a_run_that_another_site_has_is_not_taken(processing: Processing, other: Processing) -> None:
    processing.rundb.add(7000)
    processing.put(7000)
    for site in (processing, other):
        site.look()
        site.clock.seconds += QUIET_S
    assert [ready.key for ready in other.look()] == ["007000"]
    assert processing.look() == []


def test_a_run_that_failed_is_taken_anew_as_an_attempt_of_its_own(processing: Processing) -> None:
    processing.rundb.add(7000)
    processing.put(7000)
    processing.settle()
    take(processing.beamline, "007000")
    processing.rundb.change(7000, processing_status={"status": "failed"}, processing_failed=1)
    (ready,) = processing.look()
    assert (ready.attempt, arrival(processing).attempt) == (1, 1)
    assert arrival(processing).reason == watching.AGAIN


def test_what_this_site_has_done_is_not_done_again_when_only_its_claim_was_lost(processing: Processing) -> None:
    processing.rundb.add(7000)
    processing.put(7000)
    processing.settle()
    processing.done(7000)
    processing.rundb.collection.update_one({"number": 7000}, {"$unset": {"processing_status": ""}})
    assert processing.settle() == []
    processing.reporter.report()
    assert processing.rundb.status(7000)[0] == "done"
    processing.rundb.change(7000, processing_status="pending")  # a person asks for it again
    assert processing.settle() == ["007000"]
    processing.reporter.report()
    assert processing.rundb.status(7000)[0] == "submitted"


def test_a_request_that_was_lost_is_made_again_after_a_while_and_is_the_same(processing: Processing) -> None:
    processing.rundb.add(7000)
    processing.put(7000)
    processing.look()
    processing.clock.seconds += QUIET_S
    first = processing.look()
    processing.clock.seconds += REQUEST_STANDS_S - 1
    assert processing.look() == []
    processing.clock.seconds += 1
    assert processing.look() == first
    take(processing.beamline, "007000")
    processing.clock.seconds += REQUEST_STANDS_S
    assert processing.look() == []


def test_a_run_submitted_by_hand_is_claimed_whatever_its_age_unless_another_has_it(
    processing: Processing, other: Processing
) -> None:
    processing.rundb.add(7000, processing_failed=9)
    processing.rundb.add(7001)
    for number in (7000, 7001, 7002):
        processing.put(number)
    held = other.database.run(7001)
    assert held is not None
    other.database.claim(held, 0, other.database.now())
    for number in (7000, 7001, 7002):
        submit(processing.beamline, processing.beamline.source_root / f"{number:06d}")
    assert sorted(ready.key for ready in processing.look()) == ["007000", "007002"]  # 7002 is in no run database
    assert processing.rundb.status(7000)[0] == "submitted"
    assert processing.watch.told == ["007001 was submitted, but another has claimed it, or its tags forbid it"]


def test_a_claimed_run_whose_files_went_before_it_was_asked_for_has_failed(processing: Processing) -> None:
    processing.rundb.add(7000)
    folder = processing.put(7000)
    run = processing.database.run(7000)
    assert run is not None
    processing.database.claim(run, 0, processing.database.now())
    shutil.rmtree(folder)
    assert processing.look() == []
    assert processing.rundb.status(7000)[0] == "failed"


def test_one_odd_document_holds_up_no_other(processing: Processing) -> None:
    processing.rundb.add(7001, processing_failed=1.5)
    processing.rundb.add(7000)
    processing.put(7000)

    def refuse(*_: object) -> None:
        raise RefusedError("the run database refused it")

    processing.database.refuse = refuse  # type: ignore[method-assign, assignment]
    processing.look()
    processing.clock.seconds += GIVE_UP_S
    assert [ready.key for ready in processing.look()] == ["007000"]
    assert processing.watch.told == ["run 7001: the run database refused it"]


@pytest.mark.parametrize("carried_out", [False, True])
def test_a_site_that_loses_the_database_at_any_command_takes_each_run_once(
    processing: Processing, carried_out: bool
) -> None:
    server = processing.rundb.breaking()
    processing.rundb.add(7000)
    processing.put(7000)
    asked: set[tuple[str, str, int]] = set()
    for after in range(40):
        server.go_down(after, carry_out_last=carried_out)
        processing.start()
        try:
            _whole_life(processing, asked)
        except UnreachableError:
            server.come_back()
            processing.database.close()
            continue
        break
    assert after > 20  # it ended at each of them in turn
    server.come_back()
    _whole_life(processing, asked)
    assert len(asked) == 1
    assert processing.rundb.status(7000)[0] == "done"
    assert "processing_failed" not in processing.rundb.run(7000)
    entries = [entry["type"] for entry in processing.rundb.run(7000)["data"]]
    assert len(entries) == len(set(entries))
    assert len(processing.beamline.ledger.versions("xpcs", "007000")) == 1


def _whole_life(processing: Processing, asked: set[tuple[str, str, int]]) -> None:
    for _ in range(3):
        for ready in processing.tick():
            asked.add((ready.key, ready.fingerprint, ready.attempt))
            processing.done(7000)
        processing.clock.seconds += QUIET_S
