"""Dagster bindings of step 6: ``catalog_entry`` and ``result_entry``."""

from dagster import AssetExecutionContext, AssetsDefinition, MaterializeResult

from xpcs_assets.orchestrate.bindings import Bound, materialised


def build_raw(bound: Bound) -> list[AssetsDefinition]:
    """The entry of a run's raw data."""

    @bound.asset(
        "catalog_entry",
        description="The run's raw dataset in the catalog.",
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
            },
            digest=record.digest,
        )

    return [catalog_entry]


def build_derived(bound: Bound) -> list[AssetsDefinition]:
    """The entry of a run's result."""

    @bound.asset(
        "result_entry",
        description="The result's derived dataset in the catalog, with its quality.",
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
            },
            digest=record.digest,
        )

    return [result_entry]
