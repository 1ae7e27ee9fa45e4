"""Dagster binding of campaigns and of run sets that wait: the sensors that ask for what may be made now."""

from dagster import (
    AssetKey,
    DagsterInstance,
    DefaultSensorStatus,
    DynamicPartitionsDefinition,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from xpcs_assets.average.asking import PARTITIONS
from xpcs_assets.campaign.advance import Request, RunEnd, advance
from xpcs_assets.campaign.campaign import FAILED, Campaign, going, note_ended
from xpcs_assets.campaign.run_sets import advance as bring_on
from xpcs_assets.campaign.run_sets import going as sets_going
from xpcs_assets.errors import XpcsAssetsError
from xpcs_assets.follow import steps_of
from xpcs_assets.orchestrate.adapter import BEAMLINE_TAG, PRIORITY_TAG, status_of_request
from xpcs_assets.orchestrate.bindings import Bound
from xpcs_assets.reprocess import config_for, run_config
from xpcs_assets.runs.key import analysis_key

REQUESTS_PER_TICK = 20
AVERAGES_PER_TICK = 10
# New data come first.
LATER = 5


def build(bound: Bound, ingest_job: str) -> list[SensorDefinition]:
    """The campaign sensor of one beamline; it asks for the analysis alone of the job of a run's assets."""
    keys = [bound.key(asset) for asset in steps_of(bound.beamline, analysis_key("any", "name"))]

    @sensor(
        name=f"{bound.beamline.settings.dagster_name}_campaigns",
        job_name=ingest_job,
        minimum_interval_seconds=5,
        default_status=DefaultSensorStatus.RUNNING,
        description="Members of campaigns that may be analysed now",
    )
    def campaigns(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        if (pause := bound.beamline.ledger.paused(bound.beamline.name)) is not None:
            return SkipReason(pause.told)
        under_way = going(bound.beamline)
        if not under_way:
            return SkipReason("no campaign is under way")
        due: list[tuple[Campaign, Request]] = []
        for now in under_way:
            asked = advance(bound.beamline, now, lambda run_key: how_ended(context.instance, run_key))
            due += [(now.campaign, request) for request in asked]
        if not due:
            named = ", ".join(now.campaign.name for now in under_way)
            return SkipReason(f"{named}: as many members as may be are under way")
        # The others are asked for at the next tick: Dagster has no run of them yet.
        made = [_request(bound, campaign, request, keys) for campaign, request in due[:REQUESTS_PER_TICK]]
        turn = [request for request in made if request is not None]
        partitions = bound.partitions.build_add_request([str(request.partition_key) for request in turn])
        return SensorResult(run_requests=turn, dynamic_partitions_requests=[partitions])

    return [campaigns]


def how_ended(instance: DagsterInstance, run_key: str) -> RunEnd:
    """How the Dagster run of a request ended."""
    status = status_of_request(instance, run_key)
    if not status:
        return RunEnd.NONE
    if status == "SUCCESS":
        return RunEnd.WELL
    return RunEnd.BADLY if status in {"FAILURE", "CANCELED"} else RunEnd.GOING


def _request(bound: Bound, campaign: Campaign, request: Request, keys: list[AssetKey]) -> RunRequest | None:
    """What Dagster is asked for; None where it cannot be told which recipe the member has, which is then its end."""
    try:
        config = config_for(bound.beamline, request.member.run_key, campaign.config)
    except XpcsAssetsError as error:
        note_ended(bound.beamline, campaign.name, {request.member.run_key: (FAILED, str(error))})
        return None
    priority = bound.beamline.settings.queue.priority - LATER
    return RunRequest(
        run_key=request.run_key,
        partition_key=request.member.key,
        run_config=run_config(bound.beamline, config),
        asset_selection=keys,
        tags={BEAMLINE_TAG: bound.beamline.name, PRIORITY_TAG: str(priority)},
    )


def build_run_sets(bound: Bound) -> list[SensorDefinition]:
    """The sensor of one beamline's run sets."""
    settings = bound.beamline.settings
    partitions = DynamicPartitionsDefinition(name=f"{settings.dagster_name}_{PARTITIONS}")
    tags = {BEAMLINE_TAG: bound.beamline.name, PRIORITY_TAG: str(settings.queue.priority - LATER)}

    @sensor(
        name=f"{settings.dagster_name}_run_sets",
        target=[bound.key("average")],
        minimum_interval_seconds=30,
        default_status=DefaultSensorStatus.RUNNING,
        description="Run sets all of whose members have results now",
    )
    def run_sets(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        if (pause := bound.beamline.ledger.paused(bound.beamline.name)) is not None:
            return SkipReason(pause.told)
        under_way = sets_going(bound.beamline)
        requests: list[RunRequest] = []
        for now in under_way:
            run_key = bring_on(bound.beamline, now, lambda key: how_ended(context.instance, key))
            if run_key:
                requests.append(RunRequest(run_key, partition_key=now.run_set.name, tags=tags))
            if len(requests) == AVERAGES_PER_TICK:
                break
        if not requests:
            return SkipReason(f"{len(under_way)} run sets wait for members or are averaged")
        added = partitions.build_add_request([str(request.partition_key) for request in requests])
        return SensorResult(run_requests=requests, dynamic_partitions_requests=[added])

    return [run_sets]
