"""From what the detector wrote to what is correlated: dark, offset, threshold, flat field, units. One order for all.

With d the dark's mean and s its standard deviation in each pixel, o the mean of the offset region in the frame::

    v = raw - d - o
    v = max(v, 0), and 0 where v <= lld + sigma s     only with a threshold, as xpcs-eigen
    v = v / flat
    v = v / adu_per_photon, and rounded to whole photons

Without a threshold v stays signed. A masked value stays masked in every step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.correlate.calibration import Dark, dark_of_head, read_dark, read_flat
from xpcs_assets.engine.select import cut
from xpcs_assets.errors import CorrelationError
from xpcs_assets.readers.series import Chunk, Events, Frames, RawSeries
from xpcs_assets.runs.recipe import AnalysisSettings

_PIECE_BYTES = 64 << 20
_AT_ONCE = 1 << 20


@dataclass(frozen=True, eq=False)
class Corrections:
    """What is done to counts; nothing where all is at its default.

    Attributes
    ----------
    dark
        (rows * columns,) float32, subtracted; None for nothing.
    limit
        (rows * columns,) or () float32: a value up to it becomes 0; None for no threshold.
    offset
        Flat indices of the pixels whose mean in each frame is subtracted from it; None for nothing.
    flat
        (rows * columns,) float32, divided by, NaN where it is not above 0; None for nothing.
    adu_per_photon
        Divided by; 0 for nothing.
    round_photons
        Whether to round.
    """

    dark: NDArray[np.float32] | None = None
    limit: NDArray[np.float32] | None = None
    offset: NDArray[np.int64] | None = None
    flat: NDArray[np.float32] | None = None
    adu_per_photon: float = 0.0
    round_photons: bool = False

    @classmethod
    def of(cls, settings: AnalysisSettings, series: RawSeries, n_dark: int) -> Self:
        """Read what the settings name, and the dark frames at the head where they are needed.

        Parameters
        ----------
        n_dark
            Dark frames at the head. They are subtracted where a threshold is set or the detector integrates; a dark
            file comes before them.

        Raises
        ------
        CorrelationError
            A file does not fit the detector, or what is asked for has no meaning here.
        """
        info = series.info
        dark: Dark | None = None
        thresholds = settings.lld > 0 or settings.sigma > 0
        if info.kind == "events" and (settings.dark_file or settings.offset_region):
            raise CorrelationError(
                "dark and offset make no sense for photon events: what is 0 was not stored",
                where=info.files[0],
                remedy="Leave dark and offset out, or take the detector's dense format",
            )
        if settings.dark_file:
            dark = read_dark(settings.dark_file, info.shape)
        elif n_dark and info.kind == "frames" and (thresholds or info.integrating):
            dark = dark_of_head(series, n_dark)
        if settings.sigma > 0 and dark is None:
            raise CorrelationError(
                "sigma counts standard deviations of the dark, and there is no dark",
                where=info.files[0],
                remedy="Name a --dark-file, or give --lld alone",
            )
        limit = None
        if thresholds:
            spread = 0.0 if dark is None else settings.sigma * dark.std
            limit = np.asarray(settings.lld + spread, np.float32)
        return cls(
            dark=None if dark is None else dark.mean.astype(np.float32),
            limit=limit,
            offset=_region(settings.offset_region, info.shape) if settings.offset_region else None,
            flat=read_flat(settings.flat_file, info.shape) if settings.flat_file else None,
            adu_per_photon=settings.adu_per_photon,
            round_photons=settings.round_photons,
        )

    @property
    def is_on(self) -> bool:
        """Whether anything is done."""
        steps = (self.dark, self.limit, self.offset, self.flat)
        return any(step is not None for step in steps) or self.adu_per_photon > 0

    @property
    def n_bytes(self) -> int:
        """Memory that the arrays take all through the correlation."""
        return sum(array.nbytes for array in (self.dark, self.limit, self.offset, self.flat) if array is not None)

    def good_pixels(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Pixels for which dark and flat are known, (rows, columns)."""
        good = np.ones(shape[0] * shape[1], np.bool_)
        for array in (self.dark, self.limit, self.flat):
            if array is not None:
                good &= np.isfinite(array)
        return good.reshape(shape)

    def keeps_events(self) -> bool:
        """Whether corrected counts are still whole ones and none is negative, as events are."""
        fractions = any(step is not None for step in (self.dark, self.offset, self.flat))
        return not fractions and (not self.adu_per_photon or self.round_photons)

    def apply(self, chunks: Iterable[Chunk], n_pixels: int) -> Iterator[Chunk]:
        """Correct chunks; frames come out as float32 with NaN for masked. ``n_pixels`` is rows * columns."""
        for chunk in chunks:
            if not self.is_on:
                yield chunk
            elif isinstance(chunk, Events) and self.keeps_events():
                yield self._events(chunk)
            else:
                for frames in [chunk] if isinstance(chunk, Frames) else spread(chunk, n_pixels):
                    yield self._frames(frames)

    def _events(self, events: Events) -> Events:
        value = events.count.astype(np.float32)
        if self.limit is not None:
            value[(events.count >= 0) & (value <= self.limit)] = 0
        if self.adu_per_photon:
            value = np.rint(value / np.float32(self.adu_per_photon))
        count = np.where(events.count < 0, -1, value).astype(np.int32)
        kept = count != 0
        return Events(events.begin, events.end, events.frame[kept], events.pixel[kept], count[kept], events.valid)

    def _frames(self, frames: Frames) -> Frames:
        """Convert and correct a few frames at a time, so that they stay near the processor through all steps."""
        n_frames, n_pixels = frames.counts.shape
        counts, valid = np.empty((n_frames, n_pixels), np.float32), frames.valid.copy()
        rows = max(1, _AT_ONCE // (4 * n_pixels))
        for low in range(0, n_frames, rows):
            part = slice(low, low + rows)
            to_floats(frames.counts[part], counts[part])
            valid[part] &= self._rows(counts[part])
        return Frames(frames.begin, counts, valid)

    def _rows(self, v: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Correct a few frames in place; tells for which of them the offset is known."""
        known = np.ones(len(v), np.bool_)
        if self.dark is not None:
            v -= self.dark
        if self.offset is not None:
            region = v[:, self.offset]
            n_good = np.isfinite(region).sum(axis=1)
            known = n_good > 0
            v -= (np.nansum(region, axis=1) / np.maximum(n_good, 1))[:, None].astype(np.float32)
        if self.limit is not None:
            np.maximum(v, 0, out=v)
            v[v <= self.limit] = 0
        if self.flat is not None:
            v /= self.flat
        if self.adu_per_photon:
            v /= np.float32(self.adu_per_photon)
        if self.round_photons:
            np.rint(v, out=v)
        return known


def to_floats(counts: NDArray[Any], out: NDArray[np.float32]) -> None:
    """Copy counts as a reader gives them, NaN for masked ones."""
    out[...] = counts
    if counts.dtype.kind != "f":
        out[counts < 0] = np.nan


def spread(events: Events, n_pixels: int) -> Iterator[Frames]:
    """Give events as float32 frames, 64 MiB at a time, NaN for masked counts. ``n_pixels`` is rows * columns."""
    n_rows = max(1, _PIECE_BYTES // (4 * n_pixels))
    for piece in cut(events, range(events.begin + n_rows, events.end, n_rows)):
        if isinstance(piece, Events):
            counts = np.zeros((len(piece.valid), n_pixels), np.float32)
            value = np.where(piece.count < 0, np.nan, piece.count)
            np.add.at(counts, (piece.frame - piece.begin, piece.pixel), value.astype(np.float32))
            yield Frames(piece.begin, counts, piece.valid)


def _region(text: str, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Flat indices of ``r0:r1,c0:c1``, ends left out."""
    try:
        spans = [tuple(int(end) for end in side.split(":")) for side in text.split(",")]
    except ValueError:
        spans = []
    if len(spans) != 2 or any(len(span) != 2 for span in spans):
        raise CorrelationError(f"{text!r} is no region", remedy="Write rows and columns as r0:r1,c0:c1, from 0")
    for (low, high), side in zip(spans, shape, strict=True):
        if not 0 <= low < high <= side:
            raise CorrelationError(
                f"the offset region {text} is not on a detector of {shape[0]} x {shape[1]} pixels",
                remedy="Write rows and columns as r0:r1,c0:c1, from 0, ends left out",
            )
    (r0, r1), (c0, c1) = spans
    return (np.arange(r0, r1)[:, None] * shape[1] + np.arange(c0, c1)).ravel()
