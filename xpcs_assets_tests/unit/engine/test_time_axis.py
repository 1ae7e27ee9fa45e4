from __future__ import annotations

import numpy as np
import pytest

from xpcs_assets.engine.multitau import make_correlator
from xpcs_assets.engine.normalise import joined, normalise
from xpcs_assets.engine.select import Selection
from xpcs_assets.engine.time_axis import TimeAxis, burst_period, whole_bursts
from xpcs_assets.errors import CorrelationError
from xpcs_assets.runs.recipe import AnalysisSettings
from xpcs_assets_tests.unit.engine.reference import chunks, correlate, maps, partition_of

SETTINGS = AnalysisSettings()
SHAPE = (6, 8)


@pytest.mark.parametrize("kind", ["frames", "events"])
@pytest.mark.parametrize("size", [1, 7, 64, 1000])
@pytest.mark.parametrize(("n_bursts", "n_frames"), [(9, 5), (6, 33)])
def test_within_and_across_bursts_are_the_definition(kind: str, size: int, n_bursts: int, n_frames: int) -> None:
    random = np.random.default_rng(3)
    counts = random.poisson(1.5, (n_bursts * n_frames, SHAPE[0] * SHAPE[1])).astype(np.int32)
    valid = np.ones(len(counts), bool)
    valid[[3, n_frames + 1]] = False
    counts[3] = -1  # masked where it does not count
    partition, dynamic, static = partition_of(*maps(SHAPE, 2, 2, seed=4))
    axis = TimeAxis.of_bursts(n_bursts, n_frames, SETTINGS, 1e-3, 0.5)
    occupancy = 1.0 if kind == "frames" else 0.0
    correlator = axis.correlator(lambda plan: make_correlator(plan, partition, occupancy=occupancy), len(counts[0]))
    for chunk in chunks(counts, valid, size, kind):
        correlator.push(chunk)
    found = joined([normalise(moments) for moments in correlator.finish()])

    # Within: each burst at a power of 2 beyond twice its length, invalid time between.
    slots = 1 << (2 * n_frames - 1).bit_length()
    spread, sound = np.zeros((n_bursts * slots, counts.shape[1])), np.zeros(n_bursts * slots, bool)
    for burst in range(n_bursts):
        taken = slice(burst * n_frames, (burst + 1) * n_frames)
        spread[burst * slots :][:n_frames], sound[burst * slots :][:n_frames] = counts[taken], valid[taken]
    within = correlate(np.where(spread < 0, 0, spread), sound, dynamic, static)
    across = correlate(
        counts.reshape(n_bursts, n_frames, -1).sum(axis=1), valid.reshape(n_bursts, -1).all(axis=1), dynamic, static
    )
    n_within = int(np.count_nonzero(axis.delay_s < 0.5))
    assert axis.delay[:n_within].tolist() == within.delay[:n_within]
    np.testing.assert_allclose(axis.delay_s[n_within:], np.array(across.delay) * 0.5)
    assert axis.delay[n_within:].tolist() == [delay * 500 for delay in across.delay]
    np.testing.assert_allclose(found.g2[:n_within], within.g2[:n_within], atol=1e-9)
    np.testing.assert_allclose(found.g2[n_within:], across.g2, atol=1e-9)
    assert found.n_pairs.tolist() == within.n_pairs[:n_within] + across.n_pairs


def test_without_time_stamps_only_the_delays_within_bursts_are_known() -> None:
    axis = TimeAxis.of_bursts(9, 5, SETTINGS, 1e-3, None)
    assert axis.delay.tolist() == [1, 2, 3, 4]
    assert len(axis.plans) == 1


def test_the_period_of_bursts_is_the_median_from_first_frame_to_first_frame() -> None:
    time_s = (np.arange(30) % 10) * 1e-3 + np.repeat([0.0, 0.2, 0.4], 10)
    assert burst_period(time_s, 10) == pytest.approx(0.2)
    assert burst_period(time_s[:15], 10) is None
    assert burst_period(None, 10) is None


def test_an_incomplete_last_burst_is_left_out() -> None:
    selection, n_frames = whole_bursts(Selection(10, 57, 1, 2), 10)
    assert (selection.begin, selection.end, n_frames) == (10, 50, 5)


def test_bursts_begin_after_the_dark_frames() -> None:
    selection, _ = whole_bursts(Selection(3, 50, 1, 1), 10, 3)
    assert (selection.begin, selection.end) == (3, 43)
    with pytest.raises(CorrelationError, match="cut by begin 10"):
        whole_bursts(Selection(10, 50, 1, 1), 10, 3)


@pytest.mark.parametrize(("begin", "average"), [(5, 1), (0, 3)])
def test_groups_across_bursts_are_refused(begin: int, average: int) -> None:
    with pytest.raises(CorrelationError, match="bursts of 10 frames are cut"):
        whole_bursts(Selection(begin, 50, 1, average), 10)
