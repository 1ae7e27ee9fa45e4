"""Dagster bindings of the flight check: an asset without partitions, which fails while a hop is down."""

from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    Failure,
    asset,
    define_asset_job,
)

from xpcs_assets.errors import XpcsAssetsError
from xpcs_assets.orchestrate.adapter import BEAMLINE_TAG
from xpcs_assets.orchestrate.bindings import Bound, failure, materialised, table
from xpcs_assets.orchestrate.executor import one_process


def build(bound: Bound) -> AssetsDefinition:
    """The asset that says of each hop between a beamline's places how it went the last time."""

    @asset(
        key=bound.key("flight_check"),
        description="A small file was moved over every hop between the beamline's places, verified and removed.",
        group_name=bound.beamline.settings.dagster_name,
        owners=[f"team:{bound.beamline.name}"],
        kinds={"check"},
    )
    def flight_check(context: AssetExecutionContext) -> Any:
        from xpcs_assets.doctor.found import State
        from xpcs_assets.doctor.hops import fly

        try:
            flown = fly(bound.beamline)
        except XpcsAssetsError as error:
            raise failure(error) from error
        rows = table(
            [
                {
                    "hop": one.hop,
                    "state": one.state.value,
                    "size_bytes": one.size_bytes,
                    "seconds": one.seconds,
                    "rate_bytes_per_s": one.rate_bytes_per_s,
                    "reason": one.reason,
                }
                for one in flown
            ]
        )
        down = [one for one in flown if one.state is State.WRONG]
        if down:
            told = "; ".join(f"{one.hop}: {one.reason}. {one.remedy}" for one in down)
            raise Failure(told, metadata={"hops": rows}, allow_retries=False)
        slowest = min((one.rate_bytes_per_s for one in flown if one.seconds), default=0.0)
        return materialised({"hops": rows, "slowest_rate_bytes_per_s": slowest})

    return flight_check


def build_job(bound: Bound, checked: AssetsDefinition) -> Any:
    """The job that flies."""
    return define_asset_job(
        f"{bound.beamline.settings.dagster_name}_flight_check",
        selection=[checked],
        executor_def=one_process,
        tags={BEAMLINE_TAG: bound.beamline.name},
    )
