"""The physics of the simulator: speckle that fluctuates as diffusion makes it, scattered by spheres.

Each pixel is a speckle of its own. Its intensity is a gamma-autoregressive (Cox-Ingersoll-Ross) process of unit
mean, variance beta and correlation exp(-2 D q^2 t), so that g2 = 1 + beta exp(-2 D q^2 t) exactly. Photons are
Poisson. A frame is an instant, or the mean of several instants that follow each other through the exposure.
Charge sharing is not modelled.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def intensities(
    rho: NDArray[np.float64], beta: float, frames: int, rng: np.random.Generator, substeps: int = 1
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
    """
    k = 1 / beta
    rho = rho ** (1 / substeps)
    scale = (1 - rho) / k
    instant = rng.standard_gamma(k, rho.size) / k
    for frame in range(frames):
        total = np.zeros(rho.size)
        for step in range(substeps):
            if frame or step:
                instant = scale * rng.standard_gamma(k + rng.poisson(rho / scale * instant))
            total += instant
        yield total / substeps


def drifting_flux(frames: int, drift: float) -> NDArray[np.float64]:
    """(frames,) incident intensity of mean 1 that grows evenly by ``drift`` from the first frame to the last."""
    return np.linspace(1 - drift / 2, 1 + drift / 2, frames)


def sphere_form_factor(q: NDArray[np.float64], radius_angstrom: float) -> NDArray[np.float64]:
    """Scattering of a homogeneous sphere, (3 (sin x - x cos x) / x^3)^2 with x = q radius; 1 at q = 0."""
    x = np.maximum(np.abs(q * radius_angstrom), 1e-3)
    return np.asarray((3 * (np.sin(x) - x * np.cos(x)) / x**3) ** 2)
