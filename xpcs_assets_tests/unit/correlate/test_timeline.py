from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpcs_assets.correlate.timeline import Timeline
from xpcs_assets.readers.series import Events, Frames
from xpcs_assets_tests.unit.engine.reference import chunks

STEP_S = 1e-3


def stamps(slots: np.ndarray, jitter: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(1)
    return np.asarray(5.0 + STEP_S * (slots + jitter * random.standard_normal(len(slots))))


@given(st.sets(st.integers(0, 199), min_size=150, max_size=199), st.sampled_from([0.0, 0.02]))
def test_dropped_frames_are_found_by_their_time_stamps(kept: set[int], jitter: float) -> None:
    slots = np.array(sorted(kept))
    timeline = Timeline.of(stamps(slots, jitter), len(slots), STEP_S)
    assert np.array_equal(timeline.slot[:-1], slots - slots[0])
    assert timeline.n_dropped == slots[-1] - slots[0] + 1 - len(slots)


def test_a_frame_that_was_only_late_is_no_gap() -> None:
    time_s = stamps(np.arange(50))
    time_s[20] += 0.7 * STEP_S
    timeline = Timeline.of(time_s, 50, STEP_S)
    assert timeline.n_dropped == 0
    (flag,) = timeline.flags
    assert flag.startswith("the time stamps jitter by 14")


def test_a_frame_time_that_is_not_the_metadatas_is_flagged() -> None:
    assert Timeline.of(stamps(np.arange(50)), 50, STEP_S).flags == ()
    (flag,) = Timeline.of(stamps(np.arange(50)), 50, 1.05 * STEP_S).flags
    assert "0.001 s apart by their time stamps, 0.00105 s by the metadata" in flag


@pytest.mark.parametrize(
    "time_s",
    [
        stamps(np.arange(60) + 100 * (np.arange(60) // 10)),
        stamps(np.arange(60), jitter=0.4),
        np.zeros(60),
    ],
    ids=["bursts", "noise", "no clock"],
)
def test_stamps_that_tell_nothing_are_not_used_and_that_is_said(time_s: np.ndarray) -> None:
    timeline = Timeline.of(time_s, 60, STEP_S)
    assert timeline.n_dropped == 0
    assert "were not used" in timeline.flags[0]


def test_a_pause_after_the_dark_frames_is_no_gap() -> None:
    time_s = stamps(np.arange(40))
    time_s[10:] += 5.0
    assert Timeline.of(time_s, 40, STEP_S).flags != ()
    timeline = Timeline.of(time_s, 40, STEP_S, begin=10)
    assert (timeline.n_dropped, timeline.flags) == (0, ())


def test_frames_without_a_stamp_lie_where_the_reader_put_them() -> None:
    time_s = stamps(np.arange(20))
    time_s[7] = np.nan
    assert Timeline.of(time_s, 20, STEP_S).n_dropped == 0
    # One more was dropped beside the one that is known.
    time_s[8:] += STEP_S
    slots = Timeline.of(time_s, 20, STEP_S).slot
    assert slots[[6, 8, 20]].tolist() == [6, 9, 21]


@pytest.mark.parametrize("kind", ["frames", "events"])
@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("end", [12, 23])
def test_gaps_come_as_invalid_frames(kind: str, size: int, end: int) -> None:
    slot = np.array([0, 1, 2, 6, 7, 10, 11, 12, 13, 14, 20, 22])
    counts = np.random.default_rng(2).poisson(1.0, (len(slot), 5)).astype(np.int32) + 1
    timeline = Timeline(np.append(slot, 23))
    placed = list(timeline.apply(chunks(counts, np.ones(len(slot), bool), size, kind), end))
    assert placed[0].begin == 0
    assert [chunk.begin for chunk in placed[1:]] == [chunk.end for chunk in placed[:-1]]
    assert placed[-1].end == end
    dense, valid = np.zeros((end, 5), np.int32), np.zeros(end, bool)
    for chunk in placed:
        valid[chunk.begin : chunk.end] = chunk.valid
        if isinstance(chunk, Events):
            np.add.at(dense, (chunk.frame, chunk.pixel), chunk.count)
        else:
            assert isinstance(chunk, Frames)
            dense[chunk.begin : chunk.end] = chunk.counts
    kept = slot < end
    assert np.flatnonzero(valid).tolist() == slot[kept].tolist()
    assert np.array_equal(dense[slot[kept]], counts[kept])
    assert dense.sum() == counts[kept].sum()
