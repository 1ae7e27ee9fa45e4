"""Small runs that are archived together by the archive job, and what Dagster shows of them."""

from __future__ import annotations

import sys
from pathlib import Path

import dagster as dg
import pytest

from xpcs_assets.archive.gather import WAITS, gather_runs
from xpcs_assets.follow import Step, state_of
from xpcs_assets.orchestrate import adapter
from xpcs_assets_tests.definitions.conftest import Pipeline, edit

ARCHIVE = dg.AssetKey(["xpcs", "archive"])


@pytest.fixture
def wait() -> str:
    """How long a small run waits for others."""
    return "1 day"


@pytest.fixture
def home(home: Path, wait: str) -> Path:
    edit(home, "alone_over: 65 GB", f"alone_over: 65 GB, gather: {{by: [], wait: {wait}}}")
    return home


def staged(pipeline: Pipeline, *seeds: int) -> list[str]:
    keys = [pipeline.drop(pipeline.simulated(seed=seed, frames=20).folder) for seed in seeds]
    for key in keys:
        pipeline.run("ingest", key, only=("raw_file", "staged_copy"))
    return keys


def archive_job(pipeline: Pipeline, run_keys: list[str], together: list[list[str]]) -> dg.ExecuteInProcessResult:
    config = {"ops": {"xpcs_archive_runs": {"config": {"run_keys": run_keys, "together": together}}}}
    job = pipeline.repository.get_job("xpcs_archive")
    return job.execute_in_process(instance=pipeline.instance, run_config=config, raise_on_error=False)


def made(pipeline: Pipeline, keys: list[str]) -> list[bool]:
    return [adapter.newest(pipeline.instance, ARCHIVE, key) is not None for key in keys]


def test_a_run_that_waits_is_not_archived_and_says_so(pipeline: Pipeline) -> None:
    (key,) = staged(pipeline, 1)
    assert archive_job(pipeline, [key], []).success
    assert made(pipeline, [key]) == [False]
    assert pipeline.beamline.ledger.bundles("xpcs", key) == ()
    (step,) = _archive_steps(pipeline, key)
    assert (step.state, step.reason) == ("waiting", WAITS)


def test_runs_gathered_in_one_go_are_each_archived(pipeline: Pipeline) -> None:
    keys = staged(pipeline, 1, 2)
    assert archive_job(pipeline, [], [keys]).success
    assert made(pipeline, keys) == [True, True]
    assert [pipeline.check("archive", "archive_read_back", key).passed for key in keys] == [True, True]
    assert len({pipeline.beamline.ledger.bundles("xpcs", key) for key in keys}) == 1
    assert all(step.state == "done" for key in keys for step in _archive_steps(pipeline, key))


def test_one_that_rotted_fails_alone(pipeline: Pipeline) -> None:
    keys = staged(pipeline, 1, 2, 3)
    raw = pipeline.beamline.staged(pipeline.beamline.latest(keys[1])).raw
    next(raw.glob("*.imm")).write_bytes(b"rotten")
    assert not archive_job(pipeline, [], [keys]).success
    assert made(pipeline, keys) == [True, False, True]
    assert [step.state for step in _archive_steps(pipeline, keys[1])] == ["failed"]


def test_f37_a_gathered_bundle_of_a_killed_attempt_that_rots_fails_the_check_of_each_run_in_it(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = staged(pipeline, 1, 2)
    with monkeypatch.context() as patch:
        patch.setattr("xpcs_assets.archive.archiving.record_deposit", lambda ledger, deposited: sys.exit(9))
        with pytest.raises(SystemExit):
            gather_runs(pipeline.beamline, keys)
    (left,) = pipeline.beamline.root("tape").rglob("*.tar")
    left.chmod(0o644)
    left.write_bytes(left.read_bytes()[:-3000])
    assert archive_job(pipeline, [], [keys]).success
    checks = [pipeline.check("archive", "archive_read_back", key) for key in keys]
    assert [(check.passed, left.name in str(check.description)) for check in checks] == [(False, True)] * 2
    assert made(pipeline, keys) == [True, True]
    assert left.name not in {
        bundle.name.rsplit("/", 1)[1] for bundle in pipeline.beamline.ledger.bundles("xpcs", keys[0])
    }


@pytest.mark.parametrize(("wait", "asked"), [("1 day", False), ("0.001 s", True)])
def test_the_sensor_asks_for_those_that_are_due(pipeline: Pipeline, asked: bool) -> None:
    keys = staged(pipeline, 1, 2)
    sensor = pipeline.repository.get_sensor_def("xpcs_to_archive")
    told = sensor(dg.build_sensor_context(instance=pipeline.instance, repository_def=pipeline.repository))
    if not asked:
        assert isinstance(told, dg.SkipReason)
        return
    assert isinstance(told, dg.SensorResult)
    (request,) = told.run_requests or []
    assert request.run_config["ops"]["xpcs_archive_runs"]["config"] == {"run_keys": [], "together": [keys]}


def _archive_steps(pipeline: Pipeline, key: str) -> list[Step]:
    return [step for step in state_of(pipeline.beamline, key).steps if step.asset == "archive"]
