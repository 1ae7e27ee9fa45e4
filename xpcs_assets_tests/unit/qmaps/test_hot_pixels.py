from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xpcs_assets.errors import QmapError
from xpcs_assets.qmaps.geometry import Geometry
from xpcs_assets.qmaps.hot_pixels import Pattern, hot_pixels, read_pattern, silent_pixels
from xpcs_assets.qmaps.partition_maps import Bins, q_phi_partition
from xpcs_assets.testing.simulate import simulate
from xpcs_assets.testing.writers import write_nexus
from xpcs_assets_tests.unit.readers.conftest import SHAPE as SMALL
from xpcs_assets_tests.unit.readers.conftest import sparse_frames

SHAPE = (64, 64)
RINGS = q_phi_partition(Geometry(SHAPE, (31.5, 31.5), 75e-6, 4.0, 10.0), np.ones(SHAPE, np.bool_), Bins(4, 16))
N_FRAMES = 400


def pattern(totals: np.ndarray) -> Pattern:
    return Pattern(totals.reshape(4, *SHAPE).astype(np.float64), N_FRAMES, np.zeros(SHAPE, np.bool_))


def photons(mean: float, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).poisson(mean * N_FRAMES / 4, (4, 64 * 64))


@pytest.mark.parametrize("format_", ["imm", "eiger", "rigaku500k"])
def test_the_hot_pixels_of_a_simulated_run_are_found_and_no_others(tmp_path: Path, format_: str) -> None:
    run = simulate(tmp_path, format=format_, frames=60, seed=4)
    seen = read_pattern(run.raw, 40)
    assert seen.n_frames == 40
    bins = run.scene.partition
    geometry = bins.geometry
    all_pixels = q_phi_partition(geometry, ~seen.masked, Bins(8, 40))
    found = hot_pixels(seen, all_pixels)
    np.testing.assert_array_equal(found, run.scene.hot)
    assert hot_pixels(seen, bins).size == 0
    if format_ == "eiger":
        np.testing.assert_array_equal(np.flatnonzero(seen.masked), run.scene.dead)
        assert np.isnan(seen.mean.ravel()[run.scene.dead]).all()


@pytest.mark.parametrize("mean", [1e-4, 0.01, 1.0, 100.0])
def test_photons_alone_make_no_pixel_hot(mean: float) -> None:
    assert hot_pixels(pattern(photons(mean)), RINGS).size == 0


def test_a_frozen_speckle_pattern_is_not_taken_for_hot_pixels() -> None:
    speckle = np.random.default_rng(2).exponential(1.0, 64 * 64)
    frozen = np.random.default_rng(3).poisson(np.tile(50 * speckle, (4, 1)))
    assert hot_pixels(pattern(frozen), RINGS).size == 0


def test_a_pixel_is_hot_when_it_counts_all_the_time_and_not_when_it_was_struck_once() -> None:
    totals = photons(0.1)
    totals[:, 700] += 100
    totals[0, 900] += 400
    assert hot_pixels(pattern(totals), RINGS).tolist() == [700]
    assert hot_pixels(pattern(totals), RINGS, sigma=1000.0).size == 0


def test_a_slope_of_intensity_along_q_makes_no_pixel_hot() -> None:
    q, _ = RINGS.geometry.q_and_phi()
    steep = np.random.default_rng(5).poisson(np.tile(100 * (q.ravel() / q.max() + 0.02) ** -2, (4, 1)))
    assert hot_pixels(pattern(steep), RINGS).size == 0


def test_what_a_shadow_leaves_lit_is_not_hot_and_a_hot_column_or_block_is() -> None:
    rows, cols = np.indices(SHAPE)
    lit = (rows >= 20) & (rows < 27) & (cols >= 10) & (cols < 50)
    totals = np.random.default_rng(6).poisson(np.tile(np.where(lit, 100.0, 0.0).ravel(), (4, 1)))
    assert hot_pixels(pattern(totals), RINGS).size == 0
    hot = (cols == 55) | ((rows >= 40) & (rows < 43) & (cols >= 20) & (cols < 23))
    totals[:, hot.ravel()] += 1000
    np.testing.assert_array_equal(hot_pixels(pattern(totals), RINGS), np.flatnonzero(hot))


def test_pixels_in_a_shadow_never_count_and_dim_ones_do_not_pass_for_them() -> None:
    totals = photons(1.0)
    totals[:, [700, 701]] = 0
    assert silent_pixels(pattern(totals), RINGS).tolist() == [700, 701]
    assert silent_pixels(pattern(photons(0.01)), RINGS).size == 0


def test_the_gaps_of_a_detector_of_modules_are_masked(shared_data: Path) -> None:
    (first,) = (shared_data / "golden" / "rigaku3m").glob("*.bin.000")
    seen = read_pattern(first, 8)
    assert seen.masked[540, 100]
    assert seen.masked[100, 1050]
    assert not seen.masked[100, 100]
    assert np.isnan(seen.mean[540, 100])


def test_a_pattern_of_another_detector_or_of_too_few_frames_is_refused(tmp_path: Path) -> None:
    other = Pattern(np.zeros((4, 2, 2)), 4, np.zeros((2, 2), np.bool_))
    with pytest.raises(QmapError, match="the q-map"):
        hot_pixels(other, RINGS)
    write_nexus(tmp_path / "a.h5", SMALL, sparse_frames(42, 3))
    with pytest.raises(QmapError, match="3 frames are too few"):
        read_pattern(tmp_path / "a.h5", 100)
