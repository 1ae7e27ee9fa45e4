"""Raw files that are still being written: opened up to the last frame that is known to be whole.

IMM is followed frame by frame. In Rigaku files a frame is whole when a later one has begun, of a 3M in all six files.
HDF5 (``/entry/data/data``) can only be read meanwhile where its writer is in SWMR mode. Whoever follows a file opens
it anew for each look at it: an open series does not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import h5py

from xpcs_assets.errors import NoFrameYetError, RawDataError
from xpcs_assets.readers import imm, rigaku, rigaku3m
from xpcs_assets.readers.hdf5 import SIGNATURE, being_written, open_nexus
from xpcs_assets.readers.rawfile import WAIT, cannot_open
from xpcs_assets.readers.series import RawSeries


class Present(NamedTuple):
    """A file as it is now: its length in bytes, and the file system's number of it; both 0 where there is none yet."""

    size_bytes: int
    node: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """Look at a file.

        Raises
        ------
        RawDataError
            It may not be looked at.
        """
        try:
            found = path.stat()
        except FileNotFoundError:
            return cls(0, 0)
        except OSError as error:
            raise cannot_open(path, error) from error
        return cls(found.st_size, found.st_ino)


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The files that make the run: the six modules of a Rigaku 3M, by whichever of them it was named."""
    if rigaku3m.is_module_name(paths[0].name):
        return rigaku3m.named_modules(paths[0])
    return list(paths)


def open_growing(paths: Sequence[Path]) -> RawSeries:
    """Open a run that is still being written; its series ends with its last whole frame.

    Raises
    ------
    NoFrameYetError
        There is no whole frame yet.
    RawDataError
        The file is damaged, or runs of its format cannot be followed.
    """
    files = files_of(paths)
    if not all(Present.of(path).size_bytes for path in files):
        raise NoFrameYetError("it holds no byte yet", where=files[0], remedy=WAIT)
    if rigaku3m.is_module_name(files[0].name):
        return rigaku3m.open_rigaku3m(files, growing=True)
    if len(files) > 1:
        raise _not_followed(files[0])
    (path,) = files
    head = _head(path)
    if head.startswith(SIGNATURE):
        return open_nexus(path, growing=True)
    if path.suffix.lower() == ".imm" or imm.sniff(head):
        return imm.open_imm(path, growing=True)
    if path.suffix.lower() == ".bin":
        return rigaku.open_rigaku(path, growing=True)
    raise _not_followed(path)


def is_closed(paths: Sequence[Path]) -> bool:
    """Tell whether a writer is known to have finished: of HDF5 alone that can be told from the file.

    Raises
    ------
    RawDataError
        The file may not be read.
    """
    (path, *_) = paths
    return bool(path.is_file() and h5py.is_hdf5(path) and not being_written(path))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(imm.HEADER_BYTES)
    except OSError as error:
        raise cannot_open(path, error) from error


def _not_followed(path: Path) -> RawDataError:
    remedy = "Correlate it when it is complete. IMM, Rigaku and SWMR HDF5 (/entry/data/data) can be followed"
    return RawDataError("a run of this format cannot be followed", where=path, remedy=remedy)
