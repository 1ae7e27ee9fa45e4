"""Stored frames as a series: ranges, chunks within their bytes, and the frames that were never recorded.

A format of frames gives a :class:`FrameSource` and a :class:`~xpcs_assets.readers.series.SeriesInfo`;
:class:`DenseSeries` does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers.chunks import check_range, check_recorded, signed_counts
from xpcs_assets.readers.series import Frames, SeriesInfo

Convert = Callable[[NDArray[Any]], NDArray[Any]]

_COPY = "Copy the file anew from the detector"
_MISSING_BASE, _MISSING_FACTOR = 1000, 10


class FrameSource(Protocol):
    """Frames in the order in which they are stored."""

    layer: int
    """Frames that are stored, and unpacked, together."""

    def read(self, begin: int, end: int) -> NDArray[Any]:
        """The stored frames [begin, end), (n, rows * columns), as they are stored but in native byte order."""
        ...

    def close(self) -> None:
        """Release the files."""
        ...


class DenseSeries:
    """An open series of frames.

    Parameters
    ----------
    source
        Where the frames come from.
    info
        What is known of them.
    valid
        (n_recorded,) bool, False for frames that do not count in time.
    number
        (n_stored,) int64, rising: frame in time of each stored frame; None when frame n is the n-th stored one.
    convert
        What makes counts of the stored values; :func:`~xpcs_assets.readers.chunks.signed_counts` for photons.
    """

    def __init__(
        self,
        source: FrameSource,
        info: SeriesInfo,
        valid: NDArray[np.bool_],
        *,
        number: NDArray[np.int64] | None = None,
        convert: Convert = signed_counts,
    ) -> None:
        self.info = info
        self._source, self._valid, self._number, self._convert = source, valid, number, convert

    def chunks(self, begin: int, end: int, *, max_bytes: int = 64 << 20) -> Iterator[Frames]:
        """Yield the frames [begin, end); see :class:`~xpcs_assets.readers.series.RawSeries`.

        Raises
        ------
        RawDataError
            No such frames, or damaged ones.
        """
        check_range(begin, end, self.info.files[0])
        check_recorded(end, self.info.n_recorded, self.info.files[0])
        rows, cols = self.info.shape
        layer = self._source.layer if self._number is None else 1
        step = max(1, max_bytes // (rows * cols * (np.dtype(self.info.dtype).itemsize + 4)))
        step -= step % layer if step >= layer else 0
        while begin < end:
            # Ends where a stored layer ends, so that each is unpacked once.
            stop = min(end, begin + step - begin % (layer if step >= layer else 1))
            yield Frames(begin, self._counts(begin, stop), self._valid[begin:stop])
            begin = stop

    def _counts(self, begin: int, end: int) -> NDArray[Any]:
        if self._number is None:
            return self._convert(self._source.read(begin, end))
        low, high = (int(cut) for cut in np.searchsorted(self._number, (begin, end)))
        stored = self._convert(self._source.read(low, high))
        if high - low == end - begin:
            return stored
        counts = np.zeros((end - begin, self.info.shape[0] * self.info.shape[1]), stored.dtype)
        counts[self._number[low:high] - begin] = stored
        return counts

    def close(self) -> None:
        """Close the files."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def detector_units(values: NDArray[Any]) -> NDArray[np.float32]:
    """Stored values of an integrating detector as float32; negative ones are values, NaN is none.

    The largest value of an unsigned integer type is a saturated pixel, hence NaN, and so are infinities.
    """
    units = values.astype(np.float32)
    if values.dtype.kind == "u":
        units[values == np.iinfo(values.dtype).max] = np.nan
    elif values.dtype.kind == "f":
        units[~np.isfinite(units)] = np.nan
    return units


def frames_in_time(counter: NDArray[np.int64], where: str) -> NDArray[np.int64] | None:
    """Frame in time of each stored frame, from 0, by the detector's counter; None where the counter counts nothing.

    Parameters
    ----------
    counter
        (n_stored,) int64. One that stands still, or rises by the same step above 1, counts no frames.
    where
        What errors name.

    Raises
    ------
    RawDataError
        It goes backwards or repeats a number, or nearly all frames would be missing.

    Examples
    --------
    >>> frames_in_time(np.array([7, 8, 10]), "a.h5").tolist(), frames_in_time(np.array([0, 0, 0]), "a.h5")
    ([0, 1, 3], None)
    """
    # Compared, not subtracted: damaged counters overflow.
    if not counter.size or (counter == counter[0]).all():
        return None
    falls = counter[1:] <= counter[:-1]
    if falls.any():
        at = int(np.argmax(falls))
        what = f"frame number {int(counter[at + 1])} comes after {int(counter[at])}"
        raise RawDataError(what, where=f"{where}, frame {at + 1}", remedy=_COPY)
    missing = int(counter[-1]) - int(counter[0]) + 1 - counter.size
    if missing > _MISSING_BASE + _MISSING_FACTOR * counter.size:
        what = f"its frame numbers go from {int(counter[0])} to {int(counter[-1])}, but it holds {counter.size} frames"
        raise RawDataError(what, where=where, remedy=_COPY)
    steps = np.diff(counter)
    if steps.min() == steps.max():
        return None
    return np.asarray(counter - counter[0], np.int64)


def usual_step(time_s: NDArray[np.float64]) -> float | None:
    """Time from one frame to the next, s; None where the times tell none.

    The mean of the steps that are within half of their median: a pause does not count, and time stamps may be coarser
    than the mean is.

    Parameters
    ----------
    time_s
        (n,) when each frame was taken, NaN where that is not known.
    """
    steps = np.diff(time_s)
    steps = steps[np.isfinite(steps)]
    median = float(np.median(steps)) if steps.size else 0.0
    if not median > 0:
        return None
    return float(steps[np.abs(steps - median) <= median / 2].mean())
