"""Items of a raw HDF5 file by path: only what lies in the file itself, of plain types and bounded size.

A raw file may be very large, so its lists of texts are not all looked through as those of a companion are
(:func:`~xpcs_assets.readers.h5file.open_companion`): each text is read only after its own list was found sound.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import InputError
from xpcs_assets.readers.h5chunks import ChunkCheck
from xpcs_assets.readers.h5file import H5_ERRORS, check_heaps, said

MAX_VALUES = 1 << 24
"""Elements of the longest list that is read, such as one time stamp a frame."""

_MAX_LINKS = 16
_MAX_HEAP_BYTES = 16 << 20
# A text of variable length: its length, the address of its list and its number in that list.
_TEXT = struct.Struct("<IQI")


class Items:
    """Looks up the datasets of one open file.

    Parameters
    ----------
    file, path
        The open file and its path.
    error, remedy
        What to raise for a file that is damaged or leads into another one.
    """

    def __init__(self, file: h5py.File, path: Path, error: type[InputError], remedy: str) -> None:
        self.file, self.path, self._error, self._remedy = file, path, error, remedy

    def get(self, name: str) -> h5py.Group | h5py.Dataset | None:
        """The group or dataset of that path; None where there is none.

        Raises
        ------
        InputError
            A link leads into another file, or round in a circle.
        """
        return self._follow(name, _MAX_LINKS)

    def _follow(self, name: str, links_left: int) -> h5py.Group | h5py.Dataset | None:
        node: h5py.Group | h5py.Dataset = self.file
        gone = ""
        for part in name.strip("/").split("/"):
            if not isinstance(node, h5py.Group):
                return None
            link = node.get(part, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                what = f"its {gone}/{part} leads into another file, {link.filename!r}"
                raise self._error(what, where=self.path, remedy=self._remedy)
            if isinstance(link, h5py.SoftLink):
                if not links_left:
                    what = f"its {gone}/{part} leads from link to link without end"
                    raise self._error(what, where=self.path, remedy=self._remedy)
                target = link.path if link.path.startswith("/") else f"{gone}/{link.path}"
                found = self._follow(target, links_left - 1)
            else:
                found = None if link is None else node[part]
            if not isinstance(found, h5py.Group | h5py.Dataset):
                return None
            node, gone = found, f"{gone}/{part}"
        return node

    def dataset(self, name: str) -> h5py.Dataset | None:
        """The dataset of that path; None where there is none."""
        found = self.get(name)
        return found if isinstance(found, h5py.Dataset) else None

    def group(self, name: str) -> h5py.Group | None:
        """The group of that path; None where there is none."""
        found = self.get(name)
        return found if isinstance(found, h5py.Group) else None

    def numbers(self, name: str) -> NDArray[Any] | None:
        """A list of numbers, 1-D; None where there is none, it has other values, or more than 2**24 of them.

        Raises
        ------
        InputError
            It is damaged.
        """
        data = self.dataset(name)
        if data is None or data.shape is None or data.dtype.kind not in "iufb" or not 0 < data.size <= MAX_VALUES:
            return None
        if data.is_virtual or data.external is not None:
            return None
        return self._values(data, name).reshape(-1)

    def _values(self, data: h5py.Dataset, name: str) -> NDArray[Any]:
        try:
            if data.chunks:
                ChunkCheck(data).check(0, data.shape[0])
            return np.asarray(data[()])
        except H5_ERRORS as failure:
            where = f"{self.path}:{name}"
            raise self._error(f"it cannot be read ({said(failure)})", where=where, remedy=self._remedy) from failure

    def number(self, *names: str) -> float | None:
        """One number by the first of these paths that has one; of a list, its mean if all are the same.

        The same means within 1e-3 of the mean: motors and monochromators jitter.
        """
        for name in names:
            values = self.numbers(name)
            if values is None or not np.isfinite(values).all():
                continue
            mean = float(values.astype(np.float64).mean())
            if float(np.abs(values - mean).max()) <= 1e-3 * abs(mean):
                return mean if math.isfinite(mean) else None
        return None

    def image(self, name: str, shape: tuple[int, int]) -> NDArray[Any] | None:
        """A (rows, columns) array of numbers; None where there is none of that shape.

        Raises
        ------
        InputError
            It is damaged.
        """
        data = self.dataset(name)
        if data is None or data.shape != shape or data.dtype.kind not in "iufb" or data.is_virtual:
            return None
        return None if data.external is not None else self._values(data, name)

    def text(self, *names: str) -> str:
        """A text by the first of these paths that has one; else empty."""
        for name in names:
            data = self.dataset(name)
            if data is None or data.shape is None or data.size != 1 or not self._is_sound_text(data):
                continue
            try:
                value = np.asarray(data[()]).reshape(-1)[0]
            except H5_ERRORS:
                continue
            return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
        return ""

    def _is_sound_text(self, data: h5py.Dataset) -> bool:
        kind = h5py.check_string_dtype(data.dtype)
        if kind is None:
            return False
        if kind.length is not None:
            return True
        return is_sound_text(data, self.path)


def is_sound_text(data: h5py.Dataset, path: Path) -> bool:
    """Tell whether one text of variable length may be read: HDF5 2.0 would leave its list (see ``check_heaps``)."""
    offset = data.id.get_offset()
    if data.chunks is not None or data.size != 1 or offset is None:
        return False
    try:
        with path.open("rb") as raw:
            raw.seek(offset)
            stored = raw.read(_TEXT.size)
            if len(stored) < _TEXT.size:
                return False
            _, address, _ = _TEXT.unpack(stored)
            raw.seek(address)
            heap = raw.read(16)
            size = int.from_bytes(heap[8:], "little")
            if not heap.startswith(b"GCOL") or size > _MAX_HEAP_BYTES:
                return False
            heap += raw.read(size - len(heap))
    except (OSError, ValueError, OverflowError):
        return False
    try:
        check_heaps(heap, path, InputError, "")
    except InputError:
        return False
    return True
