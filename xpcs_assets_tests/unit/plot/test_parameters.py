from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.text import Text

from xpcs_assets.plot.parameters import parameters_q
from xpcs_assets.plot.thumbnails import png
from xpcs_assets.results.fit_laws import FitKind
from xpcs_assets_tests.made_results import CONTRAST, make_result, without_g2


def test_contrast_baseline_and_exponent_are_drawn_over_q_with_their_units() -> None:
    result = make_result(n_q=6, n_frames=2000)
    fits = result.fit("stretched")
    figure = parameters_q(result, fits)
    panels = figure.get_axes()
    assert [axes.get_ylabel() for axes in panels] == ["contrast β", "baseline", "exponent γ"]
    assert panels[-1].get_xlabel() == "q (Å⁻¹)"
    q, contrast = panels[0].lines[0].get_data()
    np.testing.assert_allclose(q, result.q_inv_angstrom)
    np.testing.assert_allclose(contrast, [fit.contrast for fit in fits])
    assert np.median(contrast) == pytest.approx(CONTRAST, rel=0.1)
    assert "g2 = baseline + β exp(-2 (t / τ)^γ)" in figure.get_suptitle()


def test_a_law_without_an_exponent_has_no_panel_for_it() -> None:
    result = make_result(n_q=3, n_frames=2000)
    assert len(parameters_q(result, result.fit()).get_axes()) == 2


def test_fits_that_are_not_good_are_crosses_and_bins_without_one_are_counted() -> None:
    result = without_g2(make_result(n_q=5, n_frames=2000), 3)
    fits = result.fit()
    fits[1] = replace(fits[1], ok=False, contrast=7.0)
    panel = parameters_q(result, fits).get_axes()[0]
    crosses = [line for line in panel.lines if line.get_marker() == "x"]
    assert [line.get_xdata().tolist() for line in crosses] == [[pytest.approx(result.q_inv_angstrom[1])]]
    assert panel.get_ylim()[1] < 1
    assert {"1 of 5 bins without a fit", "× 1 of 5 fits are not good"} <= {text.get_text() for text in panel.texts}


@pytest.mark.parametrize("kind", ["single", "stretched", "double", "double-stretched"])
def test_the_whole_law_is_on_the_page_and_numbers_are_whole(kind: FitKind) -> None:
    result = make_result(n_q=3, n_frames=2000)
    fits = [replace(fit, kind=kind, baseline=1.0 + number / 1e4) for number, fit in enumerate(result.fit())]
    figure = parameters_q(result, fits)
    png(figure)
    title = next(text for text in figure.findobj(Text) if text.get_text() == figure.get_suptitle())
    assert title.get_window_extent().x1 <= figure.bbox.x1
    assert figure.get_axes()[1].yaxis.get_offset_text().get_text() == ""


def test_nothing_fitted_is_an_empty_figure() -> None:
    result = make_result(n_q=2)
    for number in range(2):
        result = without_g2(result, number)
    assert len(parameters_q(result, result.fit("stretched")).get_axes()) == 3
