"""Jobs at back ends: written down before they are asked for, handed over by one process, found again by their names."""

from __future__ import annotations

import re
from typing import Any

import pytest

from xpcs_assets.copies.database import open_database, writing
from xpcs_assets.copies.job_book import NEVER, OPEN, BookedJob, JobState, in_words, job_name, made_by
from xpcs_assets.copies.journal import Journal
from xpcs_assets.copies.keeping import replay
from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.copies.tables import LedgerRow
from xpcs_assets.errors import NotFoundError
from xpcs_assets_tests.storage import HandClock

TASK = f"correlation sha256:{'0' * 64}"


def intend(ledger: Ledger, key: str = "A001", **changes: Any) -> BookedJob:
    return ledger.intend_job("b", key, 1, changes.pop("task", TASK), backend="cluster", request={"qmap": "q"} | changes)


def changed(ledger: Ledger, job: BookedJob, state: JobState, **options: Any) -> BookedJob:
    found = ledger.change_job(job, state, **options)
    assert found is not None
    return found


def test_what_is_under_way_is_not_written_down_a_second_time(ledger: Ledger) -> None:
    first = intend(ledger)
    assert (first.state, first.attempt, first.rung, first.backend_id) == (JobState.INTENDED, 1, 0, "")
    assert intend(ledger, qmap="other") == first
    submitted = changed(ledger, first, JobState.SUBMITTED, backend_id="11")
    assert intend(ledger) == submitted


@pytest.mark.parametrize("state", [state for state in JobState if state not in OPEN])
def test_what_is_over_is_begun_anew_under_another_name(ledger: Ledger, state: JobState) -> None:
    first = changed(ledger, intend(ledger), state)
    second = intend(ledger)
    assert (second.attempt, second.state) == (2, JobState.INTENDED)
    assert second.name != first.name
    assert ledger.jobs("b", analysis_key="A001") == (second, first)


def test_no_two_pieces_of_work_and_no_two_sites_share_a_name(ledger: Ledger) -> None:
    keys = ("A001", "A001~wide", "A00", "A001=7E", "a001")
    names = {intend(ledger, key).name for key in keys} | {intend(ledger, "A001", task="correlation sha256:1").name}
    assert len(names) == len(keys) + 1
    assert all(re.fullmatch(r"[a-z0-9-]{1,62}", name) for name in names)
    assert not any(one != other and other.startswith(one) for one in names for other in names)
    one, other = (job_name(site, "b", "A001", 1, TASK, 1) for site in ("one", "other"))
    assert one != other
    assert len(job_name("s", "b" * 62, "A" * 145, 12, TASK, 123)) <= 62


def test_of_two_who_would_hand_a_job_over_one_does(ledger: Ledger) -> None:
    job = intend(ledger)
    claimed = ledger.claim_job(job, "other-cluster")
    assert claimed is not None
    assert (claimed.state, claimed.backend, claimed.backend_id) == (JobState.SUBMITTED, "other-cluster", "")
    assert ledger.claim_job(job, "cluster") is None
    assert ledger.job(job.name) == claimed


def test_a_claim_that_nobody_answered_is_taken_over_by_one(ledger: Ledger) -> None:
    claimed = ledger.claim_job(intend(ledger), "cluster")
    assert claimed is not None
    again = ledger.claim_job(claimed, "cluster")  # within the same moment of the clock
    assert again is not None
    assert again.changed_at > claimed.changed_at
    assert ledger.claim_job(claimed, "cluster") is None


def test_the_next_attempt_is_written_with_the_end_of_the_one_before(ledger: Ledger, clock: HandClock) -> None:
    job = changed(ledger, intend(ledger), JobState.ENDED, backend_id="11")
    following = ledger.try_again(job, "out of memory", rung=1, request={"memory_bytes": 5}, wait_s=60)
    assert following is not None
    assert (following.attempt, following.rung, following.state) == (2, 1, JobState.INTENDED)
    assert (following.next_at - clock.now).total_seconds() == 60
    failed = ledger.job(job.name)
    assert (failed.state, failed.reason, failed.next_at) == (JobState.FAILED, "out of memory", NEVER)
    assert ledger.try_again(job, "again", rung=1, request={}, wait_s=0) is None
    assert len(ledger.jobs("b")) == 2


def test_news_of_a_job_leaves_its_state_and_a_job_that_changed_alone(ledger: Ledger, clock: HandClock) -> None:
    job = changed(ledger, intend(ledger), JobState.SUBMITTED, backend_id="11")
    clock.advance(5)
    ledger.note_job(job, "PENDING (Priority)")
    noted = ledger.job(job.name)
    assert (noted.reason, noted.changed_at) == ("PENDING (Priority)", job.changed_at)
    running = changed(ledger, noted, JobState.RUNNING, reason="RUNNING")
    ledger.note_job(noted, "late news")
    assert ledger.job(job.name) == running


def test_only_what_is_due_is_looked_at_and_what_is_closed_never_is(ledger: Ledger, clock: HandClock) -> None:
    now, later = intend(ledger, "A001"), intend(ledger, "A002")
    changed(ledger, later, JobState.ENDED, wait_s=60)
    done = changed(ledger, intend(ledger, "A003"), JobState.DONE, wait_s=1)
    assert ledger.jobs("b", due_at=clock.now) == (now,)
    clock.advance(61)
    assert {job.analysis_key for job in ledger.jobs("b", due_at=clock.now)} == {"A001", "A002"}
    assert done.next_at == NEVER


def test_the_jobs_that_a_back_end_has_are_counted(ledger: Ledger) -> None:
    for number, state in enumerate(JobState):
        changed(ledger, intend(ledger, f"A{number}"), state)
    assert ledger.jobs_at("cluster", ["b", "c"]) == 3
    assert (ledger.jobs_at("cluster", ["c"]), ledger.jobs_at("other", ["b"])) == (0, 0)


def test_a_job_that_is_not_there_is_not_found(ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match=r"xpcs-x: no such job"):
        ledger.job("xpcs-x")


def test_a_ledger_made_again_from_its_journal_knows_the_jobs(url: str, clock: HandClock, tmp_path: Any) -> None:
    journal = Journal(tmp_path / "journal")
    engine = open_database(url, journal=journal)
    kept = Ledger(engine, clock)
    job = changed(kept, intend(kept), JobState.SUBMITTED, backend_id="11")
    kept.note_job(job, "PENDING (Priority)")
    lines = list(journal.lines())
    assert [line.row.get("state") for line in lines] == [None, "intended", "submitted"]
    with writing(engine) as session:
        session.get_one(LedgerRow, 1)
        replay(session, lines)
    assert kept.job(job.name) == job
    engine.dispose()


def test_news_of_a_job_is_written_once_and_changes_nothing_of_one_that_went_on(
    ledger: Ledger, clock: HandClock
) -> None:
    job = changed(ledger, intend(ledger), JobState.SUBMITTED, backend_id="11")
    ledger.note_job(job, "waits for nodes", next_at=clock.now)
    (told,) = ledger.jobs("b")
    assert (told.reason, told.next_at, told.state, told.request) == (
        "waits for nodes",
        clock.now,
        job.state,
        job.request,
    )
    ledger.note_job(told, "waits for nodes")
    assert ledger.jobs("b") == (told,)
    ended = changed(ledger, told, JobState.ENDED, request={"qmap": "r"})
    ledger.note_job(told, "runs")
    assert ledger.jobs("b", version=1) == (ended,)
    assert (ended.request, ledger.jobs("b", version=2)) == ({"qmap": "r"}, ())


def test_a_job_that_was_given_up_is_told_once(ledger: Ledger) -> None:
    parked = changed(ledger, intend(ledger), JobState.PARKED, reason="out of memory", wait_s=0.0)
    assert (parked.is_open, parked.is_to_be_told) == (False, True)
    assert not changed(ledger, intend(ledger, "A002"), JobState.DONE).is_to_be_told


def test_a_job_is_told_in_words_with_what_it_waits_for(ledger: Ledger, clock: HandClock) -> None:
    job = intend(ledger)
    since = f"since {clock.now:%Y-%m-%d %H:%M:%S} UTC"
    assert in_words(job).startswith(
        f"job {job.name} on cluster: to be handed over, next at {job.next_at:%H:%M:%S} UTC: "
    )
    assert in_words(job).endswith(since)
    running = changed(ledger, job, JobState.SUBMITTED, backend_id="11", reason="runs")
    assert in_words(running).startswith(f"job {job.name} on cluster (11): runs, since ")
    assert made_by(running) == {"backend": "cluster", "job": job.name, "attempt": 1}
    assert made_by(None) == {}


def test_a_job_that_nobody_knows_is_not_found(ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match="no such job"):
        ledger.job("nowhere")
