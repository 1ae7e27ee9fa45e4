"""Which pixel counts in which bin: the arrays of a q-map, and what makes them sound."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import QmapError
from xpcs_assets.qmaps.geometry import Geometry


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
        Row and column that the direct beam hits, pixels.
    pixel_size_m, detector_distance_m, energy_kev
        Geometry: m, m, keV. NaN where a file of the old layout does not say.
    rotation_deg, swing_deg
        Turns of the detector and swing of the flight path, see :class:`Geometry`; mostly 0.
    blemish
        (rows, cols) bool, pixels that are sound, analysed or not; the picture of the scattering shows them. None
        where a map does not tell: then the mask is all that is known.
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
    rotation_deg: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0), kw_only=True)
    swing_deg: tuple[float, float] = field(default=(0.0, 0.0), kw_only=True)
    blemish: NDArray[np.bool_] | None = field(default=None, kw_only=True)

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

    @property
    def geometry(self) -> Geometry:
        """The detector that the map was drawn for."""
        at_origin = Geometry(
            self.shape,
            (0.0, 0.0),
            self.pixel_size_m,
            self.detector_distance_m,
            self.energy_kev,
            self.rotation_deg,
            self.swing_deg,
        )
        row, col = at_origin.direct_beam_yx if any((*self.rotation_deg, *self.swing_deg)) else (0.0, 0.0)
        return replace(at_origin, axis_yx=(self.beam_centre_yx[0] - row, self.beam_centre_yx[1] - col))

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


def check_bins(partition: QPartition) -> None:
    """Refuse bins that contradict the mask, their numbering or each other.

    Raises
    ------
    QmapError
        Different shapes, a mask that leaves nothing, pixels in the mask or a bin but not in both, bins without a
        number, or a static bin that crosses dynamic ones.
    """
    p = partition
    shapes = {p.mask.shape, p.dynamic.shape, p.static.shape, p.mask.shape if p.blemish is None else p.blemish.shape}
    if len(shapes) > 1:
        raise QmapError(f"mask and bin maps have different shapes {sorted(shapes)}")
    if not p.mask.any():
        raise QmapError("the mask leaves no pixel")
    for kind, bins, mapping in (
        ("dynamic", p.dynamic, p.dynamic_index_mapping),
        ("static", p.static, p.static_index_mapping),
    ):
        astray = int(np.count_nonzero((bins > 0) != p.mask))
        if astray:
            raise QmapError(f"{astray} pixels are in the mask or in a {kind} bin, but not in both")
        if int(bins.min()) < 0 or int(bins.max()) != mapping.size:
            raise QmapError(f"the {kind} bins go to {int(bins.max())}, their index mapping has {mapping.size} entries")
    static, dynamic = p.static[p.mask], p.dynamic[p.mask]
    home = np.zeros(p.static_index_mapping.size + 1, np.int64)
    home[static] = dynamic
    split = static[home[static] != dynamic]
    if split.size:
        raise QmapError(f"static bin {int(split.min())} lies in more than one dynamic bin")
