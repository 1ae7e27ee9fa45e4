"""Ask for an analysis of a run: with another recipe under a name of its own, or once more with the beamline's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.analyse import correlate_settings
from xpcs_assets.compute.choose_recipe import choose_recipe
from xpcs_assets.errors import CorrelationError, QmapError, RefusedError
from xpcs_assets.follow import ASKED, steps_of
from xpcs_assets.orchestrate.launch import launch
from xpcs_assets.process.processing import MAY_BE_ASKED, check_asked
from xpcs_assets.runs.key import analysis_key
from xpcs_assets.runs.recipe import AnalysisSettings

Setting = str | int | float | bool

# A run's own: it follows from the data, not from a scientist's wish.
_FIXED = frozenset({"frames"})
_RECIPE = {item.name: item.default for item in fields(AnalysisSettings) if item.name not in _FIXED}


@dataclass(frozen=True)
class Asking:
    """An analysis that may be asked for.

    Attributes
    ----------
    run_key, key
        Of which run, and the analysis key it will have.
    assets
        What is made.
    config
        What of the recipe, or of what a command is told, is not the beamline's own.
    """

    run_key: str
    key: str
    assets: tuple[str, ...]
    config: Mapping[str, Setting]


def with_another_recipe(
    beamline: OpenBeamline, run_key: str, name: str, qmap: Path | None, changes: Sequence[str]
) -> Asking:
    """An analysis with another recipe under a name of its own.

    Parameters
    ----------
    changes
        ``key=value`` of :class:`~xpcs_assets.runs.recipe.AnalysisSettings`, or ``target`` and ``context`` where a
        command is the analysis; what is not named is as the run's own.

    Raises
    ------
    NotFoundError
        The run was never taken.
    RefusedError
        A setting is unknown, nothing would be different, or it makes no analysis.
    QmapError
        The q-map is not there.
    """
    config = config_for(beamline, run_key, config_of(beamline, qmap, changes))
    return _asking(beamline, run_key, analysis_key(run_key, name), config)


def once_more(beamline: OpenBeamline, run_key: str) -> Asking:
    """The beamline's own analysis of a run again: its plain key then shows what the recipe of now gives.

    Raises
    ------
    NotFoundError
        The run was never taken, or the beamline only keeps data.
    RefusedError
        The key is that of a reprocessing.
    """
    beamline.plain_key_only(run_key, "the beamline's own analysis")
    beamline.latest(run_key)
    if beamline.settings.pipeline.process is None:
        correlate_settings(beamline)
    return _asking(beamline, run_key, run_key, {})


def ask(beamline: OpenBeamline, wanted: Asking) -> str:
    """Launch an analysis on the running site; its analysis key.

    Raises
    ------
    ComputeError
        The site is not running.
    """
    run = launch(
        beamline.site,
        f"{beamline.settings.dagster_name}_runs",
        wanted.key,
        [(beamline.name, asset) for asset in wanted.assets],
        run_config(beamline, wanted.config),
    )
    detail = {"partition": wanted.key, "settings": dict(wanted.config), "dagster_run": run}
    beamline.ledger.note(beamline.name, wanted.run_key, "reprocess", f"{ASKED} as {wanted.key}", detail)
    return wanted.key


def _asking(beamline: OpenBeamline, run_key: str, key: str, config: Mapping[str, Setting]) -> Asking:
    return Asking(run_key, key, steps_of(beamline, analysis_key(run_key, "any")), config)


def config_of(beamline: OpenBeamline, qmap: Path | None, changes: Sequence[str]) -> dict[str, Setting]:
    """What a person asked for, as correlation takes it.

    Raises
    ------
    RefusedError
        A setting is unknown, nothing would be different, or it makes no analysis.
    QmapError
        The q-map is not there.
    """
    if qmap is not None and not qmap.is_file():
        raise QmapError("the q-map is not there", where=qmap, remedy="Name a file that is")
    if beamline.settings.pipeline.process is not None:
        return _of_command(beamline, qmap, changes)
    config: dict[str, Setting] = dict(_setting(change, _RECIPE) for change in changes)
    _check(beamline, config)
    if qmap is not None:
        config["qmap"] = str(qmap.resolve())
    if not config:
        raise RefusedError("nothing would be different", where=beamline.name, remedy="Give --qmap or --set key=value")
    return config


def _of_command(beamline: OpenBeamline, qmap: Path | None, changes: Sequence[str]) -> dict[str, Setting]:
    """What a person asked for, as a beamline's command takes it."""
    words = dict.fromkeys(MAY_BE_ASKED, "")
    asked = {name: str(value) for name, value in (_setting(change, words) for change in changes)}
    check_asked(beamline, asked)
    if qmap is not None or not asked:
        what = "a command has no q-map" if qmap is not None else "nothing would be different"
        raise RefusedError(what, where=beamline.name, remedy="Give --target or --context")
    return dict(asked)


def config_for(beamline: OpenBeamline, run_key: str, config: Mapping[str, Setting]) -> dict[str, Setting]:
    """The same for one run: what a rule says of it counts where the person says nothing.

    For a command nothing is added: the rules for its targets are asked when it is called.

    Raises
    ------
    NotFoundError
        The run was never taken, or what a rule asks for cannot be known.
    RefusedError
        Together they make no analysis.
    """
    if beamline.settings.pipeline.process is not None:
        beamline.latest(run_key)
        return dict(config)
    correlate = correlate_settings(beamline)
    chosen = choose_recipe(beamline, correlate, beamline.latest(run_key))
    own = correlate.settings
    by_rule: dict[str, Setting] = {
        item.name: getattr(chosen.settings, item.name)
        for item in fields(AnalysisSettings)
        if getattr(chosen.settings, item.name) != getattr(own, item.name)
    }
    wanted = by_rule | dict(config)
    _check(beamline, {name: value for name, value in wanted.items() if name != "qmap"})
    return wanted


def run_config(beamline: OpenBeamline, config: Mapping[str, Setting]) -> dict[str, Any]:
    """The run config of a Dagster run that analyses so."""
    asset = f"{beamline.settings.dagster_name}__{beamline.settings.pipeline.analysis}"
    return {"ops": {asset: {"config": dict(config)}}}


def _check(beamline: OpenBeamline, config: Mapping[str, Any]) -> None:
    try:
        replace(correlate_settings(beamline).settings, **config)
    except CorrelationError as error:
        raise RefusedError(error.what, where=beamline.name, remedy="Give --set another value") from error


def _setting(change: str, known: Mapping[str, Any]) -> tuple[str, Setting]:
    """One ``key=value`` with the type of its default in ``known``."""
    name, equals, value = change.partition("=")
    if not equals or name not in known:
        raise RefusedError(
            f"{change!r} sets nothing of a recipe", remedy=f"Write key=value with one of: {', '.join(known)}"
        )
    if isinstance(known[name], bool):
        if value not in ("true", "false"):
            raise RefusedError(f"{name} is true or false, not {value!r}", remedy=f"Write {name}=true")
        return name, value == "true"
    if isinstance(known[name], str):
        return name, value
    kind: type[int | float] = type(known[name])
    try:
        return name, kind(value)
    except ValueError as error:
        word = "whole number" if kind is int else "number"
        raise RefusedError(f"{name} is a {word}, not {value!r}", remedy=f"Write {name}=N") from error
