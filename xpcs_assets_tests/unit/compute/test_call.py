"""The worker's command line, here and where this machine's paths are called otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xpcs_assets.compute.call import WorkerCall
from xpcs_assets.correlate.worker import _job, _parser
from xpcs_assets.runs.recipe import AnalysisSettings

CALL = WorkerCall(
    raw=("/data/a b.imm", "/data/b.imm"),
    qmap="/maps/q.hdf",
    metadata="/data/m.hdf",
    output="/data/out.hdf",
    settings=AnalysisSettings(analysis_type="both", stride=2, dark_file="/maps/dark.npy", normalize="monitor:/entry/m"),
    raw_digests=("aa", "bb"),
    frames_field="/entry/frames",
    device="gpu",
    memory_bytes=123,
)


def test_the_worker_understands_all_that_is_asked_for() -> None:
    job = _job(_parser().parse_args(CALL.arguments()))
    assert [str(path) for path in (*job.raw, job.qmap, job.output)] == [*CALL.raw, CALL.qmap, CALL.output]
    assert (job.settings, job.raw_digests, job.frames_field) == (CALL.settings, CALL.raw_digests, CALL.frames_field)
    assert (job.device, job.memory_bytes, job.metadata) == ("gpu", 123, Path("/data/m.hdf"))


def test_every_path_is_called_otherwise_there_and_what_lies_in_a_file_is_not() -> None:
    words = CALL.arguments(lambda path: f"/far{path}")
    job = _job(_parser().parse_args(words))
    paths = (*job.raw, job.qmap, job.metadata, job.output, Path(job.settings.dark_file))
    assert all(str(path).startswith("/far/") for path in paths)
    assert (job.frames_field, job.settings.normalize) == ("/entry/frames", "monitor:/entry/m")


def test_a_call_comes_back_from_the_ledger_as_it_was() -> None:
    stored = json.loads(json.dumps(CALL.to_dict()))
    assert WorkerCall.from_dict(stored) == CALL
    stored["settings"]["of_an_older_version"] = 1
    assert WorkerCall.from_dict(stored) == CALL


@pytest.mark.parametrize("change", ["memory_bytes", "frames_field"])
def test_what_is_not_asked_for_is_not_said(change: str) -> None:
    plain = WorkerCall(("/a",), "/q", "/m", "/o", AnalysisSettings())
    assert not getattr(plain, change)
    assert f"--{change.split('_')[0]}" not in " ".join(plain.arguments())
