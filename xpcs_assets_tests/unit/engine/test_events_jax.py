from __future__ import annotations

import numpy as np
import pytest

from xpcs_assets.engine import events_jax
from xpcs_assets.engine.delays import make_plan
from xpcs_assets.engine.events_jax import JaxEventsCorrelator, ladder
from xpcs_assets.engine.multitau import EventsCorrelator
from xpcs_assets.engine.partition import Partition
from xpcs_assets.readers.series import Events


def events_of(n_frames: int, n_pixels: int, n: int, seed: int) -> Events:
    random = np.random.default_rng(seed)
    at = np.sort(random.choice(n_frames * n_pixels, n, replace=False))
    count = random.integers(1, 4, n).astype(np.int32)
    valid = random.random(n_frames) > 0.001
    return Events(0, n_frames, at // n_pixels, (at % n_pixels).astype(np.int32), count, valid)


def partition_of(n_pixels: int) -> Partition:
    static = np.arange(n_pixels)[None, :] * 8 // n_pixels
    return Partition.of(static // 2 + 1, static + 1, np.ones_like(static))


def test_a_sparse_run_gives_the_moments_of_the_cpu_where_the_arrays_shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    events, part, plan = events_of(30_000, 300, 90_000, seed=1), partition_of(300), make_plan(30_000)
    cpu, device = EventsCorrelator(plan, part), JaxEventsCorrelator(plan, part)
    cpu.push(events)
    device.push(events)
    lengths, shrunk = [], events_jax._shrunk

    def noted(arrays: events_jax.EventArrays, n_used: int) -> events_jax.EventArrays:
        lengths.append(len(arrays[0]))
        return shrunk(arrays, n_used)

    monkeypatch.setattr(events_jax, "_shrunk", noted)
    found = device.finish()
    np.testing.assert_allclose(found.sums, cpu.finish().sums, rtol=1e-12)
    assert lengths[0] > 3 * lengths[-1]
    assert len(set(lengths)) <= 3


def test_a_run_without_events_is_empty_and_not_an_error() -> None:
    part, nothing = partition_of(300), np.zeros(0, np.int32)
    correlator = JaxEventsCorrelator(make_plan(50), part)
    correlator.push(Events(0, 50, nothing.astype(np.int64), nothing, nothing, np.ones(50, bool)))
    moments = correlator.finish()
    assert not moments.sums.any()
    assert moments.n_pixels.sum() == 300


def test_arrays_have_few_lengths_and_waste_little() -> None:
    sizes = np.unique(np.geomspace(1, 1e9, 500).astype(int))
    lengths = np.array([ladder(n) for n in sizes])
    assert (lengths >= sizes).all()
    assert (lengths <= np.maximum(1.26 * sizes, events_jax._SHORTEST)).all()
    assert len(set(lengths)) < 60
