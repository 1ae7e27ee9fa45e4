from __future__ import annotations

import numpy as np
import pytest

from xpcs_assets.engine.partition import Partition
from xpcs_assets.errors import CorrelationError, QmapError
from xpcs_assets_tests.unit.engine.reference import maps


def test_pixels_are_sorted_by_dynamic_then_static_bin() -> None:
    dynamic, static, mask = maps((20, 30), 4, 3, seed=1)
    part = Partition.of(dynamic, static, mask)
    keys = list(zip(dynamic.ravel()[part.pixel], static.ravel()[part.pixel], part.pixel, strict=True))
    assert keys == sorted(keys)
    assert set(part.pixel.tolist()) == set(np.flatnonzero((mask & (dynamic > 0)).ravel()).tolist())
    assert np.array_equal(part.position[part.pixel], np.arange(part.n_pixels))
    assert np.count_nonzero(part.position >= 0) == part.n_pixels


def test_blocks_cover_every_pixel_and_cross_no_static_bin() -> None:
    static = np.repeat([1, 2, 3], [700, 3, 297]).reshape(20, 50)
    part = Partition.of(np.ones((20, 50), int), static, np.ones((20, 50)))
    edge, of_block = part.blocks()
    assert edge[0] == 0
    assert edge[-1] == 1000
    assert np.all(np.diff(edge) > 0)
    for low, high, bin_ in zip(edge[:-1], edge[1:], of_block, strict=True):
        assert set(part.static[low:high].tolist()) == {bin_}
        assert high - low <= 256


def test_parts_hold_every_pixel_once() -> None:
    dynamic, static, mask = maps((20, 30), 4, 3, seed=2)
    whole = Partition.of(dynamic, static, mask)
    parts = list(whole.split(37))
    assert np.array_equal(np.concatenate([part.pixel for part in parts]), whole.pixel)
    assert all(part.n_static == whole.n_static for part in parts)
    assert all(np.array_equal(part.position[part.pixel], np.arange(part.n_pixels)) for part in parts)


def test_only_chosen_bins_are_analysed_and_numbering_stays() -> None:
    dynamic, static, mask = maps((20, 30), 4, 3, seed=3)
    part = Partition.of(dynamic, static, mask, bins=(2, 4))
    assert set(dynamic.ravel()[part.pixel].tolist()) == {2, 4}
    assert part.n_dynamic == 4


def test_a_bin_that_is_not_in_the_map_is_refused() -> None:
    dynamic, static, mask = maps((20, 30), 4, 3, seed=3)
    with pytest.raises(CorrelationError, match=r"dynamic bin 5 .* bins 1 to 4"):
        Partition.of(dynamic, static, mask, bins=(5,))


def test_a_static_bin_in_two_dynamic_bins_is_refused() -> None:
    with pytest.raises(QmapError, match="static bin 2 lies in more than one dynamic bin"):
        Partition.of([[1, 1, 2, 2]], [[1, 2, 2, 3]], np.ones((1, 4)))


def test_maps_of_different_shape_are_refused() -> None:
    with pytest.raises(QmapError, match="differ in shape"):
        Partition.of(np.ones((2, 3), int), np.ones((3, 2), int), np.ones((2, 3)))


def test_a_mask_without_a_pixel_is_refused() -> None:
    with pytest.raises(QmapError, match="no pixel"):
        Partition.of(np.ones((2, 3), int), np.ones((2, 3), int), np.zeros((2, 3)))
