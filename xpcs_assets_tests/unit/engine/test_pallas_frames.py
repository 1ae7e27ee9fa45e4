from __future__ import annotations

import jax
import numpy as np
import pytest
from numpy.typing import NDArray

from xpcs_assets.engine.pallas_frames import (
    LEVELS,
    MAX_COUNT,
    PIXELS,
    ROWS,
    correlate_block,
    join_words,
    n_plain_levels,
)

REACH = 8
LAGS = (tuple(range(1, 9)), *((5, 6, 7, 8),) * (LEVELS - 1))


def block(dtype: type[np.generic], peak: int, seed: int = 0) -> tuple[NDArray[np.generic], ...]:
    """A window, the histories of the upper levels, and which frames of these count, some not."""
    random = np.random.default_rng(seed)
    window = random.integers(0, peak + 1, (REACH + ROWS, PIXELS)).astype(dtype)
    window[100:140, :7] = peak
    history = np.stack([random.integers(0, (peak << level) + 1, (REACH, PIXELS)) for level in range(1, LEVELS)])
    keep = random.random((LEVELS, ROWS // 2)) > 0.2
    return window, history.astype(dtype), keep.astype(np.int32)


def agrees_with_whole_numbers(dtype: type[np.generic], peak: int) -> None:
    window, history, keep = block(dtype, peak)
    total, words, windows, coming = correlate_block(
        window, history, keep, lags=LAGS, n_plain=n_plain_levels(peak), interpret=jax.default_backend() != "gpu"
    )
    rows = window.astype(object)
    for level in range(LEVELS):
        new = rows[REACH:]
        assert (np.asarray(total[level]) == new.sum(axis=0)).all()
        with jax.enable_x64(True):  # noqa: FBT003
            products = np.asarray(join_words(words[level]))
        for row, lag in enumerate(LAGS[level]):
            expected = (new * rows[REACH - lag : len(rows) - lag]).sum(axis=0).astype(np.float64)
            assert (products[row] == expected).all()
        half = (new[0::2] + new[1::2]) * keep[level, : len(new) // 2, None]
        if level + 1 < LEVELS:
            rows = np.concatenate([history[level].astype(object), half])
            assert (np.asarray(windows[level]) == rows).all()
    assert (np.asarray(coming) == half).all()


def test_counts_of_a_dim_run_give_the_sums_of_whole_numbers() -> None:
    assert n_plain_levels(255) == LEVELS
    agrees_with_whole_numbers(np.int16, 255)


def test_the_largest_counts_that_fit_give_the_sums_of_whole_numbers() -> None:
    assert n_plain_levels(MAX_COUNT) == 0
    agrees_with_whole_numbers(np.int32, MAX_COUNT)


@pytest.mark.long
@pytest.mark.parametrize(("dtype", "peak"), [(np.int32, 255), (np.int32, 2047), (np.int32, 65535)])
def test_other_types_and_counts_give_the_sums_of_whole_numbers(dtype: type[np.generic], peak: int) -> None:
    agrees_with_whole_numbers(dtype, peak)


def test_fewer_levels_go_without_splitting_the_brighter_the_counts() -> None:
    assert [n_plain_levels(peak) for peak in (0, 255, 256, 2047, 2048, MAX_COUNT)] == [6, 6, 3, 3, 0, 0]


def test_the_largest_count_still_fits_at_the_last_level() -> None:
    assert MAX_COUNT << LEVELS - 1 < 1 << 24
    assert MAX_COUNT * ROWS < 1 << 31
    assert MAX_COUNT >= 65535
    assert 255 << LEVELS < 1 << 15  # what int16 holds


@pytest.mark.parametrize(("dtype", "n_plain"), [(np.int16, 6), (np.int32, 6), (np.int32, 0)])
def test_the_kernel_is_made_of_what_a_gpu_compiler_takes(dtype: type[np.generic], n_plain: int) -> None:
    shapes = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in block(dtype, 3)]
    traced = correlate_block.trace(*shapes, lags=LAGS, n_plain=n_plain, interpret=False)
    assert "multitau_block" in traced.lower(lowering_platforms=("cuda",)).as_text()
