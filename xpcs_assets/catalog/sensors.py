"""Dagster bindings of step 6: the sensors that follow the roster, and have catalogs outside the site told what waits.

They fail, and so are red, while the roster cannot be read, and while a catalog has not answered for an hour.
"""

from datetime import datetime, timedelta

from dagster import (
    DefaultSensorStatus,
    JobDefinition,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from xpcs_assets.errors import CatalogUnavailableError
from xpcs_assets.orchestrate.adapter import BEAMLINE_TAG, PRIORITY_TAG, runs_in_progress, was_requested
from xpcs_assets.orchestrate.bindings import Bound

LOUD_AFTER = timedelta(hours=1)
GATHERED_EVERY = timedelta(minutes=5)
# Telling comes after everything that makes data, and before what looks after copies.
LATER = 10
_EPOCH = "1970-01-01T00:00:00+00:00"


def build_roster(bound: Bound) -> list[SensorDefinition]:
    """The sensor of one beamline that keeps who sees its records in step with the roster."""
    beamline = bound.beamline

    @sensor(
        name=f"{beamline.settings.dagster_name}_roster",
        minimum_interval_seconds=30,
        default_status=DefaultSensorStatus.RUNNING,
        description="The site's own catalog shows runs to whom the roster names now; fails while it cannot be read",
    )
    def roster() -> SkipReason:
        from xpcs_assets.catalog.roster import Roster
        from xpcs_assets.catalog.seen_by import follow_roster

        changed = follow_roster(beamline.engine, beamline.name, Roster.of(beamline.site))
        return SkipReason("seen by others now" if changed else "seen by whom the roster names")

    return [roster]


def build(bound: Bound, tell_job: JobDefinition) -> list[SensorDefinition]:
    """The sensor of one beamline that has catalogs told."""
    beamline = bound.beamline

    @sensor(
        name=f"{beamline.settings.dagster_name}_catalogs",
        job=tell_job,
        minimum_interval_seconds=30,
        default_status=DefaultSensorStatus.RUNNING,
        description="Catalogs outside the site are told of what waits for them; fails while one is down",
    )
    def catalogs(context: SensorEvaluationContext) -> SensorResult:
        from xpcs_assets.catalog.delivery import gather, has_turn

        now = beamline.ledger.clock()
        gathered_at = datetime.fromisoformat(context.cursor or _EPOCH)
        if not now - GATHERED_EVERY < gathered_at <= now:  # each run gathers its own: this finds what was missed
            gather(beamline)
            gathered_at = now
        cursor = gathered_at.isoformat()
        if runs_in_progress(context.instance, tell_job.name):
            return SensorResult(skip_reason=SkipReason("it is being told"), cursor=cursor)
        if has_turn(beamline):
            return SensorResult(run_requests=[_request(bound, context, tell_job.name, now)], cursor=cursor)
        _refuse_silence(bound, now)
        return SensorResult(skip_reason=SkipReason("every catalog was told"), cursor=cursor)

    return [catalogs]


def _request(bound: Bound, context: SensorEvaluationContext, job_name: str, now: datetime) -> RunRequest:
    wanted = run_key = f"{job_name}:{int(now.timestamp() // 30)}"
    number = 1
    while was_requested(context.instance, run_key):
        number += 1
        run_key = f"{wanted}.{number}"
    priority = bound.beamline.settings.queue.priority - LATER
    return RunRequest(run_key, tags={BEAMLINE_TAG: bound.beamline.name, PRIORITY_TAG: str(priority)})


def _refuse_silence(bound: Bound, now: datetime) -> None:
    from xpcs_assets.catalog.delivery import reach_of

    for name in bound.beamline.settings.pipeline.told:
        known = reach_of(bound.beamline).of(name)
        if known is not None and known.down_since is not None and now - known.down_since >= LOUD_AFTER:
            raise CatalogUnavailableError(
                f"{name} has not answered since {known.down_since:%Y-%m-%d %H:%M:%S} UTC: {known.error}",
                where=bound.beamline.name,
                remedy=f"What waits is told once it answers; `xpcs-assets catalogs {bound.beamline.name}` lists it",
            )
