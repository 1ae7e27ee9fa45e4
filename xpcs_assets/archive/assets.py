"""Dagster bindings of step 7: ``archive``, its check, and the job that archives many runs in one Dagster run.

A Dagster run costs seconds of process start; tape does not wait for a scientist. So runs are archived together, each
with a materialisation of its own; the asset itself serves a single run that is materialised by hand.
"""

from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    Config,
    DagsterInstance,
    Failure,
    JobDefinition,
    MaterializeResult,
    OpExecutionContext,
    in_process_executor,
    job,
    op,
)

from xpcs_assets.archive.archiving import Archived, archive
from xpcs_assets.orchestrate.adapter import BEAMLINE_TAG, log_materialised, report_failed_check
from xpcs_assets.orchestrate.bindings import Bound, check, materialised, table

CHECK = "archive_read_back"


class WhichRuns(Config):
    """The runs that are to be archived."""

    run_keys: list[str]


def build(bound: Bound) -> list[AssetsDefinition]:
    """The assets of this step for one beamline."""
    settings = bound.beamline.settings
    after = ("staged_copy", "correlation") if settings.pipeline.correlate is not None else ("staged_copy",)

    @bound.asset(
        "archive",
        description="The run's raw data, once, and its results as they come, on tape.",
        after=after,
        kinds={"tar"},
        checks={CHECK: "every bundle was read back and every member hashed"},
    )
    def archived(context: AssetExecutionContext) -> MaterializeResult:
        done = _archive(bound, context.instance, context.partition_key)
        result = check(CHECK, [], _verified(done), warn=False)
        return materialised(_facts(done), digest=done.version.manifest_digest, checks=[result])

    return [archived]


def build_job(bound: Bound) -> JobDefinition:
    """The archive job of one beamline: many runs in one Dagster run. One that fails does not keep the others."""

    @op(name=f"{bound.beamline.settings.dagster_name}_archive_runs")
    def archive_runs(context: OpExecutionContext, config: WhichRuns) -> None:
        failed = []
        for run_key in config.run_keys:
            try:
                done = _archive(bound, context.instance, run_key)
            except Failure as failure:
                context.log.error("%s: %s", run_key, failure.description)  # noqa: TRY400 - the others go on
                failed.append(run_key)
                continue
            log_materialised(
                context,
                bound.key("archive"),
                run_key,
                data_version=done.version.manifest_digest,
                metadata=_facts(done),
                check=CHECK,
                check_metadata=_verified(done),
            )
        if failed:
            told = f"{len(failed)} of {len(config.run_keys)} runs were not archived: {', '.join(failed)}"
            raise Failure(told, allow_retries=False)

    @job(
        name=f"{bound.beamline.settings.dagster_name}_archive",
        executor_def=in_process_executor,
        tags={BEAMLINE_TAG: bound.beamline.name},
    )
    def archive_job() -> None:
        archive_runs()

    return archive_job


def _archive(bound: Bound, instance: DagsterInstance, key: str) -> Archived:
    try:
        with bound.step(key, "archive"):
            bound.beamline.plain_key_only(key, "archive")
            return archive(bound.beamline, key)
    except Failure as failure:
        report_failed_check(instance, bound.key("archive"), CHECK, key, str(failure.description))
        raise


def _facts(done: Archived) -> dict[str, Any]:
    rows = [
        {
            "bundle": bundle.plan.name,
            "content": bundle.plan.content,
            "members": len(bundle.found.members),
            "size_bytes": bundle.found.size_bytes,
            "sha256": bundle.found.sha256,
        }
        for part in done.parts
        for bundle in part.bundles
    ]
    return {
        "place": done.raw[-1].place,
        "version": done.version.version,
        "results": len(done.results),
        "bundles_written": sum(part.written for part in done.parts),
        "bundles": table(rows),
        **_verified(done),
    }


def _verified(done: Archived) -> dict[str, str | int]:
    return {
        "evidence": str(done.raw[-1].evidence),
        "members": sum(part.members for part in done.parts),
        "size_bytes": sum(part.size_bytes for part in done.parts),
    }
