from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.correlate.worker import main
from xpcs_assets.engine.normalise import normalise
from xpcs_assets.errors import ResultError
from xpcs_assets.results.result import open_result
from xpcs_assets.results.state import GROUP, read_moments
from xpcs_assets.testing.simulate import SimulatedRun


def correlated(run: SimulatedRun, output: Path, *more: str) -> Path:
    assert main([str(run.raw), "--qmap", str(run.qmap), "--output", str(output), *more]) == 0
    return output


@pytest.mark.parametrize(
    "options", [[], ["--dq", "1,3-5"], ["--exclude-frames", "7", "--average", "2"], ["--memory", "2MiB"]]
)
def test_g2_follows_from_the_stored_state(options: list[str], eiger: SimulatedRun, tmp_path: Path) -> None:
    path = correlated(eiger, tmp_path / "out.hdf", *options)
    result, moments = open_result(path), read_moments(path)
    again = normalise(moments, result.recipe.settings.empty_bins)
    np.testing.assert_allclose(again.g2, result.g2, atol=1e-6)
    np.testing.assert_allclose(again.error, result.g2_error, atol=1e-6)
    assert np.array_equal(again.n_static_used, result.n_static_used)
    assert moments.n_saturated == result.provenance["n_saturated"]
    assert moments.n_pixels.sum() + moments.n_saturated == result.provenance["n_pixels"]


def test_the_state_is_stored_in_full_and_packed(eiger: SimulatedRun, tmp_path: Path) -> None:
    with h5py.File(correlated(eiger, tmp_path / "out.hdf")) as file:
        sums = file[GROUP]["sums"]
        assert (sums.shape, sums.dtype) == ((28, 40, 11), np.float64)
        assert (sums.compression, sums.shuffle) == ("gzip", True)


def test_a_result_without_a_state_and_bursts_are_refused(eiger: SimulatedRun, tmp_path: Path) -> None:
    path = correlated(eiger, tmp_path / "bursts.hdf", "--frames-per-burst", "30")
    with pytest.raises(ResultError, match=r"not those of evenly spaced frames"):
        read_moments(path)
    path = correlated(eiger, tmp_path / "none.hdf")
    with h5py.File(path, "r+") as file:
        del file[GROUP]
    with pytest.raises(ResultError, match="holds no state"):
        read_moments(path)
