from __future__ import annotations

import numpy as np
import pytest

from xpcs_assets.engine.saxs import ScatteringSums
from xpcs_assets_tests.unit.engine.reference import chunks, maps, partition_of


@pytest.mark.parametrize("kind", ["frames", "events"])
@pytest.mark.parametrize("size", [1, 7, 200])
def test_means_are_those_of_the_valid_frames(kind: str, size: int) -> None:
    part, _, static = partition_of(*maps((6, 9), 2, 3, seed=1))
    random = np.random.default_rng(1)
    counts = random.poisson(1.5, (103, 54)).astype(np.int32)
    valid = random.random(103) > 0.2
    sums = ScatteringSums(part, 103, average=2)
    for chunk in chunks(counts, valid, size, kind):
        sums.push(chunk)
    found = sums.finish()
    np.testing.assert_allclose(found.pattern.ravel(), counts[valid].mean(axis=0) / 2)
    for s in np.unique(static[static > 0]):
        np.testing.assert_allclose(found.static[s - 1], counts[valid][:, static == s].mean() / 2)
        for k in range(10):
            stretch = slice(103 * k // 10, 103 * (k + 1) // 10)
            mean = counts[stretch][valid[stretch]][:, static == s].mean() / 2
            np.testing.assert_allclose(found.segments[k, s - 1], mean)
    np.testing.assert_allclose(found.intensity[valid], counts[valid][:, static > 0].mean(axis=1) / 2)
    assert np.isnan(found.intensity[~valid]).all()


@pytest.mark.parametrize("kind", ["frames", "events"])
def test_a_pixel_with_a_masked_count_is_in_no_mean(kind: str) -> None:
    part, _, static = partition_of(*maps((6, 9), 2, 3, seed=2))
    counts = np.random.default_rng(2).poisson(1.5, (40, 54)).astype(np.int32)
    bad = part.pixel[4]
    counts[30, bad] = -1
    sums = ScatteringSums(part, 40)
    for chunk in chunks(counts, np.ones(40, bool), 9, kind):
        sums.push(chunk)
    found = sums.finish()
    others = (static == static[bad]) & (np.arange(54) != bad)
    np.testing.assert_allclose(found.static[static[bad] - 1], counts[:, others].mean())
    np.testing.assert_allclose(found.segments[0, static[bad] - 1], counts[:4, others].mean())
    assert np.isnan(found.pattern.ravel()[bad])


def test_a_static_bin_without_pixels_has_no_mean() -> None:
    part, _, _ = partition_of(np.ones((2, 2), int), np.array([[1, 1], [3, 3]]), np.ones((2, 2), bool))
    sums = ScatteringSums(part, 3)
    for chunk in chunks(np.ones((3, 4), np.int32), np.ones(3, bool), 3, "frames"):
        sums.push(chunk)
    found = sums.finish()
    assert found.static.tolist()[::2] == [1, 1]
    assert np.isnan(found.static[1])
    assert found.segments.shape == (3, 3)


def test_negative_floats_enter_the_means_and_nan_drops_its_pixel() -> None:
    part, _, static = partition_of(*maps((6, 9), 2, 3, seed=3))
    counts = np.random.default_rng(3).normal(0.5, 2.0, (40, 54)).astype(np.float32)
    bad = part.pixel[4]
    counts[30, bad] = np.nan
    sums = ScatteringSums(part, 40)
    for chunk in chunks(counts, np.ones(40, bool), 9, "frames"):
        sums.push(chunk)
    found = sums.finish()
    others = np.arange(54) != bad
    np.testing.assert_allclose(found.pattern.ravel()[others], counts[:, others].mean(axis=0, dtype=float), rtol=1e-6)
    assert np.isnan(found.pattern.ravel()[bad])
    inside = np.nan_to_num(counts[:, static > 0]).mean(axis=1, dtype=float)
    np.testing.assert_allclose(found.intensity, inside, rtol=1e-5)


def test_the_means_of_events_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    part, _, _ = partition_of(*maps((30, 40), 2, 3, seed=4))
    counts = np.random.default_rng(4).poisson(0.5, (50, 1200)).astype(np.int32)
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
        sums = ScatteringSums(part, 50)
        for chunk in chunks(counts, np.ones(50, bool), 20, "events"):
            sums.push(chunk)
        found.append(sums.finish())
    np.testing.assert_array_equal(found[0].pattern, found[1].pattern)
    np.testing.assert_array_equal(found[0].segments, found[1].segments)
    np.testing.assert_array_equal(found[0].intensity, found[1].intensity)
