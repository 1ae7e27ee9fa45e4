"""Where a run is, and how `wait` ends: 0 done, 1 failed, 2 no such run, 3 timed out."""

from __future__ import annotations

import pytest

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.audit.unnoted import UNNOTED
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import ArrivalState
from xpcs_assets.errors import NotFoundError
from xpcs_assets.follow import RunState, state_of, steps_of, wait
from xpcs_assets_tests.unit.conftest import Altered, bare_run

INGEST = ("raw_file", "staged_copy", "correlation", "plots", "metadata", "catalog_entry", "result_entry")


@pytest.fixture
def run(beamline: OpenBeamline) -> str:
    """A run that was taken; no step has told of its end yet."""
    submit(beamline, bare_run(beamline.source_root / "A001"))
    take(beamline, "A001")
    return "A001"


def ended(beamline: OpenBeamline, *steps: str, what: str = "done", partition: str = "A001") -> None:
    for step in steps:
        beamline.ledger.note("xpcs", "A001", step, what, {"partition": partition})


def arrived(beamline: OpenBeamline, state: ArrivalState, reason: str) -> None:
    beamline.ledger.note_arrival("xpcs", "A001", source="A001", fingerprint="x", state=state, reason=reason)


def told(state: RunState) -> tuple[str, str]:
    return state.word, state.reason


def test_the_steps_of_a_run_follow_from_its_beamline(altered: Altered) -> None:
    beamline = altered({})
    assert steps_of(beamline, "A001") == (*INGEST, "archive")
    assert steps_of(beamline, "A001~wide") == ("correlation", "plots", "result_entry")
    keeps_only = altered({"pipeline": {"correlate": None, "archive": None}})
    assert steps_of(keeps_only, "A001") == ("raw_file", "staged_copy", "metadata", "catalog_entry")


def test_a_run_that_nobody_knows_is_not_found(beamline: OpenBeamline) -> None:
    with pytest.raises(NotFoundError, match=r"xpcs/A001: no such run\. `xpcs-assets status xpcs` lists them"):
        state_of(beamline, "A001")
    with pytest.raises(NotFoundError):
        wait(beamline, "A001", timeout_s=0)


@pytest.mark.parametrize("state", [s for s in ArrivalState if s is not ArrivalState.TAKEN])
def test_before_it_is_taken_a_run_is_as_it_arrived(beamline: OpenBeamline, state: ArrivalState) -> None:
    arrived(beamline, state, "a reason")
    assert told(state_of(beamline, "A001")) == (state.value, "a reason")


@pytest.mark.parametrize("state", [ArrivalState.REFUSED, ArrivalState.INCOMPLETE])
def test_waiting_ends_with_1_for_a_run_that_will_not_come(beamline: OpenBeamline, state: ArrivalState) -> None:
    arrived(beamline, state, "a reason")
    assert wait(beamline, "A001", timeout_s=30) == 1


@pytest.mark.parametrize("state", [ArrivalState.WAITING, ArrivalState.SUBMITTED])
def test_waiting_ends_with_3_for_a_run_that_may_still_come(beamline: OpenBeamline, state: ArrivalState) -> None:
    arrived(beamline, state, "a reason")
    assert wait(beamline, "A001", timeout_s=0) == 3


def test_a_run_at_work_waits_for_its_next_step(beamline: OpenBeamline, run: str) -> None:
    ended(beamline, "raw_file")
    assert told(state_of(beamline, run)) == ("working", "waits for staged_copy")
    assert wait(beamline, run, timeout_s=0) == 3


def test_a_run_is_done_with_its_last_step_and_waiting_does_not_wait_for_the_tape(
    beamline: OpenBeamline, run: str
) -> None:
    ended(beamline, *INGEST)
    assert wait(beamline, run, timeout_s=0) == 0
    assert told(state_of(beamline, run)) == ("working", "waits for archive")
    assert wait(beamline, run, asset="archive", timeout_s=0) == 3
    ended(beamline, "archive")
    assert told(state_of(beamline, run)) == ("done", "")


def test_a_failed_correlation_is_told_once_the_raw_datas_branch_is_done(beamline: OpenBeamline, run: str) -> None:
    ended(beamline, "raw_file", "staged_copy")
    ended(beamline, "correlation", what="failed: the q-map has another shape")
    assert told(state_of(beamline, run)) == ("failed", "correlation: the q-map has another shape")
    assert wait(beamline, run, timeout_s=0) == 3
    ended(beamline, "metadata", "catalog_entry")
    assert wait(beamline, run, timeout_s=30) == 1


@pytest.mark.parametrize(("step", "code"), [("correlation", 1), ("plots", 1), ("result_entry", 1), ("metadata", 3)])
def test_waiting_for_one_asset_ends_with_what_it_stands_behind(
    beamline: OpenBeamline, run: str, step: str, code: int
) -> None:
    ended(beamline, "raw_file", "staged_copy")
    ended(beamline, "correlation", what="failed: no")
    assert wait(beamline, run, asset=step, timeout_s=0) == code


def test_a_failed_first_step_ends_the_waiting_unless_the_run_is_to_be_taken_again(
    beamline: OpenBeamline, run: str
) -> None:
    ended(beamline, "raw_file", what="failed: it changed while it was read")
    assert wait(beamline, run, timeout_s=30) == 1
    beamline.ledger.retake("xpcs", run, "it changed while it was read")
    assert wait(beamline, run, timeout_s=0) == 3


def test_a_step_that_was_mended_is_done(beamline: OpenBeamline, run: str) -> None:
    ended(beamline, *INGEST)
    ended(beamline, "correlation", what="failed: no")
    ended(beamline, "correlation")
    assert wait(beamline, run, timeout_s=0) == 0
    assert state_of(beamline, run).failed == ()


@pytest.mark.parametrize(("behind", "word"), [("correlation", "working"), ("raw_file", "failed")])
def test_a_step_that_could_not_note_its_end_is_done_once_one_behind_it_is(
    beamline: OpenBeamline, run: str, behind: str, word: str
) -> None:
    ended(beamline, "raw_file")
    beamline.ledger.note("xpcs", run, "staged_copy", "failed: locked", {"partition": run, UNNOTED: "dagster run"})
    assert told(state_of(beamline, run)) == ("failed", "staged_copy: locked")
    ended(beamline, behind)
    assert state_of(beamline, run).word == word


def test_an_asset_that_the_run_has_not_is_not_found(beamline: OpenBeamline, run: str) -> None:
    with pytest.raises(NotFoundError, match=r"has no asset 'archives'\. It has raw_file, staged_copy"):
        wait(beamline, run, asset="archives", timeout_s=0)


def test_a_new_version_begins_anew(beamline: OpenBeamline, run: str) -> None:
    ended(beamline, *INGEST, "archive")
    folder = beamline.source_root / "A001"
    (folder / "A001.imm").write_bytes(b"other frames")
    submit(beamline, folder)
    take(beamline, run)
    state = state_of(beamline, run)
    assert (state.version, *told(state)) == (2, "working", "waits for raw_file")


def test_the_same_files_seen_again_begin_nothing_anew(beamline: OpenBeamline, run: str) -> None:
    ended(beamline, *INGEST)
    take(beamline, run)
    assert wait(beamline, run, timeout_s=0) == 0


def test_a_reprocessing_has_steps_of_its_own(beamline: OpenBeamline, run: str) -> None:
    ended(beamline, *INGEST)
    with pytest.raises(NotFoundError, match="no such reprocessing"):
        state_of(beamline, "A001~wide")
    ended(beamline, "reprocess", what="asked for as A001~wide", partition="A001~wide")
    assert told(state_of(beamline, "A001~wide")) == ("working", "waits for correlation")
    ended(beamline, "correlation", "plots", "result_entry", partition="A001~wide")
    assert wait(beamline, "A001~wide", timeout_s=0) == 0


def test_a_reprocessing_whose_step_was_killed_before_it_noted_its_end_has_a_state(
    beamline: OpenBeamline, run: str
) -> None:
    named = {"recipe_digest": "sha256:aaaa", "path": "r.hdf", "result_digest": "sha256:bbbb", "report": {}}
    beamline.ledger.record_result("xpcs", "A001~fine", run_key="A001", version=1, **named)
    assert told(state_of(beamline, "A001~fine"))[0] == "working"


def test_a_refused_step_leaves_what_was_done_before(beamline: OpenBeamline, run: str) -> None:
    ended(beamline, *INGEST, "archive")
    ended(beamline, "correlation", what="refused: the plain key keeps the beamline's recipe")
    assert state_of(beamline, run).word == "done"


def test_who_waits_is_told_of_each_look(beamline: OpenBeamline, run: str) -> None:
    looks: list[str] = []

    def look(state: RunState) -> None:
        looks.append(state.reason)
        ended(beamline, *INGEST)

    assert wait(beamline, run, timeout_s=30, told=look) == 0
    assert looks == ["waits for raw_file", "waits for archive"]


def test_a_run_that_a_rule_has_skip_its_analysis_says_so_and_what_is_behind_is_not_waited_for(
    beamline: OpenBeamline, run: str
) -> None:
    ended(beamline, "raw_file", "staged_copy", "metadata", "catalog_entry")
    ended(beamline, "correlation", what="skipped: not correlated: dark run")
    state = state_of(beamline, run)
    assert told(state) == ("working", "waits for archive")
    assert [step.asset for step in state.skipped] == ["correlation", "plots", "result_entry"]
    assert wait(beamline, run, timeout_s=0) == 0
    assert wait(beamline, run, asset="result_entry", timeout_s=0) == 1
    ended(beamline, "archive")
    assert told(state_of(beamline, run)) == ("skipped", "not correlated: dark run")
    ended(beamline, "correlation")
    assert told(state_of(beamline, run)) == ("working", "waits for plots")


def test_what_was_made_before_a_rule_came_stays_done(beamline: OpenBeamline, run: str) -> None:
    ended(beamline, *INGEST)
    ended(beamline, "correlation", what="skipped: not correlated: dark run")
    assert [step.asset for step in state_of(beamline, run).skipped] == ["correlation"]
