"""One function a figure: an open result (and its fits) -> a matplotlib ``Figure``.

What scientists look at first: scattering pattern and q-map, I(q) with its time segments, I(t), g2 with
fits, tau(q). The functions draw what the result holds and compute no physics; nothing is written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from xpcs_assets.engine.delays import MIN_PAIRS
from xpcs_assets.plot import style
from xpcs_assets.plot.dynamics import draw_g2, draw_tau, g2_limits
from xpcs_assets.plot.pattern import Window, draw_bins, draw_pattern
from xpcs_assets.runs.recipe import selected_bins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpcs_assets.results.fit import BinFit
    from xpcs_assets.results.g2_table import G2Table
    from xpcs_assets.results.power_law import PowerLaw
    from xpcs_assets.results.result import Result

_WIDTH_CM = 24.0
PANELS_A_PAGE = 12
# A page has about this many points across; of more, the mean and the range are drawn.
_DRAWN_POINTS = 600


def heading(result: G2Table, what: str) -> str:
    """Two lines over a figure: run and recipe, then what is shown."""
    return f"{result.run}   recipe {result.recipe.folder}\n{what}"


def scattering(result: Result) -> Figure:
    """Mean scattering pattern beside the dynamic q-map, both cropped to the analysed pixels."""
    window = Window.around(result.mask)
    figure = style.new_figure(_WIDTH_CM, 3.0 + 9.0 * window.aspect, heading(result, "scattering pattern and q-map"))
    left, right = figure.subplots(1, 2)
    draw_pattern(figure, left, window, result.scattering_2d, result.mask)
    draw_bins(figure, right, window, result.dynamic_map, result.q_inv_angstrom)
    return figure


def saxs_1d(result: Result) -> Figure:
    """I(q) of the whole run and of its time segments, and each segment over the whole: drift and damage show there."""
    figure = style.new_figure(16, 14, heading(result, "I(q), whole run and time segments"))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    q, groups = _by_q(result.static_q)
    whole = _means(result.scattering_1d, groups)
    segments = np.array([_means(segment, groups) for segment in result.segments]).reshape(
        len(result.segments), len(groups)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = segments / whole
    edges_s = np.linspace(0.0, result.intensity_vs_time.shape[1] * result.frame_time_s, len(segments) + 1)
    norm = Normalize(edges_s[0], edges_s[-1])
    colours = colormaps[style.SEQUENCE]
    for middle, segment, ratio in zip((edges_s[1:] + edges_s[:-1]) / 2, segments, ratios, strict=True):
        upper.plot(q, segment, color=colours(norm(middle)), linewidth=0.6)
        lower.plot(q, ratio, color=colours(norm(middle)), linewidth=0.6)
    upper.plot(q, whole, color=style.INK, linewidth=style.LINE, marker="o", markersize=2, label="whole run")
    upper.legend(fontsize=style.SMALL, frameon=False, loc="upper right")
    _log_where_possible(upper, q, whole)
    style.label(upper, "", "I (counts / pixel / frame)")
    style.label(lower, "q (Å⁻¹)", "segment / whole run")
    for axes in (upper, lower):
        style.grid(axes)
    if len(segments):
        style.colour_bar(figure, [upper, lower], ScalarMappable(norm, colours), "middle of the segment (s)")
    missing = [word for word, there in (("no segments", len(segments)), ("no q", len(q))) if not there]
    if missing:
        style.note(upper, [(f"the result holds {' and '.join(missing)}", style.INK)], top=False, right=False)
    return figure


def intensity_vs_time(result: Result) -> Figure:
    """Mean intensity of every frame over the time since the run began; long runs as mean and range."""
    figure = style.new_figure(16, 8, heading(result, "mean intensity of each frame"))
    axes = figure.subplots()
    frame, mean = result.intensity_vs_time
    time_s = np.asarray(frame, dtype=np.float64) * result.frame_time_s
    undefined = int(np.count_nonzero(~np.isfinite(mean)))
    block = -(-len(mean) // _DRAWN_POINTS)
    if block > 1:
        time_s, mean = _draw_ranges(axes, time_s, np.asarray(mean, dtype=np.float64), block)
    axes.plot(time_s, mean, color=style.CURVES[0], linewidth=0.7)
    finite = mean[np.isfinite(mean)]
    if finite.size:
        axes.axhline(float(np.median(finite)), color=style.FAINT, linewidth=0.6, linestyle="--", label="median")
        axes.legend(fontsize=style.SMALL, frameon=False, loc="lower right")
    axes.margins(x=0.01, y=0.12)
    axes.set_ylim(bottom=0)
    style.label(axes, "time since the first frame (s)", "I (counts / pixel / frame)")
    style.grid(axes)
    if undefined:
        style.note(axes, [(f"{undefined} frames without a value", style.INK)], top=False, right=False)
    return figure


def g2_grid(result: G2Table, fits: Sequence[BinFit], panels: Sequence[int] | None = None) -> Figure:
    """g2 of the dynamic bins with error bars and fits, a panel a q; curves of several phi share it.

    Parameters
    ----------
    result
        What was measured.
    fits
        One a dynamic bin; empty draws the points alone.
    panels
        Which q values, from 0 by rising q; by default all, or an even choice of twelve with a word about the rest.
    """
    groups = q_groups(result)
    chosen = even_choice(len(groups)) if panels is None else list(panels)
    columns = min(3, max(1, len(chosen)))
    rows = -(-len(chosen) // columns) or 1
    what = f"g2, {len(chosen)} of {len(groups)} q values; hollow: fewer than {MIN_PAIRS} pairs of frames, in no fit"
    figure = style.new_figure(7.4 * columns + 2, 5.3 * rows + 2.8, heading(result, what))
    grid = style.panel_grid(figure, rows, columns)
    limits = g2_limits(result, [bin_ for index in chosen for bin_ in groups[index].bins])
    for place, axes in enumerate(grid.flat):
        if place >= len(chosen):
            axes.set_visible(False)
            continue
        draw_g2(axes, result, fits, groups[chosen[place]].bins, limits)
        last = place + columns >= len(chosen)
        axes.tick_params(labelbottom=last)
        style.label(
            axes, "delay (s)" if last else "", "g2" if place % columns == 0 else "", title=groups[chosen[place]].title
        )
    return figure


def tau_q(result: G2Table, fits: Sequence[BinFit], law: PowerLaw | None) -> Figure:
    """Correlation times over q, log-log; ``law`` goes through the good fits, None when too few are good."""
    figure = style.new_figure(12, 10, heading(result, "correlation time, g2 = baseline + β exp(-2 t / τ)"))
    axes = figure.subplots()
    draw_tau(axes, result.q_inv_angstrom, fits, law)
    style.label(axes, "q (Å⁻¹)", "τ (s)")
    return figure


@dataclass(frozen=True)
class QGroup:
    """Dynamic bins that share a panel: those of one q, or a single one where the map has no q.

    Attributes
    ----------
    title
        What the panel is called.
    bins
        Dynamic bins, from 0.
    """

    title: str
    bins: tuple[int, ...]


def q_groups(result: G2Table) -> list[QGroup]:
    """The panels of a result, by rising q; bins without a q come last, each on its own. Only bins of the recipe."""
    chosen = selected_bins(result.recipe.settings.dynamic_bins)
    left_out = np.isin(np.arange(1, len(result.labels) + 1), chosen, invert=True) & bool(chosen)
    q = np.where(left_out, np.nan, result.q_inv_angstrom)
    values, groups = _by_q(q)
    titles = [
        _single(result, int(group[0])).title if group.size == 1 else f"q = {value:.5g} Å⁻¹, bins {_numbers(group)}"
        for value, group in zip(values, groups, strict=True)
    ]
    together = [QGroup(title, tuple(map(int, group))) for title, group in zip(titles, groups, strict=True)]
    return together + [_single(result, int(index)) for index in np.flatnonzero(~np.isfinite(q) & ~left_out)]


def _single(result: G2Table, index: int) -> QGroup:
    return QGroup(f"bin {index + 1}: {result.labels[index]}", (index,))


def even_choice(count: int, limit: int = PANELS_A_PAGE) -> list[int]:
    """At most ``limit`` of ``count`` things, evenly spread, first and last among them.

    >>> even_choice(3), even_choice(27, 4)
    ([0, 1, 2], [0, 9, 17, 26])
    """
    if count <= limit:
        return list(range(count))
    return [round(index * (count - 1) / (limit - 1)) for index in range(limit)]


def _numbers(group: NDArray[np.intp]) -> str:
    shown = ", ".join(str(number + 1) for number in group[:8])
    return shown if group.size <= 8 else f"{shown}, ..."


def _draw_ranges(
    axes: Axes, time_s: NDArray[np.float64], mean: NDArray[np.float64], block: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw the range of every ``block`` frames; returns their mean times and mean intensities."""
    count = len(mean) // block
    blocks = np.ma.masked_invalid(mean[: count * block].reshape(count, block))
    middle_s = time_s[: count * block].reshape(count, block).mean(axis=1)
    low, high = blocks.min(axis=1).filled(np.nan), blocks.max(axis=1).filled(np.nan)
    axes.fill_between(
        middle_s, low, high, color=style.CURVES[0], alpha=0.2, linewidth=0, label=f"range of {block} frames"
    )
    return middle_s, blocks.mean(axis=1).filled(np.nan)


def _by_q(q: NDArray[np.floating]) -> tuple[NDArray[np.float64], Sequence[NDArray[np.intp]]]:
    """Bins of the same q (they differ in phi) together, by rising q. Bins without a q are left out."""
    values = np.unique(q[np.isfinite(q)])
    return values, [np.flatnonzero(q == value) for value in values]


def _means(values: NDArray[np.floating], groups: Sequence[NDArray[np.intp]]) -> NDArray[np.float64]:
    means = np.full(len(groups), np.nan)
    for index, group in enumerate(groups):
        finite = values[group][np.isfinite(values[group])]
        if finite.size:
            means[index] = finite.mean()
    return means


def _log_where_possible(axes: Axes, x: NDArray[np.floating], y: NDArray[np.floating]) -> None:
    """Logarithmic axes where there are positive values to show; an axis of none stays linear."""
    for values, scale, axis in ((x, axes.set_xscale, axes.xaxis), (y, axes.set_yscale, axes.yaxis)):
        positive = values[np.isfinite(values) & (values > 0)]
        if positive.size:
            scale("log")
            style.plain_log_ticks(axis, float(positive.min()), float(positive.max()))
