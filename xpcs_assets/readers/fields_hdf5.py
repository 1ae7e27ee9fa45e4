"""Every leaf of an HDF5 file, within bounds of memory and work whatever the file holds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import MetadataError
from xpcs_assets.readers.field import MAX_ELEMENTS, MAX_FIELDS, MAX_TEXTS, Field, Range, plain, scalar
from xpcs_assets.readers.h5chunks import ChunkCheck
from xpcs_assets.readers.h5file import H5_ERRORS, is_plain, open_companion, open_hdf5, said
from xpcs_assets.readers.h5items import Items, is_sound_text

# Groups within groups; deeper ones are said to be there and not looked at.
_MAX_DEPTH = 64
# Read for their minimum and maximum: of one row, together, and at a time.
_MAX_ROW_BYTES, _MAX_READ_BYTES, _SLAB_BYTES = 64 << 20, 1 << 30, 16 << 20
_SMALL_BYTES = 512  # does not count to what is read together
# Of a larger file not every byte is looked at before its texts are read.
_MAX_SCANNED_BYTES = 256 << 20
_STACK_DIMENSIONS, _MOST_OF_A_STACK = 3, 1 << 16
_UNITS = ("unit", "units")
_COPY = "Copy the metadata file anew from the beamline"
_TOO_LARGE = "too large to be read for its minimum and maximum"
_NOT_SOUND = "a text in a large file whose list of texts is not known to be sound"
_NOT_PLAIN = "a list of variable length or a reference, which is not read"


def hdf5_fields(path: Path) -> Iterator[Field]:
    """The leaves, by path; see :func:`xpcs_assets.readers.fields.read_fields`.

    Raises
    ------
    MetadataError
        The file does not open.
    """
    try:
        is_large = path.stat().st_size > _MAX_SCANNED_BYTES
    except OSError:
        is_large = False
    opened = (open_hdf5 if is_large else open_companion)(path, MetadataError, _COPY)
    with opened as file:
        yield from _Walk(path, texts_are_sound=not is_large).group(file, "", seen=set())


@dataclass(frozen=True)
class _About:
    """Shape and type of a dataset, which h5py asks the file for each time."""

    shape: tuple[int, ...] | None
    dtype: np.dtype[Any]
    size: int

    @classmethod
    def of(cls, data: h5py.Dataset) -> Self:
        shape = data.shape
        return cls(shape, data.dtype, 0 if shape is None else math.prod(shape))

    @property
    def n_bytes(self) -> int:
        return self.size * max(self.dtype.itemsize, 1)

    @property
    def row_bytes(self) -> int:
        return self.n_bytes // (self.shape[0] if self.shape else 1)


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
        self._bytes_left, self._characters_left = _MAX_READ_BYTES, MAX_TEXTS

    def group(self, group: h5py.Group, prefix: str, seen: set[Any]) -> Iterator[Field]:
        """The leaves below ``group``, whose path is ``prefix``; ``seen`` are the groups above."""
        path = prefix or "/"
        try:
            above = seen | {group.id}
            attributes, names = list(self._attributes(group, path)), _names(group)
        except H5_ERRORS as error:
            yield Field(path, None, dtype="group", note=said(error))
            return
        if len(above) == len(seen):
            yield Field(path, None, dtype="link", note="leads back to a group that holds it")
            return
        yield from attributes
        if len(above) > _MAX_DEPTH:
            note = f"a group below {_MAX_DEPTH} others; what it holds is not looked at"
            yield Field(path, None, dtype="group", note=note)
            return
        if not names:
            yield Field(path, None, dtype="group")
        for name in names:
            yield from self._member(group, name, f"{prefix}/{name.decode('utf-8', 'backslashreplace')}", above)

    def _member(self, group: h5py.Group, name: bytes, path: str, seen: set[Any]) -> Iterator[Field]:
        try:
            leaf = self._opened(group, name, path)
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

    def _opened(self, group: h5py.Group, name: bytes, path: str) -> h5py.HLObject:
        """What a link leads to, within this file.

        Raises
        ------
        MetadataError
            It leads into another file, round in a circle, or nowhere.
        """
        kind = group.id.links.get_info(name).type
        if kind == h5py.h5l.TYPE_HARD:
            return _wrapped(h5py.h5o.open(group.id, name))
        if kind == h5py.h5l.TYPE_EXTERNAL:
            file, _ = group.id.links.get_val(name)
            what = f"its {path} leads into another file, {file.decode('utf-8', 'backslashreplace')!r}"
            raise MetadataError(what, where=self._path, remedy=_COPY)
        # A soft link may lead to one that leaves the file, so the way is looked at before it is gone.
        found = Items(group.file, self._path, MetadataError, _COPY).get(path)
        if found is None:
            raise MetadataError("the link leads nowhere", where=self._path, remedy=_COPY)
        return found

    def _leaf(self, data: h5py.Dataset, path: str) -> Field:
        unit = next((str(self._attribute(data, path, name).value or "") for name in _UNITS if name in data.attrs), "")
        about = _About.of(data)
        value: Any = None
        not_finite, note = False, self._why_not(data, about)
        if note:
            value = {"shape": list(about.shape)} if about.shape and note != _NOT_PLAIN else None
        elif about.shape is None or about.size == 0:
            value = None if about.shape is None else []
        else:
            if data.chunks:
                ChunkCheck(data).check(0, about.shape[0])
            value, not_finite, note = self._text(data, about) if _is_text(about.dtype) else _value(data, about)
        return Field(path, value, unit, _type_name(about.dtype), not_finite, note, about.shape)

    def _why_not(self, data: h5py.Dataset, about: _About) -> str:
        """Why the values of a dataset are not read; empty where they are."""
        if not is_plain(about.dtype):
            return _NOT_PLAIN
        if not about.shape:
            return "" if about.n_bytes <= _MAX_ROW_BYTES else _TOO_LARGE
        if about.size == 0:
            return ""
        if data.is_virtual or data.external is not None:
            return "its values lie in other files, which are not read"
        if len(about.shape) >= _STACK_DIMENSIONS and about.size > _MOST_OF_A_STACK:
            return "a stack of images is not read"
        unknown = _unknown_filter(data)
        if unknown:
            return f"packed by the filter {unknown}, which is not installed here"
        if (about.n_bytes if about.dtype.names else about.row_bytes) > _MAX_ROW_BYTES:
            return _TOO_LARGE
        if about.n_bytes > _SMALL_BYTES:
            self._bytes_left -= about.n_bytes
            if self._bytes_left < 0:
                return "the file's arrays are too large together to be read for their minimum and maximum"
        return ""

    def _text(self, data: h5py.Dataset, about: _About) -> tuple[Any, bool, str]:
        if not (self._texts_are_sound or about.dtype.kind == "S" or is_sound_text(data, self._path)):
            return None, False, _NOT_SOUND
        texts, shape = data.asstr(errors="backslashreplace"), about.shape or ()
        if about.size > MAX_ELEMENTS:
            return {"shape": list(shape), "first": self._one(texts, (0,) * len(shape))}, False, ""
        # One by one: many texts may be the same long one in the file, which would be unpacked as often.
        found = np.empty(shape, object)
        for place in np.ndindex(shape):
            found[place] = self._one(texts, place)
        return (*plain(found), "" if self._characters_left >= 0 else "the file's texts are too long to be read all")

    def _one(self, texts: Any, place: tuple[int, ...]) -> str:
        if self._characters_left < 0:
            return ""
        text = str(texts[place])
        self._characters_left -= len(text)
        return text

    def _attributes(self, node: h5py.HLObject, path: str) -> Iterator[Field]:
        # An iterator over attributes knows all their names, and more are not listed anyway.
        for name in islice(sorted(node.attrs), MAX_FIELDS + 1):
            if name not in _UNITS:
                try:
                    yield self._attribute(node, path, name)
                except H5_ERRORS as error:
                    yield Field(f"{path}@{name}", None, dtype="attribute", note=said(error))

    def _attribute(self, node: h5py.HLObject, path: str, name: str) -> Field:
        dtype = node.attrs.get_id(name).dtype
        if not is_plain(dtype):
            return Field(f"{path}@{name}", None, dtype="attribute", note=_NOT_PLAIN)
        if dtype.kind == "O" and not self._texts_are_sound:
            return Field(f"{path}@{name}", None, dtype="attribute", note=_NOT_SOUND)
        value, not_finite = _named(node.attrs[name], dtype)
        return Field(f"{path}@{name}", value, dtype="attribute", not_finite=not_finite)


def _value(data: h5py.Dataset, about: _About) -> tuple[Any, bool, str]:
    if about.size <= MAX_ELEMENTS or about.dtype.names or not about.shape:
        return (*_named(data[()], about.dtype), "")
    rows = max(1, _SLAB_BYTES // max(about.row_bytes, 1))
    if data.chunks:
        rows = -(-rows // data.chunks[0]) * data.chunks[0]
    found = Range.of(data[begin : begin + rows] for begin in range(0, about.shape[0], rows))
    return found.summary(about.shape), found.not_finite, ""


def _names(group: h5py.Group) -> list[bytes]:
    """The names of a group's members in order, one more than are listed at most."""
    names: list[bytes] = []

    def take(name: bytes) -> bool | None:
        names.append(name)
        return True if len(names) > MAX_FIELDS else None

    group.id.links.iterate(take)
    return names


def _wrapped(opened: Any) -> h5py.HLObject:
    if isinstance(opened, h5py.h5g.GroupID):
        return h5py.Group(opened)
    return h5py.Dataset(opened) if isinstance(opened, h5py.h5d.DatasetID) else h5py.Datatype(opened)


def _unknown_filter(data: h5py.Dataset) -> str:
    """The number, and the name if the file tells it, of the first filter that HDF5 has not; empty if there is none."""
    known = data.id.get_create_plist()
    for place in range(known.get_nfilters() if data.chunks else 0):
        number, _, _, name = known.get_filter(place)
        if not h5py.h5z.filter_avail(number):
            return f"{number} {name.decode('utf-8', 'backslashreplace')}".strip()
    return ""


def _is_text(dtype: np.dtype[Any]) -> bool:
    return h5py.check_string_dtype(dtype) is not None


def _type_name(dtype: np.dtype[Any]) -> str:
    """What a type is called, much as numpy does; an enumeration is of names."""
    return f"enum {dtype.name}" if h5py.check_enum_dtype(dtype) else str(dtype)


def _named(value: Any, dtype: np.dtype[Any]) -> tuple[Any, bool]:
    """Plain values; numbers of an enumeration by their names."""
    names = h5py.check_enum_dtype(dtype)
    array: NDArray[Any] = np.asarray(value)
    if not names or array.size > MAX_ELEMENTS:
        return plain(value)
    by_number = {number: name for name, number in names.items()}
    told = np.empty(array.shape, object)
    for place in np.ndindex(array.shape):
        number = scalar(array[place])
        told[place] = by_number.get(number, number)
    return plain(told)
