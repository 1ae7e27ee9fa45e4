"""The how-to's script, on frames made here and on the real ones."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xpcs_assets.qmaps.qmap import Qmap, read_qmap
from xpcs_assets.qmaps.rings import q_of_pixels
from xpcs_assets.readers.metadata import find_metadata, read_acquisition
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.readers.series import Frames

SCRIPT = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "frames_to_run.py"


@pytest.fixture(scope="module")
def main() -> Callable[[list[str]], Path]:
    spec = importlib.util.spec_from_file_location("frames_to_run", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    run: Callable[[list[str]], Path] = module.main
    return run


def counts_of(raw: Path) -> np.ndarray:
    with open_raw(raw) as series:
        chunks = [chunk for chunk in series.chunks(0, series.info.n_recorded) if isinstance(chunk, Frames)]
    return np.concatenate([chunk.counts for chunk in chunks])


def g2(counts: np.ndarray, qmap: Qmap, k: int, delay: int) -> float:
    """Mean over the static bins of dynamic bin ``k`` of <G2> / (<IP> <IF>), by brute force."""
    chosen = qmap.dynamic.ravel() == k
    static = qmap.static.ravel()[chosen]
    x = counts[:, chosen].astype(np.float64)

    def per_bin(values: np.ndarray) -> np.ndarray:
        return (np.bincount(static, values) / np.maximum(np.bincount(static), 1))[np.unique(static)]

    past, future = per_bin(x[:-delay].mean(axis=0)), per_bin(x[delay:].mean(axis=0))
    product = per_bin((x[:-delay] * x[delay:]).mean(axis=0))
    lit = past * future > 0
    return float((product[lit] / (past * future)[lit]).mean())


def test_frames_become_a_run_that_reads_back(tmp_path: Path, main: Callable[[list[str]], Path]) -> None:
    shape = (80, 90)
    q = q_of_pixels(shape, (40.0, 45.0), 1e-4, 2.0, 8.0)
    frames = np.random.default_rng(4).poisson(5 * np.exp(-q / 0.005), (20, *shape)).astype(np.uint16)
    frames[:, :, 30] = 400
    frames[:, 50, 60] = 300
    frames[:, 36:44, 45:] = 0
    np.save(tmp_path / "f.npy", frames)
    geometry = ["--energy-kev", "8", "--distance-m", "2", "--pixel-size-m", "1e-4", "--frame-time-s", "0.01"]
    place = ["--centre-row", "40", "--centre-col", "45", "--mask-column", "30", "--q-min", "0.002", "--q-max", "0.007"]
    raw = main([str(tmp_path / "f.npy"), str(tmp_path / "out"), "--name", "r1", "--rings", "4", *geometry, *place])
    assert raw == tmp_path / "out" / "r1" / "r1.h5"
    np.testing.assert_array_equal(counts_of(raw), frames.reshape(20, -1))
    metadata = find_metadata(raw)
    assert metadata is not None
    assert read_acquisition(metadata).frame_time_s == 0.01
    qmap = read_qmap(raw.with_name("r1_qmap.hdf"))
    assert qmap.n_dynamic == 4
    assert qmap.n_static == np.count_nonzero(qmap.mask) > 1000
    assert not qmap.mask[:, 30].any()
    assert not qmap.mask[50, 60]
    assert not qmap.mask[35:45, 46:].any()
    with pytest.raises(SystemExit, match="there already"):
        main([str(tmp_path / "f.npy"), str(tmp_path / "out"), "--name", "r1"])


def test_what_is_no_series_of_counts_is_refused(tmp_path: Path, main: Callable[[list[str]], Path]) -> None:
    np.save(tmp_path / "f.npy", np.zeros((3, 4)))
    with pytest.raises(SystemExit, match="no frames of counts"):
        main([str(tmp_path / "f.npy"), str(tmp_path)])


def test_the_real_frames_have_the_published_correlation(
    shared_data: Path, tmp_path: Path, main: Callable[[list[str]], Path]
) -> None:
    source = shared_data / "real" / "xpcs_frames_100x256x256_uint16.npy"
    raw = main([str(source), str(tmp_path), "--name", "real"])
    counts = counts_of(raw)
    np.testing.assert_array_equal(counts, np.load(source).reshape(100, -1))
    qmap = read_qmap(raw.with_name("real_qmap.hdf"))
    assert not qmap.mask[:, 143].any()
    assert qmap.dynamic_label(2) == "q = 0.0034 Å⁻¹"
    curve = [g2(counts, qmap, 2, delay) for delay in (1, 2, 4, 8, 16, 32)]
    assert curve[0] == pytest.approx(1.06, abs=0.015)
    assert curve == sorted(curve, reverse=True)
    # exp(-2 t / tau) falls to a half at t = 0.35 tau: 7 to 10.4 ms for 20 to 30 ms, which is 5.4 to 8 frames.
    half = (curve[0] + curve[-1]) / 2
    assert g2(counts, qmap, 2, 3) > half > g2(counts, qmap, 2, 11)
