"""The chunks of a run on their way to the analyses: read, corrected, judged, put on the time axis, selected."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.correlate.corrections import Corrections
from xpcs_assets.correlate.frames import Known
from xpcs_assets.correlate.intensity import below_beam, sums_of_pixels
from xpcs_assets.correlate.timeline import Timeline
from xpcs_assets.engine import kernels, stop
from xpcs_assets.engine.select import Selection, cut, shifted
from xpcs_assets.readers.ahead import ahead
from xpcs_assets.readers.series import Chunk, Events, Frames, RawSeries

# Chunks of as many frames as the kernels take at once, where memory allows.
_LEAST_CHUNK_BYTES, _MOST_CHUNK_BYTES = 64 << 20, 512 << 20


@dataclass(eq=False)
class Stream:
    """Reads a run as often as there are passes.

    Attributes
    ----------
    series, corrections, timeline, selection
        What is read, and what happens to it, in this order; ``selection`` counts frames in time.
    begin, end
        The analysed range, recorded frames.
    known
        Which recorded frames do not count.
    beam_dump_below
        Frames with less than this fraction of the median intensity do not count either. The run is then read once
        more, before anything else: see :meth:`look`.
    analysed
        (rows * columns,) bool, pixels that make the intensity.
    copied_later
        Whether who takes the chunks makes frames of its own from them: they are half as large then.
    invalid
        Frames by the reason for which they do not count. ``dropped`` is complete when the run was read once.
    """

    series: RawSeries
    corrections: Corrections
    timeline: Timeline
    selection: Selection
    begin: int
    end: int
    known: Known
    beam_dump_below: float
    analysed: NDArray[np.bool_]
    copied_later: bool = False
    invalid: dict[str, int] = field(init=False)
    _valid: NDArray[np.bool_] = field(init=False)
    _read_to: int = field(init=False)
    _n_found: int = field(init=False)

    def __post_init__(self) -> None:
        self.invalid = dict(self.known.invalid)
        slot = self.timeline.slot
        n_dropped = int(slot[self.end] - slot[self.begin]) - (self.end - self.begin)
        if n_dropped:
            self.invalid["dropped"] = n_dropped
        self._valid = self.known.valid
        self._read_to, self._n_found = self.begin, 0

    def go_on_after(self, before: Stream) -> None:
        """Take over what ``before``, the stream of the same run when it was shorter, found in the frames it read."""
        self._read_to, self._n_found = before._read_to, before._n_found
        if self._n_found:
            self.invalid["dropped"] = self.invalid.get("dropped", 0) + self._n_found

    def look(self) -> float:
        """Find the frames in a beam dump; the median intensity, counts in all analysed pixels."""
        intensity, valid = np.zeros(self.end), np.zeros(self.end, np.bool_)
        for chunk in self._measured(self.begin, self.end):
            frames = slice(chunk.begin, chunk.end)
            intensity[frames], valid[frames] = sums_of_pixels(chunk, self.analysed), chunk.valid
        dumped = below_beam(intensity, valid, self.beam_dump_below)
        if dumped.any():
            self.invalid["beam dump"] = int(dumped.sum())
        self._valid = self._valid & ~dumped
        return float(np.median(intensity[valid])) if valid.any() else 0.0

    def chunks(self, first: int = 0) -> Generator[Chunk, None, None]:
        """The analysed frames from number ``first`` on; the run's first one is number 0.

        Close it before the series: a chunk is read ahead in a thread of its own.
        """
        if first >= self.selection.n_frames:
            return
        slot, end = self.timeline.slot, self.selection.read_end
        begin = self.selection.begin + first * self.selection.step
        recorded = int(np.searchsorted(slot, begin, side="right")) - 1, int(np.searchsorted(slot, end))
        in_time = self.timeline.apply(self._measured(*recorded), end)
        # A gap belongs to the frame before it, which may have been taken already.
        pieces = (piece for chunk in in_time for piece in cut(chunk, [begin]) if piece.begin >= begin)
        for chunk in replace(self.selection, begin=begin).apply(pieces):
            yield shifted(chunk, -first)

    def _measured(self, begin: int, end: int) -> Iterator[Chunk]:
        rows, columns = self.series.info.shape
        wanted_bytes = 8 * kernels.FRAMES * rows * columns
        # The chunk that is read ahead is one more.
        n_copies = 2 + self.corrections.is_on + self.copied_later
        chunk_bytes = min(max(wanted_bytes, _LEAST_CHUNK_BYTES), _MOST_CHUNK_BYTES // n_copies)
        raw = self.series.chunks(begin, end, max_bytes=chunk_bytes)
        return self.corrections.apply(self._judged(ahead(raw)), rows * columns)

    def _judged(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        for chunk in chunks:
            stop.check()
            known = self._valid[chunk.begin : chunk.end]
            if chunk.end > self._read_to:
                new = slice(max(self._read_to - chunk.begin, 0), None)
                n_dropped = int(np.count_nonzero((known & ~chunk.valid)[new]))
                if n_dropped:
                    self.invalid["dropped"] = self.invalid.get("dropped", 0) + n_dropped
                self._n_found += n_dropped
                self._read_to = chunk.end
            yield chunk if known.all() else _with_valid(chunk, chunk.valid & known)


def _with_valid(chunk: Chunk, valid: NDArray[np.bool_]) -> Chunk:
    if isinstance(chunk, Frames):
        return Frames(chunk.begin, chunk.counts, valid)
    return Events(chunk.begin, chunk.end, chunk.frame, chunk.pixel, chunk.count, valid)
