"""Write the result file: the layout of APS 8-ID's engine, with NXxpcs links and full provenance in the same file.

The whole file is made in memory, hashed, and put under its name in one step; the same input gives the same bytes
apart from the times in its provenance.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine.saxs import Scattering
from xpcs_assets.engine.select import Selection
from xpcs_assets.errors import CopyError, MetadataError, NoRoomError
from xpcs_assets.qmaps.qmap import Qmap, copy_qmap
from xpcs_assets.readers.h5copy import copy_facts
from xpcs_assets.readers.h5file import damage, open_hdf5
from xpcs_assets.readers.metadata import COUNT_TIME, ENERGY, FRAME_TIME, START_TIME, Acquisition
from xpcs_assets.results.h5write import put
from xpcs_assets.results.result import MASK_USED
from xpcs_assets.results.write_multitau import MultitauContent, put_multitau
from xpcs_assets.runs.folders import PARTIAL_SUFFIX
from xpcs_assets.runs.recipe import Recipe

if TYPE_CHECKING:
    from xpcs_assets.engine.twotime import TwoTime

_LINKS = {
    "/entry/data/g2": "/xpcs/multitau/normalized_g2",
    "/entry/data/g2_derr": "/xpcs/multitau/normalized_g2_err",
    "/entry/data/delay_difference": "/xpcs/multitau/delay_list",
    "/entry/data/frame_average": "/xpcs/temporal_mean/scattering_2d",
    "/entry/data/frame_sum": "/xpcs/spatial_mean/intensity_vs_time",
    "/entry/instrument/masks/dynamic_roi_map": "/xpcs/qmap/dynamic_roi_map",
    "/entry/instrument/masks/static_roi_map": "/xpcs/qmap/static_roi_map",
    "/entry/instrument/masks/mask": "/xpcs/qmap/mask",
    "/entry/instrument/masks/dynamic_q_list": "/xpcs/qmap/dynamic_v_list_dim0",
    "/entry/instrument/masks/static_q_list": "/xpcs/qmap/static_v_list_dim0",
}


@dataclass(frozen=True)
class ResultContent:
    """What goes into a result file.

    Attributes
    ----------
    recipe, selection
        What was asked for.
    multitau, twotime, scattering
        What came out; None for what was not asked for.
    acquisition
        How the run was taken; fills what the metadata file lacks for the viewer.
    metadata, qmap_file
        Files that are copied in: the whole metadata file if it is a companion in HDF5, and the q-map.
    qmap
        The q-map as it was read, with what an old file does not say filled in.
    mask
        (rows, columns) bool, the pixels that counted.
    raw_names, output_name
        Names of the files, without folders.
    provenance
        Engine, versions, digests of the inputs, device, seconds: plain values.
    """

    recipe: Recipe
    selection: Selection
    multitau: MultitauContent | None
    twotime: TwoTime | None
    scattering: Scattering
    acquisition: Acquisition
    metadata: Path
    qmap_file: Path
    qmap: Qmap
    mask: NDArray[np.bool_]
    raw_names: tuple[str, ...]
    output_name: str
    provenance: Mapping[str, Any]


def result_bytes(content: ResultContent) -> bytes | memoryview:
    """Make the file's bytes.

    Raises
    ------
    MetadataError, QmapError
        The metadata or q-map file cannot be copied.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        _copy_metadata(file, content)
        copy_qmap(content.qmap_file, file.require_group("xpcs"), content.qmap)
        if not np.array_equal(content.mask, file["/xpcs/qmap/mask"][()] > 0):
            put(file, MASK_USED, content.mask)
        if content.multitau is not None:
            put_multitau(file, content.multitau, content.recipe.settings.error_rule)
            _put_config(file, content, "multitau")
        if content.twotime is not None:
            from xpcs_assets.results.write_twotime import put_twotime

            put_twotime(file, content.twotime)
            _put_config(file, content, "twotime", content.twotime.width)
        _write_scattering(file, content.scattering)
        put(file, "/xpcs/rawdata_path", ", ".join(content.raw_names))
        put(file, "/xpcs/provenance/recipe", json.dumps(content.recipe.to_dict(), sort_keys=True))
        put(file, "/xpcs/provenance/recipe_digest", content.recipe.digest)
        put(file, "/xpcs/provenance/report", json.dumps(content.provenance, sort_keys=True))
        _link(file)
    # A view: a file with every pixel's G2 is large.
    return buffer.getbuffer()


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Put ``content`` under ``path``: partial name, fsync, rename, fsync of the folder.

    Raises
    ------
    NoRoomError
        The disk or quota is full.
    CopyError
        The folder cannot be written. Nothing is left under either name in both cases.
    """
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoRoomError("the disk is full", where=path, remedy="Make room and correlate again") from error
        raise CopyError(
            f"the result cannot be written ({error.strerror})", where=path, remedy="Check the folder's permissions"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _copy_metadata(file: h5py.File, content: ResultContent) -> None:
    path, taken = content.metadata, content.acquisition
    # A sidecar is no HDF5 file, and a raw file that tells of itself holds the frames too.
    if path.name in content.raw_names and h5py.is_hdf5(path):
        copy_facts(path, file)
    elif h5py.is_hdf5(path):
        _copy_companion(file, path)
    # What the viewer will not open a file without.
    _put_missing(file, FRAME_TIME[0], taken.frame_time_s)
    _put_missing(file, COUNT_TIME[0], taken.count_time_s)
    _put_missing(file, START_TIME[0], taken.start_time or "unknown")
    _put_missing(file, ENERGY[0], np.nan if taken.energy_kev is None else taken.energy_kev)


def _copy_companion(file: h5py.File, path: Path) -> None:
    remedy = "Copy the metadata file anew"
    with open_hdf5(path, MetadataError, remedy) as source, damage(path, "it cannot be copied", MetadataError, remedy):
        for name in source:
            if name != "xpcs":
                source.copy(name, file, name)
        for name, value in source.attrs.items():
            file.attrs[name] = value


def _put_config(file: h5py.File, content: ResultContent, kind: str, width: int = 1) -> None:
    """Write the settings; ``width`` analysed frames are summed further into one."""
    settings = content.recipe.settings
    config: dict[str, str | int | float | bool] = {
        "analysis_type": settings.analysis_type,
        "avg_frame": settings.average * width,
        "begin_frame": content.selection.begin,
        "crop_ratio_threshold": 1.0,
        "delays_per_level": settings.delays_per_level,
        "dq_selection": settings.dynamic_bins,
        "empty_bins": settings.empty_bins,
        "end_frame": content.selection.read_end,
        "error_rule": settings.error_rule,
        "gpu_id": -1 if content.provenance.get("device") == "cpu" else 0,
        "normalize_frame": settings.normalize == "frame",
        "num_partial_g2": settings.partial_g2,
        "output": content.output_name,
        "qmap": content.qmap_file.name,
        "raw": ", ".join(content.raw_names),
        "save_G2": settings.save_g2,
        "scheme": settings.scheme,
        "smooth": settings.smoothing if kind == "twotime" else "none",
        "stride_frame": settings.stride,
    }
    for name, value in config.items():
        put(file, f"/xpcs/{kind}/config/{name}", value)


def _write_scattering(file: h5py.File, scattering: Scattering) -> None:
    pattern = np.nan_to_num(scattering.pattern, nan=0.0)
    qmap = file["/xpcs/qmap"]
    blemish = qmap["blemish"] if "blemish" in qmap else qmap["mask"]
    intensity = np.stack([np.arange(len(scattering.intensity)), scattering.intensity])
    put(file, "/xpcs/temporal_mean/scattering_2d", (pattern * (blemish[()] > 0))[None].astype(np.float32))
    put(file, "/xpcs/temporal_mean/saturated_pixels", np.flatnonzero(np.isnan(scattering.pattern)).astype(np.int64))
    put(file, "/xpcs/temporal_mean/scattering_1d", scattering.static[None].astype(np.float32))
    put(file, "/xpcs/temporal_mean/scattering_1d_segments", scattering.segments.astype(np.float32))
    put(file, "/xpcs/spatial_mean/intensity_vs_time", intensity.astype(np.float32))


def _link(file: h5py.File) -> None:
    """Give the NXxpcs names to what lies in the 8-ID layout, where the metadata file has left them free."""
    for name, target in _LINKS.items():
        parent, leaf = name.rsplit("/", 1)
        if isinstance(file.get(parent, default=None), h5py.Dataset):
            continue
        if parent not in file:
            file.create_group(parent).attrs["NX_class"] = "NXdata" if parent.endswith("data") else "NXcollection"
        if leaf not in file[parent]:
            file[parent][leaf] = h5py.SoftLink(target)


def _put_missing(file: h5py.File, name: str, value: str | float) -> None:
    if not isinstance(file.get(name), h5py.Dataset):
        if name in file:
            del file[name]
        put(file, name, value)
