"""Checks judge runs and results by the beamline's rules; a quarantine is shown everywhere and one action lifts it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from xpcs_assets.catalog.documents import raw_pid
from xpcs_assets.catalog.embedded import EmbeddedCatalog
from xpcs_assets.follow import state_of
from xpcs_assets.runs.criteria import CRITERIA, FRAMES, G2, RAW
from xpcs_assets.testing.simulate import simulate
from xpcs_assets_tests.definitions.conftest import TO_CATALOG, Pipeline, open_pipeline

TO_RESULT = ("raw_file", "staged_copy", "correlation", "metadata", "catalog_entry", "result_entry")


def judge_again(pipeline: Pipeline, asset: str, check: str, key: str) -> dg.AssetCheckEvaluation:
    """Execute one check by itself, as the UI does."""
    keys = {dg.AssetCheckKey(dg.AssetKey(["xpcs", asset]), check)}
    job = pipeline.repository.get_job("xpcs_ingest").get_subset(asset_selection=set(), asset_check_selection=keys)
    done = job.execute_in_process(instance=pipeline.instance, tags={"dagster/partition": key}, raise_on_error=False)
    assert done.success
    assert [event.step_key for event in done.all_node_events if event.is_step_success] == [f"xpcs_judge_{asset}"]
    (found,) = done.get_asset_check_evaluations()
    return found


def rows(evaluation: dg.AssetCheckEvaluation) -> dict[str, dict[str, Any]]:
    table = evaluation.metadata["judgements"]
    assert isinstance(table, dg.TableMetadataValue)
    return {str(record.data["judgement"]): dict(record.data) for record in table.records}


def quality(home: Path, text: str) -> Iterator[Pipeline]:
    """The site, its beamline file saying this of quality."""
    file = home / "beamlines" / "xpcs.yaml"
    before = file.read_text(encoding="utf-8").split("\nquality:")[0]
    file.write_text(before + (f"\nquality: {text}\n" if text else ""), encoding="utf-8")
    yield from open_pipeline(home)


def catalogued(pipeline: Pipeline, kind: str = "derived") -> tuple[str, dict[str, Any]]:
    """State and quality of the one result, or raw dataset, in the catalog."""
    (record,) = [found for found in EmbeddedCatalog(pipeline.beamline.engine).records("xpcs") if found.kind == kind]
    return record.state, record.judgements


def test_a_good_run_passes_every_check_which_say_by_which_limits(pipeline: Pipeline) -> None:
    state = pipeline.ingest(pipeline.simulated().folder, ("raw_file", "staged_copy", "correlation"))
    for asset, check in (("raw_file", RAW), ("correlation", FRAMES), ("correlation", G2)):
        found = pipeline.check(asset, check, state.key)
        assert found.passed, found.description
        table = rows(found)
        assert set(table) == {name for name, criterion in CRITERIA.items() if criterion.check == check}
        assert all(row["limit from"].startswith("built in: ") for row in table.values())
        assert all(row["reason"] for row in table.values() if row["outcome"] == "not judged")
    assert state.quarantined == ()
    assert "frame_time_deviation" in rows(pipeline.check("raw_file", RAW, state.key))


def test_a_quarantined_result_is_shown_with_its_reason_and_one_action_lifts_it(home: Path) -> None:
    for pipeline in quality(home, "{action: {hot_pixels: quarantine, fitted_share: off}}"):
        run = pipeline.simulated(leak_hot=3, frames=400)
        state = pipeline.ingest(run.folder, TO_RESULT)
        assert state.failed == ()
        found = pipeline.check("correlation", FRAMES, state.key)
        assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
        assert rows(found)["hot_pixels"]["outcome"] == "quarantine"
        assert rows(pipeline.check("correlation", G2, state.key))["fitted_share"]["reason"] == (
            "the beamline file turns it off"
        )
        assert state.quarantined == ("3 pixels shine far above their static bin: mask them, they spoil g2",)
        assert catalogued(pipeline)[0] == "quarantined"
        judgements = {each["name"]: each for each in catalogued(pipeline)[1]["judgements"]}
        assert "3 pixels" in judgements["hot_pixels"]["reason"]
    for pipeline in quality(home, "{limits: {hot_pixels: 5}, action: {hot_pixels: quarantine, fitted_share: off}}"):
        pipeline.instance.add_dynamic_partitions("xpcs_runs", [state.key])
        found = judge_again(pipeline, "correlation", FRAMES, state.key)
        assert found.passed
        assert rows(found)["hot_pixels"]["limit from"] == "beamline file, quality.limits.hot_pixels"
        again = state_of(pipeline.beamline, state.key)
        assert again.quarantined == ()
        assert catalogued(pipeline)[0] != "quarantined"
        assert [event.what for event in again.timeline if event.step == FRAMES][-1] == "passed"


def test_frames_that_were_never_recorded_quarantine_the_run_until_its_files_are_right(pipeline: Pipeline) -> None:
    options: dict[str, Any] = {"format": "eiger", "frames": 100, "shape": (48, 64), "n_dynamic": 2, "n_static": 4}
    run = simulate(pipeline.aside, missing_tail=10, **options)
    state = pipeline.ingest(run.folder, TO_CATALOG)
    assert len(state.quarantined) == 1
    assert catalogued(pipeline, "raw")[1]["serious"]
    assert "100 frames, 90 were recorded" in state.quarantined[0]
    assert not pipeline.check("raw_file", RAW, state.key).passed
    right = simulate(pipeline.aside / "right", **options)
    shutil.copy2(right.raw, pipeline.beamline.source_root / run.name / right.raw.name)
    pipeline.run("ingest", state.key, only=TO_CATALOG)
    newest = EmbeddedCatalog(pipeline.beamline.engine).get(raw_pid("xpcs", state.key, 2))
    assert newest.judgements["passed"]
    after = state_of(pipeline.beamline, state.key)
    assert (after.version, after.quarantined) == (2, ())


def test_a_rule_for_raw_data_that_was_eased_lifts_the_quarantine_in_the_catalog(home: Path) -> None:
    for pipeline in quality(home, "{action: {missing_usual_fields: quarantine}}"):
        state = pipeline.ingest(pipeline.simulated().folder, TO_CATALOG)
        assert catalogued(pipeline, "raw")[1]["serious"]
    for pipeline in quality(home, ""):
        pipeline.instance.add_dynamic_partitions("xpcs_runs", [state.key])
        assert judge_again(pipeline, "raw_file", RAW, state.key).passed
        assert catalogued(pipeline, "raw")[1]["passed"]
        assert state_of(pipeline.beamline, state.key).quarantined == ()


def test_a_raw_file_that_does_not_open_fails_its_check_and_the_rest_is_not_judged(pipeline: Pipeline) -> None:
    run = pipeline.simulated()
    run.raw.write_bytes(run.raw.read_bytes()[:1500])
    state = pipeline.ingest(run.folder, ("raw_file",))
    found = pipeline.check("raw_file", RAW, state.key)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert run.raw.name in str(found.description)
    table = rows(found)
    assert table["unreadable_files"]["outcome"] == "quarantine"
    assert table["metadata_frames"]["outcome"] == "not judged"


def test_a_check_of_data_that_are_nowhere_fails_and_quarantines_nothing(pipeline: Pipeline) -> None:
    state = pipeline.ingest(pipeline.simulated().folder, ("raw_file",))
    shutil.rmtree(pipeline.beamline.source_root / state.key)
    keys = {dg.AssetCheckKey(dg.AssetKey(["xpcs", "raw_file"]), RAW)}
    job = pipeline.repository.get_job("xpcs_ingest").get_subset(asset_selection=set(), asset_check_selection=keys)
    done = job.execute_in_process(
        instance=pipeline.instance, tags={"dagster/partition": state.key}, raise_on_error=False
    )
    assert not done.success
    assert state_of(pipeline.beamline, state.key).quarantined == ()


@pytest.mark.parametrize("text", ["{limits: {no_such: 1}}", "{action: {hot_pixels: stop}}", "{limits: {baseline: 1}}"])
def test_a_beamline_file_with_a_rule_that_is_none_does_not_run(home: Path, text: str) -> None:
    from xpcs_assets.site import Site

    file = home / "beamlines" / "xpcs.yaml"
    file.write_text(file.read_text(encoding="utf-8") + f"\nquality: {text}\n", encoding="utf-8")
    assert set(Site(home).broken) == {"xpcs"}
