from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from xpcs_assets.correlate import worker
from xpcs_assets.engine import stop
from xpcs_assets.errors import ResultError
from xpcs_assets.readers.hdf5 import DATASET
from xpcs_assets.results.result import Result, open_result
from xpcs_assets.results.state import read_moments
from xpcs_assets.testing.simulate import FRAMES_FIELD, SimulatedRun, simulate
from xpcs_assets_tests.unit.readers.swmr_writer import writing

QUIET = ("--follow", "--follow-every", "5", "--quiet", "10", "--progress", "json")


class Detector:
    """Writes a run piece by piece: each wait of the worker lets it go on to the next of ``ends``, in bytes."""

    def __init__(self, run: SimulatedRun, folder: Path, ends: Sequence[int], name: str = "") -> None:
        folder.mkdir()
        name = name or run.name
        self.raw, self.output = folder / f"{name}{run.raw.name.removeprefix(run.name)}", folder / "out.hdf"
        self.metadata = Path(shutil.copy(run.metadata, folder / f"{name}_metadata.hdf"))
        self.qmap = Path(shutil.copy(run.qmap, folder))
        self.content = run.raw.read_bytes()
        self.ends = list(ends)
        self.waited_s: list[float] = []
        self.seen: list[Result] = []
        self.then: Callable[[], None] = lambda: None
        self.write()

    def write(self) -> None:
        """Go on to the next end."""
        if not self.ends:
            self.then()
            return
        end = self.ends.pop(0)
        size = self.raw.stat().st_size if self.raw.exists() else 0
        with self.raw.open("ab") as file:
            file.write(self.content[size:end])

    def wait(self, seconds: float) -> None:
        """What the worker calls to wait."""
        self.waited_s.append(seconds)
        if self.output.exists():
            self.seen.append(open_result(self.output))
        self.write()

    def correlate(self, *options: str, output: Path | None = None) -> int:
        command = [str(self.raw), "--qmap", str(self.qmap), "--output", str(output or self.output)]
        return worker.main([*command, *options])


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Detector]:
    def make(run: SimulatedRun, ends: Sequence[int], name: str = "") -> Detector:
        made = Detector(run, tmp_path / "detector", ends, name)
        monkeypatch.setattr(stop, "wait", made.wait)
        return made

    return make


def odd_ends(run: SimulatedRun, parts: int = 4) -> list[int]:
    """Lengths that are no frame's end, and the whole."""
    size_bytes = run.raw.stat().st_size
    return [*(size_bytes * part // parts // 8 * 8 + 5 for part in range(1, parts)), size_bytes]


def arrays(path: Path) -> dict[str, Any]:
    """All datasets of a result but what tells of its making."""
    found: dict[str, Any] = {}

    def take(name: str, item: h5py.Dataset | h5py.Group) -> None:
        own = ("xpcs/provenance/report", "/config/output")
        if isinstance(item, h5py.Dataset) and not name.endswith(own):
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(take)
    return found


def assert_same_arrays(path: Path, other: Path) -> None:
    first, second = arrays(path), arrays(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def assert_final(detector: Detector, *options: str) -> None:
    """The result is the very one of a plain run, which takes it for its own."""
    plain = detector.raw.parent / "plain.hdf"
    assert detector.correlate(*options, output=plain) == 0
    assert_same_arrays(detector.output, plain)
    followed, told = (json.loads(path.with_suffix(".json").read_text()) for path in (detector.output, plain))
    for key in ("recipe_digest", "inputs", "frames", "flags", "form", "n_saturated", "n_valid_frames"):
        assert followed[key] == told[key], key
    assert "complete" not in followed
    before = detector.output.read_bytes()
    assert detector.correlate(*options) == 0
    assert detector.output.read_bytes() == before


def no_second_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("the run was read again")

    monkeypatch.setattr(worker, "carry_out", refuse)


@pytest.mark.parametrize("options", [(), ("--begin-frame", "3", "--stride", "2", "--average", "2"), ("--dq", "2,3")])
def test_g2_grows_with_an_imm_run_and_is_that_of_the_frames_so_far(
    options: tuple[str, ...], imm: SimulatedRun, detector: Callable[..., Detector], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = detector(imm, odd_ends(imm))
    with monkeypatch.context() as patched:
        no_second_reading(patched)
        assert run.correlate(*QUIET, *options) == 0
    numbers = [result.intensity_vs_time.shape[1] for result in run.seen]
    assert numbers[:3] == sorted(set(numbers[:3]))
    assert_final(run, *options)
    for number, result in enumerate(run.seen[:3]):
        assert not result.complete
        frames = result.provenance["frames"]
        assert "the run was still being written" in result.provenance["flags"][0]
        until = ("--end-frame", str(frames["end"]))
        part = run.raw.parent / f"part{number}.hdf"
        assert run.correlate(*options, *until, output=part) == 0
        plain = open_result(part)
        assert plain.complete
        for name in ("delay_s", "g2", "g2_error", "n_pairs", "scattering_2d", "scattering_1d", "intensity_vs_time"):
            np.testing.assert_array_equal(getattr(result, name), getattr(plain, name), err_msg=name)


def test_a_run_of_unknown_length_ends_as_the_plain_one(imm: SimulatedRun, detector: Callable[..., Detector]) -> None:
    run = detector(imm, odd_ends(imm), name="sample_7")
    assert run.correlate(*QUIET) == 0
    assert len(run.seen) >= 3
    assert_final(run)


def test_what_needs_the_whole_run_comes_with_the_last_result(
    imm: SimulatedRun, detector: Callable[..., Detector]
) -> None:
    options = ("--partial-g2", "3", "--type", "both", "--twotime-dq", "2", "--normalize", "frame")
    run = detector(imm, odd_ends(imm, 3))
    assert run.correlate(*QUIET, *options) == 0
    assert run.seen[0].twotime_bins == ()
    assert np.isfinite(run.seen[0].g2).any()
    assert open_result(run.output).twotime_bins == (2,)
    assert_final(run, *options)


def test_a_rigaku_run_is_followed_up_to_the_frame_before_the_last(
    tmp_path: Path, detector: Callable[..., Detector], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = simulate(tmp_path, format="rigaku500k", frames=60, mean_counts=0.01, seed=5)
    run = detector(source, odd_ends(source, 3))
    with monkeypatch.context() as patched:
        no_second_reading(patched)
        assert run.correlate(*QUIET) == 0
    words = np.frombuffer(run.content, "<u8")
    ends = [int(words[size // 8 - 1] >> 40) for size in odd_ends(source, 3)]
    assert [result.provenance["frames"]["end"] for result in run.seen[:3]] == ends
    assert_final(run)


def test_a_rigaku_3m_is_followed_whichever_module_comes_first(
    tmp_path: Path, detector: Callable[..., Detector], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = simulate(tmp_path, format="rigaku3m", frames=12, mean_counts=0.001, seed=1)
    size_bytes = source.raw.stat().st_size
    run = detector(source, [size_bytes // 2 + 3, size_bytes])
    others = [source.raw.with_suffix(f".00{module}") for module in range(1, 6)]

    def write_next() -> None:
        if others:
            shutil.copy(others.pop(), run.raw.parent / f"{source.name}.bin.00{len(others) + 1}")

    run.then = write_next
    with monkeypatch.context() as patched:
        no_second_reading(patched)
        assert run.correlate(*QUIET) == 0
    assert run.seen[0].provenance["frames"]["end"] == 11
    assert_final(run)


def test_dropped_frames_that_show_late_count_from_the_start(tmp_path: Path, detector: Callable[..., Detector]) -> None:
    source = simulate(tmp_path, format="imm", frames=120, dropped=5, seed=8)
    first_drop = source.truth.dropped[0]
    run = detector(source, odd_ends(source, 12), name="sample_8")
    assert run.correlate(*QUIET) == 0
    invalid = [result.provenance["frames"]["invalid"].get("dropped", 0) for result in run.seen]
    assert first_drop > 10
    assert invalid[0] == 0
    assert invalid == sorted(invalid)
    assert invalid[-1] == 5
    assert_final(run)


def test_a_run_whose_metadata_tell_its_length_ends_one_look_after_the_last_frame(
    imm: SimulatedRun, detector: Callable[..., Detector]
) -> None:
    run = detector(imm, odd_ends(imm, 2))
    assert run.correlate(*QUIET, "--quiet", "1000", "--frames-field", FRAMES_FIELD) == 0
    assert run.waited_s == [5.0, 5.0]
    assert_final(run, "--frames-field", FRAMES_FIELD)


def test_a_run_that_stops_growing_is_complete_after_the_quiet_time(
    imm: SimulatedRun, detector: Callable[..., Detector]
) -> None:
    run = detector(imm, odd_ends(imm, 2))
    assert run.correlate(*QUIET, "--quiet", "20") == 0
    assert run.waited_s == [5.0] * 5


def test_a_detector_that_dies_in_mid_frame_leaves_the_result_so_far_and_an_error(
    imm: SimulatedRun, detector: Callable[..., Detector], capsys: pytest.CaptureFixture[str]
) -> None:
    run = detector(imm, odd_ends(imm)[:2])
    assert run.correlate(*QUIET) == 1
    assert "cut off" in json.loads(capsys.readouterr().err.splitlines()[-1])["error"]
    assert not open_result(run.output).complete


def test_a_file_without_a_frame_is_waited_for_and_then_refused_as_ever(
    imm: SimulatedRun, detector: Callable[..., Detector], capsys: pytest.CaptureFixture[str]
) -> None:
    run = detector(imm, [0, 500])
    assert run.correlate(*QUIET) == 1
    assert "a header of 1024" in json.loads(capsys.readouterr().err.splitlines()[-1])["error"]
    assert not run.output.exists()


def test_a_worker_stopped_in_the_middle_leaves_a_result_that_is_never_taken_for_the_runs(
    imm: SimulatedRun, detector: Callable[..., Detector]
) -> None:
    run = detector(imm, odd_ends(imm)[:2])

    def interrupt() -> None:
        raise KeyboardInterrupt

    run.then = interrupt
    assert run.correlate(*QUIET) == 1
    assert sorted(path.name for path in run.output.parent.iterdir() if path.name.startswith("out")) == [
        "out.hdf",
        "out.json",
    ]
    assert not open_result(run.output).complete
    assert json.loads(run.output.with_suffix(".json").read_text())["complete"] is False
    with pytest.raises(ResultError, match="while the run was still being written"):
        read_moments(run.output)
    run.raw.write_bytes(run.content)
    assert run.correlate() == 0
    assert open_result(run.output).complete
    assert_final(run)


def test_a_worker_told_to_stop_while_it_waits_stops_at_once(imm: SimulatedRun, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(imm.folder, tmp_path / "run"))
    raw, output = folder / imm.raw.name, tmp_path / "out.hdf"
    raw.write_bytes(imm.raw.read_bytes()[: odd_ends(imm)[1]])
    command = [
        sys.executable,
        "-m",
        "xpcs_assets.correlate",
        str(raw),
        "--qmap",
        str(imm.qmap),
        "--output",
        str(output),
    ]
    with subprocess.Popen([*command, *QUIET, "--follow-every", "600"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = json.loads(process.stderr.readline())
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=60)
    assert 100 < line["so_far"] < 200
    assert line["expected"] == 0
    assert process.returncode == 1
    assert "stopped by a signal" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.hdf", "out.json", "run"]


def test_an_unfinished_result_of_another_recipe_is_kept(
    imm: SimulatedRun, detector: Callable[..., Detector], capsys: pytest.CaptureFixture[str]
) -> None:
    run = detector(imm, odd_ends(imm)[:1])
    assert run.correlate(*QUIET) == 1
    before = run.output.read_bytes()
    run.raw.write_bytes(run.content)
    for more in ((), QUIET):
        assert run.correlate("--stride", "2", *more) == 1
        assert "another result has this name" in capsys.readouterr().err
        assert run.output.read_bytes() == before


def test_a_complete_result_is_taken_without_following(
    imm: SimulatedRun, detector: Callable[..., Detector], capsys: pytest.CaptureFixture[str]
) -> None:
    run = detector(imm, [len(imm.raw.read_bytes())])
    assert run.correlate() == 0
    assert run.correlate(*QUIET) == 0
    assert json.loads(capsys.readouterr().err.splitlines()[-1])["reused"] is True
    assert run.waited_s == []


def test_another_worker_has_to_wait_while_a_run_is_followed(
    imm: SimulatedRun, detector: Callable[..., Detector]
) -> None:
    run = detector(imm, odd_ends(imm, 2))
    refused = []

    def try_lock() -> None:
        lock = os.open(run.output.with_suffix(".lock"), os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            refused.append(True)
        finally:
            os.close(lock)

    run.then = try_lock
    assert run.correlate(*QUIET) == 0
    assert refused
    assert not run.output.with_suffix(".lock").exists()


def shorter(run: Detector) -> None:
    run.raw.write_bytes(run.content[:2000])


def replaced(run: Detector) -> None:
    other = run.raw.with_suffix(".new")
    other.write_bytes(run.content)
    other.replace(run.raw)


def rewritten(run: Detector) -> None:
    with run.raw.open("r+b") as file:
        file.seek(1024)
        file.write(b"\1")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (shorter, "it became shorter"),
        (replaced, "it was replaced"),
        (rewritten, "bytes that had been read were changed"),
    ],
)
def test_a_file_that_changes_in_what_was_read_is_an_error(
    change: Callable[[Detector], None],
    told: str,
    imm: SimulatedRun,
    detector: Callable[..., Detector],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = detector(imm, odd_ends(imm, 2))
    run.then = lambda: change(run)
    assert run.correlate(*QUIET) == 1
    assert told in json.loads(capsys.readouterr().err.splitlines()[-1])["error"]
    assert not open_result(run.output).complete


def test_an_hdf5_run_is_followed_until_its_writer_closes_it(
    eiger: SimulatedRun, detector: Callable[..., Detector]
) -> None:
    with h5py.File(eiger.raw) as file:
        frames = file[DATASET][()]
    run = detector(eiger, [0])
    run.raw.unlink()
    with writing(run.raw, frames, layer=1) as writer:
        steps = [120, 121, 300]
        run.then = lambda: writer.put(steps.pop(0)) if steps else writer.close()
        assert run.correlate(*QUIET, "--quiet", "1000") == 0
    assert [result.intensity_vs_time.shape[1] for result in run.seen] == [120, 121, 300]
    assert_final(run)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--beam-dump-below", "0.5"), "--beam-dump-below"),
        (("--normalize", "monitor:/a"), "--normalize"),
        (("--type", "twotime"), "--type"),
        (("--part", "1/2"), "--part"),
        (("--frames-per-burst", "10"), "--frames-per-burst"),
        (("--memory", "1MB"), "in one pass"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(
    options: tuple[str, ...],
    told: str,
    imm: SimulatedRun,
    detector: Callable[..., Detector],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = detector(imm, odd_ends(imm, 2))
    assert run.correlate(*QUIET, *options) == 1
    assert told in json.loads(capsys.readouterr().err.splitlines()[-1])["error"]
    assert not run.output.exists()


def test_a_run_without_metadata_beside_it_is_not_followed(
    imm: SimulatedRun, detector: Callable[..., Detector], capsys: pytest.CaptureFixture[str]
) -> None:
    run = detector(imm, odd_ends(imm, 2))
    assert run.correlate(*QUIET, "--metadata", str(run.raw)) == 1
    assert "with the metadata beside it" in json.loads(capsys.readouterr().err.splitlines()[-1])["error"]


@pytest.mark.parametrize("time_s", ["0", "-1", "soon", "inf"])
def test_times_that_are_none_are_wrong_usage(time_s: str, imm: SimulatedRun, tmp_path: Path) -> None:
    command = [str(imm.raw), "--qmap", str(imm.qmap), "--output", str(tmp_path / "a.hdf"), "--quiet", time_s]
    assert worker.main(command) == 2


def test_a_dry_run_tells_of_the_frames_so_far(
    imm: SimulatedRun, detector: Callable[..., Detector], capsys: pytest.CaptureFixture[str]
) -> None:
    run = detector(imm, odd_ends(imm, 2))
    assert run.correlate(*QUIET, "--dry-run") == 0
    summary = json.loads(capsys.readouterr().out)
    assert 100 < summary["frames"]["total"] < 200
    assert summary["frames"]["source"] == "so far"
