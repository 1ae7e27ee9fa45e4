"""Two-time correlation of golden runs against boost_corr's own results, the float64 definition and the known law."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from xpcs_assets.correlate.worker import main
from xpcs_assets.results.result import Result, open_result
from xpcs_assets.testing.dynamics import ageing_correlation
from xpcs_assets_tests.science.test_golden import counts_of
from xpcs_assets_tests.unit.engine.twotime_reference import two_time

# boost_corr itself is 1.6e-6 from float64: it multiplies in single precision. The diagonal is shot noise.
BOOST = 5e-6
EXACT = 5e-7
RUNS = {"imm_both": "*00001.imm", "eiger_aging": "*00001.h5"}


@pytest.fixture(scope="module", params=RUNS)
def golden(request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory):
    """Folder, raw file and opened result of a golden run."""
    folder = shared_data / "golden" / request.param
    (raw,) = folder.glob(RUNS[request.param])
    (qmap,) = folder.glob("*_qmap.hdf")
    output = tmp_path_factory.mktemp("golden") / f"{raw.stem}_results.hdf"
    assert main([str(raw), "--qmap", str(qmap), "--output", str(output), "--type", "twotime"]) == 0
    return folder, raw, open_result(output)


def test_maps_and_g2_agree_with_boost_corr_and_with_float64(golden: tuple[Path, Path, Result]) -> None:
    folder, raw, result = golden
    (path,) = (folder / "boost_corr_result").glob("*_results.hdf")
    boost = open_result(path)
    assert result.twotime_bins == boost.twotime_bins
    pixel = np.flatnonzero(result.mask & (result.dynamic_map > 0))
    counts = counts_of(raw, pixel)
    dynamic, static = (map_.ravel()[pixel] for map_ in (result.dynamic_map, result.static_map))
    for number in result.twotime_bins:
        ours, theirs = result.two_time(number), boost.two_time(number)
        off_diagonal = ~np.eye(len(counts), dtype=bool)
        np.testing.assert_allclose(ours.map()[off_diagonal], theirs.map()[off_diagonal], rtol=BOOST)
        np.testing.assert_allclose(ours.g2().g2, theirs.g2().g2, rtol=BOOST)
        np.testing.assert_allclose(ours.segments, theirs.segments, rtol=BOOST)
        reference = two_time(counts, np.ones(len(counts), bool), dynamic, static, number)
        np.testing.assert_allclose(ours.map(), reference, rtol=EXACT)


def test_the_ageing_run_reproduces_its_law(golden: tuple[Path, Path, Result]) -> None:
    folder, _, result = golden
    (path,) = folder.glob("*_truth.json")
    truth = json.loads(path.read_text())
    if not truth.get("t_age_s"):
        pytest.skip("this run does not age")
    # Of the two slower bins the correlation time is not short against the cuts' width, and errors are too small.
    for number in (3, 4):
        cuts = result.two_time(number).age_cuts([0.1, 0.3, 0.5], 0.1)
        tau_s = truth["tau_q_s"][number - 1]
        expected = np.empty((3, 60))
        for row, age_s in enumerate(cuts.at_s):
            for column in range(60):
                age, half_s = np.linspace(age_s - 0.05, age_s + 0.05, 21), cuts.lag_s[column] / 2
                law = ageing_correlation(age - half_s, age + half_s, tau_s, truth["t_age_s"])
                expected[row, column] = 1 + truth["beta_eff"][number - 1] * law.mean()
        distance = (cuts.g2[:, 1:60] - expected[:, 1:]) / cuts.error[:, 1:60]
        assert 0.8 < np.sqrt(np.mean(distance**2)) < 1.25
