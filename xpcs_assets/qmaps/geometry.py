"""Where the pixels are: from detector, distance, energy and angles to each pixel's q and azimuth.

Coordinates: x along the columns, y along the rows, z from the sample to the detector along the flight path; this is a
right-handed frame. Integer coordinates are pixel centres: the centre of row 3, column 7 is (3.0, 7.0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import QmapError

KEV_ANGSTROM = 12.39841984
"""Photon energy times wavelength, keV angstrom."""

Q_UNIT, PHI_UNIT = "Å⁻¹", "deg"

_RIGHT_ANGLE_DEG = 90.0


@dataclass(frozen=True)
class Geometry:
    """A flat detector at the end of a flight path.

    Attributes
    ----------
    shape
        Rows and columns.
    axis_yx
        Row and column that the axis of the flight path hits; without a swing, that is the direct beam.
    pixel_size_m, detector_distance_m, energy_kev
        Pixel edge; from the sample along the axis to the detector; photon energy. m, m, keV.
    rotation_deg
        Turns of the detector about its x, then y, then z axis through the point that the flight path's axis hits,
        each right-handed, deg. (z is the detector's normal before the turns.)
    swing_deg
        Swing of the flight path about the sample, horizontal and vertical, deg, as pySimpleMask takes 8-ID's
        ``flightpath_swing`` and ``flightpath_swing_vertical``: positive moves the detector towards smaller columns
        and smaller rows, so that the direct beam would hit larger ones. The vertical swing is on top of the
        horizontal one.
    """

    shape: tuple[int, int]
    axis_yx: tuple[float, float]
    pixel_size_m: float
    detector_distance_m: float
    energy_kev: float
    rotation_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    swing_deg: tuple[float, float] = (0.0, 0.0)

    @property
    def direct_beam_yx(self) -> tuple[float, float]:
        """Row and column that the direct beam hits, or would hit.

        Raises
        ------
        QmapError
            The detector is turned so far that the beam does not reach its plane.
        """
        direction = self._turns().T @ (0.0, 0.0, 1.0)
        offset_x, offset_y, distance_m = self._offset()
        if not min(distance_m, direction[2]) > 0:
            what = "the direct beam does not reach the detector's plane"
            raise QmapError(what, remedy="Angles must stay below 90 deg")
        along = distance_m / direction[2] / self.pixel_size_m
        row = self.axis_yx[0] + along * direction[1] - offset_y / self.pixel_size_m
        return float(row), float(self.axis_yx[1] + along * direction[0] - offset_x / self.pixel_size_m)

    def q_and_phi(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Momentum transfer, Å⁻¹, and azimuth, deg, of each pixel's centre; both (rows, cols).

        q = 4 pi / wavelength * sin(theta), where 2 theta is the angle between direct beam and pixel, and
        wavelength in Å = 12.39841984 / energy in keV. The azimuth is -atan2(y, x) in the laboratory: 0 to larger
        columns, +90 to smaller rows (up, as images are drawn), from -180 to 180.

        Raises
        ------
        QmapError
            A length or the energy is not above 0, or an angle is 90 deg or more.
        """
        self._check()
        offset_x, offset_y, distance_m = self._offset()
        x = (np.arange(self.shape[1]) - self.axis_yx[1])[None, :] * self.pixel_size_m + offset_x
        y = (np.arange(self.shape[0]) - self.axis_yx[0])[:, None] * self.pixel_size_m + offset_y
        lab_x, lab_y, lab_z = (row[0] * x + row[1] * y + row[2] * distance_m for row in self._turns())
        theta = np.arctan2(np.hypot(lab_x, lab_y), lab_z) / 2
        q = 4 * math.pi * self.energy_kev / KEV_ANGSTROM * np.sin(theta)
        return np.asarray(q), np.asarray(-np.degrees(np.arctan2(lab_y, lab_x)))

    def _check(self) -> None:
        positive = {
            "pixel size": self.pixel_size_m,
            "detector distance": self.detector_distance_m,
            "photon energy": self.energy_kev,
        }
        wrong = [f"the {name} {value} is not above 0" for name, value in positive.items() if not value > 0]
        numbers = {"beam centre": self.axis_yx, "rotation": self.rotation_deg, "swing": self.swing_deg}
        wrong += [f"the {name} {value} is no number" for name, value in numbers.items() if not np.isfinite(value).all()]
        angles = (*self.rotation_deg[:2], *self.swing_deg)
        wrong += [f"an angle is {value} deg" for value in angles if abs(value) >= _RIGHT_ANGLE_DEG]
        if wrong:
            raise QmapError(f"{wrong[0]}: this is no geometry", remedy="Angles must stay below 90 deg, lengths above 0")

    def _tilt(self) -> NDArray[np.float64]:
        about_x, about_y, about_z = np.radians(self.rotation_deg)
        return _about_z(about_z) @ _about_y(about_y) @ _about_x(about_x)

    def _turns(self) -> NDArray[np.float64]:
        """Laboratory from detector coordinates."""
        horizontal, vertical = np.radians(self.swing_deg)
        return np.asarray(_about_y(-horizontal) @ _about_x(vertical) @ self._tilt())

    def _offset(self) -> NDArray[np.float64]:
        """From the sample to the point on the axis, in the turned detector's coordinates, m."""
        return np.asarray(self._tilt().T @ (0.0, 0.0, self.detector_distance_m))


def _about_x(angle: float) -> NDArray[np.float64]:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _about_y(angle: float) -> NDArray[np.float64]:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _about_z(angle: float) -> NDArray[np.float64]:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
