from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.correlate import digests
from xpcs_assets.correlate.worker import Progress, main
from xpcs_assets.qmaps.qmap import read_qmap
from xpcs_assets.results.result import open_result
from xpcs_assets.testing.simulate import FRAMES_FIELD, SimulatedRun, simulate
from xpcs_assets_tests.unit.qmaps.test_qmap_old import write_old

Copied = Callable[[SimulatedRun], Path]


def command(run: SimulatedRun, output: Path, *more: str) -> list[str]:
    return [str(run.raw), "--qmap", str(run.qmap), "--output", str(output), *more]


def report_of(output: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads(output.with_suffix(".json").read_text())
    return content


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_run_gives_a_result_and_a_report_and_nothing_else(imm: SimulatedRun, tmp_path: Path) -> None:
    output = tmp_path / "new" / "out.hdf"
    assert main(command(imm, output)) == 0
    assert names(output.parent) == ["out.hdf", "out.json"]
    report = report_of(output)
    assert report["result_digest"] == "sha256:" + hashlib.sha256(output.read_bytes()).hexdigest()
    assert report["recipe_digest"] == open_result(output).recipe.digest
    assert report["inputs"]["raw"][0]["digest"] == "sha256:" + hashlib.sha256(imm.raw.read_bytes()).hexdigest()
    assert report["inputs"]["qmap"]["digest"] == "sha256:" + hashlib.sha256(imm.qmap.read_bytes()).hexdigest()
    expected = {"recorded": 300, "total": 300, "source": "recorded", "missing": 0, "dark": 0, "invalid": {}}
    assert report["frames"] == {**expected, "begin": 0, "end": 300, "used": 300}
    assert report["flags"] == []
    assert set(report["seconds"]) == {"read", "correlate", "write", "total"}
    assert report["peak_memory_bytes"] > 1 << 20
    assert report["device"] == "cpu"
    assert {"xpcs-assets", "numpy", "numba", "h5py"} <= set(report["versions"])


def test_the_formats_of_one_sample_give_one_g2(eiger: SimulatedRun, imm: SimulatedRun, tmp_path: Path) -> None:
    for run, name in ((eiger, "eiger.hdf"), (imm, "imm.hdf")):
        assert main(command(run, tmp_path / name)) == 0
    first, second = open_result(tmp_path / "eiger.hdf"), open_result(tmp_path / "imm.hdf")
    np.testing.assert_allclose(first.g2, second.g2, atol=1e-6)


def test_a_q_map_of_the_old_layout_gives_the_same_result_with_the_metadata_s_geometry(
    imm: SimulatedRun, tmp_path: Path
) -> None:
    today, old = tmp_path / "today.hdf", tmp_path / "old.hdf"
    write_old(tmp_path / "qmap.h5", read_qmap(imm.qmap))
    assert main(command(imm, today)) == 0
    assert main(command(replace(imm, qmap=tmp_path / "qmap.h5"), old)) == 0
    np.testing.assert_array_equal(open_result(old).g2, open_result(today).g2)
    np.testing.assert_allclose(open_result(old).q_inv_angstrom, open_result(today).q_inv_angstrom, rtol=1e-12)
    with h5py.File(old) as ours, h5py.File(today) as theirs:
        distance = "/xpcs/qmap/detector_distance"
        assert ours[distance][()] == pytest.approx(theirs[distance][()])


def test_passes_within_a_memory_bound_give_the_same(eiger: SimulatedRun, tmp_path: Path) -> None:
    assert main(command(eiger, tmp_path / "one.hdf")) == 0
    assert main(command(eiger, tmp_path / "many.hdf", "--memory", "2MiB")) == 0
    assert report_of(tmp_path / "many.hdf")["n_passes"] > 2
    one, many = open_result(tmp_path / "one.hdf"), open_result(tmp_path / "many.hdf")
    np.testing.assert_allclose(one.g2, many.g2, atol=1e-7)
    np.testing.assert_allclose(one.g2_error, many.g2_error, atol=1e-7)
    np.testing.assert_array_equal(one.scattering_2d, many.scattering_2d)


def test_a_second_worker_takes_the_result_that_is_there(
    imm: SimulatedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.hdf"
    assert main(command(imm, output)) == 0
    before, first = output.stat().st_mtime_ns, report_of(output)
    output.with_suffix(".json").unlink()
    assert main(command(imm, output)) == 0
    again = report_of(output)
    assert output.stat().st_mtime_ns == before
    assert "was there already" in capsys.readouterr().out
    assert {key: again[key] for key in ("result_digest", "recipe_digest", "inputs")} == {
        key: first[key] for key in ("result_digest", "recipe_digest", "inputs")
    }


def test_another_result_of_the_name_is_kept_unless_told(
    imm: SimulatedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.hdf"
    assert main(command(imm, output)) == 0
    content = output.read_bytes()
    assert main(command(imm, output, "--stride", "2")) == 1
    assert "another result has this name" in capsys.readouterr().err
    assert output.read_bytes() == content
    assert main(command(imm, output, "--stride", "2", "--overwrite")) == 0
    assert open_result(output).recipe.settings.stride == 2


def test_a_file_of_the_name_that_is_no_result_is_kept(imm: SimulatedRun, tmp_path: Path) -> None:
    output = tmp_path / "out.hdf"
    output.write_text("mine")
    assert main(command(imm, output)) == 1
    assert output.read_text() == "mine"
    assert names(tmp_path) == ["out.hdf"]


def test_a_second_worker_waits_for_the_first(imm: SimulatedRun, tmp_path: Path) -> None:
    output = tmp_path / "out.hdf"
    lock = os.open(output.with_suffix(".lock"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    worker = subprocess.Popen([sys.executable, "-m", "xpcs_assets.correlate", *command(imm, output)])
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(timeout=4)
        assert not output.exists()
        os.close(lock)
        assert worker.wait(timeout=60) == 0
    finally:
        worker.kill()
        worker.wait()
    assert names(tmp_path) == ["out.hdf", "out.json"]


def test_known_raw_digests_are_not_computed_again(
    imm: SimulatedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    real = digests.sha256_of
    monkeypatch.setattr(digests, "sha256_of", lambda path, kind: (hashed.append(path), real(path, kind))[1])
    digest = "ab" * 32
    assert main(command(imm, tmp_path / "out.hdf", "--raw-digest", digest)) == 0
    assert imm.raw not in hashed
    assert report_of(tmp_path / "out.hdf")["inputs"]["raw"][0]["digest"] == f"sha256:{digest}"


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    imm: SimulatedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(imm, tmp_path / "out.hdf", "--dry-run")) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["n_delays"] == 28
    assert plan["frames"]["used"] == 300
    assert names(tmp_path) == []


def test_progress_comes_as_json_lines(eiger: SimulatedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(eiger, tmp_path / "out.hdf", "--progress", "json")) == 0
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (lines[-2]["progress"], lines[-2]["seconds_left"]) == (1.0, 0.0)
    assert lines[-2]["peak_memory_bytes"] > 10_000_000
    assert lines[-1]["reused"] is False


def test_the_time_that_is_left_is_told_by_the_pace_so_far(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 110.0, 130.0])
    monkeypatch.setattr("xpcs_assets.correlate.worker.time.monotonic", lambda: next(clock))
    progress = Progress("json")
    progress.at(0.25)
    progress.at(0.5)
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["seconds_left"] for line in told] == [30.0, 30.0]


def test_stride_average_and_range_are_the_recipe_and_the_time_axis(eiger: SimulatedRun, tmp_path: Path) -> None:
    more = ("--begin-frame", "20", "--end-frame", "280", "--stride", "2", "--average", "3")
    assert main(command(eiger, tmp_path / "out.hdf", *more)) == 0
    result = open_result(tmp_path / "out.hdf")
    assert result.intensity_vs_time.shape == (2, 43)
    np.testing.assert_allclose(result.delay_s[0], 6e-3)
    with h5py.File(tmp_path / "out.hdf") as file:
        config = file["/xpcs/multitau/config"]
        assert [config[name][()] for name in ("begin_frame", "end_frame", "stride_frame", "avg_frame")] == [
            20,
            278,
            2,
            3,
        ]


# frames


@pytest.fixture(scope="module")
def rigaku(tmp_path_factory: pytest.TempPathFactory) -> SimulatedRun:
    return simulate(tmp_path_factory.mktemp("rigaku"), format="rigaku500k", frames=200, seed=1, missing_tail=40)


def test_a_rigaku_run_is_as_long_as_its_last_event_unless_told(rigaku: SimulatedRun, tmp_path: Path) -> None:
    assert main(command(rigaku, tmp_path / "recorded.hdf")) == 0
    assert main(command(rigaku, tmp_path / "field.hdf", "--frames-field", FRAMES_FIELD)) == 0
    assert main(command(rigaku, tmp_path / "option.hdf", "--frames", "180", "--frames-field", FRAMES_FIELD)) == 0
    found = [report_of(tmp_path / f"{name}.hdf")["frames"] for name in ("recorded", "field", "option")]
    assert [(frames["total"], frames["source"]) for frames in found] == [
        (160, "recorded"), (200, "metadata"), (180, "option"),
    ]  # fmt: skip
    assert open_result(tmp_path / "field.hdf").intensity_vs_time[1, 160:].tolist() == [0] * 40


def test_frames_that_a_frame_format_never_recorded_are_not_zeros(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = simulate(tmp_path / "run", format="eiger", frames=100, missing_tail=20, seed=1)
    assert main(command(run, tmp_path / "out.hdf", "--frames-field", FRAMES_FIELD)) == 0
    frames = report_of(tmp_path / "out.hdf")["frames"]
    assert (frames["used"], frames["missing"]) == (80, 20)
    assert main(command(run, tmp_path / "more.hdf", "--frames", "100")) == 1
    assert "100 frames are asked for, the file holds 80" in capsys.readouterr().err


def test_dark_frames_at_the_head_are_left_out_of_time(tmp_path: Path) -> None:
    with_dark = simulate(tmp_path / "a", format="imm-dense", frames=100, dark_frames=10, seed=2, d_a2_per_s=1e7)
    without = simulate(tmp_path / "b", format="imm-dense", frames=100, seed=2, d_a2_per_s=1e7)
    assert main(command(with_dark, tmp_path / "dark.hdf")) == 0
    assert main(command(without, tmp_path / "light.hdf")) == 0
    frames = report_of(tmp_path / "dark.hdf")["frames"]
    assert (frames["dark"], frames["begin"], frames["used"]) == (10, 10, 100)
    dark, light = open_result(tmp_path / "dark.hdf"), open_result(tmp_path / "light.hdf")
    np.testing.assert_allclose(dark.intensity_vs_time[1].mean(), light.intensity_vs_time[1].mean(), rtol=0.05)
    assert dark.intensity_vs_time[1].min() > 0.5 * light.intensity_vs_time[1].mean()


# what goes wrong


def cut_raw(folder: Path, run: SimulatedRun) -> list[str]:
    raw = folder / run.raw.name
    raw.write_bytes(raw.read_bytes()[:-100])
    return []


def cut_qmap(folder: Path, run: SimulatedRun) -> list[str]:
    shutil.copy(run.qmap, folder / "other_qmap.hdf")
    with h5py.File(folder / "other_qmap.hdf", "r+") as file:
        for name in ("mask", "dynamic_roi_map", "static_roi_map"):
            smaller = file["qmap"][name][:-6]
            del file["qmap"][name]
            file["qmap"][name] = smaller
    return ["--qmap", str(folder / "other_qmap.hdf")]


def no_metadata(folder: Path, run: SimulatedRun) -> list[str]:
    (folder / run.metadata.name).unlink()
    return []


def no_frame_time(folder: Path, run: SimulatedRun) -> list[str]:
    with h5py.File(folder / run.metadata.name, "r+") as file:
        del file["/entry/instrument/detector_1/frame_time"]
    return []


WRONG = {
    "a truncated raw file": (cut_raw, "sim", "Copy the file anew"),
    "a q-map of another shape": (cut_qmap, "other_qmap.hdf: the q-map is 90 x 128 pixels", "q-map of this detector"),
    "no metadata": (no_metadata, "no metadata file", "--metadata"),
    "no frame time": (no_frame_time, "there is no frame time", "metadata file"),
    "no q-map": (lambda *_: ["--qmap", "/nowhere/q.hdf"], "/nowhere/q.hdf", "q-map"),
    "one frame": (lambda *_: ["--end-frame", "1"], "1 frames make no pair", "at least 2"),
    "an impossible stride": (lambda *_: ["--stride", "0"], "at least 1", "Change the recipe"),
    "a bin that is not there": (lambda *_: ["--dq", "9"], "dynamic bin 9", "bins 1 to 8"),
    "too many digests": (lambda *_: ["--raw-digest", "a", "--raw-digest", "b"], "2 raw digests for 1", "one for each"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_named_with_a_remedy_and_leaves_no_file(
    wrong: str, imm: SimulatedRun, copied: Copied, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(imm)
    spoil, named, remedy = WRONG[wrong]
    more = spoil(folder, imm)
    output = tmp_path / "out" / "out.hdf"
    raw, qmap = folder / imm.raw.name, folder / imm.qmap.name
    assert main([str(raw), "--qmap", str(qmap), "--output", str(output), *more]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert named in error
    assert remedy in error
    assert not output.parent.exists() or names(output.parent) == []


def test_a_failure_is_a_json_line_when_progress_is(
    imm: SimulatedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(imm, tmp_path / "out.hdf", "--dq", "9", "--progress", "json")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    content = json.loads(line)
    assert content["kind"] == "CorrelationError"
    assert "dynamic bin 9" in content["error"]
    assert "1 to 8" in content["remedy"]


@pytest.mark.parametrize("arguments", [[], ["raw.imm"], ["--device", "abacus"], ["--memory", "much"]])
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.endswith("`xpcs-assets correlate --help` lists all options\n")
    assert told.count("\n") == 1


def test_a_gpu_that_is_not_there_is_refused(
    imm: SimulatedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import jax

    if jax.default_backend() == "gpu":
        pytest.skip("this machine has a GPU")
    assert main(command(imm, tmp_path / "out.hdf", "--device", "gpu")) == 1
    assert "--device cpu" in capsys.readouterr().err


# as a process


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> SimulatedRun:
    return simulate(tmp_path_factory.mktemp("long"), format="eiger", frames=3000, seed=4, shape=(96, 128))


def started(run: SimulatedRun, output: Path) -> subprocess.Popen[str]:
    """A worker that has taken its first chunk."""
    # So little memory that it takes many passes: there is time to stop it.
    arguments = command(run, output, "--progress", "json", "--memory", "500kB")
    worker = subprocess.Popen(
        [sys.executable, "-m", "xpcs_assets.correlate", *arguments], stderr=subprocess.PIPE, text=True
    )
    assert worker.stderr is not None
    assert 0 < json.loads(worker.stderr.readline())["progress"] < 1
    return worker


def test_a_killed_worker_leaves_no_result_and_the_next_one_succeeds(long_run: SimulatedRun, tmp_path: Path) -> None:
    output = tmp_path / "out.hdf"
    with started(long_run, output) as worker:
        worker.kill()
    assert worker.returncode == -signal.SIGKILL
    assert not output.exists()
    assert not output.with_suffix(".json").exists()
    assert main(command(long_run, output)) == 0
    assert names(tmp_path) == ["out.hdf", "out.json"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_worker_says_so_and_leaves_nothing(
    number: signal.Signals, long_run: SimulatedRun, tmp_path: Path
) -> None:
    with started(long_run, tmp_path / "out.hdf") as worker:
        worker.send_signal(number)
        _, error = worker.communicate(timeout=60)
    assert worker.returncode == 1
    assert json.loads(error.splitlines()[-1])["error"].endswith("stopped by a signal")
    assert names(tmp_path) == []


def test_the_worker_needs_only_its_few_packages(imm: SimulatedRun, tmp_path: Path) -> None:
    allowed = {"numpy", "h5py", "jax", "jaxlib", "ml_dtypes", "numba", "llvmlite", "hdf5plugin", "xpcs_assets"}
    blocker = f"""
import importlib.metadata, sys
provided = {{top for top in importlib.metadata.packages_distributions()}} - {allowed!r} - set(sys.stdlib_module_names)
provided -= {{name.partition(".")[0] for name in sys.modules}}  # what starts Python itself
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in provided:
            raise ImportError(f"the worker may not need {{name}}")
sys.meta_path.insert(0, Refuse())
for name in ("pydantic", "dagster", "sqlalchemy", "typer", "rich", "scipy", "pandas", "matplotlib"):
    assert name in provided
from xpcs_assets.correlate.worker import Progress, main
code = main({command(imm, tmp_path / "out.hdf")!r})
loaded = provided & {{name.partition(".")[0] for name in sys.modules}}
assert not loaded, loaded
assert "jax" not in sys.modules
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", blocker], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert open_result(tmp_path / "out.hdf").g2.shape == (28, 8)
