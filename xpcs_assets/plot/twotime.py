"""Figures of two-time correlation: maps of C(t1, t2), cuts along age, g2 from the diagonals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from xpcs_assets.plot import style
from xpcs_assets.plot.dynamics import FEW_PAIRS
from xpcs_assets.plot.figures import even_choice, heading

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpcs_assets.results.result import Result
    from xpcs_assets.results.twotime_result import TwoTimeBin, TwoTimeResult

MAPS_A_PAGE = 6
# More frames than this are not seen on a page.
_DRAWN_FRAMES = 400
# This share of a map's values is beyond each end of the colour scale: noise has long tails.
_TAIL_PERCENT = 1.0
_N_AGES = 5
_CURVES_A_PAGE = 4
_SMALLEST_ROOM = 0.02
_POINTS_A_DECADE = 20


def twotime_maps(result: Result, twotime: TwoTimeResult, panels: Sequence[int] | None = None) -> Figure:
    """C(t1, t2) of the dynamic bins, an image each, with limits of its own.

    Parameters
    ----------
    result, twotime
        The open result, and what it holds of two-time correlation.
    panels
        Which of its bins, from 0 in their order; by default all, or an even choice of six.
    """
    count = len(twotime.bins)
    chosen = even_choice(count, MAPS_A_PAGE) if panels is None else list(panels)
    columns = min(3, max(1, len(chosen)))
    rows = -(-len(chosen) // columns) or 1
    what = f"two-time correlation, {len(chosen)} of {count} bins; colours from the 1st to the 99th percentile"
    figure = style.new_figure(8.6 * columns + 0.5, 7.4 * rows + 1.6, heading(result, what))
    for place, index in enumerate(chosen):
        _draw_map(figure, figure.add_subplot(rows, columns, place + 1), twotime.bin(int(twotime.bins[index])))
    return figure


def twotime_cuts(result: Result, twotime: TwoTimeResult, panels: Sequence[int] | None = None) -> Figure:
    """C over lag at five ages beside g2 of the whole run and of its stretches, a row for each of a few bins.

    Parameters
    ----------
    result, twotime
        As for :func:`twotime_maps`.
    panels
        Which bins, from 0 in their order; by default an even choice of four.
    """
    count = len(twotime.bins)
    chosen = even_choice(count, _CURVES_A_PAGE) if panels is None else list(panels)
    what = f"cuts at constant age (t1 + t2) / 2, and g2 from the diagonals, {len(chosen)} of {count} bins; no lag 0"
    figure = style.new_figure(20, 5.6 * max(1, len(chosen)) + 1.8, heading(result, what))
    grid = figure.subplots(max(1, len(chosen)), 2, sharex=True, sharey="row", squeeze=False)
    for (left, right), index in zip(grid, chosen, strict=False):
        bin_ = twotime.bin(int(twotime.bins[index]))
        _draw_ages(figure, left, bin_)
        _draw_g2(right, bin_)
        last = index == chosen[-1]
        style.label(left, "lag (s)" if last else "", "C", _title(bin_))
        style.label(right, "lag (s)" if last else "", "", "g2: mean of the diagonals")
        for axes in (left, right):
            axes.set_xscale("log")
            style.grid(axes)
    return figure


def _title(bin_: TwoTimeBin) -> str:
    return f"bin {bin_.number}: {bin_.label}"


def _draw_map(figure: Figure, axes: Axes, bin_: TwoTimeBin) -> None:
    c2, times_s = bin_.map(), bin_.times_s()
    np.fill_diagonal(c2, np.nan)
    step = -(-len(c2) // _DRAWN_FRAMES)
    low, high = _limits(c2)
    mean = _coarser(c2, step)
    colours = colormaps[style.SEQUENCE].with_extremes(bad=style.MASKED)
    half_s = bin_.frame_time_s / 2
    begin_s, end_s = times_s[0] - half_s, times_s[0] - half_s + len(mean) * step * bin_.frame_time_s
    image = axes.imshow(
        np.clip(mean, low, high),
        vmin=low,
        vmax=high,
        cmap=colours,
        origin="lower",
        extent=(begin_s, end_s, begin_s, end_s),
        interpolation="none",
        aspect="equal",
    )
    # The last block of a coarser image may reach beyond the run.
    axes.set_xlim(begin_s, times_s[-1] + half_s)
    axes.set_ylim(begin_s, times_s[-1] + half_s)
    style.label(axes, "t1 (s)", "t2 (s)", _title(bin_))
    style.colour_bar(figure, [axes], image, "C(t1, t2)")


def _limits(c2: NDArray[np.float64]) -> tuple[float, float]:
    values = c2[np.isfinite(c2)]
    if values.size == 0:
        return 1.0, 1.0 + _SMALLEST_ROOM
    low, high = np.percentile(values, [_TAIL_PERCENT, 100 - _TAIL_PERCENT])
    return float(low), max(float(high), float(low) + _SMALLEST_ROOM)


def _coarser(c2: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """Mean of the finite values of each ``step`` x ``step`` block; NaN where there is none."""
    if step == 1:
        return c2
    size = -(-len(c2) // step) * step
    padded = np.full((size, size), np.nan)
    padded[: len(c2), : len(c2)] = c2
    blocks = padded.reshape(size // step, step, size // step, step)
    finite = np.isfinite(blocks)
    count = finite.sum(axis=(1, 3))
    mean = np.full(count.shape, np.nan)
    np.divide(np.where(finite, blocks, 0.0).sum(axis=(1, 3)), count, out=mean, where=count > 0)
    return mean


def _draw_ages(figure: Figure, axes: Axes, bin_: TwoTimeBin) -> None:
    times_s = bin_.times_s()
    run_s = float(times_s[-1] - times_s[0]) + bin_.frame_time_s
    width_s = run_s / _N_AGES
    ages_s = times_s[0] - bin_.frame_time_s / 2 + width_s * (np.arange(_N_AGES) + 0.5)
    cuts = bin_.age_cuts(ages_s.tolist(), width_s)
    # Longer lags would be of a part of the width only at the first and the last age.
    shown = _spread(cuts.lag_s, width_s)
    norm, colours = Normalize(0.0, run_s), colormaps[style.SEQUENCE]
    for age_s, g2, error in zip(ages_s, cuts.g2, cuts.error, strict=True):
        colour = colours(norm(age_s))
        axes.errorbar(
            cuts.lag_s[shown], g2[shown], yerr=np.nan_to_num(error[shown]), fmt="o-", markersize=1.8, color=colour,
            linewidth=0.6, elinewidth=0.4,
        )  # fmt: skip
    style.colour_bar(figure, [axes], ScalarMappable(norm, colours), f"age (s), ± {width_s / 2:.3g}")


def _spread(lag_s: NDArray[np.float64], longest_s: float) -> NDArray[np.int64]:
    """Which lags are drawn: those above 0 up to ``longest_s``, of long ones what a logarithmic axis has room for."""
    there = np.flatnonzero((lag_s > 0) & (lag_s <= longest_s))
    if not there.size:
        return there
    decades = np.log10(lag_s[there[-1]] / lag_s[there[0]])
    wanted = np.geomspace(lag_s[there[0]], lag_s[there[-1]], 2 + int(_POINTS_A_DECADE * decades))
    return there[np.unique(np.clip(np.searchsorted(lag_s[there], wanted * (1 - 1e-9)), 0, there.size - 1))]


def _draw_g2(axes: Axes, bin_: TwoTimeBin) -> None:
    whole = bin_.g2()
    shown = _spread(whole.lag_s, float(whole.lag_s[whole.n_pairs >= FEW_PAIRS].max(initial=0)))
    lag_s = np.asarray(np.arange(bin_.segments.shape[1]) * bin_.frame_time_s, np.float64)
    # Beyond half their length the fifths are mostly noise.
    drawn = _spread(lag_s, lag_s.max(initial=0) / 2)
    for number, stretch in enumerate(bin_.segments):
        name = "fifths of the run" if number == 0 else None
        axes.plot(lag_s[drawn], stretch[drawn], color=style.FAINT, linewidth=0.5, label=name)
    error = np.where(np.isfinite(whole.error), whole.error, 0.0)
    axes.errorbar(
        whole.lag_s[shown], whole.g2[shown], yerr=error[shown], fmt="o", markersize=1.8, color=style.CURVES[0],
        elinewidth=0.4, label="whole run",
    )  # fmt: skip
    axes.legend(fontsize=style.SMALL, frameon=False, loc="upper right")
