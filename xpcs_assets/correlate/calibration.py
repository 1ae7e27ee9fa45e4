"""Dark and flat field of a detector: from the frames at the head of a run, from a series, or from a file of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine import stop
from xpcs_assets.errors import InputError
from xpcs_assets.readers.h5file import damage, open_hdf5
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.readers.series import Events, RawSeries

DARK_MEAN, DARK_STD = "/dark/mean", "/dark/std"
FLAT = ("/flatfield", "/measurement/instrument/detector/flatfield")
_REMEDY = "Name a file that fits the run's detector"


@dataclass(frozen=True, eq=False)
class Dark:
    """What a detector gives without light.

    Attributes
    ----------
    mean, std
        (rows * columns,) float64, detector units; NaN where no dark frame holds a value. The standard deviation is
        that of the population (divided by n), as in xpcs-eigen.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]


def dark_of_head(series: RawSeries, n_dark: int) -> Dark:
    """Mean and standard deviation of the first frames of a run.

    Raises
    ------
    InputError
        None of them counts, or they are events.
    """
    return _statistics(series, n_dark)


def read_dark(path: str | Path, shape: tuple[int, int]) -> Dark:
    """Read a dark: an HDF5 file with ``/dark/mean`` and ``/dark/std`` (rows, columns), or any series of frames.

    Raises
    ------
    InputError
        The file does not fit the detector.
    RawDataError
        It is no series either.
    """
    path = Path(path)
    if h5py.is_hdf5(path):
        with open_hdf5(path, InputError, _REMEDY) as file, damage(path, "no dark", InputError, _REMEDY):
            if DARK_MEAN in file:
                mean, std = (
                    _fitting(file[name][()] if name in file else None, shape, f"{path}:{name}")
                    for name in (DARK_MEAN, DARK_STD)
                )
                return Dark(mean, std)
    with open_raw(path) as series:
        if series.info.shape != shape:
            _refuse_shape(series.info.shape, shape, str(path))
        return _statistics(series, series.info.n_recorded)


def read_flat(path: str | Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Read a flat field; what is not above 0 becomes NaN, so that the pixel is masked.

    ``.npy``, HDF5 with ``/flatfield`` (or the older metadata layout's), or any raw format with one frame (EDF).

    Raises
    ------
    InputError
        There is none in the file, or it does not fit the detector.
    """
    path = Path(path)
    flat = _fitting(_flat_of(path), shape, str(path))
    return np.where(flat > 0, flat, np.nan).astype(np.float32)


def _flat_of(path: Path) -> object:
    if path.suffix.lower() == ".npy":
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"it is no array ({error})", where=path, remedy=_REMEDY) from error
    if h5py.is_hdf5(path):
        with open_hdf5(path, InputError, _REMEDY) as file, damage(path, "no flat", InputError, _REMEDY):
            for name in FLAT:
                if isinstance(file.get(name), h5py.Dataset):
                    return file[name][()]
    with open_raw(path) as series:
        if series.info.n_recorded != 1:
            raise InputError(
                f"it holds {series.info.n_recorded} frames", where=path, remedy="A flat field is one (rows, columns)"
            )
        return _statistics(series, 1).mean.reshape(series.info.shape)


def _fitting(values: object, shape: tuple[int, int], where: str) -> NDArray[np.float64]:
    """Flat float64 values of the detector's shape."""
    if values is None:
        raise InputError("it is missing", where=where, remedy=_REMEDY)
    array = np.asarray(values)
    if array.shape != shape:
        _refuse_shape(array.shape, shape, where)
    if array.dtype.kind not in "iuf":
        raise InputError(f"its numbers are {array.dtype}", where=where, remedy=_REMEDY)
    return array.astype(np.float64).ravel()


def _refuse_shape(found: tuple[int, ...], shape: tuple[int, int], where: str) -> None:
    raise InputError(f"its shape is {found}, the detector's {shape}", where=where, remedy=_REMEDY)


def _statistics(series: RawSeries, n_frames: int) -> Dark:
    """Mean and standard deviation of the valid frames [0, n_frames)."""
    n_pixels = series.info.shape[0] * series.info.shape[1]
    total, squares, number = (np.zeros(n_pixels) for _ in range(3))
    for chunk in series.chunks(0, n_frames):
        stop.check()
        if isinstance(chunk, Events):
            raise InputError("a dark of photon events has no meaning", where=series.info.files[0], remedy=_REMEDY)
        for row in np.flatnonzero(chunk.valid):
            value = chunk.counts[row].astype(np.float64)
            good = np.isfinite(value) if chunk.counts.dtype.kind == "f" else value >= 0
            value[~good] = 0
            total += value
            squares += value**2
            number += good
    if not number.any():
        raise InputError("no dark frame counts", where=series.info.files[0], remedy=_REMEDY)
    n = np.where(number > 0, number, np.nan)
    mean = total / n
    return Dark(mean, np.sqrt(np.maximum(squares / n - mean**2, 0)))
