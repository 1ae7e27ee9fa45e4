"""A result opens in pyXPCSviewer, in a process of its own, and the viewer's own fit gives the truth."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xpcs_assets.correlate.worker import main
from xpcs_assets.testing.simulate import simulate

_READ = """
import json, sys
import numpy as np
from pyxpcsviewer.core.xpcs_file import XpcsFile
file = XpcsFile(sys.argv[1])
q, t, g2, error, labels = file.get_g2_data()
# low and high of contrast, tau, stretching, baseline; what is not fitted stays at its high bound
bounds = [[0.01, 1e-5, 0.9, 0.9], [1.0, 1.0, 1.0, 1.1]]
summary = file.fit_g2(bounds=bounds, fit_flag=[True, True, False, True], fit_func="single")
values = np.array(summary["fit_val"])
print("RESULT" + json.dumps({
    "kind": file.atype if isinstance(file.atype, str) else list(file.atype),
    "delays": len(t), "g2": list(g2.shape), "labels": list(labels),
    "saxs_2d": list(np.shape(file.saxs_2d)), "intensity": list(np.shape(file.Int_t)),
    "static": int(np.size(file.saxs_1d["Iq"])), "contrast": values[:, 0, 0].tolist(), "tau": values[:, 0, 1].tolist(),
}))
"""


def viewer(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "QT_LOGGING_RULES": "*=false"}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    if "cannot open shared object file" in done.stderr:
        missing = done.stderr.strip().splitlines()[-1]
        pytest.skip(f"the viewer lacks a system library ({missing}); see CONTRIBUTING for the Debian packages")
    if "No module named 'pyxpcsviewer'" in done.stderr:
        pytest.skip("xpcs-viewer is not installed")
    return done


def test_a_result_opens_in_the_viewer_and_its_fit_gives_the_truth(tmp_path: Path) -> None:
    run = simulate(tmp_path, format="eiger", frames=1200, seed=11, n_dynamic=6, n_static=30)
    output = tmp_path / f"{run.name}_results.hdf"
    assert main([str(run.raw), "--qmap", str(run.qmap), "--output", str(output)]) == 0
    done = viewer(_READ, str(output))
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    seen = json.loads(line.removeprefix("RESULT"))
    assert "Multitau" in seen["kind"]
    assert seen["g2"] == [seen["delays"], 6]
    assert seen["saxs_2d"][-2:] == [96, 128]
    assert seen["intensity"] == [2, 1200]
    assert seen["static"] == 30
    assert np.mean(np.array(seen["tau"]) / run.truth.tau_fit_s) == pytest.approx(1, abs=0.05)
    assert np.mean(np.array(seen["contrast"]) / run.truth.beta_fit) == pytest.approx(1, abs=0.03)


_READ_TWOTIME = """
import json, sys
import numpy as np
from pyxpcsviewer.core.xpcs_file import XpcsFile
file = XpcsFile(sys.argv[1])
names, maps = file.get_twotime_stream()
maps = dict(maps)
first = file.get_twotime_c2(selection=0)
seen = {
    "kind": file.atype if isinstance(file.atype, str) else list(file.atype), "names": list(names),
    "labels": file.get_twotime_qbin_labels(), "shape": list(first["c2_mat"].shape), "delta_t": float(first["delta_t"]),
    "symmetric": bool(np.array_equal(first["c2_mat"], first["c2_mat"].T)),
    "finite": all(bool(np.isfinite(c2).all()) for c2 in maps.values()),
    "g2": [np.asarray(file.get_twotime_c2(selection=k)["g2_full"])[1:6].tolist() for k in range(len(names))],
    "partial": list(np.shape(first["g2_partial"])), "saxs_2d": list(np.shape(file.saxs_2d)),
}
if "Multitau" in file.atype:
    seen["delays"] = len(file.get_g2_data()[1])
print("RESULT" + json.dumps(seen))
"""


@pytest.mark.parametrize("kind", ["twotime", "both"])
def test_a_two_time_result_opens_in_the_viewer_and_shows_the_truth(kind: str, tmp_path: Path) -> None:
    run = simulate(tmp_path, format="eiger", frames=500, seed=12, n_dynamic=4, n_static=20)
    output = tmp_path / f"{run.name}_results.hdf"
    assert main([str(run.raw), "--qmap", str(run.qmap), "--output", str(output), "--type", kind]) == 0
    done = viewer(_READ_TWOTIME, str(output))
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    seen = json.loads(line.removeprefix("RESULT"))
    assert "Twotime" in seen["kind"]
    assert ("delays" in seen) == (kind == "both")
    assert seen["names"] == [f"c2_{number:05d}" for number in range(1, 5)]
    assert len(seen["labels"]) == 4
    assert seen["shape"] == [500, 500]
    assert seen["symmetric"]
    assert seen["finite"]
    assert seen["delta_t"] == pytest.approx(run.truth.frame_time_s)
    assert seen["partial"][-2:] in ([5, 100], [100, 5])
    assert seen["saxs_2d"][-2:] == [96, 128]
    lag_s = np.arange(1, 6) * run.truth.frame_time_s
    tau_s, beta = np.array(run.truth.tau_fit_s)[:, None], np.array(run.truth.beta_fit)[:, None]
    np.testing.assert_allclose(seen["g2"], 1 + beta * np.exp(-2 * lag_s / tau_s), atol=0.03)
