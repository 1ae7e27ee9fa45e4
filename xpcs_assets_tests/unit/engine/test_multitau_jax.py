from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest
from numpy.typing import NDArray

from xpcs_assets.engine.delays import make_plan
from xpcs_assets.engine.events_jax import JaxEventsCorrelator
from xpcs_assets.engine.multitau import FramesCorrelator
from xpcs_assets.engine.multitau_jax import JaxCorrelator, device_bytes_per_pixel, make_jax_correlator
from xpcs_assets.engine.normalise import normalise
from xpcs_assets.engine.pallas_frames import MAX_COUNT
from xpcs_assets.engine.partition import Partition
from xpcs_assets.readers.series import Frames
from xpcs_assets.runs.recipe import Scheme
from xpcs_assets_tests.unit.engine.reference import correlate, maps, partition_of

FUSED = partial(JaxCorrelator, kernel="pallas")
FLOAT64 = partial(JaxCorrelator, kernel="xla")
SIX = Partition.of([[1, 1, 1, 2, 2, 2]], [[1, 1, 2, 3, 3, 3]], np.ones((1, 6)))


def photons(n_frames: int, mean: float, seed: int) -> NDArray[np.int32]:
    return np.random.default_rng(seed).poisson(mean, (n_frames, 6)).astype(np.int32)


def same_as_the_cpu(
    form, counts: NDArray[np.generic], *, scheme: Scheme = "boost", delays_per_level: int = 4, size: int = 5000
) -> None:
    plan = make_plan(len(counts), delays_per_level, scheme)
    cpu, device = FramesCorrelator(plan, SIX), form(plan, SIX)
    for begin in range(0, len(counts), size):
        part = counts[begin : begin + size]
        valid = np.arange(begin, begin + len(part)) % 6007 != 6006
        cpu.push(Frames(begin, part, valid))
        device.push(Frames(begin, part, valid))
    expected, found = cpu.finish(), device.finish()
    np.testing.assert_allclose(found.sums, expected.sums, rtol=1e-12)
    assert found.n_pairs.tolist() == expected.n_pairs.tolist()
    assert found.n_pixels.tolist() == expected.n_pixels.tolist()


@pytest.mark.parametrize("form", [FUSED, FLOAT64, JaxEventsCorrelator])
def test_a_run_of_three_stages_gives_the_moments_of_the_cpu(form) -> None:
    same_as_the_cpu(form, photons(40_001, 0.3, seed=1))


@pytest.mark.parametrize("form", [FLOAT64, JaxEventsCorrelator, pytest.param(FUSED, marks=pytest.mark.long)])
def test_the_delays_of_scikit_beam_give_the_moments_of_the_cpu(form) -> None:
    same_as_the_cpu(form, photons(3000, 2.0, seed=2), scheme="skbeam")


@pytest.mark.parametrize("form", [FUSED, FLOAT64, JaxEventsCorrelator])
def test_a_single_delay_gives_the_moments_of_the_cpu(form) -> None:
    same_as_the_cpu(form, photons(2, 2.0, seed=7), scheme="skbeam", delays_per_level=1)


@pytest.mark.long
@pytest.mark.parametrize("form", [FUSED, FLOAT64, JaxEventsCorrelator])
def test_a_million_frames_give_the_moments_of_the_cpu(form) -> None:
    same_as_the_cpu(form, photons(1_000_003, 0.05, seed=3))


def test_large_counts_of_two_bytes_stay_exact_in_the_fused_kernel() -> None:
    counts = np.random.default_rng(8).integers(0, 1 << 15, (700, 6)).astype(np.int16)
    same_as_the_cpu(FUSED, counts)


def test_counts_that_outgrow_the_fused_kernel_stay_exact() -> None:
    counts = photons(700, 3.0, seed=4)
    counts[400:450, 1] += 3 * MAX_COUNT
    same_as_the_cpu(FUSED, counts, size=100)


def test_bytes_are_held_in_few_bits_until_larger_counts_come() -> None:
    counts = photons(900, 60.0, seed=8)
    correlator = FUSED(make_plan(900), SIX)
    correlator.push(Frames(0, counts[:600].astype(np.uint8), np.ones(600, bool)))
    assert correlator._stages[0].buffer.dtype == np.int16
    early = correlate(counts[:600], np.ones(600), [1, 1, 1, 2, 2, 2], [1, 1, 2, 3, 3, 3])
    np.testing.assert_allclose(normalise(correlator.finish()).g2[: len(early.g2)], early.g2, atol=1e-12)
    counts[700:] *= 300
    correlator.push(Frames(600, counts[600:].astype(np.uint16), np.ones(300, bool)))
    assert correlator._stages[0].buffer.dtype == np.int32
    reference = correlate(counts, np.ones(900), [1, 1, 1, 2, 2, 2], [1, 1, 2, 3, 3, 3])
    np.testing.assert_allclose(normalise(correlator.finish()).g2, reference.g2, atol=1e-12)


def test_floats_after_integers_are_taken_as_they_are() -> None:
    whole = photons(700, 3.0, seed=5)
    reference = correlate(
        np.concatenate([whole[:300], whole[300:] / 4]), np.ones(700), [1, 1, 1, 2, 2, 2], [1, 1, 2, 3, 3, 3]
    )
    correlator = FUSED(make_plan(700), SIX)
    correlator.push(Frames(0, whole[:300], np.ones(300, bool)))
    correlator.push(Frames(300, (whole[300:] / 4).astype(np.float32), np.ones(400, bool)))
    np.testing.assert_allclose(normalise(correlator.finish()).g2, reference.g2, atol=1e-12)


@pytest.mark.parametrize("form", [FUSED, FLOAT64])
def test_negative_floats_count_and_nan_drops_its_pixel(form) -> None:
    dynamic, static, mask = maps((6, 7), 2, 2, seed=6)
    part, _, _ = partition_of(dynamic, static, mask)
    counts = np.random.default_rng(6).normal(1.0, 0.8, (300, 42)).astype(np.float32)
    counts[17, part.pixel[4]] = np.nan
    correlator = form(make_plan(300), part)
    correlator.push(Frames(0, counts, np.ones(300, bool)))
    moments = correlator.finish()
    assert moments.n_saturated == 1
    mask.ravel()[part.pixel[4]] = False
    _, dynamic, static = partition_of(dynamic, static, mask)
    reference = correlate(np.nan_to_num(counts), np.ones(300), dynamic, static)
    np.testing.assert_allclose(normalise(moments).g2, reference.g2, rtol=1e-6)


def test_few_photons_go_the_way_of_events_on_a_gpu_too() -> None:
    plan = make_plan(100)
    assert isinstance(make_jax_correlator(plan, SIX, occupancy=0.001), JaxEventsCorrelator)
    assert isinstance(make_jax_correlator(plan, SIX, occupancy=0.9), JaxCorrelator)


def test_what_a_correlator_keeps_on_the_device_is_within_what_it_says() -> None:
    plan = make_plan(100_000)
    part = Partition.of(np.ones((16, 16), int), np.ones((16, 16), int), np.ones((16, 16)))
    correlator = FLOAT64(plan, part)
    held = [value for stage in correlator._stages for value in jax.tree.leaves(vars(stage)) if hasattr(value, "nbytes")]
    assert len(held) == 5 * len(correlator._stages)
    assert sum(array.nbytes for array in held) <= 256 * device_bytes_per_pixel(plan)


def test_few_programs_serve_every_number_of_frames() -> None:
    correlator = FLOAT64(make_plan(3000), SIX)
    before = None
    for n_frames in (1500, 1777, 2900):
        correlator = FLOAT64(make_plan(n_frames), SIX)
        correlator.push(Frames(0, photons(n_frames, 1.0, seed=7), np.ones(n_frames, bool)))
        correlator.finish()
        sizes = programs()
        assert before is None or sizes == before
        before = sizes


def programs() -> list[int]:
    from xpcs_assets.engine import blocks_jax, moments_jax

    return [
        program._cache_size()
        for program in (blocks_jax.correlate_block, blocks_jax.add_block, moments_jax._block_moments)
    ]
