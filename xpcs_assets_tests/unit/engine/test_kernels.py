"""What the compiled forms do with runs that the definition's short tests do not reach: long, sparse, bright, signed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from xpcs_assets.engine.delays import make_plan
from xpcs_assets.engine.multitau import Correlator, EventsCorrelator, FramesCorrelator, to_events
from xpcs_assets.engine.normalise import G2, normalise
from xpcs_assets.engine.partition import Partition
from xpcs_assets.readers.series import Events, Frames
from xpcs_assets_tests.unit.engine.reference import chunks, correlate, maps, partition_of

FORMS = {"frames": FramesCorrelator, "events": EventsCorrelator}
EXACT, SAME = 1e-6, 1e-7


def run(form: str, counts: NDArray[np.generic], part: Partition, valid: NDArray[np.bool_], size: int = 1 << 30) -> G2:
    correlator: Correlator = FORMS[form](make_plan(len(counts)), part)
    for chunk in chunks(counts, valid, size, form):
        correlator.push(chunk)
    return normalise(correlator.finish())


def sparse_counts(n_frames: int, n_pixels: int, seed: int) -> NDArray[np.int32]:
    """A few photons a pixel, from none to one in ten frames, some of them close together."""
    random = np.random.default_rng(seed)
    counts = random.poisson(10.0 ** random.uniform(-3.5, -1, n_pixels), (n_frames, n_pixels)).astype(np.int32)
    counts[1:] += counts[:-1] * (random.random((n_frames - 1, n_pixels)) < 0.3)
    counts[random.integers(0, n_frames, 20), random.integers(0, n_pixels, 20)] += 700
    return counts


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "dropped", [[], [0], [4098], [5, 6, 7, 2000, 2048], list(range(1000, 1100)), list(range(0, 4099, 3))]
)
def test_long_sparse_runs_agree_with_the_reference(form: str, dropped: list[int]) -> None:
    part, dynamic, static = partition_of(*maps((5, 8), 2, 2, seed=1))
    counts = sparse_counts(4099, 40, seed=len(dropped))
    counts[[0, 1, -2, -1], :10] = 1  # at the edges
    valid = np.ones(4099, bool)
    valid[dropped] = False
    reference = correlate(counts, valid, dynamic, static)
    g2 = run(form, counts, part, valid, size=1000)
    np.testing.assert_allclose(g2.g2, reference.g2, rtol=EXACT, atol=EXACT)
    np.testing.assert_allclose(g2.static, reference.static, rtol=EXACT, atol=EXACT)
    np.testing.assert_allclose(g2.error, reference.error, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(g2.error_boost, reference.error_boost, rtol=1e-5, atol=1e-6)
    assert g2.n_pairs.tolist() == reference.n_pairs


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("delays_per_level", [1, 2, 3, 8])
def test_any_number_of_delays_a_level_agrees_with_plain_sums(form: str, delays_per_level: int) -> None:
    counts = sparse_counts(700, 12, seed=delays_per_level)
    part = Partition.of(np.ones((1, 12), int), np.ones((1, 12), int), np.ones((1, 12)))
    plan = make_plan(700, delays_per_level)
    correlator = FORMS[form](plan, part)
    for chunk in chunks(counts, np.ones(700, bool), 300, form):
        correlator.push(chunk)
    g2 = normalise(correlator.finish()).g2[:, 0]
    for d, (level, lag) in enumerate(zip(plan.level.tolist(), plan.lag.tolist(), strict=True)):
        n = 700 >> level
        binned = counts[: n << level].reshape(n, -1, 12).sum(axis=1).astype(float)
        past, future = binned[:-lag], binned[lag:]
        expected = (past * future).mean() / (past.mean() * future.mean())
        assert g2[d] == pytest.approx(expected, abs=EXACT)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 7, 64])
def test_the_brightest_counts_do_not_depend_on_the_chunks(form: str, size: int) -> None:
    part, dynamic, static = partition_of(*maps((4, 5), 2, 2, seed=2))
    counts = np.random.default_rng(2).integers(60_000, 65_536, (1025, 20)).astype(np.int32)
    valid = np.ones(1025, bool)
    whole, cut = run(form, counts, part, valid), run(form, counts, part, valid, size)
    np.testing.assert_allclose(cut.g2, whole.g2, rtol=0, atol=SAME)
    np.testing.assert_allclose(cut.g2, correlate(counts, valid, dynamic, static).g2, rtol=EXACT, atol=EXACT)


def test_an_event_may_count_more_than_24_bits() -> None:
    part = Partition.of([[1, 1]], [[1, 1]], np.ones((1, 2)))
    counts = np.random.default_rng(3).integers(0, 2**31 - 1, (40, 2)).astype(np.int32)
    counts[0] = [2**24 - 1, 2**25 - 2]
    g2 = run("events", counts, part, np.ones(40, bool))
    np.testing.assert_allclose(g2.g2, correlate(counts, np.ones(40), [1, 1], [1, 1]).g2, rtol=EXACT)


def test_negative_floats_are_values_and_nan_drops_its_pixel() -> None:
    dynamic, static, mask = maps((6, 7), 2, 2, seed=4)
    part, _, _ = partition_of(dynamic, static, mask)
    counts = np.random.default_rng(4).normal(2.0, 3.0, (300, 42)).astype(np.float32)
    valid = np.ones(300, bool)
    valid[[7, 8, 150]] = False
    dropped = part.pixel[5]
    counts[20, dropped] = np.nan
    counts[7, part.pixel[6]] = np.nan  # in a frame that does not count
    mask.ravel()[dropped] = False
    _, dynamic, static = partition_of(dynamic, static, mask)
    reference = correlate(np.nan_to_num(counts), valid, dynamic, static)
    correlator = FramesCorrelator(make_plan(300), part)
    for chunk in chunks(counts, valid, 130, "frames"):
        correlator.push(chunk)
    moments = correlator.finish()
    assert (counts < 0).mean() > 0.2
    assert moments.n_saturated == 1
    np.testing.assert_allclose(normalise(moments).g2, reference.g2, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_unsigned_counts_are_taken_as_they_are_up_to_the_largest(dtype: type[np.unsignedinteger]) -> None:
    part, dynamic, static = partition_of(*maps((4, 5), 2, 2, seed=5))
    counts = np.random.default_rng(5).integers(0, np.iinfo(dtype).max + 1, (70, 20)).astype(dtype)
    counts[3] = np.iinfo(dtype).max
    g2 = run("frames", counts, part, np.ones(70, bool))
    np.testing.assert_allclose(g2.g2, correlate(counts, np.ones(70), dynamic, static).g2, rtol=EXACT)


@pytest.mark.parametrize("form", ["frames", "events"])
def test_counts_of_two_bytes_are_as_those_of_four_and_masked_below_0(form: str) -> None:
    part, _, _ = partition_of(*maps((4, 5), 2, 2, seed=5))
    counts = np.random.default_rng(7).integers(0, 1 << 15, (70, 20)).astype(np.int32)
    counts[5, 3] = -1
    wide, narrow = (run(form, counts.astype(dtype), part, np.ones(70, bool)).g2 for dtype in (np.int32, np.int16))
    np.testing.assert_array_equal(wide, narrow)


@pytest.mark.parametrize("form", FORMS)
def test_the_result_does_not_depend_on_the_number_of_threads(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(6)
    part = Partition.of(np.ones((80, 90), int), random.integers(1, 4, (80, 90)), np.ones((80, 90)))
    counts = random.poisson(0.4, (60, 7200)).astype(np.int32)
    found = []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
        found.append(run(form, counts, part, np.ones(60, bool)))
    for other in found[1:]:
        np.testing.assert_array_equal(other.g2, found[0].g2)
        np.testing.assert_array_equal(other.error, found[0].error)


def test_frames_become_events_of_what_is_not_zero() -> None:
    counts = np.array([[0, 3, 0], [-1, 0, 70_000]], np.int32)
    events = to_events(Frames(5, counts, np.array([True, False])))
    assert (events.begin, events.end, events.valid.tolist()) == (5, 7, [True, False])
    assert list(zip(events.frame.tolist(), events.pixel.tolist(), events.count.tolist(), strict=True)) == [
        (5, 1, 3),
        (6, 0, -1),
        (6, 2, 70_000),
    ]


def test_a_masked_float_becomes_a_masked_event() -> None:
    counts = np.array([[0, np.nan, 2]], np.float32)
    assert to_events(Frames(0, counts, np.ones(1, np.bool_))).count.tolist() == [-1, 2]


@pytest.mark.parametrize("form", FORMS)
def test_a_million_frames_of_a_bright_constant_give_one(form: str) -> None:
    n_frames = 1_000_000
    part = Partition.of([[1, 1]], [[1, 2]], np.ones((1, 2)))
    correlator = FORMS[form](make_plan(n_frames), part)
    for begin in range(0, n_frames, 50_000):
        counts = np.full((50_000, 2), 60_001, np.int32)
        correlator.push(Frames(begin, counts, np.ones(50_000, bool)))
    np.testing.assert_allclose(normalise(correlator.finish()).g2, 1, rtol=0, atol=EXACT)


def test_a_million_frames_of_few_photons_agree_with_the_reference() -> None:
    n_frames = 1_000_000
    part = Partition.of([[1, 1, 1]], [[1, 2, 2]], np.ones((1, 3)))
    random = np.random.default_rng(7)
    counts = random.poisson([1e-4, 1e-2, 0.3], (n_frames, 3)).astype(np.int32)
    valid = np.ones(n_frames, bool)
    reference = correlate(counts, valid, [1, 1, 1], [1, 2, 2])
    for form in FORMS:
        g2 = run(form, counts, part, valid, 1 << 18)
        np.testing.assert_allclose(g2.g2, reference.g2, rtol=EXACT, atol=EXACT)
        np.testing.assert_allclose(g2.static, reference.static, rtol=EXACT, atol=EXACT)


def test_events_of_invalid_frames_count_in_no_sum() -> None:
    part = Partition.of([[1, 1]], [[1, 1]], np.ones((1, 2)))
    frame = np.array([0, 1, 2, 3], np.int64)
    pixel, count = np.array([0, 0, 1, 0], np.int32), np.array([2, 9, 9, 4], np.int32)
    correlator = EventsCorrelator(make_plan(4), part)
    correlator.push(Events(0, 4, frame, pixel, count, np.array([True, False, False, True])))
    assert normalise(correlator.finish()).g2[2, 0] == pytest.approx(2)  # 2 * 4 / 2 pixels over means of 1 and 2
