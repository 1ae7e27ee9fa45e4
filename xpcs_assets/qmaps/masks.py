"""Which pixels may be used: mask files, lists of bad pixels, the beamstop."""

from __future__ import annotations

import csv
import json
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import QmapError
from xpcs_assets.qmaps.qmap import read_qmap
from xpcs_assets.readers.chunks import MAX_PIXELS
from xpcs_assets.readers.h5file import damage, is_plain, open_hdf5, said
from xpcs_assets.readers.rawfile import cannot_open

_HDF5 = (".h5", ".hdf", ".hdf5")
_FORMATS = "Give a numpy file (.npy), a TIFF, a q-map, or an HDF5 dataset as FILE.h5:/path"
_LIST = 'Give a CSV file with the columns row,col, or JSON like {"Bad pixels": [{"Pixel": [col, row]}]}'
_MOST_LIST_BYTES = 256 << 20


def read_mask(source: str, shape: tuple[int, int], *, marks_bad: bool = False) -> NDArray[np.bool_]:
    """Read a mask; True is a pixel that may be used.

    Parameters
    ----------
    source
        A ``.npy`` or ``.tif`` file, a q-map (its mask is taken), or ``FILE.h5:/path`` of a dataset.
    shape
        The detector's rows and columns.
    marks_bad
        What is not 0 in the file marks a bad pixel, as in ``pixel_mask`` of NeXus and Dectris files; by default it
        marks a good one, as in q-maps and pySimpleMask's mask files.

    Raises
    ------
    QmapError
        No such file, no mask, of another shape, or a ``pixel_mask`` taken for a mask of good pixels.
    """
    path, _, dataset = source.partition(":/")
    file = Path(path)
    suffix = file.suffix.lower()
    if not file.is_file():
        raise QmapError("there is no such file", where=source, remedy=_FORMATS)
    if dataset:
        values = _of_hdf5(file, f"/{dataset}", marks_bad)
    elif suffix in _HDF5:
        values = read_qmap(file).mask
    elif suffix == ".npy":
        values = _of_numpy(file)
    elif suffix in (".tif", ".tiff"):
        values = _of_tiff(file)
    else:
        raise QmapError(f"masks are not read from {suffix or 'such'} files", where=source, remedy=_FORMATS)
    if values.shape != shape:
        what = f"the mask's shape is {values.shape}, the detector's {shape}"
        raise QmapError(what, where=source, remedy="Give the mask of this detector")
    if values.dtype.kind not in "biuf":
        raise QmapError(f"the mask holds {values.dtype}", where=source, remedy=_FORMATS)
    return np.asarray((values == 0) if marks_bad else (values > 0))


def _of_hdf5(path: Path, name: str, marks_bad: bool) -> NDArray[Any]:
    with open_hdf5(path, QmapError, _FORMATS) as file, damage(path, "the mask cannot be read", QmapError, _FORMATS):
        data = file.get(name)
        where = f"{path}:{name}"
        if not isinstance(data, h5py.Dataset):
            raise QmapError("there is no such dataset", where=where, remedy=_FORMATS)
        if data.ndim != 2 or data.size > MAX_PIXELS or not is_plain(data.dtype):
            raise QmapError(f"it is {data.dtype} of shape {data.shape}, no mask", where=where, remedy=_FORMATS)
        if name.endswith("pixel_mask") and not marks_bad:
            what = "a pixel_mask marks the bad pixels"
            raise QmapError(what, where=where, remedy="Add --mask-marks-bad")
        return np.asarray(data[()])


def _of_numpy(path: Path) -> NDArray[Any]:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise QmapError(f"this is no numpy file ({said(error)})", where=path, remedy=_FORMATS) from error
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.size > MAX_PIXELS:
        raise QmapError("this is no mask of rows and columns", where=path, remedy=_FORMATS)
    return values


def _of_tiff(path: Path) -> NDArray[Any]:
    from PIL import Image

    try:
        # Pillow warns of damage before it fails.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise QmapError(f"{image.width} x {image.height} pixels are too many", where=path, remedy=_FORMATS)
            return np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise QmapError(f"this TIFF cannot be read ({said(error)})", where=path, remedy=_FORMATS) from error


def read_bad_pixels(path: Path, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Flat indices of the pixels of a list, ascending.

    JSON is ``{"Bad pixels": [{"Pixel": [column, row]}, ...]}``, as detectors and pySimpleMask have it; CSV has a
    heading that names the columns ``row`` and ``col``.

    Raises
    ------
    QmapError
        The file cannot be read, is of another form, or names a pixel that the detector does not have.
    """
    try:
        if path.stat().st_size > _MOST_LIST_BYTES:
            raise QmapError("the list exceeds 256 MiB", where=path, remedy=_LIST)
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise QmapError(cannot_open(path, error).what, where=path, remedy=_LIST) from error
    except UnicodeDecodeError as error:
        raise QmapError("this is no text", where=path, remedy=_LIST) from error
    try:
        pairs = _of_json(text) if text.lstrip().startswith(("{", "[")) else _of_csv(text)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, csv.Error) as error:
        raise QmapError(f"this is no list of pixels ({said(error)})", where=path, remedy=_LIST) from error
    for row, col in pairs:
        if not (0 <= row < shape[0] and 0 <= col < shape[1]):
            what = f"row {row}, column {col} does not lie on {shape[0]} x {shape[1]} pixels"
            raise QmapError(what, where=path, remedy="JSON lists hold [column, row]; both count from 0")
    return np.unique(np.array([row * shape[1] + col for row, col in pairs], np.int64))


def _of_json(text: str) -> list[tuple[int, int]]:
    pixels = [item["Pixel"] for item in json.loads(text)["Bad pixels"]]
    return [(_whole(row), _whole(col)) for col, row in pixels]


def _of_csv(text: str) -> list[tuple[int, int]]:
    lines = csv.DictReader(text.splitlines(), skipinitialspace=True, strict=True)
    return [(_whole(line["row"]), _whole(line["col"])) for line in lines]


def _whole(value: Any) -> int:
    number = float(value)
    if number != int(number):
        raise ValueError(f"{value} is no pixel")
    return int(number)


def disc(shape: tuple[int, int], centre_yx: tuple[float, float], radius_pixels: float) -> NDArray[np.bool_]:
    """True for the pixels whose centre is nearer than ``radius_pixels`` to a point, such as behind a beamstop."""
    rows = (np.arange(shape[0]) - centre_yx[0])[:, None]
    cols = (np.arange(shape[1]) - centre_yx[1])[None, :]
    return np.asarray(np.hypot(rows, cols) < radius_pixels)
