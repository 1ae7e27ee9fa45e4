"""What is to be archived now: what the archive lacks, less what failed just now; none holds up another."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import pytest

from xpcs_assets.archive.archiving import archive
from xpcs_assets.archive.pending import LONGEST_PAUSE, to_archive
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.conftest import Altered, bare_run

A001, A002 = "A001", "A002"


@pytest.fixture
def clock(beamline: OpenBeamline) -> HandClock:
    """The ledger's clock, moved by hand."""
    clock = HandClock()
    beamline.__dict__["ledger"] = Ledger(beamline.engine, clock)
    return clock


def staged(beamline: OpenBeamline, *names: str) -> None:
    clock = cast("HandClock", beamline.ledger.clock)
    for name in names:
        submit(beamline, bare_run(beamline.source_root / name))
        take(beamline, name)
        stage(beamline, name)
        clock.advance(1)


def failed(beamline: OpenBeamline, run: str) -> None:
    beamline.ledger.note("xpcs", run, "archive", "failed: the tape is full")


def test_staged_runs_are_to_be_archived_the_oldest_first(beamline: OpenBeamline, clock: HandClock) -> None:
    staged(beamline, "A001", "A002")
    assert to_archive(beamline, 10) == [A001, A002]
    assert to_archive(beamline, 1) == [A001]


def test_what_is_archived_is_not_pending_until_it_has_a_new_result(beamline: OpenBeamline, clock: HandClock) -> None:
    staged(beamline, "A001")
    archive(beamline, "A001")
    assert to_archive(beamline, 10) == []
    digest = {"recipe_digest": "sha256:aa", "result_digest": "sha256:bb"}
    beamline.ledger.record_result("xpcs", "A001", run_key="A001", version=1, path="x/y.hdf", report={}, **digest)
    assert to_archive(beamline, 10) == [A001]


def test_a_run_that_is_only_taken_waits_to_be_staged(beamline: OpenBeamline, clock: HandClock) -> None:
    submit(beamline, bare_run(beamline.source_root / "A001"))
    take(beamline, "A001")
    assert to_archive(beamline, 10) == []


def test_a_beamline_without_archive_has_nothing_to_archive(altered: Altered) -> None:
    beamline = altered({"pipeline": {"archive": None}})
    assert to_archive(beamline, 10) == []


def test_a_failure_pauses_the_run_longer_each_time_and_never_for_ever(beamline: OpenBeamline, clock: HandClock) -> None:
    staged(beamline, "A001")
    pauses = [timedelta(minutes=2**doubled) for doubled in range(9)] + [LONGEST_PAUSE, LONGEST_PAUSE]
    for pause in pauses:
        failed(beamline, "A001")
        clock.advance(pause.total_seconds() - 1)
        assert to_archive(beamline, 10) == []
        clock.advance(1)
        assert to_archive(beamline, 10) == [A001]


def test_runs_that_keep_failing_do_not_hold_up_the_others(beamline: OpenBeamline, clock: HandClock) -> None:
    staged(beamline, "A001", "A002", "A003")
    failed(beamline, "A001")
    failed(beamline, "A002")
    assert to_archive(beamline, 2) == ["A003"]


def test_a_run_archived_after_failures_is_not_paused_for_them_again(beamline: OpenBeamline, clock: HandClock) -> None:
    staged(beamline, "A001")
    for _ in range(8):
        failed(beamline, "A001")
    beamline.ledger.note("xpcs", "A001", "archive", "done")
    assert to_archive(beamline, 10) == [A001]


def test_a_run_with_two_versions_to_archive_is_asked_for_once(beamline: OpenBeamline, clock: HandClock) -> None:
    staged(beamline, "A001")
    run = beamline.source_root / "A001"
    (run / "A001.imm").write_bytes(b"other frames")
    submit(beamline, run)
    take(beamline, "A001")
    stage(beamline, "A001")
    assert to_archive(beamline, 10) == ["A001"]
