"""What a law's parameters other than tau do over q: contrast, baseline, and the exponent where it was fitted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xpcs_assets.plot import style
from xpcs_assets.plot.figures import heading
from xpcs_assets.results.fit_laws import FitKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpcs_assets.results.fit import BinFit
    from xpcs_assets.results.g2_table import G2Table

_PANELS = (("contrast", "contrast β"), ("baseline", "baseline"), ("exponent", "exponent γ"))

_LAWS: dict[FitKind, str] = {
    "single": "g2 = baseline + β exp(-2 t / τ)",
    "stretched": "g2 = baseline + β exp(-2 (t / τ)^γ)",
    "double": "two decays, f of them with τ:\ng2 = baseline + β [f exp(-t / τ) + (1 - f) exp(-t / τ2)]²",
    "double-stretched": "two decays, f of them with τ, γ:\n"
    "g2 = baseline + β [f exp(-(t / τ)^γ) + (1 - f) exp(-(t / τ2)^γ2)]²",
}


def parameters_q(result: G2Table, fits: Sequence[BinFit]) -> Figure:
    """Contrast, baseline and exponent over q with their errors; fits that are not good are grey crosses.

    Parameters
    ----------
    result
        What was fitted; bins without a q are left out.
    fits
        One a dynamic bin, all of one law.
    """
    fitted = [(name, text) for name, text in _PANELS if name != "exponent" or _has_exponent(fits)]
    law = _LAWS[fits[0].kind] if fits else "no fit"
    figure = style.new_figure(12, 2.5 + 4.0 * len(fitted), heading(result, law))
    q = result.q_inv_angstrom
    panels = figure.subplots(len(fitted), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, text) in zip(panels, fitted, strict=True):
        _draw(axes, q, fits, name)
        style.label(axes, "q (Å⁻¹)" if axes is panels[-1] else "", text)
    figure.align_ylabels(panels)
    lost = sum(not np.isfinite(fit.contrast) for fit in fits)
    doubtful = sum(not fit.ok for fit in fits) - lost
    told = [(f"{lost} of {len(fits)} bins without a fit", style.INK)] if lost else []
    if doubtful:
        told.append((f"× {doubtful} of {len(fits)} fits are not good", style.FAINT))
    if told:
        style.note(panels[0], told)
    return figure


def _has_exponent(fits: Sequence[BinFit]) -> bool:
    return any("stretched" in fit.kind for fit in fits)


def _draw(axes: Axes, q: NDArray[np.float64], fits: Sequence[BinFit], name: str) -> None:
    value = np.array([getattr(fit, name) for fit in fits], float)
    error = np.array([getattr(fit, f"{name}_error") for fit in fits], float)
    drawable = np.isfinite(value) & np.isfinite(q)
    good = drawable & np.array([fit.ok for fit in fits], bool)
    axes.errorbar(
        q[good], value[good], error[good], fmt="o", markersize=3.5, elinewidth=0.8, capsize=2, color=style.CURVES[0]
    )
    if good.any():
        # The panel is the good fits'; a failed one far away is not worth their detail.
        low, high = float((value - error)[good].min()), float((value + error)[good].max())
        room = 0.15 * max(high - low, 0.02)
        axes.set_ylim(low - room, high + room)
    axes.plot(q[drawable & ~good], value[drawable & ~good], "x", color=style.FAINT, markersize=4)
    if name in ("baseline", "exponent"):
        axes.axhline(1.0, color=style.FAINT, linewidth=0.6, linestyle="--")
    axes.ticklabel_format(axis="y", useOffset=False)
    style.grid(axes)
