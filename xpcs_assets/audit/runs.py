"""Comparing what was done with the runs: never taken, in no catalog, or with a result that is another recipe's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select

from xpcs_assets.arrive.candidates import find
from xpcs_assets.arrive.source import source_of
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.catalog.delivery import outbox_of, reach_of
from xpcs_assets.catalog.documents import derived_pid, raw_pid
from xpcs_assets.catalog.outbox import Entry, EntryState
from xpcs_assets.catalog.tables import RecordRow
from xpcs_assets.copies.database import reading
from xpcs_assets.copies.ledger import CopyState, FindingKind, Result
from xpcs_assets.copies.standing import newest_results, standing, versions_known
from xpcs_assets.errors import CopyError, InputError, ResultError

SETTLES_S = 3600.0
"""So long a run or a result may be on its way before anything about it is odd, s."""
UNTOLD_AFTER = timedelta(days=1)
"""So long a dataset may wait for a catalog outside the site: one that is down for a night is no finding."""
NAMED = 100
"""Of the datasets that a catalog was not told of, so many are named; as many of those that it refused."""
RECIPE = "/xpcs/provenance/recipe"
_KINDS = (FindingKind.UNTAKEN, FindingKind.UNCATALOGUED, FindingKind.UNTOLD, FindingKind.RESULT_DIFFERS)
_STAGED = frozenset({CopyState.PRESENT, CopyState.REMOVED, CopyState.IN_TRASH})


def compare_runs(beamline: OpenBeamline) -> str:
    """Write findings about runs and results; why the runs' source could not be asked, or empty."""
    began_at = beamline.ledger.clock()
    _compare_catalog(beamline)
    _compare_outbox(beamline)
    _compare_results(beamline)
    unavailable = _compare_source(beamline)
    kinds = [kind for kind in _KINDS if not (unavailable and kind is FindingKind.UNTAKEN)]
    beamline.ledger.close_findings(beamline.name, kinds, seen_before=began_at)
    return unavailable


def _compare_source(beamline: OpenBeamline) -> str:
    """Runs that lie at the source and were never taken."""
    place, source = beamline.settings.runs.source.watch, source_of(beamline)
    if reason := beamline.place(place).why_unavailable():
        return reason
    taken = {run_key for run_key, _ in versions_known(beamline.engine, beamline.name)}
    when = beamline.settings.runs.source.complete_when
    try:
        for candidate in find(beamline.settings, source.root, source.tree()):
            if candidate.reason or candidate.key in taken:
                continue
            arrival = beamline.ledger.arrival(beamline.name, candidate.key)
            told = f"{arrival.state}: {arrival.reason}" if arrival is not None else "nobody has seen it arrive"
            beamline.ledger.see_finding(
                beamline.name,
                FindingKind.UNTAKEN,
                place=place,
                path=candidate.source,
                run_key=candidate.key,
                reason=told,
                open_after_s=max(SETTLES_S, when.give_up_after),
            )
    except OSError as error:
        return f"the watched folder cannot be listed: {error.strerror}"
    except CopyError as error:
        return error.what
    return ""


def _compare_catalog(beamline: OpenBeamline) -> None:
    """Staged versions and results without a record in the catalog."""
    with reading(beamline.engine) as session:
        pids = frozenset(session.scalars(select(RecordRow.pid).where(RecordRow.beamline == beamline.name)))
    for pid, run_key, version in _to_be_catalogued(beamline):
        if pid not in pids:
            beamline.ledger.see_finding(
                beamline.name,
                FindingKind.UNCATALOGUED,
                path=pid,
                run_key=run_key,
                version=version,
                reason="the catalog has no record of it",
            )


def _compare_outbox(beamline: OpenBeamline) -> None:
    """Datasets that a catalog outside the site refused, or that have waited for it for long; each of them once."""
    for catalog in beamline.settings.pipeline.told:
        untold: dict[str, tuple[Entry, str]] = {}
        for entry, reason in _untold(beamline, catalog):
            untold.setdefault(entry.pid, (entry, reason))
        for pid, (entry, reason) in untold.items():
            beamline.ledger.see_finding(
                beamline.name,
                FindingKind.UNTOLD,
                place=catalog,
                path=pid,
                run_key=entry.run_key,
                version=entry.version,
                reason=reason,
            )


def _untold(beamline: OpenBeamline, catalog: str) -> Iterator[tuple[Entry, str]]:
    outbox, silent = outbox_of(beamline), reach_of(beamline).of(catalog)
    for entry in outbox.entries(beamline.name, catalog=catalog, state=EntryState.PARKED, limit=NAMED):
        yield entry, f"it is refused: {entry.error}"
    long_ago = outbox.clock() - UNTOLD_AFTER
    why = "it is not told" if silent is None or silent.down_since is None else silent.error
    for entry in outbox.entries(beamline.name, catalog=catalog, state=EntryState.WAITING, limit=NAMED):
        if entry.wanted_at <= long_ago:
            yield entry, f"it waits since {entry.wanted_at:%Y-%m-%d %H:%M:%S} UTC: {entry.error or why}"


def _to_be_catalogued(beamline: OpenBeamline) -> Iterator[tuple[str, str, int]]:
    long_ago = beamline.ledger.clock() - timedelta(seconds=SETTLES_S)
    staged = standing(beamline.engine, beamline.name, beamline.settings.pipeline.stage.to, states=_STAGED)
    for copy in [item.copy for item in staged]:
        if copy.recorded_at <= long_ago:
            yield raw_pid(beamline.name, copy.run_key, copy.version), copy.run_key, copy.version
    for result in newest_results(beamline.engine, beamline.name):
        if result.recorded_at <= long_ago:
            folder = Path(result.path).parent.name
            yield (
                derived_pid(beamline.name, result.analysis_key, result.version, folder),
                result.run_key,
                result.version,
            )


def _compare_results(beamline: OpenBeamline) -> None:
    """Result files that are gone, do not open, or were made of another q-map, recipe or engine than is recorded."""
    place = beamline.settings.pipeline.stage.to
    if beamline.place(place).why_unavailable():
        return
    for result in newest_results(beamline.engine, beamline.name):
        reason = why_result_differs(beamline, result)
        if reason:
            beamline.ledger.see_finding(
                beamline.name,
                FindingKind.RESULT_DIFFERS,
                place=place,
                path=result.path,
                run_key=result.run_key,
                version=result.version,
                reason=reason,
            )


def why_result_differs(beamline: OpenBeamline, result: Result) -> str:
    """Why the file of a result is not what the ledger says, by the fingerprint inside; empty when it is."""
    from xpcs_assets.readers.h5file import open_hdf5
    from xpcs_assets.runs.recipe import Recipe

    path = beamline.result_path(result)
    try:
        with open_hdf5(path, ResultError, "Correlate the run again") as file:
            text = file[RECIPE][()]
            recipe = Recipe.from_dict(json.loads(text))
    except (InputError, OSError) as error:
        return f"it does not open: {error}"
    except (KeyError, TypeError, ValueError) as error:
        return f"it does not say what it was made of ({error!r})"
    if recipe.digest == result.recipe_digest:
        return ""
    recorded = result.report.get("recipe", {})
    for word, found, wanted in (
        ("q-map", recipe.qmap_digest, recorded.get("qmap_digest")),
        ("engine", recipe.engine, recorded.get("engine")),
    ):
        if wanted is not None and found != wanted:
            return f"it was made with {word} {found}, and the ledger says {wanted}: do not take it for current"
    return f"it was made by recipe {recipe.digest}, and the ledger says {result.recipe_digest}"
