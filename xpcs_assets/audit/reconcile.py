"""Runs whose events were missed: complete and never taken, taken and not staged, analysed, catalogued or sent on.

What was asked for is counted in the run's own timeline, so nothing depends on Dagster's memory: a lost cursor, or a
Dagster database of yesterday, changes neither what is missing nor how often it was tried. Each try waits longer than
the one before; what fails too often is parked with its reason, where a person sees it, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from xpcs_assets.arrive.watch import ASKED
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.catalog.documents import derived_pid, raw_pid
from xpcs_assets.compute.choose_recipe import why_skipped
from xpcs_assets.copies.ledger import ArrivalState, Event, Finding, FindingKind, RunVersion
from xpcs_assets.copies.pending import uncopied, unreturned
from xpcs_assets.copies.standing import unfinished
from xpcs_assets.errors import XpcsAssetsError
from xpcs_assets.process.processing import outputs_of
from xpcs_assets.stage.moves import COPY, STAGE

STEP = "reconcile"
SETTLES = timedelta(minutes=10)
"""So long a run has been left alone by all others before it is asked for again."""
FIRST_PAUSE = timedelta(minutes=10)
LONGEST_PAUSE = timedelta(hours=6)
ATTEMPTS = 4
LOOKED_AT = 500
COPIES_OF = timedelta(days=7)
"""Runs staged, and results made, earlier are not sent by themselves: a place that was named later is not filled."""
NO_COPY = "it has no copy in"
RETURN = "returned_results"
NOT_RETURNED = "its result has not gone back to"
FROM_STAGED = ("correlation", "processed", "plots", RETURN, "metadata", "catalog_entry", "result_entry")
FROM_RECORD = ("metadata", "catalog_entry")
OF_RESULT = ("result_entry",)


@dataclass(frozen=True)
class Missed:
    """Something to be asked for again.

    Attributes
    ----------
    key
        The partition key.
    run_key, version
        Of which run; 0 when it was never taken.
    steps
        The assets to materialise; empty for the whole of the ingest.
    reason
        What is missing.
    attempt
        How often it was asked for before.
    """

    key: str
    run_key: str
    version: int
    steps: tuple[str, ...]
    reason: str
    attempt: int = 0

    @property
    def name(self) -> str:
        """The same for the same thing asked for the same number of times."""
        return f"{self.key}:v{self.version}:{'+'.join(self.steps) or 'ingest'}:{self.attempt}"


def to_ask_for(beamline: OpenBeamline, limit: int, is_busy: Callable[[str], bool]) -> list[Missed]:
    """What is to be asked for now, each noted in its run's timeline; at most ``limit``.

    Parameters
    ----------
    is_busy
        Whether anything waits or works for a partition key now.
    """
    parked = _still_parked(beamline)
    asked: list[Missed] = []
    for missed in _missing(beamline):
        if len(asked) >= limit:
            break
        if (missed.key, missed.version) in parked or missed.key in {other.key for other in asked}:
            continue
        try:
            due = _due(beamline, missed)
            if due is None or is_busy(missed.key):
                continue
            detail = {"asked": missed.key, "steps": list(missed.steps), "version": missed.version}
            told = f"asked for again ({due.attempt + 1}): {missed.reason}"
            beamline.ledger.note(beamline.name, missed.run_key, STEP, told, detail)
        except XpcsAssetsError as error:  # one run that cannot be looked at does not keep the others
            park(beamline, missed, str(error))
            continue
        asked.append(due)
    return asked


def park(beamline: OpenBeamline, missed: Missed, reason: str) -> None:
    """Ask for it no more until a person has looked; materialising it by hand is what brings it back."""
    beamline.ledger.see_finding(
        beamline.name,
        FindingKind.PARKED,
        path=missed.key,
        run_key=missed.run_key,
        version=missed.version,
        reason=f"{missed.reason}; {reason}",
    )


def _due(beamline: OpenBeamline, missed: Missed) -> Missed | None:
    """The next try, when its time has come; None while it waits, and once it is parked."""
    timeline = beamline.ledger.timeline(beamline.name, missed.run_key)
    tries = [event for event in timeline if _is_try(event, missed)]
    pause = min(FIRST_PAUSE * 2 ** max(0, len(tries) - 1), LONGEST_PAUSE)
    if tries and beamline.ledger.clock() - tries[-1].at < pause:
        return None
    if len(tries) >= ATTEMPTS:
        ends = [f"{event.step} {event.what}" for event in timeline if event.what.startswith(("failed: ", "refused: "))]
        park(beamline, missed, f"asked for {len(tries)} times, {ends[-1] if ends else 'and no run of it ended'}")
        return None
    return Missed(missed.key, missed.run_key, missed.version, missed.steps, missed.reason, len(tries))


def _is_try(event: Event, missed: Missed) -> bool:
    told = (event.detail.get("asked"), event.detail.get("steps"), event.detail.get("version"))
    return event.step == STEP and told == (missed.key, list(missed.steps), missed.version)


def _missing(beamline: OpenBeamline) -> Iterator[Missed]:
    yield from _not_taken(beamline)
    before = beamline.ledger.clock() - SETTLES
    pipeline = beamline.settings.pipeline
    moving = {(each.run_key, each.purpose, each.target) for each in beamline.ledger.transfers_under_way(beamline.name)}
    for item in unfinished(
        beamline.engine,
        beamline.name,
        staged_in=pipeline.stage.to,
        analysis=pipeline.analysis,
        taken_before=before,
        limit=LOOKED_AT,
    ):
        if not item.staged and (item.run_key, STAGE, pipeline.stage.to) in moving:
            continue  # for hours or days: the sensor of transfers has it
        steps = FROM_STAGED if item.staged else ()
        reason = "it was staged and has no result" if item.staged else "it was taken and never staged"
        yield Missed(item.run_key, item.run_key, item.version, steps, reason)
    yield from _not_catalogued(beamline)
    for place, asset in pipeline.copy_assets.items():
        since = before - COPIES_OF
        for run_key, version in uncopied(
            beamline.engine, beamline.name, staged_in=pipeline.stage.to, place=place, between=(since, before)
        ):
            if (run_key, COPY, place) not in moving:
                yield Missed(run_key, run_key, version, (asset,), f"{NO_COPY} {place}")
    back = pipeline.return_results
    for key, run_key, version in _not_returned(beamline, (before - COPIES_OF, before)):
        yield Missed(key, run_key, version, (RETURN,), f"{NOT_RETURNED} {back.to if back else ''}")


def _not_returned(beamline: OpenBeamline, between: tuple[datetime, datetime]) -> Sequence[tuple[str, str, int]]:
    if beamline.settings.pipeline.return_results is None:
        return ()
    return unreturned(beamline.engine, beamline.name, step=RETURN, between=between)


def _not_taken(beamline: OpenBeamline) -> Iterator[Missed]:
    """Arrivals that were asked to be taken long ago; a run that cannot be taken is not among them: the watch has it."""
    before = beamline.ledger.clock() - SETTLES
    states = [ArrivalState.SUBMITTED, ArrivalState.WAITING]
    for arrival in beamline.ledger.arrivals(beamline.name, states=states):
        asked = arrival.state is ArrivalState.SUBMITTED or arrival.reason == ASKED
        if asked and arrival.changed_at < before:
            yield Missed(arrival.run_key, arrival.run_key, 0, (), "it is complete at its source and was never taken")


def _not_catalogued(beamline: OpenBeamline) -> Iterator[Missed]:
    """What an audit found without a catalog record; only the newest version of a run can be catalogued again."""
    for finding in beamline.ledger.findings(beamline.name, kinds=[FindingKind.UNCATALOGUED])[:LOOKED_AT]:
        latest = beamline.ledger.latest(beamline.name, finding.run_key)
        if latest is None or latest.version != finding.version:
            continue
        run_key, version = finding.run_key, finding.version
        if finding.path == raw_pid(beamline.name, run_key, version):
            yield Missed(run_key, run_key, version, FROM_RECORD, "its raw data are not in the catalog")
            continue
        for result in beamline.ledger.results(beamline.name, run_key, version=version):
            folder = result.path.split("/")[-2]
            if finding.path == derived_pid(beamline.name, result.analysis_key, version, folder):
                yield Missed(result.analysis_key, run_key, version, OF_RESULT, "its result is not in the catalog")
                break


def _still_parked(beamline: OpenBeamline) -> set[tuple[str, int]]:
    """Key and version of what is parked; what was done by hand or taken meanwhile is no longer."""
    parked = set()
    for finding in beamline.ledger.findings(beamline.name, kinds=[FindingKind.PARKED]):
        if not _is_over(beamline, finding):
            parked.add((finding.path, finding.version))
            continue
        beamline.ledger.close_findings(
            beamline.name, [FindingKind.PARKED], path=finding.path, run_key=finding.run_key, version=finding.version
        )
    return parked


def _is_over(beamline: OpenBeamline, finding: Finding) -> bool:
    """Whether nothing of a run is missing any more, or a later version has taken its place."""
    ledger, pipeline = beamline.ledger, beamline.settings.pipeline
    run_key, version = finding.run_key, finding.version
    try:
        latest = ledger.latest(beamline.name, run_key)
    except XpcsAssetsError:
        return False
    if latest is None or version != latest.version:
        return latest is not None
    if finding.reason.startswith(NOT_RETURNED):
        ever = (datetime(1970, 1, 1, tzinfo=UTC), ledger.clock())
        return (finding.path, run_key, version) not in _not_returned(beamline, ever)
    place = finding.reason.partition(";")[0].removeprefix(f"{NO_COPY} ")
    wanted = {pipeline.stage.to} | ({place} & set(pipeline.copies))
    there = wanted <= {copy.place for copy in ledger.copies(beamline.name, run_key, version)}
    uncatalogued = ledger.findings(beamline.name, kinds=[FindingKind.UNCATALOGUED], run_key=run_key)
    return there and _is_analysed(beamline, latest) and not uncatalogued


def _is_analysed(beamline: OpenBeamline, latest: RunVersion) -> bool:
    """Whether a run has what the analysis of its beamline makes, or is skipped, or there is no analysis."""
    pipeline, run_key = beamline.settings.pipeline, latest.run_key
    if pipeline.correlate is not None:
        results = beamline.ledger.results(beamline.name, run_key, analysis_key=run_key, version=latest.version)
        return bool(results) or bool(why_skipped(beamline, latest))
    return pipeline.process is None or bool(outputs_of(beamline, latest)[1])
