from __future__ import annotations

import numpy as np
import pytest

from xpcs_assets.readers.chunks import events_once, signed_counts
from xpcs_assets.readers.series import Events


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2", np.int16, np.int64])
def test_the_largest_value_of_a_type_is_no_count(dtype: str) -> None:
    top = np.iinfo(np.dtype(dtype)).max
    counts = signed_counts(np.array([[0, 1, 100, top]], dtype))
    assert counts.dtype in (np.int16, np.int32)
    assert counts.tolist() == [[0, 1, 100, -1]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_small_unsigned_value_keeps_its_number(dtype: type[np.unsignedinteger]) -> None:
    every = np.arange(np.iinfo(dtype).max + 1)
    expected = np.where(every == every[-1], -1, every)
    np.testing.assert_array_equal(signed_counts(every.astype(dtype)), expected)
    np.testing.assert_array_equal(signed_counts(every[:128].astype(dtype)), every[:128])


def test_uint16_whose_counts_fit_into_int16_are_not_copied() -> None:
    values = np.array([0, 2**15 - 1, 2**16 - 1], np.uint16)
    assert np.shares_memory(signed_counts(values), values)
    assert signed_counts(values).tolist() == [0, 2**15 - 1, -1]
    assert signed_counts(np.array([2**15], np.uint16)).tolist() == [2**15]
    assert signed_counts(np.array([], np.uint16)).size == 0


def test_uint32_beyond_int32_is_no_count() -> None:
    counts = signed_counts(np.array([5, 2**31 - 1, 2**31, 2**32 - 1], np.uint32))
    assert counts[:2].tolist() == [5, 2**31 - 1]
    assert (counts[2:] < 0).all()


def test_floats_keep_their_sign_and_what_is_not_finite_becomes_nan() -> None:
    counts = signed_counts(np.array([-2.5, 0.0, np.inf, -np.inf, np.nan]))
    assert counts.dtype == np.float32
    np.testing.assert_array_equal(counts, np.array([-2.5, 0, np.nan, np.nan, np.nan], np.float32))


def test_repeats_are_summed_and_a_masked_or_overflowing_sum_is_masked() -> None:
    frame = np.array([0, 0, 0, 0, 1, 1, 1, 1], np.int64)
    pixel = np.array([4, 2, 4, 4, 2, 2, 3, 3], np.int32)
    count = np.array([1, 5, 2, 3, 4, -1, 2**31 - 1, 1], np.int32)
    chunk, n_repeated = events_once(Events(0, 2, frame, pixel, count, np.ones(2, bool)), 5, "a.imm")
    assert n_repeated == 4
    assert list(zip(chunk.frame.tolist(), chunk.pixel.tolist(), chunk.count.tolist(), strict=True)) == [
        (0, 4, 6),
        (0, 2, 5),
        (1, 2, -1),
        (1, 3, -1),
    ]
    assert count.tolist()[:3] == [1, 5, 2]  # the reader's arrays stay
