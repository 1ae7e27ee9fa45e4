"""A look at a raw file without reading it all: what it is, and what a sample of its frames holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import MetadataError, RawDataError
from xpcs_assets.readers.metadata import Acquisition, find_metadata, read_acquisition
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.readers.series import Events, RawSeries, SeriesInfo

SAMPLE_BYTES = 192 << 20

_STRETCHES = 3
_MOST_FRAMES = 2000
_EVENT_BYTES = 24


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was found.

    Attributes
    ----------
    info
        What the file says of itself.
    acquisition
        How the run was taken, by the metadata beside the file or the file itself; None where neither tells.
    metadata
        The file that told it.
    metadata_fault
        Why there is none, where that is an error.
    size_bytes
        Of all its files.
    sampled
        Frames [begin, end) that were looked at, in stretches.
    n_invalid
        Frames among those that were never recorded.
    occupancy
        Share of good pixels with counts in a frame.
    mean_counts
        Counts of a good pixel in a frame, mean; in detector units where the detector is integrating.
    highest, lowest
        Largest and smallest value of a good pixel.
    lowest_mean
        Smallest mean in time of a good pixel: not 0 where values have an offset.
    noise_ratio
        Variance over mean in time, median over the good pixels that have counts: 1 for photons of little contrast, the
        detector units of a photon for a camera without offset; NaN from fewer than 8 frames.
    n_good
        Pixels that are neither masked by the detector, nor without a count throughout the sample.
    n_masked
        Pixels without a count in every sampled frame, or masked by the detector.
    n_saturated
        Other pixels without a count in some.
    intensity
        (n,) counts of each valid sampled frame over the number of good pixels.
    """

    info: SeriesInfo
    acquisition: Acquisition | None
    metadata: Path | None
    metadata_fault: str
    size_bytes: int
    sampled: tuple[tuple[int, int], ...]
    n_invalid: int
    occupancy: float
    mean_counts: float
    highest: float
    lowest: float
    lowest_mean: float
    noise_ratio: float
    n_good: int
    n_masked: int
    n_saturated: int
    intensity: NDArray[np.float64]

    @property
    def n_sampled(self) -> int:
        """Frames looked at."""
        return sum(end - begin for begin, end in self.sampled)

    @property
    def rate_hz(self) -> float | None:
        """Frames a second, where it is known."""
        return None if self.acquisition is None else 1 / self.acquisition.frame_time_s


def inspect(path: Path | Sequence[Path], *, max_bytes: int = SAMPLE_BYTES) -> Inspection:
    """Look at the first, middle and last frames of a raw file.

    Parameters
    ----------
    path
        The raw file or files of one run.
    max_bytes
        Bound on what is read and held, about; one frame of each stretch is read in any case.

    Raises
    ------
    RawDataError
        The file is of no known format, damaged, or changed while it was read.
    """
    with open_raw(path) as series:
        info = series.info
        stretches = _stretches(info, max_bytes)
        sums = _Sums(info)
        for begin, end in stretches:
            sums.add(series, begin, end, max_bytes // _STRETCHES)
        found = sums.finish(stretches)
    try:
        metadata = find_metadata(info.files[0])
        acquisition = read_acquisition(metadata) if metadata else None
    except MetadataError as error:
        return replace(found, metadata_fault=str(error))
    return replace(found, metadata=metadata, acquisition=acquisition)


def _stretches(info: SeriesInfo, max_bytes: int) -> tuple[tuple[int, int], ...]:
    rows, cols = info.shape
    if info.kind == "events":
        frame_bytes = max(1.0, float(info.extra.get("occupancy", 1.0)) * rows * cols * _EVENT_BYTES)
    else:
        frame_bytes = rows * cols * (np.dtype(info.dtype).itemsize + 4)
    n = int(min(max(max_bytes / _STRETCHES / frame_bytes, 1), _MOST_FRAMES))
    if _STRETCHES * n >= info.n_recorded:
        return ((0, info.n_recorded),)
    begins = (0, (info.n_recorded - n) // 2, info.n_recorded - n)
    return tuple((begin, begin + n) for begin in begins)


class _Sums:
    """What is kept of the frames that were looked at: some numbers a pixel."""

    def __init__(self, info: SeriesInfo) -> None:
        pixels = info.shape[0] * info.shape[1]
        self._info = info
        self._total, self._squares = np.zeros(pixels), np.zeros(pixels)
        self._lit, self._none = np.zeros(pixels, np.int64), np.zeros(pixels, np.int64)
        self._highest, self._lowest = np.full(pixels, -np.inf), np.full(pixels, np.inf)
        self._totals: list[NDArray[np.float64]] = []
        self._n_valid = self._n_invalid = 0

    def add(self, series: RawSeries, begin: int, end: int, max_bytes: int) -> None:
        """Read and add the frames [begin, end)."""
        for chunk in series.chunks(begin, end, max_bytes=max_bytes):
            n_valid = int(chunk.valid.sum())
            self._n_valid += n_valid
            self._n_invalid += len(chunk.valid) - n_valid
            if isinstance(chunk, Events):
                self._add_events(chunk)
            else:
                self._add_frames(chunk.counts[chunk.valid])

    def _add_events(self, chunk: Events) -> None:
        pixels = self._total.size
        none = chunk.count < 0
        self._none += np.bincount(chunk.pixel[none], minlength=pixels)
        frame, pixel, count = (column[~none] for column in (chunk.frame, chunk.pixel, chunk.count))
        self._total += np.bincount(pixel, count, pixels)
        self._squares += np.bincount(pixel, count.astype(np.float64) ** 2, pixels)
        self._lit += np.bincount(pixel, minlength=pixels)
        np.maximum.at(self._highest, pixel, count)
        self._lowest[:] = np.minimum(self._lowest, 0)
        in_frame = np.bincount(frame - chunk.begin, count, chunk.end - chunk.begin)
        self._totals.append(in_frame[chunk.valid].astype(np.float64))

    def _add_frames(self, counts: NDArray[Any]) -> None:
        if not len(counts):
            return
        missing = np.isnan(counts) if counts.dtype.kind == "f" else counts < 0
        values = np.where(missing, 0, counts).astype(np.float64)
        self._none += missing.sum(axis=0)
        self._total += values.sum(axis=0)
        self._squares += (values**2).sum(axis=0)
        self._lit += (values != 0).sum(axis=0)
        self._highest = np.maximum(self._highest, np.where(missing, -np.inf, counts).max(axis=0))
        self._lowest = np.minimum(self._lowest, np.where(missing, np.inf, counts).min(axis=0))
        self._totals.append(values.sum(axis=1))

    def finish(self, stretches: tuple[tuple[int, int], ...]) -> Inspection:
        """Give what was found."""
        n = self._n_valid
        if not n:
            raise RawDataError("none of the sampled frames was recorded", where=self._info.files[0])
        masked = self._none == n
        if self._info.good_pixels is not None:
            masked |= ~self._info.good_pixels.ravel()
        good = ~masked & (self._none == 0)
        n_good = int(good.sum())
        mean = self._total / n
        intensity = np.concatenate(self._totals) / max(n_good, 1)
        return Inspection(
            info=self._info,
            acquisition=None,
            metadata=None,
            metadata_fault="",
            size_bytes=sum(path.stat().st_size for path in self._info.files),
            sampled=stretches,
            n_invalid=self._n_invalid,
            occupancy=float(self._lit[good].mean()) / n if n_good else np.nan,
            mean_counts=float(mean[good].mean()) if n_good else np.nan,
            highest=float(self._highest[good].max(initial=-np.inf)) if n_good else np.nan,
            lowest=float(self._lowest[good].min(initial=np.inf)) if n_good else np.nan,
            lowest_mean=float(mean[good].min()) if n_good else np.nan,
            noise_ratio=self._noise_ratio(mean, good & (mean > 0)),
            n_good=n_good,
            n_masked=int(masked.sum()),
            n_saturated=int((~masked & (self._none > 0)).sum()),
            intensity=intensity,
        )

    def _noise_ratio(self, mean: NDArray[np.float64], chosen: NDArray[np.bool_]) -> float:
        if self._n_valid < 8 or not chosen.any():
            return float("nan")
        variance = self._squares[chosen] / self._n_valid - mean[chosen] ** 2
        return float(np.median(variance * self._n_valid / (self._n_valid - 1) / mean[chosen]))
