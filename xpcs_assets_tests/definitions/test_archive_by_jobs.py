"""An archive that is reached by jobs, through Dagster: a run that waits for one ends nothing and fails nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from xpcs_assets.archive.assets import CHECK
from xpcs_assets.archive.pending import to_archive
from xpcs_assets.compute import opening
from xpcs_assets.follow import state_of
from xpcs_assets.orchestrate import adapter
from xpcs_assets.testing.fake_hpss import FakeHpss
from xpcs_assets_tests.definitions.conftest import Pipeline, open_pipeline
from xpcs_assets_tests.hpss import InstantBackend, has_hpss_archive

ARCHIVE = dg.AssetKey(["xpcs", "archive"])


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstantBackend:
    """Keeps its jobs until they are told to be done."""
    (tmp_path / "backend").mkdir()
    made = InstantBackend(tmp_path / "backend", "xfer", holds=True)
    monkeypatch.setattr(opening, "open_backend", lambda site, name: made)
    return made


@pytest.fixture
def pipeline(home: Path, tmp_path: Path, backend: InstantBackend) -> Iterator[Pipeline]:
    changes = has_hpss_archive(home, FakeHpss.build(tmp_path / "bin"))
    file = home / "beamlines" / "xpcs.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content["places"] |= changes["places"]
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    yield from open_pipeline(home)


def test_a_run_whose_archive_waits_for_a_job_has_not_failed_and_is_archived_by_a_later_dagster_run(
    pipeline: Pipeline, backend: InstantBackend
) -> None:
    key = pipeline.drop(pipeline.simulated(frames=20).folder)
    pipeline.run("ingest", key, only=("raw_file", "staged_copy"))
    waited = 0
    while adapter.newest(pipeline.instance, ARCHIVE, key) is None:
        assert pipeline.archive(key).success
        (step,) = [step for step in state_of(pipeline.beamline, key).steps if step.asset == "archive"]
        if step.state == "waiting":
            assert "of xfer is not done yet" in step.reason
            assert to_archive(pipeline.beamline, 10) == []
            waited += 1
        for job_id in backend.jobs():
            backend.finish(job_id)
        assert waited < 10
    assert waited > 0
    assert step.state == "done"
    assert pipeline.check("archive", CHECK, key).passed


def test_the_asset_by_hand_ends_without_materialising_and_says_not_yet(pipeline: Pipeline) -> None:
    key = pipeline.drop(pipeline.simulated(frames=20).folder)
    pipeline.run("ingest", key, only=("raw_file", "staged_copy"))
    done = pipeline.repository.get_job("__ASSET_JOB").execute_in_process(
        instance=pipeline.instance, partition_key=key, asset_selection=[ARCHIVE], raise_on_error=False
    )
    assert done.success
    assert adapter.newest(pipeline.instance, ARCHIVE, key) is None
    (verdict,) = done.get_asset_check_evaluations()
    assert (verdict.passed, (verdict.description or "").startswith("not yet: ")) == (False, True)
