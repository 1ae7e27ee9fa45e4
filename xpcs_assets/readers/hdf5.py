"""Frames in HDF5 as 8-ID's Eiger and Lambda detectors write them: ``/entry/data/data`` (frames, rows, columns).

Frames whose HDF5 chunks were never written are invalid, not dark: a detector that reserves its frames and is
stopped leaves such a tail. This can be told only of chunked data.
"""

from __future__ import annotations

import fcntl
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import NoFrameYetError, RawDataError
from xpcs_assets.readers.chunks import MAX_PIXELS
from xpcs_assets.readers.dense import DenseSeries
from xpcs_assets.readers.h5chunks import ChunkCheck
from xpcs_assets.readers.h5file import damage, open_hdf5, said
from xpcs_assets.readers.h5items import Items
from xpcs_assets.readers.rawfile import WAIT, cannot_open
from xpcs_assets.readers.series import SeriesInfo

DATASET = "/entry/data/data"
SIGNATURE = b"\x89HDF\r\n\x1a\n"
COPY = "Copy the file anew from the detector; check whether the detector has closed it"

MASKS = (
    "/entry/instrument/detector/pixel_mask",
    "/entry/instrument/detector/detectorSpecific/pixel_mask",
    "/entry/instrument/detector_1/pixel_mask",
)
"""Where a file may hold its detector's mask: (rows, columns), not 0 for bad pixels and gaps."""

_FRAME_TIME = ("/entry/instrument/detector_1/frame_time", "/entry/instrument/detector/frame_time")
_COUNT_TIME = ("/entry/instrument/detector_1/count_time", "/entry/instrument/detector/count_time")
_MAX_CHUNK_BYTES = 1 << 30
_SWMR = "HDF5 gives a growing file only where its writer is in SWMR mode: set it, or correlate the closed file"


def open_nexus(path: Path, *, growing: bool = False) -> DenseSeries:
    """Open an HDF5 file of frames; the whole frames of a ``growing`` one, whose writer lets it be read (SWMR).

    Raises
    ------
    RawDataError
        No HDF5 file, still being written, truncated, without frames or with impossible ones.
    NoFrameYetError
        A growing file holds no whole frame.
    """
    remedy = _SWMR if growing else COPY
    with ExitStack() as stack:
        file = stack.enter_context(open_hdf5(path, RawDataError, remedy, growing=growing))
        with damage(path, f"{DATASET} cannot be read", RawDataError, remedy):
            items = Items(file, path, RawDataError, remedy)
            frames = H5Frames.of(items, DATASET, growing=growing)
            good_pixels, note = good_pixels_of(items, frames.shape)
            info = SeriesInfo(
                format="nexus_hdf5",
                kind="frames",
                shape=frames.shape,
                n_recorded=frames.n_recorded,
                dtype=frames.dtype,
                files=(path,),
                frame_time_s=_positive(items, _FRAME_TIME),
                good_pixels=good_pixels,
                extra=frames.facts() | _exposure(items) | note,
            )
        stack.pop_all()
    return DenseSeries(frames, info, frames.recorded)


def _positive(items: Items, names: tuple[str, ...]) -> float | None:
    value = items.number(*names)
    return value if value is not None and value > 0 else None


def _exposure(items: Items) -> dict[str, str | int | float]:
    count_time_s = _positive(items, _COUNT_TIME)
    return {} if count_time_s is None else {"count_time_s": count_time_s}


def good_pixels_of(
    items: Items, shape: tuple[int, int]
) -> tuple[NDArray[np.bool_] | None, dict[str, str | int | float]]:
    """The detector's own mask where the file has one, and a note where it has one that is not used."""
    for name in MASKS:
        mask = items.image(name, shape)
        if mask is not None:
            return mask == 0, {}
    for name in MASKS:
        other = items.dataset(name)
        if other is not None and other.shape not in ((), None):
            return None, {"flags": f"the detector's mask {name} was not used: its shape is {other.shape}"}
    return None, {}


class H5Frames:
    """A dataset of frames, (frames, rows, columns) or (points, exposures, rows, columns); closes its file.

    Attributes
    ----------
    shape
        Rows and columns.
    dtype
        Name of the type of the stored values.
    n_recorded
        Last recorded frame + 1.
    recorded
        (n_recorded,) bool, which frames were written.
    layer
        Frames in an HDF5 chunk.
    """

    def __init__(self, path: Path, name: str, file: h5py.File, data: h5py.Dataset) -> None:
        self._path, self._name, self._file, self._data = path, name, file, data
        self._chunk_check = ChunkCheck(data)
        self._exposures = int(data.shape[1]) if data.ndim == 4 else 1
        self.shape = int(data.shape[-2]), int(data.shape[-1])
        self.dtype: str = data.dtype.name
        self.recorded = np.repeat(_recorded(data), self._exposures)
        self.n_recorded = int(self.recorded.size)
        self.layer = int(data.chunks[0]) * self._exposures if data.chunks else 1

    @classmethod
    def of(cls, items: Items, name: str, dimensions: tuple[int, ...] = (3,), *, growing: bool = False) -> H5Frames:
        """Take the dataset ``name`` of an open file, which is closed with the frames.

        Raises
        ------
        RawDataError
            It is not there, cannot hold frames, or none was recorded.
        NoFrameYetError
            None was recorded, in a ``growing`` file.
        """
        remedy = f"A raw file of this kind holds its frames in {name} as numbers, rows and columns last"
        data = items.dataset(name)
        if data is None:
            raise RawDataError(f"there is no dataset {name}", where=items.path, remedy=remedy)
        none_yet = NoFrameYetError("no whole frame was recorded yet", where=f"{items.path}:{name}", remedy=WAIT)
        if growing and data.shape and data.shape[0] == 0:
            raise none_yet
        fault = _fault(data, dimensions)
        if fault:
            raise RawDataError(fault, where=f"{items.path}:{name}", remedy=remedy)
        frames = cls(items.path, name, items.file, data)
        if growing:
            frames._leave_out_last()
            if not frames.n_recorded:
                raise none_yet
        if not frames.n_recorded:
            raise RawDataError("no frame was recorded", where=f"{items.path}:{name}", remedy=COPY)
        return frames

    def _leave_out_last(self) -> None:
        """End before the last chunk where that may hold frames that are still to come."""
        if self.layer > 1:
            self.n_recorded = max(self.n_recorded - 1, 0) // self.layer * self.layer
            self.recorded = self.recorded[: self.n_recorded]

    def facts(self) -> dict[str, str | int | float]:
        """What the dataset says of itself: for ``SeriesInfo.extra``."""
        claimed = int(self._data.shape[0]) * self._exposures
        return {
            "dataset_frames": claimed,
            "unwritten_frames": claimed - int(self.recorded.sum()),
            "compression": _filters(self._data),
        }

    def attribute(self, name: str) -> int | None:
        """A whole number that is an attribute of the dataset; None where there is none."""
        if name not in self._data.attrs or self._data.attrs.get_id(name).dtype.kind not in "iu":
            return None
        values = np.asarray(self._data.attrs[name]).reshape(-1)
        return int(values[0]) if values.size == 1 else None

    def read(self, begin: int, end: int) -> NDArray[Any]:
        """The frames [begin, end); see :class:`~xpcs_assets.readers.dense.FrameSource`."""
        # Everything else may be damaged where the frames are not: only the read itself says so.
        raw = np.empty((end - begin, *self.shape), self._data.dtype.newbyteorder("="))
        try:
            self._fill(raw, begin, end)
        except (OSError, RuntimeError, ValueError) as error:
            frame = self._first_damaged(begin, end)
            where = f"{self._path}:{self._name}, frame {frame}"
            raise RawDataError(f"the frame cannot be read ({said(error)})", where=where, remedy=COPY) from error
        return raw.reshape(end - begin, self.shape[0] * self.shape[1])

    def _fill(self, raw: NDArray[Any], begin: int, end: int) -> None:
        self._chunk_check.check(begin // self._exposures, -(-end // self._exposures))
        if self._data.ndim == 3:
            self._data.read_direct(raw, np.s_[begin:end])
            return
        at = begin
        while at < end:
            point, exposure = divmod(at, self._exposures)
            n = min(end - at, self._exposures - exposure)
            self._data.read_direct(raw[at - begin : at - begin + n], np.s_[point, exposure : exposure + n])
            at += n

    def _first_damaged(self, begin: int, end: int) -> int:
        one = np.empty((1, *self.shape), self._data.dtype.newbyteorder("="))
        for frame in range(begin, end):
            try:
                self._fill(one, frame, frame + 1)
            except (OSError, RuntimeError, ValueError):
                return frame
        return begin

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _fault(data: h5py.Dataset, dimensions: tuple[int, ...]) -> str:
    if data.ndim not in dimensions:
        return f"it has {data.ndim} dimensions, not {' or '.join(map(str, dimensions))}"
    if data.dtype.kind not in "iuf" or data.dtype.itemsize > 8:
        return f"its numbers are {data.dtype}"
    if data.is_virtual or data.external is not None:
        return "its frames lie in other files; give those"
    if 0 in data.shape or data.shape[-1] * data.shape[-2] > MAX_PIXELS:
        return f"its shape is {data.shape}"
    if data.chunks and math.prod(data.chunks) * data.dtype.itemsize > _MAX_CHUNK_BYTES:
        return f"one HDF5 chunk {data.chunks} exceeds 1 GiB"
    return _too_long(data)


def _too_long(data: h5py.Dataset) -> str:
    """Frames that lie in one piece fit into the file; HDF5 gives zeros for what lies beyond its end."""
    stored, file_bytes = data.id.get_storage_size(), data.file.id.get_filesize()
    if data.chunks is None and stored > file_bytes:
        return f"its frames take {stored} bytes, the file has {file_bytes}"
    return ""


def _recorded(data: h5py.Dataset) -> NDArray[np.bool_]:
    """Which members of the first axis, up to the last recorded one, were written."""
    frames = int(data.shape[0])
    if data.chunks is None:
        # Space that was never reserved holds no frame.
        return np.ones(frames if data.id.get_storage_size() else 0, np.bool_)
    steps = [-(-side // step) for side, step in zip(data.shape, data.chunks, strict=True)]
    in_layer = math.prod(steps[1:])
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
