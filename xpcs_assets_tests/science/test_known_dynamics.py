"""Simulated runs of known contrast and correlation time come back with their truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xpcs_assets.correlate.result import open_result
from xpcs_assets.correlate.worker import main
from xpcs_assets.testing.simulate import simulate

# Averaging over a level's frame and over the width of a ring lifts the mean tau by 4 to 6 % (five seeds, eiger);
# the few photons of the Rigaku run scatter it from 1 to 11 %.
MEAN_TAU = {"rigaku500k": 0.15}
MEAN_BETA, EXPONENT = 0.06, 0.15


@pytest.mark.parametrize("format_", ["imm", "imm-dense", "eiger", "lambda", "rigaku500k"])
def test_contrast_and_correlation_times_come_back(format_: str, tmp_path: Path) -> None:
    run = simulate(tmp_path, format=format_, frames=1200, seed=11, n_dynamic=6, n_static=30)  # type: ignore[arg-type]
    output = tmp_path / "result.hdf"
    assert main([str(run.raw), "--qmap", str(run.qmap), "--output", str(output)]) == 0
    result = open_result(output)
    fits = result.fit()
    assert all(fit.ok for fit in fits), [fit.reason for fit in fits]
    tau = np.array([fit.tau_s for fit in fits]) / run.truth.tau_q_s
    beta = np.array([fit.contrast for fit in fits]) / run.truth.beta_eff
    assert tau.mean() == pytest.approx(1, abs=MEAN_TAU.get(format_, 0.09))
    assert beta.mean() == pytest.approx(1, abs=MEAN_BETA)
    power = result.fit_tau_q(fits)
    assert power is not None
    assert power.exponent == pytest.approx(-2, abs=EXPONENT)
