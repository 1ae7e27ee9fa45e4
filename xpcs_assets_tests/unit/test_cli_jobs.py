"""`xpcs-assets jobs`: what runs at back ends, what it wrote, and ending it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from xpcs_assets.cli import app
from xpcs_assets.compute.backend import Phase, Seen
from xpcs_assets.compute.remote import Remote
from xpcs_assets.copies.ledger import JobState
from xpcs_assets.errors import NotFoundError, RefusedError
from xpcs_assets.follow import state_of, wait
from xpcs_assets_tests.remote import Cluster
from xpcs_assets_tests.unit.compute.conftest import Clusters, clusters, made

__all__ = ["clusters", "made"]


@pytest.fixture
def found(clusters: Clusters, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster with one job that waits there."""
    found = clusters()
    monkeypatch.setattr(Remote, "of", lambda _: found.restarted().remote)
    monkeypatch.setattr("xpcs_assets.cli_jobs.open_beamline", lambda *_: found.beamline)
    for step in ("raw_file", "staged_copy"):
        found.beamline.ledger.note("xpcs", "A001", step, "done", {"partition": "A001"})
    found.asked()
    found.tick(after_s=30)
    return found


def run(found: Cluster, *words: str) -> str:
    result = CliRunner().invoke(app, ["jobs", "xpcs", "--home", str(found.beamline.site.home), *words])
    if result.exception is not None:
        raise result.exception
    return result.output


def test_jobs_are_listed_with_where_they_are_and_why_they_wait(found: Cluster) -> None:
    heading, line = run(found).splitlines()
    assert heading.split() == ["run", "state", "back", "end", "id", "attempt", "since", "why"]
    assert line.split() == [
        "A001", "submitted", "cluster", "1", "1", "2024-05-01", "12:00:00", "PENDING", "(Priority)",
    ]  # fmt: skip
    (told,) = json.loads(run(found, "--json"))
    assert (told["name"], told["id"], told["state"]) == (found.newest.name, "1", "submitted")


def test_what_is_over_is_listed_when_asked_for(found: Cluster) -> None:
    found.ended()
    found.tick(after_s=30)
    found.take(about=found.newest.name)
    assert run(found) == "no job of xpcs is under way\n"
    assert "done" in run(found, "--all")


def test_what_a_job_wrote_is_shown(found: Cluster) -> None:
    found.first.say("1", Seen(Phase.RUNNING), "reading frames\n")
    assert run(found, "--log", "A001").splitlines()[-1] == "reading frames"
    with pytest.raises(NotFoundError, match=r"xpcs/A002: no job was ever made for it"):
        run(found, "--log", "A002")


def test_a_job_that_is_cancelled_is_ended_and_its_run_failed_until_it_is_asked_for_again(found: Cluster) -> None:
    assert state_of(found.beamline, "A001").reason.startswith(f"waits for job {found.newest.name} on cluster (1): PEND")
    assert f"{found.newest.name} at cluster: cancelling" in run(found, "--cancel", "A001")
    assert found.first.asked[-1] == "cancel"
    assert wait(found.beamline, "A001", asset="correlation", timeout_s=0) == 1
    assert "was cancelled by" in state_of(found.beamline, "A001").reason
    found.tick(after_s=30)
    assert found.newest.state is JobState.CANCELLED
    with pytest.raises(RefusedError, match="all are over"):
        run(found, "--cancel", "A001")
    found.asked()
    assert wait(found.beamline, "A001", asset="correlation", timeout_s=0) == 3


def test_what_was_given_up_is_waited_for_until_its_reason_was_told(found: Cluster) -> None:
    found.failed("the q-map is damaged", "QmapError")
    found.tick(after_s=30)
    assert wait(found.beamline, "A001", asset="correlation", timeout_s=0) == 3
    assert "the q-map is damaged" in state_of(found.beamline, "A001").reason
    assert "parked" in run(found)
