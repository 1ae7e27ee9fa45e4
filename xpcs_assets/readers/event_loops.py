"""The compiled loops of the event readers: stored words to events, and events that come twice in a frame."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.compiled import compiled

Columns: TypeAlias = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]
"""Frame, pixel and count of events, (E,) int32 each."""

BACKWARDS, OUTSIDE = 1, 2
"""Why :func:`decode_words` stopped: a frame earlier than the one before or beyond the range, an impossible pixel."""

_INT32_MAX = 2**31 - 1


@compiled
def decode_words(
    words: NDArray[np.uint64],
    begin: int,
    end: int,
    first_pixel: int,
    n_pixels: int,
    place: NDArray[np.int32],
    frame: NDArray[np.int32],
    pixel: NDArray[np.int32],
    count: NDArray[np.int32],
) -> tuple[int, int, int, bool]:
    """Take 64-bit event words apart: bits 63..40 the frame, 36..16 the pixel, 11..0 the count.

    Parameters
    ----------
    words
        (W,) uint64, of the frames [begin, end).
    begin, end
        Frames must be ascending in this range.
    first_pixel, n_pixels
        Number that the words give the module's first pixel, and pixels of the module.
    place
        (n_pixels,) int32, index of each pixel in the whole detector, -1 leaves it out; empty: the pixel itself.
    frame, pixel, count
        (W,) int32, filled.

    Returns
    -------
    Events made; 0 or the fault (:data:`BACKWARDS`, :data:`OUTSIDE`); the word it was found at; whether the pixels of
    every frame ascend, so that none comes twice.
    """
    made, last_frame, last_pixel, falls = 0, begin, -1, 0
    for at in range(words.shape[0]):
        word = words[at]
        f = int(word >> np.uint64(40))
        p = int((word >> np.uint64(16)) & np.uint64(0x1FFFFF)) - first_pixel
        if f < last_frame or f >= end:
            return made, BACKWARDS, at, falls == 0
        if p < 0 or p >= n_pixels:
            return made, OUTSIDE, at, falls == 0
        falls |= (p <= last_pixel) & (f == last_frame)
        last_frame, last_pixel = f, p
        q = int(place[p]) if place.shape[0] > 0 else p
        frame[made] = f
        pixel[made] = q
        count[made] = word & np.uint64(0xFFF)
        made += q >= 0
    return made, 0, 0, falls == 0


@compiled
def join_repeats(
    frame: NDArray[np.int32] | NDArray[np.int64],
    pixel: NDArray[np.int32],
    count: NDArray[np.int32],
    seen: NDArray[np.int32],
) -> int:
    """Sum the events of one pixel in one frame, in place; return how many are left.

    ``seen`` has an element for each pixel, all -1; it is changed. A negative count, masked or overflowed, stays so.
    """
    made = 0
    for e in range(frame.shape[0]):
        f, p, c = frame[e], pixel[e], np.int64(count[e])
        earlier = seen[p]
        if earlier >= 0 and frame[earlier] == f:
            both = np.int64(count[earlier]) + c
            count[earlier] = -1 if c < 0 or count[earlier] < 0 or both > _INT32_MAX else both
        else:
            frame[made], pixel[made], count[made] = f, p, c
            seen[p] = made
            made += 1
    return made


@compiled
def pixels_rise(frame: NDArray[np.int32] | NDArray[np.int64], pixel: NDArray[np.int32], n_pixels: int) -> int:
    """0: the pixels of every frame ascend; 1: they do not; 2 or more: event minus 2 lies outside the detector."""
    falls = 0
    for e in range(frame.shape[0]):
        if pixel[e] < 0 or pixel[e] >= n_pixels:
            return e + 2
        if e > 0 and pixel[e] <= pixel[e - 1] and frame[e] == frame[e - 1]:
            falls = 1
    return falls


@compiled
def merge_two(first: Columns, second: Columns, merged: Columns) -> None:
    """Merge two (frame, pixel, count), each ascending in frame; of one frame, the first's events come first."""
    i, j, n_first, n_second = 0, 0, first[0].shape[0], second[0].shape[0]
    for at in range(n_first + n_second):
        if j == n_second or (i < n_first and first[0][i] <= second[0][j]):
            merged[0][at], merged[1][at], merged[2][at] = first[0][i], first[1][i], first[2][i]
            i += 1
        else:
            merged[0][at], merged[1][at], merged[2][at] = second[0][j], second[1][j], second[2][j]
            j += 1
