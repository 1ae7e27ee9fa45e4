"""The engine's state in a result file, from which runs of one recipe are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from xpcs_assets.engine.delays import make_plan
from xpcs_assets.engine.multitau import Moments
from xpcs_assets.errors import ResultError
from xpcs_assets.readers.h5file import damage, open_hdf5
from xpcs_assets.results.result import open_result
from xpcs_assets.runs.recipe import selected_bins

GROUP = "/xpcs/multitau/moments"
_REMEDY = "Correlate the run again with this version"


def put_moments(file: h5py.File, moments: Sequence[Moments]) -> None:
    """Write the sums over the pixels of each static bin, (T, Ns, 11), and their pixels, (Ns,).

    Those of bursts are of two plans, one after the other, and have the pixels of the first.
    """
    group = file.create_group(GROUP)
    sums = np.concatenate([part.sums for part in moments])
    group.create_dataset("sums", data=sums, compression="gzip", compression_opts=4, shuffle=True)
    group.create_dataset("n_pixels", data=moments[0].n_pixels)
    group.create_dataset("n_saturated", data=moments[0].n_saturated)


def read_moments(path: str | Path) -> Moments:
    """Read the state of a multi-tau result with evenly spaced frames.

    Raises
    ------
    ResultError
        The file is no such result, was made without a state, or while the run was still being written.
    """
    path = Path(path)
    result = open_result(path)
    if not result.complete:
        raise ResultError("it was made while the run was still being written", where=path, remedy=_REMEDY)
    settings = result.recipe.settings
    plan = make_plan(result.intensity_vs_time.shape[1], settings.delays_per_level, settings.scheme)
    with open_hdf5(path, ResultError, _REMEDY) as file, damage(path, "it cannot be read", ResultError, _REMEDY):
        group = file.get(GROUP)
        if not isinstance(group, h5py.Group):
            raise ResultError("it holds no state to go on from", where=f"{path}:{GROUP}", remedy=_REMEDY)
        sums, n_pixels = np.asarray(group["sums"][()], np.float64), np.asarray(group["n_pixels"][()], np.int64)
        n_saturated = int(group["n_saturated"][()])
    if not np.array_equal(plan.delay, result.delay_frames) or sums.shape[0] != plan.n_delays:
        raise ResultError(
            "its delays are not those of evenly spaced frames", where=path, remedy="Bursts are not averaged"
        )
    used = result.mask & (result.dynamic_map > 0) & (result.static_map > 0)
    bins = selected_bins(settings.dynamic_bins)
    if bins:
        used &= np.isin(result.dynamic_map, bins)
    dynamic_of_static = np.full(len(n_pixels), -1, np.int64)
    dynamic_of_static[result.static_map[used] - 1] = result.dynamic_map[used] - 1
    return Moments(
        plan=plan,
        n_pairs=result.n_pairs,
        sums=sums,
        n_pixels=n_pixels,
        dynamic_of_static=dynamic_of_static,
        n_dynamic=int(result.dynamic_map.max(initial=0)),
        n_saturated=n_saturated,
    )
