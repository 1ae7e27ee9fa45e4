"""Dagster bindings of step 2: ``staged_copy``, the copies in further places, the results that go back; their check.

What a service moves is never waited for: the asset begins it, or reads what has arrived; between the two nothing runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetExecutionContext,
    AssetsDefinition,
    Failure,
    FreshnessPolicy,
    MaterializeResult,
)

from xpcs_assets.copies.ledger import Evidence
from xpcs_assets.orchestrate.adapter import report_failed_check
from xpcs_assets.orchestrate.bindings import TRANSFER, Bound, Step, check, materialised
from xpcs_assets.runs.manifest import Manifest
from xpcs_assets.settings import ReturnResults
from xpcs_assets.stage.further import copy_further
from xpcs_assets.stage.moves import Waits
from xpcs_assets.stage.returned import return_results
from xpcs_assets.stage.staging import stage

CHECK = "copy_verified"


def build(bound: Bound) -> list[AssetsDefinition]:
    """The staged copy of one beamline's runs."""
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
        may_wait=True,
        pool=TRANSFER,
    )
    def staged_copy(context: AssetExecutionContext) -> Iterator[MaterializeResult | AssetCheckResult]:
        key = context.partition_key
        with _verified(bound, context, "staged_copy") as step:
            bound.beamline.plain_key_only(key, "staged_copy")
            done = stage(bound.beamline, key)
            step.waits_for = done.reason if isinstance(done, Waits) else ""
        if isinstance(done, Waits):
            yield _waits(bound, context, "staged_copy", done)
            return
        manifest, staged = done.version.manifest, done.staged
        verified = _facts(manifest)
        yield materialised(
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


def build_further(bound: Bound) -> list[AssetsDefinition]:
    """An asset for each further place that gets a copy, and one for the results that go back."""
    pipeline = bound.beamline.settings.pipeline
    further = [_further_copy(bound, place, name) for place, name in pipeline.copy_assets.items()]
    return further if pipeline.return_results is None else [*further, _returned_results(bound, pipeline.return_results)]


def _further_copy(bound: Bound, place: str, name: str) -> AssetsDefinition:
    @bound.asset(
        name,
        description=f"The run's files in {place}, read back there.",
        after=("staged_copy",),
        kinds={"file"},
        checks={CHECK: f"the copy in {place} was read back and every hash agrees with the manifest"},
        may_wait=True,
        pool=TRANSFER,
    )
    def further_copy(context: AssetExecutionContext) -> Iterator[MaterializeResult | AssetCheckResult]:
        key = context.partition_key
        with _verified(bound, context, name) as step:
            bound.beamline.plain_key_only(key, name)
            done = copy_further(bound.beamline, key, place)
            step.waits_for = done.reason if isinstance(done, Waits) else ""
        if isinstance(done, Waits):
            yield _waits(bound, context, name, done)
            return
        verified = _facts(done.version.manifest)
        yield materialised(
            {
                "place": place,
                "path": done.path,
                "version": done.version.version,
                "came_from": list(done.came_from),
                "bytes_moved": done.bytes_moved,
                "seconds": round(done.seconds, 3),
                "rate_bytes_per_s": round(done.rate_bytes_per_s),
                **verified,
            },
            digest=done.version.manifest.digest,
            checks=[check(CHECK, [], verified, warn=False)],
        )

    return further_copy


def _returned_results(bound: Bound, settings: ReturnResults) -> AssetsDefinition:
    @bound.asset(
        "returned_results",
        description=f"The result and its report in {settings.to}, read back there.",
        after=("correlation",),
        kinds={"hdf5"},
        pool=TRANSFER,
    )
    def returned_results(context: AssetExecutionContext) -> MaterializeResult:
        key = context.partition_key
        with bound.step(key, "returned_results"):
            done = return_results(bound.beamline, key)
        return materialised(
            {
                "place": settings.to,
                "path": done.path,
                "report": done.report,
                "version": done.result.version,
                "recipe_digest": done.result.recipe_digest,
                "result_digest": done.result.result_digest,
                "size_bytes": done.size_bytes,
                "evidence": str(Evidence.READ_BACK),
            },
            digest=done.result.result_digest,
        )

    return returned_results


@contextmanager
def _verified(bound: Bound, context: AssetExecutionContext, name: str) -> Iterator[Step]:
    """The body of a step that makes a copy: one that fails is a check that failed as well."""
    key = context.partition_key
    try:
        with bound.step(key, name) as step:
            yield step
    except Failure as failure:
        report_failed_check(context.instance, bound.key(name), CHECK, key, str(failure.description))
        raise


def _waits(bound: Bound, context: AssetExecutionContext, name: str, waits: Waits) -> AssetCheckResult:
    """What a step says that ends without a copy, since what brings it takes its time: nothing is verified yet."""
    context.log.info("%s", waits.reason)
    return AssetCheckResult(
        asset_key=bound.key(name),
        check_name=CHECK,
        passed=False,
        severity=AssetCheckSeverity.WARN,
        description=f"not yet: {waits.reason}",
    )


def _facts(manifest: Manifest) -> dict[str, str | int]:
    return {
        "evidence": str(Evidence.READ_BACK),
        "files": len(manifest.files),
        "size_bytes": manifest.size_bytes,
    }
