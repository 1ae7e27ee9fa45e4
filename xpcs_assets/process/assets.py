"""Dagster bindings of a command that is the analysis: ``processed``."""

from collections.abc import Iterator

from dagster import AssetExecutionContext, AssetsDefinition, Config, MaterializeResult
from pydantic import Field

from xpcs_assets.compute.remote import Remote
from xpcs_assets.compute.remote_take import take
from xpcs_assets.copies.job_book import in_words, made_by
from xpcs_assets.copies.ledger import BookedJob
from xpcs_assets.orchestrate.adapter import job_told_of
from xpcs_assets.orchestrate.bindings import Bound, materialised, table
from xpcs_assets.process.processing import MAY_BE_ASKED, STEP, Processed, plan, process, process_settings


class Otherwise(Config):
    """What a reprocessing has otherwise than the run itself."""

    target: str | None = Field(None, description="other targets, with commas between them")
    context: str | None = Field(None, description="another context")


def build(bound: Bound) -> list[AssetsDefinition]:
    """The asset of one beamline."""
    settings = process_settings(bound.beamline)

    @bound.asset(
        STEP,
        description="What the beamline's command made of a run, here or at a back end, each file under its final name.",
        after=("staged_copy",),
        kinds={"file"},
        may_wait=True,
    )
    def processed(context: AssetExecutionContext, config: Otherwise) -> Iterator[MaterializeResult]:
        key = context.partition_key
        with bound.step(key, STEP) as step:
            asked = {name: value for name in MAY_BE_ASKED if (value := getattr(config, name)) is not None}
            done, job = _process(bound, context, asked)
            if done is None and job is not None:
                step.wait_for(in_words(job), context.log.info)
        if done is not None:
            rows = [{"file": name, "sha256": sha256} for name, sha256 in done.outputs.items()]
            facts = {
                "place": settings.to,
                "path": done.folder,
                "target": ", ".join(done.target),
                "outputs": table(rows),
                "seconds": done.seconds,
                "reused": done.seconds == 0,
                **made_by(job),
            }
            yield materialised(facts, digest=done.digest)

    return [processed]


def _process(
    bound: Bound, context: AssetExecutionContext, asked: dict[str, str]
) -> tuple[Processed | None, BookedJob | None]:
    beamline, key = bound.beamline, context.partition_key
    if not process_settings(beamline).remote:
        return process(beamline, key, context.log.info, asked), None
    wanted, about = plan(beamline, key, asked), job_told_of(context.run.tags)
    return take(Remote.of(beamline), wanted, context.log.info, config=dict(asked), about=about)
