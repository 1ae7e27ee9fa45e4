"""What every reader gives: a :class:`RawSeries` that yields chunks in time order.

Frames are numbered from 0 as recorded. A frame that was recorded empty is valid time; a frame that was
never recorded is invalid, which is not the same as empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Events:
    """Photon events of the frames [begin, end), sorted by frame.

    Attributes
    ----------
    begin, end
        The frames this chunk covers, 0-based as recorded; frames without events are covered too.
    frame
        (E,) int32 or int64, frame number of each event, begin <= frame < end, ascending.
    pixel
        (E,) int32, flat pixel index, row * columns + column.
    count
        (E,) int32, photons (or detector units); negative means masked or overflowed.
    valid
        (end - begin,) bool, False for frames that do not count in time.
    """

    begin: int
    end: int
    frame: NDArray[np.int32] | NDArray[np.int64]
    pixel: NDArray[np.int32]
    count: NDArray[np.int32]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class Frames:
    """Dense frames [begin, begin + n).

    Attributes
    ----------
    begin
        Number of the first frame, 0-based as recorded.
    counts
        (n, rows * columns), in the detector's units. Integer, int16 or int32: negative means masked or overflowed (a
        pixel at its type's maximum has been turned to -1). float32: NaN means masked or overflowed, and negative
        values count: dark-subtracted detector units are signed.
    valid
        (n,) bool, False for frames that do not count in time.
    """

    begin: int
    counts: NDArray[np.generic]
    valid: NDArray[np.bool_]

    @property
    def end(self) -> int:
        """One past the last frame of the chunk."""
        return self.begin + int(self.counts.shape[0])


Chunk = Events | Frames


@dataclass(frozen=True, eq=False)
class SeriesInfo:
    """What a reader knows of a series before reading it all.

    Attributes
    ----------
    format
        ``imm``, ``rigaku500k``, ``nexus_hdf5`` and so on.
    kind
        How the file stores counts: ``events`` or ``frames``.
    shape
        Detector rows and columns, pixels.
    n_recorded
        Last recorded frame + 1. Formats without empty frames (Rigaku) cannot know of empty ones at the end.
    dtype
        The counts' type as stored.
    files
        The raw files, in reading order.
    frame_time_s
        Frame period if the raw file itself tells it, s.
    good_pixels
        (rows, columns) bool, the detector's own mask, False for bad pixels and gaps; None where the file has none.
    time_s
        (n_recorded,) float64, when each frame was taken, s from any origin, NaN where the file does not tell; None
        where it has no time stamps.
    shutter_open
        (n_recorded,) bool; None where the file does not tell.
    frames_per_burst
        Frames taken in one go where the file holds several such bursts; 0 for an evenly spaced series.
    integrating
        Whether counts are detector units of an integrating detector rather than photons.
    extra
        What else the file says (compression, ``immversion``, occupancy, ...), plain values with units in names.
    """

    format: str
    kind: Literal["events", "frames"]
    shape: tuple[int, int]
    n_recorded: int
    dtype: str
    files: tuple[Path, ...]
    frame_time_s: float | None = None
    good_pixels: NDArray[np.bool_] | None = None
    time_s: NDArray[np.float64] | None = None
    shutter_open: NDArray[np.bool_] | None = None
    frames_per_burst: int = 0
    integrating: bool = False
    extra: dict[str, str | int | float] = field(default_factory=dict)


@runtime_checkable
class RawSeries(Protocol):
    """An open raw series. Use it as a context manager."""

    info: SeriesInfo

    def chunks(self, begin: int, end: int, *, max_bytes: int = 64 << 20) -> Iterator[Chunk]:
        """Yield the frames [begin, end) in order, in chunks of about ``max_bytes``.

        ``end`` may exceed ``info.n_recorded``: the frames beyond come as valid and empty for event formats
        (the caller knows from the metadata that they were measured), and raise RawDataError for frame formats.
        """
        ...

    def close(self) -> None:
        """Release the files."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...
