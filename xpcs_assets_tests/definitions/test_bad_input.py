"""Bad input: a clear state and reason on the run, nothing lost, the other runs go on."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from xpcs_assets.follow import RunState, state_of
from xpcs_assets.testing.simulate import SimulatedRun
from xpcs_assets_tests.definitions.conftest import Pipeline, open_pipeline

IMM_HEADER_BYTES = 1024


def cut(run: SimulatedRun, size_bytes: int) -> None:
    run.raw.write_bytes(run.raw.read_bytes()[:size_bytes])


def cut_in_a_header(run: SimulatedRun) -> None:
    cut(run, IMM_HEADER_BYTES // 2)


def cut_in_a_payload(run: SimulatedRun) -> None:
    cut(run, run.raw.stat().st_size - 3)


def emptied(run: SimulatedRun) -> None:
    run.raw.write_bytes(b"")


def no_hdf5(run: SimulatedRun) -> None:
    run.raw.rename(run.raw.with_suffix(".h5"))
    run.raw.with_suffix(".h5").write_bytes(b"this is no HDF5 file" * 100)


def no_qmap(run: SimulatedRun) -> None:
    run.qmap.unlink()


def no_metadata(run: SimulatedRun) -> None:
    run.metadata.unlink()


def no_frame_time(run: SimulatedRun) -> None:
    import h5py

    with h5py.File(run.metadata, "a") as file:
        del file["/entry/instrument/detector_1/frame_time"]


DAMAGES = {
    cut_in_a_header: (".imm", "header"),
    cut_in_a_payload: (".imm", "frame"),
    emptied: (".imm", "bytes"),
    no_hdf5: (".h5", "HDF5"),
    no_qmap: ("", "q-map"),
    no_metadata: ("", "metadata"),
    no_frame_time: ("_metadata.hdf", "frame_time"),
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda function: function.__name__)
def test_a_damaged_run_is_kept_described_and_shown_with_its_reason(pipeline: Pipeline, damage) -> None:
    run = pipeline.simulated()
    damage(run)
    bytes_before = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    state = pipeline.ingest(run.folder)
    assert_kept_but_not_correlated(pipeline, state, bytes_before)
    named, said = DAMAGES[damage]
    assert named in state.reason
    assert said in state.reason


def test_a_qmap_of_another_shape_is_refused_with_both_shapes(pipeline: Pipeline) -> None:
    run = pipeline.simulated()
    other = pipeline.simulated(seed=2, shape=(64, 80))
    run.qmap.write_bytes(other.qmap.read_bytes())
    bytes_before = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    state = pipeline.ingest(run.folder)
    assert_kept_but_not_correlated(pipeline, state, bytes_before)
    assert "64" in state.reason
    assert "48" in state.reason


def assert_kept_but_not_correlated(pipeline: Pipeline, state: RunState, content: dict[str, bytes]) -> None:
    """The raw data are staged, described, catalogued and archived byte for byte; only the analysis failed."""
    assert [step.asset for step in state.failed] == ["correlation"]
    done = {step.asset for step in state.steps if step.state == "done"}
    assert done == {"raw_file", "staged_copy", "metadata", "catalog_entry", "archive"}
    staged = pipeline.beamline.staged(pipeline.beamline.latest(state.key)).raw
    assert {path.name: path.read_bytes() for path in staged.iterdir()} == content
    assert pipeline.beamline.ledger.results("xpcs", state.key) == ()


NAMES = [
    "with blank",
    "Strain2.04mm",
    "100%",
    "a=20b",
    "sample µ-ü-水",
    "ü" * 120,
    "x" * 200,
    "_dark",
    "a..b",
    "a b",
    "a=b",
]


def test_odd_names_are_carried_and_never_merged(pipeline: Pipeline) -> None:
    keys = {}
    for number, name in enumerate(NAMES):
        run = pipeline.simulated(seed=number, frames=20)
        keys[name] = pipeline.drop(run.folder, name)
        assert pipeline.run("ingest", keys[name], only=("raw_file", "staged_copy")).success
    assert len(set(keys.values())) == len(NAMES)
    for name, key in keys.items():
        version = pipeline.beamline.latest(key)
        assert version.source == name
        staged = pipeline.beamline.staged(version).raw
        source = pipeline.beamline.source_root / name
        assert {path.name: path.read_bytes() for path in staged.iterdir()} == {
            path.name: path.read_bytes() for path in source.iterdir()
        }


def test_a_file_that_vanishes_before_it_is_read_leaves_the_run_waiting(pipeline: Pipeline) -> None:
    run = pipeline.simulated()
    key = pipeline.drop(run.folder)
    (pipeline.beamline.source_root / key / run.raw.name).unlink()
    for path in (pipeline.beamline.source_root / key).iterdir():
        path.unlink()
    assert not pipeline.run("ingest", key).success
    state = state_of(pipeline.beamline, key)
    assert state.version == 0
    assert "no longer at the source" in state.timeline[-1].what


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that can be made larger; needs root and the right to mount."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or resize(folder, 64, "mount"):
        pytest.skip("mounting a small file system needs root and a kernel that lets it")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def resize(folder: Path, size_kib: int, how: str = "remount") -> int:
    options = f"size={size_kib}k" if how == "mount" else f"remount,size={size_kib}k"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(command, check=False, capture_output=True).returncode
    return 1


def test_a_full_disk_stops_each_step_in_turn_and_room_lets_it_end(home: Path, small_disk: Path) -> None:
    text = (home / "beamlines" / "xpcs.yaml").read_text(encoding="utf-8")
    text = text.replace("root: store}", f"root: {small_disk}/store}}").replace(
        "root: tape}", f"root: {small_disk}/tape}}"
    )
    (home / "beamlines" / "xpcs.yaml").write_text(text, encoding="utf-8")
    for folder in ("store", "tape"):
        (small_disk / folder).mkdir()
    for pipeline in open_pipeline(home):
        run = pipeline.simulated()
        raw_kib = sum(path.stat().st_size for path in run.folder.iterdir()) // 1024
        key = pipeline.drop(run.folder)
        failed: list[str] = []
        for size_kib in (raw_kib // 2, raw_kib + 64, raw_kib + 1200, 20 * raw_kib + 8000):
            resize(small_disk, size_kib)
            pipeline.run("ingest", key)
            pipeline.archive(key)
            state = state_of(pipeline.beamline, key)
            failed += [step.asset for step in state.failed]
            assert all(step.reason for step in state.failed)
            assert not list(small_disk.glob("**/*partial*"))
        assert state.done
        assert {"staged_copy", "correlation", "archive"} <= set(failed)
        assert len(pipeline.beamline.ledger.results("xpcs", key)) == 1


def test_a_broken_run_does_not_keep_the_next_from_its_g2(pipeline: Pipeline) -> None:
    broken = pipeline.simulated()
    emptied(broken)
    assert not pipeline.ingest(broken.folder).done
    assert pipeline.ingest(pipeline.simulated(seed=2).folder).done
