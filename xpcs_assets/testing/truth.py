"""The truth of a simulated run: its law, and what a right analysis of it gives in the mean over all noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine.delays import Plan, make_plan
from xpcs_assets.engine.partition import Partition
from xpcs_assets.testing.dynamics import drifting_flux
from xpcs_assets.testing.expectation import correlation_of_exposures, expected_g2
from xpcs_assets.testing.scene import Sample, Scene

LAW = "g2 = 1 + beta_eff * exp(-2 * t / tau_q), tau_q = 1 / (D * q^2)"
AGEING_LAW = "C(t1, t2) = 1 + beta_eff * exp(-2 * D * q^2 * integral from t1 to t2 of dt / (1 + t / ageing_time))"


@dataclass(frozen=True)
class Truth:
    """The law of a simulated run: g2 = 1 + beta_eff exp(-2 t / tau_q), tau_q = 1 / (D q^2).

    That is the law of a single q. A ring holds a range of them, of whose decays the slow ones outlive the others, so
    that one exponential fitted to a ring gives a longer tau and a smaller contrast than its mean q: ``tau_fit_s`` and
    ``beta_fit`` say which, and are what a fit of a right result scatters about.

    Attributes
    ----------
    frames
        Frames of scattering the run was meant to have: what its name says.
    frames_recorded
        Frames in the raw file, dark ones included.
    dark_frames
        Dark frames at its head.
    frame_time_s
        s.
    d_a2_per_s
        Diffusion coefficient, Å²/s.
    q_inv_angstrom
        Mean q of each dynamic bin, Å⁻¹.
    tau_q_s
        1 / (D mean q^2) of each dynamic bin, s.
    beta_eff
        Contrast of each dynamic bin, at delays of a frame and more: by averaging over the exposure the law begins
        higher there, while the variance of a single frame falls.
    tau_fit_s, beta_fit
        What a fit of one exponential with a baseline to the exact mean of g2 gives.
    mean_counts
        Expected counts a pixel and frame in the mask.
    seed
        Of the generator.
    substeps
        Instants that a frame is the mean of.
    drift
        Part by which the incident intensity grows over the run.
    leaked_hot
        Flat indices of hot pixels that are in the mask.
    dropped
        Frames that the detector made and lost, dark ones counted.
    ageing_time_s
        Time after which diffusion has slowed down to a half, s; 0 for a sample that does not age. Of one that does, the
        values above are those of the first instant.
    """

    frames: int
    frames_recorded: int
    dark_frames: int
    frame_time_s: float
    d_a2_per_s: float
    q_inv_angstrom: list[float]
    tau_q_s: list[float]
    beta_eff: list[float]
    tau_fit_s: list[float]
    beta_fit: list[float]
    mean_counts: float
    seed: int
    substeps: int
    drift: float
    leaked_hot: list[int]
    dropped: list[int]
    ageing_time_s: float = 0.0


def expectation(scene: Scene, sample: Sample, plan: Plan) -> NDArray[np.float64]:
    """Mean over noise, (D, n_dynamic), of the g2 of a simulated sample, but for hot pixels that leaked."""
    maps = scene.partition
    good = maps.mask.copy()
    good.reshape(-1)[scene.hot] = False
    partition = Partition.of(maps.dynamic, maps.static, good)
    at = np.searchsorted(sample.pixel, partition.pixel)
    flux = drifting_flux(sample.frames, sample.drift)
    return expected_g2(plan, partition, sample.rate[at], sample.rho[at], sample.beta, sample.substeps, flux)


def fit_of_law(scene: Scene, sample: Sample, frame_time_s: float) -> tuple[list[float], list[float]]:
    """tau, s, and contrast of one exponential through the expectation; NaN where there are too few delays."""
    from xpcs_assets.results.fit import fit_bins

    if sample.frames < 2:
        nothing = [float("nan")] * scene.partition.n_dynamic
        return nothing, nothing
    plan = make_plan(sample.frames)
    mean = expectation(scene, sample, plan)
    fits = fit_bins(plan.delay.astype(np.float64) * frame_time_s, mean, np.ones(mean.shape), plan.n_pairs)
    return [fit.tau_s for fit in fits], [fit.contrast for fit in fits]


def contrast_by_exposure(scene: Scene, sample: Sample, diffusion_a2: float) -> list[float]:
    """Contrast of each dynamic bin in the law of delays of a frame and more; ``diffusion_a2`` is D times frame time.

    Between exposures that follow each other the correlation is larger than between instants as far apart.
    """
    # Far outside the rings nothing is left after a frame: no number to divide by.
    after_a_frame = np.maximum(np.exp(-2 * diffusion_a2 * scene.q**2), 1e-100)
    gain = correlation_of_exposures(after_a_frame, sample.substeps, 1, sample.substeps) / after_a_frame
    return [float(contrast) for contrast in sample.beta * scene.per_bin(gain)]
