"""Jobs followed to their end: success is the worker's report and its file, whatever the back end says."""

from __future__ import annotations

import json
import sys

import pytest

from xpcs_assets.compute.backend import Phase, Seen
from xpcs_assets.compute.remote_decide import TRIES
from xpcs_assets.copies.ledger import JobState
from xpcs_assets.errors import ComputeError
from xpcs_assets_tests.remote import Cluster
from xpcs_assets_tests.unit.compute.conftest import Clusters

FAILED, PARKED, DONE = JobState.FAILED, JobState.PARKED, JobState.DONE


def test_a_job_is_followed_from_the_queue_to_its_result(clusters: Clusters) -> None:
    found = clusters()
    job = found.asked()
    found.tick(after_s=30)
    waits = found.newest
    assert (waits.state, waits.reason, waits.changed_at) == (JobState.SUBMITTED, "PENDING (Priority)", job.changed_at)
    found.first.say("1", Seen(Phase.RUNNING, reason="RUNNING"))
    found.tick(after_s=30)
    assert (found.newest.state, found.newest.reason) == (JobState.RUNNING, "RUNNING")
    found.ended(reason="COMPLETED")
    (taken,) = found.tick(after_s=30)
    assert (taken.name, taken.state) == (job.name, JobState.ENDED)
    done, by = found.restarted().take(about=job.name)
    assert done is not None
    assert by is not None
    assert (by.name, done.report["reused"], found.states()) == (job.name, False, [DONE])
    (result,) = found.beamline.ledger.results("xpcs", "A001")
    assert (result.promoted, result.result_digest) == (True, done.report["result_digest"])
    assert found.tick(after_s=30) == []


def test_a_result_that_is_there_is_taken_whoever_made_it(clusters: Clusters) -> None:
    found = clusters()
    job = found.asked()
    found.leave_result(job)
    done, _ = found.take()
    assert done is not None
    assert found.states() == [JobState.CANCELLING]  # it is not needed any more
    again, by = found.restarted().take()
    assert again is not None
    assert by is not None
    assert len(found.first.jobs()) == 1


@pytest.mark.parametrize("code", [1, 137, None])
def test_a_back_end_that_says_failed_is_not_believed_against_a_result(clusters: Clusters, code: int | None) -> None:
    found = clusters()
    found.asked()
    found.ended(code, reason="CANCELLED", is_lost=True)
    (job,) = found.tick(after_s=30)
    assert found.take(about=job.name)[0] is not None


def test_a_worker_that_was_killed_left_nothing_and_the_next_one_makes_the_result(clusters: Clusters) -> None:
    found = clusters(python=sys.executable)
    first = found.asked()
    assert found.first.run("1", kill=True) == -9
    assert found.tick(after_s=30) == []
    assert (found.job(first.name).state, found.newest.state) == (FAILED, JobState.INTENDED)
    found.tick(after_s=61)
    assert found.first.run("2") == 0
    (job,) = found.tick(after_s=30)
    done, by = found.take(about=job.name)
    assert done is not None
    assert by is not None
    assert (by.attempt, done.report["reused"]) == (2, False)


def test_completed_for_a_worker_that_left_nothing_is_no_success(clusters: Clusters) -> None:
    found = clusters(settle="40 s")
    found.asked()
    found.ended(0, result=False, reason="COMPLETED")
    assert found.tick(after_s=30) == []
    assert found.states() == [JobState.ENDED]  # its files may take a while to be seen here
    assert found.tick(after_s=41) == []
    assert found.states() == [FAILED, JobState.INTENDED]
    assert found.jobs[0].reason == "it ended, and left no result (COMPLETED, exit code 0)"


def test_a_result_that_is_seen_here_late_is_taken(clusters: Clusters) -> None:
    found = clusters()
    job = found.asked()
    found.ended(0, result=False)
    assert found.tick(after_s=30) == []
    found.leave_result(job)
    assert [each.name for each in found.tick(after_s=5)] == [job.name]


def test_while_the_disk_of_results_is_away_nothing_is_concluded(clusters: Clusters) -> None:
    found = clusters(settle="1 s")
    job = found.asked()
    store = found.beamline.root("store")
    found.beamline.place("store")
    found.ended(1, reason="FAILED")
    store.rename(store.with_name("away"))
    for _ in range(10):
        assert found.tick(after_s=600) == []
    assert found.states() == [JobState.ENDED]
    assert "its result cannot be looked for: " in found.newest.reason
    store.with_name("away").rename(store)
    assert [each.name for each in found.tick(after_s=600)] == [job.name]


def damaged(found: Cluster) -> None:
    path = found.output(found.newest)
    path.write_bytes(path.read_bytes()[:-1])


def test_a_result_that_is_not_what_its_report_says_is_not_taken_and_made_again(clusters: Clusters) -> None:
    found = clusters()
    found.asked()
    found.ended()
    damaged(found)
    (job,) = found.tick(after_s=30)
    done, following = found.take(about=job.name)
    assert done is None
    assert following is not None
    assert following.name != job.name
    assert found.states() == [FAILED, JobState.INTENDED]
    assert "is not the file that the worker reported" in found.jobs[0].reason
    found.tick(after_s=61)
    assert len(found.first.jobs()) == 2
    found.ended()
    (second,) = found.tick(after_s=30)
    assert found.take(about=second.name)[0] is not None


def test_a_damaged_result_is_given_up_in_the_end(clusters: Clusters) -> None:
    found = clusters()
    found.asked()
    for _ in range(TRIES):
        found.ended()
        damaged(found)
        (job,) = found.tick(after_s=30)
        if found.newest.request["tries"] < TRIES:
            found.take(about=job.name)
            found.tick(after_s=3601)
    with pytest.raises(ComputeError, match="is not the file that the worker reported"):
        found.take(about=job.name)
    assert found.states() == [FAILED] * (TRIES - 1) + [PARKED]


@pytest.mark.parametrize("what", ["recipe", "raw", "complete"])
def test_a_report_of_something_else_is_no_success(clusters: Clusters, what: str) -> None:
    found = clusters()
    job = found.ended() if found.asked() else None
    assert job is not None
    file = found.output(job).with_suffix(".json")
    report = json.loads(file.read_text())
    if what == "recipe":
        report["recipe_digest"] = "sha256:0"
    elif what == "raw":
        report["inputs"]["raw"][0]["digest"] = "sha256:0"
    else:
        report["complete"] = False
    file.write_text(json.dumps(report))
    found.tick(after_s=30)
    taken = found.tick(after_s=100)
    if what == "complete":
        assert found.states() == [FAILED, JobState.INTENDED]
        return
    assert [each.state for each in taken] == [PARKED]
    with pytest.raises(ComputeError, match={"recipe": "of another version", "raw": "other raw data"}[what]):
        found.take(about=job.name)


def test_a_worker_that_says_why_is_believed_against_and_not_asked_again(clusters: Clusters) -> None:
    found = clusters()
    job = found.asked()
    found.failed("the q-map is damaged", "QmapError", reason="FAILED")
    assert [each.state for each in found.tick(after_s=30)] == [PARKED]
    found.logged.clear()
    with pytest.raises(ComputeError, match=r"given up after 1 attempts: x: the q-map is damaged"):
        found.restarted().take(about=job.name)
    assert found.logged[0] == "noise"
    assert found.tick(after_s=3600) == []  # told once
    assert found.asked().attempt == 2  # a person asks again


def test_lost_jobs_are_tried_again_later_each_time_and_then_given_up(clusters: Clusters) -> None:
    found = clusters()
    found.asked()
    for number, wait_s in enumerate((60, 120, 240), start=1):
        found.failed(reason="NODE_FAIL", is_lost=True)
        found.tick(after_s=30)
        assert found.states() == [FAILED] * number + [JobState.INTENDED]
        found.tick(after_s=wait_s - 10)
        assert len(found.first.jobs()) == number
        found.tick(after_s=11)
        assert len(found.first.jobs()) == number + 1
    found.failed(reason="PREEMPTED", is_lost=True)
    (parked,) = found.tick(after_s=30)
    assert (parked.state, parked.attempt) == (PARKED, TRIES)
    assert parked.reason == f"it ended, and left no result (PREEMPTED, exit code 1); the last of {TRIES} tries"


def option(words: tuple[str, ...], name: str) -> str:
    return words[words.index(name) + 1] if name in words else ""


def test_what_is_too_big_goes_down_the_ladder_to_a_person(clusters: Clusters) -> None:
    found = clusters(gpus=1, memory="64 GiB", walltime="1 h")
    found.asked()
    found.failed(reason="OUT_OF_MEMORY", is_too_big=True, code=0)
    found.tick(after_s=30)
    found.tick()
    found.failed("out of memory", "CorrelationError", reason="FAILED")
    found.tick(after_s=30)
    found.tick()
    asked = [
        (option(job.words, "--memory"), option(job.words, "--device"), job.resources.walltime_s, job.resources.gpus)
        for job in found.first.jobs().values()
    ]
    assert asked == [
        ("", "auto", 3600.0, 1),
        (str(16 * 2**30), "auto", 7200.0, 1),
        (str(16 * 2**30), "cpu", 10800.0, 0),
    ]
    found.failed(reason="TIMEOUT", is_too_big=True)
    (parked,) = found.tick(after_s=30)
    assert parked.reason.startswith("too big, also with less at once and more time: ")
    assert found.remote.work.instead(parked) == ""


def test_multitau_alone_of_what_was_too_big_has_a_name_of_its_own(clusters: Clusters) -> None:
    found = clusters()
    named = {"A001~both": "A001~both-without-twotime", f"A001~{'n' * 40}": ""}
    for key, expected in named.items():
        found.asked(key, analysis_type="both")
        for _ in range(2):
            (job,) = [each for each in found.jobs if each.is_open]
            found.first.say(job.backend_id, Seen(Phase.ENDED, 1, "OUT_OF_MEMORY", is_too_big=True))
            taken = found.tick(after_s=30)
            found.tick()
        (parked,) = [job for job in taken if job.analysis_key == key]
        assert found.remote.work.instead(parked) == expected
        assert parked.reason.endswith("is asked for as A001~both-without-twotime") == bool(expected)
    types = {job.words[job.words.index("--type=both")] for job in found.first.jobs().values()}
    assert types == {"--type=both"}  # the recipe itself never changes


def test_a_job_that_is_forgotten_counts_as_lost_unless_its_result_is_there(clusters: Clusters) -> None:
    found = clusters(settle="1 s")
    job = found.asked()
    found.first.forget("1")
    found.tick(after_s=30)
    assert found.states() == [JobState.SUBMITTED]  # it may not be known yet
    found.tick(after_s=60)
    found.tick(after_s=2)
    assert found.states() == [FAILED, JobState.INTENDED]
    assert found.job(job.name).reason == "the back end knows it no more, and it left no result"
    found.tick(after_s=61)
    found.leave_result(found.newest)
    found.first.forget("1")
    found.tick(after_s=100)
    assert [each.state for each in found.tick()] == [JobState.ENDED]


def test_silence_decides_nothing_however_long_it_lasts(clusters: Clusters) -> None:
    found = clusters()
    job = found.asked()
    found.first.is_down = True
    for _ in range(20):
        assert found.tick(after_s=3600) == []
    assert found.states() == [JobState.SUBMITTED]
    assert found.newest.reason == "cluster does not answer: no answer"
    found.first.is_down = False
    found.ended()
    assert [each.name for each in found.tick(after_s=3600)] == [job.name]


def test_a_back_end_is_asked_of_all_its_jobs_at_once_and_not_at_every_tick(clusters: Clusters) -> None:
    found = clusters(every="20 s")
    for name in ("A001", "A001~a", "A001~b"):
        found.asked(name, stride=1 + len(name) + ord(name[-1]))
    found.first.asked.clear()
    for _ in range(9):
        found.tick(after_s=5)
    assert found.first.asked == ["poll"] * 3


def test_nothing_is_begun_once_the_time_of_a_tick_is_spent(clusters: Clusters) -> None:
    found = clusters()
    for backend in found.backends.values():
        backend.is_down = True
    for name in ("a", "b", "c"):
        found.asked(f"A001~{name}", stride=ord(name))
    for backend in found.backends.values():
        backend.is_down = False
        backend.before = lambda _: setattr(found.watch, "seconds", found.watch.seconds + 4)
    for number in (1, 2, 3):
        found.tick(after_s=1000 if number == 1 else 0, budget_s=10)
        assert len(found.first.jobs()) == number
    late = found.asked("A001~d", stride=5)
    assert late.state is JobState.SUBMITTED  # the Dagster run that asks has its own time
    found.first.before = lambda _: setattr(found.watch, "seconds", found.watch.seconds + 11)
    found.remote.cancel(late, "")
    found.tick(after_s=30, budget_s=10)
    job = found.beamline.ledger.intend_job("xpcs", "A001~e", 1, late.task, backend="cluster", request=late.request)
    found.tick(budget_s=10)
    assert found.job(job.name).reason == "its turn comes"


def test_a_job_for_a_version_that_was_replaced_is_not_taken(clusters: Clusters) -> None:
    found = clusters()
    job = found.asked()
    latest = found.beamline.ledger.latest("xpcs", "A001")
    assert latest is not None
    manifest = type(latest.manifest)(latest.run_key, latest.manifest.files[:1])
    found.beamline.ledger.record_version("xpcs", "A001", manifest, latest.source)
    found.ended()
    assert found.tick(after_s=30) == []
    assert (found.job(job.name).state, found.job(job.name).reason) == (
        JobState.CANCELLED,
        "version 2 of the run was taken meanwhile",
    )


def test_a_back_end_that_is_no_more_in_the_site_file_keeps_no_other_from_its_jobs(clusters: Clusters) -> None:
    found = clusters()
    first = found.asked()
    found.first.unavailable = "full"
    second = found.asked("A001~wide", stride=2)
    assert second.backend == "other"
    del found.beamline.site.settings.compute["cluster"]
    found.backends["other"].say("1", Seen(Phase.RUNNING))
    found.tick(after_s=30)
    assert found.job(second.name).state is JobState.RUNNING
    assert "has no back end 'cluster'" in found.job(first.name).reason
