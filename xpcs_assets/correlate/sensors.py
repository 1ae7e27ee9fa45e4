"""Dagster binding of step 3: the sensor of correlations at back ends."""

from collections.abc import Iterator

from dagster import RunRequest, SensorDefinition

from xpcs_assets.compute.analyse import correlate_settings
from xpcs_assets.compute.remote_correlation import CorrelationWork, call_of
from xpcs_assets.compute.sensors import Taking, build_analyses
from xpcs_assets.copies.ledger import BookedJob
from xpcs_assets.correlate.assets import settings_config
from xpcs_assets.orchestrate.bindings import Bound


def build(bound: Bound, ingest_job: str) -> list[SensorDefinition]:
    """The sensor of a beamline's correlations; none where all of them run on this machine."""
    beamline = bound.beamline
    back = ("returned_results",) if beamline.settings.pipeline.return_results is not None else ()
    taking = Taking(bound, ("correlation", "plots", "result_entry", *back))

    def multitau_alone(job: BookedJob) -> Iterator[RunRequest]:
        """Where the whole was too big."""
        if key := CorrelationWork(beamline).instead(job):
            config = settings_config(call_of(job).settings) | {"analysis_type": "multitau"}
            config["qmap"] = job.request["config"].get("qmap", "")
            yield taking.request(key, f"{beamline.name}:{job.name}:without-twotime", config, {})

    return build_analyses(taking, correlate_settings(beamline), ingest_job, multitau_alone)
