"""Which recorded frames are analysed: range, stride, average. Chunks as read -> chunks in analysed time, from 0."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import CorrelationError
from xpcs_assets.readers.series import Chunk, Events, Frames


@dataclass(frozen=True)
class Selection:
    """Frames [begin, end), every ``stride``-th of them, ``average`` of those summed into one.

    An incomplete last group is left out. A group with an invalid member is invalid.

    Attributes
    ----------
    begin, end
        Recorded frames, 0-based.
    stride, average
        At least 1. Sums instead of means keep counts whole; g2 is the same and means are divided later.
    """

    begin: int
    end: int
    stride: int = 1
    average: int = 1

    @property
    def step(self) -> int:
        """Recorded frames from one analysed frame to the next."""
        return self.stride * self.average

    @property
    def n_frames(self) -> int:
        """Analysed frames."""
        return max(0, self.end - self.begin) // self.step

    @property
    def read_end(self) -> int:
        """One past the last recorded frame of the last whole group."""
        return self.begin + self.n_frames * self.step

    def apply(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """Turn chunks that cover [begin, read_end) in order into analysed ones.

        Raises
        ------
        CorrelationError
            A chunk does not follow the one before.
        """
        if self.step == 1:
            yield from (shifted(chunk, self.begin) for chunk in self._in_order(chunks))
            return
        rest: Chunk | None = None
        for chunk in self._in_order(chunks):
            joined = chunk if rest is None else _join(rest, chunk)
            whole = self.begin + (joined.end - self.begin) // self.step * self.step
            if whole > joined.begin:
                yield self._grouped(joined, whole)
            rest = list(cut(joined, [whole]))[-1] if whole < joined.end else None

    def _in_order(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        expected = self.begin
        for chunk in chunks:
            if chunk.begin != expected:
                raise CorrelationError(
                    f"frame {chunk.begin} was read where {expected} was next", remedy="Report this reader's fault"
                )
            expected = chunk.end
            yield chunk

    def _grouped(self, chunk: Chunk, end: int) -> Chunk:
        n_groups = (end - chunk.begin) // self.step
        begin = (chunk.begin - self.begin) // self.step
        members = chunk.valid[: end - chunk.begin].reshape(n_groups, self.average, self.stride)[:, :, 0]
        valid = np.asarray(members.all(axis=1), np.bool_)
        if isinstance(chunk, Frames):
            kept = chunk.counts[: end - chunk.begin : self.stride]
            return Frames(begin, _sum_groups(kept.reshape(n_groups, self.average, -1)), valid)
        offset = chunk.frame - self.begin
        used = (chunk.frame < end) & (offset % self.stride == 0)
        frame = offset[used] // self.step
        return Events(begin, begin + n_groups, frame, chunk.pixel[used], chunk.count[used], valid)


def cut(chunk: Chunk, edges: Sequence[int]) -> Iterator[Chunk]:
    """Cut a chunk where a frame of ``edges`` (rising) begins; no copy is made."""
    inner = [edge for edge in edges if chunk.begin < edge < chunk.end]
    for begin, end in pairwise([chunk.begin, *inner, chunk.end]):
        rows = slice(begin - chunk.begin, end - chunk.begin)
        if isinstance(chunk, Frames):
            yield Frames(begin, chunk.counts[rows], chunk.valid[rows])
        else:
            kept = slice(*np.searchsorted(chunk.frame, np.array((begin, end), chunk.frame.dtype)))
            yield Events(begin, end, chunk.frame[kept], chunk.pixel[kept], chunk.count[kept], chunk.valid[rows])


def _sum_groups(groups: NDArray[Any]) -> NDArray[Any]:
    """Sum axis 1; a masked count makes the sum masked."""
    if groups.dtype.kind == "f":
        return np.asarray(groups.sum(axis=1, dtype=np.float32))
    return np.where((groups < 0).any(axis=1), -1, groups.sum(axis=1, dtype=np.int64))


def shifted(chunk: Chunk, begin: int) -> Chunk:
    """The chunk with its frames numbered from ``begin``."""
    if begin == 0:
        return chunk
    if isinstance(chunk, Frames):
        return Frames(chunk.begin - begin, chunk.counts, chunk.valid)
    return Events(chunk.begin - begin, chunk.end - begin, chunk.frame - begin, chunk.pixel, chunk.count, chunk.valid)


def _join(first: Chunk, second: Chunk) -> Chunk:
    valid = np.concatenate((first.valid, second.valid))
    if isinstance(first, Frames) and isinstance(second, Frames):
        return Frames(first.begin, np.concatenate((first.counts, second.counts)), valid)
    if isinstance(first, Events) and isinstance(second, Events):
        frame: NDArray[Any] = np.concatenate((first.frame, second.frame))
        pixel = np.concatenate((first.pixel, second.pixel))
        return Events(first.begin, second.end, frame, pixel, np.concatenate((first.count, second.count)), valid)
    raise CorrelationError("a series gave both frames and events", remedy="Report this reader's fault")
