"""Dagster bindings of step 2: ``staged_copy`` and its check."""

from datetime import timedelta

from dagster import AssetExecutionContext, AssetsDefinition, Failure, FreshnessPolicy, MaterializeResult

from xpcs_assets.orchestrate.adapter import report_failed_check
from xpcs_assets.orchestrate.bindings import Bound, check, materialised
from xpcs_assets.stage.staging import stage

CHECK = "copy_verified"


def build(bound: Bound) -> list[AssetsDefinition]:
    """The assets of this step for one beamline."""
    to = bound.beamline.settings.pipeline.stage.to
    retention = bound.beamline.settings.retention.get(to)
    # The copy goes stale when its place no longer has to keep it. Dagster judges the asset's newest partition, so this
    # only alerts; the retention planner applies the same setting to each copy.
    policy = FreshnessPolicy.time_window(fail_window=timedelta(seconds=retention.keep_for)) if retention else None

    @bound.asset(
        "staged_copy",
        description="The run's files copied, hashed on the way and read back.",
        after=("raw_file",),
        kinds={"file"},
        checks={CHECK: "the copy was read back and every hash agrees with the manifest"},
        freshness=policy,
    )
    def staged_copy(context: AssetExecutionContext) -> MaterializeResult:
        key = context.partition_key
        try:
            with bound.step(key, "staged_copy"):
                bound.beamline.plain_key_only(key, "staged_copy")
                done = stage(bound.beamline, key)
        except Failure as failure:
            report_failed_check(context.instance, bound.key("staged_copy"), CHECK, key, str(failure.description))
            raise
        manifest, staged = done.version.manifest, done.staged
        verified: dict[str, str | int] = {
            "evidence": "read-back hash",
            "files": len(manifest.files),
            "size_bytes": staged.bytes_total,
        }
        return materialised(
            {
                "place": to,
                "path": str(done.folder.raw),
                "version": done.version.version,
                "bytes_moved": staged.bytes_moved,
                "seconds": round(staged.seconds, 3),
                "rate_bytes_per_s": round(staged.rate_bytes_per_s),
                **verified,
            },
            digest=manifest.digest,
            checks=[check(CHECK, [], verified, warn=False)],
        )

    return [staged_copy]
