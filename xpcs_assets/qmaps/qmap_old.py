"""The old q-map layout: one HDF5 group ``/data``, as the 8-ID GUIs and pySimpleMask before 2025 saved it.

``dynamicMap`` and ``staticMap`` number the bins from 1. ``dqval``, ``dphival``, ``sqval``, ``sphival``, (1, N), give
the centre of each bin in the order of the grid, q by q, ``dnoq`` x ``dnophi`` of them. Either an empty bin is NaN
there and has no number in the map, or every bin of the grid has its number. Azimuths, deg, count clockwise from six
o'clock and are kept so. ``x0`` and ``y0`` are column and row of the beam; distance, pixel size and energy are
not in the file.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.qmaps.geometry import PHI_UNIT, Q_UNIT, Geometry
from xpcs_assets.qmaps.qmap_group import QmapGroup
from xpcs_assets.qmaps.qpartition import QPartition

OLD_GROUP = "data"

# No X-ray run reaches this q; meshes of columns and rows were saved with pixels in place of it.
_MOST_INV_ANGSTROM = 30.0
# Centres of one line of the grid agree to rounding, of single precision at worst.
_SAME = 1e-5

Partition = TypeVar("Partition", bound=QPartition)


def parse_old(group: QmapGroup) -> QPartition:
    """Read the group ``/data``.

    Raises
    ------
    QmapError
        A dataset is missing or wrong, or the lists do not say which bin is which.
    """
    numbers = {name: _numbers(group, name) for name in ("dynamicMap", "staticMap")}
    mask = group.array("mask", 2, "biuf") > 0
    for name, bins in numbers.items():
        if bins.shape != mask.shape:
            raise group.wrong(name, f"its shape is {bins.shape}, the mask's {mask.shape}")
    # Ranges of q and phi were left out of the maps, not of the mask.
    mask = mask & (numbers["dynamicMap"] > 0) & (numbers["staticMap"] > 0)
    dynamic = _Bins(group, "dynamicMap", "d", np.where(mask, numbers["dynamicMap"], 0))
    static = _Bins(group, "staticMap", "s", np.where(mask, numbers["staticMap"], 0))
    return QPartition(
        mask=mask,
        dynamic=dynamic.numbers,
        static=static.numbers,
        dynamic_num_pts=dynamic.num_pts,
        static_num_pts=static.num_pts,
        dynamic_index_mapping=dynamic.mapping,
        static_index_mapping=static.mapping,
        dynamic_v_lists=dynamic.centres,
        static_v_lists=static.centres,
        map_names=("q", "phi"),
        map_units=(Q_UNIT, PHI_UNIT),
        beam_centre_yx=(_scalar(group, "y0"), _scalar(group, "x0")),
        pixel_size_m=math.nan,
        detector_distance_m=math.nan,
        energy_kev=math.nan,
    )


def with_geometry(partition: Partition, geometry: Geometry) -> Partition:
    """The same map with what its file does not say taken from ``geometry``; what it says stays."""
    p = partition
    row, col = geometry.direct_beam_yx
    return replace(
        p,
        beam_centre_yx=(_known(p.beam_centre_yx[0], row), _known(p.beam_centre_yx[1], col)),
        pixel_size_m=_known(p.pixel_size_m, geometry.pixel_size_m),
        detector_distance_m=_known(p.detector_distance_m, geometry.detector_distance_m),
        energy_kev=_known(p.energy_kev, geometry.energy_kev),
    )


def _known(value: float, other: float) -> float:
    return other if math.isnan(value) else value


def _scalar(group: QmapGroup, name: str) -> float:
    return group.scalar(name) if name in group else math.nan


def _numbers(group: QmapGroup, name: str) -> NDArray[np.int32]:
    values = group.array(name, 2, "iuf")
    numbers = np.clip(np.nan_to_num(values), -1, 1 << 30).astype(np.int32)
    if (numbers != values).any() or numbers.min(initial=0) < 0:
        raise group.wrong(name, "it holds what is no number of a bin")
    return np.asarray(numbers)


class _Bins:
    """One of the two maps with its lists, in today's terms."""

    def __init__(self, group: QmapGroup, map_name: str, letter: str, numbers: NDArray[np.int32]) -> None:
        self._group = group
        self._name = map_name
        q_name, phi_name = f"{letter}qval", f"{letter}phival"
        q, phi = group.flat(q_name), group.flat(phi_name)
        self.num_pts = self._count(f"{letter}noq"), self._count(f"{letter}nophi")
        for name, values in ((q_name, q), (phi_name, phi)):
            if values.size != self.num_pts[0] * self.num_pts[1]:
                what = f"it has {values.size} values for {self.num_pts[0]} x {self.num_pts[1]} bins"
                raise group.wrong(name, what)
        there = np.isfinite(q) & np.isfinite(phi)
        if np.abs(q[there]).max(initial=0.0) > _MOST_INV_ANGSTROM:
            raise group.wrong(q_name, "these are pixels, not q: the old layout mixes up the bins of such a mesh")
        self.numbers, self.mapping = self._renumbered(numbers, there)
        self.centres = self._along(q_name, q, 0), self._along(phi_name, phi, 1)

    def _count(self, name: str) -> int:
        value = self._group.positive(name)
        if value != int(value) or value > 1 << 24:
            raise self._group.wrong(name, f"{value} is no number of bins")
        return int(value)

    def _renumbered(
        self, numbers: NDArray[np.int32], there: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The map without gaps in its numbers, and the place in the grid of each bin."""
        present = np.unique(numbers[numbers > 0])
        of_file = np.flatnonzero(there)
        if present.size and present[-1] > of_file.size:
            # The map counts empty bins too.
            of_file = np.arange(there.size)
        if not present.size or present[-1] > of_file.size or not there[of_file[present - 1]].all():
            what = f"its bins go to {present.max(initial=0)}, the lists hold {int(there.sum())} centres"
            raise self._group.wrong(self._name, what)
        lookup = np.zeros(int(present[-1]) + 1, np.int32)
        lookup[present] = np.arange(1, present.size + 1)
        return lookup[numbers], of_file[present - 1].astype(np.int64)

    def _along(self, name: str, values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        """The centres along one dimension; those of lines of empty bins, which nothing uses, are interpolated."""
        grid = values.reshape(self.num_pts)
        lines = grid if axis == 0 else grid.T
        known = np.isfinite(lines)
        filled = np.where(known, lines, 0.0)
        centres = filled.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        if (np.abs(filled - centres[:, None])[known] > _SAME * np.abs(centres).max()).any():
            raise self._group.wrong(name, "its centres are no grid of q and phi, such as rings drawn apart")
        lit = np.flatnonzero(known.any(axis=1))
        return np.asarray(np.interp(np.arange(lines.shape[0]), lit, centres[lit]))
