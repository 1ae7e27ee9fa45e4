"""Dagster bindings of step 7: ``archive``, its check, and the job that archives many runs in one Dagster run.

A Dagster run costs seconds of process start; tape does not wait for a scientist. So runs are archived together, each
with a materialisation of its own; the asset itself serves a single run that is materialised by hand.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetExecutionContext,
    AssetsDefinition,
    Config,
    Failure,
    JobDefinition,
    MaterializeResult,
    OpExecutionContext,
    job,
    op,
)
from pydantic import Field

from xpcs_assets.archive.archiving import Archived, archive, archive_results
from xpcs_assets.archive.gather import WAITS, Gathered, gather_runs, keep_together, waits
from xpcs_assets.archive.index import INDEX_SUFFIX
from xpcs_assets.copies.ledger import Evidence
from xpcs_assets.copies.versions import WAITS as TAKES_ITS_TIME
from xpcs_assets.errors import UnderWayError, XpcsAssetsError
from xpcs_assets.orchestrate.adapter import BEAMLINE_TAG, log_materialised, report_failed_check
from xpcs_assets.orchestrate.bindings import TAPE, Bound, check, materialised, table
from xpcs_assets.orchestrate.executor import one_process

CHECK = "archive_read_back"


class WhichRuns(Config):
    """The runs that are to be archived; before them, those whose raw data are bundled together."""

    run_keys: list[str]
    together: list[list[str]] = Field(default_factory=list)


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
        may_wait=True,
        pool=TAPE,
    )
    def archived(context: AssetExecutionContext) -> Iterator[MaterializeResult | AssetCheckResult]:
        done = _archive(bound, context, context.partition_key)
        if done is None:
            yield AssetCheckResult(
                asset_key=bound.key("archive"),
                check_name=CHECK,
                passed=False,
                severity=AssetCheckSeverity.WARN,
                description="not yet: a job puts bundles into the archive; the run's timeline names it",
            )
            return
        yield materialised(_facts(done), digest=done.version.manifest_digest, checks=[_check(done)])

    return [archived]


def build_job(bound: Bound) -> JobDefinition:
    """The archive job of one beamline: many runs in one Dagster run. One that fails does not keep the others."""

    @op(name=f"{bound.beamline.settings.dagster_name}_archive_runs", pool=TAPE)
    def archive_runs(context: OpExecutionContext, config: WhichRuns) -> None:
        failed = []
        for run_key, gathered in _gathered(bound, config):
            try:
                if gathered.error is None and _waits(bound, run_key):
                    _archive_results(bound, run_key)
                    continue
                done = _archive(bound, context, run_key, gathered.error)
            except (Failure, XpcsAssetsError) as failure:
                context.log.error("%s: %s", run_key, getattr(failure, "description", failure))  # noqa: TRY400
                failed.append(run_key)
                continue
            if done is None:
                continue
            log_materialised(
                context,
                bound.key("archive"),
                run_key,
                data_version=done.version.manifest_digest,
                metadata=_facts(done, gathered.damaged),
                check=_check(done, gathered.damaged),
            )
        if failed:
            asked = len({*config.run_keys, *chain.from_iterable(config.together)})
            told = f"{len(failed)} of {asked} runs were not archived: {', '.join(failed)}"
            raise Failure(told, allow_retries=False)

    @job(
        name=f"{bound.beamline.settings.dagster_name}_archive",
        executor_def=one_process,
        tags={BEAMLINE_TAG: bound.beamline.name},
    )
    def archive_job() -> None:
        archive_runs()

    return archive_job


@dataclass(frozen=True)
class _OfGathering:
    """What came of gathering for one run: the error that kept it out, the bundles of it that were found damaged."""

    error: XpcsAssetsError | None = None
    damaged: tuple[str, ...] = ()


def _gathered(bound: Bound, config: WhichRuns) -> Iterator[tuple[str, _OfGathering]]:
    """Gather what goes together, then give each run once, with what came of that."""
    seen: set[str] = set()
    for together in config.together:
        try:
            done = gather_runs(bound.beamline, together)
        except UnderWayError as error:
            keep_together(bound.beamline, together, error)
            done = Gathered(failed=dict.fromkeys(together, error))
        except XpcsAssetsError as error:
            done = Gathered(failed=dict.fromkeys(together, error))
        seen.update(together)
        for run_key in together:
            yield run_key, _OfGathering(done.failed.get(run_key), tuple(done.damaged.get(run_key, ())))
    yield from ((run_key, _OfGathering()) for run_key in dict.fromkeys(config.run_keys) if run_key not in seen)


def _waits(bound: Bound, run_key: str) -> bool:
    latest = bound.beamline.ledger.latest(bound.beamline.name, run_key)
    return latest is not None and waits(bound.beamline, latest)


def _archive(
    bound: Bound,
    context: AssetExecutionContext | OpExecutionContext,
    key: str,
    gathering_failed: XpcsAssetsError | None = None,
) -> Archived | None:
    """What of a run lies in the archive now; None while a job puts more of it there."""
    try:
        with bound.step(key, "archive") as step:
            bound.beamline.plain_key_only(key, "archive")
            try:
                if gathering_failed is not None:
                    raise gathering_failed
                return archive(bound.beamline, key)
            except UnderWayError as error:
                step.waits_for = error.what
                context.log.info("%s waits: %s; this run ends, another goes on", key, error.what)
    except Failure as failure:
        report_failed_check(context.instance, bound.key("archive"), CHECK, key, str(failure.description))
        raise
    return None


def _archive_results(bound: Bound, run_key: str) -> None:
    """Archive the results of a run whose raw data wait: no materialisation, since the run is not archived."""
    ledger = bound.beamline.ledger
    try:
        done = archive_results(bound.beamline, run_key)
    except UnderWayError as error:
        ledger.note(bound.beamline.name, run_key, "archive", f"{TAKES_ITS_TIME}{error.what}", {"partition": run_key})
        return
    except XpcsAssetsError as error:
        ledger.note(bound.beamline.name, run_key, "archive", f"failed: {error}", {"partition": run_key})
        raise
    # Without the partition: the step is not done, and `why` goes on saying what it waits for.
    ledger.note(bound.beamline.name, run_key, "archive", f"{done.written} bundles of results; the run {WAITS}")


def _facts(done: Archived, damaged: tuple[str, ...] = ()) -> dict[str, Any]:
    rows = [
        {
            "bundle": bundle.name.rsplit("/", 1)[1],
            "content": bundle.content,
            "runs": len(bundle.runs),
            "size_bytes": bundle.size_bytes,
            "sha256": bundle.sha256,
            "verified_at": bundle.verified_at.isoformat(),
        }
        for bundle in done.bundles
    ]
    return {
        "place": done.place,
        "version": done.version.version,
        "results": len(done.results),
        "bundles_written": done.written,
        "read_bytes": done.read_bytes,
        "damaged_bundles": [*damaged, *done.damaged],
        "bundles": table(rows),
        **_verified(done),
    }


def _verified(done: Archived) -> dict[str, str | int]:
    """Of the run's own files and of all bundles that hold them, whenever they were read back."""
    return {
        "evidence": str(Evidence.READ_BACK),
        "members": done.files,
        "size_bytes": sum(bundle.size_bytes for bundle in done.bundles),
    }


def _check(done: Archived, damaged: tuple[str, ...] = ()) -> AssetCheckResult:
    """What reading back has shown; ``damaged`` are bundles that were found so while the run was gathered."""
    told = [
        f"bundle {name} is damaged; its files were archived again under another name"
        if not name.endswith(INDEX_SUFFIX)
        else f"index {name} is of no bundle that was archived here; the files are in a bundle of another name"
        for name in (*damaged, *done.damaged)
    ]
    return check(CHECK, told, _verified(done), warn=True)
