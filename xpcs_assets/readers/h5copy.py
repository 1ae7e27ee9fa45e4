"""Copying what a raw HDF5 file says of its run into another file, without its frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py

from xpcs_assets.errors import MetadataError
from xpcs_assets.readers.h5file import H5_ERRORS, damage, is_plain, open_hdf5
from xpcs_assets.readers.h5items import Items, is_sound_text

MOST_BYTES = 4 << 20
"""Largest dataset that is copied, as stored; a list of one number a frame is far below, frames are not."""

_COPY = "Copy the raw file anew from the detector"


def copy_facts(path: Path, target: h5py.File) -> None:
    """Copy all small datasets of a raw file, their groups and attributes; links into other files are left out.

    Texts of attributes that have a list of their own (of variable length) are left out: a damaged list cannot be told.

    Raises
    ------
    MetadataError
        The file does not open or is damaged.
    """
    with open_hdf5(path, MetadataError, _COPY) as source, damage(path, "it cannot be copied", MetadataError, _COPY):
        _copy_group(Items(source, path, MetadataError, _COPY), source, target, set())


def _copy_group(items: Items, source: h5py.Group, target: h5py.Group, above: set[Any]) -> None:
    above = above | {source.id}
    _copy_attributes(source, target)
    for name in source:
        try:
            found = items.get(f"{source.name.rstrip('/')}/{name}")
        except MetadataError:
            continue
        if isinstance(found, h5py.Group) and found.id not in above:
            _copy_group(items, found, target.require_group(name), above)
        elif isinstance(found, h5py.Dataset) and name not in target and _is_small(found, items.path):
            target.file.copy(found, target, name, without_attrs=True)
            _copy_attributes(found, target[name])


def _is_small(data: h5py.Dataset, path: Path) -> bool:
    if data.shape is None or data.is_virtual or data.external is not None or not is_plain(data.dtype):
        return False
    if data.dtype.kind == "O" and not is_sound_text(data, path):
        return False
    return bool(int(data.size) * max(data.dtype.itemsize, 1) <= MOST_BYTES and data.ndim < 3)


def _copy_attributes(source: h5py.HLObject, target: h5py.HLObject) -> None:
    for name in source.attrs:
        try:
            kind = source.attrs.get_id(name).dtype
            if kind.kind in "biufS":
                target.attrs[name] = source.attrs[name]
        except H5_ERRORS:
            continue
