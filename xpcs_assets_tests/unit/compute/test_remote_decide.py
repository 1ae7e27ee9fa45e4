"""What becomes of a job that left no result: the rules alone."""

from __future__ import annotations

import json

import pytest

from xpcs_assets.compute.remote_decide import TRIES, End, decide, worker_error
from xpcs_assets.correlate import worker
from xpcs_assets.errors import (
    ComputeError,
    CopyError,
    CorrelationError,
    NoRoomError,
    QmapError,
    RawDataError,
    XpcsAssetsError,
)

RUNGS = (0, 1, 2)


@pytest.mark.parametrize(
    "end",
    [
        End("NODE_FAIL", is_lost=True),
        End("COMPLETED", 0),
        End("FAILED", 1),
        End(is_forgotten=True),
        End("CANCELLED by 0", 0, is_lost=True),
    ],
)
@pytest.mark.parametrize("error", [None, NoRoomError("the disk is full"), ComputeError("x"), CopyError("y")])
def test_what_need_not_recur_is_tried_again_a_bounded_number_of_times(end: End, error: XpcsAssetsError | None) -> None:
    waits = []
    for tries in range(1, TRIES):
        verdict = decide(end, error, rung=1, rungs=RUNGS, with_more="with more", tries=tries)
        assert (verdict.rung, verdict.tries) == (1, tries + 1)
        waits.append(verdict.wait_s)
    assert waits == [60.0, 120.0, 240.0]
    assert decide(end, error, rung=1, rungs=RUNGS, with_more="with more", tries=TRIES).rung is None


@pytest.mark.parametrize("error", [RawDataError("truncated"), QmapError("of another shape"), CorrelationError("no")])
def test_what_would_recur_is_given_up_at_once_with_the_workers_word(error: XpcsAssetsError) -> None:
    verdict = decide(End("FAILED", 1), error, rung=0, rungs=RUNGS, with_more="with more", tries=1)
    assert (verdict.rung, verdict.reason) == (None, str(error))


def test_what_was_too_big_goes_down_the_ladder_and_then_to_a_person() -> None:
    too_big = End("OUT_OF_MEMORY", 0, is_too_big=True)
    for rung, below in ((0, 1), (1, 2)):
        verdict = decide(too_big, None, rung=rung, rungs=RUNGS, with_more="with more", tries=1)
        assert (verdict.rung, verdict.wait_s, verdict.tries) == (below, 0.0, 1)
    last = decide(too_big, None, rung=2, rungs=RUNGS, with_more="with more", tries=1)
    assert (last.rung, last.is_too_big) == (None, True)
    assert decide(too_big, None, rung=1, rungs=(0, 1), with_more="with more", tries=1).rung is None


def test_the_words_of_a_worker_without_memory_or_ended_by_a_signal_are_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, XpcsAssetsError] = {}
    for kind in (MemoryError, KeyboardInterrupt):

        def fails(*_: object, kind: type[BaseException] = kind) -> int:
            raise kind

        monkeypatch.setattr(worker, "_run", fails)
        assert worker.main(["a.imm", "--qmap", "q", "--output", "o.hdf", "--progress", "json"]) == 1
        error = worker_error(capsys.readouterr().err)
        assert error is not None
        told[kind.__name__] = error
    assert decide(End("FAILED", 1), told["MemoryError"], rung=0, rungs=RUNGS, with_more="with more", tries=1).rung == 1
    stopped = decide(End("FAILED", 1), told["KeyboardInterrupt"], rung=0, rungs=RUNGS, with_more="with more", tries=1)
    assert (stopped.rung, stopped.wait_s) == (0, 60.0)


def test_the_last_error_of_a_worker_is_found_among_whatever_else_was_written() -> None:
    line = json.dumps({"error": "the q-map is damaged", "where": "q.hdf", "remedy": "Mend it", "kind": "QmapError"})
    error = worker_error(f'{{"progress": 0.1}}\n{line}\n[1, 2]\nslurmstepd: error: {{\n"error"\n')
    assert isinstance(error, QmapError)
    assert str(error) == "q.hdf: the q-map is damaged. Mend it"
    assert worker_error("") is None
    assert type(worker_error('{"error": "x", "kind": "dict"}')) is XpcsAssetsError


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (End("COMPLETED", 0), "it ended, and left no result (COMPLETED, exit code 0)"),
        (End("TIMEOUT", None, is_lost=True), "it ended, and left no result (TIMEOUT)"),
        (End(), "it ended, and left no result"),
        (End(is_forgotten=True), "the back end knows it no more, and it left no result"),
    ],
)
def test_without_a_word_of_the_worker_the_back_ends_is_told(end: End, told: str) -> None:
    assert decide(end, None, rung=0, rungs=RUNGS, with_more="with more", tries=1).reason == told
