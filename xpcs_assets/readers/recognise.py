"""Which raw format a file is of: by its content, never by its name alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers import als7011, areadetector, dectris, edf, edf_blocks, imm, npy, rigaku, rigaku3m
from xpcs_assets.readers.h5file import damage, open_hdf5
from xpcs_assets.readers.h5items import Items
from xpcs_assets.readers.hdf5 import COPY, DATASET, open_nexus
from xpcs_assets.readers.plugin import open_by_plugin
from xpcs_assets.readers.rawfile import RawFile
from xpcs_assets.readers.series import RawSeries
from xpcs_assets.readers.sidecar import MASK_SUFFIX

RAW_SUFFIXES = (".imm", ".bin", ".h5", ".hdf", ".hdf5", ".edf", ".npy")

_HDF5_SUFFIXES = (".h5", ".hdf", ".hdf5")
_COMPANIONS = ("_metadata.hdf", "_qmap.hdf", "_results.hdf", MASK_SUFFIX)
# The data files of a Dectris master, which opens them.
_PART = re.compile(r".*_data_\d{6}\.h5", re.IGNORECASE)
_TIMEPIX = re.compile(r"\.tpx\w*", re.IGNORECASE)
_TIMEPIX_MAGIC = b"TPX"
_KNOWN = (
    "Known are IMM, Rigaku 500k (.bin) and 3M (.bin.000 to .bin.005), EDF, .npy stacks and HDF5 of Eiger, Lambda, "
    "Dectris masters, areaDetector and ALS 7.0.1.1"
)
_WORDS_TO_TRUST = 64

# UFXC: 32-bit words, bits 31..21 the frame, which starts anew after 2047, 16..15 the value, 14..0 the pixel.
_UFXC_UNUSED, _UFXC_FRAME, _UFXC_JUMP = 0xF << 17, 21, 2000


def is_raw_name(name: str) -> bool:
    """Tell whether a file of this name can be a raw file to open; companions, parts and results are none.

    >>> [is_raw_name(name) for name in ("a.imm", "a.bin.003", "a_master.h5", "a_data_000001.h5", "a_metadata.hdf")]
    [True, True, True, False, False]
    """
    lower = name.lower()
    if lower.endswith(_COMPANIONS) or is_part_name(name):
        return False
    return lower.endswith(RAW_SUFFIXES) or rigaku3m.is_module_name(lower)


def is_part_name(name: str) -> bool:
    """Tell whether a file of this name holds frames that a raw file links to.

    >>> [is_part_name(name) for name in ("a_master.h5", "a_data_000001.h5")]
    [False, True]
    """
    return _PART.fullmatch(name.lower()) is not None


def open_raw(path: Path | Sequence[Path]) -> RawSeries:
    """Open the raw file or files of one run.

    Several files are the six modules of a Rigaku 3M, a numbered EDF series, or a Dectris master with its data files;
    of each of these, the first file is enough.

    Raises
    ------
    RawDataError
        No file or several of different runs, a format that is unknown or not read (UFXC, Timepix), or a damaged file.
    """
    paths = [path] if isinstance(path, Path) else list(path)
    if len(paths) > 1:
        return _open_many(paths)
    if not paths:
        raise RawDataError("0 files were given as one run", remedy=f"Give the raw file. {_KNOWN}")
    return _open_one(paths[0])


def _open_many(paths: list[Path]) -> RawSeries:
    if all(rigaku3m.is_module_name(path.name) for path in paths):
        return rigaku3m.open_rigaku3m(paths)
    if len(set(paths)) == len(paths) and all(path.suffix.lower() == edf.SUFFIX for path in paths):
        return edf.open_edf(paths)
    heads = [path for path in paths if not _PART.fullmatch(path.name.lower())]
    if len(heads) == 1:
        return _open_one(heads[0])
    names = ", ".join(sorted(path.name for path in paths)[:6])
    what = f"{len(paths)} files ({names}) were given as one run"
    raise RawDataError(what, remedy=f"Give the one raw file. {_KNOWN}")


def _open_one(path: Path) -> RawSeries:
    with RawFile(path) as file:
        head = bytes(file.read(0, min(file.size_bytes, imm.HEADER_BYTES)))
        words = rigaku.samples(file)
        whole_words = file.size_bytes % rigaku.WORD_BYTES == 0
        many = file.size_bytes >= _WORDS_TO_TRUST * rigaku.WORD_BYTES
    plugged = open_by_plugin(path)
    if plugged is not None:
        return plugged
    if h5py.is_hdf5(path):
        return _hdf5_reader(path)(path)
    _refuse(path, head, words)
    suffix = path.suffix.lower()
    # A damaged file is opened by its name's reader, which says what is wrong with it.
    if rigaku3m.is_module_name(path.name):
        return rigaku3m.open_rigaku3m([path])
    if head.startswith(npy.MAGIC) or suffix == ".npy":
        return npy.open_npy(path)
    if edf_blocks.sniff(head) or suffix == edf.SUFFIX:
        return edf.open_edf([path])
    if imm.sniff(head) or suffix == ".imm":
        return imm.open_imm(path)
    if suffix == ".bin" or (many and whole_words and rigaku.sniff(*words)):
        return rigaku.open_rigaku(path)
    if suffix in _HDF5_SUFFIXES:
        what = "this is no HDF5 file, nor of another known format"
        raise RawDataError(what, where=path, remedy=f"Copy it anew from the detector. {_KNOWN}")
    raise RawDataError("this is no raw file of a known format", where=path, remedy=_KNOWN)


def has_frames(items: Items) -> bool:
    """Tell whether an open HDF5 file is a raw file, of whatever layout."""
    return items.dataset(DATASET) is not None or als7011.sniff(items) or dectris.sniff(items)


def _hdf5_reader(path: Path) -> Callable[[Path], RawSeries]:
    layouts: tuple[tuple[Callable[[Items], bool], Callable[[Path], RawSeries]], ...] = (
        (als7011.sniff, als7011.open_als7011),
        (dectris.sniff, dectris.open_dectris),
        (areadetector.sniff, areadetector.open_areadetector),
    )
    with open_hdf5(path, RawDataError, COPY) as file, damage(path, "it cannot be read", RawDataError, COPY):
        items = Items(file, path, RawDataError, COPY)
        return next((reader for sniff, reader in layouts if sniff(items)), open_nexus)


def _refuse(path: Path, head: bytes, words: tuple[bytes, bytes]) -> None:
    """Refuse by name the formats that are known and not read."""
    if _TIMEPIX.fullmatch(path.suffix) or head.startswith(_TIMEPIX_MAGIC):
        what = "Timepix files are not read"
        raise RawDataError(what, where=path, remedy=f"Convert the events to HDF5 frames. {_KNOWN}")
    if not rigaku.sniff(*words) and is_ufxc(words[0]):
        what = "UFXC files are not read"
        remedy = f"Convert the events to IMM or HDF5 frames. {_KNOWN}"
        raise RawDataError(what, where=path, remedy=remedy)
    if head.startswith(edf_blocks.GZIP):
        raise RawDataError("this file is packed by gzip", where=path, remedy="Unpack it with gunzip")


def is_ufxc(head: bytes) -> bool:
    """Tell whether a file can be of a UFXC detector, from its first bytes: its unused bits, and frames that rise."""
    words = np.frombuffer(head[: len(head) // 4 * 4], "<u4")
    if words.size < 2 * _WORDS_TO_TRUST or (words & _UFXC_UNUSED).any():
        return False
    steps = np.diff((words >> _UFXC_FRAME).astype(np.int64))
    photons = ((words >> 15) & 3).all()
    return bool(photons and ((steps >= 0) | (steps < -_UFXC_JUMP)).all())
