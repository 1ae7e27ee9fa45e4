from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers.dense import DenseSeries, detector_units, frames_in_time, usual_step
from xpcs_assets.readers.series import SeriesInfo
from xpcs_assets_tests.unit.readers.conftest import read_all


class Stack:
    """Frames in memory that remember what was asked for."""

    def __init__(self, frames: NDArray[np.uint16], layer: int) -> None:
        self.frames, self.layer = frames, layer
        self.asked: list[tuple[int, int]] = []

    def read(self, begin: int, end: int) -> NDArray[np.uint16]:
        self.asked.append((begin, end))
        return self.frames[begin:end]

    def close(self) -> None:
        self.asked.append((-1, -1))


def series(number: list[int] | None = None, layer: int = 1) -> tuple[DenseSeries, Stack]:
    stack = Stack(np.arange(12 * 6, dtype=np.uint16).reshape(12, 6), layer)
    in_time = None if number is None else np.array(number)
    n = 12 if number is None else number[-1] + 1
    valid = np.ones(n, np.bool_)
    if in_time is not None:
        valid = np.isin(np.arange(n), in_time)
    info = SeriesInfo("stack", "frames", (2, 3), n, "uint16", (Path("a.h5"),))
    return DenseSeries(stack, info, valid, number=in_time), stack


@pytest.mark.parametrize("max_bytes", [1, 100, 1 << 20])
@pytest.mark.parametrize("layer", [1, 5])
def test_frames_come_in_order_whatever_the_chunk_size(layer: int, max_bytes: int) -> None:
    opened, stack = series(layer=layer)
    counts, valid = read_all(opened, 1, 12, max_bytes=max_bytes)
    np.testing.assert_array_equal(counts, stack.frames[1:12])
    assert valid.all()


def test_a_chunk_ends_where_a_stored_layer_ends() -> None:
    opened, stack = series(layer=5)
    list(opened.chunks(2, 12, max_bytes=5 * 6 * 6))
    assert stack.asked == [(2, 5), (5, 10), (10, 12)]


@pytest.mark.parametrize("max_bytes", [1, 100, 1 << 20])
def test_frames_that_were_dropped_are_invalid_and_keep_their_place(max_bytes: int) -> None:
    number = [0, 1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 15]
    opened, stack = series(number)
    counts, valid = read_all(opened, 0, 16, max_bytes=max_bytes)
    np.testing.assert_array_equal(counts[number], stack.frames)
    assert np.flatnonzero(~valid).tolist() == [3, 4, 13, 14]
    assert not counts[~valid].any()


def test_frames_beyond_the_last_are_refused() -> None:
    opened, _ = series()
    with pytest.raises(RawDataError, match="the file holds 12"):
        list(opened.chunks(0, 13))


def test_leaving_closes_the_source() -> None:
    opened, stack = series()
    with opened:
        pass
    assert stack.asked == [(-1, -1)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 5, 65_535], np.uint16), [0, 5, np.nan]),
        (np.array([-7, 5, 2**31 - 1], np.int32), [-7, 5, np.float32(2**31 - 1)]),
        (np.array([-0.5, np.inf, np.nan], np.float64), [-0.5, np.nan, np.nan]),
    ],
)
def test_detector_units_are_signed_and_saturated_ones_are_none(
    values: NDArray[np.generic], expected: list[float]
) -> None:
    units = detector_units(values)
    assert units.dtype == np.float32
    np.testing.assert_array_equal(units, np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("counter", "expected"),
    [
        ([7, 8, 9], None),
        ([4, 4, 4], None),
        ([0, 2, 4], None),
        ([7, 8, 11], [0, 1, 4]),
        ([5], None),
        ([], None),
    ],
)
def test_a_counter_that_rises_with_gaps_tells_the_time(counter: list[int], expected: list[int] | None) -> None:
    found = frames_in_time(np.array(counter, np.int64), "a.h5")
    assert (None if found is None else found.tolist()) == expected


@pytest.mark.parametrize("counter", [[1, 2, 1], [1, 2, 2], [2**62, -(2**62)]])
def test_a_counter_that_goes_backwards_is_refused(counter: list[int]) -> None:
    with pytest.raises(RawDataError, match="comes after") as caught:
        frames_in_time(np.array(counter, np.int64), "a.h5:ids")
    assert caught.value.where.startswith("a.h5:ids, frame")


def test_a_counter_that_would_make_nearly_all_frames_missing_is_refused() -> None:
    with pytest.raises(RawDataError, match="it holds 2 frames"):
        frames_in_time(np.array([0, 2**40]), "a.h5")


@pytest.mark.parametrize(
    ("time_s", "step"),
    [
        ([0.0, 1.0, 2.0, 9.0, 10.0], 1.0),
        ([0.0, 1.0, np.nan, 3.0, 4.0], 1.0),
        ([0.0, 0.9, 2.0, 3.1, 4.0], 1.0),
        ([5.0], None),
        ([5.0, 5.0, 5.0], None),
        ([5.0, 4.0, 3.0], None),
        ([np.nan, np.nan], None),
    ],
)
def test_the_usual_step_is_the_mean_without_pauses(time_s: list[float], step: float | None) -> None:
    assert usual_step(np.array(time_s)) == (None if step is None else pytest.approx(step))
