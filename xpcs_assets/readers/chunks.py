"""What every reader does to a chunk before it hands it out: ranges checked, counts signed, events in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers.series import Events

MAX_PIXELS = 1 << 26
"""Pixels of the largest detector believed, 67 million; a header that claims more is damaged."""

_INT32_MAX = np.iinfo(np.int32).max


def check_range(begin: int, end: int, where: Path) -> None:
    """Refuse frames [begin, end) that make no range.

    Raises
    ------
    RawDataError
        ``begin`` is below 0 or beyond ``end``.
    """
    if not 0 <= begin <= end:
        raise RawDataError(f"frames [{begin}, {end}) are no range", where=where, remedy="Frames count from 0")


def check_recorded(end: int, n_recorded: int, where: Path) -> None:
    """Refuse frames that a frame format does not hold.

    Raises
    ------
    RawDataError
        ``end`` is beyond ``n_recorded``.
    """
    if end > n_recorded:
        what = f"frames up to {end} were asked for, the file holds {n_recorded}"
        raise RawDataError(what, where=where, remedy="Take the number of frames from the file, or copy it anew")


def signed_counts(values: NDArray[Any]) -> NDArray[np.int32] | NDArray[np.float32]:
    """Stored values as int32, or float32 where they are floats, with what is no count turned negative.

    The largest value of an integer type marks a masked or overflowed pixel; it and all that exceeds int32
    become -1 (from uint32 some other negative number). NaN and infinities become -1.
    """
    if values.dtype.kind == "f":
        counts = values.astype(np.float32)
        counts[~np.isfinite(counts)] = -1
        return counts
    if values.dtype == np.uint32:
        # Reinterpreted, not copied: 2**32 - 1 is -1, and whatever exceeds int32 is negative.
        return values.view(np.int32)
    top = np.iinfo(values.dtype).max
    signed = values.astype(np.int32)
    signed[(values == top) | (values > _INT32_MAX)] = -1
    return signed


def events_in_order(chunk: Events, n_pixels: int, where: str) -> Events:
    """The chunk with each frame's pixels ascending; sorted only where the file had them otherwise.

    Raises
    ------
    RawDataError
        A pixel lies outside the detector or comes twice in one frame.
    """
    outside = chunk.pixel.view(np.uint32) >= n_pixels
    if outside.any():
        first = int(np.argmax(outside))
        what = f"pixel {int(chunk.pixel[first])} lies outside the detector of {n_pixels} pixels"
        raise RawDataError(what, where=f"{where}, frame {int(chunk.frame[first])}", remedy=_DAMAGED)
    if _rising(chunk.frame, chunk.pixel).all():
        return chunk
    order = np.lexsort((chunk.pixel, chunk.frame))
    frame, pixel, count = chunk.frame[order], chunk.pixel[order], chunk.count[order]
    twice = ~_rising(frame, pixel)
    if twice.any():
        first = int(np.argmax(twice))
        what = f"pixel {int(pixel[first])} comes twice in one frame"
        raise RawDataError(what, where=f"{where}, frame {int(frame[first])}", remedy=_DAMAGED)
    return Events(chunk.begin, chunk.end, frame, pixel, count, chunk.valid)


_DAMAGED = "The file is damaged or of another detector: copy it anew from the detector"


def _rising(frame: NDArray[np.int64], pixel: NDArray[np.int32]) -> NDArray[np.bool_]:
    return (pixel[1:] > pixel[:-1]) | (frame[1:] > frame[:-1])
