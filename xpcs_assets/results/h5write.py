"""Put values into an HDF5 file in the one way that all of a result's parts share."""

from __future__ import annotations

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

_COMPRESSED_FROM = 1024


def put(file: h5py.File, name: str, value: ArrayLike) -> None:
    """Create a dataset; larger ones are compressed, texts are UTF-8."""
    if isinstance(value, str):
        file.create_dataset(name, data=value, dtype=h5py.string_dtype())
        return
    array = np.asarray(value)
    file.create_dataset(name, data=array, **({"compression": "lzf"} if array.size > _COMPRESSED_FROM else {}))


def defined(values: NDArray[np.float64], undefined: float) -> NDArray[np.float32]:
    """``values`` with ``undefined`` in place of NaN, single precision.

    For g2 that is 0, for its error inf: the one way to say undefined that leaves the viewer's fits whole.
    """
    return np.where(np.isnan(values), undefined, values).astype(np.float32)
