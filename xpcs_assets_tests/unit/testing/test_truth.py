from __future__ import annotations

import numpy as np
import pytest

from xpcs_assets.testing.scene import DETECTORS, Sample, Scene, make_sample, make_scene
from xpcs_assets.testing.truth import contrast_by_exposure, fit_of_law

FRAME_TIME_S = 1e-3


def made(n_dynamic: int, *, frames: int = 2000, substeps: int = 1) -> tuple[Scene, Sample, np.ndarray]:
    """A scene, a sample whose slowest tau is a twentieth of the run, and 1 / (D mean q^2) of each ring, s."""
    detector = DETECTORS["imm"]
    scene = make_scene(detector, detector.shape, n_dynamic, 36, seed=1)
    q_squared = scene.per_bin(scene.q**2)
    diffusion_a2 = 20 / (frames * q_squared.min())
    sample = make_sample(
        scene, mean_counts=0.5, diffusion_a2=diffusion_a2, beta=0.3, dark=0, frames=frames, seed=1, substeps=substeps
    )
    return scene, sample, FRAME_TIME_S / (diffusion_a2 * q_squared)


def test_a_wide_ring_fits_to_a_longer_tau_than_its_mean_q_and_a_narrow_one_does_not() -> None:
    # Three rings of 12 pixels' width, and twelve of 3.
    wide, narrow = made(3), made(12)
    tau_of_wide, contrast = fit_of_law(wide[0], wide[1], FRAME_TIME_S)
    tau_of_narrow, _ = fit_of_law(narrow[0], narrow[1], FRAME_TIME_S)
    of_wide, of_narrow = tau_of_wide / wide[2], tau_of_narrow / narrow[2]
    assert (of_wide > 1.02).all()
    assert of_wide[0] > 1.2
    assert of_narrow[0] < 1.06
    assert (np.abs(of_narrow[1:] - 1) < 0.04).all()
    assert max(contrast) < 0.3


def test_one_frame_has_no_fit() -> None:
    scene, sample, _ = made(3, frames=1)
    tau_s, contrast = fit_of_law(scene, sample, FRAME_TIME_S)
    assert np.isnan([*tau_s, *contrast]).all()


def test_without_exposure_the_contrast_of_the_law_is_the_one_asked_for() -> None:
    scene, sample, tau_s = made(3)
    assert contrast_by_exposure(scene, sample, diffusion_of(scene, tau_s)) == pytest.approx([0.3] * 3)


def test_a_long_exposure_lifts_the_law_at_later_delays() -> None:
    scene, sample, tau_s = made(3, frames=200, substeps=8)
    contrast = contrast_by_exposure(scene, sample, diffusion_of(scene, tau_s))
    # (sinh x / x)^2 for a whole exposure, x half of the decay of one frame; eight instants come near it.
    x = FRAME_TIME_S / tau_s
    assert min(contrast) > 0.3
    np.testing.assert_allclose(contrast, 0.3 * (np.sinh(x) / x) ** 2, rtol=0.02)


def diffusion_of(scene: Scene, tau_s: np.ndarray) -> float:
    """D times frame time, square angstrom."""
    return float((FRAME_TIME_S / (tau_s * scene.per_bin(scene.q**2)))[0])
