"""EDF, the ESRF's data format: one file of many frames, or a series of numbered files of one frame each.

A block is a header in braces and the frame's numbers. Blocks of another kind than images (``1.Image.Error``) are left
out. A series is given as its files or as its first one; numbers that are missing among files of one frame each are
frames that were dropped, hence invalid. Packed files are refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers.chunks import signed_counts
from xpcs_assets.readers.dense import Convert, DenseSeries, detector_units, frames_in_time, usual_step
from xpcs_assets.readers.edf_blocks import DAMAGED, Block, as_number, read_blocks
from xpcs_assets.readers.npy import good_pixels_of
from xpcs_assets.readers.rawfile import RawFile, at
from xpcs_assets.readers.series import SeriesInfo
from xpcs_assets.readers.sidecar import read_sidecar, sidecar_of

SUFFIX = ".edf"

_NUMBERED = re.compile(r"(.*?)(\d+)(\.edf)", re.IGNORECASE)
_EXPOSURE = ("count_time", "acq_expo_time", "exposure_time", "exposuretime")


def open_edf(paths: Sequence[Path]) -> DenseSeries:
    """Open the files of a series, or one file; one of a single frame brings the others of its series with it.

    Raises
    ------
    RawDataError
        A file is missing, packed, cut off or of another shape or type than the first, or its header is impossible.
    MetadataError
        The sidecar is wrong.
    """
    files = sorted(paths, key=_order)
    first = read_blocks(files[0])
    if len(files) == 1 and sum(block.frames for block in first) == 1:
        files = _series(files[0])
    blocks = [first, *([replace(block, fields={}) for block in read_blocks(path)] for path in files[1:])]
    layout = first[0].layout
    for path, of_file in zip(files, blocks, strict=True):
        for block in of_file:
            if block.layout != layout:
                what = f"a frame is {block.layout}, those of the first file are {layout}"
                raise RawDataError(what, where=at(path, block.offset), remedy=DAMAGED)
    number = _numbers(files, blocks)
    n_stored = sum(block.frames for of_file in blocks for block in of_file)
    n_recorded = int(number[-1]) + 1 if number is not None else n_stored
    valid = np.ones(n_recorded, np.bool_)
    if number is not None:
        valid[:] = False
        valid[number] = True
    time_s = _times(blocks, n_recorded, number)
    info, convert = _describe(files, first[0], time_s, n_recorded, n_recorded - n_stored)
    return DenseSeries(_EdfFrames(files, blocks), info, valid, number=number, convert=convert)


def _times(blocks: list[list[Block]], n: int, number: NDArray[np.int64] | None) -> NDArray[np.float64] | None:
    """When each frame was taken, where every header says so."""
    stamps = [block.time_s for of_file in blocks for block in of_file if block.frames == 1]
    known = [stamp for stamp in stamps if stamp is not None]
    if len(known) < 2 or len(known) < sum(block.frames for of_file in blocks for block in of_file):
        return None
    time_s = np.full(n, np.nan)
    time_s[number if number is not None else slice(None)] = known
    return time_s


def _describe(
    files: list[Path], first: Block, time_s: NDArray[np.float64] | None, n_recorded: int, n_missing: int
) -> tuple[SeriesInfo, Convert]:
    found = sidecar_of(files[0])
    sidecar = read_sidecar(found) if found else None
    exposure = first.number(*_EXPOSURE)
    extra: dict[str, str | int | float] = {"missing_frames": n_missing}
    if exposure is not None:
        extra["count_time_s"] = exposure
    if as_number(first.fields.get("dummy", "")) == 0:
        extra["flags"] = "the header's Dummy is 0, which is a count too: it is not taken as a mask"
    integrating = bool(sidecar and sidecar.integrating)
    info = SeriesInfo(
        format="edf",
        kind="frames",
        shape=(first.rows, first.cols),
        n_recorded=n_recorded,
        dtype=first.dtype.newbyteorder("=").name,
        files=tuple(files),
        frame_time_s=sidecar.frame_time_s if sidecar else _frame_time_s(first, exposure, time_s),
        good_pixels=good_pixels_of(files[0], sidecar, (first.rows, first.cols)),
        time_s=time_s,
        integrating=integrating,
        extra=extra,
    )
    return info, _with_dummy(first, detector_units if integrating else signed_counts)


def _frame_time_s(first: Block, exposure: float | None, time_s: NDArray[np.float64] | None) -> float | None:
    """Exposure and dead time by the header, else the usual step of the frames' times."""
    latency = as_number(first.fields.get("acq_latency_time", ""))
    if exposure is not None and latency is not None and latency >= 0:
        return exposure + latency
    return None if time_s is None else usual_step(time_s)


def _with_dummy(block: Block, convert: Convert) -> Convert:
    """Counts with the header's dummy values marked as none; 0 is a count."""
    dummy, width = (as_number(block.fields.get(key, "")) for key in ("dummy", "ddummy"))
    if not dummy:
        return convert

    def marked(values: NDArray[Any]) -> NDArray[Any]:
        counts: NDArray[Any] = convert(values)
        counts[np.abs(values - np.float64(dummy)) <= (width or 0.0)] = np.nan if counts.dtype.kind == "f" else -1
        return counts

    return marked


def _order(path: Path) -> tuple[str, int, str]:
    match = _NUMBERED.fullmatch(path.name)
    return (match[1], int(match[2]), path.name) if match else (path.name, 0, path.name)


def _series(path: Path) -> list[Path]:
    """All files that differ from ``path`` in their number only, by number."""
    match = _NUMBERED.fullmatch(path.name)
    if match is None:
        return [path]
    files = [
        other
        for other in path.parent.iterdir()
        if (found := _NUMBERED.fullmatch(other.name)) and (found[1], found[3]) == (match[1], match[3])
    ]
    return sorted(files, key=_order)


def _numbers(files: list[Path], blocks: list[list[Block]]) -> NDArray[np.int64] | None:
    """Frame in time of each stored one, by the numbers of files of one frame; None when they follow each other."""
    if len(files) == 1:
        return None
    names = [_NUMBERED.fullmatch(path.name) for path in files]
    if len({match[1] if match else None for match in names}) != 1 or names[0] is None:
        what = f"{files[0].name!r} and {files[-1].name!r} are no files of one numbered series"
        raise RawDataError(what, where=files[0].parent, remedy=DAMAGED)
    counter = np.array([int(match[2]) for match in names if match], np.float64).astype(np.int64)
    if all(sum(block.frames for block in of_file) == 1 for of_file in blocks):
        return frames_in_time(counter, str(files[0].parent))
    gaps = np.flatnonzero(np.diff(counter) != 1)
    if gaps.size:
        what = f"the file after {files[int(gaps[0])].name!r} is missing from the series"
        raise RawDataError(what, where=files[0].parent, remedy=DAMAGED)
    return None


class _EdfFrames:
    """The frames of all files one after the other; see :class:`~xpcs_assets.readers.dense.FrameSource`."""

    layer = 1

    def __init__(self, files: list[Path], blocks: list[list[Block]]) -> None:
        self._files = files
        self._first = blocks[0][0]
        places = [
            (number, block.offset + frame * block.frame_bytes)
            for number, of_file in enumerate(blocks)
            for block in of_file
            for frame in range(block.frames)
        ]
        self._places = np.array(places, np.int64).reshape(-1, 2)
        self._open: tuple[int, RawFile] | None = None

    def read(self, begin: int, end: int) -> NDArray[Any]:
        size = self._first.frame_bytes
        raw = np.empty((end - begin, self._first.rows * self._first.cols), self._first.dtype)
        for row, (number, offset) in zip(raw, self._places[begin:end].tolist(), strict=True):
            row[:] = np.frombuffer(self._file(number).read(offset, size), self._first.dtype)
        return raw.astype(self._first.dtype.newbyteorder("="), copy=False)

    def _file(self, number: int) -> RawFile:
        if self._open is None or self._open[0] != number:
            self.close()
            self._open = number, RawFile(self._files[number])
        return self._open[1]

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None
