from __future__ import annotations

import pickle
from functools import partial
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from xpcs_assets.engine import multitau
from xpcs_assets.engine.delays import make_plan
from xpcs_assets.engine.events_jax import JaxEventsCorrelator
from xpcs_assets.engine.multitau import Correlator, EventsCorrelator, FramesCorrelator, make_correlator
from xpcs_assets.engine.multitau_jax import JaxCorrelator
from xpcs_assets.engine.normalise import G2, normalise
from xpcs_assets.engine.partition import Partition
from xpcs_assets.errors import CorrelationError
from xpcs_assets.readers.series import Events, Frames
from xpcs_assets_tests.unit.engine.reference import Reference, chunks, correlate, maps, partition_of

FORMS = {
    "frames": FramesCorrelator,
    "events": EventsCorrelator,
    "jax": JaxCorrelator,
    "pallas": partial(JaxCorrelator, kernel="pallas"),
    "jax events": JaxEventsCorrelator,
}
EXACT = 1e-6
SAME = 1e-7


def run(
    form: str,
    counts: NDArray[np.generic],
    part: Partition,
    *,
    valid: NDArray[np.bool_] | None = None,
    size: int = 1 << 30,
    kind: str = "",
) -> G2:
    valid = np.ones(len(counts), bool) if valid is None else valid
    correlator: Correlator = FORMS[form](make_plan(len(counts)), part)
    for chunk in chunks(counts, valid, size, kind or ("events" if "events" in form else "frames")):
        correlator.push(chunk)
    return normalise(correlator.finish())


def agrees(g2: G2, reference: Reference, tolerance: float = EXACT) -> None:
    np.testing.assert_allclose(g2.g2, reference.g2, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(g2.static, reference.static, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(g2.error, reference.error, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(g2.error_boost, reference.error_boost, rtol=1e-5, atol=1e-6)
    assert g2.n_pairs.tolist() == reference.n_pairs


def counts_of(n_frames: int, n_pixels: int, seed: int, mean: float = 0.6) -> NDArray[np.int32]:
    """Photons of pixels whose brightness differs and drifts, so that nothing cancels by luck."""
    random = np.random.default_rng(seed)
    brightness = random.gamma(4, 0.25, (1, n_pixels)) * (1 + 0.5 * np.sin(np.arange(n_frames) / 11.0))[:, None]
    return random.poisson(mean * brightness).astype(np.int32)


@pytest.mark.parametrize(("form", "n_frames"), list(product(FORMS, [2, 7, 8, 9, 257, 1025])))
def test_every_form_agrees_with_the_reference(form: str, n_frames: int) -> None:
    part, dynamic, static = partition_of(*maps((9, 12), 3, 3, seed=n_frames))
    counts = counts_of(n_frames, 108, seed=n_frames)
    agrees(run(form, counts, part), correlate(counts, np.ones(n_frames), dynamic, static))


@pytest.mark.parametrize(("form", "size"), list(product(FORMS, [1, 7, 64])))
def test_the_result_does_not_depend_on_the_chunks(form: str, size: int) -> None:
    part, _, _ = partition_of(*maps((6, 7), 2, 2, seed=4))
    counts = counts_of(257, 42, seed=4)
    valid = np.ones(257, bool)
    valid[[8, 200]] = False
    whole, cut = run(form, counts, part, valid=valid), run(form, counts, part, valid=valid, size=size)
    np.testing.assert_allclose(cut.g2, whole.g2, rtol=0, atol=SAME)
    np.testing.assert_allclose(cut.error, whole.error, rtol=0, atol=SAME)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("invalid", [[0], [256], [0, 1, 2, 77, 78, 200], list(range(100, 140)), list(range(1, 257, 2))])
def test_pairs_with_an_invalid_frame_do_not_count(form: str, invalid: list[int]) -> None:
    part, dynamic, static = partition_of(*maps((6, 7), 2, 2, seed=5))
    counts = counts_of(257, 42, seed=5)
    valid = np.ones(257, bool)
    valid[invalid] = False
    reference = correlate(counts, valid, dynamic, static)
    counts[~valid] = 12345  # what an invalid frame holds must not matter
    agrees(run(form, counts, part, valid=valid, size=50), reference)


@pytest.mark.parametrize("form", FORMS)
def test_recorded_empty_frames_are_valid_time(form: str) -> None:
    part, dynamic, static = partition_of(*maps((6, 7), 2, 2, seed=6))
    counts = counts_of(300, 42, seed=6)
    counts[100:180] = 0
    counts[290:] = 0
    agrees(run(form, counts, part, size=64), correlate(counts, np.ones(300), dynamic, static))


@pytest.mark.parametrize("form", FORMS)
def test_a_static_bin_without_counts_is_left_out_of_the_mean(form: str) -> None:
    part, dynamic, static = partition_of(*maps((8, 8), 2, 4, seed=7))
    counts = counts_of(100, 64, seed=7)
    counts[:, static == 2] = 0
    g2 = run(form, counts, part)
    agrees(g2, correlate(counts, np.ones(100), dynamic, static))
    assert g2.n_static_used[0].tolist() == [3, 4]
    assert np.isnan(g2.static[:, 1]).all()


@pytest.mark.parametrize("form", FORMS)
def test_one_photon_in_one_pixel_correlates_with_nothing(form: str) -> None:
    counts = np.zeros((40, 4), np.int32)
    counts[13, 2] = 1
    part = Partition.of([[1, 1, 1, 1]], [[1, 1, 1, 1]], np.ones((1, 4)))
    g2 = run(form, counts, part)
    agrees(g2, correlate(counts, np.ones(40), [1, 1, 1, 1], [1, 1, 1, 1]))
    assert np.nanmax(g2.g2) == 0


@pytest.mark.parametrize("form", FORMS)
def test_the_last_delay_with_one_pair_is_still_defined(form: str) -> None:
    part, dynamic, static = partition_of(*maps((6, 7), 2, 2, seed=8))
    counts = counts_of(9, 42, seed=8, mean=5)
    g2 = run(form, counts, part)
    assert g2.n_pairs[-1] == 1
    agrees(g2, correlate(counts, np.ones(9), dynamic, static))


@pytest.mark.parametrize("form", FORMS)
def test_a_bright_constant_gives_one_at_every_delay(form: str) -> None:
    counts = np.full((1025, 6), 60001, np.int32)
    part = Partition.of([[1, 1, 1, 2, 2, 2]], [[1, 1, 1, 2, 2, 2]], np.ones((1, 6)))
    g2 = run(form, counts, part)
    np.testing.assert_allclose(g2.g2, 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(g2.error, 0, atol=1e-7)


@pytest.mark.parametrize("form", FORMS)
def test_counts_up_to_65535_stay_exact(form: str) -> None:
    part, dynamic, static = partition_of(*maps((6, 7), 2, 2, seed=9))
    counts = np.random.default_rng(9).integers(0, 65536, (513, 42)).astype(np.int32)
    agrees(run(form, counts, part), correlate(counts, np.ones(513), dynamic, static))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int64, np.float32])
def test_every_type_of_counts_gives_the_same(dtype: type[np.generic]) -> None:
    part, dynamic, static = partition_of(*maps((6, 7), 2, 2, seed=10))
    counts = counts_of(64, 42, seed=10)
    agrees(run("frames", counts.astype(dtype), part), correlate(counts, np.ones(64), dynamic, static))


@pytest.mark.parametrize("form", ["frames", "jax", "pallas"])
def test_events_and_frames_are_the_same_to_the_dense_forms(form: str) -> None:
    part, dynamic, static = partition_of(*maps((6, 7), 2, 2, seed=11))
    counts = counts_of(200, 42, seed=11)
    reference = correlate(counts, np.ones(200), dynamic, static)
    agrees(run(form, counts, part, kind="events", size=33), reference)
    agrees(run("events", counts, part, kind="frames", size=33), reference)


@pytest.mark.parametrize(
    ("form", "kind"),
    [(form, kind) for form, kind in product(FORMS, ["frames", "events"]) if (form, kind) != ("events", "frames")],
)
def test_a_pixel_with_a_masked_count_is_dropped_and_counted(form: str, kind: str) -> None:
    dynamic, static, mask = maps((6, 7), 2, 2, seed=12)
    part, _, _ = partition_of(dynamic, static, mask)
    counts = counts_of(100, 42, seed=12)
    dropped, kept = part.pixel[[3, 10]], part.pixel[5]
    valid = np.ones(100, bool)
    valid[60] = False
    counts[[20, 50], dropped] = -1
    counts[60, kept] = -1  # in a frame that does not count
    correlator = FORMS[form](make_plan(100), part)
    for chunk in chunks(counts, valid, 32, kind):
        correlator.push(chunk)
    moments = correlator.finish()
    mask.ravel()[dropped] = False
    _, dynamic, static = partition_of(dynamic, static, mask)
    counts[counts < 0] = 0
    assert moments.n_saturated == 2
    agrees(normalise(moments), correlate(counts, valid, dynamic, static))


def test_several_events_of_one_pixel_in_one_frame_add_up() -> None:
    part = Partition.of([[1, 1]], [[1, 1]], np.ones((1, 2)))
    frame = np.array([0, 0, 0, 3, 5, 5], np.int64)
    pixel = np.array([0, 0, 1, 1, 0, 0], np.int32)
    count = np.array([1, 2, 1, 4, 1, 1], np.int32)
    dense = np.zeros((8, 2), np.int32)
    np.add.at(dense, (frame, pixel), count)
    for form in FORMS:
        correlator = FORMS[form](make_plan(8), part)
        correlator.push(Events(0, 8, frame, pixel, count, np.ones(8, bool)))
        agrees(normalise(correlator.finish()), correlate(dense, np.ones(8), [1, 1], [1, 1]))


@pytest.mark.parametrize("form", FORMS)
def test_finishing_early_leaves_the_state_to_go_on(form: str) -> None:
    part, dynamic, static = partition_of(*maps((6, 7), 2, 2, seed=13))
    counts = counts_of(300, 42, seed=13)
    correlator = FORMS[form](make_plan(300), part)
    correlator.push(Frames(0, counts[:130], np.ones(130, bool)))
    early = normalise(correlator.finish())
    correlator.push(Frames(130, counts[130:], np.ones(170, bool)))
    agrees(normalise(correlator.finish()), correlate(counts, np.ones(300), dynamic, static))
    short = correlate(counts[:130], np.ones(130), dynamic, static)
    np.testing.assert_allclose(early.g2[: len(short.g2)], short.g2, atol=EXACT)
    assert np.isnan(early.g2[len(short.g2) :]).all()


@pytest.mark.parametrize("form", FORMS)
def test_a_correlator_may_be_pickled_and_go_on_elsewhere(form: str) -> None:
    part, dynamic, static = partition_of(*maps((6, 7), 2, 2, seed=14))
    counts = counts_of(200, 42, seed=14)
    correlator = FORMS[form](make_plan(200), part)
    correlator.push(Frames(0, counts[:77], np.ones(77, bool)))
    resumed = pickle.loads(pickle.dumps(correlator))  # noqa: S301
    resumed.push(Frames(77, counts[77:], np.ones(123, bool)))
    agrees(normalise(resumed.finish()), correlate(counts, np.ones(200), dynamic, static))


@pytest.mark.parametrize("form", FORMS)
def test_parts_of_the_pixels_add_up_to_the_whole(form: str) -> None:
    part, dynamic, static = partition_of(*maps((6, 7), 2, 2, seed=15))
    counts = counts_of(100, 42, seed=15)
    total = None
    for piece in part.split(11):
        correlator = FORMS[form](make_plan(100), piece)
        correlator.push(Frames(0, counts, np.ones(100, bool)))
        total = correlator.finish() if total is None else total + correlator.finish()
    assert total is not None
    agrees(normalise(total), correlate(counts, np.ones(100), dynamic, static))


@pytest.mark.parametrize("form", FORMS)
def test_frames_out_of_order_or_beyond_the_plan_are_refused(form: str) -> None:
    part = Partition.of([[1, 1]], [[1, 1]], np.ones((1, 2)))
    correlator = FORMS[form](make_plan(10), part)
    with pytest.raises(CorrelationError, match="frames 3 to 5 were pushed where 0 was next"):
        correlator.push(Frames(3, np.ones((2, 2), np.int32), np.ones(2, bool)))
    with pytest.raises(CorrelationError, match="of 10"):
        correlator.push(Frames(0, np.ones((11, 2), np.int32), np.ones(11, bool)))


def test_few_photons_go_the_way_of_events_and_many_that_of_frames() -> None:
    part = Partition.of([[1, 1]], [[1, 1]], np.ones((1, 2)))
    plan = make_plan(10)
    assert isinstance(make_correlator(plan, part, occupancy=0.001), EventsCorrelator)
    assert isinstance(make_correlator(plan, part, occupancy=0.5), FramesCorrelator)
    assert isinstance(make_correlator(plan, part, occupancy=0.001, device="jax"), JaxEventsCorrelator)
    assert isinstance(make_correlator(plan, part, occupancy=0.001, form="frames"), FramesCorrelator)
    assert isinstance(make_correlator(plan, part, occupancy=0.5, form="events"), EventsCorrelator)
    assert isinstance(make_correlator(plan, part, occupancy=0.001, form="frames", device="jax"), JaxCorrelator)
    with pytest.raises(CorrelationError, match="no device 'tpu'"):
        make_correlator(plan, part, device="tpu")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    n_frames=st.integers(2, 300),
    size=st.integers(1, 80),
    mean=st.sampled_from([0.02, 0.5, 20.0]),
    invalid=st.floats(0, 0.4),
    seed=st.integers(0, 2**16),
)
def test_random_runs_agree_with_the_reference(n_frames: int, size: int, mean: float, invalid: float, seed: int) -> None:
    part, dynamic, static = partition_of(*maps((5, 8), 3, 2, seed=seed))
    counts = counts_of(n_frames, 40, seed, mean)
    valid = np.random.default_rng(seed).random(n_frames) >= invalid
    reference = correlate(counts, valid, dynamic, static)
    for form in ("frames", "events"):
        g2 = run(form, counts, part, valid=valid, size=size)
        # Bins of the highest numbers may have no pixel left.
        n_dynamic, n_static = reference.g2.shape[1], reference.static.shape[1]
        np.testing.assert_allclose(g2.g2[:, :n_dynamic], reference.g2, rtol=EXACT, atol=EXACT)
        np.testing.assert_allclose(g2.static[:, :n_static], reference.static, rtol=EXACT, atol=EXACT)


def test_memory_of_the_frames_form_is_what_it_says() -> None:
    plan = make_plan(1000)
    part = Partition.of(np.ones((50, 50), int), np.ones((50, 50), int), np.ones((50, 50)))
    engine = FramesCorrelator(plan, part)
    # An invalid frame takes the most: the sums IP are made of what they lack then.
    engine.push(Frames(0, np.ones((20, 2500), np.int32), np.arange(20) != 7))
    held = sum(value.nbytes for value in vars(engine).values() if isinstance(value, np.ndarray))
    assert 0.9 < held / (2500 * multitau.bytes_per_pixel(plan)) <= 1.05
