"""A stack of frames in a ``.npy`` file, (frames, rows, columns), with a JSON sidecar that tells the times.

See :mod:`xpcs_assets.readers.sidecar` for the sidecar. The header is taken as ``numpy.save`` writes it and not
evaluated.
"""

from __future__ import annotations

import math
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers.chunks import MAX_PIXELS, signed_counts
from xpcs_assets.readers.dense import DenseSeries, detector_units
from xpcs_assets.readers.rawfile import RawFile, at
from xpcs_assets.readers.series import SeriesInfo
from xpcs_assets.readers.sidecar import Sidecar, read_sidecar, sidecar_of

MAGIC = b"\x93NUMPY"

_MAX_HEADER_BYTES = 1 << 16
_HEADER = re.compile(
    rb"\{'descr': '([<>|=]?[biufc]\d{1,2})', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), \}\s*"
)
_REMEDY = "Write the frames with numpy.save as one array (frames, rows, columns) of numbers"


class _Header:
    """Type, shape and place of the one array in a file."""

    def __init__(self, file: RawFile, kinds: str = "iuf", dimensions: int = 3) -> None:
        head = bytes(file.read(0, min(file.size_bytes, _MAX_HEADER_BYTES)))
        if not head.startswith(MAGIC) or len(head) < len(MAGIC) + 6:
            raise RawDataError("this is no .npy file", where=file.path, remedy=_REMEDY)
        wide = 2 if head[len(MAGIC)] == 1 else 4
        begin = len(MAGIC) + 2 + wide
        self.offset = begin + int.from_bytes(head[begin - wide : begin], "little")
        match = _HEADER.fullmatch(head[begin : self.offset]) if self.offset <= len(head) else None
        if match is None:
            raise RawDataError("its header is damaged or of no plain array", where=at(file.path, 0), remedy=_REMEDY)
        try:
            self.dtype = np.dtype(match[1].decode())
        except TypeError as error:
            raise RawDataError(f"its numbers are {match[1]!r}", where=at(file.path, 0), remedy=_REMEDY) from error
        if match[2] == b"True":
            raise RawDataError("its order is Fortran's", where=at(file.path, 0), remedy=_REMEDY)
        self.shape = tuple(int(side) for side in match[3].split(b",") if side.strip())
        self._check(file, kinds, dimensions)

    def _check(self, file: RawFile, kinds: str, dimensions: int) -> None:
        """Refuse an array of other numbers or dimensions, and one that the file does not hold."""
        fault = ""
        if self.dtype.kind not in kinds:
            fault = f"its numbers are {self.dtype}"
        elif len(self.shape) != dimensions:
            fault = f"it has {len(self.shape)} dimensions, not {dimensions}"
        elif 0 in self.shape or self.shape[-1] * self.shape[-2] > MAX_PIXELS:
            fault = f"its shape is {self.shape}"
        if fault:
            raise RawDataError(fault, where=at(file.path, 0), remedy=_REMEDY)
        needed = math.prod(self.shape) * self.dtype.itemsize
        if file.size_bytes - self.offset != needed:
            what = f"its frames {self.shape} take {needed} bytes, the file holds {file.size_bytes - self.offset}"
            raise RawDataError(what, where=at(file.path, self.offset), remedy="Copy the file anew")


class _Stack:
    """The frames of one file; see :class:`~xpcs_assets.readers.dense.FrameSource`."""

    layer = 1

    def __init__(self, file: RawFile, header: _Header) -> None:
        self._file, self._header = file, header
        self._pixels = header.shape[1] * header.shape[2]

    def read(self, begin: int, end: int) -> NDArray[Any]:
        dtype = self._header.dtype
        per_frame = self._pixels * dtype.itemsize
        block = self._file.read(self._header.offset + begin * per_frame, (end - begin) * per_frame)
        return (
            np.frombuffer(block, dtype).reshape(end - begin, self._pixels).astype(dtype.newbyteorder("="), copy=False)
        )

    def close(self) -> None:
        self._file.close()


def open_npy(path: Path) -> DenseSeries:
    """Open a stack; without a sidecar its frame time is unknown and its values are taken as photons.

    Raises
    ------
    RawDataError
        No such stack, or cut off.
    MetadataError
        The sidecar is wrong.
    """
    with ExitStack() as stack:
        file = stack.enter_context(RawFile(path))
        header = _Header(file)
        found = sidecar_of(path)
        sidecar = read_sidecar(found) if found else None
        frames, rows, cols = header.shape
        info = SeriesInfo(
            format="npy",
            kind="frames",
            shape=(rows, cols),
            n_recorded=frames,
            dtype=header.dtype.newbyteorder("=").name,
            files=(path,),
            frame_time_s=sidecar.frame_time_s if sidecar else None,
            good_pixels=good_pixels_of(path, sidecar, (rows, cols)),
            integrating=bool(sidecar and sidecar.integrating),
        )
        stack.pop_all()
    convert = detector_units if info.integrating else signed_counts
    return DenseSeries(_Stack(file, header), info, np.ones(frames, np.bool_), convert=convert)


def good_pixels_of(raw: Path, sidecar: Sidecar | None, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    """The mask that a raw file's sidecar names; None where it names none.

    Raises
    ------
    RawDataError
        It is no mask of booleans, (rows, columns), or of another shape.
    """
    if sidecar is None or not sidecar.good_pixels:
        return None
    with RawFile(raw.with_name(sidecar.good_pixels)) as file:
        header = _Header(file, "b", 2)
        if header.shape != shape:
            what = f"the mask is {header.shape}, the frames are {shape}"
            raise RawDataError(what, where=file.path, remedy="Write a mask of the frames' rows and columns")
        return np.asarray(np.frombuffer(file.read(header.offset, shape[0] * shape[1]), np.uint8).reshape(shape) != 0)
