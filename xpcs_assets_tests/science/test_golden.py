"""Golden runs against boost_corr's own results and against the float64 reference of the definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xpcs_assets.correlate.result import Result, open_result
from xpcs_assets.correlate.worker import main
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.readers.series import Events
from xpcs_assets_tests.unit.correlate.reference import correlate

# boost_corr itself is 2.5e-4 from float64 on these runs: it multiplies in bfloat16.
BOOST = 3e-4
EXACT = 1e-6
RUNS = {"imm_both": "*00001.imm", "eiger_aging": "*00001.h5"}


@pytest.fixture(scope="module", params=RUNS)
def golden(request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory):
    """Folder, raw file and opened result of a golden run."""
    folder = shared_data / "golden" / request.param
    (raw,) = folder.glob(RUNS[request.param])
    (qmap,) = folder.glob("*_qmap.hdf")
    output = tmp_path_factory.mktemp("golden") / f"{raw.stem}_results.hdf"
    assert main([str(raw), "--qmap", str(qmap), "--output", str(output)]) == 0
    return folder, raw, open_result(output)


def counts_of(raw: Path) -> np.ndarray:
    with open_raw(raw) as series:
        dense = np.zeros((series.info.n_recorded, series.info.shape[0] * series.info.shape[1]), np.int32)
        for chunk in series.chunks(0, series.info.n_recorded):
            if isinstance(chunk, Events):
                dense[chunk.frame, chunk.pixel] = chunk.count
            else:
                dense[chunk.begin : chunk.end] = chunk.counts
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

    counts = counts_of(raw)
    valid = np.ones(len(counts), bool)
    dynamic, static = (np.where(result.mask, map_, 0) for map_ in (result.dynamic_map, result.static_map))
    reference = correlate(counts, valid, dynamic, static)
    np.testing.assert_allclose(result.g2, reference.g2, rtol=0, atol=EXACT)
    np.testing.assert_allclose(result.g2_error, reference.error, rtol=1e-4, atol=EXACT)


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
