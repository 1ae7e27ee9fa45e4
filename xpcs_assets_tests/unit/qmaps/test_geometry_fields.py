from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.errors import MetadataError
from xpcs_assets.qmaps.geometry_fields import Known, read_geometry
from xpcs_assets.testing.writers import AcquisitionFacts, write_metadata

SHAPE = (40, 60)
DETECTOR = "/entry/instrument/detector_1"
ENERGY = "/entry/instrument/incident_beam/incident_energy"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "a_metadata.hdf"
    write_metadata(written, AcquisitionFacts("d", 5, 1e-3, 1e-3, 10.0, (19.5, 30.25), 75e-6, 4.0, "2026"))
    return written


def put(path: Path, name: str, value: object, unit: str = "") -> None:
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
        file[name] = value
        if unit:
            file[name].attrs["units"] = unit


def test_todays_layout_gives_row_and_column_in_that_order(path: Path) -> None:
    geometry = read_geometry(path, SHAPE)
    assert geometry.shape == SHAPE
    assert geometry.axis_yx == (19.5, 30.25)
    assert (geometry.pixel_size_m, geometry.detector_distance_m, geometry.energy_kev) == (75e-6, 4.0, 10.0)
    assert (geometry.rotation_deg, geometry.swing_deg) == ((0, 0, 0), (0, 0))


def test_a_detector_that_was_moved_shifts_the_beam(path: Path) -> None:
    put(path, f"{DETECTOR}/position_x", 1.5, "mm")
    put(path, f"{DETECTOR}/beam_center_position_x", 0.0, "mm")
    assert read_geometry(path, SHAPE).axis_yx == pytest.approx((19.5, 50.25))


def test_a_move_in_no_unit_is_refused_unless_the_beam_is_said(path: Path) -> None:
    put(path, f"{DETECTOR}/position_y", 1.5)
    with pytest.raises(MetadataError, match="moved, but not in which unit") as caught:
        read_geometry(path, SHAPE)
    assert caught.value.where.endswith("position_y")
    assert "--beam-center" in caught.value.remedy
    assert read_geometry(path, SHAPE, Known(beam_centre_yx=(1.0, 2.0))).axis_yx == (1.0, 2.0)


def test_positions_alike_need_no_unit(path: Path) -> None:
    for name in ("position_y", "beam_center_position_y"):
        put(path, f"{DETECTOR}/{name}", -229.99)
    assert read_geometry(path, SHAPE).axis_yx == (19.5, 30.25)


def test_energy_in_ev_is_turned_and_without_its_unit_refused(path: Path) -> None:
    put(path, ENERGY, 10000.0, "eV")
    assert read_geometry(path, SHAPE).energy_kev == 10.0
    put(path, ENERGY, 10000.0)
    with pytest.raises(MetadataError, match="is it eV"):
        read_geometry(path, SHAPE)
    assert read_geometry(path, SHAPE, Known(energy_kev=9.0)).energy_kev == 9.0


def test_the_flight_paths_swing_is_read_and_a_turned_detector_refused(path: Path) -> None:
    put(path, f"{DETECTOR}/flightpath_swing", 12.5)
    put(path, f"{DETECTOR}/rotation_y", 0.0)
    assert read_geometry(path, SHAPE).swing_deg == (12.5, 0.0)
    put(path, f"{DETECTOR}/rotation_y", 3.0)
    with pytest.raises(MetadataError, match="turned by 3 deg") as caught:
        read_geometry(path, SHAPE)
    assert caught.value.where.endswith("rotation_y")
    assert read_geometry(path, SHAPE, Known(rotation_deg=(0.0, 3.0, 0.0))).rotation_deg == (0.0, 3.0, 0.0)


def test_the_older_layout_counts_in_millimetres(tmp_path: Path) -> None:
    path = tmp_path / "old.hdf"
    acquisition, detector = "/measurement/instrument/acquisition", "/measurement/instrument/detector"
    fields = {
        f"{acquisition}/beam_center_x": 30.0,
        f"{acquisition}/beam_center_y": 20.0,
        f"{acquisition}/stage_x": 1.1,
        f"{acquisition}/stage_zero_x": 1.0,
        f"{detector}/distance": 4000.0,
        f"{detector}/x_pixel_size": 0.055,
        f"{detector}/y_pixel_size": 0.055,
        "/measurement/instrument/source_begin/energy": 7.35,
    }
    for name, value in fields.items():
        put(path, name, np.full((1, 1), value))
    geometry = read_geometry(path, SHAPE)
    assert geometry.detector_distance_m == 4.0
    assert geometry.pixel_size_m == pytest.approx(55e-6)
    assert geometry.axis_yx == pytest.approx((20.0, 30.0 + 0.1 / 0.055))


@pytest.mark.parametrize(
    ("name", "value", "unit", "reason"),
    [
        (f"{DETECTOR}/distance", "far", "", "no such number"),
        (f"{DETECTOR}/distance", np.nan, "", "no such number"),
        (f"{DETECTOR}/distance", -4.0, "m", "is not above 0"),
        (f"{DETECTOR}/distance", 4.0, "furlong", "its unit is 'furlong'"),
        (f"{DETECTOR}/y_pixel_size", 55e-6, "m", "not square"),
        (ENERGY, 10.0, "J", "its unit is 'J'"),
        (ENERGY, 0.0, "keV", "no photon energy"),
    ],
)
def test_a_wrong_field_is_named_with_the_option_that_says_it(
    path: Path, name: str, value: object, unit: str, reason: str
) -> None:
    put(path, name, value, unit)
    with pytest.raises(MetadataError, match=reason) as caught:
        read_geometry(path, SHAPE)
    assert str(path) in caught.value.where
    assert "--" in caught.value.remedy
