"""`xpcs-assets transfers`: what a service moves, how fast it was, and ending it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner

from xpcs_assets.audit.reconcile import to_ask_for
from xpcs_assets.cli import app
from xpcs_assets.copies.ledger import TransferState
from xpcs_assets.errors import RefusedError, UnreachableError
from xpcs_assets.follow import state_of, wait
from xpcs_assets.site import Site
from xpcs_assets.stage.further import FurtherCopy, copy_further
from xpcs_assets.stage.moves import Waits
from xpcs_assets.stage.staging import StagedRun, stage
from xpcs_assets_tests.unit.stage.globus_site import GlobusSite, globus_site_at

Run = Callable[..., str]


@pytest.fixture
def globus(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[GlobusSite]:
    """A site of collections whose run is on its way to the store, and goes on when it is told to."""
    with globus_site_at(site.home, monkeypatch, ("eagle",)) as made:
        made.taken()
        made.server.service.by_hand = True
        assert isinstance(stage(made.beamline, "A001"), Waits)
        yield made


@pytest.fixture
def run(globus: GlobusSite, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("xpcs_assets.cli_transfers.open_beamline", lambda *_: globus.beamline)
    monkeypatch.setenv("COLUMNS", "300")

    def command(*words: str) -> str:
        result = CliRunner().invoke(app, ["transfers", "xpcs", *words])
        if result.exception is not None:
            raise result.exception
        return result.output

    return command


def arrived(globus: GlobusSite, seconds: float) -> StagedRun:
    """All of it moved, in so much time, and read."""
    globus.clock.advance(seconds)
    globus.server.service.advance(globus.tasks[-1].task_id)
    done = stage(globus.beamline, "A001")
    assert isinstance(done, StagedRun)
    return done


def test_what_is_under_way_is_listed_with_how_far_it_is(globus: GlobusSite, run: Run) -> None:
    heading, line = run().splitlines()
    assert heading.split() == ["run", "way", "state", "attempt", "moved", "took", "rate", "task", "why"]
    assert line.startswith("A001  detector to store  active")
    (told,) = json.loads(run("--json"))
    assert (told["task"], told["bytes_moved"], told["rate_bytes_per_s"]) == (globus.tasks[0].task_id, 0, 0)


def test_of_what_is_over_bytes_seconds_and_rate_are_told(globus: GlobusSite, run: Run) -> None:
    done = arrived(globus, 20)
    size_bytes = done.version.manifest.size_bytes
    assert run() == "no transfer of xpcs is under way\n"
    (told,) = json.loads(run("--all", "--json"))
    assert (told["state"], told["seconds"], told["bytes_total"]) == ("done", 20, size_bytes)
    assert told["rate_bytes_per_s"] == round(size_bytes / 20)
    assert "20 s" in run("--all")


def test_a_copy_that_a_service_moved_took_as_long_as_its_transfer(globus: GlobusSite) -> None:
    done = arrived(globus, 20)
    assert (done.staged.seconds, done.staged.rate_bytes_per_s) == (20, done.version.manifest.size_bytes / 20)
    assert isinstance(copy_further(globus.beamline, "A001", "eagle"), Waits)
    globus.clock.advance(8)
    globus.server.service.advance(globus.tasks[-1].task_id)
    further = copy_further(globus.beamline, "A001", "eagle")
    assert isinstance(further, FurtherCopy)
    assert (further.seconds, further.rate_bytes_per_s) == (8, further.bytes_moved / 8)


def test_one_that_is_cancelled_ends_there_too_and_is_begun_again_by_nobody_but_a_person(
    globus: GlobusSite, run: Run
) -> None:
    assert "is cancelled" in run("--cancel", "A001")
    assert globus.tasks[0].status == "FAILED"
    assert [each.state for each in globus.transfers()] == [TransferState.CANCELLED]
    assert wait(globus.beamline, "A001", asset="staged_copy", timeout_s=0) == 1
    assert "cancelled by" in state_of(globus.beamline, "A001").reason
    globus.clock.advance(86_400)
    assert to_ask_for(globus.beamline, 10, lambda _: False) == []
    assert isinstance(stage(globus.beamline, "A001"), Waits)
    assert [each.state for each in globus.transfers()] == [TransferState.CANCELLED, TransferState.ACTIVE]
    arrived(globus, 1)


def test_what_is_not_under_way_cannot_be_cancelled(globus: GlobusSite, run: Run) -> None:
    arrived(globus, 1)
    with pytest.raises(RefusedError, match="none is under way"):
        run("--cancel", "A001")


def test_what_is_being_read_is_not_cancelled(globus: GlobusSite, run: Run) -> None:
    (transfer,) = globus.transfers()
    globus.beamline.ledger.change_transfer(transfer.submission, state=TransferState.VERIFYING)
    with pytest.raises(RefusedError, match="all of it was moved already"):
        run("--cancel", "A001")


def test_while_a_worker_is_at_the_run_or_the_service_is_silent_nothing_is_called_cancelled(
    globus: GlobusSite, run: Run
) -> None:
    with globus.beamline.ledger.lease("xpcs", "A001", "stage", "another", 60), pytest.raises(RefusedError):
        run("--cancel", "A001")
    globus.server.faults.add("POST", "/cancel$", "503", times=20)
    with pytest.raises(UnreachableError):
        run("--cancel", "A001")
    assert [each.state for each in globus.transfers()] == [TransferState.ACTIVE]
