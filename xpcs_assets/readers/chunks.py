"""What every reader does to a chunk before it hands it out: ranges checked, counts signed, no event twice."""

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


def signed_counts(values: NDArray[Any]) -> NDArray[np.int16] | NDArray[np.int32] | NDArray[np.float32]:
    """Stored values as int16 or int32, or float32 where they are floats, with what is no count marked.

    The largest value of an integer type marks a masked or overflowed pixel; it and all that exceeds int32
    become -1 (from uint32 some other negative number). Infinities become NaN; negative floats are values.
    Unsigned values are not copied where the same bytes can be taken as signed: copies cost more than unpacking.
    """
    if values.dtype.kind == "f":
        counts = values.astype(np.float32)
        counts[~np.isfinite(counts)] = np.nan
        return counts
    if values.dtype == np.uint32:
        # Reinterpreted, not copied: 2**32 - 1 is -1, and whatever exceeds int32 is negative.
        return values.view(np.int32)
    if values.dtype == np.uint16 and values.view(np.int16).min(initial=0) >= -1:
        # 2**16 - 1 is -1, and nothing else is beyond int16.
        return values.view(np.int16)
    top = np.iinfo(values.dtype).max
    if values.dtype.kind == "u" and values.dtype.itemsize < 4:
        signed: NDArray[np.int16] | NDArray[np.int32]
        signed = values.astype(np.int16) if values.dtype.itemsize == 1 else values.astype(np.int32)
        # One more than the largest, in as many bits, is 0, and -1 in the end: no comparison, no second array.
        signed += 1
        signed &= top
        signed -= 1
        return signed
    whole: NDArray[np.int32] = values.astype(np.int32)
    whole[(values == top) | (values > _INT32_MAX)] = -1
    return whole


def events_once(chunk: Events, n_pixels: int, where: str) -> tuple[Events, int]:
    """The chunk with the events of one pixel in one frame summed into one, and how many were added to another.

    Raises
    ------
    RawDataError
        A pixel lies outside the detector.
    """
    from xpcs_assets.readers import event_loops

    order = event_loops.pixels_rise(chunk.frame, chunk.pixel, n_pixels)
    if order > 1:
        what = f"pixel {int(chunk.pixel[order - 2])} lies outside the detector of {n_pixels} pixels"
        raise RawDataError(what, where=f"{where}, frame {int(chunk.frame[order - 2])}", remedy=_DAMAGED)
    if not order:
        return chunk, 0
    frame, pixel, count = chunk.frame.copy(), chunk.pixel.copy(), chunk.count.copy()
    n = event_loops.join_repeats(frame, pixel, count, np.full(n_pixels, -1, np.int32))
    return Events(chunk.begin, chunk.end, frame[:n], pixel[:n], count[:n], chunk.valid), len(frame) - n


_DAMAGED = "The file is damaged or of another detector: copy it anew from the detector"
