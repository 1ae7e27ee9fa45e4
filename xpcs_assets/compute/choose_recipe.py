"""Which recipe a run has at its beamline: that of the first rule that fits, or the beamline's own; or none at all.

Whatever asks for a run's own recipe asks here. A reprocessing says its recipe itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.facts import Facts
from xpcs_assets.copies.versions import RECIPE_STEP, SKIPPED
from xpcs_assets.runs.recipe import AnalysisSettings
from xpcs_assets.settings_correlate import Correlate, QmapSource

if TYPE_CHECKING:
    from xpcs_assets.copies.ledger import RunVersion

OWN = "the beamline's own"


@dataclass(frozen=True)
class ChosenRecipe:
    """The recipe of a run as the beamline file says.

    Attributes
    ----------
    settings, qmap
        Of which kind it is; the beamline's own where the run is not correlated.
    rule
        Which rule said so, in words; empty where none fits.
    skip
        Why the run is not correlated; empty where it is.
    lacking
        The rules that do not fit since something is not known of the run, in words.
    """

    settings: AnalysisSettings
    qmap: QmapSource
    rule: str = ""
    skip: str = ""
    lacking: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """All of it in words."""
        by = f"by {self.rule}" if self.rule else OWN
        chosen = f"{SKIPPED}{self.skip}, {by}" if self.skip else by
        return "; ".join((chosen, *self.lacking))


def choose_recipe(beamline: OpenBeamline, correlate: Correlate, version: RunVersion) -> ChosenRecipe:
    """Choose the recipe of a version of a run.

    Raises
    ------
    NotFoundError
        A rule asks for its metadata, and these are not there.
    """
    facts, lacking = Facts(beamline, version), []
    for number, rule in enumerate(correlate.rules, 1):
        does_fit, missing = facts.lacking(rule.when)
        if missing:
            lacking.append(f"rule {number} does not fit: {missing} is not known of the run")
        if not does_fit:
            continue
        qmap = rule.use.qmap if rule.use is not None and rule.use.qmap is not None else correlate.qmap
        settings = correlate.settings_by(rule)
        return ChosenRecipe(settings, qmap, f"rule {number} ({rule.told})", rule.skip, tuple(lacking))
    return ChosenRecipe(correlate.settings, correlate.qmap, lacking=tuple(lacking))


def note_choice(beamline: OpenBeamline, version: RunVersion, chosen: ChosenRecipe) -> None:
    """Write into the run's timeline what was chosen; the same again writes nothing, nor does what was no choice."""
    before = _last(beamline, version) or OWN
    if before == chosen.told:
        return
    detail = {"version": version.version, "rule": chosen.rule, "skip": chosen.skip, "lacking": list(chosen.lacking)}
    beamline.ledger.note(beamline.name, version.run_key, RECIPE_STEP, chosen.told, detail)


def why_skipped(beamline: OpenBeamline, version: RunVersion) -> str:
    """Why a version was not correlated when it was last asked for, in words; empty where it was to be."""
    said = _last(beamline, version)
    return said.removeprefix(SKIPPED) if said.startswith(SKIPPED) else ""


def _last(beamline: OpenBeamline, version: RunVersion) -> str:
    """The last line about a version; empty when there is none."""
    lines = reversed(beamline.ledger.timeline(beamline.name, version.run_key))
    mine = (line for line in lines if line.step == RECIPE_STEP and line.detail["version"] == version.version)
    return next((line.what for line in mine), "")
