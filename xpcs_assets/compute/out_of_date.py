"""Which runs show a result that would be another if it were made now: another q-map, recipe, engine or raw data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.analyse import correlate_settings, plan
from xpcs_assets.compute.believe import digest_of
from xpcs_assets.compute.choose_qmap import choose_qmap
from xpcs_assets.compute.choose_recipe import ChosenRecipe, choose_recipe, why_skipped
from xpcs_assets.compute.qmap_registry import recorded_time
from xpcs_assets.errors import XpcsAssetsError
from xpcs_assets.runs.recipe import Recipe

if TYPE_CHECKING:
    from xpcs_assets.copies.ledger import Result, RunVersion


@dataclass(frozen=True)
class OutOfDate:
    """A run whose promoted result is not what its plain key would have now.

    Attributes
    ----------
    run_key
        The run.
    differs
        In what; empty where it cannot be told.
    reason
        Which q-map, for instance; or why it cannot be told.
    made_of, wanted
        Digest of the result's recipe, empty where a rule had none made, and of that of now, empty where it cannot be
        told or nothing would be made.
    """

    run_key: str
    differs: tuple[str, ...]
    reason: str
    made_of: str
    wanted: str = ""


def out_of_date(beamline: OpenBeamline, run_key: str = "") -> Iterator[OutOfDate]:
    """The runs of a beamline that show an old result or of which that cannot be told, the last taken first.

    Each run is looked at when it is asked for: its q-map is read. With ``run_key`` only that one is.

    Raises
    ------
    NotFoundError
        The beamline only keeps data, or the run was never taken.
    """
    correlate_settings(beamline)
    for version in [beamline.latest(run_key)] if run_key else beamline.ledger.runs(beamline.name):
        results = beamline.ledger.results(beamline.name, version.run_key)
        shown = next((result for result in results if result.promoted), None)
        skipped = why_skipped(beamline, version) if shown is None else ""
        if shown is None and not skipped:
            continue
        try:
            found = _look(beamline, version, shown, skipped)
        except XpcsAssetsError as error:
            found = OutOfDate(version.run_key, (), str(error), shown.recipe_digest if shown is not None else "")
        if found is not None:
            yield found


def _look(beamline: OpenBeamline, version: RunVersion, shown: Result | None, skipped: str) -> OutOfDate | None:
    """How a run that shows a result, or shows none since a rule had it skipped, is out of date; None when it is not."""
    chosen = choose_recipe(beamline, correlate_settings(beamline), version)
    made_of = shown.recipe_digest if shown is not None else ""
    if chosen.skip:
        told = f"it would not be correlated now: {chosen.told}"
        return OutOfDate(version.run_key, (), told, made_of) if shown is not None else None
    now, qmap = _recipe_of_now(beamline, version, chosen)
    if shown is None:
        told = f"it was not correlated ({skipped}), and would be now: {chosen.told}"
        return OutOfDate(version.run_key, ("recipe",), told, made_of, now.digest)
    if (now.digest, version.version) == (shown.recipe_digest, shown.version):
        return None
    differs, reason = _told(now, chosen, qmap, version, shown)
    return OutOfDate(version.run_key, differs, reason, made_of, now.digest)


def _recipe_of_now(beamline: OpenBeamline, version: RunVersion, own: ChosenRecipe) -> tuple[Recipe, str]:
    """The recipe that a run would be analysed with, and its q-map in words."""
    folder = beamline.staged(version)
    if all((folder.raw / entry.path).exists() for entry in version.manifest.files):
        planned = plan(beamline, version.run_key, own.settings)
        return planned.recipe, planned.inputs.qmap_from or planned.inputs.qmap.name
    from xpcs_assets.engine.version import ENGINE

    chosen = choose_qmap(beamline, own.qmap, version, lambda: recorded_time(version, folder.record))
    settings = own.settings.with_files(beamline.site.path)
    return Recipe.of(settings, chosen.digest or digest_of(chosen.path), ENGINE), chosen.told or chosen.path.name


def _told(now: Recipe, own: ChosenRecipe, qmap: str, version: RunVersion, shown: Result) -> tuple[tuple[str, ...], str]:
    """In what a result differs, and in words."""
    recipe, told = shown.report["recipe"], []
    if version.version != shown.version:
        told.append(("raw data", f"the result is of v{shown.version}, the run is at v{version.version}"))
    if recipe["qmap_digest"] != now.qmap_digest:
        told.append(("q-map", f"now {qmap}"))
    if recipe["engine"] != now.engine:
        told.append(("engine", f"now {now.engine}, the result's is {recipe['engine']}"))
    if not told:
        told.append(("recipe", f"other settings, by {own.rule}" if own.rule else "other settings"))
    return tuple(what for what, _ in told), "; ".join(text for _, text in told)
