from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_benchmark_for_a_gpu_runs_in_small_on_any_machine(tmp_path: Path) -> None:
    report = tmp_path / "gpu.json"
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--small", "--json", str(report)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())
    assert found["small"]
    assert [row["case"].split()[0] for row in found["cases"]] == ["dense", "dense", "sparse", "two-time"]
    assert all(row["seconds"] > 0 for row in found["cases"])
    assert done.stdout.count("largest error") == 4
