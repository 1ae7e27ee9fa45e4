from __future__ import annotations

import numpy as np
import pytest

from xpcs_assets.engine.delays import make_plan
from xpcs_assets.engine.partition import Partition
from xpcs_assets.testing.expectation import correlation_of_exposures, expected_g2


@pytest.mark.parametrize(("instants", "lag"), [(1, 1), (1, 5), (4, 1), (8, 3)])
def test_the_correlation_of_exposures_is_the_mean_over_their_pairs_of_instants(instants: int, lag: int) -> None:
    rho = np.array([0.2, 0.9, 0.9999])
    steps = np.arange(instants)
    apart = lag * instants + steps[:, None] - steps
    expected = (rho[:, None, None] ** apart).mean(axis=(1, 2))
    np.testing.assert_allclose(correlation_of_exposures(rho, instants, lag), expected, rtol=1e-9)


def test_the_variance_of_an_exposure_is_the_mean_over_its_own_pairs() -> None:
    rho, steps = np.array([0.2, 0.9]), np.arange(7)
    expected = (rho[:, None, None] ** np.abs(steps[:, None] - steps)).mean(axis=(1, 2))
    np.testing.assert_allclose(correlation_of_exposures(rho, 7, 0), expected, rtol=1e-9)


def test_substeps_divide_the_frame_and_do_not_change_its_decay() -> None:
    rho = np.array([0.5])
    whole, parts = (correlation_of_exposures(rho, n, 50, n)[0] for n in (1, 10))
    assert whole == pytest.approx(0.5**50)
    assert 1 < parts / whole < 1.05


def test_pixels_of_unlike_rate_lift_the_baseline_of_their_static_bin() -> None:
    partition = Partition.of([[1, 1, 1, 1]], [[1, 1, 2, 2]], np.ones((1, 4)))
    rate, rho = np.array([1.0, 3.0, 2.0, 2.0]), np.full(4, 1e-9)
    # <n^2> / <n>^2 is 5 / 4 in the first bin and 1 in the second; the dynamic bin is their plain mean.
    np.testing.assert_allclose(expected_g2(make_plan(40), partition, rate, rho, 0.5), 1.125, atol=1e-6)


def test_the_speckles_weigh_by_the_square_of_their_rate() -> None:
    partition = Partition.of([[1, 1]], [[1, 1]], np.ones((1, 2)))
    g2 = expected_g2(make_plan(10), partition, np.array([1.0, 2.0]), np.array([0.9, 1e-9]), 0.5)
    assert g2[0, 0] == pytest.approx(2 * (1 * (1 + 0.5 * 0.9) + 4) / 9)


def test_a_drifting_beam_multiplies_by_its_own_g2() -> None:
    partition = Partition.of([[1, 1]], [[1, 1]], np.ones((1, 2)))
    flux = np.linspace(0.9, 1.1, 1000)
    arguments = (make_plan(1000), partition, np.ones(2), np.full(2, 1e-9), 0.5)
    lift = expected_g2(*arguments, flux=flux) / expected_g2(*arguments)
    assert lift[0, 0] - 1 == pytest.approx(flux.var(), rel=0.01)
    # A long delay has only the ends of the run, over which the beam changes little; the last one has a single pair.
    assert (np.diff(lift[:, 0]) < 1e-4).all()
    assert lift[-1, 0] == pytest.approx(1)


def test_a_bin_without_pixels_is_undefined() -> None:
    partition = Partition.of([[1, 3]], [[1, 3]], np.ones((1, 2)))
    g2 = expected_g2(make_plan(10), partition, np.ones(2), np.full(2, 0.5), 0.5)
    assert np.isnan(g2[:, 1]).all()
    assert np.isfinite(g2[:, [0, 2]]).all()
