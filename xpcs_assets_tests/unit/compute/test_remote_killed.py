"""Whoever asks, hands over, follows and takes is killed at every step: one job does the work, recorded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from xpcs_assets.compute.backend import Phase, Seen
from xpcs_assets.copies import job_book, versions
from xpcs_assets.copies.ledger import BookedJob, JobState
from xpcs_assets_tests.remote import Cluster
from xpcs_assets_tests.unit.compute.conftest import Clusters

AnyCluster = TypeVar("AnyCluster", bound=Cluster)


class Killed(BaseException):
    """As kill -9: nothing that this process still tries has any effect."""


@dataclass
class Life:
    """A process that dies at its ``left``-th step from now, and is dead then."""

    left: int = -1
    is_dead: bool = False

    def step(self) -> None:
        self.left -= 1
        if self.is_dead or self.left == 0:
            self.is_dead = True
            raise Killed


@pytest.fixture
def life(monkeypatch: pytest.MonkeyPatch) -> Life:
    found = Life()
    for book in (job_book, versions):
        monkeypatch.setattr(book, "writing", _mortal(book.writing, found))
    return found


def _mortal(writing: Any, life: Life) -> Any:
    @contextmanager
    def writes(engine: Any) -> Iterator[Any]:
        life.step()
        with writing(engine) as session:
            yield session
        life.step()

    return writes


def asset(found: Cluster, key: str, about: str = "") -> None:
    found.take(key, about=about)


def day(found: Cluster, key: str) -> None:
    """What Dagster has done of it: the asset, ticks of the sensor, and the runs that these ask for."""
    asset(found, key)
    for _ in range(4):
        for job in found.tick(after_s=100):
            asset(found, job.analysis_key, about=job.name)
        _work(found, key)


def _work(found: Cluster, key: str) -> None:
    """The back end goes on whatever became of us: its jobs run to their end."""
    for job_id, handed in found.first.jobs().items():
        booked = found.beamline.ledger.job(handed.name)
        if booked.analysis_key == key and found.first.poll([job_id])[job_id].phase is Phase.WAITING:
            found.leave_result(booked)
            found.first.say(job_id, Seen(Phase.ENDED, 0, "COMPLETED"))


def jobs_for(found: Cluster, key: str) -> list[BookedJob]:
    return list(found.beamline.ledger.jobs("xpcs", analysis_key=key))


def killed_everywhere(found: AnyCluster, life: Life, whole: Callable[[AnyCluster, BookedJob], None]) -> int:
    """Kill whoever is at work at every step, have others go on, and see that one job did it; how many steps there are.

    Parameters
    ----------
    whole
        Sees that the result of a job that was taken is whole.
    """
    found.first.before = lambda _: life.step()
    for number in range(1, 100):
        key = f"A001~killed-{number}"
        life.left, life.is_dead = number, False
        try:
            day(found.restarted(), key)
            survived = True
        except Killed:
            survived = False
        life.left, life.is_dead = -1, False
        fresh = found.restarted()
        day(fresh, key)
        handed = [job for job in fresh.first.jobs().values() if key.split("~")[1] in job.name]
        assert len(handed) == 1, (number, handed)
        (job,) = jobs_for(fresh, key)
        assert job.state in (JobState.DONE, JobState.CANCELLED), (number, job)
        whole(fresh, job)
        if survived:
            return number - 1
    raise AssertionError("it never came to its end")


def test_a_process_killed_at_any_step_leaves_one_job_and_one_result(clusters: Clusters, life: Life) -> None:
    def whole(fresh: Cluster, job: BookedJob) -> None:
        (result,) = fresh.beamline.ledger.results("xpcs", "A001", analysis_key=job.analysis_key)
        assert result.report["result_digest"] == result.result_digest
        for end in (".hdf", ".json"):
            fresh.output(job).with_suffix(end).unlink()

    assert killed_everywhere(clusters(settle="0 s"), life, whole) > 15
