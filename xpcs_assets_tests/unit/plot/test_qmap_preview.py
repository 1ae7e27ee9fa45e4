from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from xpcs_assets.plot.qmap_preview import preview
from xpcs_assets.qmaps.geometry import Geometry
from xpcs_assets.qmaps.partition_maps import Bins, q_phi_partition, x_y_partition
from xpcs_assets.qmaps.qpartition import QPartition

SHAPE = (40, 60)
GEOMETRY = Geometry(SHAPE, (19.5, 30.25), 75e-6, 4.0, 10.0)
ALL = np.ones(SHAPE, np.bool_)


def texts(figure: Figure) -> str:
    words = [figure.get_suptitle()]
    for axes in figure.axes:
        words += [axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel(), *(t.get_text() for t in axes.texts)]
    return " | ".join(words)


def rings() -> QPartition:
    return q_phi_partition(GEOMETRY, ALL, Bins(3, 12))


def test_the_picture_shows_scattering_bins_and_hot_pixels(tmp_path: Path) -> None:
    pattern = np.random.default_rng(1).poisson(5.0, SHAPE).astype(np.float64)
    hot = np.array([3 * 60 + 7, 20 * 60 + 41])
    figure = preview(rings(), "a_qmap.hdf", pattern, hot)
    said = texts(figure)
    for words in (
        "a_qmap.hdf",
        "3 × 1 dynamic bins",
        "12 × 1 static",
        "column (pixel)",
        "mean scattering",
        "2 hot pixels",
    ):
        assert words in said
    (ringed,) = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert ringed.get_xydata().tolist() == [[7, 3], [41, 20]]
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_without_a_raw_file_the_static_bins_are_shown_and_no_pixel_is_called_hot() -> None:
    said = texts(preview(rings(), "a_qmap.hdf"))
    assert "static bins" in said
    assert "hot" not in said


def test_the_cross_stands_on_the_beam_where_it_is_in_the_picture() -> None:
    (cross,) = [line for line in preview(rings(), "a").axes[0].lines if line.get_marker() == "+"]
    assert cross.get_xydata().tolist() == [[30.25, 19.5]]
    aside = q_phi_partition(Geometry(SHAPE, (-500.0, 30.0), 75e-6, 4.0, 10.0), ALL, Bins(2, 4))
    assert not preview(aside, "a").axes[0].lines


@pytest.mark.parametrize("pattern", [None, np.zeros(SHAPE)])
def test_maps_without_q_and_patterns_without_counts_are_drawn(pattern: np.ndarray | None) -> None:
    mesh = x_y_partition(GEOMETRY, ALL, Bins(3, 6), Bins(2, 4))
    assert "x × y" in texts(preview(mesh, "a", pattern, np.zeros(0, np.int64)))
