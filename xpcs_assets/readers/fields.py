"""Every leaf of an HDF5 file as plain values: what the run's record keeps, and drops nothing of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xpcs_assets.errors import MetadataError, RawDataError
from xpcs_assets.readers import edf, sidecar
from xpcs_assets.readers.edf_blocks import read_blocks
from xpcs_assets.readers.h5chunks import ChunkCheck
from xpcs_assets.readers.h5file import H5_ERRORS, is_plain, open_companion, open_hdf5, said
from xpcs_assets.readers.h5items import Items, is_sound_text

MAX_ELEMENTS = 64
"""Arrays beyond this many elements are summarised."""

_MAX_READ_BYTES = 256 << 20
# Of a larger file not every byte is looked at before its texts are read.
_MAX_SCANNED_BYTES = 256 << 20
_STACK_DIMENSIONS, _MOST_OF_A_STACK = 3, 1 << 16
_UNITS = ("unit", "units")
_COPY = "Copy the metadata file anew from the beamline"
_NOT_SOUND = "a text in a large file whose list of texts is not known to be sound"
_NOT_PLAIN = "a list of variable length or a reference, which is not read"


@dataclass(frozen=True)
class Field:
    """One leaf.

    Attributes
    ----------
    path
        Its path in the file; an attribute is ``<path>@<name>``.
    value
        Plain JSON values; NaN and infinities are None. An array beyond 64 elements is
        ``{"shape", "min", "max", "first"}``, over its finite elements.
    unit
        Of the attribute ``unit`` or ``units``; may be empty.
    dtype
        As stored; ``group`` for an empty group, ``link`` for a link that leads nowhere.
    not_finite
        Some element is NaN or infinite.
    note
        Why the value could not be read; empty when it was.
    """

    path: str
    value: Any
    unit: str = ""
    dtype: str = ""
    not_finite: bool = False
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def read_fields(path: Path) -> list[Field]:
    """Every leaf of a metadata file, by path: of an HDF5 file, a sidecar or an EDF header.

    Links into other files are listed, not followed; stacks of images are not read.

    Raises
    ------
    MetadataError
        The file does not open. A leaf that cannot be read is listed with a note instead.
    """
    if path.suffix.lower() == sidecar.SUFFIX:
        return [Field(f"/{key}", value) for key, value in asdict(sidecar.read_sidecar(path)).items()]
    if path.suffix.lower() == edf.SUFFIX:
        return _edf_fields(path)
    try:
        is_large = path.stat().st_size > _MAX_SCANNED_BYTES
    except OSError:
        is_large = False
    if is_large:
        with open_hdf5(path, MetadataError, _COPY) as file:
            return list(_Walk(path, texts_are_sound=False).group(file, "", seen=set()))
    with open_companion(path, MetadataError, _COPY) as file:
        return list(_Walk(path, texts_are_sound=True).group(file, "", seen=set()))


def _edf_fields(path: Path) -> list[Field]:
    try:
        header = read_blocks(path)[0].fields
    except RawDataError as error:
        raise MetadataError(error.what, where=error.where, remedy=error.remedy) from error
    return [Field(f"/{key}", value, dtype="text") for key, value in header.items()]


class _Walk:
    """Goes through a file.

    Parameters
    ----------
    path
        The file.
    texts_are_sound
        All lists of texts have been looked through; else each text is, and those of attributes are not read.
    """

    def __init__(self, path: Path, *, texts_are_sound: bool) -> None:
        self._path, self._texts_are_sound = path, texts_are_sound

    def group(self, group: h5py.Group, prefix: str, seen: set[Any]) -> Iterator[Field]:
        """The leaves below ``group``, whose path is ``prefix``; ``seen`` are the groups above."""
        path = prefix or "/"
        try:
            above = seen | {group.id}
            attributes, names = list(self._attributes(group, path)), sorted(group)
        except H5_ERRORS as error:
            yield Field(path, None, dtype="group", note=said(error))
            return
        if len(above) == len(seen):
            yield Field(path, None, dtype="link", note="leads back to a group that holds it")
            return
        yield from attributes
        if not names:
            yield Field(path, None, dtype="group")
        for name in names:
            yield from self._member(group, name, f"{prefix}/{name}", above)

    def _member(self, group: h5py.Group, name: str, path: str, seen: set[Any]) -> Iterator[Field]:
        try:
            # A soft link may lead to one that leaves the file, so the way is looked at before it is gone.
            leaf = Items(group.file, self._path, MetadataError, _COPY).get(path)
            if leaf is None:
                leaf = group[name]
        except MetadataError as error:
            yield Field(path, None, dtype="link", note=error.what)
            return
        except H5_ERRORS as error:
            yield Field(path, None, dtype="link", note=said(error))
            return
        if isinstance(leaf, h5py.Group):
            yield from self.group(leaf, path, seen)
        elif isinstance(leaf, h5py.Dataset):
            try:
                yield self._leaf(leaf, path)
                yield from self._attributes(leaf, path)
            except H5_ERRORS as error:
                yield Field(path, None, dtype="unreadable", note=said(error))
        else:
            yield Field(path, None, dtype="type")

    def _leaf(self, data: h5py.Dataset, path: str) -> Field:
        unit = next((str(self._attribute(data, path, name).value or "") for name in _UNITS if name in data.attrs), "")
        dtype = str(data.dtype)
        if not is_plain(data.dtype):
            return Field(path, None, unit, dtype, note=_NOT_PLAIN)
        if data.shape is None or data.size == 0:
            return Field(path, None if data.shape is None else [], unit, dtype)
        if data.ndim >= _STACK_DIMENSIONS and data.size > _MOST_OF_A_STACK:
            return Field(path, {"shape": list(data.shape)}, unit, dtype, note="a stack of images is not read")
        if data.size * max(data.dtype.itemsize, 1) > _MAX_READ_BYTES:
            note = "too large to be read for its minimum and maximum"
            return Field(path, {"shape": list(data.shape)}, unit, dtype, note=note)
        if data.chunks:
            ChunkCheck(data).check(0, data.shape[0])
        if _is_text(data):
            if not (self._texts_are_sound or data.dtype.kind == "S" or is_sound_text(data, self._path)):
                return Field(path, None, unit, dtype, note=_NOT_SOUND)
            value, not_finite = plain(data.asstr(errors="backslashreplace")[()])
        else:
            value, not_finite = plain(data[()])
        return Field(path, value, unit, dtype, not_finite)

    def _attributes(self, node: h5py.HLObject, path: str) -> Iterator[Field]:
        for name in sorted(node.attrs):
            if name not in _UNITS:
                yield self._attribute(node, path, name)

    def _attribute(self, node: h5py.HLObject, path: str, name: str) -> Field:
        dtype = node.attrs.get_id(name).dtype
        if not is_plain(dtype):
            return Field(f"{path}@{name}", None, dtype="attribute", note=_NOT_PLAIN)
        if dtype.kind == "O" and not self._texts_are_sound:
            return Field(f"{path}@{name}", None, dtype="attribute", note=_NOT_SOUND)
        value, not_finite = plain(node.attrs[name])
        return Field(f"{path}@{name}", value, dtype="attribute", not_finite=not_finite)


def _is_text(data: h5py.Dataset) -> bool:
    return h5py.check_string_dtype(data.dtype) is not None


def plain(value: Any) -> tuple[Any, bool]:
    """Plain JSON values of what h5py gives, and whether some element was not finite.

    >>> plain(np.array([[2.5]])), plain(float("nan")), plain(b"8-ID")
    ((2.5, False), (None, True), ('8-ID', False))
    """
    if isinstance(value, h5py.Empty):
        return None, False
    array = np.asarray(value)
    not_finite = array.dtype.kind == "f" and not bool(np.isfinite(array).all())
    if array.size == 1:
        return _scalar(array.reshape(-1)[0]), not_finite
    if array.size <= MAX_ELEMENTS:
        return _nested(array.tolist()), not_finite
    return _summary(array), not_finite


def _summary(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    summary: dict[str, Any] = {"shape": list(array.shape), "first": _scalar(array.reshape(-1)[0])}
    if array.dtype.kind in "biuf":
        finite = array[np.isfinite(array)]
        low, high = (finite.min(), finite.max()) if finite.size else (None, None)
        summary |= {"min": _scalar(low), "max": _scalar(high)}
    return summary


def _nested(value: Any) -> Any:
    return [_nested(item) for item in value] if isinstance(value, list) else _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
