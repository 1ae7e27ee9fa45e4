"""A run of several files, or one that is its own metadata, through the worker: every byte that counted is named."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import h5py
import pytest

from xpcs_assets.correlate.worker import main
from xpcs_assets.testing.scene import Format
from xpcs_assets.testing.simulate import SimulatedRun, simulate


def correlated(run: SimulatedRun, output: Path, *more: str) -> dict[str, object]:
    assert main([str(run.raw), "--qmap", str(run.qmap), "--output", str(output), "--device", "cpu", *more]) == 0
    inputs = json.loads(output.with_suffix(".json").read_text())["inputs"]
    assert isinstance(inputs, dict)
    return inputs


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("dectris", ["A1_master.h5", "A1_data_000001.h5"]),
        ("rigaku3m", [f"A1.bin.00{module}" for module in range(6)]),
        ("imm", ["A1.imm"]),
    ],
)
def test_the_report_names_every_raw_file_with_its_digest(tmp_path: Path, kind: Format, names: list[str]) -> None:
    shape = None if kind == "rigaku3m" else (48, 64)
    run = simulate(tmp_path, format=kind, frames=40, shape=shape, n_dynamic=2, n_static=4, name="A1")
    inputs = correlated(run, tmp_path / "result.hdf")
    digests = {name: "sha256:" + hashlib.sha256((run.folder / name).read_bytes()).hexdigest() for name in names}
    assert inputs["raw"] == [{"name": name, "digest": digest} for name, digest in digests.items()]


@pytest.mark.parametrize("kind", ["dectris", "als7011", "areadetector"])
def test_a_raw_file_that_tells_its_times_needs_no_metadata_and_its_frames_are_not_copied(
    tmp_path: Path, kind: Format
) -> None:
    run = simulate(tmp_path, format=kind, frames=400, shape=(48, 64), n_dynamic=2, n_static=4, name="A1")
    run.metadata.unlink()
    inputs = correlated(run, tmp_path / "result.hdf")
    assert inputs["metadata"] == {**inputs["metadata"], "name": run.raw.name}
    with h5py.File(tmp_path / "result.hdf", "r") as file:
        assert file["/entry/instrument/detector_1/frame_time"][()] == pytest.approx(1e-3, rel=1e-5)
        assert "/entry/data/data" not in file
        assert "/entry1/instrument_1/detector_1/data" not in file
        assert ("/entry1/instrument_1/labview_data/LS_LLHTA" in file) == (kind == "als7011")
