"""What the figures of two-time correlation show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from matplotlib.figure import Figure

from xpcs_assets.engine.twotime import TwoTime
from xpcs_assets.plot import twotime as drawn
from xpcs_assets.plot.thumbnails import LIMIT_BYTES, all_figures, save_all
from xpcs_assets.results.result import Result
from xpcs_assets.results.twotime_result import TwoTimeResult
from xpcs_assets.results.write_twotime import put_twotime
from xpcs_assets_tests.made_results import FRAME_TIME_S, make_result

N = 120
UNDEFINED = 30


def law(tau_frames: float) -> np.ndarray:
    t1, t2 = np.indices((N, N))
    c2 = 1 + 0.25 * np.exp(-2 * np.abs(t2 - t1) / tau_frames)
    np.fill_diagonal(c2, 9.0)
    c2[UNDEFINED] = c2[:, UNDEFINED] = np.nan
    return c2


def made(path: Path, n_bins: int) -> Result:
    """A result file whose maps decay more slowly from bin to bin; lag 0 is shot noise."""
    c2 = [law(5.0 + 5 * bin_) for bin_ in range(n_bins)]
    g2 = np.array([[np.nanmean(np.diagonal(one, lag)) for lag in range(N)] for one in c2]).T
    content = TwoTime(
        bins=np.arange(1, n_bins + 1),
        width=1,
        maps=tuple(np.triu(one).astype(np.float32) for one in c2),
        defined=np.tile(np.arange(N) != UNDEFINED, (n_bins, 1)),
        g2=g2,
        error=np.full(g2.shape, 0.01),
        n_pairs=np.tile(N - np.arange(N)[:, None], (1, n_bins)),
        segments=np.tile(g2[: N // 5, None], (1, 5, 1)),
        levels=(),
        n_saturated=0,
        smoothing="sqmap",
        counts=np.full(n_bins, 50.0),
    )
    with h5py.File(path, "w") as file:
        put_twotime(file, content)
    return replace(make_result(n_q=n_bins), path=path, twotime_bins=tuple(range(1, n_bins + 1)))


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return made(tmp_path_factory.mktemp("two") / "A001_made_a0001_f000400_r00001_results.hdf", 3)


def panels(figure: Figure):
    return [axes for axes in figure.axes if axes.get_xlabel() or axes.get_title(loc="left")]


def test_a_map_shows_c_over_both_times_in_seconds_with_its_q(result: Result) -> None:
    figure = drawn.twotime_maps(result, TwoTimeResult.of(result))
    assert figure.get_suptitle().startswith(f"{result.run}   recipe {result.recipe.folder}\n")
    assert [axes.get_title(loc="left") for axes in panels(figure)] == [
        f"bin {n}: {label}" for n, label in enumerate(result.labels, start=1)
    ]
    first = panels(figure)[0]
    assert (first.get_xlabel(), first.get_ylabel()) == ("t1 (s)", "t2 (s)")
    assert first.get_aspect() == 1
    (image,) = first.get_images()
    np.testing.assert_allclose(image.get_extent(), np.array([-0.5, N - 0.5, -0.5, N - 0.5]) * FRAME_TIME_S)
    assert image.origin == "lower"
    seen = np.ma.filled(image.get_array(), np.nan)
    assert seen[10, 14] == pytest.approx(law(5.0)[10, 14], abs=0.02)
    assert any(axes.get_ylabel() == "C(t1, t2)" for axes in figure.axes)


def test_neither_shot_noise_nor_undefined_frames_set_the_colours(result: Result) -> None:
    image = panels(drawn.twotime_maps(result, TwoTimeResult.of(result)))[0].get_images()[0]
    low, high = image.get_clim()
    assert 0.99 < low < high < 1.25
    grey = np.isnan(np.ma.filled(image.get_array(), np.nan))
    assert grey[UNDEFINED].all()
    assert grey.diagonal().all()
    assert np.count_nonzero(grey) == 3 * N - 2


def test_a_large_map_is_drawn_as_means_of_blocks() -> None:
    c2 = np.arange(49.0).reshape(7, 7)
    c2[0, 0] = np.nan
    mean = drawn._coarser(c2, 3)
    assert mean.shape == (3, 3)
    assert mean[0, 0] == np.nanmean(c2[:3, :3])
    assert mean[2, 2] == c2[6, 6]


def test_cuts_and_g2_leave_lag_0_out_and_carry_errors(result: Result) -> None:
    figure = drawn.twotime_cuts(result, TwoTimeResult.of(result))
    left, right = panels(figure)[:2]
    assert panels(figure)[-1].get_xlabel() == "lag (s)"
    assert len(left.containers) == 5
    for axes in (left, right):
        points = axes.containers[0].lines[0].get_xydata()
        assert points[0, 0] == pytest.approx(FRAME_TIME_S)
        assert points[:, 1].max() < 1.3
    lag = np.rint(right.containers[0].lines[0].get_xdata() / FRAME_TIME_S).astype(int)
    assert lag[:4].tolist() == [1, 2, 3, 4]
    assert lag[-1] == N - 10
    assert len(lag) < 50
    assert any("age (s)" in axes.get_ylabel() for axes in figure.axes)


def test_two_time_figures_are_among_those_of_a_result_that_has_maps(result: Result, tmp_path: Path) -> None:
    fits = result.fit()
    names = [name for name, _ in all_figures(result, fits, None)]
    assert names[-2:] == ["twotime", "twotime_cuts"]
    plain = make_result()
    assert not any(name.startswith("twotime") for name, _ in all_figures(plain, plain.fit(), None))
    many = made(tmp_path / "many_results.hdf", 8)
    paths, small = save_all(many, tmp_path / "plots", many.fit(), None)
    assert [name for name in paths if name.startswith("twotime")] == [
        "twotime", "twotime_cuts", "twotime_page_1", "twotime_page_2",
    ]  # fmt: skip
    assert "twotime_page_1" not in small
    assert len(small["twotime"]) < LIMIT_BYTES


def test_a_result_of_two_time_alone_has_no_empty_figure_of_g2(result: Result) -> None:
    alone = replace(
        result, delay_s=result.delay_s[:0], delay_frames=result.delay_frames[:0], g2=result.g2[:0],
        g2_error=result.g2_error[:0], n_pairs=result.n_pairs[:0],
    )  # fmt: skip
    names = [name for name, _ in all_figures(alone, alone.fit(), None)]
    assert names == ["scattering", "saxs_1d", "intensity_vs_time", "twotime", "twotime_cuts"]
