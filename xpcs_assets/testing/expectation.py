"""What g2 is in the mean over all noise, for pixels of known rate and correlation: the law that tests compare with.

It is not 1 + beta exp(-2 t / tau) of a ring's mean q. Three things come in, and a test without them fails an engine
that is right: rates differ inside a static bin (W), a delay of level l takes frames 2**l long (K), and a ring holds
a range of q, of whose decays the slow ones outlive the others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine.delays import Plan
from xpcs_assets.engine.partition import Partition


def expected_g2(
    plan: Plan,
    partition: Partition,
    rate: NDArray[np.float64],
    rho: NDArray[np.float64],
    beta: float,
    substeps: int = 1,
    flux: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Mean of g2 over noise, apart from terms of 1 / (pixels of a static bin).

    Per static bin the ratio of means <n^2 (1 + beta rho^d K)> / <n>^2, n the pixel's rate; per dynamic bin the plain
    mean over its static bins.

    Parameters
    ----------
    plan, partition
        What was correlated.
    rate, rho
        (P,) mean counts and correlation over one frame time of the partition's pixels, in its order.
    beta
        Contrast of an exposure without length.
    substeps
        Instants that make one frame, see :func:`xpcs_assets.testing.dynamics.intensities`.
    flux
        (T,) incident intensity of each frame, slower than the speckles; by default constant.

    Returns
    -------
    (D, n_dynamic) float64, NaN for a dynamic bin without pixels.
    """
    g2 = np.full((plan.n_delays, partition.n_dynamic), np.nan)
    squares = np.bincount(partition.static, rate**2, partition.n_static)
    norm = np.bincount(partition.static, rate, partition.n_static) ** 2
    pixels = np.bincount(partition.static, minlength=partition.n_static)
    bins = partition.dynamic_of_static
    members = np.bincount(bins[bins >= 0], minlength=partition.n_dynamic)
    lit = np.flatnonzero(members)
    for d, (level, lag) in enumerate(zip(plan.level.tolist(), plan.lag.tolist(), strict=True)):
        beam = _correlation_of_beam(flux, level, lag)
        kept = correlation_of_exposures(rho, substeps << level, lag, substeps)
        of_pixels = np.bincount(partition.static, rate**2 * kept, partition.n_static)
        of_bins = beam * pixels * (squares + beta * of_pixels) / np.where(norm > 0, norm, 1.0)
        of_rings = np.bincount(bins[bins >= 0], of_bins[bins >= 0], partition.n_dynamic)
        g2[d, lit] = of_rings[lit] / members[lit]
    return g2


def _correlation_of_beam(flux: NDArray[np.float64] | None, level: int, lag: int) -> float:
    """g2 of the incident intensity itself; it multiplies that of the speckles."""
    if flux is None:
        return 1.0
    whole = len(flux) >> level
    binned = flux[: whole << level].reshape(whole, 1 << level).sum(axis=1)
    past, future = binned[:-lag], binned[lag:]
    return float((past * future).mean() / (past.mean() * future.mean()))


def correlation_of_exposures(
    rho: NDArray[np.float64], instants: int, lag: int, substeps: int = 1
) -> NDArray[np.float64]:
    """Correlation between the sums of ``instants`` instants each that begin ``lag`` sums apart.

    ``rho`` is the correlation over ``substeps`` instants. With r of one instant and N instants:
    r^(lag N) K, K = (sum_i r^i)(sum_j r^-j) / N^2. ``lag`` 0 is a sum's own variance, the loss of contrast by a long
    exposure.
    """
    each = np.clip(rho ** (1 / substeps), 0, 1 - 1e-15)
    total = (1 - each**instants) / (1 - each)
    if lag == 0:
        own: NDArray[np.float64] = (instants * (1 - each**2) - 2 * each * (1 - each**instants)) / (
            (1 - each) ** 2 * instants**2
        )
        return own
    return np.asarray(each ** (lag * instants - (instants - 1)) * (total / instants) ** 2)
