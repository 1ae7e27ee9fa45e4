from __future__ import annotations

import numpy as np
import pytest

from xpcs_assets.testing.dynamics import (
    ageing_correlation,
    ageing_pace,
    drifting_flux,
    intensities,
    sphere_form_factor,
)


@pytest.mark.parametrize("beta", [0.05, 0.25, 1.0])
def test_intensities_have_unit_mean_and_the_variance_asked_for(beta: float) -> None:
    rho = np.full(20_000, 0.6)
    frames = np.array(list(intensities(rho, beta, 12, np.random.default_rng(1))))
    assert frames.mean() == pytest.approx(1, abs=0.01)
    for frame in (frames[0], frames[-1]):
        assert frame.var() == pytest.approx(beta, rel=0.05)
    assert frames.min() >= 0


def test_intensities_forget_as_rho_says() -> None:
    rho = np.repeat([0.0, 0.5, 0.9, 0.99], 20_000)
    frames = np.array(list(intensities(rho, 0.25, 6, np.random.default_rng(2)))).reshape(6, 4, 20_000) - 1
    for lag in (1, 3):
        correlation = (frames[:-lag] * frames[lag:]).mean(axis=(0, 2)) / 0.25
        np.testing.assert_allclose(correlation, np.array([0.0, 0.5, 0.9, 0.99]) ** lag, atol=0.02)


def test_a_spheres_scattering_begins_at_one_and_has_its_first_zero_at_4_49() -> None:
    form = sphere_form_factor(np.array([0.0, 4.4934 / 400, 0.005]), 400.0)
    assert form[0] == pytest.approx(1)
    assert form[1] == pytest.approx(0, abs=1e-9)
    # Guinier: exp(-(q R)^2 / 5) is right to second order
    assert sphere_form_factor(np.array([0.0005]), 400.0)[0] == pytest.approx(np.exp(-0.04 / 5), rel=1e-4)


def test_frames_of_several_instants_vary_less_and_are_correlated_more_than_their_distance() -> None:
    rho, substeps = 0.3, 6
    rng = np.random.default_rng(3)
    frames = np.array(list(intensities(np.full(40_000, rho), 0.5, 4, rng, substeps))) - 1
    each = rho ** (1 / substeps)
    steps = np.arange(substeps)
    # The mean of the correlation over all pairs of instants of one frame, and of two that follow each other.
    own = (each ** np.abs(steps[:, None] - steps)).mean()
    next_ = (each ** (substeps + steps[:, None] - steps)).mean()
    assert frames.mean() == pytest.approx(0, abs=0.01)
    assert (frames**2).mean() / 0.5 == pytest.approx(own, rel=0.02)
    assert (frames[1:] * frames[:-1]).mean() / 0.5 == pytest.approx(next_, rel=0.03)
    assert own < 1
    assert next_ > rho


def test_a_drifting_flux_has_unit_mean_and_grows_by_the_part_asked_for() -> None:
    flux = drifting_flux(101, 0.2)
    assert flux.mean() == pytest.approx(1)
    assert flux[-1] - flux[0] == pytest.approx(0.2)
    assert (drifting_flux(7, 0.0) == 1).all()


def test_the_intensity_of_an_ageing_sample_follows_its_law_and_keeps_its_contrast() -> None:
    rho, frames, ageing = np.full(40_000, 0.7), 30, 8.0
    pace = ageing_pace(frames, ageing)
    assert pace[0] < 1
    assert pace[-1] == pytest.approx(1 / (1 + 29.5 / ageing), rel=1e-3)
    found = np.array(list(intensities(rho, 0.25, frames, np.random.default_rng(3), pace=pace)))
    np.testing.assert_allclose(found.var(axis=1), 0.25, rtol=0.05)
    t1, t2 = np.indices((frames, frames)).astype(np.float64)
    law = ageing_correlation(t1, t2, -2 / np.log(0.7), ageing)
    np.testing.assert_allclose(np.cov(found, ddof=0) / 0.25, law, atol=0.03)
    assert law[0, 5] < 0.5 < law[24, 29]
