"""Judge whether the q-map is this run's: its shape, and its geometry against what the metadata say.

The metadata's geometry is nominal and a calibrated q-map may differ from it, so a difference asks somebody to look.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xpcs_assets.describe.judgement import Judge, Judgement
from xpcs_assets.errors import MetadataError, ResultError
from xpcs_assets.qmaps.geometry_fields import Known, read_geometry
from xpcs_assets.readers.h5file import damage, open_hdf5

if TYPE_CHECKING:
    from xpcs_assets.qmaps.geometry import Geometry
    from xpcs_assets.results.result import Result

NAMES = ("distance_deviation", "energy_deviation", "pixel_size_deviation", "beam_centre_shift")
_QMAP = "/xpcs/qmap"
_REMEDY = "Correlate the run again"
# What is asked for by itself stands in for all else: one field that is missing hides no other.
_SAID = {
    "beam_centre_yx": (0.0, 0.0),
    "pixel_size_m": 1e-4,
    "detector_distance_m": 1.0,
    "energy_kev": 10.0,
    "rotation_deg": (0.0, 0.0, 0.0),
    "swing_deg": (0.0, 0.0),
}


@dataclass(frozen=True)
class QmapGeometry:
    """What a result's q-map says: row and column of the beam, m, m, keV. NaN where it does not."""

    beam_centre_yx: tuple[float, float]
    pixel_size_m: float
    detector_distance_m: float
    energy_kev: float


def judge_shape(judge: Judge, result: Result) -> Judgement:
    """Judge whether q-map and scattering pattern are of one detector."""
    (rows, columns), (pattern_rows, pattern_columns) = result.mask.shape, result.scattering_2d.shape
    differ = abs(rows - pattern_rows) + abs(columns - pattern_columns)
    told = f"the q-map is {rows} x {columns} pixels, the scattering pattern {pattern_rows} x {pattern_columns}"
    return judge.value("qmap_shape", differ, told)


def judge_geometry(judge: Judge, result: Path, metadata: Path | None) -> Iterator[Judgement]:
    """Judge distance, energy, pixel size and beam centre of a result's q-map against the metadata's.

    Raises
    ------
    ResultError
        The result does not open.
    """
    if metadata is None or not result.is_file():
        because = "the run's metadata are not at hand" if metadata is None else "the result is no file"
        yield from (judge.not_judged(name, because) for name in NAMES)
        return
    qmap = read_qmap_geometry(result)
    yield _relative(judge, "distance_deviation", "detector_distance_m", "m", qmap.detector_distance_m, metadata)
    yield _relative(judge, "energy_deviation", "energy_kev", "keV", qmap.energy_kev, metadata)
    yield _relative(judge, "pixel_size_deviation", "pixel_size_m", "m", qmap.pixel_size_m, metadata)
    yield _centre(judge, qmap, metadata)


def read_qmap_geometry(result: Path) -> QmapGeometry:
    """The geometry of the q-map in a result.

    Raises
    ------
    ResultError
        The result does not open.
    """
    with open_hdf5(result, ResultError, _REMEDY) as file, damage(result, "it cannot be read", ResultError, _REMEDY):

        def number(name: str) -> float:
            item = file.get(f"{_QMAP}/{name}")
            return float(np.asarray(item[()]).reshape(-1)[0]) if item is not None and item.size == 1 else float("nan")

        centre = number("beam_center_y"), number("beam_center_x")
        return QmapGeometry(centre, number("pixel_size"), number("detector_distance"), number("energy"))


def _relative(judge: Judge, name: str, quantity: str, unit: str, mapped: float, metadata: Path) -> Judgement:
    try:
        nominal = float(getattr(_told(metadata, quantity), quantity))
    except MetadataError as error:
        return judge.not_judged(name, f"the metadata do not tell it: {error.what}")
    told = f"the q-map says {mapped:.6g} {unit}, the metadata {nominal:.6g} {unit}"
    return judge.value(name, abs(mapped / nominal - 1), told)


def _centre(judge: Judge, qmap: QmapGeometry, metadata: Path) -> Judgement:
    name = "beam_centre_shift"
    try:
        row, column = _told(metadata, "beam_centre_yx", pixel_size_m=qmap.pixel_size_m).axis_yx
    except MetadataError as error:
        return judge.not_judged(name, f"the metadata do not tell it: {error.what}")
    mapped_row, mapped_column = qmap.beam_centre_yx
    told = (
        f"the q-map has the beam in row {mapped_row:.1f}, column {mapped_column:.1f}, "
        f"the metadata in row {row:.1f}, column {column:.1f}"
    )
    return judge.value(name, float(np.hypot(mapped_row - row, mapped_column - column)), told)


def _told(metadata: Path, quantity: str, **said: float) -> Geometry:
    """The metadata's geometry, asked for one quantity."""
    return read_geometry(metadata, (1, 1), Known(**{**_SAID, **said, quantity: None}))  # type: ignore[arg-type]
