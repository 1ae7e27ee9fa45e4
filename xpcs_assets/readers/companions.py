"""What the files of a run are beside its raw data: told by their content, for names differ between beamlines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import h5py

from xpcs_assets.errors import MetadataError
from xpcs_assets.readers import bluesky
from xpcs_assets.readers.h5file import H5_ERRORS, open_hdf5
from xpcs_assets.readers.h5items import Items
from xpcs_assets.readers.recognise import has_frames

Kind = Literal["companion", "documents", "tree", "qmap", "result", "frames", ""]
"""Metadata of one of the known layouts, bluesky documents, any other HDF5 file, ..., and what is none of these."""

_LAYOUTS = ("/entry/instrument/detector_1", "/entry/instrument/incident_beam", "/measurement/instrument")
_QMAPS = ("/qmap/dynamic_roi_map", "/data/dynamicMap")
_RESULTS = ("/xpcs/multitau/normalized_g2", "/xpcs/twotime/correlation_map", "/exchange/norm-0-g2")
_MOST_LOOKED_AT = 1000


def kind_of(path: Path) -> Kind:
    """What a file is; empty for what is neither HDF5 nor bluesky documents, or does not open."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return ""
        if not h5py.is_hdf5(path):
            return "documents" if bluesky.sniff(path) else ""
        with open_hdf5(path, MetadataError, "") as file:
            return _kind_of(Items(file, path, MetadataError, ""))
    except (MetadataError, *H5_ERRORS):
        return ""


def _kind_of(items: Items) -> Kind:
    has = {
        "result": any(items.get(name) is not None for name in _RESULTS),
        "qmap": any(items.dataset(name) is not None for name in _QMAPS),
        "frames": has_frames(items),
        "companion": any(items.group(name) is not None for name in _LAYOUTS),
    }
    kinds: tuple[Literal["result", "qmap", "frames", "companion"], ...] = ("result", "qmap", "frames", "companion")
    return next((kind for kind in kinds if has[kind]), "tree")


def raw_among(paths: Sequence[Path]) -> list[Path]:
    """The raw files among those that are raw by their names: an HDF5 file may be metadata or a q-map instead."""
    if len(paths) < 2:
        return list(paths)
    return [path for path in paths if kind_of(path) not in ("companion", "qmap", "result", "tree")] or list(paths)


def with_metadata(paths: Sequence[Path]) -> list[Path]:
    """Those of a run's files that hold metadata of whatever layout, those of a known one first.

    Of more than 1000 files only the first 1000 are looked at.
    """
    kinds: dict[Path, Kind] = {path: kind_of(path) for path in sorted(paths)[:_MOST_LOOKED_AT]}
    wanted: tuple[Kind, ...] = ("companion", "documents", "tree")
    return [path for kind in wanted for path, found in kinds.items() if found == kind]
