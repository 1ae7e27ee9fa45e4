"""Ask the running site for the average of some runs."""

from __future__ import annotations

from xpcs_assets.average.run_set import RunSet, check, record
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.orchestrate.launch import launch

PARTITIONS = "run_sets"


def ask_for(beamline: OpenBeamline, run_set: RunSet) -> str:
    """Record the set and launch its average; the Dagster run's id.

    Raises
    ------
    RefusedError
        This can be no set.
    NotFoundError
        A member was never taken, or has no result.
    ComputeError
        The site is not running.
    """
    check(beamline, run_set)
    record(beamline, run_set)
    partitions = f"{beamline.settings.dagster_name}_{PARTITIONS}"
    return launch(beamline.site, partitions, run_set.name, [(beamline.name, "average")], {})
