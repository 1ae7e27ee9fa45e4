"""Dagster bindings of step 9: the jobs that read copies again and compare places, and the checks that follow them.

A job fails loudly when something is bad or lost, or when a place cannot be asked; what it found is in the ledger either
way, and is not found anew by a retry.
"""

from collections.abc import Iterable
from datetime import datetime

from dagster import DagsterInstance, Failure, JobDefinition, OpExecutionContext, job, op

from xpcs_assets.errors import XpcsAssetsError
from xpcs_assets.orchestrate.adapter import BEAMLINE_TAG, report_failed_check, report_passed_check
from xpcs_assets.orchestrate.bindings import Bound, failure
from xpcs_assets.orchestrate.executor import one_process

_SHOWN = 10


def build_jobs(bound: Bound) -> tuple[JobDefinition, JobDefinition]:
    """The scrub job and the audit job of one beamline."""
    return _scrub_job(bound), _audit_job(bound)


def report_checks(bound: Bound, instance: DagsterInstance, since: datetime) -> int:
    """Report the checks of runs whose copies were found wrong, or right again, since a moment; how many those were."""
    from xpcs_assets.audit.checks import judged

    reported = 0
    for item in judged(bound.beamline, since):
        report = report_passed_check if item.passed else report_failed_check
        report(instance, bound.key(item.asset), item.check, item.run_key, item.reason)
        reported += 1
    return reported


def _scrub_job(bound: Bound) -> JobDefinition:
    name = bound.beamline.settings.dagster_name

    @op(name=f"{name}_scrub_copies")
    def scrub_copies(context: OpExecutionContext) -> None:
        from xpcs_assets.audit.looking import scrub_beamline
        from xpcs_assets.copies.ledger import AuditOutcome

        began_at = bound.beamline.ledger.clock()
        try:
            done = scrub_beamline(bound.beamline)
        except XpcsAssetsError as error:
            raise failure(error) from error
        report_checks(bound, context.instance, began_at)
        wrong = []
        for place in done:
            context.log.info("%s: %s", place.place, dict(place.counts))
            if place.outcome is AuditOutcome.UNAVAILABLE:
                wrong.append(f"{place.place} cannot be asked: {place.reason}")
            wrong += [f"{each.place}:{each.path} is {each.verdict}: {each.reason}" for each in place.failed]
            if place.counts["flips"]:
                context.log.warning("%s: %s files were wrong when read once", place.place, place.counts["flips"])
        _fail(wrong, f"`xpcs-assets repair {bound.beamline.name} RUN` mends a run from a good copy")

    @job(name=f"{name}_scrub", executor_def=one_process, tags={BEAMLINE_TAG: bound.beamline.name})
    def scrub_job() -> None:
        scrub_copies()

    return scrub_job


def _audit_job(bound: Bound) -> JobDefinition:
    name = bound.beamline.settings.dagster_name

    @op(name=f"{name}_compare_places")
    def compare_places(context: OpExecutionContext) -> None:
        from xpcs_assets.audit.looking import audit_beamline

        began_at = bound.beamline.ledger.clock()
        try:
            done = audit_beamline(bound.beamline)
        except XpcsAssetsError as error:
            raise failure(error) from error
        report_checks(bound, context.instance, began_at)
        _know_all_runs(bound, context.instance)
        for place in done.places:
            context.log.info("%s: %s %s", place.place, place.outcome, place.counts)
        found = [f"{each.kind}: {each.place}:{each.path or each.run_key} {each.reason}" for each in done.findings]
        _fail([*done.trouble, *found], f"`xpcs-assets audit {bound.beamline.name}` lists everything that is open")

    @job(name=f"{name}_audit", executor_def=one_process, tags={BEAMLINE_TAG: bound.beamline.name})
    def audit_job() -> None:
        compare_places()

    return audit_job


def _know_all_runs(bound: Bound, instance: DagsterInstance) -> None:
    """Make every run of the ledger a partition: a Dagster database of yesterday lacks the last ones."""
    name = str(bound.partitions.name)
    known = set(instance.get_dynamic_partitions(name))
    missing = [version.run_key for version in bound.beamline.ledger.runs(bound.beamline.name)]
    missing = [run_key for run_key in missing if run_key not in known]
    if missing:
        instance.add_dynamic_partitions(name, missing)


def _fail(told: Iterable[str], remedy: str) -> None:
    lines = list(told)
    if lines:
        more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        raise Failure(f"{'; '.join(lines[:_SHOWN])}{more}. {remedy}", allow_retries=False)
