"""The physics of the simulator: speckle that fluctuates as diffusion makes it, scattered by spheres.

Each pixel is a speckle of its own. Its intensity is a gamma-autoregressive (Cox-Ingersoll-Ross) process of unit
mean, variance beta and correlation exp(-2 D q^2 t), so that g2 = 1 + beta exp(-2 D q^2 t) exactly. Photons are
Poisson. A frame is an instant, or the mean of several instants that follow each other through the exposure. In a
sample that ages D falls with time.
Charge sharing is not modelled.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def intensities(
    rho: NDArray[np.float64],
    beta: float,
    frames: int,
    rng: np.random.Generator,
    substeps: int = 1,
    pace: NDArray[np.float64] | None = None,
) -> Iterator[NDArray[np.float64]]:
    """Yield the intensity of each pixel, frame by frame.

    The exact transition of the process over one frame: with k = 1 / beta and scale c = (1 - rho) / k, draw
    n from Poisson(rho I / c), then the next I is c times gamma of shape k + n (Cox, Ingersoll and Ross, 1985).

    Parameters
    ----------
    rho
        (pixels,) correlation of the intensity from one frame to the next, 0 <= rho < 1.
    beta
        Variance of the intensity, the speckle contrast; above 0.
    frames
        How many.
    rng
        Source of chance.
    substeps
        Instants that one frame is the mean of; they lie evenly over the frame time.
    pace
        (frames,) how much faster than ``rho`` says the intensity changes from each frame on to the next; None: as it
        says, always.
    """
    k = 1 / beta
    rho = rho ** (1 / substeps)
    now = rho
    instant = rng.standard_gamma(k, rho.size) / k
    for frame in range(frames):
        total = np.zeros(rho.size)
        for step in range(substeps):
            if frame or step:
                scale = (1 - now) / k
                instant = scale * rng.standard_gamma(k + rng.poisson(now / scale * instant))
            total += instant
            if pace is not None:
                now = rho ** pace[frame]
        yield total / substeps


def ageing_pace(frames: int, ageing_frames: float) -> NDArray[np.float64]:
    """Diffusion from each frame to the next, (frames,), as a part of the first instant's.

    D falls as D / (1 + t / ageing time): the correlation time grows with the age. What is given is its exact mean over
    the frame time.
    """
    edges = ageing_frames * np.log1p(np.arange(frames + 1) / ageing_frames)
    return np.diff(edges)


def ageing_correlation(
    t1_s: NDArray[np.float64], t2_s: NDArray[np.float64], tau_s: float, ageing_time_s: float
) -> NDArray[np.float64]:
    """Part of the contrast that C(t1, t2) has when D falls as D / (1 + t / ageing time): 1 on the diagonal.

    exp(-2 / tau x the integral of D(t) / D from t1 to t2); ``tau_s`` is that of the first instant.
    """
    passed_s = ageing_time_s * np.abs(np.log1p(t2_s / ageing_time_s) - np.log1p(t1_s / ageing_time_s))
    return np.asarray(np.exp(-2 * passed_s / tau_s))


def drifting_flux(frames: int, drift: float) -> NDArray[np.float64]:
    """(frames,) incident intensity of mean 1 that grows evenly by ``drift`` from the first frame to the last."""
    return np.linspace(1 - drift / 2, 1 + drift / 2, frames)


def sphere_form_factor(q: NDArray[np.float64], radius_angstrom: float) -> NDArray[np.float64]:
    """Scattering of a homogeneous sphere, (3 (sin x - x cos x) / x^3)^2 with x = q radius; 1 at q = 0."""
    x = np.maximum(np.abs(q * radius_angstrom), 1e-3)
    return np.asarray((3 * (np.sin(x) - x * np.cos(x)) / x**3) ** 2)
