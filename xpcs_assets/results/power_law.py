"""Laws over q: the power law of the correlation times, and every fitted parameter against q."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from xpcs_assets.results.fit import BinFit


@dataclass(frozen=True, eq=False)
class PowerLaw:
    """``tau = amplitude q**exponent``: exponent -2 is diffusion, -1 ballistic motion.

    Attributes
    ----------
    amplitude, amplitude_error
        s at q = 1 / Å.
    exponent, exponent_error
        No unit.
    reduced_chi2
        Of the logarithms; NaN with two bins.
    n_bins
        Bins it goes through.
    """

    amplitude: float
    amplitude_error: float
    exponent: float
    exponent_error: float
    reduced_chi2: float
    n_bins: int

    def curve(self, q_inv_angstrom: NDArray[np.floating]) -> NDArray[np.float64]:
        """Correlation time in s at these q, 1/Å."""
        tau_s: NDArray[np.float64] = self.amplitude * np.asarray(q_inv_angstrom, float) ** self.exponent
        return tau_s


def fit_power_law(
    q_inv_angstrom: NDArray[np.float64], fits: Sequence[BinFit], *, slow: bool = False
) -> PowerLaw | None:
    """Fit tau(q) through the good fits, weighted by their errors of log tau.

    Parameters
    ----------
    q_inv_angstrom
        (Nd,) centre of each dynamic bin, 1/Å; bins without one carry no weight.
    fits
        One a bin.
    slow
        Take the slower time of double laws.

    Returns
    -------
    The law, its errors scaled by the reduced chi^2; None with fewer than 3 good fits or at one q alone.
    """
    good = [
        (q, *((fit.slow_tau_s, fit.slow_tau_error_s) if slow else (fit.tau_s, fit.tau_error_s)))
        for q, fit in zip(q_inv_angstrom.tolist(), fits, strict=True)
        if fit.ok and np.isfinite(q) and q > 0
    ]
    good = [point for point in good if np.isfinite(point).all() and point[2] > 0]
    if len(good) < 3 or len({q for q, _, _ in good}) < 2:
        return None
    q, tau_s, error_s = np.array(good).T
    weight = tau_s / error_s
    design = np.stack([np.ones(len(q)), np.log(q)], axis=1) * weight[:, None]
    solution, _, _, _ = np.linalg.lstsq(design, np.log(tau_s) * weight, rcond=None)
    rest = design @ solution - np.log(tau_s) * weight
    chi2 = float(rest @ rest) / (len(q) - 2)
    deviation = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * chi2)
    amplitude = float(np.exp(solution[0]))
    return PowerLaw(amplitude, amplitude * float(deviation[0]), float(solution[1]), float(deviation[1]), chi2, len(q))
