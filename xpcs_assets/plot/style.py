"""How every figure looks: size, fonts, colours, labels. No data belongs here.

Figures are made with matplotlib's objects only. ``pyplot`` keeps figures and settings for the whole
process, which threads of a web server share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

DPI = 150
TEXT = 8.0
SMALL = 6.5
LINE = 0.9
INK = "#222222"
FAINT = "#9a9a9a"
MASKED = "#d9d9d9"
# Okabe and Ito's colours, told apart with every kind of colour vision; yellow is left out, it is too pale for lines.
CURVES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
SEQUENCE = "viridis"
_CM_PER_INCH = 2.54
_LEFT_CM, _TOP_CM, _BOTTOM_CM = 1.5, 1.7, 1.1


def new_figure(width_cm: float, height_cm: float, heading: str) -> Figure:
    """An empty figure with a heading and room for it.

    Parameters
    ----------
    width_cm, height_cm
        Size on paper, cm.
    heading
        One or two lines: what it is, of which run and recipe.
    """
    figure = Figure(figsize=(width_cm / _CM_PER_INCH, height_cm / _CM_PER_INCH), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(heading, fontsize=TEXT, color=INK, x=0.01, ha="left")
    return figure


def panel_grid(figure: Figure, rows: int, columns: int) -> NDArray[Any]:
    """Equal panels with shared axes, (rows, columns), in fixed margins.

    To measure the labels of a dozen panels takes longer than to draw them, and here their sizes are known.
    """
    figure.set_layout_engine("none")
    # A heading with a height of its own is left out of the layouts that make room for it.
    figure.suptitle(figure.get_suptitle(), fontsize=TEXT, color=INK, x=0.01, y=0.99, ha="left", va="top")
    width_cm, height_cm = (size * _CM_PER_INCH for size in figure.get_size_inches())
    panel_width_cm = (width_cm - _LEFT_CM - 0.4) / columns
    panel_height_cm = (height_cm - _TOP_CM - _BOTTOM_CM) / rows
    margins = {
        "left": _LEFT_CM / width_cm,
        "right": 1 - 0.4 / width_cm,
        "top": 1 - _TOP_CM / height_cm,
        "bottom": _BOTTOM_CM / height_cm,
        "wspace": 0.25 / panel_width_cm,
        "hspace": 0.8 / panel_height_cm,
    }
    panels: NDArray[Any] = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False, gridspec_kw=margins)
    return panels


def label(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Write a panel's labels (``quantity (unit)``) and set its fonts and frame."""
    axes.set_xlabel(x, fontsize=TEXT, color=INK)
    axes.set_ylabel(y, fontsize=TEXT, color=INK)
    if title:
        axes.set_title(title, fontsize=TEXT, color=INK, loc="left")
    axes.tick_params(which="both", labelsize=SMALL, color=INK, labelcolor=INK, width=0.5, direction="in")
    axes.xaxis.get_offset_text().set_fontsize(SMALL)
    axes.yaxis.get_offset_text().set_fontsize(SMALL)
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)
        spine.set_color(INK)


def grid(axes: Axes) -> None:
    """Draw a faint grid behind curves."""
    axes.grid(visible=True, which="major", color="#e6e6e6", linewidth=0.5)
    axes.set_axisbelow(True)


def note(axes: Axes, lines: Sequence[tuple[str, str]], *, top: bool = True, right: bool = True) -> None:
    """Write a few short lines, each (words, colour), into a corner of a panel."""
    for index, (words, colour) in enumerate(lines):
        from_edge = 0.05 + 0.075 * (index if top else len(lines) - 1 - index)
        text = axes.text(
            0.97 if right else 0.03,
            1 - from_edge if top else from_edge,
            words,
            transform=axes.transAxes,
            ha="right" if right else "left",
            va="top" if top else "bottom",
            fontsize=SMALL,
            color=colour,
        )
        text.set_in_layout(False)  # long words must not push the panels apart


def plain_log_ticks(axis: Axis, low: float, high: float) -> None:
    """Write numbers such as 0.003 beside a logarithmic axis of up to two decades; longer ones keep powers of ten."""
    ratio = high / low
    if ratio > 100:
        return
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if ratio > 10 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def colour_bar(figure: Figure, panels: Sequence[Axes], mappable: ScalarMappable, text: str) -> Colorbar:
    """Draw a colour bar beside ``panels``, labelled ``quantity (unit)``."""
    bar = figure.colorbar(mappable, ax=panels, shrink=0.85, pad=0.02, aspect=30)
    bar.set_label(text, fontsize=TEXT, color=INK)
    bar.ax.tick_params(which="both", labelsize=SMALL, width=0.5, direction="in")
    bar.outline.set_linewidth(0.5)
    return bar


def curve_colour(index: int) -> str:
    """The colour of the ``index``-th curve of a panel; they repeat after seven."""
    return CURVES[index % len(CURVES)]
