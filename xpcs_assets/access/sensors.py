"""Dagster binding of access: the sensor that goes through all runs in turn, and sets what is not as it should be.

A roster that changed, an embargo that ended, a copy that was brought back, what somebody changed by hand: each is seen
when the run's turn comes. What could not be set is tried again each time.
"""

import json
import time

from dagster import DefaultSensorStatus, SensorDefinition, SensorEvaluationContext, SensorResult, SkipReason, sensor

from xpcs_assets.access.assets import CHECK
from xpcs_assets.orchestrate.adapter import (
    partition_in_progress,
    report_external,
    report_failed_check,
    report_passed_check,
)
from xpcs_assets.orchestrate.bindings import Bound

TICK_S = 20.0  # Dagster ends a tick that takes a minute


def build(bound: Bound) -> list[SensorDefinition]:
    """The sensor of one beamline's access; none where no place says who may read there."""
    beamline = bound.beamline
    if not beamline.settings.guarded:
        return []

    @sensor(
        name=f"{beamline.settings.dagster_name}_access",
        minimum_interval_seconds=120,
        default_status=DefaultSensorStatus.RUNNING,
        description="Who may read each run's copies is looked at in turn, and set where it is not as it should be",
    )
    def access(context: SensorEvaluationContext) -> SensorResult:
        from xpcs_assets.access.keeper import keeping_access
        from xpcs_assets.access.round import START, go_round

        named, last = json.loads(context.cursor) if context.cursor else START
        until_s = time.monotonic() + TICK_S
        with keeping_access(beamline) as keeper:
            done = go_round(
                keeper, (named, last), lambda key: partition_in_progress(context.instance, beamline.name, key), until_s
            )
        for run_key, why in done.told.items():
            if why:
                report_failed_check(context.instance, bound.key("access"), CHECK, run_key, why)
            else:
                report_external(context.instance, bound.key("access"), data_version="set in turn", partition=run_key)
                report_passed_check(context.instance, bound.key("access"), CHECK, run_key, "passed")
        return SensorResult(skip_reason=SkipReason(done.in_words), cursor=json.dumps(done.after))

    return [access]
