"""Fits of g2 over delay and of tau over q. The only module that needs scipy; the worker does without it.

Errors of parameters are those of the covariance scaled by the reduced chi^2 (scipy's ``absolute_sigma=False``, the
viewer's convention): the points' error bars weigh them among each other and do not set the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, least_squares

from xpcs_assets.errors import CorrelationError

MIN_PAIRS = 4
"""Delays with fewer pairs carry no weight: with one pair every lit pixel has the same G / (IP IF)."""
_AT_BOUND = 1e-3
_SIGNIFICANT = 2.0


@dataclass(frozen=True)
class Bounds:
    """Lowest and highest value of each parameter; None for tau takes the first delay / 20 to the last x 100.

    Attributes
    ----------
    contrast, exponent, baseline
        No unit.
    tau_s
        s.
    """

    contrast: tuple[float, float] = (0.0, 2.0)
    tau_s: tuple[float, float] | None = None
    exponent: tuple[float, float] = (0.2, 2.5)
    baseline: tuple[float, float] = (0.5, 2.0)

    def arrays(self, delay_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """(2, 4): low and high of contrast, tau, baseline, exponent.

        Raises
        ------
        CorrelationError
            A low bound is not below its high one.
        """
        tau_s = self.tau_s or (float(delay_s[0]) / 20, float(delay_s[-1]) * 100)
        bounds = np.array([self.contrast, tau_s, self.baseline, self.exponent], np.float64).T
        if not np.all(bounds[0] < bounds[1]) or bounds[0, 1] <= 0:
            raise CorrelationError(f"{self} bounds nothing", remedy="Each low bound is below its high one, tau above 0")
        return bounds


@dataclass(frozen=True, eq=False)
class BinFit:
    """The law ``g2 = contrast exp(-2 (t / tau)**exponent) + baseline`` of one dynamic bin.

    Mind the 2: tau is the decay time of the field's correlation, 1 / (D q**2) for diffusion.

    Attributes
    ----------
    contrast, baseline, exponent
        No unit; the exponent is 1 where it was not fitted. NaN when nothing could be fitted.
    tau_s
        s.
    contrast_error, tau_error_s, baseline_error, exponent_error
        One standard deviation; 0 for an exponent that was not fitted.
    covariance
        (3, 3) or (4, 4) float64 of contrast, tau, baseline and exponent.
    reduced_chi2
        chi^2 over degrees of freedom, with the points' own error bars.
    n_points
        Delays with weight.
    ok
        Whether the numbers may be used.
    reason
        Why not.
    """

    contrast: float
    contrast_error: float
    tau_s: float
    tau_error_s: float
    baseline: float
    baseline_error: float
    exponent: float
    exponent_error: float
    covariance: NDArray[np.float64]
    reduced_chi2: float
    n_points: int
    ok: bool
    reason: str = ""

    def curve(self, delay_s: NDArray[np.floating]) -> NDArray[np.float64]:
        """The law at these delays, s."""
        return _law(np.array([self.contrast, self.tau_s, self.baseline, self.exponent]), np.asarray(delay_s, float))


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


def fit_bins(
    delay_s: NDArray[np.float64],
    g2: NDArray[np.float64],
    error: NDArray[np.float64],
    n_pairs: NDArray[np.int64],
    *,
    stretched: bool = False,
    bounds: Bounds | None = None,
) -> list[BinFit]:
    """Fit every column of g2 (T, Nd); see :func:`fit_g2`."""
    return [
        fit_g2(delay_s, g2[:, b], error[:, b], n_pairs, stretched=stretched, bounds=bounds) for b in range(g2.shape[1])
    ]


def fit_g2(
    delay_s: NDArray[np.float64],
    g2: NDArray[np.float64],
    error: NDArray[np.float64],
    n_pairs: NDArray[np.int64],
    *,
    stretched: bool = False,
    bounds: Bounds | None = None,
) -> BinFit:
    """Fit one exponential, weighted by ``error``.

    Parameters
    ----------
    delay_s, g2, error, n_pairs
        (T,) each. Delays with fewer than 4 pairs, without g2 or without a finite error above 0 carry no weight.
    stretched
        Fit the exponent too.
    bounds
        Limits of the parameters.

    Returns
    -------
    A fit that says whether it is good; one that failed holds NaN, never a guess.

    Raises
    ------
    CorrelationError
        The bounds bound nothing.
    """
    used = (n_pairs >= MIN_PAIRS) & np.isfinite(g2) & np.isfinite(error) & (error > 0)
    free = 4 if stretched else 3
    n_points = int(np.count_nonzero(used))
    if n_points <= free:
        return _failed(free, n_points, f"{n_points} delays with weight are too few for {free} parameters")
    t, y, sigma = delay_s[used], g2[used], error[used]
    limits = (bounds or Bounds()).arrays(t)[:, :free]

    def residuals(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        return (_law(parameters, t) - y) / sigma

    attempts = [
        least_squares(residuals, start, bounds=(limits[0], limits[1]), x_scale="jac")
        for start in _starts(t, y, limits, free)
    ]
    best = min(attempts, key=lambda attempt: float(attempt.cost))
    return _judged(best, limits, n_points)


def fit_power_law(q_inv_angstrom: NDArray[np.float64], fits: Sequence[BinFit]) -> PowerLaw | None:
    """Fit tau(q) through the good fits, weighted by their errors of log tau; None with fewer than 3 of them."""
    good = [
        (q, fit.tau_s, fit.tau_error_s)
        for q, fit in zip(q_inv_angstrom.tolist(), fits, strict=True)
        if fit.ok and np.isfinite(q) and q > 0
    ]
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


def _law(parameters: NDArray[np.float64], delay_s: NDArray[np.float64]) -> NDArray[np.float64]:
    contrast, tau_s, baseline = parameters[:3]
    reduced = delay_s / tau_s
    if len(parameters) == 4:
        reduced = reduced ** parameters[3]
    law: NDArray[np.float64] = contrast * np.exp(-2 * reduced) + baseline
    return law


def _starts(
    t: NDArray[np.float64], y: NDArray[np.float64], limits: NDArray[np.float64], free: int
) -> list[NDArray[np.float64]]:
    """Where to begin: tau from the delay at which g2 has fallen to 1/e of its range, and the middle of the bounds."""
    baseline = float(np.median(y[-max(3, len(y) // 4) :]))
    contrast = max(float(np.median(y[:3])) - baseline, 1e-3)
    below = np.flatnonzero(y < baseline + contrast / np.e)
    guess = 2 * float(t[below[0]] if below.size else t[-1])
    room = 1e-6 * (limits[1] - limits[0])
    return [
        np.clip(np.array([contrast, tau, baseline, 1.0])[:free], limits[0] + room, limits[1] - room)
        for tau in (guess, float(np.sqrt(t[0] * t[-1])))
    ]


def _judged(solution: OptimizeResult, limits: NDArray[np.float64], n_points: int) -> BinFit:
    free = len(solution.x)
    degrees = n_points - free
    curvature = solution.jac.T @ solution.jac
    if not solution.success or not _settled(solution.jac):
        return _failed(free, n_points, "the fit does not settle on one answer")
    chi2 = 2 * float(solution.cost) / degrees
    covariance = np.linalg.inv(curvature) * chi2
    values = [*map(float, solution.x), 1.0][:4]
    errors = [*map(float, np.sqrt(np.maximum(np.diag(covariance), 0))), 0.0][:4]
    reason = ""
    tau_low, tau_high = limits[:, 1]
    if not tau_low * (1 + _AT_BOUND) < values[1] < tau_high * (1 - _AT_BOUND):
        reason = "tau is at its bound"
    elif values[0] <= _SIGNIFICANT * errors[0]:
        reason = "no decay stands out of the noise"
    elif values[1] <= errors[1]:
        reason = "tau is less than its error"
    return BinFit(
        contrast=values[0],
        contrast_error=errors[0],
        tau_s=values[1],
        tau_error_s=errors[1],
        baseline=values[2],
        baseline_error=errors[2],
        exponent=values[3],
        exponent_error=errors[3],
        covariance=covariance,
        reduced_chi2=chi2,
        n_points=n_points,
        ok=not reason,
        reason=reason,
    )


def _settled(jacobian: NDArray[np.float64]) -> bool:
    """Whether every parameter makes a difference of its own, each in its own unit."""
    lengths = np.linalg.norm(jacobian, axis=0)
    return bool(np.all(lengths > 0)) and int(np.linalg.matrix_rank(jacobian / lengths)) == jacobian.shape[1]


def _failed(free: int, n_points: int, reason: str) -> BinFit:
    nothing = float("nan")
    return BinFit(
        contrast=nothing,
        contrast_error=nothing,
        tau_s=nothing,
        tau_error_s=nothing,
        baseline=nothing,
        baseline_error=nothing,
        exponent=nothing,
        exponent_error=nothing,
        covariance=np.full((free, free), nothing),
        reduced_chi2=nothing,
        n_points=n_points,
        ok=False,
        reason=reason,
    )
