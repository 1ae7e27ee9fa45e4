"""Which runs show a result that would be another if it were made now: another q-map, recipe, engine or raw data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.analyse import Planned, correlate_settings, plan
from xpcs_assets.errors import XpcsAssetsError


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
        Digest of the result's recipe and of that of now; the latter empty where it cannot be told.
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
    settings = correlate_settings(beamline).settings
    for version in [beamline.latest(run_key)] if run_key else beamline.ledger.runs(beamline.name):
        results = beamline.ledger.results(beamline.name, version.run_key)
        shown = next((result for result in results if result.promoted), None)
        if shown is None:
            continue
        try:
            now = plan(beamline, version.run_key, settings)
        except XpcsAssetsError as error:
            yield OutOfDate(version.run_key, (), str(error), shown.recipe_digest)
            continue
        if (now.recipe.digest, version.version) == (shown.recipe_digest, shown.version):
            continue
        differs, reason = _told(now, shown.report["recipe"], shown.version)
        yield OutOfDate(version.run_key, differs, reason, shown.recipe_digest, now.recipe.digest)


def _told(now: Planned, recipe: dict[str, str], version: int) -> tuple[tuple[str, ...], str]:
    """In what a result differs, and in words."""
    told = []
    if now.inputs.version.version != version:
        told.append(("raw data", f"the result is of v{version}, the run is at v{now.inputs.version.version}"))
    if recipe["qmap_digest"] != now.recipe.qmap_digest:
        told.append(("q-map", f"now {now.inputs.qmap_from or now.inputs.qmap.name}"))
    if recipe["engine"] != now.recipe.engine:
        told.append(("engine", f"now {now.recipe.engine}, the result's is {recipe['engine']}"))
    return tuple(what for what, _ in told) or ("recipe",), "; ".join(text for _, text in told) or "other settings"
