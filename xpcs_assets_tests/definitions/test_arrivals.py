"""The sensor that asks for an ingest of what arrived, and what it does about a request that Dagster has had."""

from __future__ import annotations

import dagster as dg
import pytest

from xpcs_assets.orchestrate.adapter import BEAMLINE_TAG, PARTITION_NAME_TAG, RUN_KEY_TAG
from xpcs_assets_tests.definitions.conftest import Pipeline


def tick(pipeline: Pipeline) -> list[str]:
    """The run keys that the sensor asks for."""
    context = dg.build_sensor_context(instance=pipeline.instance, repository_def=pipeline.repository)
    told = pipeline.repository.get_sensor_def("xpcs_arrivals")(context)
    return [str(request.run_key) for request in getattr(told, "run_requests", None) or []]


@pytest.fixture
def key(pipeline: Pipeline) -> str:
    return pipeline.drop(pipeline.simulated().folder)


def had(pipeline: Pipeline, key: str, run_key: str, status: dg.DagsterRunStatus) -> None:
    """Dagster has a run of this request."""
    tags = {BEAMLINE_TAG: "xpcs", PARTITION_NAME_TAG: key, RUN_KEY_TAG: run_key}
    job = pipeline.repository.get_job("xpcs_ingest")
    pipeline.instance.create_run_for_job(job, tags=tags, status=status)


def test_a_paused_beamline_asks_for_no_run_and_for_those_that_came_meanwhile_when_it_goes_on(
    pipeline: Pipeline, key: str
) -> None:
    pipeline.beamline.ledger.pause("xpcs", "alignment", "an operator")
    assert tick(pipeline) == []
    pipeline.beamline.ledger.end_pause("xpcs", "an operator")
    assert [run_key.split(":")[1] for run_key in tick(pipeline)] == [key]


def test_a_run_whose_dagster_run_failed_before_it_could_say_so_is_asked_for_as_a_new_attempt(
    pipeline: Pipeline, key: str
) -> None:
    fingerprint = pipeline.beamline.ledger.arrival("xpcs", key).fingerprint  # type: ignore[union-attr]
    had(pipeline, key, f"xpcs:{key}:{fingerprint}:0", dg.DagsterRunStatus.FAILURE)
    assert tick(pipeline) == [f"xpcs:{key}:{fingerprint}:1"]
    arrival = pipeline.beamline.ledger.arrival("xpcs", key)
    assert arrival is not None
    assert (arrival.attempt, arrival.reason) == (1, "the Dagster run that was to take it failed")


@pytest.mark.parametrize(
    "status", [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELED]
)
def test_what_is_under_way_or_was_cancelled_is_left_alone(
    pipeline: Pipeline, key: str, status: dg.DagsterRunStatus
) -> None:
    fingerprint = pipeline.beamline.ledger.arrival("xpcs", key).fingerprint  # type: ignore[union-attr]
    had(pipeline, key, f"xpcs:{key}:{fingerprint}:0", status)
    assert tick(pipeline) == []
    assert pipeline.beamline.ledger.arrival("xpcs", key).attempt == 0  # type: ignore[union-attr]


def test_a_retry_that_dagster_has_begun_by_itself_is_waited_for(pipeline: Pipeline, key: str) -> None:
    fingerprint = pipeline.beamline.ledger.arrival("xpcs", key).fingerprint  # type: ignore[union-attr]
    for status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED):
        had(pipeline, key, f"xpcs:{key}:{fingerprint}:0", status)
    assert tick(pipeline) == []
