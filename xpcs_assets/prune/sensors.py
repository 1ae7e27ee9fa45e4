"""Dagster binding of step 8: the retention planner. It asks for removals one copy at a time; the job decides."""

import itertools
from typing import TYPE_CHECKING

from dagster import (
    DefaultSensorStatus,
    JobDefinition,
    RunConfig,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from xpcs_assets.orchestrate.adapter import BEAMLINE_TAG, PRIORITY_TAG, was_requested
from xpcs_assets.orchestrate.bindings import Bound
from xpcs_assets.prune.assets import WhichCopy

if TYPE_CHECKING:
    from xpcs_assets.prune.pruning import Expired

REQUESTS_PER_TICK = 5
# Removals come after everything that makes or copies data.
LATER = 20
_LOOKED_AT = 1000


def build(bound: Bound, prune_job: JobDefinition) -> list[SensorDefinition]:
    """The retention planner of one beamline."""

    @sensor(
        name=f"{bound.beamline.settings.dagster_name}_retention",
        job=prune_job,
        minimum_interval_seconds=300,
        default_status=DefaultSensorStatus.RUNNING,
        description="Copies older than their place keeps them, that may go by the rules",
    )
    def retention(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        from xpcs_assets.prune.pruning import expired

        requests = [_request(bound, item) for item in expired(bound.beamline, _LOOKED_AT)]
        new = (item for item in requests if not was_requested(context.instance, str(item.run_key)))
        chosen = list(itertools.islice(new, REQUESTS_PER_TICK))
        if not chosen:
            return SkipReason(f"{len(requests)} copies wait for their next try" if requests else "no copy may go")
        return SensorResult(run_requests=chosen)

    return [retention]


def _request(bound: Bound, item: "Expired") -> RunRequest:
    """Ask for one removal; what was refused or interrupted is asked for again the next day."""
    copy = item.copy
    which = WhichCopy(run_key=copy.run_key, version=copy.version, place=copy.place, path=copy.path)
    today = bound.beamline.ledger.clock().date().isoformat()
    what = f"{copy.place}:{copy.run_key}:v{copy.version}:{item.generation}"
    return RunRequest(
        run_key=f"{bound.beamline.name}:prune:{what}:{today}",
        run_config=RunConfig(ops={f"{bound.beamline.settings.dagster_name}_prune_copy": which}),
        tags={BEAMLINE_TAG: bound.beamline.name, PRIORITY_TAG: str(bound.beamline.settings.queue.priority - LATER)},
    )
