"""The scheme ``skbeam`` against scikit-beam: its algorithm restated in float64 here, and the package where it is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from xpcs_assets.engine.delays import make_plan
from xpcs_assets.engine.multitau import make_correlator
from xpcs_assets.engine.normalise import G2, normalise
from xpcs_assets.engine.partition import Partition
from xpcs_assets_tests.unit.engine.reference import chunks

EXACT = 1e-6
SHAPE = (12, 12)


def restated(frames: NDArray[np.float64], num_levels: int, num_bufs: int, labels: NDArray[np.int64]):
    """Lags, (delays,), and g2, (delays, rois), of multi-tau as scikit-beam defines it.

    A level's image is the mean of two of the level below. A lag's numerator and the two factors of its denominator
    are means over its pairs of images of the mean over the region; a NaN image spoils its pairs and its successors.
    """
    regions = [labels.ravel() == roi for roi in range(1, labels.max() + 1)]
    images, lags, rows = frames, [], []
    for level in range(num_levels):
        for lag in range(num_bufs // 2 if level else 1, num_bufs):
            past, future = images[:-lag], images[lag:]
            good = ~(np.isnan(past).any(axis=1) | np.isnan(future).any(axis=1))
            if good.any():
                lags.append(lag * 2**level)
                rows.append(
                    [
                        (past * future)[good][:, region].mean() / past[good][:, region].mean()
                        / future[good][:, region].mean()
                        for region in regions
                    ]
                )  # fmt: skip
        images = (images[0 : len(images) // 2 * 2 : 2] + images[1::2]) / 2
    return np.array(lags), np.array(rows)


def engine(counts: NDArray[np.int32], valid: NDArray[np.bool_], labels: NDArray[np.int64], m: int, form: str):
    """Delays, g2 and pairs by one form of the engine; a region is one static bin, as scikit-beam has none."""
    plan, partition = make_plan(len(counts), m, "skbeam"), Partition.of(labels, labels, labels > 0)
    device, kind = form.split()
    correlator = make_correlator(plan, partition, device=device, form=kind)  # type: ignore[arg-type]
    for chunk in chunks(counts, valid, 50, kind):
        correlator.push(chunk)
    result: G2 = normalise(correlator.finish())
    defined = result.n_pairs > 0
    return plan.delay[defined], result.g2[defined], plan


def made(n_frames: int, missing: bool) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.int64]]:
    random = np.random.default_rng(n_frames)
    labels = random.integers(0, 4, SHAPE)
    slow = np.repeat(random.gamma(2.0, 1.0, (n_frames // 8 + 1, labels.size)), 8, axis=0)[:n_frames]
    counts = random.poisson(3 * slow).astype(np.int32)
    valid = np.ones(n_frames, bool)
    if missing:
        valid[random.choice(n_frames, n_frames // 20, replace=False)] = False
    return counts, valid, labels


def as_images(counts: NDArray[np.int32], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.where(valid[:, None], counts, np.nan)


def check(n_frames: int, m: int, missing: bool, form: str) -> None:
    counts, valid, labels = made(n_frames, missing)
    delay, g2, plan = engine(counts, valid, labels, m, form)
    lags, expected = restated(as_images(counts, valid), plan.n_levels, 2 * m, labels)
    assert delay.tolist() == lags.tolist()
    np.testing.assert_allclose(g2, expected, rtol=0, atol=EXACT)


SIZES = pytest.mark.parametrize(
    ("n_frames", "m", "missing"), [(2, 4, False), (9, 1, False), (257, 4, True), (257, 3, False), (1025, 8, True)]
)


@pytest.mark.parametrize("form", ["cpu frames", "cpu events"])
@SIZES
def test_the_scheme_skbeam_is_scikit_beams_definition(n_frames: int, m: int, missing: bool, form: str) -> None:
    check(n_frames, m, missing, form)


@pytest.mark.parametrize("form", ["jax frames", "jax events"])
def test_the_forms_for_a_gpu_know_the_scheme_skbeam(form: str) -> None:
    check(24, 3, missing=True, form=form)


@pytest.mark.long
@pytest.mark.parametrize("form", ["jax frames", "jax events"])
@SIZES
def test_the_forms_for_a_gpu_know_it_at_every_size(n_frames: int, m: int, missing: bool, form: str) -> None:
    check(n_frames, m, missing, form)


@pytest.mark.parametrize("missing", [False, True])
def test_the_restated_definition_is_what_the_package_computes(missing: bool) -> None:
    lazy_one_time = pytest.importorskip("skbeam.core.correlation", reason="scikit-beam is not installed").lazy_one_time
    counts, valid, labels = made(300, missing)
    delay, g2, plan = engine(counts, valid, labels, 4, "cpu events")
    images = as_images(counts, valid).reshape(-1, *SHAPE)
    *_, (theirs, lags, _) = lazy_one_time(images, plan.n_levels, 8, labels)
    _, ours = restated(as_images(counts, valid), plan.n_levels, 8, labels)
    # Its first row is lag 0, and its rows end where a lag has no pair.
    lags, theirs = lags[1:], theirs[1:]
    assert lags.tolist() == delay[: len(lags)].tolist()
    assert len(lags) > 20
    np.testing.assert_allclose(ours[: len(lags)], theirs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(g2[: len(lags)], theirs, rtol=0, atol=EXACT)
