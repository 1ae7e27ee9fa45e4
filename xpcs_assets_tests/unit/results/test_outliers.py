from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from xpcs_assets.results.limits import Limits, stated
from xpcs_assets.results.outliers import judge
from xpcs_assets.results.result import Result
from xpcs_assets_tests.made_results import CONTRAST, make_result, without_g2


def repeats(number: int = 6) -> list[Result]:
    return [make_result(seed=seed) for seed in range(number)]


def lifted(result: Result, by: float) -> Result:
    return replace(result, g2=result.g2 + by)


def brighter(result: Result, factor: float) -> Result:
    return replace(result, intensity_vs_time=result.intensity_vs_time * np.float32([[1], [factor]]))


def test_repeats_that_differ_by_noise_alone_are_all_used() -> None:
    judged = judge(repeats(), Limits())
    assert judged.reasons == ("",) * 6
    assert judged.used.all()
    np.testing.assert_allclose(judged.baseline, 1, atol=0.02)
    np.testing.assert_allclose(judged.intensity, 1, rtol=0.05)
    assert (judged.contrast > CONTRAST / 3).all()


def test_each_way_to_be_unlike_the_others_is_found_and_named() -> None:
    runs = repeats()
    runs[1] = lifted(runs[1], 0.2)
    runs[2] = brighter(runs[2], 0.5)
    runs[4] = replace(runs[4], g2=1 + 0.1 * (runs[4].g2 - 1))
    judged = judge(runs, Limits())
    assert judged.used.tolist() == [True, False, False, True, False, True]
    assert "baseline 1.2" in judged.reasons[1]
    assert "is above" in judged.reasons[1]
    assert judged.reasons[2].startswith("intensity 0.")
    assert "contrast" in judged.reasons[4]
    assert "is below" in judged.reasons[4]


def test_limits_that_are_given_take_the_place_of_the_automatic_ones() -> None:
    runs = repeats()
    runs[2] = brighter(runs[2], 0.5)
    assert judge(runs, Limits(intensity=(0.2, 2))).used.all()
    strict = judge(runs, Limits(baseline=(1.5, 2.0)))
    assert not strict.used.any()
    assert stated(strict.limits)["baseline"] == (1.5, 2.0)


def test_of_two_runs_none_is_the_outlier_until_limits_are_given() -> None:
    runs = [make_result(), lifted(make_result(seed=2), 0.3)]
    judged = judge(runs, Limits())
    assert judged.used.all()
    assert set(stated(judged.limits).values()) == {None}
    assert judge(runs, Limits(baseline=(0.9, 1.1))).used.tolist() == [True, False]


def test_equal_runs_have_limits_of_a_width_all_the_same() -> None:
    judged = judge([make_result()] * 4, Limits())
    low, high = judged.limits.intensity or (0, 0)
    assert (low, high) == pytest.approx((0.9, 1.1))
    assert judged.used.all()


def test_a_run_without_g2_is_left_out_and_a_bin_without_is_not_missed() -> None:
    dark = make_result()
    for number in range(4):
        dark = without_g2(dark, number)
    judged = judge([*repeats(3), without_g2(make_result(seed=9), 1), dark], Limits())
    assert judged.used.tolist() == [True, True, True, True, False]
    assert judged.reasons[4] == "baseline is undefined; contrast is undefined"
