from __future__ import annotations

import numpy as np
import pytest

from xpcs_assets.engine import twotime_jax
from xpcs_assets.engine.twotime_jax import products


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        (np.uint8, 0, 127),
        (np.int8, -128, 127),
        (np.uint8, 0, 255),
        (np.int16, -16_319, 16_319),
        (np.uint16, 0, 65_535),
        (np.int32, -2_088_895, 2_088_895),
        (np.int32, 0, 3_000_000),
    ],
)
def test_products_of_integers_are_exact(dtype: type[np.generic], low: int, high: int) -> None:
    counts = np.random.default_rng(1).integers(low, high + 1, (37, 300)).astype(dtype)
    counts[0], counts[1], counts[2, ::2] = low, high, high
    whole = counts.astype(object)
    assert (products(counts) == (whole @ whole.T).astype(np.float64)).all()


def test_products_of_floats_are_those_of_double_precision() -> None:
    counts = np.random.default_rng(2).normal(0.3, 2.0, (20, 500))
    np.testing.assert_allclose(products(counts), counts @ counts.T, rtol=0, atol=1e-11)


def test_more_pixels_than_a_block_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twotime_jax, "_PIXELS", 128)
    counts = np.random.default_rng(3).integers(0, 200, (30, 1000)).astype(np.uint8)
    whole = counts.astype(np.int64)
    assert (products(counts) == whole @ whole.T).all()


@pytest.mark.parametrize("shape", [(3, 0), (1, 1)])
def test_hardly_any_pixels_are_no_special_case(shape: tuple[int, int]) -> None:
    assert (products(np.full(shape, 5, np.uint8)) == np.full((shape[0], shape[0]), 25.0 * shape[1])).all()


def test_the_sums_of_a_block_cannot_overflow() -> None:
    assert 128 * 128 * twotime_jax._PIXELS < 2**31
