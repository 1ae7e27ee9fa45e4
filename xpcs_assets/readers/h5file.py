"""Opening HDF5 files, so that each way one can fail becomes an error of this package.

``hdf5plugin`` is imported here for its filters (bitshuffle, lz4). Files are opened without HDF5's own lock: a
reader's lock would keep the detector from opening its file again.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  registers the filters that detectors compress with
import numpy as np

from xpcs_assets.errors import InputError
from xpcs_assets.readers.rawfile import cannot_open

H5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)
"""What h5py raises on damaged files."""

# A heap of texts: signature, version 1, 3 zeros, size; then objects: index, references, size, text padded to 8.
_HEAP = b"GCOL\x01\0\0\0"
_HEAP_HEAD = 16
_HEAP_OBJECT = struct.Struct("<H6xQ")


def open_hdf5(path: Path, error: type[InputError], remedy: str, *, growing: bool = False) -> h5py.File:
    """Open a file for reading.

    Parameters
    ----------
    path
        The file.
    error
        What to raise.
    remedy
        What its reader should do.
    growing
        Open it while it is written, which its writer must allow (SWMR).

    Raises
    ------
    InputError
        As ``error``: no such file, not readable, no HDF5, or damaged.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise error("this is no regular file", where=path, remedy=remedy)
        with path.open("rb"):
            pass
    except OSError as failure:
        raise error(cannot_open(path, failure).what, where=path, remedy=remedy) from failure
    if not h5py.is_hdf5(path):
        raise error("this is no HDF5 file", where=path, remedy=remedy)
    try:
        return h5py.File(path, "r", locking=False, swmr=growing)
    except H5_ERRORS as failure:
        raise error(f"the HDF5 file does not open ({said(failure)})", where=path, remedy=remedy) from failure


def open_companion(path: Path, error: type[InputError], remedy: str) -> h5py.File:
    """Open a small file whose texts are to be read, such as metadata; :func:`check_heaps` comes first.

    Raises
    ------
    InputError
        As ``error``, see :func:`open_hdf5`.
    """
    file = open_hdf5(path, error, remedy)
    try:
        check_heaps(path.read_bytes(), path, error, remedy)
    except InputError:
        file.close()
        raise
    except OSError as failure:
        file.close()
        raise error(cannot_open(path, failure).what, where=path, remedy=remedy) from failure
    return file


@contextmanager
def damage(path: Path, what: str, error: type[InputError], remedy: str) -> Iterator[None]:
    """Turn whatever h5py raises inside the block into ``error``."""
    try:
        yield
    except H5_ERRORS as failure:
        raise error(f"{what} ({said(failure)})", where=path, remedy=remedy) from failure


def said(failure: BaseException) -> str:
    """The first line of what HDF5 says, without its stack."""
    lines = str(failure).strip("'\" ").splitlines()
    return (lines[0] if lines else type(failure).__name__)[:200]


def is_plain(dtype: np.dtype[Any]) -> bool:
    """Tell whether values of a type may be read.

    Lists of variable length, references and compounds of them crash HDF5 2.0 when the file is damaged (a flipped bit
    makes them of a text); no field that is needed has such a type.
    """
    if dtype.kind == "V":
        members = [dtype.subdtype[0]] if dtype.subdtype else [dtype[name] for name in dtype.names or ()]
        return all(is_plain(member) for member in members)
    return dtype.kind != "O" or h5py.check_string_dtype(dtype) is not None


def check_heaps(content: bytes, path: Path, error: type[InputError], remedy: str) -> None:
    """Refuse a file whose texts HDF5 2.0 would look for without end.

    Texts lie in collections that begin with ``GCOL``; HDF5 steps from one to the next by its stored size and never
    leaves a free space that says it has none.

    Parameters
    ----------
    content
        The file's bytes.
    path, error, remedy
        As for :func:`open_hdf5`.

    Raises
    ------
    InputError
        As ``error``: there is such a collection.
    """
    start = content.find(_HEAP)
    while start >= 0:
        head = content[start + len(_HEAP) : start + _HEAP_HEAD]
        size = int.from_bytes(head, "little")
        end = min(start + size, len(content))
        place = start + _HEAP_HEAD
        while place + _HEAP_OBJECT.size <= end:
            index, length = _HEAP_OBJECT.unpack_from(content, place)
            if index == 0 and length == 0:
                what = "the HDF5 file is damaged: its list of texts has no end"
                raise error(what, where=f"{path}, byte {place}", remedy=remedy)
            place += length if index == 0 else _HEAP_OBJECT.size + -(-length // 8) * 8
        start = content.find(_HEAP, start + 1)
