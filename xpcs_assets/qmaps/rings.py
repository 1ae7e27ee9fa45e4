"""Partitions of rings around the beam, and the q of a pixel: what most runs need, in one call each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.qmaps.geometry import Geometry
from xpcs_assets.qmaps.partition_maps import Bins, q_phi_partition
from xpcs_assets.qmaps.qpartition import QPartition as QPartition


def q_of_pixels(
    shape: tuple[int, int],
    centre_yx: tuple[float, float],
    pixel_size_m: float,
    distance_m: float,
    energy_kev: float,
) -> NDArray[np.float64]:
    """Momentum transfer of each pixel of a detector that faces the beam, (rows, cols), Å⁻¹.

    >>> float(q_of_pixels((1, 11), (0, 0), 1e-4, 1.0, 12.39841984)[0, 10].round(6))
    0.006283
    """
    return Geometry(shape, centre_yx, pixel_size_m, distance_m, energy_kev).q_and_phi()[0]


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
    geometry = Geometry(shape, centre_yx, pixel_size_m, distance_m, energy_kev)
    return q_phi_partition(geometry, mask, Bins(n_dynamic, n_static, q_min, q_max))


def pixels_as_static_bins(partition: QPartition) -> QPartition:
    """The same dynamic bins with each pixel a static bin of its own, numbered by rising q.

    Every pixel is then normalised by its own mean in time. This is right where brightness differs between the
    pixels of a ring for other reasons than speckle, and costs contrast in runs of few correlation times.
    """
    q, _ = partition.geometry.q_and_phi()
    used = np.flatnonzero(partition.mask)
    order = used[np.argsort(q.ravel()[used], kind="stable")]
    static = np.zeros(partition.shape, np.int32)
    static.reshape(-1)[order] = np.arange(1, order.size + 1)
    return replace(
        partition,
        static=static,
        static_num_pts=(int(order.size), 1),
        static_index_mapping=np.arange(order.size, dtype=np.int64),
        static_v_lists=(q.ravel()[order], np.zeros(1)),
    )
