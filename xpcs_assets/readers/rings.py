"""Which pixel counts in which q bin: the arrays of a q-map, the q of a pixel, and rings around the beam.

q = 4 pi / wavelength * sin(theta), 2 theta = atan(r / distance), wavelength in angstrom = 12.39841984 / energy
in keV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import QmapError

KEV_ANGSTROM = 12.39841984
"""Photon energy times wavelength, keV angstrom."""

Q_UNIT, PHI_UNIT = "Å⁻¹", "deg"


@dataclass(frozen=True)
class QPartition:
    """The pixels' bins and the geometry they come from.

    Attributes
    ----------
    mask
        (rows, cols) bool, pixels analysed.
    dynamic, static
        (rows, cols) int32, bin of each pixel, from 1; 0 is not used. Each static bin lies in one dynamic bin.
    dynamic_num_pts, static_num_pts
        Bins along the two dimensions of the map, empty ones included.
    dynamic_index_mapping, static_index_mapping
        (bins,) int64, natural index ``i0 * num_pts[1] + i1`` of bin k + 1: empty bins have no number.
    dynamic_v_lists, static_v_lists
        Bin centres along the two dimensions, in ``map_units``.
    map_names, map_units
        What the two dimensions are, such as ``q`` in Å⁻¹ and ``phi`` in deg.
    beam_centre_yx
        Row and column of the direct beam, pixels.
    pixel_size_m, detector_distance_m, energy_kev
        Geometry: m, m, keV.
    """

    mask: NDArray[np.bool_]
    dynamic: NDArray[np.int32]
    static: NDArray[np.int32]
    dynamic_num_pts: tuple[int, int]
    static_num_pts: tuple[int, int]
    dynamic_index_mapping: NDArray[np.int64]
    static_index_mapping: NDArray[np.int64]
    dynamic_v_lists: tuple[NDArray[np.float64], NDArray[np.float64]]
    static_v_lists: tuple[NDArray[np.float64], NDArray[np.float64]]
    map_names: tuple[str, str]
    map_units: tuple[str, str]
    beam_centre_yx: tuple[float, float]
    pixel_size_m: float
    detector_distance_m: float
    energy_kev: float

    @property
    def shape(self) -> tuple[int, int]:
        """Detector rows and columns."""
        return int(self.mask.shape[0]), int(self.mask.shape[1])

    @property
    def n_dynamic(self) -> int:
        """Dynamic bins."""
        return int(self.dynamic_index_mapping.size)

    @property
    def n_static(self) -> int:
        """Static bins."""
        return int(self.static_index_mapping.size)

    def dynamic_centre(self, k: int) -> tuple[float, float]:
        """Centre of dynamic bin ``k``, from 1, in ``map_units``."""
        i0, i1 = divmod(int(self.dynamic_index_mapping[k - 1]), self.dynamic_num_pts[1])
        return float(self.dynamic_v_lists[0][i0]), float(self.dynamic_v_lists[1][i1])

    def dynamic_label(self, k: int) -> str:
        """What to call dynamic bin ``k``, from 1: ``q = 0.0034 Å⁻¹`` or ``q = 0.0034 Å⁻¹, φ = 45 deg``.

        Raises
        ------
        QmapError
            There is no such bin.
        """
        if not 1 <= k <= self.n_dynamic:
            raise QmapError(f"there is no dynamic bin {k}", remedy=f"Bins are 1 to {self.n_dynamic}")
        parts = []
        for axis, value in enumerate(self.dynamic_centre(k)):
            if axis == 0 or self.dynamic_num_pts[axis] > 1:
                name = "φ" if self.map_names[axis] == "phi" else self.map_names[axis]
                parts.append(f"{name} = {value:.3g} {self.map_units[axis]}".rstrip())
        return ", ".join(parts)

    @property
    def dynamic_q(self) -> NDArray[np.float64] | None:
        """(Nd,) q of each dynamic bin, Å⁻¹; None when the map's first dimension is not q."""
        return self._q(self.dynamic_v_lists[0], self.dynamic_index_mapping, self.dynamic_num_pts[1])

    @property
    def static_q(self) -> NDArray[np.float64] | None:
        """(Ns,) q of each static bin, Å⁻¹; None when the map's first dimension is not q."""
        return self._q(self.static_v_lists[0], self.static_index_mapping, self.static_num_pts[1])

    def _q(self, centres: NDArray[np.float64], mapping: NDArray[np.int64], inner: int) -> NDArray[np.float64] | None:
        return centres[mapping // inner] if self.map_names[0] == "q" else None


def q_of_pixels(
    shape: tuple[int, int],
    centre_yx: tuple[float, float],
    pixel_size_m: float,
    distance_m: float,
    energy_kev: float,
) -> NDArray[np.float64]:
    """Momentum transfer of each pixel, (rows, cols), Å⁻¹.

    >>> float(q_of_pixels((1, 11), (0, 0), 1e-4, 1.0, 12.39841984)[0, 10].round(6))
    0.006283
    """
    rows, cols = np.indices(shape, dtype=np.float64)
    radius_m = np.hypot(rows - centre_yx[0], cols - centre_yx[1]) * pixel_size_m
    theta = np.arctan(radius_m / distance_m) / 2
    return np.asarray(4 * math.pi * energy_kev / KEV_ANGSTROM * np.sin(theta))


def ring_partition(
    shape: tuple[int, int],
    centre_yx: tuple[float, float],
    pixel_size_m: float,
    distance_m: float,
    energy_kev: float,
    mask: NDArray[np.bool_],
    n_dynamic: int,
    n_static: int,
    q_min: float | None = None,
    q_max: float | None = None,
) -> QPartition:
    """Concentric rings of equal width in q; each dynamic ring is made of ``n_static / n_dynamic`` static ones.

    Parameters
    ----------
    shape
        Detector rows and columns.
    centre_yx
        Row and column of the direct beam, pixels.
    pixel_size_m, distance_m, energy_kev
        Geometry: m, m, keV.
    mask
        (rows, cols) bool, pixels that may be used; those outside [q_min, q_max) are left out too.
    n_dynamic, n_static
        Number of rings; ``n_static`` is a multiple of ``n_dynamic``.
    q_min, q_max
        Inner and outer edge, Å⁻¹; by default those of the mask.

    Raises
    ------
    QmapError
        The numbers make no rings, or no pixel lies in them.
    """
    if mask.shape != shape:
        raise QmapError(f"the mask is {mask.shape}, the detector {shape}", remedy="Make a mask of the detector's shape")
    if n_dynamic < 1 or n_static % n_dynamic or n_static < n_dynamic:
        what = f"{n_static} static bins do not divide {n_dynamic} dynamic bins"
        raise QmapError(what, remedy="Take a multiple of the dynamic bins")
    q = q_of_pixels(shape, centre_yx, pixel_size_m, distance_m, energy_kev)
    if not mask.any():
        raise QmapError("the mask leaves no pixel", remedy="Choose another mask")
    low = float(q[mask].min()) if q_min is None else q_min
    high = float(np.nextafter(q[mask].max(), np.inf)) if q_max is None else q_max
    used = mask & (q >= low) & (q < high)
    if not low < high or not used.any():
        raise QmapError(f"no pixel has a q in [{low}, {high}) Å⁻¹", remedy="Choose other edges")
    edges = np.linspace(low, high, n_static + 1)
    ring = np.clip(np.searchsorted(edges, q, side="right") - 1, 0, n_static - 1)
    static, static_mapping = _numbered(ring, used)
    dynamic, dynamic_mapping = _numbered(ring // (n_static // n_dynamic), used)
    flat = np.zeros(1)
    return QPartition(
        mask=used,
        dynamic=dynamic,
        static=static,
        dynamic_num_pts=(n_dynamic, 1),
        static_num_pts=(n_static, 1),
        dynamic_index_mapping=dynamic_mapping,
        static_index_mapping=static_mapping,
        dynamic_v_lists=(_centres(np.linspace(low, high, n_dynamic + 1)), flat),
        static_v_lists=(_centres(edges), flat),
        map_names=("q", "phi"),
        map_units=(Q_UNIT, PHI_UNIT),
        beam_centre_yx=centre_yx,
        pixel_size_m=pixel_size_m,
        detector_distance_m=distance_m,
        energy_kev=energy_kev,
    )


def pixels_as_static_bins(partition: QPartition) -> QPartition:
    """The same dynamic bins with each pixel a static bin of its own, numbered by rising q.

    Every pixel is then normalised by its own mean in time. This is right where brightness differs between the
    pixels of a ring for other reasons than speckle, and costs contrast in runs of few correlation times.
    """
    p = partition
    q = q_of_pixels(p.shape, p.beam_centre_yx, p.pixel_size_m, p.detector_distance_m, p.energy_kev)
    used = np.flatnonzero(p.mask)
    order = used[np.argsort(q.ravel()[used], kind="stable")]
    static = np.zeros(p.shape, np.int32)
    static.reshape(-1)[order] = np.arange(1, order.size + 1)
    return replace(
        p,
        static=static,
        static_num_pts=(int(order.size), 1),
        static_index_mapping=np.arange(order.size, dtype=np.int64),
        static_v_lists=(q.ravel()[order], np.zeros(1)),
    )


def _centres(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    return (edges[1:] + edges[:-1]) / 2


def _numbered(natural: NDArray[np.intp], used: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Bins numbered from 1 without gaps, 0 where not used, and the natural index of each."""
    present, number = np.unique(natural[used], return_inverse=True)
    bins = np.zeros(used.shape, np.int32)
    bins[used] = number + 1
    return bins, present.astype(np.int64)
