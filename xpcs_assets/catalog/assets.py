"""Dagster bindings of step 6: ``catalog_entry``, ``result_entry``, and the job that tells catalogs outside the site.

The entries are made when the embedded catalog has them: a catalog outside that is down is told later, by the job.
"""

from collections import Counter

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    Failure,
    JobDefinition,
    MaterializeResult,
    OpExecutionContext,
    job,
    op,
)

from xpcs_assets.errors import XpcsAssetsError
from xpcs_assets.orchestrate.adapter import BEAMLINE_TAG
from xpcs_assets.orchestrate.bindings import Bound, failure, materialised
from xpcs_assets.orchestrate.executor import one_process

LOOKED_AT = 200
_SHOWN = 10


def build_raw(bound: Bound) -> list[AssetsDefinition]:
    """The entry of a run's raw data."""

    @bound.asset(
        "catalog_entry",
        description="The run's raw dataset in every catalog, or what it waits for there.",
        after=("metadata",),
        kinds={"catalog"},
    )
    def catalog_entry(context: AssetExecutionContext) -> MaterializeResult:
        from xpcs_assets.catalog.cataloguing import catalogue_raw

        key = context.partition_key
        with bound.step(key, "catalog_entry"):
            bound.beamline.plain_key_only(key, "catalog_entry")
            done = catalogue_raw(bound.beamline, key)
        record = done.record
        return materialised(
            {
                "pid": record.pid,
                "catalog": "embedded",
                "state": record.state,
                "owner_group": record.owner_group,
                "proposal": record.proposal,
                "sample": record.sample,
                "version": record.version,
                **done.elsewhere,
            },
            digest=record.digest,
        )

    return [catalog_entry]


def build_derived(bound: Bound) -> list[AssetsDefinition]:
    """The entry of a run's result."""

    @bound.asset(
        "result_entry",
        description="The result's derived dataset in every catalog, with its quality, or what it waits for there.",
        after=("catalog_entry", "correlation", "plots"),
        kinds={"catalog"},
    )
    def result_entry(context: AssetExecutionContext) -> MaterializeResult:
        from xpcs_assets.catalog.cataloguing import catalogue_result

        key = context.partition_key
        with bound.step(key, "result_entry"):
            done = catalogue_result(bound.beamline, key)
        record = done.record
        return materialised(
            {
                "pid": record.pid,
                "catalog": "embedded",
                "state": record.state,
                "made_of": done.made_of,
                "recipe_digest": record.recipe_digest,
                "inputs": ", ".join(record.document["inputDatasets"]),
                **done.elsewhere,
            },
            digest=record.digest,
        )

    return [result_entry]


def build_job(bound: Bound) -> JobDefinition:
    """The job of one beamline that tells catalogs outside the site what waits, and asks for what was told long ago.

    It fails when a catalog refuses an entry: that one is parked for a person, the others were told.
    """
    name = bound.beamline.settings.dagster_name

    @op(name=f"{name}_tell_what_waits")
    def tell_what_waits(context: OpExecutionContext) -> None:
        from xpcs_assets.catalog.delivery import catch_up, look_again, reach_of
        from xpcs_assets.catalog.outbox import EntryState

        beamline = bound.beamline
        try:
            done = list(catch_up(beamline))
            asked = look_again(beamline, older_than_s=beamline.settings.audit.reread_within, at_most=LOOKED_AT)
        except XpcsAssetsError as error:
            raise failure(error) from error
        counts = Counter((each.entry.catalog, each.state.value) for each in done)
        for (catalog, state), number in sorted(counts.items()):
            context.log.info("%s: %d entries %s", catalog, number, state)
        context.log.info("%d datasets were asked for again", asked)
        for catalog in beamline.settings.pipeline.told:
            if why := reach_of(beamline).rests(catalog):
                context.log.warning("%s does not answer: %s", catalog, why)
        refused = [f"{one.entry.catalog}: {one.why}" for one in done if one.state is EntryState.PARKED]
        if refused:
            more = f" and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
            told = f"{'; '.join(refused[:_SHOWN])}{more}. `xpcs-assets catalogs {beamline.name}` lists what is parked"
            raise Failure(told, allow_retries=False)

    @job(
        name=f"{name}_tell_catalogs",
        executor_def=one_process,
        tags={BEAMLINE_TAG: bound.beamline.name},
    )
    def tell_catalogs() -> None:
        tell_what_waits()

    return tell_catalogs
