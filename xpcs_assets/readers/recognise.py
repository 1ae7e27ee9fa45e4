"""Which raw format a file is of: by its content, never by its name alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import h5py

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers import imm, rigaku
from xpcs_assets.readers.hdf5 import open_nexus
from xpcs_assets.readers.rawfile import RawFile
from xpcs_assets.readers.series import RawSeries

RAW_SUFFIXES = (".imm", ".bin", ".h5", ".hdf", ".hdf5")

_COMPANIONS = ("_metadata.hdf", "_qmap.hdf", "_results.hdf")
_RIGAKU_3M = re.compile(r"\.bin\.00[0-5]", re.IGNORECASE)
_TIMEPIX = re.compile(r"\.tpx\w*", re.IGNORECASE)
_KNOWN = "Known are IMM, Rigaku 500k (.bin) and HDF5 with /entry/data/data"
_WORDS_TO_TRUST = 64


def is_raw_name(name: str) -> bool:
    """Tell whether a file of this name can be a raw file; companions and results are none.

    >>> [is_raw_name(name) for name in ("a.imm", "a.h5", "a_metadata.hdf", "a_results.hdf", "notes.txt")]
    [True, True, False, False, False]
    """
    lower = name.lower()
    return lower.endswith(RAW_SUFFIXES) and not lower.endswith(_COMPANIONS)


def open_raw(path: Path | Sequence[Path]) -> RawSeries:
    """Open the raw file or files of one run.

    Raises
    ------
    RawDataError
        No file or several, a format that is unknown or not read (Rigaku 3M, Timepix), or a damaged file.
    """
    path = _single(path)
    _refuse_by_name(path)
    with RawFile(path) as file:
        head = bytes(file.read(0, min(file.size_bytes, imm.HEADER_BYTES)))
        words = rigaku.samples(file)
        whole_words = file.size_bytes % rigaku.WORD_BYTES == 0
    suffix = path.suffix.lower()
    if h5py.is_hdf5(path):
        return open_nexus(path)
    # A damaged file is opened by its name's reader, which says what is wrong with it.
    if imm.sniff(head) or suffix == ".imm":
        return imm.open_imm(path)
    many = file.size_bytes >= _WORDS_TO_TRUST * rigaku.WORD_BYTES
    if suffix == ".bin" or (many and whole_words and rigaku.sniff(*words)):
        return rigaku.open_rigaku(path)
    if suffix in RAW_SUFFIXES:
        what = "this is no HDF5 file, nor of another known format"
        raise RawDataError(what, where=path, remedy=f"Copy it anew from the detector. {_KNOWN}")
    raise RawDataError("this is no raw file of a known format", where=path, remedy=_KNOWN)


def _single(path: Path | Sequence[Path]) -> Path:
    if isinstance(path, Path):
        return path
    if len(path) != 1:
        names = ", ".join(sorted(one.name for one in path)[:6]) or "none"
        what = f"{len(path)} files ({names}) were given as one run"
        raise RawDataError(what, remedy=f"Give the one raw file. {_KNOWN}")
    return path[0]


def _refuse_by_name(path: Path) -> None:
    if _RIGAKU_3M.fullmatch("".join(path.suffixes[-2:])):
        what = "this is one of the six module files of a Rigaku 3M, which are not read yet"
        raise RawDataError(what, where=path, remedy="Keep all six; take the detector's HDF5 mode for analysis today")
    if _TIMEPIX.fullmatch(path.suffix):
        what = "Timepix files are not read"
        raise RawDataError(what, where=path, remedy=f"Convert the events to HDF5 frames. {_KNOWN}")
