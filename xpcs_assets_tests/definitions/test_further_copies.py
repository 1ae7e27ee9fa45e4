"""Copies in further places and results that go back, as assets of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from xpcs_assets.follow import state_of, steps_of, wait
from xpcs_assets.orchestrate import adapter
from xpcs_assets_tests.definitions.conftest import TO_G2, Pipeline, open_pipeline
from xpcs_assets_tests.unit.conftest import bare_run

COPY, BACK = "copy_in_far_mirror", "returned_results"


@pytest.fixture
def pipeline(home: Path) -> Iterator[Pipeline]:
    """A beamline with a mirror, whose results go back."""
    file = home / "beamlines" / "xpcs.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    for name in ("far-mirror", "back"):
        (home / name).mkdir()
        content["places"][name] = {"kind": "posix", "root": name, "failure_domain": f"room of {name}"}
    content["pipeline"] |= {"copies": ["far-mirror"], "return_results": {"to": "back", "path": "{run}/{recipe}/"}}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    yield from open_pipeline(home)


def test_a_run_has_its_copy_and_the_beamline_its_result(pipeline: Pipeline) -> None:
    key = pipeline.drop(pipeline.simulated().folder)
    assert pipeline.run("ingest", key, only=(*TO_G2, BACK, COPY)).success
    manifest = pipeline.beamline.latest(key).manifest
    copied = adapter.newest(pipeline.instance, dg.AssetKey(["xpcs", COPY]), key)
    assert copied is not None
    assert copied.data_version == manifest.digest
    assert pipeline.check(COPY, "copy_verified", key).passed
    result = pipeline.beamline.result(key)
    returned = adapter.newest(pipeline.instance, dg.AssetKey(["xpcs", BACK]), key)
    assert returned is not None
    assert returned.data_version == result.result_digest
    (file,) = (pipeline.site.home / "back").rglob("*_results.hdf")
    assert file.read_bytes() == pipeline.beamline.result_path(result).read_bytes()
    done = {step.asset for step in state_of(pipeline.beamline, key).steps if step.state == "done"}
    assert {COPY, BACK} <= done


def test_a_copy_that_fails_is_told_and_keeps_nothing_else(pipeline: Pipeline) -> None:
    key = pipeline.drop(bare_run(pipeline.aside / "A001"))
    theirs = pipeline.site.home / "far-mirror" / "xpcs" / key / "v1" / "raw" / "A001.imm"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"theirs")
    assert not pipeline.run("ingest", key, only=("raw_file", "staged_copy", COPY)).success
    check = pipeline.check(COPY, "copy_verified", key)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert pipeline.check("staged_copy", "copy_verified", key).passed
    state = state_of(pipeline.beamline, key)
    assert [step.asset for step in state.failed] == [COPY]
    assert "taken by other bytes" in state.reason
    assert wait(pipeline.beamline, key, asset="staged_copy", timeout_s=0) == 0
    assert wait(pipeline.beamline, key, asset=COPY, timeout_s=0) == 1


def test_the_steps_of_a_run_and_of_its_reprocessing(pipeline: Pipeline) -> None:
    steps = steps_of(pipeline.beamline, "A001")
    assert steps[-2:] == (COPY, "archive")
    assert steps.index(BACK) == steps.index("plots") + 1
    assert steps_of(pipeline.beamline, "A001~wide") == ("correlation", "plots", "result_entry", BACK)
