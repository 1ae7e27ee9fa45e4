"""g2 made small for a row of a list."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from xpcs_assets.catalog.sparkline import POINTS, sparkline
from xpcs_assets_tests.made_results import make_result


def test_three_q_and_at_most_64_delays_from_the_first_to_the_last() -> None:
    result = make_result(n_q=9, n_frames=5000)
    small = sparkline(result)
    assert [curve["bin"] for curve in small["curves"]] == [1, 5, 9]
    assert [curve["q_inv_angstrom"] for curve in small["curves"]] == [0.002, 0.004, 0.006]
    assert len(small["delay_s"]) == min(POINTS, result.delay_s.size)
    assert all(len(curve["g2"]) == len(small["delay_s"]) for curve in small["curves"])
    np.testing.assert_allclose([small["delay_s"][0], small["delay_s"][-1]], result.delay_s[[0, -1]], rtol=1e-4)
    np.testing.assert_allclose(small["curves"][1]["g2"][0], result.g2[0, 4], rtol=1e-4)
    assert len(json.dumps(small)) < 3000


def test_undefined_points_are_null_and_bins_without_any_are_left_out() -> None:
    result = make_result(n_q=4)
    g2 = result.g2.copy()
    g2[:, 0] = np.nan
    g2[3, 3] = np.nan
    small = sparkline(replace(result, g2=g2))
    assert [curve["bin"] for curve in small["curves"]] == [2, 3, 4]
    assert small["curves"][2]["g2"][3] is None
    assert sparkline(replace(result, g2=np.full_like(g2, np.nan))) == {}
