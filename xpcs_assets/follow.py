"""Where a run is: from the ledger alone, so that asking is quick and works when Dagster is down."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from xpcs_assets.archive.gather import WAITS, waits
from xpcs_assets.audit.unnoted import UNNOTED
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.job_book import in_words as in_words_of_job
from xpcs_assets.copies.ledger import Arrival, ArrivalState, Event, RunVersion
from xpcs_assets.copies.versions import SKIPPED
from xpcs_assets.copies.versions import WAITS as TAKES_ITS_TIME
from xpcs_assets.describe.judgement import QUARANTINED
from xpcs_assets.errors import NotFoundError
from xpcs_assets.runs.criteria import FRAMES, G2, RAW
from xpcs_assets.runs.key import split_analysis_key
from xpcs_assets.settings import COPY_IN
from xpcs_assets.stage.further_transfer import asset_of, in_words

RAW_STEPS = ("raw_file", "staged_copy", "metadata", "catalog_entry")
RESULT_STEPS = ("correlation", "plots", "result_entry")
CHECKS = (RAW, FRAMES, G2)
ASKED = "asked for"


@dataclass(frozen=True)
class Step:
    """One asset of a run: ``done``, ``skipped``, ``failed`` or ``waiting``, since when, and why it is not done."""

    asset: str
    state: str
    at: datetime | None = None
    reason: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether nothing is to come of it any more: it is done, or a rule says that it is not to be."""
        return self.state in {"done", "skipped"}


@dataclass(frozen=True)
class RunState:
    """Where a run is.

    Attributes
    ----------
    key
        The partition key that was asked for.
    arrival
        What is known of it at its source; None for a run rebuilt from its data.
    version
        The newest version that was taken; 0 before the first.
    steps
        Its assets in order.
    timeline
        Everything that was noted.
    quarantined
        Why its data or its result are not to be used unseen, by the newest verdict of each check.
    """

    key: str
    arrival: Arrival | None
    version: int
    steps: tuple[Step, ...]
    timeline: tuple[Event, ...] = field(repr=False, default=())
    quarantined: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[Step, ...]:
        """The steps that failed."""
        return tuple(step for step in self.steps if step.state == "failed")

    @property
    def done(self) -> bool:
        """Whether every step is done, but those that a rule has the run skip."""
        return all(step.is_settled for step in self.steps)

    @property
    def skipped(self) -> tuple[Step, ...]:
        """The steps that a rule has the run skip."""
        return tuple(step for step in self.steps if step.state == "skipped")

    @property
    def remarks(self) -> str:
        """What is to be known of a run that is done; empty when there is nothing."""
        return "; ".join((*self.quarantined, *(step.reason for step in self.skipped[:1])))

    @property
    def word(self) -> str:
        """One word for lists: the arrival's until it is taken, then working, failed, quarantined, skipped or done."""
        if not self.version and self.arrival is not None:
            return self.arrival.state.value
        if self.failed:
            return "failed"
        if not self.done:
            return "working"
        if self.quarantined:
            return "quarantined"
        return "skipped" if self.skipped else "done"

    @property
    def reason(self) -> str:
        """Why it is not done, not to be used unseen or not analysed, in words; empty when all is well."""
        if not self.version and self.arrival is not None:
            return self.arrival.reason
        if self.failed:
            return f"{self.failed[0].asset}: {self.failed[0].reason}"
        ahead = [step for step in self.steps if step.state == "waiting"]
        if ahead:
            return ahead[0].reason or f"waits for {ahead[0].asset}"
        return self.remarks


def steps_of(beamline: OpenBeamline, key: str) -> tuple[str, ...]:
    """The assets that a partition key has at this beamline, in the order they come."""
    pipeline = beamline.settings.pipeline
    analysis = RESULT_STEPS if pipeline.correlate is not None else (pipeline.analysis,) if pipeline.analysis else ()
    back = ("returned_results",) if pipeline.return_results is not None else ()
    if split_analysis_key(key)[1] is not None:
        return (*analysis, *back)
    kept = (*pipeline.copy_assets.values(), *(("archive",) if pipeline.archive else ()))
    read_by = ("access",) if beamline.settings.guarded else ()
    return (*RAW_STEPS[:2], *analysis[:2], *back, *read_by, *RAW_STEPS[2:], *analysis[2:], *kept)


def state_of(beamline: OpenBeamline, key: str) -> RunState:
    """Where run ``key`` is.

    Raises
    ------
    NotFoundError
        No such run was seen or taken.
    """
    run, _ = split_analysis_key(key)
    arrival = beamline.ledger.arrival(beamline.name, run)
    latest = beamline.ledger.latest(beamline.name, run)
    if arrival is None and latest is None:
        raise NotFoundError(
            "no such run", where=f"{beamline.name}/{run}", remedy=f"`xpcs-assets status {beamline.name}` lists them"
        )
    timeline = beamline.ledger.timeline(beamline.name, run)
    is_told = run == key or any(event.detail.get("partition") == key for event in timeline)
    # The result is recorded a moment before its step says so, and that may never be said.
    if not is_told and not beamline.ledger.results(beamline.name, run, analysis_key=key):
        raise NotFoundError(
            "no such reprocessing was asked for",
            where=f"{beamline.name}/{key}",
            remedy=f"`xpcs-assets reprocess {beamline.name} {run} --name NAME` asks for one",
        )
    seen: dict[str, Step] = {}
    unnoted: set[str] = set()
    verdicts: dict[str, str] = {}
    for event in timeline:
        if event.step == "raw_file" and event.what.endswith("taken"):
            seen.clear()  # a new version begins anew
            verdicts.clear()
        if event.step in CHECKS and event.detail.get("partition") == (run if event.step == RAW else key):
            verdicts[event.step] = event.what
        if event.detail.get("partition") == key and not event.what.startswith(("refused: ", ASKED)):
            seen[event.step] = _step(event)
            if UNNOTED in event.detail:
                unnoted.add(event.step)
            elif seen[event.step].state == "done":
                _mend(seen, unnoted, event)
    seen |= _by_transfer(beamline, latest) if run == key else {}
    seen |= _by_job(beamline, key, latest, seen)
    _skip_behind(seen, steps_of(beamline, key))
    steps = tuple(seen.get(asset, Step(asset, "waiting")) for asset in steps_of(beamline, key))
    if latest is not None and steps[-1] == Step("archive", "waiting") and waits(beamline, latest):
        steps = (*steps[:-1], Step("archive", "waiting", reason=WAITS))
    quarantined = tuple(what.removeprefix(QUARANTINED) for what in verdicts.values() if what.startswith(QUARANTINED))
    return RunState(key, arrival, latest.version if latest else 0, steps, timeline, quarantined)


def _step(event: Event) -> Step:
    for word, state in (("failed: ", "failed"), (TAKES_ITS_TIME, "waiting"), (SKIPPED, "skipped")):
        if event.what.startswith(word):
            return Step(event.step, state, event.at, event.what.removeprefix(word))
    return Step(event.step, "done", event.at)


def _by_transfer(beamline: OpenBeamline, version: RunVersion | None) -> dict[str, Step]:
    """The assets that wait for a transfer, by what the ledger knows of it now."""
    if version is None:
        return {}
    known = beamline.ledger.transfers_of(beamline.name, version.run_key, version.version)
    under_way = [(asset_of(beamline, each), each) for each in known if each.is_under_way]
    return {asset: Step(asset, "waiting", each.changed_at, in_words(each)) for asset, each in under_way if asset}


def _by_job(beamline: OpenBeamline, key: str, version: RunVersion | None, seen: Mapping[str, Step]) -> dict[str, Step]:
    """An analysis that waits for a job at a back end, by what the ledger knows of that now."""
    asset = beamline.settings.pipeline.analysis
    known = seen.get(asset)
    if version is None or (known is not None and known.is_settled):
        return {}
    for job in beamline.ledger.jobs(beamline.name, analysis_key=key, version=version.version, limit=1):
        failed_since = known is not None and known.state == "failed" and known.at is not None and known.at > job.made_at
        if (job.is_open or job.is_to_be_told) and not failed_since:
            return {asset: Step(asset, "waiting", job.changed_at, f"waits for {in_words_of_job(job)}")}
    return {}


def _mend(seen: dict[str, Step], unnoted: set[str], event: Event) -> None:
    """A step whose own note is missing had done its work all the same when one behind it succeeds."""
    for asset in [each for each in unnoted if event.step in {each, *behind(each, (event.step,))}]:
        unnoted.discard(asset)
        seen[asset] = Step(asset, "done", event.at)


def _skip_behind(seen: dict[str, Step], assets: Collection[str]) -> None:
    """What is behind a step that is skipped, and was not made before, will not be made either."""
    for step in [step for step in seen.values() if step.state == "skipped"]:
        for asset in behind(step.asset, assets):
            seen.setdefault(asset, Step(asset, "skipped", step.at, step.reason))


def wait(
    beamline: OpenBeamline,
    key: str,
    *,
    asset: str = "",
    timeout_s: float,
    told: Callable[[RunState], None] = lambda _: None,
) -> int:
    """Wait until a run, or one of its assets, is done: 0 done, 1 failed, 3 timed out.

    A run is done without what a rule has it skip; an asset that is asked for and skipped is not.

    Raises
    ------
    NotFoundError
        No such run or asset: exit code 2.
    """
    deadline_s = time.monotonic() + timeout_s
    later = ("archive", "access", COPY_IN)  # for safety, and slow: nobody's work waits for them
    wanted = [asset] if asset else [step for step in steps_of(beamline, key) if not step.startswith(later)]
    if asset and asset not in steps_of(beamline, key):
        there_are = f"It has {', '.join(steps_of(beamline, key))}"
        raise NotFoundError(f"run {key} has no asset {asset!r}", where=beamline.name, remedy=there_are)
    while True:
        state = state_of(beamline, key)
        told(state)
        steps = [step for step in state.steps if step.asset in wanted]
        if all(step.is_settled for step in steps):
            return 1 if asset and steps[0].state == "skipped" else 0
        given_up = not state.version and state.word in {"refused", "incomplete"}
        if given_up or _is_over(state, wanted):
            return 1
        if time.monotonic() > deadline_s:
            return 3
        time.sleep(0.25)


# A failed step is followed by no success of those behind it; the others go on.
_BEHIND_THE_COPY = {
    *("metadata", "catalog_entry", "correlation", "processed", "plots", "result_entry", "returned_results", "archive"),
    "access",
}
_BEHIND = {
    "raw_file": {"staged_copy", *_BEHIND_THE_COPY},
    "staged_copy": _BEHIND_THE_COPY,
    "correlation": {"plots", "result_entry", "returned_results"},
    "plots": {"result_entry"},
    "metadata": {"catalog_entry", "result_entry"},
    "catalog_entry": {"result_entry"},
}


def behind(asset: str, steps: Collection[str]) -> set[str]:
    """The steps behind an asset; further copies are behind what the staged copy is behind."""
    copies = {step for step in steps if step.startswith(COPY_IN)} if asset in {"raw_file", "staged_copy"} else set()
    return _BEHIND.get(asset, set()) | copies


def _is_over(state: RunState, wanted: list[str]) -> bool:
    """Whether some wanted step has failed, or waits behind one that has, and nothing else is still to come."""
    retaken = state.arrival is not None and state.arrival.state in {ArrivalState.WAITING, ArrivalState.SUBMITTED}
    failed = {step.asset for step in state.failed}
    hopeless = failed | {each for asset in failed for each in behind(asset, wanted)}
    open_ones = [step.asset for step in state.steps if step.asset in wanted and step.state == "waiting"]
    return not retaken and not hopeless.isdisjoint(wanted) and hopeless.issuperset(open_ones)
