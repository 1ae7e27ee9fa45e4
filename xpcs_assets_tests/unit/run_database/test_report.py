"""The run database is told what the ledger knows, once, and nothing that the ledger does not know."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from xpcs_assets.arrive.take import take
from xpcs_assets.copies.ledger import Arrival, ArrivalState, CopyState, Evidence, JobState
from xpcs_assets.follow import RunState, state_of
from xpcs_assets.run_database.known_run import RunStatus
from xpcs_assets.run_database.report import how_far
from xpcs_assets.settings_process import Process
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.unit.run_database.conftest import Processing

KEY = "007000"
DAY_S = 86400.0


@pytest.fixture
def claimed(processing: Processing) -> Processing:
    """A site that has claimed run 7000 and asked for it."""
    processing.rundb.add(7000)
    processing.put(7000)
    assert processing.settle() == [KEY]
    return processing


def told(processing: Processing) -> tuple[str, str]:
    processing.reporter.report()
    return processing.rundb.status(7000)


def test_a_run_is_submitted_running_and_done_as_the_ledger_says(claimed: Processing) -> None:
    assert told(claimed) == ("submitted", "")
    take(claimed.beamline, KEY)
    claimed.note(KEY, "raw_file")
    assert told(claimed) == ("running", "")
    claimed.done(7000)
    assert told(claimed) == ("done", "")
    assert "processing_failed" not in claimed.rundb.run(7000)


def test_a_step_that_failed_is_the_runs_failure_and_counts_once(claimed: Processing) -> None:
    take(claimed.beamline, KEY)
    claimed.note(KEY, "raw_file")
    claimed.note(KEY, "staged_copy", "failed: the disk is full")
    for _ in range(3):
        assert told(claimed) == ("failed", "staged_copy: the disk is full")
    assert claimed.rundb.run(7000)["processing_failed"] == 1


def test_the_failure_of_an_earlier_attempt_is_no_failure_of_this_one(claimed: Processing) -> None:
    take(claimed.beamline, KEY)
    claimed.note(KEY, "staged_copy", "failed: the disk is full")
    told(claimed)
    claimed.rundb.change(7000, processing_status="pending")
    assert claimed.settle() == [KEY]
    assert told(claimed)[0] == "submitted"
    take(claimed.beamline, KEY)
    assert told(claimed)[0] == "running"
    claimed.note(KEY, "staged_copy", "failed: once more")
    assert told(claimed) == ("failed", "staged_copy: once more")
    assert claimed.rundb.run(7000)["processing_failed"] == 2


def test_a_run_that_cannot_be_taken_has_failed(claimed: Processing) -> None:
    arrival = claimed.beamline.ledger.arrival("xpcs", KEY)
    assert arrival is not None
    claimed.beamline.ledger.note_arrival(
        "xpcs", KEY, source=arrival.source, fingerprint="", state=ArrivalState.REFUSED, reason="its name is refused"
    )
    assert told(claimed) == ("failed", "its name is refused")


def test_a_report_renews_the_claims_and_says_which_were_lost(claimed: Processing) -> None:
    before = claimed.rundb.run(7000)["processing_status"]["expires"]
    claimed.rundb.change(7000, **{"processing_status.expires": before - timedelta(hours=1)})
    assert claimed.reporter.report() == []
    assert claimed.rundb.run(7000)["processing_status"]["expires"] >= before
    claimed.done(7000)
    say = claimed.database.say

    def taken_over(*parts: object) -> bool:
        claimed.rundb.change(7000, **{"processing_status.claimed_by": "another site"})
        return say(*parts)  # type: ignore[arg-type]

    claimed.database.say = taken_over  # type: ignore[method-assign, assignment]
    (line,) = claimed.reporter.report()
    assert line == "run 7000 is done, which the run database was not told: another holds it now"
    assert claimed.rundb.status(7000)[0] == "submitted"


def test_verified_copies_become_data_entries_once_and_leave_them_when_they_go(claimed: Processing) -> None:
    claimed.done(7000)
    stage(claimed.beamline, KEY)
    for _ in range(3):
        claimed.reporter.report()
    (entry,) = claimed.rundb.run(7000)["data"]
    version = claimed.beamline.latest(KEY)
    (copy,) = [each for each in claimed.beamline.ledger.copies("xpcs", KEY) if each.place != "detector"]
    assert (entry["type"], entry["checksum"], entry["files"]) == ("raw_records", version.manifest.digest, 2)
    assert entry["location"] == str(claimed.beamline.root(copy.place) / copy.path)
    assert isinstance(entry["time"], datetime)
    claimed.beamline.ledger.mark_copy(
        "xpcs", KEY, 1, place=copy.place, path=copy.path, state=CopyState.REMOVED, reason="pruned"
    )
    for _ in range(2):
        claimed.reporter.report()
    run = claimed.rundb.run(7000)
    assert (run["data"], [each["location"] for each in run["deleted_data"]]) == ([], [entry["location"]])


def test_a_copy_on_weak_evidence_is_no_data_entry_and_entries_of_others_are_left_alone(claimed: Processing) -> None:
    live = {"type": "live", "host": "daq", "location": "/daq/007000"}
    claimed.rundb.change(7000, data=[live])
    claimed.done(7000)
    claimed.beamline.ledger.record_copy(
        "xpcs", KEY, 1, place="staged", path="p", failure_domain="d", evidence=Evidence.SIZE
    )
    claimed.reporter.report()
    assert claimed.rundb.run(7000)["data"] == [live]


def timeline(processing: Processing) -> tuple[RunState, Arrival]:
    arrival = processing.beamline.ledger.arrival("xpcs", KEY)
    assert arrival is not None
    return state_of(processing.beamline, KEY), arrival


def test_a_run_under_way_of_which_nothing_is_heard_has_failed_but_one_in_the_queue_has_not(claimed: Processing) -> None:
    state, arrival = timeline(claimed)
    later = arrival.changed_at + timedelta(days=3)
    assert how_far(state, arrival, later, DAY_S) == (RunStatus.SUBMITTED, "")
    take(claimed.beamline, KEY)
    claimed.note(KEY, "raw_file")
    state, arrival = timeline(claimed)
    status, reason = how_far(state, arrival, later, DAY_S)
    assert (status, reason) == (RunStatus.FAILED, "no step has ended for 86400 s; staged_copy is still to come")
    assert how_far(state, arrival, arrival.changed_at, DAY_S)[0] is RunStatus.RUNNING
    claimed.note(KEY, "staged_copy", "waits: for the tape robot")


def test_a_run_that_a_rule_has_skip_its_analysis_is_done_with_the_reason(claimed: Processing) -> None:
    claimed.done(7000)
    claimed.note(KEY, "correlation", "skipped: not correlated: dark run")
    state, arrival = timeline(claimed)
    found = how_far(state, arrival, arrival.changed_at, DAY_S)
    assert found == (RunStatus.DONE, "not correlated: dark run")


def test_all_ended_runs_are_looked_at_in_turn(claimed: Processing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpcs_assets.run_database.report.PAGE", 1)
    claimed.rundb.add(7001)
    claimed.put(7001)
    assert claimed.settle() == ["007001"]
    for number in (7000, 7001):
        claimed.done(number)
        stage(claimed.beamline, f"{number:06d}")
    for _ in range(3):
        claimed.reporter.report()
    assert [len(claimed.rundb.run(number)["data"]) for number in (7000, 7001)] == [1, 1]


def test_a_run_whose_command_waits_at_a_back_end_is_submitted_until_that_runs_it(claimed: Processing) -> None:
    take(claimed.beamline, KEY)
    claimed.note(KEY, "raw_file")
    ledger = claimed.beamline.ledger
    job = ledger.intend_job("xpcs", KEY, 1, "processed sha256:00", backend="cluster", request={})
    status, reason = told(claimed)
    assert status == "submitted"
    assert reason.startswith("waits for job xpcs-xpcs-007000-")
    job = ledger.change_job(job, JobState.RUNNING, reason="RUNNING", backend_id="7")
    status, reason = told(claimed)
    assert status == "running"
    assert "on cluster (7): RUNNING" in reason
    assert job is not None
    ledger.change_job(job, JobState.PARKED, reason="given up")
    claimed.note(KEY, claimed.beamline.settings.pipeline.analysis, "failed: given up after 4 attempts: no calibration")
    status, reason = told(claimed)
    assert (status, reason.partition(": ")[2]) == ("failed", "given up after 4 attempts: no calibration")
    assert claimed.rundb.run(7000)["processing_failed"] == 1


def test_the_outputs_of_a_command_become_data_entries(claimed: Processing, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"command": ["run"], "outputs": ["*"], "to": "store"}
    pipeline = claimed.beamline.settings.pipeline.model_copy(
        update={"correlate": None, "process": Process.model_validate(said)}
    )
    monkeypatch.setattr(
        claimed.beamline, "settings", claimed.beamline.settings.model_copy(update={"pipeline": pipeline})
    )
    claimed.done(7000)
    claimed.note(KEY, "processed")
    detail = {"version": 1, "folder": "007000/v1-abc", "outputs": {"peaks.npy": "12ab"}}
    claimed.beamline.ledger.note("xpcs", KEY, "processed", "1 outputs", detail)
    for _ in range(2):
        claimed.reporter.report()
    (entry,) = claimed.rundb.run(7000)["data"]
    assert (entry["type"], entry["checksum"]) == ("processed", "sha256:12ab")
    assert entry["location"] == str(claimed.beamline.root("store") / "007000/v1-abc/peaks.npy")
