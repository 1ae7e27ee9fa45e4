"""The laws that g2 of one dynamic bin is fitted with: their parameters, their values, and where a fit begins.

x is the delay, a the contrast, d the baseline, as in pyXpcsViewer::

    single            a exp(-2 x / b) + d
    stretched         a exp(-2 (x / b)**c) + d
    double            a [f exp(-x / b1) + (1 - f) exp(-x / b2)]**2 + d
    double-stretched  a [f exp(-(x / b1)**c1) + (1 - f) exp(-(x / b2)**c2)]**2 + d

All of them hold the factor 2 of the Siegert relation: b is the decay time of the field's correlation, 1 / (D q**2) for
diffusion. With f = 1 the double law is the single one.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

FitKind = Literal["single", "stretched", "double", "double-stretched"]

PARAMETERS: dict[FitKind, tuple[str, ...]] = {
    "single": ("contrast", "tau_s", "baseline"),
    "stretched": ("contrast", "tau_s", "baseline", "exponent"),
    "double": ("contrast", "tau_s", "baseline", "fraction", "slow_tau_s"),
    "double-stretched": ("contrast", "tau_s", "baseline", "fraction", "slow_tau_s", "exponent", "slow_exponent"),
}
"""Names of the free parameters of each law, in the order of its covariance."""

FORMULAS: dict[FitKind, str] = {
    "single": "contrast exp(-2 t / tau_s) + baseline",
    "stretched": "contrast exp(-2 (t / tau_s)**exponent) + baseline",
    "double": "contrast [fraction exp(-t / tau_s) + (1 - fraction) exp(-t / slow_tau_s)]**2 + baseline",
    "double-stretched": "contrast [fraction exp(-(t / tau_s)**exponent)"
    " + (1 - fraction) exp(-(t / slow_tau_s)**slow_exponent)]**2 + baseline",
}
"""Each law in words for a file or a legend."""


def values(kind: FitKind, parameters: NDArray[np.float64], delay_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """The law at ``delay_s`` (T,), s, with parameters in the order of :data:`PARAMETERS`."""
    contrast, tau_s, baseline = parameters[:3]
    if kind in ("single", "stretched"):
        exponent = parameters[3] if kind == "stretched" else 1.0
        field = np.exp(-((delay_s / tau_s) ** exponent))
    else:
        fraction, slow_tau_s = parameters[3:5]
        exponent, slow_exponent = parameters[5:] if kind == "double-stretched" else (1.0, 1.0)
        fast = np.exp(-((delay_s / tau_s) ** exponent))
        field = fraction * fast + (1 - fraction) * np.exp(-((delay_s / slow_tau_s) ** slow_exponent))
    law: NDArray[np.float64] = contrast * field**2 + baseline
    return law


def starts(kind: FitKind, t: NDArray[np.float64], y: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Where to begin: tau from the delay at which g2 has fallen to 1/e of its range, and the middle of the delays.

    A double law begins with its two times a factor apart on either side of these.
    """
    baseline = float(np.median(y[-max(3, len(y) // 4) :]))
    contrast = max(float(np.median(y[:3])) - baseline, 1e-3)
    below = np.flatnonzero(y < baseline + contrast / np.e)
    guess = 2 * float(t[below[0]] if below.size else t[-1])
    middle = float(np.sqrt(t[0] * t[-1]))
    if kind in ("single", "stretched"):
        return [np.array([contrast, tau, baseline, 1.0][: len(PARAMETERS[kind])]) for tau in (guess, middle)]
    pairs = [
        (guess / 3, guess * 3, 0.5),
        (guess / 20, guess, 0.3),
        (guess, guess * 20, 0.7),
        (middle / 8, middle * 8, 0.5),
    ]
    free = len(PARAMETERS[kind])
    return [np.array([contrast, fast, baseline, f, slow, 1.0, 1.0][:free]) for fast, slow, f in pairs]


def fast_first(
    kind: FitKind, parameters: NDArray[np.float64], covariance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Parameters and covariance with the faster decay named first; the law is the same either way."""
    if kind in ("single", "stretched") or parameters[1] <= parameters[4]:
        return parameters, covariance
    order = [0, 4, 2, 3, 1, 6, 5][: len(parameters)]
    exchanged, sign = parameters[order], np.ones(len(parameters))
    exchanged[3], sign[3] = 1 - exchanged[3], -1.0
    return exchanged, covariance[np.ix_(order, order)] * np.outer(sign, sign)
