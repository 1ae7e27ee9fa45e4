from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from xpcs_assets.errors import CorrelationError
from xpcs_assets.results.fit import BinFit, Bounds, fit_bins, fit_g2
from xpcs_assets.results.fit_laws import FitKind, values
from xpcs_assets.results.power_law import fit_power_law

DELAY_S = np.geomspace(1e-3, 1.0, 40)
MANY = np.full(40, 100)
ERROR = np.full(40, 2e-3)


def law(contrast: float, tau_s: float, baseline: float = 1.0, exponent: float = 1.0) -> np.ndarray:
    return contrast * np.exp(-2 * (DELAY_S / tau_s) ** exponent) + baseline


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2e-3, 40)


def test_an_exact_law_is_found_exactly() -> None:
    fit = fit_g2(DELAY_S, law(0.25, 0.05, 1.01), ERROR, MANY)
    assert fit.ok
    assert fit.reason == ""
    np.testing.assert_allclose([fit.contrast, fit.tau_s, fit.baseline], [0.25, 0.05, 1.01], rtol=1e-6)
    np.testing.assert_allclose(fit.curve(DELAY_S), law(0.25, 0.05, 1.01), rtol=1e-6)
    assert fit.exponent == 1
    assert fit.exponent_error == 0


def test_stated_errors_are_those_of_repeats() -> None:
    fits = [fit_g2(DELAY_S, law(0.25, 0.05) + noise(seed), ERROR, MANY) for seed in range(40)]
    assert all(fit.ok for fit in fits)
    taus = np.array([fit.tau_s for fit in fits])
    assert taus.mean() == pytest.approx(0.05, rel=0.02)
    assert taus.std() / np.mean([fit.tau_error_s for fit in fits]) == pytest.approx(1, abs=0.35)
    assert np.mean([fit.reduced_chi2 for fit in fits]) == pytest.approx(1, abs=0.15)


def test_the_stretching_exponent_is_fitted_when_asked() -> None:
    fit = fit_g2(DELAY_S, law(0.2, 0.05, 1.0, 1.6) + noise(1), ERROR, MANY, kind="stretched")
    assert fit.ok
    assert fit.exponent == pytest.approx(1.6, abs=4 * fit.exponent_error)
    assert fit.covariance.shape == (4, 4)


def test_delays_of_few_pairs_without_g2_or_without_error_carry_no_weight() -> None:
    g2, error, pairs = law(0.25, 0.05), ERROR.copy(), MANY.copy()
    g2[[0, 39]], pairs[[0, 39]] = 5, 3
    g2[20] = np.nan
    g2[21], error[21] = 7, np.inf
    g2[22], error[22] = 9, 0
    fit = fit_g2(DELAY_S, g2, error, pairs)
    assert fit.n_points == 35
    np.testing.assert_allclose([fit.contrast, fit.tau_s], [0.25, 0.05], rtol=1e-5)


def test_noise_without_a_decay_is_flagged() -> None:
    bad = [fit_g2(DELAY_S, 1 + noise(seed), ERROR, MANY).ok for seed in range(10)]
    assert sum(bad) <= 2


def test_a_bin_without_data_gives_nan_and_a_reason() -> None:
    fit = fit_g2(DELAY_S, np.full(40, np.nan), ERROR, MANY)
    assert not fit.ok
    assert "0 delays with weight are too few" in fit.reason
    assert np.isnan([fit.tau_s, fit.contrast, fit.baseline, fit.reduced_chi2]).all()


def test_a_decay_outside_the_bounds_is_flagged_not_faked() -> None:
    fit = fit_g2(DELAY_S, law(0.25, 0.05), ERROR, MANY, bounds=Bounds(tau_s=(1e-4, 1e-2)))
    assert not fit.ok
    assert fit.reason == "tau is at its bound"


def test_bounds_that_bound_nothing_are_refused() -> None:
    with pytest.raises(CorrelationError, match="bounds nothing"):
        fit_g2(DELAY_S, law(0.25, 0.05), ERROR, MANY, bounds=Bounds(contrast=(1, 0)))


def test_every_column_is_fitted() -> None:
    g2 = np.stack([law(0.2, 0.02), law(0.2, 0.08)], axis=1)
    fits = fit_bins(DELAY_S, g2, np.stack([ERROR, ERROR], axis=1), MANY)
    np.testing.assert_allclose([fit.tau_s for fit in fits], [0.02, 0.08], rtol=1e-5)


def with_tau(tau_s: float, error_s: float, *, ok: bool = True) -> BinFit:
    return BinFit(0.2, 0.01, tau_s, error_s, 1, 0.01, 1, 0, np.eye(3), 1, 30, ok)


def test_the_power_law_of_diffusion_is_found_and_bad_fits_are_left_out() -> None:
    q = np.linspace(1e-3, 4e-3, 8)
    random = np.random.default_rng(2)
    tau_s = 3e-8 * q**-2 * random.normal(1, 0.02, 8)
    fits = [with_tau(tau, 0.02 * tau) for tau in tau_s]
    fits[3] = with_tau(10.0, 0.001, ok=False)
    power = fit_power_law(q, fits)
    assert power is not None
    assert power.n_bins == 7
    assert power.exponent == pytest.approx(-2, abs=4 * power.exponent_error)
    np.testing.assert_allclose(power.curve(q), 3e-8 * q**-2, rtol=0.05)


def test_two_good_bins_make_no_power_law() -> None:
    fits = [with_tau(1, 0.1), with_tau(2, 0.1), with_tau(3, 0.1, ok=False), with_tau(4, 0.1)]
    assert fit_power_law(np.array([1e-3, 2e-3, 3e-3, np.nan]), fits) is None


def double(parameters: tuple[float, ...], exponents: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    contrast, fast_s, baseline, fraction, slow_s = parameters
    field = fraction * np.exp(-((DELAY_S / fast_s) ** exponents[0]))
    return contrast * (field + (1 - fraction) * np.exp(-((DELAY_S / slow_s) ** exponents[1]))) ** 2 + baseline


@pytest.mark.parametrize("fraction", [0.3, 0.7])
def test_an_exact_double_law_is_found_with_the_faster_decay_first(fraction: float) -> None:
    truth = (0.3, 0.004, 1.01, fraction, 0.15)
    fit = fit_g2(DELAY_S, double(truth), ERROR, MANY, kind="double")
    assert fit.ok
    np.testing.assert_allclose(fit.values, truth, rtol=1e-4)
    assert fit.covariance.shape == (5, 5)
    assert (fit.exponent, fit.exponent_error, fit.slow_exponent, fit.slow_exponent_error) == (1, 0, 1, 0)
    np.testing.assert_allclose(fit.curve(DELAY_S), double(truth), rtol=1e-6)


def test_a_double_stretched_law_is_found() -> None:
    delay_s = np.geomspace(1e-5, 10, 120)
    truth = np.array([0.3, 0.003, 1.0, 0.4, 0.4, 1.4, 0.8])
    curve = values("double-stretched", truth, delay_s)
    fit = fit_g2(delay_s, curve, np.full(120, 1e-3), np.full(120, 50), kind="double-stretched")
    assert fit.ok
    np.testing.assert_allclose(fit.values, truth, rtol=1e-3)
    assert fit.errors.shape == (7,)


def test_a_double_law_of_one_weight_is_the_single_one() -> None:
    one = np.array([0.2, 0.03, 1.01])
    np.testing.assert_allclose(
        values("double", np.array([*one, 1.0, 0.5]), DELAY_S), values("single", one, DELAY_S), rtol=1e-14
    )


@pytest.mark.parametrize(
    ("kind", "truth"),
    [
        ("single", (0.25, 0.05, 1.01)),
        ("stretched", (0.25, 0.05, 1.01, 1.5)),
        ("double", (0.4, 0.003, 1.0, 0.45, 0.12)),
    ],
)
def test_pulls_of_noisy_fits_are_as_wide_as_their_errors_say(kind: FitKind, truth: tuple[float, ...]) -> None:
    curve = values(kind, np.array(truth), DELAY_S)
    fits = [fit_g2(DELAY_S, curve + noise(seed), ERROR, MANY, kind=kind) for seed in range(60)]
    good = [fit for fit in fits if fit.ok]
    assert len(good) >= 57
    pulls = np.array([(fit.values - truth) / fit.errors for fit in good])
    # 60 pulls: their mean has an error of 0.13, their spread one of 0.09.
    assert np.abs(pulls.mean(axis=0)).max() < 0.55
    assert pulls.std(axis=0).min() > 0.7
    assert pulls.std(axis=0).max() < 1.4
    assert np.mean([fit.reduced_chi2 for fit in good]) == pytest.approx(1, abs=0.1)


def test_error_bars_that_are_all_too_small_by_a_factor_change_chi2_and_not_the_errors() -> None:
    y = law(0.25, 0.05) + noise(4)
    right, small = (fit_g2(DELAY_S, y, ERROR / factor, MANY) for factor in (1, 3))
    np.testing.assert_allclose(small.errors, right.errors, rtol=1e-4)
    assert small.reduced_chi2 == pytest.approx(9 * right.reduced_chi2, rel=1e-4)


def test_a_second_decay_that_is_not_there_is_not_claimed() -> None:
    claimed = [fit_g2(DELAY_S, law(0.25, 0.05) + noise(s), ERROR, MANY, kind="double").ok for s in range(20)]
    assert sum(claimed) <= 3


def test_too_few_delays_for_a_law_say_so_and_give_nan() -> None:
    used = np.where(np.arange(40) < 6, 100, 1)
    fit = fit_g2(DELAY_S, law(0.25, 0.05), ERROR, used, kind="double-stretched")
    assert "6 delays with weight are too few for 7 parameters" in fit.reason
    assert np.isnan(fit.values).all()
    assert np.isnan(fit.errors).all()


def test_a_law_that_nobody_knows_is_refused() -> None:
    with pytest.raises(CorrelationError, match="no law 'triple'"):
        fit_g2(DELAY_S, law(0.25, 0.05), ERROR, MANY, kind="triple")  # type: ignore[arg-type]


def test_the_slow_times_have_a_power_law_of_their_own() -> None:
    q = np.array([1e-3, 2e-3, 3e-3, 4e-3])
    fits = [
        replace(with_tau(1e-9 / each**2, 1e-6), kind="double", slow_tau_s=1e-5 / each, slow_tau_error_s=1e-6)
        for each in q
    ]
    fast, slow = fit_power_law(q, fits), fit_power_law(q, fits, slow=True)
    assert fast is not None
    assert slow is not None
    assert (round(fast.exponent, 6), round(slow.exponent, 6)) == (-2, -1)
    assert fit_power_law(q, [with_tau(1, 0.1)] * 4, slow=True) is None
