"""The physics of the simulator: speckle that fluctuates as diffusion makes it, scattered by spheres.

Each pixel is a speckle of its own. Its intensity is a gamma-autoregressive (Cox-Ingersoll-Ross) process of unit
mean, variance beta and correlation exp(-2 D q^2 t), so that g2 = 1 + beta exp(-2 D q^2 t) exactly. Photons are
Poisson. Charge sharing and exposure averaging are not modelled.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def intensities(
    rho: NDArray[np.float64], beta: float, frames: int, rng: np.random.Generator
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
    """
    k = 1 / beta
    scale = (1 - rho) / k
    intensity = rng.standard_gamma(k, rho.size) / k
    for frame in range(frames):
        if frame:
            intensity = scale * rng.standard_gamma(k + rng.poisson(rho / scale * intensity))
        yield intensity


def sphere_form_factor(q: NDArray[np.float64], radius_angstrom: float) -> NDArray[np.float64]:
    """Scattering of a homogeneous sphere, (3 (sin x - x cos x) / x^3)^2 with x = q radius; 1 at q = 0."""
    x = np.maximum(np.abs(q * radius_angstrom), 1e-3)
    return np.asarray((3 * (np.sin(x) - x * np.cos(x)) / x**3) ** 2)
