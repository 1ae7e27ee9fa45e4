"""Panels of g2 over delay and of tau over q, with their fits. Which panels a page has is said in ``figures``."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from xpcs_assets.plot import style

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpcs_assets.results.fit import BinFit
    from xpcs_assets.results.g2_table import G2Table
    from xpcs_assets.results.power_law import PowerLaw

# A mean of fewer pairs of frames than this sets no limit of an axis: its scatter is of the order of the contrast.
FEW_PAIRS = 10
_EDGE_PERCENT = 0.5
_NOTED_FITS = 4
_REASON_LENGTH = 48


def draw_g2(
    axes: Axes, result: G2Table, fits: Sequence[BinFit], bins: Sequence[int], limits: tuple[float, float]
) -> None:
    """Draw g2 of dynamic bins that share a panel, with error bars and fits.

    Parameters
    ----------
    axes
        Where.
    result, fits
        What was measured, and one fit a dynamic bin (or none at all).
    bins
        Dynamic bins, from 0.
    limits
        Lowest and highest g2 drawn; points beyond are shown as arrows at the edge.
    """
    words: list[tuple[str, str]] = []
    for index, number in enumerate(bins):
        colour = style.curve_colour(index)
        _draw_points(axes, result, number, colour, limits)
        if fits:
            _draw_fit(axes, fits[number], result.delay_s, colour)
            words.append((_fit_words(fits[number], number, alone=len(bins) == 1), colour))
    axes.set_xscale("log")
    axes.set_ylim(*limits)
    style.grid(axes)
    if len(words) > _NOTED_FITS:
        words[_NOTED_FITS:] = [(f"and {len(words) - _NOTED_FITS} more", style.INK)]
    style.note(axes, words)


def g2_limits(result: G2Table, bins: Sequence[int]) -> tuple[float, float]:
    """Limits that show g2 of ``bins``, wild points at the end of the run left aside."""
    sound = result.n_pairs >= FEW_PAIRS
    values = result.g2[:, list(bins)]
    values = values[sound] if sound.any() else values
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.9, 1.5
    low, high = np.percentile(values, [_EDGE_PERCENT, 100 - _EDGE_PERCENT])
    room = max(0.02, float(high - low))
    return float(low) - 0.15 * room, float(high) + 0.35 * room


def draw_tau(axes: Axes, q: NDArray[np.floating], fits: Sequence[BinFit], law: PowerLaw | None) -> None:
    """Draw tau over q on logarithmic axes with its power law; failed fits are grey crosses.

    Parameters
    ----------
    axes
        Where.
    q
        (Nd,) centre of each dynamic bin, 1/Å.
    fits
        One a dynamic bin.
    law
        The power law through the good ones, if there is one.
    """
    tau_s = np.array([fit.tau_s for fit in fits])
    error_s = np.array([fit.tau_error_s for fit in fits])
    drawable = np.isfinite(tau_s) & (tau_s > 0) & np.isfinite(q) & (q > 0)
    good = np.array([fit.ok for fit in fits], dtype=bool) & drawable
    failed = drawable & ~good
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.errorbar(
        q[good],
        tau_s[good],
        # A bar longer than the value has no lower end on a logarithmic axis.
        yerr=(np.minimum(error_s[good], 0.95 * tau_s[good]), error_s[good]),
        fmt="o",
        markersize=3.5,
        color=style.CURVES[0],
        elinewidth=0.8,
        capsize=2,
        label="fitted",
    )
    if failed.any():
        axes.plot(q[failed], tau_s[failed], "x", color=style.FAINT, markersize=4, label="fit not good")
    lost = len(fits) - int(np.count_nonzero(good | failed))
    if lost:
        axes.plot([], [], " ", label=f"{lost} of {len(fits)} bins without tau")
    if law is not None:
        span = np.geomspace(q[drawable].min() * 0.95, q[drawable].max() * 1.05, 50)
        text = f"τ ∝ q^b, b = {law.exponent:.2f} ± {law.exponent_error:.2f}"
        axes.plot(span, law.curve(span), color=style.CURVES[1], linewidth=style.LINE, label=text)
    if drawable.any():
        style.plain_log_ticks(axes.xaxis, q[drawable].min(), q[drawable].max())
        style.plain_log_ticks(axes.yaxis, tau_s[drawable].min(), tau_s[drawable].max())
    axes.legend(fontsize=style.SMALL, frameon=False, reverse=True)
    style.grid(axes)


def _draw_points(axes: Axes, result: G2Table, number: int, colour: str, limits: tuple[float, float]) -> None:
    """Points with bars, hollow where the mean is over few pairs; undefined ones are not drawn."""
    few = result.few_pairs
    g2, error = result.g2[:, number], result.g2_error[:, number]
    defined = np.isfinite(g2)
    for chosen, face in ((defined & ~few, colour), (defined & few, "white")):
        axes.errorbar(
            result.delay_s[chosen],
            g2[chosen],
            yerr=np.where(np.isfinite(error), error, 0.0)[chosen],
            fmt="o",
            markersize=2.6,
            color=colour,
            markerfacecolor=face,
            markeredgewidth=0.6,
            elinewidth=0.5,
        )
    low, high = limits
    for beyond, edge, marker in ((defined & (g2 > high), high, "^"), (defined & (g2 < low), low, "v")):
        (arrows,) = axes.plot(
            result.delay_s[beyond],
            np.full(np.count_nonzero(beyond), edge),
            marker,
            color=colour,
            markersize=3,
            clip_on=False,
        )
        arrows.set_in_layout(False)


def _draw_fit(axes: Axes, fit: BinFit, delay_s: NDArray[np.floating], colour: str) -> None:
    if not fit.ok:
        return
    fine_s = np.geomspace(delay_s[0], delay_s[-1], 200)
    axes.plot(fine_s, fit.curve(fine_s), color=colour, linewidth=style.LINE)


def _fit_words(fit: BinFit, number: int, *, alone: bool) -> str:
    name = "" if alone else f"bin {number + 1}: "
    if not fit.ok:
        return f"{name}no good fit: {textwrap.shorten(fit.reason, _REASON_LENGTH, placeholder='...')}"
    words = f"{name}β {with_error(fit.contrast, fit.contrast_error)}, τ {with_error(fit.tau_s, fit.tau_error_s)} s"
    if fit.exponent_error > 0:
        words += f", γ {with_error(fit.exponent, fit.exponent_error)}"
    if np.isfinite(fit.slow_tau_s):
        words += f"\nτ₂ {with_error(fit.slow_tau_s, fit.slow_tau_error_s)} s"
        words += f", f {with_error(fit.fraction, fit.fraction_error)}"
    return words


def with_error(value: float, error: float) -> str:
    """A value with its error's two digits behind it in brackets, as the field writes it.

    >>> with_error(0.2512, 0.0034), with_error(0.00123, 0.0021), with_error(12.0, float("nan")), with_error(310, 14)
    ('0.2512(34)', '0.0012(21)', '12', '310(14)')
    """
    if not (np.isfinite(error) and error > 0):
        return f"{value:.3g}"
    error = float(f"{error:.1e}")
    digits = 1 - int(np.floor(np.log10(error)))
    if digits < 0:
        return f"{value:.0f}({error:.0f})"
    return f"{value:.{digits}f}({error * 10**digits:.0f})"
