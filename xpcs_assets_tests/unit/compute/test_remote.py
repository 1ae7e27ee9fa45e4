"""Analyses elsewhere: handed over once, found again by their names, in the order of the beamline's back ends."""

from __future__ import annotations

from typing import Any

import pytest

from xpcs_assets.compute.backend import Phase, Seen
from xpcs_assets.compute.remote_take import drop_jobs
from xpcs_assets.copies.ledger import JobState
from xpcs_assets.errors import ComputeError
from xpcs_assets_tests.unit.compute.conftest import Clusters


def test_an_analysis_is_handed_over_and_not_waited_for(clusters: Clusters) -> None:
    found = clusters(account="xpcs", queue="demand", walltime="2 h", gpus=1, environment={"A": "b"})
    job = found.asked()
    assert (job.state, job.backend, job.backend_id) == (JobState.SUBMITTED, "cluster", "1")
    handed = found.first.jobs()["1"]
    assert (handed.name, handed.folder, handed.environment) == (
        job.name,
        str(found.beamline.site.home / "jobs"),
        {"A": "b"},
    )
    assert handed.words[:3] == ("/env/bin/python", "-m", "xpcs_assets.correlate")
    assert handed.words[-2:] == ("--progress", "json")
    assert handed.words[handed.words.index("--output") + 1] == str(found.output(job))
    asked = handed.resources
    assert (asked.account, asked.queue, asked.walltime_s, asked.gpus) == ("xpcs", "demand", 7200.0, 1)
    assert found.first.asked == ["find", "why_unavailable", "submit"]


def test_asking_again_asks_for_nothing_new(clusters: Clusters) -> None:
    found = clusters()
    job = found.asked()
    assert found.restarted().asked() == job
    assert found.tick() == []
    assert len(found.first.jobs()) == 1


def test_paths_are_as_the_far_side_sees_them(clusters: Clusters, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = str(tmp_path_factory.getbasetemp())
    found = clusters(seen_as={root: "/far"})
    found.asked()
    words = found.first.jobs()["1"].words
    paths = [word for word in words if word.startswith("/") and word != "/env/bin/python"]
    assert len(paths) == 4
    assert all(path.startswith("/far/") for path in paths)


def test_a_file_that_is_not_seen_there_is_a_refusal_with_its_name(clusters: Clusters) -> None:
    found = clusters(seen_as={"/elsewhere": "/far"})
    with pytest.raises(ComputeError, match=r"A001\.imm lies below none of /elsewhere"):
        found.take()
    assert found.states() == [JobState.PARKED]
    assert found.first.asked == []


def test_the_next_back_end_has_the_job_when_one_takes_none(clusters: Clusters) -> None:
    found = clusters()
    found.first.unavailable = "maintenance"
    job = found.asked()
    assert (job.backend, job.state) == ("other", JobState.SUBMITTED)
    assert found.first.jobs() == {}


def test_the_next_back_end_has_the_job_when_one_is_down_before_anything_was_handed_over(clusters: Clusters) -> None:
    found = clusters()
    found.first.is_down = True
    assert found.asked().backend == "other"
    found.asked("A001~wide", stride=2)
    assert found.first.asked == ["find"]  # it is left alone for a while


def test_the_next_back_end_has_the_job_when_one_refuses_it(clusters: Clusters) -> None:
    found = clusters()
    found.first.refuses = "invalid account"
    job = found.asked()
    assert (job.backend, job.backend_id) == ("other", "1")
    assert "invalid account" in job.request["refused"]["cluster"]


def test_a_job_that_all_refuse_is_given_up_with_their_words(clusters: Clusters) -> None:
    found = clusters()
    found.first.refuses, found.backends["other"].refuses = "invalid account", "no such queue"
    with pytest.raises(ComputeError, match=r"invalid account.*no such queue"):
        found.take()
    assert found.states() == [JobState.PARKED]
    found.first.refuses = ""
    again = found.asked()
    assert (again.attempt, again.state, again.backend) == (2, JobState.SUBMITTED, "cluster")


def test_when_all_are_down_a_job_waits_and_is_handed_over_once_one_is_back(clusters: Clusters) -> None:
    found = clusters()
    for backend in found.backends.values():
        backend.is_down = True
    job = found.asked()
    assert (job.state, job.reason) == (JobState.INTENDED, "cluster: no answer; other: no answer")
    found.backends["other"].is_down = False
    found.tick(after_s=5)
    assert found.newest.state is JobState.INTENDED
    found.tick(after_s=20)
    assert (found.newest.state, found.newest.backend) == (JobState.SUBMITTED, "other")
    assert found.newest.name == job.name


@pytest.mark.parametrize("down", ["lost", "taken"])
def test_a_job_whose_answer_was_lost_is_handed_over_once_and_nowhere_else(clusters: Clusters, down: str) -> None:
    found = clusters()
    found.first.is_down_at_submit = down
    job = found.asked()
    assert (job.state, job.backend, job.backend_id) == (JobState.SUBMITTED, "cluster", "")
    found.first.is_down = True
    for _ in range(3):
        found.tick(after_s=700)
    assert found.backends["other"].asked == []  # silence decides nothing
    found.first.is_down, found.first.is_down_at_submit = False, ""
    for _ in range(3):
        found.tick(after_s=700)
    assert [each.name for each in found.first.jobs().values()] == [job.name]
    assert (found.newest.backend_id, found.newest.name) == ("1", job.name)


def test_what_may_still_come_to_be_is_not_handed_over_again(clusters: Clusters) -> None:
    found = clusters()
    found.first.is_down_at_submit = "lost"
    found.asked()
    found.first.is_down_at_submit = ""
    found.tick(after_s=20)
    assert (found.newest.state, found.first.jobs()) == (JobState.SUBMITTED, {})
    found.tick(after_s=60)
    assert list(found.first.jobs()) == ["1"]


def test_a_back_end_that_takes_a_job_twice_makes_one_result(clusters: Clusters) -> None:
    found = clusters()
    found.first.takes_twice = True
    found.asked()
    assert len(found.first.jobs()) == 2
    found.ended()
    (job,) = found.tick(after_s=30)
    done, _ = found.take(about=job.name)
    assert done is not None
    assert len(found.beamline.ledger.results("xpcs", "A001")) == 1


def test_no_more_jobs_are_handed_over_than_a_back_end_may_have(clusters: Clusters) -> None:
    found = clusters(max_jobs=1)
    first = found.asked()
    second = found.asked("A001~wide", stride=2)
    assert (second.state, second.reason) == (JobState.INTENDED, "cluster has the 1 jobs that it may have")
    for number in range(20):
        request, key = second.request, f"A001~{number}"
        found.beamline.ledger.intend_job("xpcs", key, 1, second.task, backend="cluster", request=request)
    found.first.asked.clear()
    found.tick(after_s=30)
    assert found.first.asked == ["poll"]  # those that wait cost nothing
    first = found.job(first.name)
    found.leave_result(first)
    found.first.say(first.backend_id, Seen(Phase.ENDED, 0))
    found.tick(after_s=30)
    assert len(found.first.jobs()) == 2


def test_this_machine_does_it_when_it_is_named_and_the_others_take_none(
    clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = clusters(on=("cluster", "local"))
    found.first.unavailable = "maintenance"
    ran = []

    def run(job: Any, _: Any) -> dict[str, Any]:
        ran.append(job.arguments)
        found.leave_result(found.newest)
        return {**found.remote.standing(found.newest).report, "reused": False}  # type: ignore[dict-item]

    monkeypatch.setattr("xpcs_assets.compute.analyse.run", run)
    done, job = found.take()
    assert done is not None
    assert job is not None
    assert (len(ran), job.backend, found.states()) == (1, "local", [JobState.DONE])


def test_what_this_machine_fails_at_is_given_up(clusters: Clusters, monkeypatch: pytest.MonkeyPatch) -> None:
    found = clusters(on=("cluster", "local"))
    found.first.unavailable = "maintenance"

    def run(*_: Any) -> dict[str, Any]:
        raise ComputeError("the worker was killed")

    monkeypatch.setattr("xpcs_assets.compute.analyse.run", run)
    with pytest.raises(ComputeError, match="the worker was killed"):
        found.take()
    assert found.states() == [JobState.PARKED]
    assert found.tick(after_s=30) == []  # its failure was told


def test_a_run_that_is_ended_while_it_hands_over_cancels_what_it_asked_for(clusters: Clusters) -> None:
    found = clusters()

    def interrupted(call: str) -> None:
        if call == "why_unavailable":
            raise KeyboardInterrupt

    found.first.before = interrupted
    with pytest.raises(KeyboardInterrupt):
        found.take()
    assert found.states() == [JobState.CANCELLED]
    found.first.before = lambda _: None
    assert found.tick(after_s=1000) == []
    assert found.first.jobs() == {}


def test_a_run_that_is_ended_after_its_job_was_taken_has_the_job_ended(clusters: Clusters) -> None:
    found = clusters()
    take = found.first._take

    def taken(job: Any) -> str:
        take(job)
        raise KeyboardInterrupt

    found.first._take = taken  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        found.take()
    assert found.states() == [JobState.CANCELLING]
    found.tick(after_s=30)
    assert found.states() == [JobState.CANCELLED]
    assert found.first.poll(["1"])["1"].reason == "CANCELLED"


def test_a_job_is_cancelled_once_its_back_end_says_so(clusters: Clusters) -> None:
    found = clusters()
    job = found.asked()
    found.first.is_down = True
    cancelled = found.remote.cancel(job, "not wanted any more")
    assert (cancelled.state, cancelled.reason) == (JobState.CANCELLING, "not wanted any more")
    found.first.is_down = False
    found.tick(after_s=700)
    found.tick(after_s=30)
    assert found.newest.state is JobState.CANCELLED
    again = found.asked()
    assert (again.attempt, again.name != job.name) == (2, True)


def test_another_recipe_under_the_same_key_ends_the_job_for_the_one_before(clusters: Clusters) -> None:
    found = clusters()
    first = found.asked("A001~wide", stride=2)
    second = found.asked("A001~wide", stride=3)
    assert first.name != second.name
    assert found.job(first.name).state is JobState.CANCELLING
    found.first.say("2", Seen(Phase.RUNNING))
    found.tick(after_s=30)
    assert [found.job(each.name).state for each in (first, second)] == [JobState.CANCELLED, JobState.RUNNING]


def test_a_dagster_run_about_a_job_that_was_cancelled_fails_with_that_and_begins_nothing(clusters: Clusters) -> None:
    found = clusters()
    found.first.unavailable = found.backends["other"].unavailable = "maintenance"
    job = found.asked()
    found.remote.cancel(job, "cancelled by ann")
    with pytest.raises(ComputeError, match="it was cancelled: cancelled by ann"):
        found.take(about=job.name)
    assert found.states() == [JobState.CANCELLED]


def test_of_a_run_that_is_no_longer_to_be_correlated_nothing_goes_on_and_nobody_is_told(clusters: Clusters) -> None:
    found = clusters()
    job, given_up = found.asked(), found.asked("A001~wide")
    found.remote.change(given_up, JobState.PARKED, reason="given up")
    assert found.job(given_up.name).is_to_be_told
    for key in ("A001", "A001~wide"):
        drop_jobs(found.remote, key, "the run is not correlated: dark run")
    ended = found.job(job.name)
    assert (ended.state, ended.reason) == (JobState.CANCELLING, "the run is not correlated: dark run")
    assert not found.job(given_up.name).is_to_be_told
