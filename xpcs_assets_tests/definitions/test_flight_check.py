"""The flight check in Dagster: an asset that fails while a hop is down, its job, and the sensor that asks for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from xpcs_assets.copies.pauses import BEAMLINE_KEY
from xpcs_assets.orchestrate import adapter
from xpcs_assets_tests.definitions.conftest import Pipeline, edit, open_pipeline

KEY = dg.AssetKey(["xpcs", "flight_check"])


@pytest.fixture
def flying(home: Path) -> Iterator[Pipeline]:
    edit(home, "alerts:", "flight_check: {every: 12 h}\nalerts:")
    yield from open_pipeline(home)


def fly(pipeline: Pipeline) -> dg.ExecuteInProcessResult:
    job = pipeline.repository.get_job("xpcs_flight_check")
    return job.execute_in_process(instance=pipeline.instance, raise_on_error=False)


def tick(pipeline: Pipeline) -> Any:
    sensor = pipeline.repository.get_sensor_def("xpcs_flight_check_due")
    with dg.build_sensor_context(instance=pipeline.instance, repository_def=pipeline.repository) as context:
        return sensor(context)


def hops(metadata: Any) -> dict[str, str]:
    return {str(row.data["hop"]): str(row.data["state"]) for row in metadata["hops"].records}


def test_a_check_is_a_materialisation_with_each_hop_and_fails_while_one_is_down(flying: Pipeline) -> None:
    done = fly(flying)
    assert done.success
    (event,) = [event for event in done.all_events if event.is_step_materialization]
    assert hops(event.materialization.metadata) == {"detector -> store": "ok", "store -> tape": "ok"}
    assert event.materialization.metadata["slowest_rate_bytes_per_s"].value > 0
    newest = adapter.newest(flying.instance, KEY)
    shutil.rmtree(flying.beamline.root("tape"))
    done = fly(flying)
    assert not done.success
    (failed,) = [event for event in done.all_events if event.is_step_failure]
    told = failed.step_failure_data.user_failure_data
    assert told is not None
    assert "store -> tape: " in str(told.description)
    assert hops(told.metadata) == {"detector -> store": "ok", "store -> tape": "wrong"}
    assert adapter.newest(flying.instance, KEY) == newest
    said = [event.what for event in flying.beamline.ledger.timeline("xpcs", BEAMLINE_KEY)]
    assert [what.split(":")[0] for what in said] == ["done", "failed"]


def test_it_is_asked_for_once_in_its_time(flying: Pipeline) -> None:
    asked = tick(flying)
    assert isinstance(asked, dg.RunRequest)
    assert asked.tags["beamline"] == "xpcs"
    flying.instance.create_run_for_job(
        flying.repository.get_job("xpcs_flight_check"), tags={"dagster/run_key": str(asked.run_key)}
    )
    assert isinstance(tick(flying), dg.SkipReason)


def test_a_beamline_that_does_not_ask_for_it_has_none(pipeline: Pipeline) -> None:
    assert not pipeline.repository.has_job("xpcs_flight_check")
    assert KEY not in pipeline.repository.asset_graph.get_all_asset_keys()
