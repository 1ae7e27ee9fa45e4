"""What failed and is still failed, and asking for it once more: the failed assets of a run and those behind them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.campaign.campaign import names
from xpcs_assets.campaign.choosing import chosen
from xpcs_assets.copies.lately import failed_since
from xpcs_assets.follow import ASKED, RunState, behind, state_of, steps_of
from xpcs_assets.orchestrate.launch import launch
from xpcs_assets.reprocess import run_config
from xpcs_assets.runs.key import split_analysis_key
from xpcs_assets.runs.selection import Selection

STEP = "retry"
_BY_ITSELF = "archive"
"""It is tried again by its own sensor, with growing pauses."""


@dataclass(frozen=True)
class Failure:
    """A run, or a reprocessing of one, of which a step has failed.

    Attributes
    ----------
    key, run_key
        Its partition key, and of which run it is.
    at
        When it failed.
    assets
        What is asked for: what failed and what stands behind that.
    config
        What of the recipe is not the beamline's own.
    reason
        Why it failed.
    left
        Why it is not asked for; empty when it is.
    """

    key: str
    run_key: str
    at: datetime
    assets: tuple[str, ...]
    config: Mapping[str, Any]
    reason: str
    left: str


def failures(
    beamline: OpenBeamline,
    selection: Selection,
    *,
    keys: Collection[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
) -> tuple[Failure, ...]:
    """What is failed now, the first failure first.

    Parameters
    ----------
    keys
        These alone, by their partition keys; they are asked for though they were asked for before.
    since, until
        Only what failed in that time.

    Raises
    ------
    SettingsError
        The paths have no field of the selection.
    NotFoundError
        A key was named that nobody knows.
    """
    meant = set(chosen(beamline, selection))
    asked_for = keys or failed_since(beamline.engine, beamline.name, since)
    found = []
    for key in asked_for:
        run_key = split_analysis_key(key)[0]
        if run_key not in meant and not keys:
            continue
        failure = _failure(beamline, key, state_of(beamline, key), named=bool(keys))
        if failure is not None and _is_between(failure.at, since, until):
            found.append(failure)
    return tuple(found)


def ask_again(beamline: OpenBeamline, failure: Failure) -> str:
    """Launch the failed assets of a key, and those behind them, on the running site; the Dagster run's id.

    Raises
    ------
    ComputeError
        The site is not running.
    """
    run = launch(
        beamline.site,
        f"{beamline.settings.dagster_name}_runs",
        failure.key,
        [(beamline.name, asset) for asset in failure.assets],
        run_config(beamline, failure.config) if beamline.settings.pipeline.analysis in failure.assets else {},
    )
    detail = {"partition": failure.key, "assets": list(failure.assets), "dagster_run": run}
    beamline.ledger.note(beamline.name, failure.run_key, STEP, f"{ASKED} again: {', '.join(failure.assets)}", detail)
    return run


def _failure(beamline: OpenBeamline, key: str, state: RunState, *, named: bool) -> Failure | None:
    if not state.failed:
        return None
    steps = steps_of(beamline, key)
    hopeless = {each for step in state.failed for each in (step.asset, *behind(step.asset, steps))}
    at = max(step.at or beamline.ledger.clock() for step in state.failed)
    assets = tuple(step for step in steps if step in hopeless and step != _BY_ITSELF)
    run_key, name = split_analysis_key(key)
    config = _config(state, key)
    if not assets:
        left = "the archive is tried again by itself"
    elif name is not None and config is None:
        of = f"`xpcs-assets campaigns {beamline.name} {name} --retry`" if name in names(beamline) else "the Dagster UI"
        left = f"its settings are not known here: ask for it by {of}"
    else:
        asked = [event.at for event in state.timeline if event.step == STEP and event.detail.get("partition") == key]
        left = f"it was asked for at {asked[-1]:%Y-%m-%d %H:%M} UTC" if asked and asked[-1] > at and not named else ""
    return Failure(key, run_key, at, assets, config or {}, state.reason, left)


def _config(state: RunState, key: str) -> Mapping[str, Any] | None:
    """The settings that a person gave this key, the last time; None where nobody said any."""
    told = [event for event in state.timeline if event.detail.get("partition") == key and "settings" in event.detail]
    settings: Mapping[str, Any] | None = told[-1].detail["settings"] if told else None
    return settings


def _is_between(at: datetime, since: datetime | None, until: datetime | None) -> bool:
    return (since is None or at >= since) and (until is None or at < until)
