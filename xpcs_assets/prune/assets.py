"""Dagster bindings of step 8: the external asset ``pruned`` and the job that removes one copy and reports it.

``pruned`` is not materialised by a button: only the job, after a removal, says that a copy is gone.
"""

from typing import TYPE_CHECKING

from dagster import AssetSpec, Config, JobDefinition, OpExecutionContext, job, op

from xpcs_assets.copies.copy_book import CopyState
from xpcs_assets.errors import RemovalRefusedError
from xpcs_assets.orchestrate.adapter import BEAMLINE_TAG, report_external
from xpcs_assets.orchestrate.bindings import Bound, failure
from xpcs_assets.orchestrate.executor import one_process

if TYPE_CHECKING:
    from xpcs_assets.prune.remove import Removed


class WhichCopy(Config):
    """The copy that is to go; ``from_trash``: what lies of it in its place's trash."""

    run_key: str
    version: int
    place: str
    path: str
    from_trash: bool = False


def spec(bound: Bound) -> AssetSpec:
    """The asset that says which copies are gone."""
    return AssetSpec(
        bound.key("pruned"),
        description="A copy was removed, behind a proof that enough others are right. Reported by the prune job.",
        deps=[bound.key("archive"), bound.key("catalog_entry")],
        group_name=bound.beamline.settings.dagster_name,
        partitions_def=bound.partitions,
        owners=[f"team:{bound.beamline.name}"],
        kinds={"tombstone"},
    )


def build_job(bound: Bound) -> JobDefinition:
    """The prune job of one beamline: one copy a run, out of its place or out of the trash."""

    @op(name=f"{bound.beamline.settings.dagster_name}_prune_copy")
    def prune_copy(context: OpExecutionContext, config: WhichCopy) -> None:
        from xpcs_assets.prune.pruning import empty, prune

        with bound.step(config.run_key, "pruned"):
            done = (empty if config.from_trash else prune)(
                bound.beamline,
                config.run_key,
                config.version,
                config.place,
                config.path,
                holder=f"dagster:{context.run_id}",
                by=f"dagster run {context.run_id}",
                reason=f"kept as long as {config.place} keeps copies",
            )
        if done.kept or done.copy.state not in {CopyState.REMOVED, CopyState.IN_TRASH, CopyState.PRESENT}:
            raise failure(_not_gone(config, done))
        report_external(
            context.instance,
            bound.key("pruned"),
            partition=config.run_key,
            data_version=f"removal-{done.intent}",
            metadata={
                "place": config.place,
                "path": config.path,
                "version": config.version,
                "state": done.copy.state.value,
                "files": done.files,
                "size_bytes": done.size_bytes,
                "strangers": "; ".join(done.strangers) or "none",
            },
        )

    @job(
        name=f"{bound.beamline.settings.dagster_name}_prune",
        executor_def=one_process,
        tags={BEAMLINE_TAG: bound.beamline.name},
    )
    def prune_job() -> None:
        prune_copy()

    return prune_job


def _not_gone(config: WhichCopy, done: "Removed") -> RemovalRefusedError:
    kept = "; ".join(f"{path}: {why}" for path, why in done.kept)
    return RemovalRefusedError(
        f"the copy is {done.copy.state}: {done.files} files went, {len(done.kept)} stay ({kept})",
        where=f"{config.place}:{config.path}",
        remedy="Look at the files that stay; the next removal takes only what is the manifest's",
    )
