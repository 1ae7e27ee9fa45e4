"""Open results of the old ``/exchange`` layout, as xpcs-eigen and boost_corr before 2024 wrote them.

The q-map lies in ``/xpcs`` (``dqmap``, ``sqmap``, ``mask``, and lists (1, N)), the times in ``/measurement``. Delays
are in analysed frames, frames of ``frameSum`` count from 1, undefined values of g2 are 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import ResultError
from xpcs_assets.readers.metadata import FRAME_TIME
from xpcs_assets.results.result import Result, scheme_pairs
from xpcs_assets.runs.recipe import AnalysisSettings, Recipe

if TYPE_CHECKING:
    from xpcs_assets.results.result import Source

_GROUP = "/exchange"
_NEW = "/xpcs/qmap"
_REMEDY = "Correlate the run again, or open another file"


def is_exchange(source: Source) -> bool:
    """Tell whether an open file is a result of the old layout."""
    return _GROUP in source.file and _NEW not in source.file


def read_exchange(source: Source) -> Result:
    """Read an open file.

    Raises
    ------
    ResultError
        Something is missing or does not fit the rest; it is named.
    """
    g2 = source.array(f"{_GROUP}/norm-0-g2", 2).astype(np.float64)
    error = source.array(f"{_GROUP}/norm-0-stderr", 2).astype(np.float64)
    delay = np.rint(source.array(f"{_GROUP}/tau").reshape(-1)).astype(np.int64)
    static_1d = source.array(f"{_GROUP}/partition-mean-total").reshape(-1)
    dynamic_map, static_map = (source.array(f"/xpcs/{name}", 2).astype(np.int32) for name in ("dqmap", "sqmap"))
    pattern = source.array(f"{_GROUP}/pixelSum", 2)
    _same(source, "norm-0-stderr", error.shape, g2.shape)
    _same(source, "tau", delay.shape, g2.shape[:1])
    _same(source, "pixelSum", pattern.shape, dynamic_map.shape)
    q, labels = _bins(source, "d", g2.shape[1])
    static_q, _ = _bins(source, "s", static_1d.size)
    intensity = source.array(f"{_GROUP}/frameSum", 2).copy()
    intensity[0] -= 1
    stride, average = (int(source.number(f"/xpcs/{name}_frames", 1)) for name in ("stride", "avg"))
    frame_time_s = source.number(FRAME_TIME[1]) * stride * average
    undefined = g2 == 0
    return Result(
        path=source.path,
        delay_frames=delay,
        delay_s=delay * frame_time_s,
        g2=np.where(undefined, np.nan, g2),
        g2_error=np.where(undefined, np.nan, error),
        n_pairs=scheme_pairs(delay, intensity.shape[1]),
        n_static_used=np.full(g2.shape, -1, np.int64),
        static_g2=np.full((delay.size, static_1d.size), np.nan),
        q_inv_angstrom=q,
        labels=labels,
        static_q=static_q,
        scattering_2d=pattern.astype(np.float32),
        scattering_1d=static_1d.astype(np.float32),
        segments=source.array(f"{_GROUP}/partition-mean-partial", 2).astype(np.float32),
        intensity_vs_time=intensity.astype(np.float32),
        frame_time_s=frame_time_s,
        mask=source.array("/xpcs/mask", 2) > 0,
        dynamic_map=dynamic_map,
        static_map=static_map,
        recipe=_recipe(source, stride, average),
        provenance={"layout": "exchange", "analysis_type": source.text("/xpcs/analysis_type")},
    )


def _same(source: Source, name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if shape != wanted:
        what = f"its shape is {shape}, the rest of the file asks for {wanted}"
        raise ResultError(what, where=f"{source.path}:{_GROUP}/{name}", remedy=_REMEDY)


def _bins(source: Source, kind: str, n_bins: int) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Give q and label of each bin; empty bins stand as NaN in the lists and have no column in the results."""
    q, phi = (_list(source, f"/xpcs/{kind}{name}list", n_bins) for name in ("q", "phi"))
    several = np.unique(phi[np.isfinite(phi)]).size > 1
    labels = tuple(
        f"q = {q[bin_]:.4g} Å⁻¹" + (f", phi = {phi[bin_]:.4g} deg" if several else "") for bin_ in range(n_bins)
    )
    return q, labels


def _list(source: Source, name: str, n_bins: int) -> NDArray[np.float64]:
    values = source.optional(name, np.full(n_bins, np.nan)).reshape(-1).astype(np.float64)
    if values.size != n_bins:
        values = values[np.isfinite(values)]
    if values.size != n_bins:
        what = f"it has {values.size} values for {n_bins} bins"
        raise ResultError(what, where=f"{source.path}:{name}", remedy=_REMEDY)
    return values


def _recipe(source: Source, stride: int, average: int) -> Recipe:
    """What the file says of its making; begin and end count from 1 there."""
    numbers: dict[str, Any] = {
        "begin_frame": max(int(source.number("/xpcs/data_begin_todo", 1)) - 1, 0),
        "end_frame": int(source.number("/xpcs/data_end_todo", -1)),
        "delays_per_level": int(source.number("/xpcs/delays_per_level", 4)),
    }
    settings = AnalysisSettings(stride=stride, average=average, empty_bins="zero", error_rule="boost", **numbers)
    return Recipe(settings, "hash:", "exchange")
