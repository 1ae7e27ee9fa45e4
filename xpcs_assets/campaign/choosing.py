"""Choosing the members of a campaign among the runs that were taken."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from xpcs_assets.arrive.candidates import fields_of
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import RunVersion
from xpcs_assets.runs.selection import Selection
from xpcs_assets.settings import FIELD


def groups_by(beamline: OpenBeamline, name: str, keys: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Runs by a field of their paths: its values in their order, each with its runs.

    Raises
    ------
    SettingsError
        The paths have no such field.
    """
    Selection({name: ""}).refuse_unknown(FIELD.findall(beamline.settings.runs.source.path), beamline.name)
    found: dict[str, list[str]] = {}
    for key in keys:
        value = fields_of(beamline.settings, beamline.latest(key).source)[name]
        found.setdefault(value, []).append(key)
    return {value: tuple(found[value]) for value in sorted(found)}


def chosen(beamline: OpenBeamline, selection: Selection) -> tuple[str, ...]:
    """The keys of the runs that are meant, by the names of their paths, whether their sources are still there or not.

    Raises
    ------
    SettingsError
        The paths have no such field.
    """
    selection.refuse_unknown(FIELD.findall(beamline.settings.runs.source.path), beamline.name)

    def told(run: RunVersion) -> tuple[str, str, dict[str, str]]:
        return run.source, PurePosixPath(run.source).name, fields_of(beamline.settings, run.source)

    runs = sorted(beamline.ledger.runs(beamline.name), key=lambda run: run.source)
    return tuple(run.run_key for run in selection.among(runs, told))
