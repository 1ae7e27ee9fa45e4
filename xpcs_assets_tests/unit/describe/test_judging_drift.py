"""A run that changes while it is measured is told from one that only fluctuates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from xpcs_assets.correlate.worker import main
from xpcs_assets.describe.judgement import Judge
from xpcs_assets.describe.judging_drift import judge_g2_drift, judge_intensity_drift, judge_saxs_drift
from xpcs_assets.results.result import Result, open_result
from xpcs_assets.runs.criteria import Rules
from xpcs_assets.testing.simulate import simulate
from xpcs_assets_tests.made_results import make_result

JUDGE = Judge(Rules())


def correlated(folder: Path, *options: str, **run: Any) -> Result:
    made = simulate(folder, format="imm", frames=800, shape=(48, 64), n_dynamic=4, n_static=12, **run)
    assert main([str(made.raw), "--qmap", str(made.qmap), "--output", str(folder / "o.hdf"), *options]) == 0
    return open_result(folder / "o.hdf")


def with_intensity(mean: np.ndarray) -> Result:
    return replace(make_result(), intensity_vs_time=np.stack([np.arange(mean.size), mean]).astype(np.float32))


def test_a_beam_that_grows_is_found_with_how_much_it_grew() -> None:
    mean = np.random.default_rng(0).normal(0.5, 0.02, 2000) * np.linspace(0.85, 1.15, 2000)
    found = judge_intensity_drift(JUDGE, with_intensity(mean))
    assert found.passed is False
    assert found.value == pytest.approx(0.3, abs=0.02)
    assert "changes by +29.9%" in found.reason


def test_noise_of_a_weak_beam_is_no_drift() -> None:
    for seed in range(20):
        mean = np.random.default_rng(seed).poisson(2, 400) / 100
        assert judge_intensity_drift(JUDGE, with_intensity(mean)).value == pytest.approx(0, abs=0.15)


def test_without_intensity_no_drift_is_judged() -> None:
    found = judge_intensity_drift(JUDGE, with_intensity(np.full(400, np.nan)))
    assert (found.outcome, found.reason) == ("not judged", "too few frames have an intensity")
    assert judge_intensity_drift(JUDGE, with_intensity(np.zeros(400))).outcome == "not judged"


def with_segments(change: float, *, beam: float = 0.0, noise: float = 0.01, seed: int = 0) -> Result:
    """I(q) that grows by ``change`` at high q and falls at low q, in a beam that grows by ``beam``."""
    result = make_result()
    n_static, time = result.segments.shape[1], np.linspace(-0.5, 0.5, 10)[:, None]
    tilt = np.linspace(-1, 1, n_static) * change
    scatter = np.random.default_rng(seed).normal(1, noise, (10, n_static))
    grown = result.scattering_1d * (1 + tilt * time) * (1 + beam * time) * scatter
    return replace(result, segments=grown.astype(np.float32))


def test_a_shape_that_changes_is_found_and_a_beam_that_only_fades_is_not() -> None:
    found = judge_saxs_drift(JUDGE, with_segments(0.3))
    assert (found.passed, found.severity) == (False, "warn")
    assert 0.1 < (found.value or 0) < 0.3
    assert "beam damage" in found.reason
    assert judge_saxs_drift(JUDGE, with_segments(0.0, beam=0.5)).passed


def test_noise_is_no_change_of_shape() -> None:
    values = [judge_saxs_drift(JUDGE, with_segments(0.0, noise=0.1, seed=seed)).value for seed in range(30)]
    assert np.count_nonzero(values) <= 1


def test_a_result_without_stretches_of_its_own_q_map_is_not_judged() -> None:
    result = make_result()
    assert judge_saxs_drift(JUDGE, replace(result, segments=result.segments[:4])).outcome == "not judged"
    assert judge_saxs_drift(JUDGE, replace(result, segments=result.segments[:, :-1])).outcome == "not judged"
    assert judge_saxs_drift(JUDGE, replace(result, segments=result.segments * np.nan)).outcome == "not judged"


def test_g2_of_the_first_part_agrees_with_the_whole_where_nothing_ages(tmp_path: Path) -> None:
    found = judge_g2_drift(JUDGE, correlated(tmp_path, "--partial-g2", "4"))
    assert found.passed
    assert 0.2 < (found.value or 0) < 3


def test_a_sample_that_gels_while_it_is_measured_is_found(tmp_path: Path) -> None:
    result = correlated(tmp_path, "--partial-g2", "4", ageing_time_s=0.1)
    found = judge_g2_drift(JUDGE, result)
    assert (found.passed, found.severity) == (False, "warn")
    assert "first 200 frames" in found.reason
    assert judge_g2_drift(Judge(Rules({"g2_drift": 1e4})), result).passed
    with h5py.File(result.path, "r+") as file:
        file["/xpcs/multitau/normalized_g2_partial_labels"][()] = 0  # as boost_corr writes for short runs
    assert judge_g2_drift(JUDGE, result).outcome == "not judged"


def test_a_result_without_parts_says_how_to_get_them(tmp_path: Path) -> None:
    found = judge_g2_drift(JUDGE, correlated(tmp_path))
    assert (found.passed, found.value) == (None, None)
    assert "pipeline.correlate.partial_g2" in found.reason
    assert "partial_g2" in judge_g2_drift(JUDGE, make_result()).reason
