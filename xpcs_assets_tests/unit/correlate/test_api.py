from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import xpcs_assets
from xpcs_assets.correlate.api import Correlation
from xpcs_assets.correlate.worker import main
from xpcs_assets.errors import CorrelationError, QmapError
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.results.result import open_result
from xpcs_assets.testing.simulate import SimulatedRun
from xpcs_assets_tests.unit.engine import reference

SHAPE = (6, 8)
N_FRAMES = 130


@pytest.fixture
def frames() -> NDArray[np.uint16]:
    return np.random.default_rng(5).poisson(0.7, (N_FRAMES, *SHAPE)).astype(np.uint16)


@pytest.fixture
def maps() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    static = np.repeat(np.arange(1, 7), 8).reshape(SHAPE)
    return (static + 1) // 2, static, np.ones(SHAPE, bool)


def agrees(found: Correlation, frames: NDArray[Any], maps: Any, valid: NDArray[np.bool_] | None = None) -> None:
    valid = np.ones(len(frames), bool) if valid is None else valid
    expected = reference.correlate(frames.reshape(len(frames), -1), valid, maps[0], maps[1])
    assert found.delay_frames.tolist() == expected.delay
    assert found.n_pairs.tolist() == expected.n_pairs
    np.testing.assert_allclose(found.g2, expected.g2, rtol=1e-6)
    np.testing.assert_allclose(found.g2_error, expected.error, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.static_g2, expected.static, rtol=1e-6)
    assert found.g2.dtype == found.g2_error.dtype == np.float64


def test_frames_in_memory_give_the_definitions_g2_with_its_errors(frames: NDArray[Any], maps: Any) -> None:
    found = xpcs_assets.correlate(frames, maps, frame_time_s=0.02)
    agrees(found, frames, maps)
    np.testing.assert_allclose(found.delay_s, found.delay_frames * 0.02)
    np.testing.assert_allclose(found.scattering_2d, frames.mean(axis=0))
    np.testing.assert_allclose(found.intensity, frames.mean(axis=(1, 2)))
    assert found.labels == ("bin 1", "bin 2", "bin 3")


@pytest.mark.parametrize("form", ["iterator", "list of frames", "stacks", "events", "photons"])
def test_however_the_counts_come_g2_is_the_same(form: str, frames: NDArray[Any], maps: Any) -> None:
    frame, pixel = np.nonzero(frames.reshape(N_FRAMES, -1))
    counts = frames.reshape(N_FRAMES, -1)[frame, pixel].astype(int)
    mixed = np.random.default_rng(1).permutation(counts.sum())
    one_each = np.repeat(frame, counts)[mixed], np.repeat(pixel, counts)[mixed], np.ones(counts.sum(), int)
    data: Any = {
        "iterator": (frame for frame in frames),
        "list of frames": list(frames),
        "stacks": iter([frames[:1], frames[1:77], frames[77:]]),
        "events": (frame, pixel, counts),
        "photons": one_each,
    }[form]
    n_frames = None if form == "list of frames" else N_FRAMES
    agrees(xpcs_assets.correlate(data, maps, frame_time_s=1, n_frames=n_frames), frames, maps)


def test_frames_that_do_not_count_are_left_out_of_every_pair(frames: NDArray[Any], maps: Any) -> None:
    valid = np.ones(N_FRAMES, bool)
    valid[[3, 40, 41, 129]] = False
    frames[~valid] = 500
    found = xpcs_assets.correlate(frames, maps, frame_time_s=1, valid=valid)
    agrees(found, frames, maps, valid)
    assert np.isnan(found.intensity[~valid]).all()
    excluded = xpcs_assets.correlate(frames, maps, frame_time_s=1, exclude_frames="3,40-41,129")
    np.testing.assert_array_equal(excluded.g2, found.g2)


def test_range_stride_and_average_choose_frames_as_in_the_worker(frames: NDArray[Any], maps: Any) -> None:
    found = xpcs_assets.correlate(frames, maps, frame_time_s=0.01, begin_frame=5, end_frame=126, stride=2, average=3)
    chosen = frames[5:125:2].reshape(20, 3, *SHAPE).sum(axis=1)
    agrees(found, chosen, maps)
    assert found.frame_time_s == pytest.approx(0.06)


def test_each_stretch_is_as_if_it_had_been_correlated_alone(frames: NDArray[Any], maps: Any) -> None:
    found = xpcs_assets.correlate(iter(frames), maps, frame_time_s=1, n_frames=N_FRAMES, segments=4)
    assert len(found.segments) == 4
    for number, stretch in enumerate(found.segments):
        agrees(stretch, frames[32 * number : 32 * (number + 1)], maps)
    agrees(found, frames, maps)


def test_chosen_dynamic_bins_are_correlated_and_the_others_undefined(frames: NDArray[Any], maps: Any) -> None:
    found = xpcs_assets.correlate(frames, maps, frame_time_s=1, dynamic_bins="1,3")
    assert np.isnan(found.g2[:, 1]).all()
    assert np.isfinite(found.g2[:, [0, 2]]).all()


def test_frames_may_be_divided_by_their_own_mean_and_the_given_array_stays(maps: Any) -> None:
    drift = np.linspace(1, 3, N_FRAMES)[:, None, None]
    frames = (np.random.default_rng(2).poisson(40, (N_FRAMES, *SHAPE)) * drift).astype(np.float32)
    given = frames.copy()
    found = xpcs_assets.correlate(frames, maps, frame_time_s=1, normalize="frame", segments=2)
    np.testing.assert_array_equal(frames, given)
    scaled = frames / frames.mean(axis=(1, 2), keepdims=True)
    agrees(found, scaled, maps)
    agrees(found.segments[1], scaled[65:], maps)
    assert np.abs(found.g2 - 1).max() < 0.02
    np.testing.assert_allclose(found.intensity, frames.mean(axis=(1, 2)), rtol=1e-5)


def test_negative_floats_count(maps: Any) -> None:
    frames = np.random.default_rng(2).normal(1, 2, (N_FRAMES, *SHAPE)).astype(np.float32)
    agrees(xpcs_assets.correlate(frames, maps, frame_time_s=1), frames, maps)


def test_one_map_of_regions_is_enough(frames: NDArray[Any], maps: Any) -> None:
    found = xpcs_assets.correlate(frames, maps[0], frame_time_s=1)
    agrees(found, frames, (maps[0], maps[0]))


@pytest.mark.parametrize("masked", [np.uint16(65535), np.int32(-1), np.float32(np.nan)])
def test_a_masked_count_drops_its_pixel(masked: np.generic, frames: NDArray[Any], maps: Any) -> None:
    spoilt = frames.astype(masked.dtype)
    spoilt[50, 2, 2] = masked
    dropped = [np.array(each) for each in maps]
    dropped[0][2, 2] = dropped[1][2, 2] = dropped[2][2, 2] = 0
    agrees(xpcs_assets.correlate(spoilt, maps, frame_time_s=1), frames, dropped)


def test_a_file_read_frame_by_frame_gives_the_workers_result(eiger: SimulatedRun, tmp_path: Path) -> None:
    assert main([str(eiger.raw), "--qmap", str(eiger.qmap), "--output", str(tmp_path / "r.hdf")]) == 0
    result = open_result(tmp_path / "r.hdf")
    with open_raw(eiger.raw) as series:
        found = xpcs_assets.correlate(
            series.chunks(0, 300, max_bytes=1 << 20), eiger.qmap, frame_time_s=result.frame_time_s, n_frames=300
        )
    np.testing.assert_allclose(found.g2, result.g2, rtol=1e-6)
    np.testing.assert_allclose(found.q_inv_angstrom, result.q_inv_angstrom)
    assert found.recipe.digest == result.recipe.digest
    fits = found.fit()
    assert sum(fit.ok for fit in fits) >= 5
    assert found.fit_tau_q(fits) is not None


def test_figure_and_tables_name_what_they_are_of(frames: NDArray[Any], maps: Any, tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    found = xpcs_assets.correlate(frames, maps, frame_time_s=0.5, name="latex 60 nm")
    figure = found.plot([])
    assert "latex 60 nm" in figure.get_suptitle()
    plt.close(figure)
    found.to_csv(tmp_path / "g2.csv")
    assert (tmp_path / "g2.csv").read_text(encoding="utf-8").startswith("# run: latex 60 nm\n# recipe: sha256:")
    table = found.to_dataframe()
    assert len(table) == found.g2.size
    second = table[table["bin"] == 2]
    np.testing.assert_array_equal(second["g2"], found.g2[:, 1])
    np.testing.assert_array_equal(second["delay_s"], found.delay_s)
    assert set(second["label"]) == {"bin 2"}


def refused(data: Any, qmap: Any, **options: Any) -> str:
    with pytest.raises((CorrelationError, QmapError)) as told:
        xpcs_assets.correlate(data, qmap, **{"frame_time_s": 1.0, **options})
    return str(told.value)


def test_what_cannot_be_correlated_is_refused_with_what_to_do(frames: NDArray[Any], maps: Any) -> None:
    few = (np.arange(3), np.arange(3), np.ones(3, int))

    def one_after_the_other() -> Iterator[NDArray[Any]]:
        yield from frames[:100]

    for data, options, words in (
        (frames, {"frame_time_s": 0.0}, "frame_time_s is 0.0"),
        (frames[0], {}, "no series"),
        (frames[:1], {}, "1 frames make no pair"),
        (frames[:, :3], {}, "the q-map is (6, 8) pixels, the frames are (3, 8)"),
        (frames.astype(complex), {}, "complex128"),
        (frames, {"n_frames": 7}, "n_frames is 7, the data have 130"),
        (few, {}, "Give n_frames"),
        (few, {"n_frames": 2}, "a frame of the events is 0 or 2"),
        ((few[0], few[1] + 46, few[2]), {"n_frames": 9}, "Pixels are 0 to 47"),
        ((few[0], few[1][:2], few[2]), {"n_frames": 9}, "no events"),
        (one_after_the_other(), {}, "Give n_frames"),
        (one_after_the_other(), {"n_frames": 130}, "the data end at frame 100 of 130"),
        (frames, {"valid": np.ones(3)}, "one value for each of the 130 frames"),
        (frames, {"segments": 66}, "make no 66 stretches"),
        (frames, {"dark_file": "dark.h5"}, "dark_file cannot be met"),
        (frames, {"normalize": "monitor:/a"}, "normalize monitor:/a cannot be met"),
        (frames, {"strides": 2}, "no setting strides"),
        (frames, {"stride": 0}, "at least 1"),
    ):
        assert words in refused(data, maps, **options), words
    for qmap, words in (
        (np.ones(48, int), "no maps of bins"),
        (np.ones(SHAPE), "no maps of bins"),
        (np.zeros(SHAPE, int), "no pixel is left"),
        ((maps[1], maps[0], maps[2]), "more than one dynamic bin"),
        (Path("none.hdf"), "none.hdf"),
    ):
        assert words in refused(frames, qmap), words


def test_the_name_is_a_function_and_a_package_and_costs_nothing_until_it_is_used() -> None:
    code = """
import sys, xpcs_assets
assert not {"h5py", "numba", "xpcs_assets.correlate"} & set(sys.modules)
import xpcs_assets.engine.version
assert xpcs_assets.engine.version.ENGINE
assert callable(xpcs_assets.correlate)
assert not {"h5py", "numba"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
