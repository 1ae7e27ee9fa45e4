"""Stated error bars are the true scatter: the short form of ``benchmarks/errors.py``."""

from __future__ import annotations

import numpy as np
import pytest

from xpcs_assets.engine.delays import MIN_PAIRS
from xpcs_assets.testing.replicates import Law, repeat

# 60 repeats know a scatter to 9 % at one delay, and better over the delays of a range.
REPEATS = 60


def law(photons: float, tau_frames: float) -> Law:
    return Law(photons, tau_frames, frames=400, n_static=6, pixels=30)


@pytest.mark.parametrize("tau_frames", [20.0, 2.0], ids=["slow", "fast"])
@pytest.mark.parametrize("photons", [2.0, 20.0, 600.0])
def test_the_influence_rule_states_the_true_scatter(photons: float, tau_frames: float) -> None:
    run = repeat(law(photons, tau_frames), REPEATS, seed=8)
    used = run.g2.n_pairs >= MIN_PAIRS
    for delays in (used & (run.plan.delay <= 16), used & (run.plan.delay > 16)):
        assert 0.8 <= run.ratio(run.g2.error, delays) <= 1.2
    assert (run.g2.error > 0).all()


def test_the_boost_rule_is_less_than_half_of_the_scatter_at_two_photons_a_pixel() -> None:
    run = repeat(law(2.0, 20.0), REPEATS, seed=8)
    assert run.ratio(run.g2.error_boost, run.g2.n_pairs >= MIN_PAIRS) > 2


def test_g2_is_its_exact_expectation_in_the_mean_over_repeats() -> None:
    run = repeat(law(600.0, 20.0), REPEATS, seed=9)
    deviation, scatter = run.deviation(), run.g2.error / np.sqrt(REPEATS)
    mean = deviation.mean(axis=1) / np.sqrt((scatter**2).mean(axis=1))
    # Delays share their noise: a mean over all of them would judge it as one.
    assert np.abs(mean).max() < 4
    assert np.sqrt((mean**2).mean()) < 1.6


def test_a_repeat_that_lacks_a_law_would_be_seen() -> None:
    run = repeat(law(600.0, 20.0), REPEATS, seed=9)
    naive = 1 + 0.25 * np.exp(-2 * run.plan.delay / 20)
    wrong = np.abs((run.g2.g2.mean(axis=1) - naive) / np.sqrt((run.g2.error**2).mean(axis=1) / REPEATS))
    assert wrong.max() > 6
