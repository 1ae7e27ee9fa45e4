"""Intensity frame by frame: the division by it, what a drift does to g2, and frames in a beam dump."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.correlate.corrections import spread, to_floats
from xpcs_assets.errors import MetadataError
from xpcs_assets.readers.h5file import damage, open_hdf5
from xpcs_assets.readers.series import Chunk, Events, Frames

MONITOR = "monitor:"
DRIFT_LIMIT = 0.001
"""Lift of g2 by a drift of the intensity above which a division by it is recommended."""
_BLOCKS = 50
_FEW_COUNTS = 50
_REMEDY = "Name a dataset with one number a frame, such as --normalize monitor:/entry/monitor/data"


class FrameScale:
    """Divides analysed frames by the beam's intensity; what comes out is float32 frames, NaN for masked counts.

    Parameters
    ----------
    pixel
        Flat indices of the pixels whose mean is the intensity: all analysed ones of the q-map, whichever bins are
        correlated. Those that are masked in a frame are left out of its mean.
    monitor
        (N,) intensity of each analysed frame in any unit, taken instead; None for the pixels' mean.
    """

    def __init__(self, pixel: NDArray[np.int64], monitor: NDArray[np.float64] | None) -> None:
        self._pixel = np.sort(pixel)
        self._monitor = monitor
        if monitor is not None and (monitor > 0).any():
            # Readings that do not count may not turn the mean's sign.
            self._monitor = monitor / monitor[monitor > 0].mean()
        self.empty: set[int] = set()

    def apply(self, chunk: Chunk, n_pixels: int) -> Iterator[Frames]:
        """Divide a chunk; frames without intensity become invalid and are noted in ``empty``."""
        for frames in [chunk] if isinstance(chunk, Frames) else spread(chunk, n_pixels):
            counts, valid = np.zeros(frames.counts.shape, np.float32), frames.valid.copy()
            for row in np.flatnonzero(valid):
                number = frames.begin + int(row)
                to_floats(frames.counts[row], counts[row])
                scale = self._mean(counts[row]) if self._monitor is None else float(self._monitor[number])
                if scale > 0:
                    counts[row] /= np.float32(scale)
                else:
                    valid[row] = False
                    self.empty.add(number)
            yield Frames(frames.begin, counts, valid)

    def _mean(self, frame: NDArray[np.float32]) -> float:
        values = frame[self._pixel]
        n_good = np.count_nonzero(np.isfinite(values))
        return float(np.nansum(values, dtype=np.float64)) / n_good if n_good else 0.0


def read_monitor(path: Path, name: str, n_frames: tuple[int, ...]) -> NDArray[np.float64]:
    """Read the beam monitor of each recorded frame from the metadata file.

    Parameters
    ----------
    path, name
        The file, and the dataset in it.
    n_frames
        Lengths it may have.

    Raises
    ------
    MetadataError
        There is no such dataset, or it does not fit the run.
    """
    with open_hdf5(path, MetadataError, _REMEDY) as file, damage(path, "no monitor", MetadataError, _REMEDY):
        data = file.get(name)
        if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "iuf":
            raise MetadataError("there is no such monitor", where=f"{path}:{name}", remedy=_REMEDY)
        values = np.asarray(data[()], np.float64).squeeze()
    if values.ndim != 1 or len(values) not in n_frames:
        raise MetadataError(
            f"the monitor's shape is {values.shape} for {n_frames[0]} frames", where=f"{path}:{name}", remedy=_REMEDY
        )
    return np.where(np.isfinite(values), values, 0.0)


def sums_of_pixels(chunk: Chunk, analysed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Sum over the ``analysed`` (rows * columns,) pixels of each frame, masked counts as 0."""
    if isinstance(chunk, Events):
        kept = analysed[chunk.pixel] & (chunk.count > 0)
        of_frame = chunk.frame[kept] - chunk.begin
        return np.bincount(of_frame, chunk.count[kept], len(chunk.valid)).astype(np.float64)
    floats = chunk.counts.dtype.kind == "f"
    sums = np.zeros(len(chunk.valid))
    for row in range(len(sums)):
        values = chunk.counts[row][analysed]
        sums[row] = np.nansum(values, dtype=np.float64) if floats else values[values > 0].sum(dtype=np.float64)
    return sums


def below_beam(intensity: NDArray[np.float64], valid: NDArray[np.bool_], fraction: float) -> NDArray[np.bool_]:
    """Valid frames whose intensity is below ``fraction`` of the valid frames' median."""
    if not valid.any():
        return np.zeros_like(valid)
    wrong: NDArray[np.bool_] = valid & (intensity < fraction * np.median(intensity[valid]))
    return wrong


def drift_flags(intensity: NDArray[np.float64], n_pixels: int, normalize: str) -> list[str]:
    """Recommend a division by the intensity where its slow changes lift g2.

    A factor f(t) on all counts lifts g2 by var(f) / mean(f)**2. It is taken over the means of up to 50 stretches of
    valid frames, less the part that the spread of frames within the stretches explains.

    Parameters
    ----------
    intensity
        (N,) mean counts per pixel of each analysed frame, NaN where it does not count.
    n_pixels
        Analysed pixels.
    normalize
        What was chosen; nothing is recommended where a division was made.
    """
    frames = intensity[np.isfinite(intensity)]
    length = max(1, len(frames) // _BLOCKS)
    blocks = frames[: len(frames) // length * length].reshape(-1, length)
    mean = float(frames.mean()) if frames.size else 0.0
    if normalize != "none" or len(blocks) < 2 or length < 2 or not mean > 0:
        return []
    noise = float(blocks.var(axis=1, ddof=1).mean()) / length
    lift = (float(blocks.mean(axis=1).var(ddof=1)) - noise) / mean**2
    if lift <= DRIFT_LIMIT:
        return []
    told = f"the intensity drifts by {np.sqrt(lift):.1%} (rms), which lifts g2 by {lift:.1g} (limit {DRIFT_LIMIT:g})"
    if mean * n_pixels < _FEW_COUNTS:
        return [f"{told}: take --normalize monitor:PATH; with {mean * n_pixels:.2g} counts a frame, frame is too noisy"]
    return [f"{told}: --normalize frame takes it out"]
