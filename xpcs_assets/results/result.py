"""Open a result file: this package's own, and those of boost_corr in the same layout."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import ResultError
from xpcs_assets.readers.h5file import damage, open_hdf5
from xpcs_assets.results.g2_table import G2Table
from xpcs_assets.runs.recipe import AnalysisSettings, Recipe

MASK_USED = "/xpcs/mask_used"
"""Where a result keeps the pixels that counted, if they are not the q-map's mask."""

if TYPE_CHECKING:
    from xpcs_assets.results.q_phi import QPhi
    from xpcs_assets.results.twotime_result import TwoTimeBin

_REMEDY = "Correlate the run again, or open another file"


@dataclass(frozen=True, eq=False)
class Result(G2Table):
    """Arrays of a correlation with their units. T delays, Nd dynamic and Ns static bins, S segments, N frames.

    A result of type ``twotime`` alone has no delays, T = 0; see :meth:`two_time`.

    Attributes
    ----------
    path
        The file.
    delay_frames, delay_s
        (T,) int64 and float64: delays in analysed frames, and in s. Of a series of bursts the first are within
        bursts, the others across them.
    g2, g2_error
        (T, Nd) float64, NaN where undefined.
    n_pairs
        (T,) int64, valid pairs of frames of each delay.
    n_static_used
        (T, Nd) int64, static bins in each mean; -1 where the file does not tell.
    static_g2
        (T, Ns) float64, g2 of each static bin; NaN where undefined or not in the file.
    q_inv_angstrom
        (Nd,) float64, q of each dynamic bin, 1/Å; NaN where the map has no q.
    labels
        One a dynamic bin, such as ``q = 0.0034 Å⁻¹, phi = 90 deg``.
    static_q
        (Ns,) float64, q of each static bin, 1/Å.
    scattering_2d
        (rows, columns) float32, mean counts per pixel and frame.
    scattering_1d, segments
        (Ns,) and (S, Ns) float32, the same on static bins, whole run and stretches of it: true means, also of files
        of boost_corr, which hold sums.
    intensity_vs_time
        (2, N) float32: analysed frame from 0, mean counts per pixel.
    frame_time_s
        From one analysed frame to the next, s: the detector's frame time x stride x average.
    mask, dynamic_map, static_map
        (rows, columns): bool, the pixels that counted: the q-map's less those that the detector, the dark or the flat
        field know to be bad; and int32 with 0 where unused.
    recipe
        What made it.
    provenance
        Engine, versions, input digests, device, seconds: plain values; empty in boost_corr's files.
    twotime_bins
        Dynamic bins, from 1, of the two-time maps in the file.
    """

    path: Path
    delay_frames: NDArray[np.int64]
    delay_s: NDArray[np.float64]
    g2: NDArray[np.float64]
    g2_error: NDArray[np.float64]
    n_pairs: NDArray[np.int64]
    n_static_used: NDArray[np.int64]
    static_g2: NDArray[np.float64]
    q_inv_angstrom: NDArray[np.float64]
    labels: tuple[str, ...]
    static_q: NDArray[np.float64]
    scattering_2d: NDArray[np.float32]
    scattering_1d: NDArray[np.float32]
    segments: NDArray[np.float32]
    intensity_vs_time: NDArray[np.float32]
    frame_time_s: float
    mask: NDArray[np.bool_]
    dynamic_map: NDArray[np.int32]
    static_map: NDArray[np.int32]
    recipe: Recipe
    provenance: dict[str, Any] = field(default_factory=dict)
    twotime_bins: tuple[int, ...] = ()

    @property
    def run(self) -> str:
        """Name of the run: the file's, without ``_results``."""
        return self.path.stem.removesuffix("_results")

    @property
    def complete(self) -> bool:
        """Whether all of the run is in it; False for one made while the run was still being written."""
        return self.provenance.get("complete") is not False

    def two_time(self, q_or_bin: float) -> TwoTimeBin:
        """Two-time correlation of a dynamic bin; see :meth:`xpcs_assets.results.twotime_result.TwoTimeResult.bin`.

        Raises
        ------
        ResultError
            The file holds none.
        NotFoundError
            No map was made of that bin.
        """
        from xpcs_assets.results.twotime_result import TwoTimeResult

        return TwoTimeResult.of(self).bin(q_or_bin)

    def q_phi(self) -> QPhi:
        """Mean scattering on the grid of the q-map's coordinates; see :func:`xpcs_assets.results.q_phi.read_q_phi`.

        Raises
        ------
        ResultError
            The file has no such grid.
        """
        from xpcs_assets.results.q_phi import read_q_phi

        return read_q_phi(self)

    def _origin(self) -> list[str]:
        return [*super()._origin(), f"result: {self.path.name}"]


def open_result(path: str | Path) -> Result:
    """Open a result of multi-tau or two-time correlation, or both; of the old ``/exchange`` layout its multi-tau.

    Raises
    ------
    ResultError
        The file is missing, damaged or no such result; what is missing is named.
    """
    path = Path(path)
    from xpcs_assets.results.result_exchange import is_exchange, read_exchange

    with open_hdf5(path, ResultError, _REMEDY) as file, damage(path, "it cannot be read", ResultError, _REMEDY):
        source = Source(file, path)
        return read_exchange(source) if is_exchange(source) else _read(source)


def read_provenance(path: str | Path) -> dict[str, Any]:
    """Engine, versions, digests and frames of a result of any kind; empty where the file does not tell.

    Raises
    ------
    ResultError
        The file is missing, damaged or no HDF5 file.
    """
    path = Path(path)
    with open_hdf5(path, ResultError, _REMEDY) as file, damage(path, "it cannot be read", ResultError, _REMEDY):
        return _json(Source(file, path), "/xpcs/provenance/report")


class Source:
    """Datasets of an open file; what is missing is named."""

    def __init__(self, file: h5py.File, path: Path) -> None:
        self.file = file
        self.path = path

    def array(self, name: str, ndim: int | None = None) -> NDArray[Any]:
        """A dataset, of ``ndim`` dimensions where that is given."""
        data = self.file.get(name)
        if not isinstance(data, h5py.Dataset):
            raise ResultError("it is missing", where=f"{self.path}:{name}", remedy=_REMEDY)
        value = np.asarray(data[()])
        if ndim is not None and value.ndim != ndim:
            raise ResultError(f"its shape is {value.shape}", where=f"{self.path}:{name}", remedy=_REMEDY)
        return value

    def optional(self, name: str, otherwise: NDArray[Any]) -> NDArray[Any]:
        """A dataset, or ``otherwise`` where there is none."""
        return self.array(name) if isinstance(self.file.get(name), h5py.Dataset) else otherwise

    def number(self, name: str, otherwise: float | None = None) -> float:
        """One number, () or (1, 1)."""
        if otherwise is not None and name not in self.file:
            return otherwise
        return float(self.array(name).reshape(-1)[0])

    def texts(self, name: str) -> list[str]:
        """A list of texts."""
        values = np.atleast_1d(self.array(name)).tolist()
        return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]

    def text(self, name: str, otherwise: str = "") -> str:
        """One text."""
        return self.texts(name)[0] if name in self.file else otherwise


def _read(source: Source) -> Result:
    multitau, kind = "/xpcs/multitau", _kind(source)
    q, labels = _bins(source, "dynamic")
    static_q, _ = _bins(source, "static")
    delay, g2, error = _g2(source, multitau, len(q)) if kind == "multitau" else _no_g2(len(q))
    intensity = source.array("/xpcs/spatial_mean/intensity_vs_time", 2)
    stride, average = _stride_average(source, kind)
    frame_time_s = source.number("/entry/instrument/detector_1/frame_time") * stride * average
    n_static_used = source.optional(f"{multitau}/n_static_used", np.full(g2.shape, -1)).astype(np.int64)
    # boost_corr writes 0 for what is undefined.
    undefined = (n_static_used == 0) | ((n_static_used < 0) & (g2 == 0))
    no_static = np.full((len(delay), len(static_q)), np.nan)
    return Result(
        path=source.path,
        delay_frames=delay,
        delay_s=source.optional(f"{multitau}/delay_s", delay * frame_time_s).reshape(-1).astype(np.float64),
        g2=np.where(undefined, np.nan, g2),
        g2_error=np.where(undefined, np.nan, error),
        n_pairs=source.optional(f"{multitau}/n_pairs", scheme_pairs(delay, intensity.shape[1])).astype(np.int64),
        n_static_used=n_static_used,
        static_g2=source.optional(f"{multitau}/static_g2", no_static).astype(np.float64),
        q_inv_angstrom=q,
        labels=labels,
        static_q=static_q,
        scattering_2d=source.array("/xpcs/temporal_mean/scattering_2d", 3)[0],
        scattering_1d=source.array("/xpcs/temporal_mean/scattering_1d").reshape(-1),
        segments=_segments(source, intensity.shape[1]),
        intensity_vs_time=intensity,
        frame_time_s=frame_time_s,
        mask=source.optional(MASK_USED, source.array("/xpcs/qmap/mask", 2)) > 0,
        dynamic_map=source.array("/xpcs/qmap/dynamic_roi_map", 2).astype(np.int32),
        static_map=source.array("/xpcs/qmap/static_roi_map", 2).astype(np.int32),
        recipe=_recipe(source),
        provenance=_json(source, "/xpcs/provenance/report"),
        twotime_bins=tuple(source.optional("/xpcs/twotime/processed_bins", np.zeros(0, np.int64)).reshape(-1).tolist()),
    )


def _segments(source: Source, n_frames: int) -> NDArray[np.float32]:
    """True means of each segment. boost_corr's multi-tau divides a segment's sum by all frames of the run.

    Its segments are as long as the power of two that gives so many of them; those frames that are left are in none.
    """
    name = "/xpcs/temporal_mean/scattering_1d_segments"
    segments: NDArray[np.float32] = source.array(name, 2)
    if "/xpcs/provenance/recipe" in source.file or _kind(source) != "multitau" or not 0 < len(segments) <= n_frames:
        return segments
    length = 2 ** int(np.log2(n_frames / len(segments)))
    whole = np.nansum(source.array("/xpcs/temporal_mean/scattering_1d"))
    # Sums over all frames add up to the whole; means would to as many times that as there are segments.
    if len(segments) == 1 or np.nansum(segments) > 0.5 * len(segments) * whole:
        return segments
    means: NDArray[np.float32] = (segments * (n_frames / length)).astype(np.float32)
    return means


def _kind(source: Source) -> str:
    """Which of the two a result is read as; one that has neither lacks its g2."""
    only = "/xpcs/twotime/correlation_map" in source.file and "/xpcs/multitau/normalized_g2" not in source.file
    return "twotime" if only else "multitau"


def _stride_average(source: Source, kind: str) -> tuple[int, int]:
    """Stride and average of the analysed frames; a multi-tau map's config counts the frames it sums too."""
    config, summed = f"/xpcs/{kind}/config", 1.0
    if kind == "twotime":
        summed = source.number("/xpcs/twotime/frames_per_bin", 1)
    return int(source.number(f"{config}/stride_frame")), int(source.number(f"{config}/avg_frame") // summed)


_Table = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


def _g2(source: Source, group: str, n_bins: int) -> _Table:
    """Delays in frames, g2 and its error."""
    g2 = source.array(f"{group}/normalized_g2", 2).astype(np.float64)
    error = source.array(f"{group}/normalized_g2_err", 2).astype(np.float64)
    delay = source.array(f"{group}/delay_list").reshape(-1).astype(np.int64)
    names = [f"{group}/{name}" for name in ("normalized_g2", "normalized_g2_err", "delay_list")]
    if not g2.shape == error.shape or len(delay) != len(g2):
        raise ResultError(f"{', '.join(names)} do not fit each other", where=source.path, remedy=_REMEDY)
    if n_bins != g2.shape[1]:
        raise ResultError(f"{names[0]} has other bins than the q-map", where=source.path, remedy=_REMEDY)
    return delay, g2, error


def _no_g2(n_bins: int) -> _Table:
    return np.zeros(0, np.int64), np.zeros((0, n_bins)), np.zeros((0, n_bins))


def scheme_pairs(delay: NDArray[np.int64], n_frames: int) -> NDArray[np.int64]:
    """Pairs of each delay in the scheme of boost_corr: delays over 8 are multiples of their level's frame."""
    level = np.maximum(np.floor(np.log2(np.maximum(delay - 1, 1) / 4)), 0).astype(np.int64)
    return (n_frames >> level) - (delay >> level)


def _bins(source: Source, kind: str) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Give q and label of each bin, from the natural numbers that the index mapping gives."""
    natural = source.array(f"/xpcs/qmap/{kind}_index_mapping").reshape(-1).astype(np.int64)
    lists = [source.array(f"/xpcs/qmap/{kind}_v_list_dim{axis}").reshape(-1) for axis in (0, 1)]
    names, units = source.texts("/xpcs/qmap/map_names"), source.texts("/xpcs/qmap/map_units")
    indices = np.divmod(natural, len(lists[1]))
    if natural.size and (natural.min() < 0 or indices[0].max() >= len(lists[0])):
        raise ResultError(f"{kind}_index_mapping names bins that are not there", where=source.path, remedy=_REMEDY)
    values = [list_[index] for list_, index in zip(lists, indices, strict=True)]
    q = values[names.index("q")].astype(np.float64) if "q" in names else np.full(len(natural), np.nan)
    shown = [axis for axis in (0, 1) if len(lists[axis]) > 1 or axis == 0]
    labels = tuple(
        ", ".join(f"{names[axis]} = {values[axis][number]:.4g} {units[axis]}" for axis in shown)
        for number in range(len(natural))
    )
    return q, labels


def _json(source: Source, name: str) -> dict[str, Any]:
    text = source.text(name, "{}")
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ResultError("it is no JSON", where=f"{source.path}:{name}", remedy=_REMEDY) from error
    return content if isinstance(content, dict) else {}


def _recipe(source: Source) -> Recipe:
    content = _json(source, "/xpcs/provenance/recipe")
    if content:
        try:
            return Recipe.from_dict(content)
        except (KeyError, TypeError) as error:
            raise ResultError(
                f"its recipe cannot be read ({error})", where=f"{source.path}:/xpcs/provenance/recipe", remedy=_REMEDY
            ) from error
    kind = _kind(source)
    config = f"/xpcs/{kind}/config"
    stride, average = _stride_average(source, kind)
    settings = AnalysisSettings(
        begin_frame=int(source.number(f"{config}/begin_frame", 0)),
        end_frame=int(source.number(f"{config}/end_frame", -1)),
        stride=stride,
        average=average,
        empty_bins="zero",
        error_rule="boost",
    )
    group = source.file["/xpcs/qmap"]
    return Recipe(settings, f"hash:{group.attrs.get('hash', '')}", "boost_corr")
