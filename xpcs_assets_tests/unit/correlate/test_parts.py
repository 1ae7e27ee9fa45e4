from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.correlate.merge_command import main as merge
from xpcs_assets.correlate.parts import read_state
from xpcs_assets.correlate.worker import main as correlate
from xpcs_assets.engine.partition import Partition
from xpcs_assets.errors import CorrelationError, ResultError
from xpcs_assets.results.result import open_result
from xpcs_assets.testing.simulate import SimulatedRun


def part(run: SimulatedRun, folder: Path, which: str, *options: str) -> Path:
    path = folder / f"part{which.replace('/', 'of')}.hdf"
    asked = [str(run.raw), "--qmap", str(run.qmap), "--output", str(path), "--part", which]
    assert correlate([*asked, "--progress", "none", *options]) == 0
    return path


def datasets(path: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def without_times(path: Path) -> tuple[dict[str, object], dict[str, object]]:
    content = datasets(path)
    report = json.loads(content.pop("xpcs/provenance/report"))  # type: ignore[arg-type]
    del report["seconds"]
    return content, report


@pytest.mark.parametrize(
    "options", [(), ("--dq", "1,3-8", "--partial-g2", "3"), ("--save-g2",), ("--normalize", "frame", "--stride", "2")]
)
def test_merged_parts_are_what_one_worker_makes(options: tuple[str, ...], imm: SimulatedRun, tmp_path: Path) -> None:
    whole = tmp_path / "whole" / "r_results.hdf"
    assert correlate([str(imm.raw), "--qmap", str(imm.qmap), "--output", str(whole), *options]) == 0
    states = [part(imm, tmp_path, f"{number}/3", *options) for number in (2, 3, 1)]
    merged = tmp_path / "merged" / "r_results.hdf"
    assert merge([*map(str, states), "--output", str(merged)]) == 0
    (one, told), (other, told_of_parts) = without_times(whole), without_times(merged)
    assert list(one) == list(other)
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)
    assert told == told_of_parts
    stored = json.loads(merged.with_suffix(".json").read_text())
    assert stored["result_digest"].startswith("sha256:")
    assert stored["recipe_digest"] == open_result(whole).recipe.digest


def test_dense_frames_in_parts_are_the_same_too(eiger: SimulatedRun, tmp_path: Path) -> None:
    whole, merged = tmp_path / "w.hdf", tmp_path / "m.hdf"
    options = ("--kernel", "frames")
    assert correlate([str(eiger.raw), "--qmap", str(eiger.qmap), "--output", str(whole), *options]) == 0
    states = [part(eiger, tmp_path, f"{number}/2", *options) for number in (1, 2)]
    assert merge([*map(str, states), "--output", str(merged)]) == 0
    one, other = open_result(whole), open_result(merged)
    np.testing.assert_array_equal(one.g2, other.g2)
    np.testing.assert_array_equal(one.g2_error, other.g2_error)


def test_bytes_are_equal_but_for_the_times(imm: SimulatedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xpcs_assets.correlate.carry_out import Clock

    monkeypatch.setattr(Clock, "rounded", lambda _: dict.fromkeys(("read", "correlate", "write", "total"), 0.0))
    whole, merged = tmp_path / "a" / "r.hdf", tmp_path / "b" / "r.hdf"
    assert correlate([str(imm.raw), "--qmap", str(imm.qmap), "--output", str(whole)]) == 0
    states = [part(imm, tmp_path, f"{number}/2") for number in (1, 2)]
    assert merge([*map(str, states), "--output", str(merged)]) == 0
    assert whole.read_bytes() == merged.read_bytes()


def test_a_part_that_is_there_is_taken_and_another_is_not_replaced(imm: SimulatedRun, tmp_path: Path) -> None:
    state = part(imm, tmp_path, "1/2")
    made = state.stat().st_mtime_ns
    assert part(imm, tmp_path, "1/2").stat().st_mtime_ns == made
    asked = [str(imm.raw), "--qmap", str(imm.qmap), "--output", str(state), "--progress", "none"]
    assert correlate([*asked, "--part", "2/2"]) == 1
    assert correlate(asked) == 1
    assert state.stat().st_mtime_ns == made
    assert read_state(state).job.part == (1, 2)


@pytest.mark.parametrize("wrong", ["0/2", "3/2", "2", "1/0", "a/b"])
def test_a_part_that_is_none_is_wrong_usage(wrong: str, imm: SimulatedRun, tmp_path: Path) -> None:
    asked = [str(imm.raw), "--qmap", str(imm.qmap), "--output", str(tmp_path / "x.hdf"), "--part", wrong]
    assert correlate(asked) == 2


def test_parts_that_do_not_make_one_run_are_refused(
    imm: SimulatedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = part(imm, tmp_path, "1/2"), part(imm, tmp_path, "2/2")
    (tmp_path / "other").mkdir()
    strided = part(imm, tmp_path / "other", "2/2", "--stride", "2")
    third = part(imm, tmp_path, "2/3")
    output = tmp_path / "m.hdf"
    for states, words in (
        ([first], "these are the parts 1/2"),
        ([first, first], "these are the parts 1/2, 1/2"),
        ([first, third], "these are the parts 1/2, 2/3"),
        ([first, strided], "recipe_digest, frames are not those of part1of2.hdf"),
        ([first, imm.qmap], "no state of a part"),
        ([first, tmp_path / "none.hdf"], "none.hdf"),
    ):
        assert merge([*map(str, states), "--output", str(output)]) == 1
        assert words in capsys.readouterr().err, words
    assert not output.exists()
    assert merge([str(first), str(second), "--output", str(output)]) == 0
    with h5py.File(second, "r+") as file:
        del file["/xpcs/state/moments/0/sums"]
    with pytest.raises(ResultError, match="no state"):
        read_state(output)
    assert merge([str(first), str(second), "--output", str(tmp_path / "n.hdf")]) == 1
    assert "it lacks" in capsys.readouterr().err


def test_inputs_that_changed_since_are_noticed(
    imm: SimulatedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    qmap = tmp_path / "qmap.hdf"
    qmap.write_bytes(imm.qmap.read_bytes())
    state = tmp_path / "p.hdf"
    assert correlate([str(imm.raw), "--qmap", str(qmap), "--output", str(state), "--part", "1/1"]) == 0
    with h5py.File(qmap, "r+") as file:
        file["/qmap"].attrs["note"] = "changed"
    assert merge([str(state), "--output", str(tmp_path / "m.hdf")]) == 1
    assert "no longer what the parts were made of" in capsys.readouterr().err


def test_parts_hold_whole_static_bins_and_every_pixel_once() -> None:
    static = np.repeat(np.arange(1, 11), [1, 90, 3, 3, 3, 40, 1, 1, 1, 57]).reshape(1, 200)
    whole = Partition.of((static + 4) // 5, static, np.ones((1, 200)))
    for n_parts in (1, 2, 3, 7, 10):
        parts = [whole.part(number, n_parts) for number in range(1, n_parts + 1)]
        np.testing.assert_array_equal(np.concatenate([each.pixel for each in parts]), whole.pixel)
        bins = [set(each.static.tolist()) for each in parts]
        assert all(bins)
        assert sum(map(len, bins)) == 10
    assert max(each.n_pixels for each in (whole.part(1, 2), whole.part(2, 2))) <= 110
    with pytest.raises(CorrelationError, match="10 static bins have no part 11/11"):
        whole.part(11, 11)
