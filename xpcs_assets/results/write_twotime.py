"""Write two-time correlation into a result file: the layout of APS 8-ID's engine, and what it has no place for.

As there, ``/xpcs/twotime`` holds ``correlation_map/c2_00001``.. (upper triangles, numbered in the order of
``processed_bins``), ``normalized_g2`` by lag from 0, ``normalized_g2_segments`` and ``config``. Undefined values are 0
in these: the viewer draws nothing of a map that holds NaN. Beside them lie ``defined`` (which frames of the maps are),
``normalized_g2_err``, ``n_pairs``, ``frames_per_bin`` (analysed frames in a frame of the maps), ``n_saturated`` and
``counts_per_static_bin`` (of each bin, mean in an analysed frame).

Of a multi-tau map there is a group ``multitau/level_00``.. for each level with ``c2`` (bins, frames, lags; NaN where
undefined), ``g2``, ``g2_err``, ``n_pairs`` and the attributes ``frames_per_bin`` and ``first_lag``; in its config,
``avg_frame`` counts the frames that are summed for the map. (xpcs-viewer 1.2.2 works out the maps' frame time from it,
but draws them with that of multi-tau or of the detector: too short by ``frames_per_bin`` or by stride x average.)
"""

from __future__ import annotations

from pathlib import PurePosixPath

import h5py
import numpy as np

from xpcs_assets.engine.twotime import TwoTime, TwoTimeLevel
from xpcs_assets.results.h5write import defined, put

GROUP = "/xpcs/twotime"


def put_twotime(file: h5py.File, twotime: TwoTime) -> None:
    """Write it under ``/xpcs/twotime``, but for ``config``."""
    for number, c2 in enumerate(twotime.maps, start=1):
        name = f"{GROUP}/correlation_map/c2_{number:05d}"
        file.create_dataset(name, data=np.nan_to_num(c2), compression="lzf", shuffle=True, chunks=_strips(c2.shape))
    put(file, f"{GROUP}/processed_bins", twotime.bins.astype(np.int32))
    put(file, f"{GROUP}/normalized_g2", defined(twotime.g2, 0.0))
    put(file, f"{GROUP}/normalized_g2_err", defined(twotime.error, np.inf))
    put(file, f"{GROUP}/normalized_g2_segments", defined(twotime.segments, 0.0))
    put(file, f"{GROUP}/n_pairs", twotime.n_pairs)
    put(file, f"{GROUP}/defined", twotime.defined)
    put(file, f"{GROUP}/frames_per_bin", twotime.width)
    put(file, f"{GROUP}/n_saturated", twotime.n_saturated)
    put(file, f"{GROUP}/counts_per_static_bin", twotime.counts)
    for number, level in enumerate(twotime.levels):
        _put_level(file, PurePosixPath(GROUP, "multitau", f"level_{number:02d}"), level)


def _put_level(file: h5py.File, group: PurePosixPath, level: TwoTimeLevel) -> None:
    attributes = file.create_group(str(group)).attrs
    attributes["frames_per_bin"] = level.width
    attributes["first_lag"] = level.first_lag
    put(file, str(group / "c2"), level.c2)
    put(file, str(group / "g2"), level.g2.astype(np.float32))
    put(file, str(group / "g2_err"), level.error.astype(np.float32))
    put(file, str(group / "n_pairs"), level.n_pairs)


def _strips(shape: tuple[int, ...]) -> tuple[int, int]:
    """Chunks of whole rows near a megabyte: a map is read whole, its empty half compresses to nothing."""
    return max(1, min(shape[0], (1 << 18) // max(shape[1], 1))), shape[1]
