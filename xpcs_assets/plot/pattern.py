"""The detector's two images: what it saw, and how its pixels are grouped. No curves here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from scipy.ndimage import distance_transform_edt

from xpcs_assets.plot import style

if TYPE_CHECKING:
    from numpy.typing import NDArray

# More pixels than this are not seen on a page, and cost a second a megapixel.
_DRAWN_PIXELS = 700
_LABEL_PIXELS = 240
# Numbers nearer to each other than this share of the image cannot be read: those that follow are left out.
_NUMBERS_APART = 0.06
_MARGIN = 0.06
# This share of the positive pixels is lighter, and as many darker, than the colour scale's ends (hot pixels, tails).
_TAIL_PERCENT = 0.5


@dataclass(frozen=True)
class Window:
    """The rows and columns of the detector that are drawn.

    Attributes
    ----------
    top, bottom, left, right
        Pixels; ``bottom`` and ``right`` are exclusive.
    """

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def around(cls, used: NDArray[np.bool_]) -> Self:
        """The part of the detector that holds all used pixels, and a margin; all of it when none is used."""
        rows, columns = np.flatnonzero(used.any(axis=1)), np.flatnonzero(used.any(axis=0))
        if rows.size == 0:
            return cls(0, used.shape[0], 0, used.shape[1])
        margin = 2 + round(_MARGIN * max(np.ptp(rows), np.ptp(columns)))
        return cls(
            max(0, int(rows[0]) - margin),
            min(used.shape[0], int(rows[-1]) + 1 + margin),
            max(0, int(columns[0]) - margin),
            min(used.shape[1], int(columns[-1]) + 1 + margin),
        )

    @property
    def aspect(self) -> float:
        """Height over width."""
        return (self.bottom - self.top) / (self.right - self.left)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """For ``imshow``: axes in detector pixels with row 0 on top, however coarsely the image is drawn."""
        return self.left - 0.5, self.right - 0.5, self.bottom - 0.5, self.top - 0.5

    def cut(self, image: NDArray[Any]) -> NDArray[Any]:
        """Cut this part out of a (rows, columns) image."""
        return image[self.top : self.bottom, self.left : self.right]


def draw_pattern(
    figure: Figure, axes: Axes, window: Window, pattern: NDArray[np.floating], mask: NDArray[np.bool_]
) -> None:
    """Draw the mean scattering pattern on a logarithmic colour scale.

    Parameters
    ----------
    figure, axes, window
        Where, and which part of the detector.
    pattern
        (rows, columns) mean counts a pixel and frame.
    mask
        (rows, columns) bool, True for analysed pixels; the others are grey, not dark, unless they hold counts.
    """
    shown = window.cut(np.where(mask | (pattern > 0), pattern, np.nan))
    mean = _block_mean(shown, _step(shown.shape, _DRAWN_PIXELS))
    low, high = _log_limits(mean)
    colours = colormaps[style.SEQUENCE].with_extremes(bad=style.MASKED)
    image = axes.imshow(
        np.clip(mean, low, high), norm=LogNorm(low, high), cmap=colours, extent=window.extent, interpolation="none"
    )
    style.label(axes, "column (pixel)", "row (pixel)", "mean scattering (grey: masked)")
    bar = style.colour_bar(figure, [axes], image, "I (counts / pixel / frame)")
    style.plain_log_ticks(bar.ax.yaxis, low, high)


def draw_bins(
    figure: Figure, axes: Axes, window: Window, dynamic_map: NDArray[np.integer], q: NDArray[np.floating]
) -> None:
    """Draw the dynamic bins, coloured by their q and numbered.

    Parameters
    ----------
    figure, axes, window
        Where, and which part of the detector.
    dynamic_map
        (rows, columns), 0 for pixels not analysed, 1..Nd otherwise.
    q
        (Nd,) centre of each bin, 1/Å; where one is not finite, bins are coloured by number.
    """
    bins = window.cut(dynamic_map).astype(np.int64)
    step = _step(bins.shape, _DRAWN_PIXELS)
    times = max(1, _DRAWN_PIXELS // max(bins.shape))
    drawn = bins[::step, ::step].repeat(times, axis=0).repeat(times, axis=1)
    by_q = q.size == dynamic_map.max(initial=0) and bool(np.isfinite(q).all())
    values = np.concatenate(([np.nan], q if by_q else np.arange(1.0, dynamic_map.max(initial=1) + 1)))
    norm = Normalize(float(values[1:].min(initial=np.inf)), float(values[1:].max(initial=-np.inf)))
    colours = colormaps[style.SEQUENCE].with_extremes(bad=style.MASKED)
    picture = colours(norm(np.ma.masked_invalid(values[drawn])))
    picture[_borders(drawn)] = 1.0
    axes.imshow(picture, extent=window.extent, interpolation="none")
    _number_bins(axes, window, bins)
    style.label(axes, "column (pixel)", "row (pixel)", "dynamic bins")
    style.colour_bar(figure, [axes], ScalarMappable(norm, colours), "q (Å⁻¹)" if by_q else "dynamic bin (number)")


def _step(shape: tuple[int, ...], limit: int) -> int:
    return max(1, -(-max(shape) // limit))


def _block_mean(image: NDArray[np.floating], step: int) -> NDArray[np.float64]:
    """Mean of each ``step`` x ``step`` block over its finite pixels; NaN where there is none."""
    if step == 1:
        return np.asarray(image, dtype=np.float64)
    rows, columns = image.shape
    padded = np.full((-(-rows // step) * step, -(-columns // step) * step), np.nan)
    padded[:rows, :columns] = image
    blocks = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)
    finite = np.isfinite(blocks)
    count = finite.sum(axis=(1, 3))
    total = np.where(finite, blocks, 0.0).sum(axis=(1, 3))
    mean = np.full(total.shape, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def _log_limits(image: NDArray[np.float64]) -> tuple[float, float]:
    positive = image[np.isfinite(image) & (image > 0)]
    if positive.size == 0:
        return 0.1, 1.0
    low, high = np.percentile(positive, [_TAIL_PERCENT, 100 - _TAIL_PERCENT])
    return (float(low), float(high)) if high > low else (float(low) / 2, float(low) * 2)


def _borders(bins: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbour is in another bin; the outer rim stays as it is."""
    border = np.zeros(bins.shape, dtype=bool)
    border[:, :-1] |= (bins[:, :-1] != bins[:, 1:]) & (bins[:, :-1] > 0) & (bins[:, 1:] > 0)
    border[:-1, :] |= (bins[:-1, :] != bins[1:, :]) & (bins[:-1, :] > 0) & (bins[1:, :] > 0)
    return border


def _number_bins(axes: Axes, window: Window, bins: NDArray[np.int64]) -> None:
    step = _step(bins.shape, _LABEL_PIXELS)
    coarse = bins[::step, ::step]
    numbers = [int(number) for number in np.unique(coarse) if number > 0]
    outline = [withStroke(linewidth=1.2, foreground="white")]
    apart = _NUMBERS_APART * max(coarse.shape)
    written: list[tuple[int, int]] = []
    for number in numbers:
        row, column = _thickest(coarse == number)
        if any(abs(row - other_row) + abs(column - other) < apart for other_row, other in written):
            continue
        written.append((row, column))
        axes.text(
            window.left + column * step,
            window.top + row * step,
            str(number),
            fontsize=style.SMALL,
            color=style.INK,
            ha="center",
            va="center",
            path_effects=outline,
        )


def _thickest(region: NDArray[np.bool_]) -> tuple[int, int]:
    """The pixel deepest inside a region: a ring's or sector's number must lie on it, its centroid may not.

    Rings are about as thick everywhere; among equals the one nearest to the diagonal up to the right is taken,
    so that numbers of neighbouring rings stand in a row.
    """
    rows, columns = np.nonzero(region)
    top, left = int(rows.min()), int(columns.min())
    box = np.pad(region[top : int(rows.max()) + 1, left : int(columns.max()) + 1], 1)
    depth = distance_transform_edt(box)
    deep_rows, deep_columns = np.nonzero(depth >= 0.8 * depth.max())
    right = deep_columns - (box.shape[1] - 1) / 2
    down = deep_rows - (box.shape[0] - 1) / 2
    best = int(np.argmax(right - down - 2 * np.abs(right + down)))
    return top + int(deep_rows[best]) - 1, left + int(deep_columns[best]) - 1
