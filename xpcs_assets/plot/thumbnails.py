"""Figures as files and as small inline pictures: sizes, bytes and names. What they show is in ``figures``."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from PIL import Image

from xpcs_assets.places.files import write_file_safely
from xpcs_assets.plot import figures, style

if TYPE_CHECKING:
    from xpcs_assets.results.fit import BinFit
    from xpcs_assets.results.power_law import PowerLaw
    from xpcs_assets.results.result import Result

LIMIT_BYTES = 100_000
"""A materialisation's metadata are read whenever its page is: a thumbnail is smaller than this."""

# From what is well read on the asset's page down to what is still recognised.
_WIDTHS = (900, 700, 500, 350, 240, 160)
_COLOURS = 96
_MAX_PAGES = 9


def png(figure: Figure, dpi: float = style.DPI) -> bytes:
    """The figure as PNG; the same figure gives the same bytes, for no date and no version is written into it."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
    return file.getvalue()


def thumbnail(picture: bytes, limit_bytes: int = LIMIT_BYTES) -> bytes:
    """A small PNG of the PNG ``picture``: fewer colours and, if it must be, fewer pixels, below ``limit_bytes``.

    When even the smallest exceeds the limit, the smallest is given.
    """
    whole = Image.open(io.BytesIO(picture)).convert("RGB")
    small = b""
    for width in _WIDTHS:
        size = (min(width, whole.width), max(1, round(whole.height * min(width, whole.width) / whole.width)))
        smaller = whole.resize(size, Image.Resampling.LANCZOS).quantize(_COLOURS, dither=Image.Dither.NONE)
        file = io.BytesIO()
        smaller.save(file, format="PNG")
        small = file.getvalue()
        if len(small) < limit_bytes:
            break
    return small


def markdown_image(picture: bytes, text: str) -> str:
    """A PNG inline in Markdown; ``text`` stands for it where pictures are not shown.

    >>> markdown_image(b"abc", "g2")
    '![g2](data:image/png;base64,YWJj)'
    """
    return f"![{text}](data:image/png;base64,{base64.b64encode(picture).decode('ascii')})"


def all_figures(result: Result, fits: Sequence[BinFit], law: PowerLaw | None) -> Iterator[tuple[str, Figure]]:
    """Every figure of a result with its name, made one by one.

    ``g2`` is the page to look at first; when it leaves q values out, all of them follow on ``g2_page_1`` and so
    on, nine pages at most. ``twotime`` has maps, and pages, in the same way.
    """
    yield "scattering", figures.scattering(result)
    yield "saxs_1d", figures.saxs_1d(result)
    yield "intensity_vs_time", figures.intensity_vs_time(result)
    if len(result.delay_s):
        yield "g2", figures.g2_grid(result, fits)
        yield "tau_q", figures.tau_q(result, fits, law)
        for number, panels in _pages(len(figures.q_groups(result)), figures.PANELS_A_PAGE):
            yield f"g2_page_{number}", figures.g2_grid(result, fits, panels)
    if result.twotime_bins:
        yield from _twotime_figures(result)


def _twotime_figures(result: Result) -> Iterator[tuple[str, Figure]]:
    from xpcs_assets.plot import twotime as drawn
    from xpcs_assets.results.twotime_result import TwoTimeResult

    twotime = TwoTimeResult.of(result)
    yield "twotime", drawn.twotime_maps(result, twotime)
    yield "twotime_cuts", drawn.twotime_cuts(result, twotime)
    for number, panels in _pages(len(twotime.bins), drawn.MAPS_A_PAGE):
        yield f"twotime_page_{number}", drawn.twotime_maps(result, twotime, panels)


def _pages(count: int, a_page: int) -> Iterator[tuple[int, range]]:
    """Number and panels of each further page; none where the first holds them all."""
    if count > a_page:
        for number, begin in enumerate(range(0, min(count, _MAX_PAGES * a_page), a_page), start=1):
            yield number, range(begin, min(begin + a_page, count))


def save_all(
    result: Result, folder: Path, fits: Sequence[BinFit], law: PowerLaw | None
) -> tuple[dict[str, Path], dict[str, bytes]]:
    """Write every figure of a result as PNG into ``folder``, each whole or not at all.

    Returns
    -------
    paths, thumbnails
        By figure name: the files, and a small picture of each first figure (none of further pages).

    Raises
    ------
    CopyError
        A file could not be written; those before it are there.
    """
    paths: dict[str, Path] = {}
    small: dict[str, bytes] = {}
    for name, figure in all_figures(result, fits, law):
        paths[name] = folder / f"{name}.png"
        picture = png(figure)
        write_file_safely(paths[name], [picture], replace=True)
        if "_page_" not in name:
            small[name] = thumbnail(picture)
    return paths, small
