"""Two-time correlation read from a result file, this package's or boost_corr's: maps, cuts through them, g2.

Ages and lags: of the frames at t1 and t2 = t1 + lag the age is (t1 + t2) / 2. Times are s since the first analysed
frame; a frame that is a sum of others has the time of their middle. At lag 0 C holds the shot noise of counts with
themselves: it is given, and is no correlation of the sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import NotFoundError, ResultError
from xpcs_assets.readers.h5file import damage, open_hdf5
from xpcs_assets.results.twotime_cuts import Cuts, means, window

if TYPE_CHECKING:
    from xpcs_assets.results.result import Result

GROUP = "/xpcs/twotime"
_REMEDY = "Correlate the run again with --type twotime or both, or open another file"


@dataclass(frozen=True, eq=False)
class TwoTimeG2:
    """g2 over lag from the diagonals of a map, K lags.

    Attributes
    ----------
    lag_s
        (K,) float64, s.
    g2, error
        (K,) float64, NaN where undefined or, of the error, not in the file. The error is the spread over static bins.
    n_pairs
        (K,) int64, pairs of frames in each mean.
    """

    lag_s: NDArray[np.float64]
    g2: NDArray[np.float64]
    error: NDArray[np.float64]
    n_pairs: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TwoTimeBin:
    """Two-time correlation of one dynamic bin.

    Attributes
    ----------
    path
        The file.
    number
        Dynamic bin, from 1.
    q_inv_angstrom, label
        Its q, 1/Å (NaN where the map has none), and its name.
    frame_time_s
        From one frame of the map to the next, s.
    frames_per_bin
        Analysed frames in one frame of the map; above 1 only where the file has a multi-tau map too.
    segments
        (5, lags) float64, g2 of five stretches of the run from lag 0 of the map; NaN where undefined.
    """

    path: Path
    number: int
    q_inv_angstrom: float
    label: str
    frame_time_s: float
    frames_per_bin: int
    segments: NDArray[np.float64]
    _index: int
    _levels: tuple[str, ...]

    def map(self) -> NDArray[np.float64]:
        """C(t1, t2), (N, N) float64, symmetric; NaN where a frame is undefined."""
        with _opened(self.path) as file:
            upper = _array(file, f"{GROUP}/correlation_map/c2_{self._index + 1:05d}", 2).astype(np.float64)
            defined = _defined(file, self._index, upper)
        c2 = np.triu(upper) + np.triu(upper, 1).T
        c2[~defined] = np.nan
        c2[:, ~defined] = np.nan
        return c2

    def times_s(self) -> NDArray[np.float64]:
        """Time of each frame of the map, s."""
        with _opened(self.path) as file:
            n = len(_dataset(file, f"{GROUP}/correlation_map/c2_{self._index + 1:05d}", 2))
        return self._time_s(np.arange(n), self.frames_per_bin)

    def g2(self) -> TwoTimeG2:
        """g2 from the diagonals; of a multi-tau map the lags of all levels."""
        with _opened(self.path) as file:
            if not self._levels:
                return self._g2(file, GROUP, ("normalized_g2", "normalized_g2_err"), self.frames_per_bin, 0)
            parts = [self._g2(file, name, ("g2", "g2_err"), *_level(file, name)) for name in self._levels]
        columns = ("lag_s", "g2", "error", "n_pairs")
        lag_s, g2, error, n_pairs = (np.concatenate([getattr(part, name) for part in parts]) for name in columns)
        there = n_pairs > 0
        return TwoTimeG2(lag_s[there], g2[there], error[there], n_pairs[there])

    def age_cuts(self, ages_s: Sequence[float], width_s: float) -> Cuts:
        """C over lag at fixed ages (t1 + t2) / 2, mean over ``width_s``.

        Raises
        ------
        NotFoundError
            No age is asked for, or the width is not above 0.
        """
        return self._cuts(ages_s, width_s, "age")

    def fixed_t1_cuts(self, t1_s: Sequence[float], width_s: float) -> Cuts:
        """C over lag from fixed earlier times t1, mean over ``width_s``; errors as :meth:`age_cuts`."""
        return self._cuts(t1_s, width_s, "t1")

    def _cuts(self, at_s: Sequence[float], width_s: float, along: Literal["age", "t1"]) -> Cuts:
        centres = np.asarray(at_s, np.float64).reshape(-1)
        if not centres.size or not width_s > 0:
            raise NotFoundError("there is no such cut", remedy="Name at least one time, and a width above 0 s")
        lags: list[float] = []
        found: list[NDArray[np.float64]] = []
        for lag_s, first_s, step_s, diagonals in self._diagonals():
            lags += lag_s.tolist()
            shift_s = lag_s / 2 if along == "age" else np.zeros(len(lag_s))
            windows = [
                [
                    window(values, first_s + early_s, step_s, centre, width_s)
                    for values, early_s in zip(diagonals, shift_s, strict=True)
                ]
                for centre in centres
            ]
            found.append(np.stack([means(lines, skip=int(lag_s[0] == 0)) for lines in windows]))
        g2, error, n_pairs = np.moveaxis(np.concatenate(found, axis=1), 2, 0)
        return Cuts(centres, width_s, np.array(lags), g2, error, n_pairs.astype(np.int64))

    def _diagonals(self) -> Iterator[tuple[NDArray[np.float64], float, float, list[NDArray[np.float64]]]]:
        """Lags, time of the first frame, frame time, and the values of C at each lag: of the map, or level by level."""
        if not self._levels:
            c2 = self.map()
            lag_s = np.asarray(np.arange(len(c2)) * self.frame_time_s, np.float64)
            yield lag_s, 0.0, self.frame_time_s, [np.diagonal(c2, lag) for lag in range(len(c2))]
            return
        for name in self._levels:
            with _opened(self.path) as file:
                width, first_lag = _level(file, name)
                band = _array(file, f"{name}/c2", 3)[self._index].astype(np.float64)
            lags = np.arange(first_lag, min(first_lag + band.shape[1], len(band)))
            step_s = self.frame_time_s / self.frames_per_bin * width
            first_s = float(self._time_s(np.zeros(1), width)[0])
            diagonals = [band[: len(band) - lag, lag - first_lag] for lag in lags]
            yield np.asarray(lags * step_s, np.float64), first_s, step_s, diagonals

    def _g2(self, file: h5py.File, group: str, names: tuple[str, str], width: int, first_lag: int) -> TwoTimeG2:
        g2 = _array(file, f"{group}/{names[0]}", 2)[:, self._index].astype(np.float64)
        lag = np.arange(first_lag, first_lag + len(g2))
        n_pairs, error = len(g2) - lag, np.full(len(g2), np.nan)
        if f"{group}/n_pairs" in file:
            n_pairs = _array(file, f"{group}/n_pairs", 2)[:, self._index].astype(np.int64)
            error = _array(file, f"{group}/{names[1]}", 2)[:, self._index].astype(np.float64)
        step_s = self.frame_time_s / self.frames_per_bin * width
        nothing = n_pairs < 1
        lag_s = np.asarray(lag * step_s, np.float64)
        return TwoTimeG2(lag_s, np.where(nothing, np.nan, g2), np.where(nothing, np.nan, error), n_pairs)

    def _time_s(self, frame: NDArray[Any], width: int) -> NDArray[np.float64]:
        single_s = self.frame_time_s / self.frames_per_bin
        return np.asarray((frame * width + (width - 1) / 2) * single_s)


@dataclass(frozen=True, eq=False)
class TwoTimeResult:
    """The two-time correlation of a result file.

    Attributes
    ----------
    bins
        (nb,) int64, dynamic bins from 1.
    q_inv_angstrom, labels
        Their q, 1/Å, and names.
    smoothing
        ``sqmap`` or ``none``.
    """

    bins: NDArray[np.int64]
    q_inv_angstrom: NDArray[np.float64]
    labels: tuple[str, ...]
    smoothing: str
    _parts: tuple[TwoTimeBin, ...]

    @classmethod
    def of(cls, result: Result) -> TwoTimeResult:
        """Open what lies in an open result's file.

        Raises
        ------
        ResultError
            The file holds no two-time correlation, or is damaged.
        """
        with _opened(result.path) as file:
            bins = _array(file, f"{GROUP}/processed_bins", 1).astype(np.int64)
            if bins.size and (bins.min() < 1 or bins.max() > len(result.labels)):
                raise ResultError("it names bins that are not there", where=f"{result.path}:{GROUP}/processed_bins")
            segments = _array(file, f"{GROUP}/normalized_g2_segments", 3).astype(np.float64)
            width = int(file[f"{GROUP}/frames_per_bin"][()]) if f"{GROUP}/frames_per_bin" in file else 1
            smoothing = file[f"{GROUP}/config/smooth"][()] if f"{GROUP}/config/smooth" in file else b"sqmap"
            levels = tuple(f"{GROUP}/multitau/{name}" for name in sorted(file.get(f"{GROUP}/multitau", {})))
        q = result.q_inv_angstrom[bins - 1]
        labels = tuple(result.labels[bin_ - 1] for bin_ in bins)
        parts = tuple(
            TwoTimeBin(
                path=result.path,
                number=int(bin_),
                q_inv_angstrom=float(q[index]),
                label=labels[index],
                frame_time_s=result.frame_time_s * width,
                frames_per_bin=width,
                segments=np.where(segments[:, :, index].T == 0, np.nan, segments[:, :, index].T),
                _index=index,
                _levels=levels,
            )
            for index, bin_ in enumerate(bins)
        )
        return cls(bins, q, labels, smoothing.decode() if isinstance(smoothing, bytes) else str(smoothing), parts)

    def bin(self, q_or_bin: float) -> TwoTimeBin:
        """One dynamic bin: a whole number is its number from 1, any other the q that it is nearest to, 1/Å.

        Raises
        ------
        NotFoundError
            No map was made of that bin, or no bin has a q.
        """
        if isinstance(q_or_bin, int | np.integer):
            index = np.flatnonzero(self.bins == q_or_bin)
            if not index.size:
                there = ", ".join(map(str, self.bins))
                raise NotFoundError(f"there is no two-time map of bin {q_or_bin}", remedy=f"There are those of {there}")
            return self._parts[int(index[0])]
        if not np.isfinite(self.q_inv_angstrom).any():
            raise NotFoundError("no bin has a q", remedy="Name the bin by its number")
        return self._parts[int(np.nanargmin(np.abs(self.q_inv_angstrom - q_or_bin)))]


def open_twotime(path: str | Path) -> TwoTimeResult:
    """Open the two-time correlation of a result file.

    Raises
    ------
    ResultError
        The file is missing, damaged or holds none.
    """
    from xpcs_assets.results.result import open_result

    return TwoTimeResult.of(open_result(path))


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    with open_hdf5(path, ResultError, _REMEDY) as file, damage(path, "it cannot be read", ResultError, _REMEDY):
        yield file


def _dataset(file: h5py.File, name: str, ndim: int) -> h5py.Dataset:
    data = file.get(name)
    if not isinstance(data, h5py.Dataset):
        raise ResultError("it is missing", where=f"{file.filename}:{name}", remedy=_REMEDY)
    if data.ndim != ndim:
        raise ResultError(f"its shape is {data.shape}", where=f"{file.filename}:{name}", remedy=_REMEDY)
    return data


def _array(file: h5py.File, name: str, ndim: int) -> NDArray[Any]:
    return np.asarray(_dataset(file, name, ndim)[()])


def _level(file: h5py.File, name: str) -> tuple[int, int]:
    """Analysed frames in one frame of a level, and its first lag in its own frames."""
    attributes = file[name].attrs
    return int(attributes["frames_per_bin"]), int(attributes["first_lag"])


def _defined(file: h5py.File, index: int, upper: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which frames of a map are defined; where the file does not tell, those whose C with themselves is not 0."""
    if f"{GROUP}/defined" in file:
        return np.asarray(_array(file, f"{GROUP}/defined", 2)[index] > 0)
    diagonal = np.diagonal(upper)
    return np.asarray(np.isfinite(diagonal) & (diagonal != 0))
