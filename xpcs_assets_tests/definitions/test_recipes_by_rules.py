"""Runs of special kinds in Dagster: one rule has a run skip its analysis, another gives one a recipe of its own."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from typer.testing import CliRunner

from xpcs_assets.cli import app
from xpcs_assets.copies.ledger import FindingKind
from xpcs_assets.follow import state_of, wait
from xpcs_assets.orchestrate import adapter
from xpcs_assets_tests.definitions.conftest import TO_CATALOG, TO_G2, Pipeline, edit, open_pipeline

RULES = """qmap: {in_run: "*_qmap.hdf"}
    rules:
      - when: {run: "D*"}
        skip: dark run
      - when: {/entry/instrument/detector_1/number_of_frames: "> 100"}
        use: {stride: 2}"""


def test_a_run_that_is_not_correlated_is_kept_like_any_other_and_says_so(home: Path) -> None:
    edit(home, 'qmap: {in_run: "*_qmap.hdf"}', RULES)
    for pipeline in open_pipeline(home):
        key = pipeline.drop(pipeline.simulated(name="D001").folder)
        done = pipeline.run("ingest", key)
        assert done.success
        pipeline.archive(key)
        state = state_of(pipeline.beamline, key)
        assert (state.word, state.reason) == ("skipped", "not correlated: dark run")
        states = {step.asset: step.state for step in state.steps}
        assert states == {
            **dict.fromkeys((*TO_CATALOG, "archive"), "done"),
            **dict.fromkeys(("correlation", "plots", "result_entry"), "skipped"),
        }
        assert wait(pipeline.beamline, key, timeout_s=0) == 0
        assert wait(pipeline.beamline, key, asset="correlation", timeout_s=0) == 1
        assert wait(pipeline.beamline, key, asset="plots", timeout_s=0) == 1
        assert adapter.newest(pipeline.instance, dg.AssetKey(["xpcs", "correlation"]), key) is None
        assert observed(pipeline, key) == "not correlated: dark run"
        assert not pipeline.beamline.ledger.findings("xpcs", kinds=[FindingKind.PARKED])
        said = CliRunner().invoke(app, ["wait", "xpcs", key, "--asset", "correlation", "--home", str(home)])
        assert (said.exit_code, said.output.strip()) == (1, f"{key} skipped: not correlated: dark run")
        asked_by_name(pipeline, key)


def asked_by_name(pipeline: Pipeline, key: str) -> None:
    """A person who asks for an analysis of it gets one."""
    pipeline.instance.add_dynamic_partitions("xpcs_runs", [f"{key}~seen"])
    assert pipeline.run("ingest", f"{key}~seen", only=("correlation",)).success
    assert pipeline.beamline.result(f"{key}~seen").report["recipe"]["settings"]["stride"] == 1


def test_the_recipe_of_a_rule_is_that_of_the_runs_result_and_both_are_told(home: Path) -> None:
    edit(home, 'qmap: {in_run: "*_qmap.hdf"}', RULES)
    for pipeline in open_pipeline(home):
        key = pipeline.drop(pipeline.simulated().folder)
        assert pipeline.run("ingest", key, only=TO_G2).success
        assert pipeline.beamline.result(key).report["recipe"]["settings"]["stride"] == 2
        told = "by rule 2 (/entry/instrument/detector_1/number_of_frames > 100)"
        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(["xpcs", "correlation"]), asset_partitions=[key])
        (record,) = pipeline.instance.fetch_materializations(wanted, limit=1).records
        assert record.asset_materialization is not None
        assert record.asset_materialization.metadata["recipe"].value == told
        said = CliRunner().invoke(app, ["why", "xpcs", key, "--home", str(home)])
        assert told in " ".join(said.output.split())


def observed(pipeline: Pipeline, key: str) -> str | None:
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(["xpcs", "correlation"]), asset_partitions=[key])
    (record,) = pipeline.instance.fetch_observations(wanted, limit=1).records
    assert record.asset_observation is not None
    return record.asset_observation.description
