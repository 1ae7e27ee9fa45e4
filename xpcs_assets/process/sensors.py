"""Dagster binding of a command that is the analysis: the sensor of commands at back ends."""

from dagster import SensorDefinition

from xpcs_assets.compute.sensors import Taking, build_analyses
from xpcs_assets.orchestrate.bindings import Bound
from xpcs_assets.process.processing import STEP, process_settings


def build(bound: Bound, ingest_job: str) -> list[SensorDefinition]:
    """The sensor of a beamline's commands; none where all of them run on this machine."""
    return build_analyses(Taking(bound, (STEP,)), process_settings(bound.beamline), ingest_job)
