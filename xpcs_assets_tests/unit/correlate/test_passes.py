from __future__ import annotations

import numpy as np
import pytest

from xpcs_assets.correlate.passes import MultitauPass, stretches
from xpcs_assets.engine.delays import make_plan
from xpcs_assets.engine.multitau import make_correlator
from xpcs_assets.engine.pixel_sums import PixelCorrelator
from xpcs_assets.engine.time_axis import EvenCorrelator
from xpcs_assets_tests.unit.engine.reference import chunks, maps, partition_of


@pytest.mark.parametrize(
    ("n_frames", "number", "ends"), [(10, 3, [3, 6, 10]), (10, 1, [10]), (2, 5, [1, 2]), (7, 7, [1, 2, 3, 4, 5, 6, 7])]
)
def test_stretches_are_equal_and_end_with_the_run(n_frames: int, number: int, ends: list[int]) -> None:
    assert stretches(n_frames, number) == ends


@pytest.mark.parametrize("size", [1, 5, 100])
def test_passes_over_the_pixels_together_are_one_pass_over_all(size: int) -> None:
    counts = np.random.default_rng(1).poisson(1.0, (40, 48)).astype(np.int32)
    counts[7, 11] = -1
    valid = np.arange(40) != 20
    partition, *_ = partition_of(*maps((6, 8), 2, 2, seed=1))
    plan = make_plan(40)

    def over(parts: list) -> list:
        found = []
        for part in parts:
            one = MultitauPass(EvenCorrelator(PixelCorrelator(plan, part)), part.pixel, stretches(40, 3))
            for chunk in chunks(counts, valid, size, "frames"):
                one.push(chunk)
            found.append(one.finish())
        return found

    (whole,) = over([partition])
    first, *others = over(list(partition.split(10)))
    for other in others:
        first += other
    np.testing.assert_allclose(first.moments[0].sums, whole.moments[0].sums, atol=1e-12)
    assert [moments.n_pairs[0] for moments in whole.partial] == [12, 23, 37]
    for one, other in zip(first.partial, whole.partial, strict=True):
        np.testing.assert_allclose(one.sums, other.sums, atol=1e-12)
    assert np.array_equal(first.pixel, partition.pixel)
    assert first.pixels is not None
    assert whole.pixels is not None
    np.testing.assert_array_equal(first.pixels, whole.pixels)


def test_an_engine_that_keeps_no_pixels_gives_none() -> None:
    partition, *_ = partition_of(*maps((6, 8), 2, 2, seed=1))
    one = MultitauPass(EvenCorrelator(make_correlator(make_plan(9), partition)), partition.pixel)
    for chunk in chunks(np.ones((9, 48), np.int32), np.ones(9, bool), 4, "frames"):
        one.push(chunk)
    assert one.finish().pixels is None
    assert one.finish().partial == ()
