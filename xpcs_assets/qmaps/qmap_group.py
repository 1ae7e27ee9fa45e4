"""The datasets of a q-map's group, of either layout, each checked for type and shape before it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import QmapError
from xpcs_assets.readers.chunks import MAX_PIXELS
from xpcs_assets.readers.h5file import is_plain


class QmapGroup:
    """An open group; whatever is not as asked for raises :class:`QmapError` with its name.

    Parameters
    ----------
    group
        The HDF5 group.
    path
        Its file.
    remedy
        What a person should do about a wrong dataset.
    """

    def __init__(self, group: h5py.Group, path: Path, remedy: str) -> None:
        self._group = group
        self._path = path
        self._remedy = remedy

    def __contains__(self, name: str) -> bool:
        return name in self._group

    def array(self, name: str, ndim: int, kinds: str) -> NDArray[Any]:
        """An array of ``ndim`` dimensions whose numpy kind is one of ``kinds``."""
        data = self._dataset(name)
        sound = data.dtype.kind in kinds and is_plain(data.dtype)
        if data.ndim != ndim or not sound or data.size > MAX_PIXELS:
            raise self.wrong(name, f"it is {data.dtype} of shape {data.shape}")
        return np.asarray(data[()])

    def flat(self, name: str) -> NDArray[np.float64]:
        """The numbers of an array of any shape, such as (N,) or (1, N)."""
        data = self._dataset(name)
        if data.shape is None or data.dtype.kind not in "iuf" or not 0 < data.size <= MAX_PIXELS:
            raise self.wrong(name, f"it is {data.dtype} of shape {data.shape}")
        return np.asarray(data[()], np.float64).reshape(-1)

    def scalar(self, name: str) -> float:
        """A finite number, of shape () or (1, 1)."""
        data = self._group.get(name)
        if not isinstance(data, h5py.Dataset) or data.size != 1 or data.dtype.kind not in "iuf":
            raise self.wrong(name, "it is no number")
        value = float(np.asarray(data[()]).reshape(-1)[0])
        if not np.isfinite(value):
            raise self.wrong(name, f"it is {value}")
        return value

    def positive(self, name: str) -> float:
        """A number above 0."""
        value = self.scalar(name)
        if value <= 0:
            raise self.wrong(name, f"{value} is not above 0")
        return value

    def angle(self, name: str) -> float:
        """An angle, deg, below 90 as far as it turns the detector away; 0 where there is none."""
        value = self.scalar(name) if name in self else 0.0
        if abs(value) >= 360 or (abs(value) >= 90 and not name.endswith("_z")):
            raise self.wrong(name, f"{value} deg turns the detector away")
        return value

    def two_texts(self, name: str) -> tuple[str, str]:
        """Two texts."""
        values = self.array(name, 1, "OSU").tolist()
        texts = [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]
        if len(texts) != 2:
            raise self.wrong(name, f"it has {len(texts)} names, not 2")
        return texts[0], texts[1]

    def attribute(self, name: str) -> str:
        """An attribute of the group as text; empty where there is none."""
        attributes = self._group.attrs
        if name not in attributes:
            return ""
        value = attributes[name] if is_plain(attributes.get_id(name).dtype) else ""
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    def wrong(self, name: str, what: str) -> QmapError:
        """The error about the dataset ``name``."""
        return QmapError(what, where=f"{self._path}:{self._group.name}/{name}", remedy=self._remedy)

    def _dataset(self, name: str) -> h5py.Dataset:
        data = self._group.get(name)
        if not isinstance(data, h5py.Dataset):
            raise self.wrong(name, "it is missing")
        return data
