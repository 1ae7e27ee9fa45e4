from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.correlate.intensity import FrameScale, below_beam, drift_flags, read_monitor, sums_of_pixels
from xpcs_assets.errors import MetadataError
from xpcs_assets.readers.series import Frames
from xpcs_assets_tests.unit.engine.reference import chunks


def test_masked_pixels_are_left_out_of_their_frames_mean_alone() -> None:
    counts = np.array([[2, 4, 100], [6, -1, 100], [0, 0, 100], [3, 3, 100]], np.int32)
    valid = np.array([True, True, True, False])
    scale = FrameScale(np.array([1, 0]), None)
    (found,) = scale.apply(Frames(10, counts, valid), 3)
    assert found.counts[0].tolist() == pytest.approx([2 / 3, 4 / 3, 100 / 3])
    assert found.counts[1, [0, 2]].tolist() == pytest.approx([1, 100 / 6])
    assert np.isnan(found.counts[1, 1])
    assert found.valid.tolist() == [True, True, False, False]
    assert scale.empty == {12}
    assert counts[0, 0] == 2


def test_a_monitor_counts_in_any_unit() -> None:
    counts = np.ones((3, 2), np.int32)
    found = [
        next(FrameScale(np.array([0]), unit * np.array([1.0, 2.0, 3.0])).apply(Frames(0, counts, np.ones(3, bool)), 2))
        for unit in (1, 1e12)
    ]
    np.testing.assert_allclose(found[0].counts[:, 0], [2, 1, 2 / 3], rtol=1e-6)
    np.testing.assert_allclose(found[0].counts, found[1].counts, rtol=1e-6)


def test_readings_of_a_monitor_without_beam_are_no_part_of_its_mean() -> None:
    frames = Frames(0, np.full((4, 3), 6, np.int32), np.array([True, False, True, True]))
    (found,) = FrameScale(np.arange(3), np.array([1.0, -50.0, 3.0, 2.0])).apply(frames, 3)
    assert found.valid.tolist() == [True, False, True, True]
    assert found.counts[[0, 2, 3], 0].tolist() == [12, 4, 6]
    dark = FrameScale(np.arange(3), np.zeros(4))
    assert not next(dark.apply(frames, 3)).valid.any()


@pytest.mark.parametrize("kind", ["frames", "events"])
def test_the_first_look_sums_analysed_pixels_without_masked_counts(kind: str) -> None:
    counts = np.random.default_rng(1).poisson(2.0, (9, 5)).astype(np.int32)
    counts[3, 1] = -1
    analysed = np.array([True, True, False, True, False])
    found = np.concatenate([sums_of_pixels(chunk, analysed) for chunk in chunks(counts, np.ones(9, bool), 4, kind)])
    assert found.tolist() == np.maximum(counts, 0)[:, analysed].sum(axis=1).tolist()


def test_the_first_look_keeps_the_sign_of_values_and_leaves_out_nan() -> None:
    values = np.array([[1.5, -2.0, np.nan]], np.float32)
    assert sums_of_pixels(Frames(0, values, np.ones(1, bool)), np.ones(3, bool)).tolist() == [-0.5]


def test_the_median_of_the_beam_is_taken_over_frames_that_count() -> None:
    intensity = np.array([0, 0, 0, 0, 10, 4, 11.0])
    valid = np.array([False, False, False, False, True, True, True])
    assert below_beam(intensity, valid, 0.5).tolist() == [False] * 5 + [True, False]
    assert not below_beam(intensity, np.zeros(7, bool), 0.5).any()


@pytest.mark.parametrize(("drift", "flagged"), [(0.0, False), (0.02, False), (0.2, True)])
@pytest.mark.parametrize("mean", [0.002, 0.1])
def test_a_drift_is_flagged_by_what_it_does_to_g2_and_photon_noise_is_none(
    drift: float, flagged: bool, mean: float
) -> None:
    random = np.random.default_rng(1)
    beam = 1 + drift * np.sin(np.linspace(0, 6, 2000))
    intensity = random.poisson(mean * 10000 * beam) / 10000
    intensity[100:200] = np.nan
    flags = drift_flags(intensity, 10000, "none")
    assert bool(flags) is flagged
    assert drift_flags(intensity, 10000, "frame") == []
    if flags:
        lift = float(flags[0].split("lifts g2 by ")[1].split(" ")[0])
        assert lift == pytest.approx(np.nanvar(beam[np.isfinite(intensity)]), rel=0.3)
        # Fewer than 50 counts a frame: the frame's own mean is too noisy.
        assert ("--normalize monitor" in flags[0]) is (mean < 0.005)


def test_too_short_a_run_tells_no_drift() -> None:
    assert drift_flags(np.array([1.0, 2.0, 3.0]), 10, "none") == []
    assert drift_flags(np.full(500, np.nan), 10, "none") == []
    assert drift_flags(np.zeros(500), 10, "none") == []


def test_a_monitor_is_one_number_a_frame_and_what_is_none_is_0(tmp_path: Path) -> None:
    path = tmp_path / "m.hdf"
    with h5py.File(path, "w") as file:
        file["a"], file["b"], file["c"] = np.array([[1.0], [np.nan], [np.inf], [2]]), np.ones((2, 2)), "text"
    assert read_monitor(path, "/a", (9, 4)).tolist() == [1, 0, 0, 2]
    for name in ("/b", "/c", "/d"):
        with pytest.raises(MetadataError, match="monitor"):
            read_monitor(path, name, (4,))
    with pytest.raises(MetadataError, match=r"shape is \(4,\) for 5 frames"):
        read_monitor(path, "/a", (5, 6))
