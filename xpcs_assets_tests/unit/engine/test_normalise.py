from __future__ import annotations

import numpy as np
import pytest

from xpcs_assets.engine.delays import make_plan
from xpcs_assets.engine.multitau import FramesCorrelator, Moments
from xpcs_assets.engine.normalise import normalise
from xpcs_assets.readers.series import Frames
from xpcs_assets_tests.unit.engine.reference import correlate, maps, partition_of


def moments_of(counts: np.ndarray, part) -> Moments:
    correlator = FramesCorrelator(make_plan(len(counts)), part)
    correlator.push(Frames(0, counts, np.ones(len(counts), bool)))
    return correlator.finish()


def test_by_the_rule_zero_an_empty_static_bin_enters_the_mean_as_0() -> None:
    part, dynamic, static = partition_of(*maps((8, 8), 2, 4, seed=1))
    counts = np.random.default_rng(1).poisson(2, (50, 64)).astype(np.int32)
    counts[:, static == 3] = 0
    moments = moments_of(counts, part)
    excluded, zero = normalise(moments), normalise(moments, "zero")
    expected = correlate(counts, np.ones(50), dynamic, static, zero=True)
    np.testing.assert_allclose(zero.g2, expected.g2, atol=1e-6)
    np.testing.assert_allclose(zero.error, expected.error, atol=1e-6)
    np.testing.assert_allclose(zero.g2[:, 0], 0.75 * excluded.g2[:, 0], atol=1e-12)
    assert zero.n_static_used[0].tolist() == [4, 4]


@pytest.mark.parametrize("rule", ["excluded", "zero"])
def test_a_dynamic_bin_without_counts_is_undefined_not_0(rule: str) -> None:
    part, _, static = partition_of(*maps((8, 8), 2, 2, seed=2))
    counts = np.random.default_rng(2).poisson(2, (50, 64)).astype(np.int32)
    counts[:, static > 2] = 0
    g2 = normalise(moments_of(counts, part), rule)  # type: ignore[arg-type]
    assert np.isnan(g2.g2[:, 1]).all()
    assert np.isnan(g2.error[:, 1]).all()
    assert np.isnan(g2.error_boost[:, 1]).all()
    assert not g2.n_static_used[:, 1].any()
    assert np.isfinite(g2.g2[:, 0]).all()


def test_static_bins_of_one_pixel_take_their_spread_from_the_others() -> None:
    dynamic = np.ones((1, 9), int)
    static = np.array([[1, 1, 1, 1, 2, 2, 2, 2, 3]])
    part, in_dynamic, in_static = partition_of(dynamic, static, np.ones((1, 9), bool))
    counts = np.random.default_rng(3).poisson(3, (64, 9)).astype(np.int32)
    g2 = normalise(moments_of(counts, part))
    np.testing.assert_allclose(g2.error, correlate(counts, np.ones(64), in_dynamic, in_static).error, atol=1e-9)


def test_where_every_pixel_is_its_own_static_bin_the_error_is_their_spread() -> None:
    part, _, _ = partition_of(np.ones((1, 6), int), np.arange(1, 7)[None, :], np.ones((1, 6), bool))
    g2 = normalise(moments_of(np.random.default_rng(4).poisson(3, (64, 6)).astype(np.int32), part))
    np.testing.assert_allclose(g2.error[:, 0], g2.static.std(axis=1, ddof=1) / np.sqrt(6), atol=1e-12)
    np.testing.assert_allclose(g2.error, g2.error_boost, atol=1e-6)


def test_the_error_of_a_single_pixel_is_infinite() -> None:
    part, _, _ = partition_of(np.ones((1, 1), int), np.ones((1, 1), int), np.ones((1, 1), bool))
    g2 = normalise(moments_of(np.random.default_rng(4).poisson(3, (64, 1)).astype(np.int32), part))
    assert np.isinf(g2.error).all()
    assert np.isfinite(g2.g2).all()


def test_where_no_pair_was_seen_the_error_is_that_of_one_pair() -> None:
    part, _, _ = partition_of(np.ones((1, 40), int), np.repeat([1, 2], 20)[None, :], np.ones((1, 40), bool))
    counts = np.zeros((64, 40), np.int32)
    counts[[10, 20, 30, 40]] = 1
    none = normalise(moments_of(counts, part))
    assert none.g2[0, 0] == 0
    expected = correlate(counts, np.ones(64), np.ones(40, int), np.repeat([1, 2], 20))
    np.testing.assert_allclose(none.error, expected.error, atol=1e-7)
    counts[11, 0] = 1
    one = normalise(moments_of(counts, part))
    assert one.g2[0, 0] > 0
    # The photon that makes the pair also adds 1 % to the mean of its static bin.
    assert none.error[0, 0] == pytest.approx(one.g2[0, 0], rel=0.05)
    assert none.error[0, 0] == pytest.approx(one.error[0, 0], rel=0.1)


def test_signed_counts_whose_pairs_cancel_keep_the_error_of_their_spread() -> None:
    part, _, _ = partition_of(np.ones((1, 40), int), np.repeat([1, 2], 20)[None, :], np.ones((1, 40), bool))
    # 1, -0.5, 1, -0.5, ...: the mean is above 0, and the product at an odd delay below.
    counts = np.where(np.arange(64)[:, None] % 2, -0.5, 1.0) + np.random.default_rng(5).normal(0, 0.1, (64, 40))
    moments = moments_of(counts.astype(np.float32), part)
    assert moments.sums[0, :, 0].max() < 0
    g2 = normalise(moments)
    expected = correlate(counts, np.ones(64), np.ones(40, int), np.repeat([1, 2], 20))
    np.testing.assert_allclose(g2.error[0], expected.error[0], rtol=1e-4)
