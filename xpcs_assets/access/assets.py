"""Dagster binding of access: who may read a run's copies, set once they were verified."""

from collections.abc import Iterator

from dagster import AssetCheckResult, AssetExecutionContext, AssetsDefinition, MaterializeResult

from xpcs_assets.orchestrate.bindings import Bound, check, materialised, table

CHECK = "readable_by_whom_it_should"


def build(bound: Bound) -> list[AssetsDefinition]:
    """The access of one beamline's runs; nothing where no place says who may read there."""
    settings = bound.beamline.settings
    if not settings.guarded:
        return []
    pipeline = settings.pipeline
    back = pipeline.return_results is not None and pipeline.return_results.to in settings.guarded
    copies = [asset for place, asset in pipeline.copy_assets.items() if place in settings.guarded]

    @bound.asset(
        "access",
        description="Whoever should may read the run's copies, and nobody else.",
        after=("staged_copy", *copies, *(("returned_results",) if back else ())),
        kinds={"check"},
        checks={CHECK: "each place says what the run's owner, the roster and the embargo say"},
        may_wait=True,
    )
    def access(context: AssetExecutionContext) -> Iterator[MaterializeResult | AssetCheckResult]:
        from xpcs_assets.access.keeper import in_words, readers_of, settle_run

        key, beamline = context.partition_key, bound.beamline
        with bound.step(key, "access") as step:
            beamline.plain_key_only(key, "access")
            version = beamline.latest(key)
            found = settle_run(beamline, key)
            wrong = [each for each in found if not each.is_right]
            step.waits_for = in_words(wrong) if wrong else ""
        rows = table(
            [
                {"place": each.gate.place, "folder": each.gate.folder, "readers": readers_of(each), "why": each.why}
                for each in found
            ]
        )
        judged = check(CHECK, [in_words(wrong)] if wrong else [], {"copies": rows}, warn=False)
        if wrong:  # no failure: nothing that makes data waits for it, and it is tried again
            yield judged._replace(asset_key=bound.key("access"))
        else:
            yield materialised({"copies": rows, "version": version.version}, checks=[judged])

    return [access]
