from __future__ import annotations

import numpy as np
import pytest

from xpcs_assets.engine.delays import make_plan
from xpcs_assets.errors import CorrelationError
from xpcs_assets_tests.unit.engine.reference import boost_delays


@pytest.mark.parametrize(("n_frames", "n_delays"), [(1_000, 34), (10_000, 48), (100_000, 61), (600, 32)])
def test_the_number_of_delays_is_that_of_boost_corr(n_frames: int, n_delays: int) -> None:
    assert make_plan(n_frames).n_delays == n_delays


@pytest.mark.parametrize("n_frames", [2, 3, 7, 8, 9, 16, 17, 31, 257, 1025, 4096, 99_999])
def test_the_delays_are_those_of_boost_corr(n_frames: int) -> None:
    plan = make_plan(n_frames)
    expected = boost_delays(n_frames)
    assert list(zip(plan.level.tolist(), plan.lag.tolist(), strict=True)) == expected
    assert plan.delay.tolist() == [lag << level for level, lag in expected]
    assert plan.n_pairs.min() >= 1


def test_delays_of_a_level_are_neighbours_with_consecutive_lags() -> None:
    plan = make_plan(5_000, 8)
    for level in range(plan.n_levels):
        part = slice(plan.level_start[level], plan.level_start[level + 1])
        assert set(plan.level[part].tolist()) == {level}
        assert np.all(np.diff(plan.lag[part]) == 1)
    assert plan.history == 16
    assert plan.delay[:18].tolist() == [*range(1, 17), 18, 20]


@pytest.mark.parametrize("n_frames", [0, 1])
def test_fewer_than_two_frames_are_refused(n_frames: int) -> None:
    with pytest.raises(CorrelationError, match=f"{n_frames} frames make no pair"):
        make_plan(n_frames)


@pytest.mark.parametrize(
    ("m", "delays"),
    [
        (4, [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56]),
        (1, [1, 2, 4, 8, 16, 32]),
        (3, [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48]),
    ],
)
def test_the_delays_of_skbeam_are_those_of_multi_tau_lags_without_lag_0(m: int, delays: list[int]) -> None:
    assert make_plan(64, m, "skbeam").delay.tolist() == delays


@pytest.mark.parametrize("n_frames", [2, 3, 7, 8, 9, 17, 257, 1025, 99_999])
@pytest.mark.parametrize("m", [1, 3, 4])
def test_every_level_of_skbeam_runs_as_far_as_its_frames_or_its_buffers(n_frames: int, m: int) -> None:
    plan = make_plan(n_frames, m, "skbeam")
    assert plan.n_pairs.min() >= 1
    assert plan.history == 2 * m - 1
    assert np.all(np.diff(plan.delay) > 0)
    for level in range(plan.n_levels):
        lags = plan.lag[plan.level_start[level] : plan.level_start[level + 1]].tolist()
        assert lags == list(range(m if level else 1, min(2 * m - 1, (n_frames >> level) - 1) + 1))
    assert n_frames >> plan.n_levels <= m


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(CorrelationError, match="pychx"):
        make_plan(100, 4, "pychx")  # type: ignore[arg-type]


def test_no_delays_a_level_are_refused() -> None:
    with pytest.raises(CorrelationError, match="0 delays a level"):
        make_plan(100, 0)
