"""Prune at a beamline: which copies are to go by now, and the removal of each, behind its own proof."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.catalog.delivery import stands, thought_to_stand
from xpcs_assets.catalog.embedded import EmbeddedCatalog, raw_pid
from xpcs_assets.copies.ledger import Approval, Aside, Copy
from xpcs_assets.errors import CopyError, NotFoundError, RefusedError, RemovalRefusedError, SettingsError
from xpcs_assets.places.place import Place
from xpcs_assets.prune.forecast import DAYS, RATE_DAYS, Bringing, Forecast, forecast, of_age, out_of_trash
from xpcs_assets.prune.limits import DAY, beginning_of, item, limit_of
from xpcs_assets.prune.plan import Plan, bytes_that_go, plan_place, situation_of
from xpcs_assets.prune.remove import Removed, empty_trash, prune_copy
from xpcs_assets.runs.retention import Retention
from xpcs_assets.settings_retention import RetentionSettings


def plan(beamline: OpenBeamline, place: str, *, draining: bool = False, everything: bool = False) -> Plan:
    """What is to go from a place by now, and why the rest stays.

    Parameters
    ----------
    draining
        Whether the last plan was on its way to the low water mark.
    everything
        Whether the copies that are too young are judged one by one as well.
    """
    retention = retention_of(beamline, place)
    return plan_place(
        beamline.ledger,
        beamline.name,
        place,
        retention,
        lambda copies: catalogued(beamline, copies),
        usage=beamline.place(place).usage() if retention.high_water is not None else None,
        doubt=beamline.ledger.doubt_clock(),
        draining=draining,
        everything=everything,
    )


def retention_of(beamline: OpenBeamline, place: str) -> Retention:
    """A place's word on the copies it holds.

    Raises
    ------
    SettingsError
        It has none: nothing is ever removed from it.
    """
    settings = beamline.settings.retention.get(place)
    if settings is None:
        raise SettingsError(
            f"place {place!r} has no retention: everything stays",
            where=beamline.name,
            remedy="Name it under retention in the beamline file",
        )
    return settings.rule


def forecast_of(beamline: OpenBeamline, place: str, *, days: float = DAYS) -> Forecast:
    """What comes of age in a place in the next days, 30 at most, what of it may then go, and what becomes of its trash.

    Of many copies this takes long: the fewer days, the quicker.
    """
    retention, now = retention_of(beamline, place), beamline.ledger.clock()
    since = now - timedelta(seconds=retention.keep_for_s)
    ledger, name, bringing = beamline.ledger, beamline.name, _bringing(beamline)
    young = list(ledger.copies_seen(name, place, after=since, until=since + timedelta(days=days)))
    coming = [
        of_age(situation_of(ledger, seen, retention, catalogued=False), retention, bringing, size_bytes)
        for seen, size_bytes in zip(young, bytes_that_go(ledger, young), strict=True)
    ]
    trash = []
    for which, rows in _in_trash(beamline, place).items():
        seen = ledger.copy_seen(_copy(beamline, *which))
        if seen is not None:
            situation = situation_of(ledger, seen, retention, catalogued=False)
            size_bytes = sum(row.size_bytes for row in rows)
            trash.append(out_of_trash(situation, retention, bringing, rows[-1].at, size_bytes))
    arrived_bytes = ledger.arrived_bytes(name, place, after=now - timedelta(days=RATE_DAYS), until=now)
    return forecast(coming, trash, arrived_bytes, now, retention, beamline.place(place).usage())


def _bringing(beamline: OpenBeamline) -> Bringing:
    domains = {}
    for name, settings in beamline.settings.places.items():
        try:
            domains[name] = beamline.place(name).failure_domain
        except CopyError:  # not there now: what was given, or else what the ledger has of each copy
            if settings.failure_domain:
                domains[name] = settings.failure_domain
    pipeline = beamline.settings.pipeline
    return Bringing(domains, pipeline.stage.to, pipeline.archive.to if pipeline.archive is not None else "")


def _in_trash(beamline: OpenBeamline, place: str) -> dict[tuple[str, int, str, str], list[Aside]]:
    """The files in a place's trash by run key, version, place and path of their copy; the newest line comes last."""
    found: dict[tuple[str, int, str, str], list[Aside]] = {}
    for row in beamline.ledger.aside(beamline.name, place=place):
        found.setdefault((row.run_key, row.version, place, row.copy_path), []).append(row)
    return found


def ask(beamline: OpenBeamline, plan: Plan) -> str:
    """Why a list waits for a person's word, and how to give it; empty when it does not."""
    limit = plan.limit
    if not limit.beyond:
        return ""
    rule = retention_of(beamline, plan.place)
    command = f"xpcs-assets prune {beamline.name}"
    return (
        f"{limit.asks} copies are to go from {plan.place} and {limit.gone} went in the last day, but no more than "
        f"{limit.at_most} may go in a day without a person's word (at_most_copies {rule.at_most_copies}, at_most_share "
        f"{rule.at_most_share:.0%} of {plan.copies}). Look at the list with `{command} --dry-run`, then let it go "
        f"with `{command} --approve {plan.digest}`"
    )


def approve(beamline: OpenBeamline, plans: Sequence[Plan], digest: str, by: str) -> Approval:
    """Write down a person's word that the list of this digest may go; what came to its end since is not meant.

    Raises
    ------
    RemovalRefusedError
        No place has that list now: it has changed since it was looked at.
    """
    for one in plans:
        items = beginning_of(one.place, [item(due.copy) for due in one.goes], digest)
        if items:
            return beamline.ledger.approve(beamline.name, one.place, digest, items, by)
    now = ", ".join(f"{one.place} {one.digest}" for one in plans)
    raise RemovalRefusedError(
        f"no list has the digest {digest} now",
        where=beamline.name,
        remedy=f"The list has changed since; look at it again. Now there are: {now}",
    )


def prune(
    beamline: OpenBeamline, run_key: str, version: int, place: str, path: str, *, holder: str, by: str, reason: str
) -> Removed:
    """Remove one copy, if the rules, the limits of a day and a proof made now allow it.

    Raises
    ------
    NotFoundError
        The ledger knows no such copy.
    RefusedError, CopyError
        See :func:`xpcs_assets.prune.remove.prune_copy`.
    """
    copy = _copy(beamline, run_key, version, place, path)
    settings = beamline.settings.retention.get(place)
    if settings is not None:
        _refuse_beyond_limit(beamline, copy, settings.rule)
    return _with_all(prune_copy, beamline, copy, holder, by, reason)


def empty(
    beamline: OpenBeamline, run_key: str, version: int, place: str, path: str, *, holder: str, by: str, reason: str
) -> Removed:
    """Unlink what lies of a copy in the trash of its place; see :func:`xpcs_assets.prune.remove.empty_trash`."""
    return _with_all(empty_trash, beamline, _copy(beamline, run_key, version, place, path), holder, by, reason)


def trash_due(beamline: OpenBeamline, place: str) -> tuple[Copy, ...]:
    """Copies in a place's trash whose grace period is over, the first moved first; none while the clock is in doubt."""
    if beamline.ledger.doubt_clock():
        return ()
    over = beamline.ledger.clock() - timedelta(seconds=retention_of(beamline, place).trash_for_s)
    in_trash = _in_trash(beamline, place)
    return tuple(_copy(beamline, *which) for which, rows in in_trash.items() if rows[-1].at <= over)


def catalogued(beamline: OpenBeamline, copies: Sequence[Copy]) -> set[tuple[str, int]]:
    """Run key and version of those copies whose raw record the embedded catalog, asked now, has.

    Every catalog outside the site that the beamline names was told of them too, and none of these is down.
    """
    pids = {raw_pid(copy.beamline, copy.run_key, copy.version): (copy.run_key, copy.version) for copy in copies}
    known = EmbeddedCatalog(beamline.engine).existing(list(pids))
    return {pids[pid] for pid in thought_to_stand(beamline, known)}


def _catalogued_now(beamline: OpenBeamline, copy: Copy, retention: RetentionSettings | None) -> bool:
    """Whether every catalog that the beamline names, asked now, has a copy's raw record; not asked for nothing."""
    if retention is None or "catalog" not in retention.needs or not catalogued(beamline, [copy]):
        return False
    return stands(beamline, raw_pid(copy.beamline, copy.run_key, copy.version))


@dataclass(frozen=True)
class Pruned:
    """What became of one copy that was to go; ``refused`` says why it, or a part of it, stays."""

    copy: Copy
    files: int = 0
    size_bytes: int = 0
    refused: str = ""


def prune_all(beamline: OpenBeamline, plans: Sequence[Plan]) -> Iterator[Pruned]:
    """Remove what the plans let go, one copy after the other, and empty what is due in the trash."""
    for one in plans:
        for due in one.now:
            yield _tried(beamline, prune, due.copy)
        for copy in trash_due(beamline, one.place):
            yield _tried(beamline, empty, copy)


def _tried(beamline: OpenBeamline, act: Callable[..., Removed], copy: Copy) -> Pruned:
    holder, by = f"{socket.gethostname()}:{os.getpid()}", getpass.getuser()
    which = (copy.run_key, copy.version, copy.place, copy.path)
    try:
        done = act(beamline, *which, holder=holder, by=by, reason="pruned from the command line")
    except (RefusedError, CopyError) as error:
        return Pruned(copy, refused=str(error))
    kept = "; ".join(f"{path}: {why}" for path, why in done.kept)
    return Pruned(done.copy, done.files, done.size_bytes, kept)


def _copy(beamline: OpenBeamline, run_key: str, version: int, place: str, path: str) -> Copy:
    copies = beamline.ledger.copies(beamline.name, run_key, version)
    copy = next((one for one in copies if (one.place, one.path) == (place, path)), None)
    if copy is None:
        raise NotFoundError(
            f"no copy at {place}:{path}", where=f"{beamline.name}/{run_key}/v{version}", remedy="Look at its copies"
        )
    return copy


def _with_all(
    act: Callable[..., Removed], beamline: OpenBeamline, copy: Copy, holder: str, by: str, reason: str
) -> Removed:
    settings = beamline.settings.retention.get(copy.place)
    places: dict[str, Place] = {name: beamline.place(name) for name in beamline.settings.places}
    return act(
        beamline.ledger,
        copy,
        places,
        settings.rule if settings else None,
        catalogued=_catalogued_now(beamline, copy, settings),
        holder=holder,
        by=by,
        reason=reason,
    )


def _refuse_beyond_limit(beamline: OpenBeamline, copy: Copy, retention: Retention) -> None:
    """Refuse one removal more than the limits of a day allow, whoever asks for it and however."""
    ledger, name = beamline.ledger, beamline.name
    removed = ledger.removed_since(name, copy.place, ledger.clock() - DAY)
    if (copy.run_key, copy.version, copy.path) in removed:
        return  # begun before: it is counted already
    approved = frozenset[str]().union(*(word.items for word in ledger.approvals(name, copy.place)))
    copies = ledger.count_copies(name, copy.place, after=ledger.clock()).copies
    limit = limit_of(retention, copies, [item(copy)], removed, approved)
    if limit.beyond:
        raise RemovalRefusedError(
            f"{limit.gone} copies went from {copy.place} in the last day, and no more than {limit.at_most} may go "
            "without a person's word",
            where=f"{name}/{copy.run_key}/v{copy.version} in {copy.place}",
            remedy=f"`xpcs-assets prune {name}` says how to give it",
        )
