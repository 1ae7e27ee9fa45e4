"""Dagster binding of step 8: the retention planners. Each asks for removals one copy at a time; the job decides."""

import hashlib
import itertools
import re

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

from xpcs_assets.copies.ledger import Copy
from xpcs_assets.errors import RemovalRefusedError
from xpcs_assets.orchestrate.adapter import BEAMLINE_TAG, PRIORITY_TAG, was_requested
from xpcs_assets.orchestrate.bindings import Bound
from xpcs_assets.prune.assets import WhichCopy

REQUESTS_PER_TICK = 5
# Removals come after everything that makes or copies data.
LATER = 20
DRAINING = "on the way to the low water mark"


def build(bound: Bound, prune_job: JobDefinition) -> list[SensorDefinition]:
    """The retention planners of one beamline: one for each place that has a retention."""
    return [_planner(bound, prune_job, place) for place in bound.beamline.settings.retention]


def sensor_name(bound: Bound, place: str) -> str:
    """The planner's name; Dagster takes no other signs than letters, digits and ``_``."""
    safe = re.sub(r"[^A-Za-z0-9_]", "_", place)
    tail = "" if safe == place else "_" + hashlib.sha256(place.encode()).hexdigest()[:4]
    return f"{bound.beamline.settings.dagster_name}_retention_{safe}{tail}"


def _planner(bound: Bound, prune_job: JobDefinition, place: str) -> SensorDefinition:
    @sensor(
        name=sensor_name(bound, place),
        job=prune_job,
        minimum_interval_seconds=300,
        default_status=DefaultSensorStatus.RUNNING,
        description=f"Copies in {place} that may go by their age and the rules; fails while it asks a person",
    )
    def retention(context: SensorEvaluationContext) -> SensorResult:
        from xpcs_assets.prune.pruning import ask, plan, trash_due

        planned = plan(bound.beamline, place, draining=context.cursor == DRAINING)
        going = [_request(bound, due.copy) for due in planned.now]
        going += [_request(bound, copy, from_trash=True) for copy in trash_due(bound.beamline, place)]
        new = (item for item in going if not was_requested(context.instance, str(item.run_key)))
        chosen = list(itertools.islice(new, REQUESTS_PER_TICK))
        cursor = DRAINING if planned.draining else ""
        if chosen:
            return SensorResult(run_requests=chosen, cursor=cursor)
        if problem := planned.doubt or ask(bound.beamline, planned):
            raise RemovalRefusedError(problem, where=f"{bound.beamline.name}: {place}")
        reason = f"{len(going)} copies wait for their next try" if going else planned.why_waits or "no copy may go"
        return SensorResult(skip_reason=SkipReason(reason), cursor=cursor)

    return retention


def _request(bound: Bound, copy: Copy, *, from_trash: bool = False) -> RunRequest:
    """Ask for one removal; what was refused or interrupted is asked for again the next day."""
    which = WhichCopy(
        run_key=copy.run_key, version=copy.version, place=copy.place, path=copy.path, from_trash=from_trash
    )
    today = bound.beamline.ledger.clock().date().isoformat()
    what = f"{copy.place}:{copy.run_key}:v{copy.version}:{copy.recorded_at:%Y%m%dT%H%M%S%f}"
    return RunRequest(
        run_key=f"{bound.beamline.name}:{'empty' if from_trash else 'prune'}:{what}:{today}",
        run_config=RunConfig(ops={f"{bound.beamline.settings.dagster_name}_prune_copy": which}),
        tags={BEAMLINE_TAG: bound.beamline.name, PRIORITY_TAG: str(bound.beamline.settings.queue.priority - LATER)},
    )
