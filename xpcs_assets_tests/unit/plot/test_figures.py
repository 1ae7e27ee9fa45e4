"""What the figures show, to a reader who has nothing but the figure."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from xpcs_assets.plot import figures, style
from xpcs_assets.plot.thumbnails import all_figures, png
from xpcs_assets.results.fit import BinFit
from xpcs_assets.results.result import Result, open_result
from xpcs_assets_tests.made_results import make_result, without_g2

WITHOUT_UNIT = {"g2", "segment / whole run", "dynamic bin (number)"}


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_visible()]


def words(figure: Figure) -> str:
    texts = [figure.get_suptitle()]
    for axes in panels(figure):
        legend = axes.get_legend()
        texts += [text.get_text() for text in axes.texts]
        texts += [axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()]
        texts += [text.get_text() for text in legend.get_texts()] if legend else []
    return "\n".join(texts)


def points(axes: Axes) -> np.ndarray:
    """Every point drawn with an error bar, (n, 2)."""
    return np.concatenate([container.lines[0].get_xydata() for container in axes.containers])


def drawn(result: Result) -> list[tuple[str, Figure]]:
    fits = result.fit()
    return list(all_figures(result, fits, result.fit_tau_q(fits)))


@pytest.fixture(scope="module")
def usual() -> dict[str, Figure]:
    return dict(drawn(make_result(n_phi=2)))


def test_every_axis_of_every_figure_tells_its_quantity_and_unit(usual: dict[str, Figure]) -> None:
    for name, figure in usual.items():
        labels = [label for axes in panels(figure) for label in (axes.get_xlabel(), axes.get_ylabel()) if label]
        assert len(labels) >= 2, name
        assert all(label.endswith(")") or label in WITHOUT_UNIT for label in labels), (name, labels)


def test_every_figure_names_the_run_and_the_recipe(usual: dict[str, Figure]) -> None:
    recipe = make_result().recipe
    for figure in usual.values():
        assert figure.get_suptitle().startswith(f"A001_made_a0001_f000400_r00001   recipe {recipe.folder}")


def test_time_and_delay_are_in_seconds_and_q_in_inverse_angstrom(usual: dict[str, Figure]) -> None:
    shown = {name: words(figure) for name, figure in usual.items()}
    assert "time since the first frame (s)" in shown["intensity_vs_time"]
    assert "delay (s)" in shown["g2"]
    assert "q (Å⁻¹)" in shown["saxs_1d"]
    assert "τ (s)" in shown["tau_q"]
    assert "counts / pixel / frame" in shown["scattering"]


def test_pyplot_with_its_state_of_the_whole_process_is_never_loaded() -> None:
    code = "import sys, xpcs_assets.plot.thumbnails; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_masked_pixels_are_grey_and_zero_counts_are_not() -> None:
    result = make_result()
    pattern = result.scattering_2d.copy()
    row, column = np.argwhere(result.mask)[100]
    pattern[row, column] = 0
    image = figures.scattering(replace(result, scattering_2d=pattern)).axes[0].images[0]
    colours = image.to_rgba(image.get_array())
    left, _, _, top = image.get_extent()
    at = colours[round(row - top - 0.5), round(column - left - 0.5)]
    assert np.allclose(colours[0, 0], to_rgba(style.MASKED))
    assert not np.allclose(at, to_rgba(style.MASKED))


def test_the_pattern_keeps_detector_pixels_on_its_axes_when_it_is_cropped_and_coarse() -> None:
    result = make_result()
    large = {name: np.kron(getattr(result, name), np.ones((30, 30))) for name in ("scattering_2d", "mask")}
    maps = {name: np.kron(getattr(result, name), np.ones((30, 30), np.int32)) for name in ("dynamic_map", "static_map")}
    large["mask"] = large["mask"] > 0
    axes = figures.scattering(replace(result, **large, **maps)).axes[0]
    assert axes.images[0].get_array().size < 700 * 700
    used = np.flatnonzero(large["mask"].any(axis=1))
    bottom, top = axes.get_ylim()
    assert top < used[0] < used[-1] < bottom
    assert bottom - top < 1.2 * (used[-1] - used[0])


def test_bin_numbers_stand_on_their_bins() -> None:
    result = make_result(n_q=3, n_phi=2)
    axes = figures.scattering(result).axes[1]
    numbers = [text for text in axes.texts if text.get_text().isdigit()]
    assert numbers
    for text in numbers:
        column, row = text.get_position()
        assert result.dynamic_map[round(row), round(column)] == int(text.get_text())


def test_a_pattern_without_any_count_is_drawn() -> None:
    result = make_result()
    assert png(figures.scattering(replace(result, scattering_2d=np.zeros_like(result.scattering_2d))))


def test_phi_curves_of_one_q_share_a_panel() -> None:
    result = make_result(n_q=3, n_phi=2)
    shown = panels(figures.g2_grid(result, result.fit()))
    assert len(shown) == 3
    assert "bins 3, 4" in shown[1].get_title(loc="left")
    assert {container.lines[0].get_color() for container in shown[1].containers} == set(style.CURVES[:2])


def test_undefined_points_are_not_drawn() -> None:
    result = make_result(n_q=1)
    result.g2[3:7] = np.nan
    (axes,) = panels(figures.g2_grid(result, result.fit()))
    assert len(points(axes)) == np.isfinite(result.g2).sum() == len(result.delay_s) - 4
    assert not set(result.delay_s[3:7]) & set(points(axes)[:, 0])


def test_a_point_without_an_error_bar_is_still_drawn() -> None:
    result = make_result(n_q=1)
    result.g2_error[5] = np.nan
    (axes,) = panels(figures.g2_grid(result, result.fit()))
    assert len(points(axes)) == len(result.delay_s)


def test_means_over_few_pairs_are_hollow() -> None:
    result = make_result(n_q=1)
    (axes,) = panels(figures.g2_grid(result, result.fit()))
    hollow = [c.lines[0].get_xdata() for c in axes.containers if c.lines[0].get_markerfacecolor() == "white"]
    assert set(np.concatenate(hollow)) == set(result.delay_s[result.n_pairs < 4])


def test_a_wild_point_is_an_arrow_at_the_edge_and_squeezes_nothing() -> None:
    result = make_result(n_q=1)
    result.g2[-1] = 50.0
    (axes,) = panels(figures.g2_grid(result, result.fit()))
    top = axes.get_ylim()[1]
    arrows = [line for line in axes.lines if line.get_marker() == "^" and len(line.get_xdata())]
    assert top < 2
    assert [line.get_xydata().tolist() for line in arrows] == [[[result.delay_s[-1], top]]]


def test_the_panel_tells_contrast_and_tau_of_its_fit() -> None:
    result = make_result(n_q=1)
    fit = result.fit()[0]
    assert f"β {fit.contrast:.2f}"[:5] in words(figures.g2_grid(result, [fit]))
    assert "τ 0.02" in words(figures.g2_grid(result, [fit]))


def test_a_failed_fit_says_why_and_draws_no_curve() -> None:
    result = without_g2(make_result(n_q=2), 1)
    fits = result.fit()
    first, second = panels(figures.g2_grid(result, fits))
    curves = [[line for line in axes.lines if len(line.get_xdata()) == 200] for axes in (first, second)]
    assert [len(lines) for lines in curves] == [1, 0]
    assert "no good fit: 0 delays with weight" in "".join(text.get_text() for text in second.texts)


def test_g2_is_drawn_without_fits() -> None:
    assert len(panels(figures.g2_grid(make_result(), []))) == 4


def test_many_q_values_make_a_page_of_twelve_that_says_so_and_further_pages_with_all() -> None:
    result = make_result(n_q=14)
    shown = dict(drawn(result))
    assert len(panels(shown["g2"])) == figures.PANELS_A_PAGE
    assert "12 of 14 q values" in words(shown["g2"])
    titles = [axes.get_title(loc="left") for n in (1, 2) for axes in panels(shown[f"g2_page_{n}"])]
    assert [title.split(":")[0] for title in titles] == [f"bin {number}" for number in range(1, 15)]
    assert "g2_page_3" not in shown


def test_only_the_bins_of_the_recipe_have_panels() -> None:
    result = make_result(n_q=4, dynamic_bins="2,4")
    assert [group.bins for group in figures.q_groups(result)] == [(1,), (3,)]


def test_a_map_without_q_gets_a_panel_a_bin_and_colours_by_number() -> None:
    result = make_result(n_q=3)
    nothing = np.full(3, np.nan)
    result = replace(result, q_inv_angstrom=nothing, static_q=np.full(6, np.nan), labels=("x = 1", "x = 2", "x = 3"))
    shown = dict(drawn(result))
    assert [axes.get_title(loc="left") for axes in panels(shown["g2"])] == [
        "bin 1: x = 1",
        "bin 2: x = 2",
        "bin 3: x = 3",
    ]
    assert "dynamic bin (number)" in words(shown["scattering"])
    assert "no q" in words(shown["saxs_1d"])
    assert "3 of 3 bins without tau" in words(shown["tau_q"])


def bad(fit: BinFit) -> BinFit:
    return replace(fit, ok=False, reason="tau is less than its error")


def test_tau_of_a_failed_fit_is_grey_and_a_missing_one_is_counted() -> None:
    result = without_g2(make_result(n_q=5), 4)
    fits = result.fit()
    fits[0] = bad(fits[0])
    law = result.fit_tau_q(fits)
    assert law is not None
    (axes,) = panels(figures.tau_q(result, fits, law))
    assert len(points(axes)) == 3
    crosses = [line for line in axes.lines if line.get_marker() == "x"]
    assert [line.get_color() for line in crosses] == [style.FAINT]
    shown = words(figures.tau_q(result, fits, law))
    assert "1 of 5 bins without tau" in shown
    assert f"b = {law.exponent:.2f} ± {law.exponent_error:.2f}" in shown


def test_a_result_whose_fits_all_fail_is_drawn_whole() -> None:
    result = make_result(n_q=3)
    result.g2[:] = np.nan
    shown = dict(drawn(result))
    assert all(png(figure) for figure in shown.values())
    assert "3 of 3 bins without tau" in words(shown["tau_q"])


def test_a_long_run_is_drawn_as_mean_and_range_with_the_dump_in_it() -> None:
    result = make_result()
    mean = np.random.default_rng(0).normal(0.4, 0.02, 50_000)
    mean[20_000:21_000] = 0.0
    long = replace(result, intensity_vs_time=np.stack([np.arange(50_000), mean]))
    (axes,) = panels(figures.intensity_vs_time(long))
    curve = axes.lines[0]
    assert len(curve.get_xdata()) <= 600
    assert curve.get_ydata().min() == pytest.approx(0, abs=1e-9)
    assert axes.get_ylim()[1] > mean.max()
    assert "range of 84 frames" in words(axes.figure)


def test_frames_without_a_value_are_a_gap_and_are_counted() -> None:
    result = make_result()
    intensity = result.intensity_vs_time.copy()
    intensity[1, 50:60] = np.nan
    figure = figures.intensity_vs_time(replace(result, intensity_vs_time=intensity))
    assert "10 frames without a value" in words(figure)
    assert np.isnan(panels(figure)[0].lines[0].get_ydata()).sum() == 10


def test_intensities_that_are_all_missing_are_drawn() -> None:
    result = make_result()
    assert png(figures.intensity_vs_time(replace(result, intensity_vs_time=np.full((2, 400), np.nan))))


def test_a_segment_that_lost_intensity_stands_out_of_the_ratio() -> None:
    result = make_result()
    segments = np.tile(result.scattering_1d, (10, 1))
    segments[-1] *= 0.7
    lower = panels(figures.saxs_1d(replace(result, segments=segments)))[1]
    ratios = np.array([line.get_ydata() for line in lower.lines])
    assert ratios[:-1] == pytest.approx(np.ones((9, 8)), rel=1e-5)
    assert ratios[-1] == pytest.approx(np.full(8, 0.7), rel=1e-5)


def test_a_result_without_segments_says_so() -> None:
    result = make_result()
    assert "no segments" in words(figures.saxs_1d(replace(result, segments=np.empty((0, 8), np.float32))))


def test_results_of_boost_corr_are_drawn(shared_data: Path) -> None:
    (path,) = (shared_data / "golden" / "imm_both" / "boost_corr_result").glob("*_results.hdf")
    result = open_result(path)
    shown = dict(drawn(result))
    assert len(panels(shown["g2"])) == 4
    assert all(len(axes.containers) == 4 for axes in panels(shown["g2"]))
    assert "b = -2." in words(shown["tau_q"])
