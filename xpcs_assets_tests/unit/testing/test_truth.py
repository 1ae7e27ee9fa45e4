from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xpcs_assets.testing.simulate import SimulatedRun, simulate


def small(folder: Path, **options: object) -> SimulatedRun:
    return simulate(folder, **({"format": "imm", "frames": 200, "n_dynamic": 4, "n_static": 12} | options))  # type: ignore[arg-type]


def test_a_wide_ring_fits_to_a_longer_tau_than_its_mean_q_and_a_narrow_one_does_not(tmp_path: Path) -> None:
    # Three rings of 12 pixels' width, and twelve of 3; the rest is what a run of 20 tau leaves.
    wide = small(tmp_path / "wide", n_dynamic=3, frames=2000).truth
    narrow = small(tmp_path / "narrow", n_dynamic=12, frames=2000).truth
    of_wide, of_narrow = (np.array(truth.tau_fit_s) / truth.tau_q_s for truth in (wide, narrow))
    assert (of_wide > 1.02).all()
    assert of_wide[0] > 1.2
    assert of_narrow[0] < 1.04
    assert (np.abs(of_narrow[1:] - 1) < 0.02).all()
    assert (np.array(wide.beta_fit) < wide.beta_eff).all()


def test_without_exposure_the_contrast_of_the_law_is_the_one_asked_for(tmp_path: Path) -> None:
    assert small(tmp_path, beta=0.3).truth.beta_eff == pytest.approx([0.3] * 4)


def test_a_long_exposure_lifts_the_law_at_later_delays(tmp_path: Path) -> None:
    truth = small(tmp_path, substeps=8, beta=0.3).truth
    decay = 2 * truth.frame_time_s / np.array(truth.tau_q_s)
    # (sinh x / x)^2 for a whole exposure, x half of the decay of one frame; eight instants come near it.
    expected = 0.3 * (np.sinh(decay / 2) / (decay / 2)) ** 2
    assert (np.array(truth.beta_eff) > 0.3).all()
    np.testing.assert_allclose(truth.beta_eff, expected, rtol=0.02)
