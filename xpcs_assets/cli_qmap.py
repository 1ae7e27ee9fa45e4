"""``xpcs-assets qmap``: a q-map file from geometry, masks and numbers of bins.

A row comes before a column wherever both are given; both count from 0, and whole numbers are pixel centres.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xpcs_assets.errors import QmapError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from xpcs_assets.qmaps.geometry import Geometry
    from xpcs_assets.qmaps.geometry_fields import Known
    from xpcs_assets.qmaps.hot_pixels import Pattern
    from xpcs_assets.qmaps.partition_maps import Rectangle
    from xpcs_assets.qmaps.qpartition import QPartition

_NAMED = 5


class Axes(StrEnum):
    """What the two dimensions of a map are."""

    Q_PHI = "q-phi"
    X_Y = "x-y"
    RECTANGLES = "rectangles"


class Spacing(StrEnum):
    """How bins of q are spaced."""

    LINEAR = "linear"
    LOG = "log"


Pair = tuple[float, float]


def qmap(
    output: Annotated[Path, typer.Option(help="The q-map file to write.")],
    metadata: Annotated[Path | None, typer.Option(help="Metadata file to take the geometry from.")] = None,
    energy_kev: Annotated[float | None, typer.Option(help="Photon energy, keV.")] = None,
    distance_m: Annotated[float | None, typer.Option(help="From the sample to the detector, m.")] = None,
    pixel_size_m: Annotated[float | None, typer.Option(help="Edge of a pixel, m.")] = None,
    beam_center: Annotated[
        Pair | None, typer.Option(metavar="ROW COL", help="Direct beam; in metadata ROW is beam_center_y.")
    ] = None,
    rotation: Annotated[
        tuple[float, float, float] | None,
        typer.Option(metavar="X Y Z", help="Turns of the detector about its columns, rows and normal, deg."),
    ] = None,
    swing: Annotated[
        Pair | None, typer.Option(metavar="H V", help="Swing of the flight path, horizontal and vertical, deg.")
    ] = None,
    shape: Annotated[
        tuple[int, int] | None, typer.Option(metavar="ROWS COLS", help="Detector; else that of --raw.")
    ] = None,
    mask: Annotated[
        list[str] | None, typer.Option(help="Mask: .npy, .tif, a q-map, or FILE.h5:/path; may repeat.")
    ] = None,
    mask_marks_bad: Annotated[
        bool, typer.Option("--mask-marks-bad", help="Not 0 in the masks is a bad pixel, as in pixel_mask.")
    ] = False,
    bad_pixels: Annotated[Path | None, typer.Option(help="List of bad pixels: JSON, or CSV with row,col.")] = None,
    beamstop: Annotated[
        tuple[float, float, float] | None, typer.Option(metavar="ROW COL RADIUS", help="Disc to mask, pixels.")
    ] = None,
    axes: Annotated[Axes, typer.Option(help="Dimensions of the map.")] = Axes.Q_PHI,
    dynamic: Annotated[str, typer.Option(metavar="N0[xN1]", help="Dynamic bins: q x phi, or columns x rows.")] = "36",
    static: Annotated[
        str, typer.Option(metavar="N0[xN1]", help="Static bins; else ten a dynamic ring. Of each rectangle: x x y.")
    ] = "",
    spacing: Annotated[Spacing, typer.Option(help="Spacing of q.")] = Spacing.LINEAR,
    q_range: Annotated[Pair | None, typer.Option(metavar="LO HI", help="1/angstrom; else that of the mask.")] = None,
    phi_range: Annotated[Pair | None, typer.Option(metavar="LO HI", help="deg; else the whole circle.")] = None,
    x_range: Annotated[Pair | None, typer.Option(metavar="LO HI", help="Columns; else those of the mask.")] = None,
    y_range: Annotated[Pair | None, typer.Option(metavar="LO HI", help="Rows; else those of the mask.")] = None,
    rectangle: Annotated[
        list[str] | None, typer.Option(metavar="R0:R1,C0:C1", help="Rows and columns, ends excluded; may repeat.")
    ] = None,
    raw: Annotated[Path | None, typer.Option(help="Raw file to look for hot pixels in.")] = None,
    raw_frames: Annotated[int, typer.Option(min=4, help="First frames of it to look at.")] = 1000,
    hot_sigma: Annotated[float, typer.Option(min=1.0, help="How far above its bin's median a pixel is hot.")] = 20.0,
    drop_hot: Annotated[bool, typer.Option("--drop-hot", help="Mask hot pixels instead of warning.")] = False,
    preview: Annotated[Path | None, typer.Option(help="Picture of the map to write (.png).")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that is there.")] = False,
) -> None:
    """Make a q-map, in the layout that pySimpleMask saves: which pixels are analysed, in which bins."""
    from xpcs_assets.qmaps.geometry_fields import Known
    from xpcs_assets.qmaps.hot_pixels import read_pattern
    from xpcs_assets.qmaps.qmap import write_qmap

    if output.exists() and not overwrite:
        raise QmapError("there is such a file already", where=output, remedy="Choose another name or add --overwrite")
    masks = [Path(text.partition(":/")[0]) for text in mask or []]
    _check_written((output, preview), (metadata, raw, bad_pixels, *masks))
    bins = _Asked(axes, dynamic, static, spacing, (q_range, phi_range), (x_range, y_range), rectangle or [])
    pattern = read_pattern(raw, raw_frames) if raw is not None else None
    known = Known(beam_center, pixel_size_m, distance_m, energy_kev, rotation, swing)
    geometry = _geometry(metadata, _shape(shape, pattern), known)
    usable = _usable(geometry.shape, mask or [], mask_marks_bad, bad_pixels, beamstop, pattern)
    partition, hot = _without_hot(bins, geometry, usable, pattern, hot_sigma, drop_hot)
    write_qmap(output, replace(partition, blemish=usable), source_file=raw.name if raw is not None else "")
    _tell(output, partition)
    if preview is not None:
        _draw(preview, output, partition, pattern, hot)


def _check_written(written: tuple[Path | None, ...], read: tuple[Path | None, ...]) -> None:
    """Refuse to write over a file that the map is made of, also with ``--overwrite``."""
    there = [path for path in read if path is not None and path.exists()]
    for made in written:
        if made is not None and made.exists() and any(made.samefile(path) for path in there):
            raise QmapError("the map is made of this file, which would be lost", where=made, remedy="Name another one")


@dataclass(frozen=True)
class _Asked:
    """The bins as they were typed."""

    axes: Axes
    dynamic: str
    static: str
    spacing: Spacing
    q_phi: tuple[Pair | None, Pair | None]
    x_y: tuple[Pair | None, Pair | None]
    rectangles: list[str]

    def partition(self, geometry: Geometry, mask: NDArray[np.bool_]) -> QPartition:
        """The map."""
        from xpcs_assets.qmaps.partition_maps import (
            Bins,
            q_phi_partition,
            rectangle_partition,
            x_y_partition,
        )

        if self.axes is Axes.RECTANGLES:
            return rectangle_partition(
                geometry, mask, [_rectangle(text) for text in self.rectangles], _two(self.static or "1", "--static")
            )
        dynamic = _two(self.dynamic, "--dynamic")
        ten = 10 if self.axes is Axes.Q_PHI else 1
        static = _two(self.static, "--static") if self.static else (ten * dynamic[0], dynamic[1])
        (low, high), other = (pair or (None, None) for pair in (self.q_phi if self.axes is Axes.Q_PHI else self.x_y))
        first = Bins(dynamic[0], static[0], low, high, spacing=self.spacing.value)
        second = Bins(dynamic[1], static[1], *other)
        make = q_phi_partition if self.axes is Axes.Q_PHI else x_y_partition
        return make(geometry, mask, first, second)


def _two(text: str, option: str) -> tuple[int, int]:
    """``36`` or ``36x8``."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdecimal() for part in parts):
        raise typer.BadParameter(f"{text!r} is not of the form 36 or 36x8", param_hint=option)
    return int(parts[0]), int(parts[1]) if len(parts) == 2 else 1


def _rectangle(text: str) -> Rectangle:
    from xpcs_assets.qmaps.partition_maps import Rectangle

    found = re.fullmatch(r"(\d+):(\d+),(\d+):(\d+)", text.replace(" ", ""))
    if found is None:
        raise typer.BadParameter(f"{text!r} is not of the form 100:200,300:400", param_hint="--rectangle")
    top, bottom, left, right = map(int, found.groups())
    return Rectangle(top, bottom, left, right)


def _shape(shape: tuple[int, int] | None, pattern: Pattern | None) -> tuple[int, int]:
    from xpcs_assets.readers.chunks import MAX_PIXELS

    if pattern is None:
        if shape is None:
            raise typer.BadParameter("say --shape ROWS COLS, or give a raw file with --raw", param_hint="--shape")
        if min(shape) < 1 or shape[0] * shape[1] > MAX_PIXELS:
            raise typer.BadParameter(f"{shape[0]} x {shape[1]} pixels are no detector", param_hint="--shape")
        return shape
    of_raw = pattern.masked.shape[0], pattern.masked.shape[1]
    if shape not in (None, of_raw):
        raise QmapError(f"the raw data are {of_raw} pixels, not {shape}", remedy="Leave --shape out")
    return of_raw


def _geometry(metadata: Path | None, shape: tuple[int, int], known: Known) -> Geometry:
    from xpcs_assets.qmaps.geometry import Geometry
    from xpcs_assets.qmaps.geometry_fields import read_geometry

    if metadata is not None:
        return read_geometry(metadata, shape, known)
    said = (known.beam_centre_yx, known.pixel_size_m, known.detector_distance_m, known.energy_kev)
    centre, pixel_size_m, distance_m, energy_kev = said
    if centre is None or pixel_size_m is None or distance_m is None or energy_kev is None:
        what = "say --energy-kev, --distance-m, --pixel-size-m and --beam-center, or --metadata"
        raise typer.BadParameter(what, param_hint="geometry")
    turned = known.rotation_deg or (0.0, 0.0, 0.0), known.swing_deg or (0.0, 0.0)
    return Geometry(shape, centre, pixel_size_m, distance_m, energy_kev, *turned)


def _usable(
    shape: tuple[int, int],
    masks: list[str],
    marks_bad: bool,
    bad_pixels: Path | None,
    beamstop: tuple[float, float, float] | None,
    pattern: Pattern | None,
) -> NDArray[np.bool_]:
    import numpy as np

    from xpcs_assets.qmaps.masks import disc, read_bad_pixels, read_mask

    usable = np.ones(shape, np.bool_) if pattern is None else ~pattern.masked
    for source in masks:
        usable &= read_mask(source, shape, marks_bad=marks_bad)
    if bad_pixels is not None:
        usable.reshape(-1)[read_bad_pixels(bad_pixels, shape)] = False
    if beamstop is not None:
        usable &= ~disc(shape, beamstop[:2], beamstop[2])
    return usable


def _without_hot(
    bins: _Asked,
    geometry: Geometry,
    usable: NDArray[np.bool_],
    pattern: Pattern | None,
    sigma: float,
    drop: bool,
) -> tuple[QPartition, NDArray[np.int64] | None]:
    """The map, and the hot pixels that were found; they are in it unless they were to be dropped."""
    from xpcs_assets.qmaps.hot_pixels import hot_pixels, silent_pixels

    partition = bins.partition(geometry, usable)
    if pattern is None:
        return partition, None
    silent = silent_pixels(pattern, partition).size
    if silent:
        what = f"the map holds {silent} pixels that never counted, though their bins are lit"
        typer.echo(f"warning: {what}: dead ones, or a beamstop. Mask them.", err=True)
    hot = hot_pixels(pattern, partition, sigma)
    if not hot.size:
        return partition, hot
    cols = geometry.shape[1]
    mean = pattern.mean.reshape(-1)
    named = [f"row {i // cols}, column {i % cols}: {mean[i]:.3g} counts a frame" for i in hot[:_NAMED].tolist()]
    more = f"; and {hot.size - _NAMED} more" if hot.size > _NAMED else ""
    which = f"{hot.size} hot {'pixel' if hot.size == 1 else 'pixels'} ({'; '.join(named)}{more})"
    if not drop:
        typer.echo(f"warning: the map holds {which}. Mask them with --drop-hot or --bad-pixels.", err=True)
        return partition, hot
    usable.reshape(-1)[hot] = False
    typer.echo(f"masked     {which}")
    return bins.partition(geometry, usable), hot


def _tell(output: Path, partition: QPartition) -> None:
    import numpy as np

    p = partition
    row, col = p.beam_centre_yx
    (d0, d1), (s0, s1) = p.dynamic_num_pts, p.static_num_pts
    smallest = int(np.bincount(p.static[p.mask])[1:].min())
    typer.echo(f"q-map      {output}")
    typer.echo(
        f"geometry   direct beam at row {row:.2f}, column {col:.2f}; {p.detector_distance_m:g} m, "
        f"{p.pixel_size_m * 1e6:g} µm, {p.energy_kev:g} keV"
    )
    typer.echo(f"pixels     {np.count_nonzero(p.mask)} of {p.shape[0]} x {p.shape[1]}")
    typer.echo(f"dynamic    {d0} x {d1} bins ({' x '.join(p.map_names)}), {p.n_dynamic} with pixels")
    typer.echo(f"static     {s0} x {s1} bins, {p.n_static} with pixels, the smallest with {smallest}")


def _draw(
    path: Path, output: Path, partition: QPartition, pattern: Pattern | None, hot: NDArray[np.int64] | None
) -> None:
    from xpcs_assets.plot.qmap_preview import preview

    figure = preview(partition, output.name, None if pattern is None else pattern.mean, hot)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise QmapError(f"the picture cannot be written ({error})", where=path, remedy="Name a .png file") from error
    typer.echo(f"preview    {path}")
