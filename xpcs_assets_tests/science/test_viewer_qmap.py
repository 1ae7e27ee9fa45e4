"""A result that was made with a map of `xpcs-assets qmap` opens in pyXPCSviewer with the bins of that map."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from xpcs_assets.cli import app
from xpcs_assets.correlate.worker import main
from xpcs_assets.qmaps.qmap import read_qmap
from xpcs_assets.testing.simulate import simulate
from xpcs_assets_tests.science.test_viewer import viewer

_READ = """
import json, sys
import numpy as np
from pyxpcsviewer.core.xpcs_file import XpcsFile
file = XpcsFile(sys.argv[1])
q, t, g2, error, labels = file.get_g2_data()
print("RESULT" + json.dumps({
    "q": np.ravel(q).tolist(), "g2": list(g2.shape), "labels": list(labels),
    "saxs_1d_q": np.ravel(file.saxs_1d["q"]).tolist(), "saxs_2d": np.squeeze(file.saxs_2d).tolist(),
}))
"""


def test_sectors_of_logarithmic_rings_are_the_viewers_bins(tmp_path: Path) -> None:
    run = simulate(tmp_path, format="eiger", frames=300, seed=3)
    path, output = tmp_path / "q.hdf", tmp_path / "r_results.hdf"
    bins = ["--dynamic", "3x2", "--static", "9x4", "--spacing", "log", "--q-range", "0.001", "0.003"]
    files = ["--output", str(path), "--metadata", str(run.metadata), "--raw", str(run.raw)]
    made = CliRunner().invoke(app, ["qmap", *files, *bins, "--mask", str(run.qmap), "--drop-hot"])
    assert made.exit_code == 0, made.output
    assert main([str(run.raw), "--qmap", str(path), "--output", str(output)]) == 0
    done = viewer(_READ, str(output))
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    seen, qmap = json.loads(line.removeprefix("RESULT")), read_qmap(path)
    assert seen["g2"][1] == len(seen["labels"]) == qmap.n_dynamic == 6
    np.testing.assert_allclose(sorted(set(seen["q"])), qmap.dynamic_v_lists[0])
    assert min(seen["saxs_1d_q"]) >= 0.001
    assert max(seen["saxs_1d_q"]) <= 0.003
    # What is sound but not analysed is in the picture, the hot pixels are not.
    picture = np.array(seen["saxs_2d"])
    assert np.count_nonzero(picture > 0) > np.count_nonzero(qmap.mask)
    assert not (picture.ravel()[run.scene.hot] > 0).any()
