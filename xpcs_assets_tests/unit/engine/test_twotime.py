from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from xpcs_assets.engine import blas, twotime, twotime_products
from xpcs_assets.engine.partition import Partition
from xpcs_assets.engine.twotime import LAGS, TwoTime, TwotimeCorrelator
from xpcs_assets.engine.twotime_passes import bins_in_passes, bytes_needed
from xpcs_assets.errors import CorrelationError
from xpcs_assets_tests.unit.engine.reference import chunks, maps, partition_of
from xpcs_assets_tests.unit.engine.twotime_reference import g2_of, summed, two_time

EXACT = 5e-6
KINDS = ["frames", "events"]


def run(
    counts: NDArray[np.generic],
    part: Partition,
    *,
    valid: NDArray[np.bool_] | None = None,
    kind: str = "frames",
    size: int = 50,
    **options: object,
) -> TwoTime:
    valid = np.ones(len(counts), bool) if valid is None else valid
    correlator = TwotimeCorrelator(part, len(counts), **options)  # type: ignore[arg-type]
    for chunk in chunks(counts, valid, size, kind):
        correlator.push(chunk)
    return correlator.finish()


def speckle(n_frames: int, n_pixels: int, mean: float, seed: int) -> NDArray[np.int32]:
    """Counts of pixels that stay bright or dark for a while, so that C differs from 1."""
    random = np.random.default_rng(seed)
    slow = random.gamma(2, 0.5, (n_frames // 5 + 1, n_pixels)).repeat(5, axis=0)[:n_frames]
    return random.poisson(mean * slow).astype(np.int32)


def agrees(found: TwoTime, index: int, reference: NDArray[np.float64]) -> None:
    upper = np.triu_indices(len(reference))
    np.testing.assert_allclose(found.maps[index][upper], reference[upper], rtol=EXACT, atol=EXACT)
    assert not np.tril(found.maps[index], -1).any()
    np.testing.assert_allclose(found.g2[:, index], g2_of(reference), rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("smoothing", ["sqmap", "none"])
@pytest.mark.parametrize("mean", [0.003, 0.6, 20, 60_000])
def test_every_form_agrees_with_the_reference(kind: str, smoothing: str, mean: float) -> None:
    part, dynamic, static = partition_of(*maps((20, 30), 3, 3, seed=1))
    counts = speckle(157, 600, mean, seed=2)
    valid = np.ones(157, bool)
    valid[[0, 77, 78, 120]] = False
    found = run(counts, part, valid=valid, kind=kind, smoothing=smoothing)
    assert found.bins.tolist() == [1, 2, 3]
    for index, bin_ in enumerate(found.bins):
        agrees(found, index, two_time(counts, valid, dynamic, static, bin_, smoothing))


@pytest.mark.parametrize("kind", [*KINDS, "floats"])
def test_products_on_jax_s_device_agree_too(kind: str) -> None:
    part, dynamic, static = partition_of(*maps((20, 30), 2, 2, seed=4))
    counts = speckle(40, 600, 90.0, seed=5)
    exact = counts + 0.25 if kind == "floats" else counts
    valid = np.ones(40, bool)
    valid[7] = False
    found = run(exact, part, valid=valid, kind="frames" if kind == "floats" else kind, device="jax")
    for index, bin_ in enumerate(found.bins):
        agrees(found, index, two_time(exact, valid, dynamic, static, bin_))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(2, 40), st.integers(0, 10_000), st.sampled_from(KINDS), st.integers(1, 20))
def test_random_masks_partitions_and_gaps_agree_too(n_frames: int, seed: int, kind: str, size: int) -> None:
    random = np.random.default_rng(seed)
    n_dynamic, per = random.integers(1, 4, 2)
    dynamic, static, mask = maps((6, 7), int(n_dynamic), int(per), seed=seed)
    dynamic.flat[0] = static.flat[0] = mask.flat[0] = 1
    part, dynamic, static = partition_of(dynamic, static, mask)
    counts = random.poisson(random.choice([0.05, 1, 300]), (n_frames, 42)).astype(np.int32)
    valid = random.random(n_frames) > 0.2
    valid[:2] = True
    found = run(counts, part, valid=valid, kind=kind, size=size)
    for index, bin_ in enumerate(found.bins):
        agrees(found, index, two_time(counts, valid, dynamic, static, bin_))


def test_signed_detector_units_keep_their_sign() -> None:
    part, dynamic, static = partition_of(*maps((12, 12), 2, 2, seed=3))
    counts = (speckle(60, 144, 4, seed=3) * 37.25 + np.random.default_rng(4).normal(0, 30, (60, 144))).astype(
        np.float32
    )
    found = run(counts, part)
    for index, bin_ in enumerate(found.bins):
        agrees(found, index, two_time(counts, np.ones(60, bool), dynamic, static, bin_))


@pytest.mark.parametrize("kind", [*KINDS, "floats"])
def test_a_pixel_with_a_masked_count_is_left_out_altogether(kind: str) -> None:
    part, dynamic, static = partition_of(*maps((12, 12), 2, 2, seed=5))
    counts = speckle(60, 144, 5, seed=5)
    pixel = int(part.pixel[7])
    dynamic[pixel] = 0
    reference = two_time(counts, np.ones(60, bool), dynamic, static, 1)
    counts = counts.astype(np.float32) if kind == "floats" else counts
    counts[31, pixel] = np.nan if kind == "floats" else -1
    found = run(counts, part, kind="events" if kind == "events" else "frames")
    assert found.n_saturated == 1
    agrees(found, 0, reference)


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_invalid_frame_holds_does_not_matter(kind: str) -> None:
    part, _, _ = partition_of(*maps((12, 12), 2, 2, seed=6))
    counts = speckle(60, 144, 1, seed=6)
    valid = np.arange(60) != 20
    first = run(counts, part, valid=valid, kind=kind)
    counts[20] = np.arange(144) - 5
    second = run(counts, part, valid=valid, kind=kind)
    np.testing.assert_array_equal(first.maps, second.maps)
    assert np.isnan(first.maps[0][:21, 20]).all()
    assert np.isnan(first.maps[0][20, 20:]).all()
    assert first.n_pairs[1].tolist() == [57, 57]


def test_a_frame_without_a_photon_in_a_bin_is_undefined_there_and_no_zero() -> None:
    part = Partition.of([[1, 1, 2, 2]], [[1, 1, 2, 2]], np.ones((1, 4)))
    counts = np.ones((9, 4), np.int32)
    counts[3, :2] = 0
    found = run(counts, part)
    assert found.defined.sum(axis=1).tolist() == [8, 9]
    assert np.isnan(found.maps[0][3, 5])
    assert found.maps[1][3, 5] == pytest.approx(1)


@pytest.mark.parametrize(("empty_bins", "expected"), [("excluded", 1.0), ("zero", 1.5)])
def test_static_bins_without_any_count_enter_as_the_recipe_says(empty_bins: str, expected: float) -> None:
    part = Partition.of([[1] * 6], [[1, 1, 2, 2, 3, 3]], np.ones((1, 6)))
    counts = np.ones((5, 6), np.int32)
    counts[:, 4:] = 0
    assert run(counts, part, empty_bins=empty_bins).maps[0][1, 3] == pytest.approx(expected)


@pytest.mark.parametrize("smoothing", ["sqmap", "none"])
def test_the_error_of_g2_is_its_scatter_over_many_runs(smoothing: str) -> None:
    static = np.arange(400).reshape(20, 20) // 20 + 1
    part = Partition.of(np.ones((20, 20)), static, np.ones((20, 20)))
    runs = [run(speckle(40, 400, 2, seed), part, smoothing=smoothing) for seed in range(60)]
    scatter = np.std([one.g2[1:20, 0] for one in runs], axis=0, ddof=1)
    stated = np.sqrt(np.mean([one.error[1:20, 0] ** 2 for one in runs], axis=0))
    assert np.sqrt(np.mean((scatter / stated) ** 2)) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(
    ("smoothing", "mean", "flagged"), [("sqmap", 0.1, True), ("none", 0.1, False), ("sqmap", 1, False)]
)
def test_smoothing_by_the_mean_of_few_counts_is_flagged(smoothing: str, mean: float, *, flagged: bool) -> None:
    static = np.arange(100).reshape(10, 10) // 20 + 1
    found = run(
        speckle(40, 100, mean, 1), Partition.of(np.ones((10, 10)), static, np.ones((10, 10))), smoothing=smoothing
    )
    assert found.counts[0] == pytest.approx(20 * mean, rel=0.1)
    assert bool(found.flags()) == flagged
    assert not flagged or "--smooth none is advised (bins 1)" in found.flags()[0]


def test_one_static_bin_alone_tells_no_error() -> None:
    part = Partition.of([[1, 1]], [[1, 1]], np.ones((1, 2)))
    assert np.isinf(run(np.ones((5, 2), np.int32), part).error).all()


def test_segments_are_the_diagonal_means_of_five_stretches() -> None:
    part, dynamic, static = partition_of(*maps((12, 12), 2, 2, seed=7))
    counts = speckle(63, 144, 3, seed=7)
    found = run(counts, part)
    assert found.segments.shape == (12, 5, 2)
    reference = two_time(counts, np.ones(63, bool), dynamic, static, 2)
    np.testing.assert_allclose(found.segments[:, 3, 1], g2_of(reference[36:48, 36:48]), rtol=EXACT)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mean", [0.02, 30])
def test_levels_of_a_long_series_are_the_maps_of_summed_frames(
    kind: str, mean: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twotime, "MAP_FRAMES", 60)
    part, dynamic, static = partition_of(*maps((12, 15), 2, 2, seed=8))
    counts = speckle(531, 180, mean, seed=8)
    valid = np.ones(531, bool)
    valid[[10, 300, 301]] = False
    found = run(counts, part, valid=valid, kind=kind, whole_frames=500)
    assert [(level.width, level.first_lag) for level in found.levels] == [(1, 0)] + [
        (2**level, LAGS // 2) for level in range(1, 5)
    ]
    for level in found.levels:
        for index, bin_ in enumerate(found.bins):
            reference = two_time(*summed(counts, valid, level.width), dynamic, static, bin_)
            n, means = len(reference), g2_of(reference)
            for k in range(level.c2.shape[2]):
                lag = level.first_lag + k
                band = level.c2[index, :, k]
                np.testing.assert_allclose(band[: max(n - lag, 0)], np.diagonal(reference, lag), rtol=EXACT, atol=EXACT)
                assert np.isnan(band[max(n - lag, 0) :]).all()
                expected = means[lag] if lag < n else np.nan
                np.testing.assert_allclose(level.g2[k, index], expected, rtol=EXACT, atol=EXACT)
    assert found.width == 16
    agrees(found, 0, two_time(*summed(counts, valid, 16), dynamic, static, 1))


@pytest.mark.parametrize("cost", [0, 1e9])
@pytest.mark.parametrize("whole_frames", [300, 100])
def test_pairs_of_events_and_dense_products_give_the_same(
    cost: float, whole_frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, dynamic, static = partition_of(*maps((12, 15), 2, 2, seed=9))
    counts = speckle(200, 180, 0.3, seed=9)
    monkeypatch.setattr(twotime_products, "_PAIR_COST", cost)
    found = run(counts, part, kind="events", whole_frames=whole_frames)
    reference = two_time(counts, np.ones(200, bool), dynamic, static, 1)
    if whole_frames == 300:
        agrees(found, 0, reference)
    else:
        for lag in (0, 1, 63):
            np.testing.assert_allclose(
                found.levels[0].c2[0, : 200 - lag, lag], np.diagonal(reference, lag), rtol=EXACT, atol=EXACT
            )


def test_bins_done_apart_are_joined_to_the_same_result() -> None:
    part, _, _ = partition_of(*maps((12, 15), 3, 2, seed=10))
    counts = speckle(90, 180, 2, seed=10)
    whole = run(counts, part, whole_frames=50)
    joined = run(counts, part, bins=[1, 2], whole_frames=50) + run(counts, part, bins=[3], whole_frames=50)
    for name in ("bins", "maps", "defined", "g2", "error", "n_pairs", "segments", "counts"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    np.testing.assert_array_equal(joined.levels[1].c2, whole.levels[1].c2)
    np.testing.assert_array_equal(joined.levels[1].error, whole.levels[1].error)


def test_passes_stay_within_the_memory_and_hold_every_bin_once() -> None:
    part, _, _ = partition_of(*maps((60, 60), 5, 2, seed=11))
    per_bin = [int(np.count_nonzero(part.dynamic_of_static[part.static] == bin_)) for bin_ in range(5)]
    limit = bytes_needed(1000, max(per_bin) * 2, 5)
    passes = bins_in_passes(part, 1000, limit)
    assert [bin_ for one in passes for bin_ in one] == [1, 2, 3, 4, 5]
    assert len(passes) == 3
    assert all(bytes_needed(1000, sum(per_bin[bin_ - 1] for bin_ in one), 5) <= limit for one in passes)
    assert bins_in_passes(part, 1000, 1 << 40, bins=[4, 2]) == [(2, 4)]
    with pytest.raises(CorrelationError, match=r"needs .* GiB for bin 1 of 5"):
        bins_in_passes(part, 1000, 10_000_000)


def test_a_correlator_keeps_within_the_stated_memory() -> None:
    import tracemalloc

    part = Partition.of(np.ones((100, 100)), np.ones((100, 100)), np.ones((100, 100)))
    frames = speckle(40, 10_000, 2, seed=12)
    correlator = TwotimeCorrelator(part, 800)
    tracemalloc.start()
    for begin in range(0, 800, 40):
        (chunk,) = chunks(frames, np.ones(40, bool), 40, "frames")
        correlator.push(type(chunk)(begin, chunk.counts, chunk.valid))
    found = correlator.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.maps[0]) == 800
    assert peak < bytes_needed(800, 10_000, 1, count_bytes=1)


def test_products_leave_the_number_of_blas_threads_as_it_was() -> None:
    found = blas._openblas()
    if found is None:
        pytest.skip("numpy is not linked to OpenBLAS")
    before = found[0]()
    with blas.one_thread_a_product():
        assert found[0]() == 1
    assert found[0]() == before


@pytest.mark.parametrize(
    ("n_frames", "valid", "message"),
    [(1, [True], "1 frames make no pair"), (4, [True, False, False, False], "1 valid")],
)
def test_less_than_two_frames_are_refused(n_frames: int, valid: list[bool], message: str) -> None:
    part = Partition.of([[1, 1]], [[1, 1]], np.ones((1, 2)))
    with pytest.raises(CorrelationError, match=message):
        run(np.ones((n_frames, 2), np.int32), part, valid=np.array(valid))


def test_a_bin_without_pixels_and_frames_out_of_order_are_refused() -> None:
    part = Partition.of([[1, 1, 3]], [[1, 1, 2]], np.ones((1, 3)))
    assert TwotimeCorrelator(part, 5).bins == (1, 3)
    with pytest.raises(CorrelationError, match=r"bin 2 is chosen .* Choose among 1, 3"):
        TwotimeCorrelator(part, 5, bins=[2])
    correlator = TwotimeCorrelator(part, 5)
    (chunk,) = chunks(np.ones((2, 3), np.int32), np.ones(2, bool), 2, "frames")
    correlator.push(chunk)
    with pytest.raises(CorrelationError, match="where 2 was next of 5"):
        correlator.push(chunk)
