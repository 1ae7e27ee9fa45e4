"""The tutorial notebook runs from top to bottom, and what it ends with is right."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "tutorial" / "your-own-data.ipynb"


def cells() -> list[dict[str, Any]]:
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    found: list[dict[str, Any]] = content["cells"]
    return found


def test_the_notebook_holds_no_outputs_and_every_cell_has_a_name_of_its_own() -> None:
    assert len({cell["id"] for cell in cells()}) == len(cells())
    for cell in cells():
        assert all(line.endswith("\n") for line in cell["source"][:-1])
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


def test_its_cells_run_in_order_and_give_the_truth_of_the_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    names: dict[str, Any] = {"__name__": "notebook"}
    try:
        for cell in cells():
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), f"{NOTEBOOK.name}:{cell['id']}", "exec"), names)  # noqa: S102
    finally:
        plt.close("all")
    assert all(fit.ok for fit in names["fits"])
    true_tau_s = 1 / (names["true_d"] * names["run"].q_inv_angstrom ** 2)
    ratios = [fit.tau_s / tau_s for fit, tau_s in zip(names["fits"], true_tau_s, strict=True)]
    assert sum(ratios) / len(ratios) == pytest.approx(1, abs=0.1)
    assert sum(fit.contrast for fit in names["fits"]) / len(ratios) == pytest.approx(0.25, abs=0.02)
    assert names["law"].exponent == pytest.approx(-2, abs=0.25)
    assert {path.name for path in tmp_path.iterdir()} == {"frames.npy", "overview.png", "g2.pdf", "g2.png", "g2.csv"}
    assert re.search(r"b = -\d\.\d\d \+- 0\.\d\d; diffusion has -2", capsys.readouterr().out)
