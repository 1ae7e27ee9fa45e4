"""From a geometry, a mask and numbers of bins to a partition: q and phi, x and y, or rectangles.

Bins are half-open, [low, high). Along each dimension every dynamic bin is made of the same number of static ones, so
that no static bin can cross a dynamic one; bins that no pixel of the mask lies in get no number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import QmapError
from xpcs_assets.qmaps.geometry import PHI_UNIT, Q_UNIT, Geometry
from xpcs_assets.qmaps.qpartition import QPartition

Spacing = Literal["linear", "log"]

MAX_BINS = 1 << 24
"""Bins along both dimensions together, empty ones included."""

_CIRCLE_DEG = 360.0
_ROUNDING_DEG = 1e-9
"""A circle from any angle to that angle and 360 may be this much more than one."""


@dataclass(frozen=True)
class Bins:
    """How one dimension is divided.

    Attributes
    ----------
    n_dynamic, n_static
        Bins; ``n_static`` is a multiple of ``n_dynamic``.
    low, high
        Outer edges in the dimension's unit, [low, high); None takes them from the pixels of the mask (for phi, the
        whole circle).
    spacing
        Bins of equal width, with their arithmetic mean as centre, or of equal ratio, with the geometric mean.
    """

    n_dynamic: int = 1
    n_static: int = 1
    low: float | None = None
    high: float | None = None
    spacing: Spacing = "linear"


@dataclass(frozen=True)
class Rectangle:
    """A region of the detector: rows [top, bottom), columns [left, right)."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True)
class _Divided:
    """Which pixels lie between the outer edges of a dimension, and each pixel's bins in it, from 0."""

    inside: NDArray[np.bool_]
    dynamic: NDArray[np.intp]
    static: NDArray[np.intp]
    dynamic_centres: NDArray[np.float64]
    static_centres: NDArray[np.float64]


def q_phi_partition(geometry: Geometry, mask: NDArray[np.bool_], q: Bins, phi: Bins | None = None) -> QPartition:
    """Rings, or rings cut into sectors.

    Parameters
    ----------
    geometry
        The detector.
    mask
        (rows, cols) bool, pixels that may be used; those outside the edges are left out too.
    q
        Rings, Å⁻¹. Without edges, from the smallest to the largest q of the mask; for logarithmic spacing from the
        smallest above 0.
    phi
        Sectors, deg; one over the whole circle by default. An upper edge may lie beyond 180: 135 to 225 is the
        sector around 180.

    Raises
    ------
    QmapError
        The numbers make no bins, or no pixel lies in them.
    """
    _check_mask(mask, geometry.shape)
    phi = phi or Bins()
    q_map, phi_map = geometry.q_and_phi()
    rings = _divide("q", Q_UNIT, q_map, mask, q)
    low = -_CIRCLE_DEG / 2 if phi.low is None else phi.low
    high = low + _CIRCLE_DEG if phi.high is None else phi.high
    if phi.spacing == "log" or high - low > _CIRCLE_DEG + _ROUNDING_DEG:
        what = f"phi from {low:g} to {high:g} deg with {phi.spacing} spacing makes no sectors"
        raise QmapError(what, remedy="Give at most 360 deg, and linear spacing")
    turned = low + (phi_map - low) % _CIRCLE_DEG
    turned[turned >= low + _CIRCLE_DEG] = low  # rounding
    sectors = _divide("phi", PHI_UNIT, turned, mask, Bins(phi.n_dynamic, phi.n_static, low, high))
    return _combined(geometry, mask, rings, sectors, ("q", "phi"), (Q_UNIT, PHI_UNIT))


def x_y_partition(geometry: Geometry, mask: NDArray[np.bool_], x: Bins, y: Bins) -> QPartition:
    """A mesh of columns (x) and rows (y); without edges it covers the mask to its pixels' edges.

    Raises
    ------
    QmapError
        The numbers make no bins, or no pixel lies in them.
    """
    _check_mask(mask, geometry.shape)
    if "log" in (x.spacing, y.spacing):
        raise QmapError("x and y have no logarithmic spacing", remedy="Take linear spacing")
    rows, cols = np.indices(geometry.shape, dtype=np.float64)
    columns = _divide("x", "pixel", cols, mask, _to_pixel_edges(x, cols, mask))
    lines = _divide("y", "pixel", rows, mask, _to_pixel_edges(y, rows, mask))
    return _combined(geometry, mask, columns, lines, ("x", "y"), ("pixel", "pixel"))


def rectangle_partition(
    geometry: Geometry, mask: NDArray[np.bool_], rectangles: Sequence[Rectangle], split: tuple[int, int] = (1, 1)
) -> QPartition:
    """Each rectangle is a dynamic bin, cut into ``split`` static bins along columns and rows.

    The map's first dimension is the mean q of a rectangle's pixels, so that results can be shown against q; the
    second has one bin.

    Raises
    ------
    QmapError
        A rectangle leaves the detector or overlaps another, cannot be cut so often, or the mask leaves it no pixel.
    """
    _check_mask(mask, geometry.shape)
    dynamic = np.full(geometry.shape, -1, np.intp)
    static = np.full(geometry.shape, -1, np.intp)
    n_cols, n_rows = split
    for k, r in enumerate(rectangles):
        _check_rectangle(r, geometry.shape, split)
        place = np.s_[r.top : r.bottom, r.left : r.right]
        if (dynamic[place] >= 0).any():
            raise QmapError(f"rectangle {k + 1} overlaps another", remedy="Give rectangles apart from each other")
        dynamic[place] = k
        x = np.arange(r.right - r.left) * n_cols // (r.right - r.left)
        y = np.arange(r.bottom - r.top) * n_rows // (r.bottom - r.top)
        static[place] = (k * n_cols + x)[None, :] * n_rows + y[:, None]
    used = mask & (dynamic >= 0)
    empty = np.setdiff1d(np.arange(len(rectangles)), dynamic[used])
    if empty.size or not rectangles:
        what = f"rectangle {int(empty[0]) + 1} has no pixel in the mask" if empty.size else "there is no rectangle"
        raise QmapError(what, remedy="Give rectangles on analysed pixels")
    q, _ = geometry.q_and_phi()
    return _partition(
        geometry,
        used,
        (dynamic, static),
        ((len(rectangles), 1), (len(rectangles) * n_cols * n_rows, 1)),
        (
            (_means(q, dynamic, len(rectangles)), np.zeros(1)),
            (_means(q, static, len(rectangles) * n_cols * n_rows), np.zeros(1)),
        ),
        ("q", "phi"),
        (Q_UNIT, PHI_UNIT),
    )


def _check_mask(mask: NDArray[np.bool_], shape: tuple[int, int]) -> None:
    if mask.shape != shape:
        raise QmapError(f"the mask is {mask.shape}, the detector {shape}", remedy="Make a mask of the detector's shape")
    if not mask.any():
        raise QmapError("the mask leaves no pixel", remedy="Choose another mask")


def _check_rectangle(rectangle: Rectangle, shape: tuple[int, int], split: tuple[int, int]) -> None:
    r = rectangle
    if not (0 <= r.top < r.bottom <= shape[0] and 0 <= r.left < r.right <= shape[1]):
        what = f"rows {r.top} to {r.bottom}, columns {r.left} to {r.right} do not lie on {shape[0]} x {shape[1]} pixels"
        raise QmapError(what, remedy="Rows and columns count from 0; the end is not part of the rectangle")
    if min(split) < 1 or split[0] > r.right - r.left or split[1] > r.bottom - r.top:
        what = f"a rectangle of {r.right - r.left} columns and {r.bottom - r.top} rows is not cut in {split}"
        raise QmapError(what, remedy="Take fewer static bins")


def _to_pixel_edges(bins: Bins, values: NDArray[np.float64], mask: NDArray[np.bool_]) -> Bins:
    low = float(values[mask].min()) - 0.5 if bins.low is None else bins.low
    high = float(values[mask].max()) + 0.5 if bins.high is None else bins.high
    return Bins(bins.n_dynamic, bins.n_static, low, high)


def _divide(name: str, unit: str, values: NDArray[np.float64], mask: NDArray[np.bool_], bins: Bins) -> _Divided:
    if bins.n_dynamic < 1 or bins.n_static % bins.n_dynamic or bins.n_static < bins.n_dynamic:
        what = f"{bins.n_static} static bins do not divide {bins.n_dynamic} dynamic bins of {name}"
        raise QmapError(what, remedy="Take a multiple of the dynamic bins: a static bin must not cross dynamic ones")
    if bins.n_static > MAX_BINS:
        raise QmapError(f"{bins.n_static} bins of {name} are too many", remedy=f"Take at most {MAX_BINS}")
    usable = mask & (values > 0) if bins.spacing == "log" else mask
    of_mask = values[usable] if usable.any() else np.array([np.nan])
    low = float(of_mask.min()) if bins.low is None else bins.low
    high = float(np.nextafter(of_mask.max(), np.inf)) if bins.high is None else bins.high
    if not low < high or not np.isfinite((low, high)).all() or (bins.spacing == "log" and low <= 0):
        raise QmapError(f"no pixel has a {name} in [{low}, {high}) {unit}", remedy="Choose other edges")
    inside = (values >= low) & (values < high)
    if not (inside & mask).any():
        raise QmapError(f"no pixel has a {name} in [{low}, {high}) {unit}", remedy="Choose other edges")
    spaced = np.geomspace if bins.spacing == "log" else np.linspace
    edges = spaced(low, high, bins.n_static + 1)
    per_dynamic = bins.n_static // bins.n_dynamic
    static = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, bins.n_static - 1)
    return _Divided(
        inside,
        static // per_dynamic,
        static,
        _centres(edges[::per_dynamic], bins.spacing),
        _centres(edges, bins.spacing),
    )


def _centres(edges: NDArray[np.float64], spacing: Spacing) -> NDArray[np.float64]:
    return np.sqrt(edges[1:] * edges[:-1]) if spacing == "log" else (edges[1:] + edges[:-1]) / 2


def _combined(
    geometry: Geometry,
    mask: NDArray[np.bool_],
    first: _Divided,
    second: _Divided,
    names: tuple[str, str],
    units: tuple[str, str],
) -> QPartition:
    used = mask & first.inside & second.inside
    if not used.any():
        what = f"no pixel of the mask lies in the ranges of {names[0]} and {names[1]} together"
        raise QmapError(what, remedy="Choose other edges")
    dynamic_num = first.dynamic_centres.size, second.dynamic_centres.size
    static_num = first.static_centres.size, second.static_centres.size
    if static_num[0] * static_num[1] > MAX_BINS:
        raise QmapError(f"{static_num[0]} x {static_num[1]} bins are too many", remedy=f"Take at most {MAX_BINS}")
    natural = first.dynamic * dynamic_num[1] + second.dynamic, first.static * static_num[1] + second.static
    centres = (first.dynamic_centres, second.dynamic_centres), (first.static_centres, second.static_centres)
    return _partition(geometry, used, natural, (dynamic_num, static_num), centres, names, units)


_Lists = tuple[NDArray[np.float64], NDArray[np.float64]]


def _partition(
    geometry: Geometry,
    used: NDArray[np.bool_],
    natural: tuple[NDArray[np.intp], NDArray[np.intp]],
    num_pts: tuple[tuple[int, int], tuple[int, int]],
    centres: tuple[_Lists, _Lists],
    names: tuple[str, str],
    units: tuple[str, str],
) -> QPartition:
    """Number the bins; of each pair the dynamic one comes first."""
    dynamic, dynamic_mapping = _numbered(natural[0], used)
    static, static_mapping = _numbered(natural[1], used)
    return QPartition(
        mask=used,
        dynamic=dynamic,
        static=static,
        dynamic_num_pts=num_pts[0],
        static_num_pts=num_pts[1],
        dynamic_index_mapping=dynamic_mapping,
        static_index_mapping=static_mapping,
        dynamic_v_lists=centres[0],
        static_v_lists=centres[1],
        map_names=names,
        map_units=units,
        beam_centre_yx=geometry.direct_beam_yx,
        pixel_size_m=geometry.pixel_size_m,
        detector_distance_m=geometry.detector_distance_m,
        energy_kev=geometry.energy_kev,
        rotation_deg=geometry.rotation_deg,
        swing_deg=geometry.swing_deg,
    )


def _numbered(natural: NDArray[np.intp], used: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Bins numbered from 1 without gaps, 0 where not used, and the natural index of each."""
    present, number = np.unique(natural[used], return_inverse=True)
    bins = np.zeros(used.shape, np.int32)
    bins[used] = number + 1
    return bins, present.astype(np.int64)


def _means(values: NDArray[np.float64], bins: NDArray[np.intp], n: int) -> NDArray[np.float64]:
    """Mean of ``values`` over the pixels of each bin; -1 is no bin."""
    inside = bins >= 0
    count = np.bincount(bins[inside], minlength=n)
    return np.asarray(np.bincount(bins[inside], values[inside], minlength=n) / count)
