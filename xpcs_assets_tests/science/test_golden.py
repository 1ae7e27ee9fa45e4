"""Golden runs against boost_corr's own results and against the float64 reference of the definition."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from xpcs_assets.correlate.worker import main
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.readers.series import Events
from xpcs_assets.results.result import Result, open_result
from xpcs_assets_tests.science.twotime_blocks import in_blocks
from xpcs_assets_tests.unit.engine.reference import boost_delays, correlate

# boost_corr itself is 2.5e-4 from float64 on these runs: it multiplies in bfloat16.
BOOST = 3e-4
EXACT = 1e-6
# Both multiply in float32.
OFF_DIAGONAL = 5e-6
RUNS = {"imm_both": "*00001.imm", "eiger_aging": "*00001.h5", "rigaku3m": "*00001.bin.000"}


@pytest.fixture(scope="module", params=RUNS)
def golden(request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory):
    """Folder, raw file and opened result of a golden run."""
    folder = shared_data / "golden" / request.param
    (raw,) = folder.glob(RUNS[request.param])
    (qmap,) = folder.glob("*_qmap.hdf")
    output = tmp_path_factory.mktemp("golden") / f"{raw.stem}_results.hdf"
    options = ["--type", "both"] if request.param != "rigaku3m" else []
    options += ["--save-g2"] if request.param == "imm_both" else []
    assert main([str(raw), "--qmap", str(qmap), "--output", str(output), *options]) == 0
    return folder, raw, open_result(output)


def counts_of(raw: Path, pixel: np.ndarray) -> np.ndarray:
    """Counts of some pixels, (frames, pixels); a 3M is too large to hold all of."""
    with open_raw(raw) as series:
        dense = np.zeros((series.info.n_recorded, len(pixel)), np.int32)
        column = np.full(series.info.shape[0] * series.info.shape[1], -1)
        column[pixel] = np.arange(len(pixel))
        for chunk in series.chunks(0, series.info.n_recorded):
            if isinstance(chunk, Events):
                used = column[chunk.pixel] >= 0
                dense[chunk.frame[used], column[chunk.pixel[used]]] = chunk.count[used]
            else:
                dense[chunk.begin : chunk.end] = chunk.counts[:, pixel]
    return dense


def test_g2_agrees_with_boost_corr_and_with_float64(golden: tuple[Path, Path, Result]) -> None:
    folder, raw, result = golden
    (path,) = (folder / "boost_corr_result").glob("*_results.hdf")
    boost = open_result(path)
    assert np.array_equal(result.delay_frames, boost.delay_frames)
    assert np.array_equal(result.n_pairs, boost.n_pairs)
    np.testing.assert_allclose(result.g2, boost.g2, rtol=0, atol=BOOST)
    np.testing.assert_allclose(result.scattering_1d, boost.scattering_1d, rtol=1e-5)
    np.testing.assert_allclose(result.intensity_vs_time, boost.intensity_vs_time, rtol=1e-5)
    np.testing.assert_allclose(result.q_inv_angstrom, boost.q_inv_angstrom)

    pixel = np.flatnonzero(result.mask & (result.dynamic_map > 0))
    counts = counts_of(raw, pixel)
    dynamic, static = (map_.ravel()[pixel] for map_ in (result.dynamic_map, result.static_map))
    reference = correlate(counts, np.ones(len(counts), bool), dynamic, static)
    np.testing.assert_allclose(result.g2, reference.g2, rtol=0, atol=EXACT)
    np.testing.assert_allclose(result.g2_error, reference.error, rtol=1e-4, atol=EXACT)


def test_two_time_maps_are_those_of_boost_corr(golden: tuple[Path, Path, Result]) -> None:
    import h5py

    folder, _, result = golden
    (path,) = (folder / "boost_corr_result").glob("*_results.hdf")
    with h5py.File(path) as theirs, h5py.File(result.path) as ours:
        if "xpcs/twotime" not in theirs or "xpcs/twotime" not in ours:
            pytest.skip("this run has no two-time result")
        theirs, ours = theirs["xpcs/twotime"], ours["xpcs/twotime"]
        assert ours["processed_bins"][()].tolist() == theirs["processed_bins"][()].tolist()
        maps = theirs["correlation_map"]
        assert set(ours["correlation_map"]) == set(maps)
        for name in maps:
            np.testing.assert_allclose(ours[f"correlation_map/{name}"], maps[name], rtol=0, atol=OFF_DIAGONAL)
        for name in ("normalized_g2", "normalized_g2_segments"):
            np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=OFF_DIAGONAL)


def test_the_sums_of_each_pixel_are_those_of_the_definition(golden: tuple[Path, Path, Result]) -> None:
    import h5py

    _, raw, result = golden
    with h5py.File(result.path) as file:
        if "xpcs/multitau/unnormalized_G2" not in file:
            pytest.skip("this run was correlated without the sums of each pixel")
        ours = file["/xpcs/multitau/unnormalized_G2"][()].reshape(len(result.delay_frames), 3, -1)
    pixel = np.flatnonzero(result.mask & (result.dynamic_map > 0))
    counts = counts_of(raw, pixel).astype(float)
    for row, (level, lag) in enumerate(boost_delays(len(counts))):
        frames = len(counts) >> level
        summed = counts[: frames << level].reshape(frames, 1 << level, -1).sum(axis=1) / 2**level
        past, future = summed[:-lag], summed[lag:]
        means = np.stack([(past * future).mean(axis=0), past.mean(axis=0), future.mean(axis=0)])
        np.testing.assert_allclose(ours[row][:, pixel], means, rtol=EXACT, atol=1e-9)


def test_an_ageing_run_has_the_two_time_law_of_its_truth(shared_data: Path, tmp_path: Path) -> None:
    import h5py

    folder = shared_data / "golden" / "eiger_aging"
    (raw,), (qmap,), (truth_file,) = (folder.glob(end) for end in ("*.h5", "*_qmap.hdf", "*_truth.json"))
    truth = json.loads(truth_file.read_text())
    output = tmp_path / "ageing.hdf"
    assert main([str(raw), "--qmap", str(qmap), "--output", str(output), "--type", "twotime"]) == 0
    time_s = np.arange(truth["frames"]) * truth["frame_time_s"]
    # Clock of the sample: D(t) = D / (1 + t / t_age), so that what passes in dt is dt / (1 + t / t_age).
    passed_s = truth["t_age_s"] * np.log1p(time_s / truth["t_age_s"])
    with h5py.File(output) as file:
        for number, (tau_s, beta) in enumerate(zip(truth["tau_q_s"], truth["beta_eff"], strict=True), start=1):
            c2 = file[f"/xpcs/twotime/correlation_map/c2_{number:05d}"][()]
            ageing, still = (
                in_blocks(c2 - 1 - beta * np.exp(-2 * np.abs(clock_s[:, None] - clock_s) / tau_s))
                for clock_s in (passed_s, time_s)
            )
            assert abs(ageing.mean()) < 0.006
            assert rms(ageing) < 0.015
            assert rms(still) > 4 * rms(ageing)


def rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


def test_the_boost_error_bars_are_those_of_boost_corr(golden: tuple[Path, Path, Result]) -> None:
    import h5py

    folder, _, result = golden
    (path,) = (folder / "boost_corr_result").glob("*_results.hdf")
    with h5py.File(result.path) as file:
        ours = file["/xpcs/multitau/normalized_g2_err_boost"][()]
    many = result.n_pairs > 4
    np.testing.assert_allclose(ours[many], open_result(path).g2_error[many], rtol=0.03)


def test_fits_of_both_results_agree(golden: tuple[Path, Path, Result]) -> None:
    folder, _, result = golden
    (path,) = (folder / "boost_corr_result").glob("*_results.hdf")
    ours, theirs = result.fit(), open_result(path).fit()
    assert all(fit.ok for fit in (*ours, *theirs))
    np.testing.assert_allclose([fit.tau_s for fit in ours], [fit.tau_s for fit in theirs], rtol=0.05)
    np.testing.assert_allclose([fit.contrast for fit in ours], [fit.contrast for fit in theirs], rtol=0.03)
