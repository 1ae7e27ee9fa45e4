"""What is wrong now at a beamline: each rule looks at the ledger or at places, and tells nobody.

``stood`` is what was wrong at the last look, where a rule goes by that: a failure long ago is not looked for again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta

from xpcs_assets.alerts.late import late_runs
from xpcs_assets.alerts.word import Word, word
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.campaign.campaign import DONE, FAILED, Progress, names, progress
from xpcs_assets.catalog.delivery import reach_of
from xpcs_assets.copies.job_book import OPEN
from xpcs_assets.copies.lately import News
from xpcs_assets.copies.ledger import ArrivalState, BookedJob
from xpcs_assets.errors import CopyError, NotFoundError, NotVerifiedError, SettingsError, UnreachableError
from xpcs_assets.follow import state_of
from xpcs_assets.intake.parked import parked
from xpcs_assets.places.place import Place
from xpcs_assets.plain import size
from xpcs_assets.prune.pruning import forecast_of, plan
from xpcs_assets.runs.key import split_analysis_key

ANSWERS_WITHIN = timedelta(hours=1)
"""A catalog or back end that is silent for longer is told."""
RECENT = timedelta(days=7)
"""What came to its end longer ago is history."""
LOOKED_AT = 1000
"""So many runs are looked at for one rule, at most; the others have their turn later."""
_AGAIN_BELOW = 0.02
"""A disk that was too full is so until this much less of it is in use."""


def failed(beamline: OpenBeamline, new: News, stood: Iterable[Word]) -> list[Word]:
    """Runs and reprocessings with a step that failed: lately, or long ago and nothing happened since."""
    before = {one.subject: one for one in stood if one.kind == "failed"}
    touched = {key for key in before if not new.is_whole or split_analysis_key(key)[0] in new.runs}
    looked_at = dict.fromkeys([*(key for key in before if key in touched), *new.failed])
    now_wrong = (_failure(beamline, key) for key in looked_at)
    untouched = (one for key, one in before.items() if key not in looked_at)
    return [*untouched, *(one for one in now_wrong if one is not None)]


def _failure(beamline: OpenBeamline, key: str) -> Word | None:
    remedy = f"`xpcs-assets why {beamline.name} {key}`"
    try:
        steps = state_of(beamline, key).failed
    except NotFoundError:
        return None
    except NotVerifiedError as error:
        return word("failed", key, error.what, beamline.ledger.clock(), error.remedy)
    if not steps:
        return None
    at = steps[0].at or beamline.ledger.clock()
    return word("failed", key, f"{steps[0].asset}: {steps[0].reason}", at, remedy)


def late(beamline: OpenBeamline, stood: Iterable[Word]) -> list[Word]:
    """Runs that were taken long ago and lack their result or catalog entry, and runs that never became complete."""
    after_s = beamline.settings.alerts.late_after
    before = [one.subject for one in stood if one.kind == "late"]
    found = []
    for run in late_runs(beamline, timedelta(seconds=after_s), RECENT, before, LOOKED_AT):
        remedy = f"`xpcs-assets why {beamline.name} {run.run_key}`"
        failure = _failure(beamline, run.run_key)
        if failure is not None:
            found.append(failure)
        else:
            found.append(word("late", run.run_key, f"{run.lacks}, and nothing of it failed", run.taken_at, remedy))
    incomplete = beamline.ledger.arrivals(beamline.name, states=[ArrivalState.INCOMPLETE], limit=LOOKED_AT)
    for arrival in incomplete:
        remedy = f"`xpcs-assets submit {beamline.name} {arrival.source} --as-is` if it is complete all the same"
        found.append(word("late", arrival.run_key, f"incomplete: {arrival.reason}", arrival.changed_at, remedy))
    return found


def silent(beamline: OpenBeamline) -> list[Word]:
    """A beamline of which no run was taken for long; not one that is paused, or never had a run."""
    ledger, name = beamline.ledger, beamline.name
    last = ledger.runs(name, limit=1)
    if not last or ledger.paused(name) is not None:
        return []
    since = max(last[0].taken_at, ledger.pause_ended(name) or last[0].taken_at)
    if (ledger.clock() - since).total_seconds() < beamline.settings.alerts.silent_for:
        return []
    told = f"no run was taken since {since:%Y-%m-%d %H:%M} UTC; the last one was {last[0].run_key}"
    remedy = f"Look at the detector's folder with `xpcs-assets check {name}`, or say `xpcs-assets pause {name}`"
    return [word("silent", name, told, since, remedy)]


def places(beamline: OpenBeamline, stood: Iterable[Word]) -> list[Word]:
    """Places that cannot be used, and disks that are nearly full; only places that the site has met are asked."""
    now, before = beamline.ledger.clock(), {one.key for one in stood}
    met = {known.place for known in beamline.ledger.known_places(beamline.name)}
    found = []
    for name in [name for name in beamline.settings.places if name in met]:
        try:
            place = beamline.place(name)
            why = place.why_unavailable()
        except (CopyError, SettingsError, UnreachableError) as error:
            why = str(error)
        if why:
            remedy = f"`xpcs-assets place {beamline.name}`; nothing is deleted or called lost meanwhile"
            found.append(word("unavailable", name, f"the place cannot be used: {why}", now, remedy))
        elif full := _full(beamline, place, now, stood_full=f"quota:{name}" in before):
            found.append(full)
    return found


def _full(beamline: OpenBeamline, place: Place, now: datetime, *, stood_full: bool) -> Word | None:
    usage, limit = place.usage(), beamline.settings.alerts.quota
    if usage is None or usage.used_bytes + usage.free_bytes == 0:
        return None
    if usage.share < limit - (_AGAIN_BELOW if stood_full else 0.0):
        return None
    told = f"{usage.share:.0%} of the disk is in use, {size(usage.free_bytes)} are free"
    return word(
        "quota", place.name, told, now, f"Make room: `xpcs-assets prune {beamline.name} --dry-run` says what may go"
    )


def prune_soon(beamline: OpenBeamline) -> list[Word]:
    """Days on which copies may go, by the forecast of ``prune --dry-run``: one word a place and day."""
    ahead = timedelta(seconds=beamline.settings.alerts.prune_soon)
    until = datetime.combine((beamline.ledger.clock() + ahead).date() + timedelta(days=1), time(), UTC)
    days = (until - beamline.ledger.clock()) / timedelta(days=1)  # to the end of the last day
    found = []
    for place in beamline.settings.retention:
        try:
            coming = forecast_of(beamline, place, days=days).of_age.days
        except (CopyError, SettingsError, UnreachableError):
            continue  # told as a place that cannot be used
        for day in coming:
            if day.day < until.date():
                told = (
                    f"on {day.day} {_copies(day.copies)}, {size(day.size_bytes)}, may go from it, each behind its proof"
                )
                remedy = f"`xpcs-assets hold {beamline.name} RUN --reason WHY` keeps a run"
                since = datetime.combine(day.day, time(), UTC)
                found.append(word("prune", place, told, since, remedy, is_news=True))
    return found


def _copies(number: int) -> str:
    return "1 copy" if number == 1 else f"{number} copies"


def approvals(beamline: OpenBeamline) -> list[Word]:
    """Lists of removals that are beyond the limits of a day, which nobody has approved."""
    found = []
    for place in beamline.settings.retention:
        try:
            planned = plan(beamline, place)
        except (CopyError, SettingsError, UnreachableError):
            continue  # told as a place that cannot be used
        limit = planned.limit
        if limit.beyond:
            told = (
                f"{_copies(limit.asks)} may go from it by the rules and wait for a person's word: no more than "
                f"{limit.at_most} in a day go without"
            )
            remedy = f"`xpcs-assets prune {beamline.name} --dry-run` lists them, and says how to let them go"
            found.append(word("approval", place, told, planned.at, remedy))
    return found


def catalogs(beamline: OpenBeamline) -> list[Word]:
    """Catalogs outside the site that have not answered for an hour."""
    reaches, now = reach_of(beamline), beamline.ledger.clock()
    remedy = f"What waits is told once it answers: `xpcs-assets catalogs {beamline.name}`"
    known = [(name, reaches.of(name)) for name in beamline.settings.pipeline.told]
    return [
        word("catalog", name, f"does not answer: {reach.error}", reach.down_since, remedy)
        for name, reach in known
        if reach is not None and reach.down_since is not None and now - reach.down_since >= ANSWERS_WITHIN
    ]


def backends(beamline: OpenBeamline) -> list[Word]:
    """Back ends that have kept jobs waiting for an hour because they do not answer, or take none."""
    now = beamline.ledger.clock()
    waiting: dict[str, list[BookedJob]] = {}
    for job in beamline.ledger.jobs(beamline.name, states=OPEN):
        if _is_kept_waiting(job) and now - job.changed_at >= ANSWERS_WITHIN:
            waiting.setdefault(job.backend, []).append(job)
    remedy = f"They go on once it answers: `xpcs-assets jobs {beamline.name}`"
    return [
        word("backend", name, f"{len(jobs)} of its jobs wait: {jobs[-1].reason}", jobs[-1].changed_at, remedy)
        for name, jobs in waiting.items()
    ]


def _is_kept_waiting(job: BookedJob) -> bool:
    """By what following notes of a job: ``NAME does not answer: ...``, or ``NAME: ...`` of one not handed over."""
    return job.reason.startswith((f"{job.backend} does not answer: ", f"{job.backend}: "))


def parked_messages(beamline: OpenBeamline) -> list[Word]:
    """Messages to the intake that were refused and wait for a person."""
    remedy = f"`xpcs-assets parked {beamline.name}`"
    return [
        word("parked", f"message {one.name}", f"{one.file_path}: {one.reason}", one.at, remedy)
        for one in parked(beamline)
    ]


def campaigns_over(beamline: OpenBeamline) -> list[Word]:
    """Campaigns that came to their end in the last days."""
    found = []
    for name in names(beamline):
        known = progress(beamline, name)
        ended = max((member.ended_at for member in known.members if member.ended_at), default=None)
        if known.is_over and ended is not None and beamline.ledger.clock() - ended < RECENT:
            remedy = f"`xpcs-assets campaigns {beamline.name} {name}`"
            found.append(word("campaign", name, _told(known), ended, remedy, is_news=True))
    return found


def _told(known: Progress) -> str:
    states = Counter(member.state for member in known.members)
    stopped = f", {states.total() - states[DONE] - states[FAILED]} not asked for" if known.stopped else ""
    return f"is over: {states[DONE]} done, {states[FAILED]} failed{stopped}"
