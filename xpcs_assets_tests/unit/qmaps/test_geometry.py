from __future__ import annotations

import numpy as np
import pytest

from xpcs_assets.errors import QmapError
from xpcs_assets.qmaps.geometry import Geometry

FACING = Geometry((40, 60), (19.5, 30.25), 75e-6, 4.0, 10.0)
TURNED = Geometry((60, 80), (12.5, 61.0), 1e-4, 0.2, 11.3, (3.0, -8.0, 20.0), (6.0, -4.0))
# Row, column, q in 1/angstrom and azimuth in deg, by pyFAI 2026.9.0 for the detector TURNED: PONI -9.065325 and
# -21.68462 mm, distance 197.7822 mm, rot1 -0.21373387, rot2 -0.04994929, rot3 -0.3527696 rad, wavelength
# 12.39841984 / 11.3 angstrom. Its chi counts the other way round.
BY_PYFAI = (
    (0, 0, 0.8097919177422841, -157.70356422670994),
    (0, 79, 0.6610935000147129, -144.47933146552327),
    (59, 0, 0.9320836326109115, -149.99153212662816),
    (59, 79, 0.8054724933673107, -137.70788320071966),
    (30, 40, 0.7958010595991484, -147.5542257393256),
)


def test_q_follows_braggs_law_and_the_azimuth_turns_towards_smaller_rows() -> None:
    q, phi = FACING.q_and_phi()
    radius_m = np.hypot(10 - 19.5, 50 - 30.25) * 75e-6
    assert q[10, 50] == pytest.approx(4 * np.pi * 10.0 / 12.39841984 * np.sin(np.arctan(radius_m / 4.0) / 2), rel=1e-12)
    assert phi[10, 50] == pytest.approx(np.degrees(np.arctan2(9.5, 19.75)))
    assert 0 < phi[0, 59] < 90 < phi[0, 0] < 180
    assert -90 < phi[39, 59] < 0 > -90 > phi[39, 0] > -180


def test_whole_numbers_are_pixel_centres() -> None:
    q, _ = Geometry((5, 5), (2.0, 3.0), 1e-4, 1.0, 10.0).q_and_phi()
    assert q[2, 3] == 0
    assert q[2, 2] == q[2, 4] == q[1, 3] == q[3, 3] > 0


def test_a_turned_and_swung_detector_is_as_pyfai_has_it() -> None:
    q, phi = TURNED.q_and_phi()
    for row, col, q_there, phi_there in BY_PYFAI:
        assert q[row, col] == pytest.approx(q_there, rel=1e-12)
        assert phi[row, col] == pytest.approx(phi_there, rel=1e-12)
    # pyFAI counts from the pixel's corner: column 212.438, row -191.828.
    assert TURNED.direct_beam_yx == pytest.approx((-192.328, 211.938), abs=1e-3)


def test_the_direct_beam_has_no_q_wherever_the_detector_is() -> None:
    turned = Geometry((900, 900), (450.0, 450.0), 1e-4, 0.5, 10.0, (5.0, -4.0, 30.0), (3.0, 2.0))
    row, col = turned.direct_beam_yx
    there = Geometry((1, 1), (450.0 - row, 450.0 - col), 1e-4, 0.5, 10.0, (5.0, -4.0, 30.0), (3.0, 2.0))
    assert there.q_and_phi()[0][0, 0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("swing", [(5.0, 0.0), (-7.0, 0.0), (0.0, 4.0)])
def test_a_swing_moves_the_direct_beam_as_pysimplemask_does(swing: tuple[float, float]) -> None:
    # compute_display_center of pySimpleMask 0.4.5: centre + distance * tan(swing) / pixel size
    swung = Geometry((50, 70), (20.3, 31.7), 75e-6, 0.6, 10.0, swing_deg=swing)
    shift = 0.6 * np.tan(np.radians(swing)) / 75e-6
    assert swung.direct_beam_yx == pytest.approx((20.3 + shift[1], 31.7 + shift[0]), rel=1e-12)


def test_a_swing_about_the_sample_keeps_the_distance_to_the_detectors_axis() -> None:
    q, _ = Geometry((1, 1), (0.0, 0.0), 75e-6, 0.6, 10.0, swing_deg=(20.0, 0.0)).q_and_phi()
    assert q[0, 0] == pytest.approx(4 * np.pi * 10 / 12.39841984 * np.sin(np.radians(10)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pixel_size_m": 0.0}, "pixel size 0.0 is not above 0"),
        ({"detector_distance_m": -1.0}, "distance -1.0"),
        ({"energy_kev": float("nan")}, "energy nan"),
        ({"axis_yx": (float("inf"), 0.0)}, "beam centre"),
        ({"rotation_deg": (90.0, 0.0, 0.0)}, "an angle is 90.0 deg"),
        ({"swing_deg": (0.0, -120.0)}, "an angle is -120.0 deg"),
    ],
)
def test_what_is_no_geometry_is_refused(change: dict[str, object], reason: str) -> None:
    numbers = {"axis_yx": (1.0, 1.0), "pixel_size_m": 1e-4, "detector_distance_m": 1.0, "energy_kev": 10.0, **change}
    with pytest.raises(QmapError, match=reason):
        Geometry((3, 3), **numbers).q_and_phi()


def test_a_beam_that_misses_the_detectors_plane_is_refused() -> None:
    with pytest.raises(QmapError, match="does not reach"):
        _ = Geometry((3, 3), (1, 1), 1e-4, 1.0, 10.0, (0.0, 60.0, 0.0), (-60.0, 0.0)).direct_beam_yx
