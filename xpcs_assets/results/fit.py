"""Fits of g2 over delay, bin by bin. Only here is scipy needed; the worker does without it.

Errors of parameters are those of the covariance scaled by the reduced chi^2 (scipy's ``absolute_sigma=False``, the
viewer's convention): the points' error bars weigh them among each other and do not set the scale. Neighbouring delays
share frames and are taken as independent of each other, as everybody does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from xpcs_assets.engine.delays import MIN_PAIRS
from xpcs_assets.errors import CorrelationError
from xpcs_assets.results.fit_laws import PARAMETERS, FitKind, fast_first, starts, values

SIGMA = f"covariance scaled by the reduced chi^2; delays with fewer than {MIN_PAIRS} pairs carry no weight"
"""The convention of the errors, as stored with fits."""
_AT_BOUND = 1e-3
_SIGNIFICANT = 2.0
# A law that fits settles in 30; what still wanders then has no answer, and is half of the time of a run's fits.
_MOST_STEPS = 60


@dataclass(frozen=True)
class Bounds:
    """Lowest and highest value of each parameter; None for tau takes the first delay / 20 to the last x 100.

    Attributes
    ----------
    contrast, exponent, baseline
        No unit; both exponents of a double law.
    tau_s
        s; both times of a double law.
    fraction
        Weight of the faster decay of a double law in the field's correlation.
    """

    contrast: tuple[float, float] = (0.0, 2.0)
    tau_s: tuple[float, float] | None = None
    exponent: tuple[float, float] = (0.2, 2.5)
    baseline: tuple[float, float] = (0.5, 2.0)
    fraction: tuple[float, float] = (0.0, 1.0)

    def arrays(self, kind: FitKind, delay_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """(2, parameters): low and high, in the order of the law's parameters.

        Raises
        ------
        CorrelationError
            A low bound is not below its high one.
        """
        tau_s = self.tau_s or (float(delay_s[0]) / 20, float(delay_s[-1]) * 100)
        each = {
            "contrast": self.contrast,
            "tau_s": tau_s,
            "baseline": self.baseline,
            "exponent": self.exponent,
            "fraction": self.fraction,
            "slow_tau_s": tau_s,
            "slow_exponent": self.exponent,
        }
        bounds = np.array([each[name] for name in PARAMETERS[kind]], np.float64).T
        if not np.all(bounds[0] < bounds[1]) or tau_s[1] <= 0:
            raise CorrelationError(f"{self} bounds nothing", remedy="Each low bound is below its high one, tau above 0")
        return bounds


@dataclass(frozen=True, eq=False)
class BinFit:
    """The law of one dynamic bin, by default ``g2 = contrast exp(-2 (t / tau)**exponent) + baseline``.

    Mind the 2: tau is the decay time of the field's correlation, 1 / (D q**2) for diffusion. The laws are in
    :mod:`xpcs_assets.results.fit_laws`.

    Attributes
    ----------
    contrast, baseline, exponent
        No unit; the exponent is 1 where it was not fitted. NaN when nothing could be fitted.
    tau_s
        s; of a double law the shorter time.
    contrast_error, tau_error_s, baseline_error, exponent_error
        One standard deviation; 0 for an exponent that was not fitted.
    covariance
        (k, k) float64 of the free parameters, in the order of ``PARAMETERS[kind]``.
    reduced_chi2
        chi^2 over degrees of freedom, with the points' own error bars.
    n_points
        Delays with weight.
    ok
        Whether the numbers may be used.
    reason
        Why not.
    kind
        Which law.
    fraction, fraction_error
        Weight of the faster decay in the field's correlation; 1 and 0 for one decay.
    slow_tau_s, slow_tau_error_s, slow_exponent, slow_exponent_error
        The slower decay of a double law; NaN for one decay.
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
    kind: FitKind = "single"
    fraction: float = 1.0
    fraction_error: float = 0.0
    slow_tau_s: float = float("nan")
    slow_tau_error_s: float = float("nan")
    slow_exponent: float = float("nan")
    slow_exponent_error: float = float("nan")

    @classmethod
    def of(cls, kind: FitKind, values: NDArray[np.float64], errors: NDArray[np.float64], **judged: Any) -> Self:
        """Make a fit of its parameters and their errors, in the order of ``PARAMETERS[kind]``."""
        names = PARAMETERS[kind]
        given: dict[str, Any] = {"exponent": 1.0, "exponent_error": 0.0}
        if kind == "double":
            given |= {"slow_exponent": 1.0, "slow_exponent_error": 0.0}
        given |= dict(zip(names, map(float, values), strict=True))
        given |= dict(zip(map(_error_name, names), map(float, errors), strict=True))
        return cls(**given, kind=kind, **judged)

    @property
    def values(self) -> NDArray[np.float64]:
        """(k,) float64, the free parameters in the order of ``PARAMETERS[kind]``."""
        return np.array([getattr(self, name) for name in PARAMETERS[self.kind]])

    @property
    def errors(self) -> NDArray[np.float64]:
        """(k,) float64, one standard deviation of each of :attr:`values`."""
        return np.array([getattr(self, _error_name(name)) for name in PARAMETERS[self.kind]])

    def curve(self, delay_s: NDArray[np.floating]) -> NDArray[np.float64]:
        """The law at these delays, s."""
        return values(self.kind, self.values, np.asarray(delay_s, np.float64))


def fit_bins(
    delay_s: NDArray[np.float64],
    g2: NDArray[np.float64],
    error: NDArray[np.float64],
    n_pairs: NDArray[np.int64],
    *,
    kind: FitKind = "single",
    bounds: Bounds | None = None,
) -> list[BinFit]:
    """Fit every column of g2 (T, Nd); see :func:`fit_g2`."""
    return [fit_g2(delay_s, g2[:, b], error[:, b], n_pairs, kind=kind, bounds=bounds) for b in range(g2.shape[1])]


def fit_g2(
    delay_s: NDArray[np.float64],
    g2: NDArray[np.float64],
    error: NDArray[np.float64],
    n_pairs: NDArray[np.int64],
    *,
    kind: FitKind = "single",
    bounds: Bounds | None = None,
) -> BinFit:
    """Fit one law, weighted by ``error``.

    Parameters
    ----------
    delay_s, g2, error, n_pairs
        (T,) each. Delays with fewer than 4 pairs, without g2 or without a finite error above 0 carry no weight.
    kind
        ``single``, ``stretched``, ``double`` or ``double-stretched``.
    bounds
        Limits of the parameters.

    Returns
    -------
    A fit that says whether it is good; one that failed holds NaN, never a guess.

    Raises
    ------
    CorrelationError
        There is no such law, or the bounds bound nothing.
    """
    if kind not in PARAMETERS:
        raise CorrelationError(f"there is no law {kind!r}", remedy=f"Use {', '.join(PARAMETERS)}")
    used = (n_pairs >= MIN_PAIRS) & np.isfinite(g2) & np.isfinite(error) & (error > 0)
    free = len(PARAMETERS[kind])
    n_points = int(np.count_nonzero(used))
    if n_points <= free:
        return _failed(kind, n_points, f"{n_points} delays with weight are too few for {free} parameters")
    t, y, sigma = delay_s[used], g2[used], error[used]
    limits = (bounds or Bounds()).arrays(kind, t)
    room = 1e-6 * (limits[1] - limits[0])

    def residuals(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        return (values(kind, parameters, t) - y) / sigma

    attempts = [
        least_squares(
            residuals,
            np.clip(start, limits[0] + room, limits[1] - room),
            bounds=(limits[0], limits[1]),
            x_scale="jac",
            max_nfev=_MOST_STEPS,
        )
        for start in starts(kind, t, y)
    ]
    best = min(attempts, key=lambda attempt: float(attempt.cost))
    if not best.success or not _settled(best.jac):
        return _failed(kind, n_points, "the fit does not settle on one answer")
    chi2 = 2 * float(best.cost) / (n_points - free)
    covariance = np.linalg.inv(best.jac.T @ best.jac) * chi2
    return _judged(kind, *fast_first(kind, best.x, covariance), limits, chi2, n_points)


def _judged(
    kind: FitKind,
    parameters: NDArray[np.float64],
    covariance: NDArray[np.float64],
    limits: NDArray[np.float64],
    chi2: float,
    n_points: int,
) -> BinFit:
    names = PARAMETERS[kind]
    value = dict(zip(names, map(float, parameters), strict=True))
    error = dict(zip(names, map(float, np.sqrt(np.maximum(np.diag(covariance), 0))), strict=True))
    reason = ""
    times = [name for name in ("tau_s", "slow_tau_s") if name in names]
    tau_low, tau_high = limits[:, 1]
    if not all(tau_low * (1 + _AT_BOUND) < value[name] < tau_high * (1 - _AT_BOUND) for name in times):
        reason = "tau is at its bound"
    elif value["contrast"] <= _SIGNIFICANT * error["contrast"]:
        reason = "no decay stands out of the noise"
    elif any(value[name] <= error[name] for name in times):
        reason = "tau is less than its error"
    elif len(times) == 2 and not _two_decays(value, error):
        reason = "no second decay stands out"
    return BinFit.of(
        kind,
        parameters,
        np.array(list(error.values())),
        covariance=covariance,
        reduced_chi2=chi2,
        n_points=n_points,
        ok=not reason,
        reason=reason,
    )


def _two_decays(value: dict[str, float], error: dict[str, float]) -> bool:
    """Whether both decays have a weight, and times of their own."""
    aside = min(value["fraction"], 1 - value["fraction"])
    apart = np.log(value["slow_tau_s"] / value["tau_s"])
    apart_error = np.hypot(error["tau_s"] / value["tau_s"], error["slow_tau_s"] / value["slow_tau_s"])
    return aside > _SIGNIFICANT * error["fraction"] and bool(apart > _SIGNIFICANT * apart_error)


def _settled(jacobian: NDArray[np.float64]) -> bool:
    """Whether every parameter makes a difference of its own, each in its own unit."""
    lengths = np.linalg.norm(jacobian, axis=0)
    return bool(np.all(lengths > 0)) and int(np.linalg.matrix_rank(jacobian / lengths)) == jacobian.shape[1]


def _error_name(name: str) -> str:
    return f"{name.removesuffix('_s')}_error_s" if name.endswith("_s") else f"{name}_error"


def _failed(kind: FitKind, n_points: int, reason: str) -> BinFit:
    nothing = np.full(len(PARAMETERS[kind]), np.nan)
    return BinFit.of(
        kind,
        nothing,
        nothing,
        covariance=np.full((len(nothing), len(nothing)), np.nan),
        reduced_chi2=float("nan"),
        n_points=n_points,
        ok=False,
        reason=reason,
    )
