"""Measured time stamps against an even time axis: frames that were dropped are gaps, the rest is jitter.

The step is the median of the measured ones. A step of n + 1 of those is n dropped frames, unless its neighbours make
up for it: then a frame was only late.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine.select import cut
from xpcs_assets.readers.series import Chunk, Events, Frames

JITTER_LIMIT = 0.01
"""Jitter and error of the frame time, as fractions of it, above which a run is flagged."""
# Steps that lie further from whole ones, in the median, tell no gap from jitter.
_BLUR_LIMIT = 0.1


@dataclass(frozen=True, eq=False)
class Timeline:
    """Where each recorded frame lies in even time.

    Attributes
    ----------
    slot
        (n + 1,) int64, frame in time of each of the n recorded frames, rising; the last is one past the end.
    flags
        What is remarkable about the time stamps, as sentences.
    """

    slot: NDArray[np.int64]
    flags: tuple[str, ...] = ()

    @classmethod
    def even(cls, n_frames: int) -> Self:
        """The timeline of frames without gaps."""
        return cls(np.arange(n_frames + 1))

    @classmethod
    def of(cls, time_s: NDArray[np.float64] | None, n_frames: int, frame_time_s: float, begin: int = 0) -> Self:
        """Find the gaps in measured time stamps.

        Parameters
        ----------
        time_s
            (n,) float64, s, NaN where unknown; None without time stamps.
        n_frames
            Recorded frames of the analysis; those beyond the stamps follow evenly.
        frame_time_s
            What the metadata say, s.
        begin
            First frame that matters: those before, such as dark ones, may have been taken at any time.
        """
        index = np.flatnonzero(np.isfinite(time_s)) if time_s is not None else np.empty(0, np.int64)
        index = index[(index >= begin) & (index < n_frames)]
        if time_s is None or len(index) < 3:
            return cls.even(n_frames)
        steps, apart = np.diff(time_s[index]), np.diff(index)
        step_s = float(np.median(steps / apart))
        if not step_s > 0:
            return cls(np.arange(n_frames + 1), ("the time stamps do not rise: they were not used",))
        missing, blur = _missing(time_s[index] / step_s, index)
        if missing.sum() > n_frames or blur > _BLUR_LIMIT:
            told = f"the time stamps are not even (median step {step_s:.6g} s): they were not used"
            return cls(np.arange(n_frames + 1), (f"{told}. Is it a series of bursts? Then give --frames-per-burst",))
        shift = np.zeros(n_frames + 1, np.int64)
        shift[index[1:]] = missing
        return cls(
            np.arange(n_frames + 1) + np.cumsum(shift), tuple(_flags(steps, apart, missing, step_s, frame_time_s))
        )

    @property
    def n_dropped(self) -> int:
        """Frames in the gaps."""
        return int(self.slot[-1]) - (len(self.slot) - 1)

    def apply(self, chunks: Iterable[Chunk], end: int) -> Iterator[Chunk]:
        """Number chunks of recorded frames in time, up to ``end``; the gaps come as invalid frames."""
        for chunk in chunks:
            if not self.n_dropped:
                yield chunk
                continue
            placed = self._place(chunk)
            if placed.begin < end:
                yield next(cut(placed, [end]))

    def _place(self, chunk: Chunk) -> Chunk:
        begin, stop = int(self.slot[chunk.begin]), int(self.slot[chunk.end])
        rows = self.slot[chunk.begin : chunk.end] - begin
        valid = np.zeros(stop - begin, np.bool_)
        valid[rows] = chunk.valid
        if isinstance(chunk, Events):
            return Events(begin, stop, self.slot[chunk.frame], chunk.pixel, chunk.count, valid)
        if len(valid) == len(rows):
            return Frames(begin, chunk.counts, valid)
        counts = np.zeros((len(valid), chunk.counts.shape[1]), chunk.counts.dtype)
        counts[rows] = chunk.counts
        return Frames(begin, counts, valid)


def _missing(time: NDArray[np.float64], index: NDArray[np.int64]) -> tuple[NDArray[np.int64], float]:
    """Dropped frames before each stamped one but the first, and how far steps lie from whole; ``time`` is in steps."""
    late = np.diff(time) - np.diff(index)
    # With the step before or after it: a frame that was late is followed by a short step.
    before, after = np.concatenate(([np.inf], late[:-1] + late[1:])), np.concatenate((late[:-1] + late[1:], [np.inf]))
    missing = np.maximum(np.rint(np.minimum(late, np.minimum(before, after))), 0).astype(np.int64)
    return missing, float(np.median(np.abs(late - np.rint(late))))


def _flags(
    steps: NDArray[np.float64], apart: NDArray[np.int64], missing: NDArray[np.int64], step_s: float, frame_time_s: float
) -> Iterator[str]:
    jitter = float(np.std((steps - (apart + missing) * step_s) / step_s))
    if jitter > JITTER_LIMIT:
        yield (
            f"the time stamps jitter by {jitter:.1%} of a frame (rms; limit {JITTER_LIMIT:.0%}): "
            "short delays are that uncertain"
        )
    if abs(step_s / frame_time_s - 1) > JITTER_LIMIT:
        yield (
            f"the frames are {step_s:.6g} s apart by their time stamps, {frame_time_s:.6g} s by the metadata: "
            "delays are by the metadata"
        )
