"""A q-map as a picture, to look at before runs are analysed with it: what it covers, its bins, hot pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from xpcs_assets.plot import style
from xpcs_assets.plot.pattern import Window, draw_bins, draw_pattern

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpcs_assets.qmaps.qpartition import QPartition

_WIDTH_CM = 24.0
_HOT = "#e10000"


def preview(
    partition: QPartition,
    heading: str,
    pattern: NDArray[np.float64] | None = None,
    hot: NDArray[np.int64] | None = None,
) -> Figure:
    """The mean scattering, or else the static bins, beside the dynamic bins; a cross is the direct beam.

    Parameters
    ----------
    partition
        The map.
    heading
        What it is called.
    pattern
        (rows, cols) mean counts a pixel and frame, NaN where the detector masks; None draws the static bins.
    hot
        Flat indices of hot pixels, which get a ring.
    """
    window = Window.around(partition.mask)
    said = f"{heading}\n{_bins_of(partition)}"
    figure = style.new_figure(_WIDTH_CM, 3.0 + 9.0 * window.aspect, said)
    left, right = figure.subplots(1, 2)
    if pattern is None:
        _draw_static(left, window, partition)
    else:
        draw_pattern(figure, left, window, pattern, partition.mask)
        if hot is not None and hot.size:
            _ring(left, hot, partition.shape[1])
    q = partition.dynamic_q
    draw_bins(figure, right, window, partition.dynamic, np.full(partition.n_dynamic, np.nan) if q is None else q)
    for axes in (left, right):
        _mark_beam(axes, window, partition.beam_centre_yx)
    return figure


def _bins_of(partition: QPartition) -> str:
    p = partition
    (d0, d1), (s0, s1) = p.dynamic_num_pts, p.static_num_pts
    rows, cols = p.shape
    return (
        f"{p.map_names[0]} × {p.map_names[1]}: {d0} × {d1} dynamic bins ({p.n_dynamic} with pixels), "
        f"{s0} × {s1} static ({p.n_static}); {np.count_nonzero(p.mask)} of {rows} × {cols} pixels"
    )


def _draw_static(axes: Axes, window: Window, partition: QPartition) -> None:
    numbers = window.cut(partition.static)
    colours = ListedColormap(style.CURVES).with_extremes(bad=style.MASKED)
    cycled = np.ma.masked_where(numbers == 0, (numbers - 1) % len(style.CURVES))
    axes.imshow(
        cycled, cmap=colours, vmin=0, vmax=len(style.CURVES) - 1, extent=window.extent, interpolation="none", alpha=0.8
    )
    style.label(axes, "column (pixel)", "row (pixel)", "static bins (colours repeat; grey: masked)")


def _ring(axes: Axes, hot: NDArray[np.int64], n_cols: int) -> None:
    axes.plot(
        hot % n_cols,
        hot // n_cols,
        linestyle="none",
        marker="o",
        markersize=7,
        markerfacecolor="none",
        markeredgecolor=_HOT,
        markeredgewidth=1.0,
    )
    style.note(axes, [(f"{hot.size} hot pixels", _HOT)])


def _mark_beam(axes: Axes, window: Window, centre_yx: tuple[float, float]) -> None:
    row, col = centre_yx
    if window.top <= row < window.bottom and window.left <= col < window.right:
        cross = axes.plot([col], [row], marker="+", markersize=8, color=style.INK, markeredgewidth=0.8)
        # Bins may be as dark as the cross.
        cross[0].set_path_effects([withStroke(linewidth=2.4, foreground="white")])
