"""The geometry that a run's metadata tell: today's layout of APS 8-ID and the older Data Exchange one.

It is nominal: a calibrated q-map may say otherwise. What is ambiguous is refused with its field's name, so that a
person decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from xpcs_assets.errors import MetadataError
from xpcs_assets.qmaps.geometry import Geometry
from xpcs_assets.readers.fields import read_fields

_DETECTOR = "/entry/instrument/detector_1"
_METRES = {"m": 1.0, "metre": 1.0, "meter": 1.0, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "micron": 1e-6}
_KEV = {"kev": 1.0, "ev": 1e-3}
_MOST_KEV = 200.0


@dataclass(frozen=True)
class _Layout:
    """Where a layout has what, and the length that a field without a unit is in (None: it must have one)."""

    beam: tuple[str, str]
    position: tuple[str, str]
    position_at_beam: tuple[str, str]
    pixel: tuple[str, str]
    distance: str
    energy: str
    length_m: float
    position_m: float | None
    rotation: tuple[str, ...]
    swing: tuple[str, ...]


_TODAY = _Layout(
    beam=(f"{_DETECTOR}/beam_center_y", f"{_DETECTOR}/beam_center_x"),
    position=(f"{_DETECTOR}/position_y", f"{_DETECTOR}/position_x"),
    position_at_beam=(f"{_DETECTOR}/beam_center_position_y", f"{_DETECTOR}/beam_center_position_x"),
    pixel=(f"{_DETECTOR}/y_pixel_size", f"{_DETECTOR}/x_pixel_size"),
    distance=f"{_DETECTOR}/distance",
    energy="/entry/instrument/incident_beam/incident_energy",
    length_m=1.0,
    position_m=None,
    rotation=tuple(f"{_DETECTOR}/rotation_{axis}" for axis in "xyz"),
    swing=(f"{_DETECTOR}/flightpath_swing", f"{_DETECTOR}/flightpath_swing_vertical"),
)
_ACQUISITION, _OLD = "/measurement/instrument/acquisition", "/measurement/instrument/detector"
_DATA_EXCHANGE = _Layout(
    beam=(f"{_ACQUISITION}/beam_center_y", f"{_ACQUISITION}/beam_center_x"),
    position=(f"{_ACQUISITION}/stage_z", f"{_ACQUISITION}/stage_x"),
    position_at_beam=(f"{_ACQUISITION}/stage_zero_z", f"{_ACQUISITION}/stage_zero_x"),
    pixel=(f"{_OLD}/y_pixel_size", f"{_OLD}/x_pixel_size"),
    distance=f"{_OLD}/distance",
    energy="/measurement/instrument/source_begin/energy",
    length_m=1e-3,
    position_m=1e-3,
    rotation=(),
    swing=(),
)


@dataclass(frozen=True)
class Known:
    """What the caller says itself, which the file is then not asked for; None asks the file."""

    beam_centre_yx: tuple[float, float] | None = None
    pixel_size_m: float | None = None
    detector_distance_m: float | None = None
    energy_kev: float | None = None
    rotation_deg: tuple[float, float, float] | None = None
    swing_deg: tuple[float, float] | None = None


def read_geometry(path: Path, shape: tuple[int, int], known: Known | None = None) -> Geometry:
    """The detector's geometry from a metadata file.

    The beam centre is ``beam_center`` shifted by (position - position at the beam) / pixel size, as pySimpleMask
    does. ``flightpath_swing`` is taken as pySimpleMask does. No source says about which point and in which sense
    ``rotation_x``, ``_y`` and ``_z`` turn the detector: they must be 0, or given by the caller.

    Parameters
    ----------
    path
        The metadata file.
    shape
        Rows and columns of the detector, which metadata do not tell.
    known
        What the caller says instead.

    Raises
    ------
    MetadataError
        The file does not open, or a field is missing, no number, impossible or ambiguous; it is named.
    """
    asked = _Asked(path)
    known = known or Known()
    layout = _DATA_EXCHANGE if asked.has(_DATA_EXCHANGE.distance) else _TODAY
    pixel_size_m = known.pixel_size_m
    if pixel_size_m is None:
        pixel_size_m = asked.same_length(layout.pixel, layout.length_m, "--pixel-size-m")
    if not pixel_size_m > 0:
        raise MetadataError(f"the pixel size {pixel_size_m} is not above 0", remedy="Give it in metres")
    distance_m = known.detector_distance_m
    if distance_m is None:
        distance_m = asked.length(layout.distance, layout.length_m, "--distance-m")
    return Geometry(
        shape=shape,
        axis_yx=known.beam_centre_yx or asked.beam(layout, pixel_size_m),
        pixel_size_m=pixel_size_m,
        detector_distance_m=distance_m,
        energy_kev=asked.energy(layout.energy) if known.energy_kev is None else known.energy_kev,
        rotation_deg=known.rotation_deg or asked.no_rotation(layout.rotation),
        swing_deg=known.swing_deg or asked.swing(layout.swing),
    )


class _Asked:
    """The fields of one file; whatever is not as asked for raises MetadataError with its name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fields = {field.path: field for field in read_fields(path)}

    def has(self, name: str) -> bool:
        return name in self._fields

    def number(self, name: str, option: str) -> float:
        field = self._fields.get(name)
        value = field.value if field is not None else None
        if field is None or isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(name, "there is no such number", option)
        return float(value)

    def length(self, name: str, without_unit_m: float | None, option: str) -> float:
        value = self.number(name, option) * self._metres(name, without_unit_m, option)
        if value <= 0:
            raise self._wrong(name, f"{value} m is not above 0", option)
        return value

    def same_length(self, names: tuple[str, str], without_unit_m: float, option: str) -> float:
        first, second = (self.length(name, without_unit_m, option) for name in names)
        if not math.isclose(first, second, rel_tol=1e-6):
            what = f"pixels of {second} by {first} m are not square, which a q-map file cannot say"
            raise self._wrong(names[0], what, option)
        return second

    def energy(self, name: str) -> float:
        value = self.number(name, "--energy-kev")
        unit = self._fields[name].unit.strip()
        factor = _KEV.get(unit.lower()) if unit else 1.0
        if factor is None:
            raise self._wrong(name, f"its unit is {unit!r}", "--energy-kev")
        value *= factor
        if not 0 < value <= _MOST_KEV:
            raise self._wrong(name, f"{value:g} keV is no photon energy (is it eV?)", "--energy-kev")
        return value

    def beam(self, layout: _Layout, pixel_size_m: float) -> tuple[float, float]:
        row, col = (
            self.number(beam, "--beam-center") + self._shift_m(now, then, layout.position_m) / pixel_size_m
            for beam, now, then in zip(layout.beam, layout.position, layout.position_at_beam, strict=True)
        )
        return row, col

    def _shift_m(self, now: str, then: str, without_unit_m: float | None) -> float:
        if not (self.has(now) and self.has(then)):
            return 0.0
        moved = self.number(now, "--beam-center") - self.number(then, "--beam-center")
        if moved == 0:
            return 0.0
        return moved * self._metres(now, without_unit_m, "--beam-center")

    def no_rotation(self, names: tuple[str, ...]) -> tuple[float, float, float]:
        for name in names:
            if self.has(name) and self.number(name, "--rotation") != 0:
                what = f"the detector is turned by {self.number(name, '--rotation'):g} deg, in a sense no source tells"
                raise self._wrong(name, what, "--rotation")
        return 0.0, 0.0, 0.0

    def swing(self, names: tuple[str, ...]) -> tuple[float, float]:
        angles = [self.number(name, "--swing") if self.has(name) else 0.0 for name in names]
        return (angles[0], angles[1]) if angles else (0.0, 0.0)

    def _metres(self, name: str, without_unit_m: float | None, option: str) -> float:
        unit = self._fields[name].unit.strip()
        factor = _METRES.get(unit.lower()) if unit else without_unit_m
        if factor is None:
            what = f"its unit is {unit!r}" if unit else "it says that the detector was moved, but not in which unit"
            raise self._wrong(name, what, option)
        return factor

    def _wrong(self, name: str, what: str, option: str) -> MetadataError:
        return MetadataError(what, where=f"{self._path}:{name}", remedy=f"Say it with {option}")
