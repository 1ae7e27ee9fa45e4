"""Frames in HDF5 as 8-ID's Eiger and Lambda detectors write them: ``/entry/data/data`` (frames, rows, columns).

Frames whose HDF5 chunks were never written are invalid, not dark: a detector that reserves its frames and is
stopped leaves such a tail. This can be told only of chunked data.
"""

from __future__ import annotations

import fcntl
import math
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import h5py
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers.chunks import MAX_PIXELS, check_range, check_recorded, signed_counts
from xpcs_assets.readers.h5file import damage, open_hdf5, said
from xpcs_assets.readers.rawfile import cannot_open
from xpcs_assets.readers.series import Frames, SeriesInfo

DATASET = "/entry/data/data"
SIGNATURE = b"\x89HDF\r\n\x1a\n"

_MAX_CHUNK_BYTES = 1 << 30
_COPY = "Copy the file anew from the detector; check whether the detector has closed it"
_SHAPE = f"A raw file holds its frames in {DATASET} as (frames, rows, columns) of numbers"


def open_nexus(path: Path) -> NexusSeries:
    """Open an HDF5 file of frames.

    Raises
    ------
    RawDataError
        No HDF5 file, still being written, truncated, without frames or with impossible ones.
    """
    with ExitStack() as stack:
        file = stack.enter_context(open_hdf5(path, RawDataError, _COPY))
        with damage(path, f"{DATASET} cannot be read", RawDataError, _COPY):
            data = _dataset(file, path)
            series = NexusSeries(path, file, data, _recorded(data))
        if not series.info.n_recorded:
            raise RawDataError("no frame was recorded", where=f"{path}:{DATASET}", remedy=_COPY)
        stack.pop_all()
    return series


def _dataset(file: h5py.File, path: Path) -> h5py.Dataset:
    data = file.get(DATASET)
    if not isinstance(data, h5py.Dataset):
        raise RawDataError(f"there is no dataset {DATASET}", where=path, remedy=_SHAPE)
    fault = _fault(data)
    if fault:
        raise RawDataError(fault, where=f"{path}:{DATASET}", remedy=_SHAPE)
    return data


def _fault(data: h5py.Dataset) -> str:
    if data.ndim != 3:
        return f"it has {data.ndim} dimensions, not 3"
    if data.dtype.kind not in "iuf" or data.dtype.itemsize > 8:
        return f"its numbers are {data.dtype}"
    if data.is_virtual or data.external is not None:
        return "its frames lie in other files; give those"
    if 0 in data.shape or data.shape[1] * data.shape[2] > MAX_PIXELS:
        return f"its shape is {data.shape}"
    if data.chunks and math.prod(data.chunks) * data.dtype.itemsize > _MAX_CHUNK_BYTES:
        return f"one HDF5 chunk {data.chunks} exceeds 1 GiB"
    return ""


def _recorded(data: h5py.Dataset) -> NDArray[np.bool_]:
    """Which frames up to the last recorded one were written, (n_recorded,)."""
    frames = int(data.shape[0])
    if data.chunks is None:
        # Space that was never reserved holds no frame.
        return np.ones(frames if data.id.get_storage_size() else 0, np.bool_)
    steps = [-(-side // step) for side, step in zip(data.shape, data.chunks, strict=True)]
    in_layer = steps[1] * steps[2]
    if data.id.get_num_chunks() == math.prod(steps):
        return np.ones(frames, np.bool_)
    # Counted from what the file holds, never from what its header claims.
    firsts: list[int] = []
    data.id.chunk_iter(lambda info: firsts.append(int(info.chunk_offset[0])))
    first, stored = np.unique(np.array(firsts, np.int64), return_counts=True)
    whole = first[stored == in_layer]
    if not whole.size:
        return np.zeros(0, np.bool_)
    recorded = np.zeros(min(frames, int(whole[-1]) + data.chunks[0]), np.bool_)
    for begin in whole.tolist():
        recorded[begin : begin + data.chunks[0]] = True
    return recorded


class NexusSeries:
    """An open HDF5 file of frames; made by :func:`open_nexus`."""

    def __init__(self, path: Path, file: h5py.File, data: h5py.Dataset, recorded: NDArray[np.bool_]) -> None:
        self._path, self._file, self._data, self._recorded = path, file, data, recorded
        rows, cols = int(data.shape[1]), int(data.shape[2])
        self.info = SeriesInfo(
            format="nexus_hdf5",
            kind="frames",
            shape=(rows, cols),
            n_recorded=int(recorded.size),
            dtype=data.dtype.name,
            files=(path,),
            extra={
                "dataset_frames": int(data.shape[0]),
                "unwritten_frames": int(data.shape[0]) - int(recorded.sum()),
                "compression": _filters(data),
            },
        )

    def chunks(self, begin: int, end: int, *, max_bytes: int = 64 << 20) -> Iterator[Frames]:
        """Yield the frames [begin, end); see :class:`~xpcs_assets.readers.series.RawSeries`.

        Raises
        ------
        RawDataError
            No such frames, or damaged ones.
        """
        check_range(begin, end, self._path)
        check_recorded(end, self.info.n_recorded, self._path)
        step = self._step(max_bytes)
        while begin < end:
            # Ends where an HDF5 chunk ends, so that each is unpacked once.
            stop = min(end, begin + step - begin % (self._layer if step >= self._layer else 1))
            yield Frames(begin, self._read(begin, stop), self._recorded[begin:stop])
            begin = stop

    @property
    def _layer(self) -> int:
        return int(self._data.chunks[0]) if self._data.chunks else 1

    def _step(self, max_bytes: int) -> int:
        rows, cols = self.info.shape
        per_frame = rows * cols * (self._data.dtype.itemsize + 4)
        step: int = max(1, max_bytes // per_frame)
        return step - step % self._layer if step >= self._layer else step

    def _read(self, begin: int, end: int) -> NDArray[np.generic]:
        # Everything else may be damaged where the frames are not: only the read itself says so.
        rows, cols = self.info.shape
        raw = np.empty((end - begin, rows, cols), self._data.dtype.newbyteorder("="))
        try:
            self._data.read_direct(raw, np.s_[begin:end])
        except (OSError, RuntimeError, ValueError) as error:
            frame = self._first_damaged(begin, end)
            where = f"{self._path}:{DATASET}, frame {frame}"
            raise RawDataError(f"the frame cannot be read ({said(error)})", where=where, remedy=_COPY) from error
        return signed_counts(raw.reshape(end - begin, rows * cols))

    def _first_damaged(self, begin: int, end: int) -> int:
        for frame in range(begin, end):
            try:
                self._data[frame]
            except (OSError, RuntimeError, ValueError):
                return frame
        return begin

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _filters(data: h5py.Dataset) -> str:
    known = data.id.get_create_plist()
    names = [known.get_filter(i)[3].decode("ascii", "replace").split(";")[0] for i in range(known.get_nfilters())]
    return ", ".join(names) or "none"


def being_written(path: Path) -> bool:
    """Tell whether a file is an HDF5 file that its writer has not finished.

    True for a file without a first byte, one that begins with zeros (reserved, not yet written), one that
    another process holds HDF5's write lock of, one whose header says "open for writing" (SWMR) and one that is
    shorter than it says of itself. False for a file that is no HDF5 file at all: it will never become one. A
    writer that died leaves a file of the last two kinds for ever, so callers need a time limit of their own.

    Raises
    ------
    RawDataError
        The file has vanished or may not be read.
    """
    try:
        with path.open("rb") as handle:
            head = handle.read(len(SIGNATURE))
            if _locked(handle.fileno()):
                return True
    except OSError as error:
        raise cannot_open(path, error) from error
    if not head.strip(b"\0"):
        return True
    if not SIGNATURE.startswith(head) and not h5py.is_hdf5(path):
        return False
    return not _opens(path)


def _opens(path: Path) -> bool:
    try:
        with open_hdf5(path, RawDataError, ""):
            return True
    except RawDataError:
        return False


def _locked(descriptor: int) -> bool:
    # HDF5 takes this lock while it writes. It is held here for microseconds only.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False
