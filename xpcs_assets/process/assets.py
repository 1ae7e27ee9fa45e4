"""Dagster bindings of a command that is the analysis: ``processed``."""

from dagster import AssetExecutionContext, AssetsDefinition, MaterializeResult

from xpcs_assets.orchestrate.bindings import Bound, materialised, table
from xpcs_assets.process.processing import STEP, process, process_settings


def build(bound: Bound) -> list[AssetsDefinition]:
    """The asset of one beamline."""
    settings = process_settings(bound.beamline)

    @bound.asset(
        STEP,
        description="What the beamline's command made of a run, each file under its final name.",
        after=("staged_copy",),
        kinds={"file"},
    )
    def processed(context: AssetExecutionContext) -> MaterializeResult:
        key = context.partition_key
        with bound.step(key, STEP):
            bound.beamline.plain_key_only(key, STEP)
            done = process(bound.beamline, key, context.log.info)
        rows = [{"file": name, "sha256": sha256} for name, sha256 in done.outputs.items()]
        return materialised(
            {
                "place": settings.to,
                "path": done.folder,
                "target": ", ".join(done.target),
                "outputs": table(rows),
                "seconds": done.seconds,
                "reused": done.seconds == 0,
            },
            digest=done.digest,
        )

    return [processed]
