from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from xpcs_assets.correlate.corrections import Corrections
from xpcs_assets.correlate.frames import Known
from xpcs_assets.correlate.stream import Stream
from xpcs_assets.correlate.timeline import Timeline
from xpcs_assets.engine.select import Selection
from xpcs_assets.readers.series import Chunk, Frames, SeriesInfo


class Gapped:
    """A series in memory, of which the reader knows some frames to be missing; counts how often it is read."""

    def __init__(self, counts: NDArray[Any], recorded: NDArray[np.bool_]) -> None:
        self.counts, self.recorded, self.n_read = counts, recorded, 0
        self.info = SeriesInfo("held", "frames", (2, 2), len(counts), "int32", (Path("held.h5"),))

    def chunks(self, begin: int, end: int, *, max_bytes: int = 1 << 20) -> Iterator[Chunk]:
        self.n_read += 1
        for low in range(begin, end, 7):
            rows = slice(low, min(low + 7, end))
            yield Frames(low, self.counts[rows], self.recorded[rows])

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...


COUNTS = np.full((40, 4), 100, np.int32)
COUNTS[20:24] = 10


def stream(begin: int = 2, end: int = 38, below: float = 0.0, slot: NDArray[np.int64] | None = None) -> Stream:
    recorded = np.ones(40, np.bool_)
    recorded[[0, 5, 6, 30]] = False
    valid = np.ones(end, np.bool_)
    valid[[5, 10]] = False
    timeline = Timeline.even(end) if slot is None else Timeline(slot)
    return Stream(
        series=Gapped(COUNTS, recorded),
        corrections=Corrections(),
        timeline=timeline,
        selection=Selection(int(timeline.slot[begin]), int(timeline.slot[end])),
        begin=begin,
        end=end,
        known=Known(valid, {"excluded": 2}),
        beam_dump_below=below,
        analysed=np.array([True, True, False, True]),
    )


def validity(of: Stream) -> NDArray[np.bool_]:
    chunks = list(of.chunks())
    assert chunks[0].begin == 0
    return np.concatenate([chunk.valid for chunk in chunks])


def test_a_frame_is_counted_for_one_reason_however_often_the_run_is_read() -> None:
    run = stream()
    expected = np.ones(36, bool)
    expected[np.array([5, 6, 10, 30]) - 2] = False
    for _ in range(3):
        assert np.array_equal(validity(run), expected)
        assert run.invalid == {"excluded": 2, "dropped": 2}


@pytest.mark.parametrize("below", [0.05, 0.5])
def test_a_look_at_the_intensity_takes_out_the_frames_of_a_beam_dump(below: float) -> None:
    run = stream(below=below)
    assert run.look() == 300
    assert run.invalid == {"excluded": 2, "dropped": 2} | ({"beam dump": 4} if below > 0.1 else {})
    dumped = validity(run)[18:22]
    assert dumped.tolist() == [below < 0.1] * 4
    assert run.invalid["dropped"] == 2


def test_gaps_in_the_time_stamps_are_dropped_frames_inside_the_analysed_range() -> None:
    slot = np.arange(39)
    slot[1:] += 3  # before the range
    slot[12:] += 2
    slot[35:] += 4
    run = stream(slot=slot)
    valid = validity(run)
    assert len(valid) == 36 + 6
    assert run.invalid == {"excluded": 2, "dropped": 6 + 2}
    assert np.count_nonzero(~valid) == 10
    assert not valid[10:12].any()


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(("stride", "average"), [(1, 1), (2, 1), (1, 3)])
def test_a_stream_goes_on_at_any_frame(stride: int, average: int, *, gaps: bool) -> None:
    slot = np.arange(39) + 3 * (np.arange(39) > 12) + (np.arange(39) > 13) if gaps else None
    run = stream(slot=slot)
    run.selection = replace(run.selection, stride=stride, average=average)
    whole = list(run.chunks())
    valid = np.concatenate([chunk.valid for chunk in whole])
    counts = np.concatenate([chunk.counts for chunk in whole if isinstance(chunk, Frames)])
    for first in range(run.selection.n_frames + 1):
        rest = list(stream_like(run).chunks(first))
        at = first
        for chunk in rest:
            assert isinstance(chunk, Frames)
            assert chunk.begin == at
            np.testing.assert_array_equal(chunk.valid, valid[chunk.begin : chunk.end])
            np.testing.assert_array_equal(chunk.counts[chunk.valid], counts[chunk.begin : chunk.end][chunk.valid])
            at = chunk.end
        assert at == run.selection.n_frames


def stream_like(run: Stream) -> Stream:
    return replace(run, series=Gapped(COUNTS, run.series.recorded))  # type: ignore[attr-defined]


@pytest.mark.parametrize("shorter", [12, 20, 31])
def test_what_a_shorter_run_found_is_not_counted_again(shorter: int) -> None:
    before, whole = stream(end=shorter), stream()
    before.known.valid[:] = whole.known.valid[:shorter]
    list(before.chunks())
    whole.go_on_after(before)
    list(whole.chunks(before.selection.n_frames))
    assert whole.invalid == {"excluded": 2, "dropped": 2}
