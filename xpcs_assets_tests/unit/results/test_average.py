from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.correlate.average_command import main
from xpcs_assets.correlate.worker import main as correlate
from xpcs_assets.engine.delays import make_plan
from xpcs_assets.errors import CorrelationError, ResultError
from xpcs_assets.results.average import average, merge, read_members
from xpcs_assets.results.limits import Limits
from xpcs_assets.results.result import open_result
from xpcs_assets.results.state import read_moments
from xpcs_assets.runs.recipe import EmptyBins
from xpcs_assets.testing import simulate as simulation
from xpcs_assets_tests.science.test_viewer import viewer


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four repeats on one scene, the last of them shorter."""
    folder = tmp_path_factory.mktemp("repeats")
    made = simulation.make_scene
    runs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation, "make_scene", lambda *arguments: made(*arguments[:4], 0, *arguments[5:]))
        for seed, frames in enumerate((400, 400, 400, 390)):
            options = {"frames": frames, "shape": (48, 64), "n_dynamic": 4, "n_static": 12, "name": f"R{seed}"}
            runs.append(simulation.simulate(folder, format="imm", seed=seed, **options))  # type: ignore[arg-type]
    paths = [folder / f"{run.name}_results.hdf" for run in runs]
    for run, path in zip(runs, paths, strict=True):
        assert correlate([str(run.raw), "--qmap", str(runs[0].qmap), "--output", str(path)]) == 0
    return paths


def run(paths: Sequence[Path], output: Path, *options: str) -> int:
    return main([*map(str, paths), "--output", str(output), *options])


def test_equal_runs_average_to_themselves_with_an_error_smaller_by_their_number(results: list[Path]) -> None:
    moments = read_moments(results[0])
    one, four = merge([moments]), merge([moments] * 4)
    np.testing.assert_allclose(four.g2, one.g2, rtol=1e-12)
    np.testing.assert_allclose(four.static, one.static, rtol=1e-12)
    np.testing.assert_allclose(four.error, one.error / 2, rtol=1e-9)
    np.testing.assert_array_equal(four.n_static_used, 4 * one.n_static_used)
    np.testing.assert_array_equal(four.n_pairs, one.n_pairs)


def test_a_brighter_repeat_does_not_lift_the_baseline(results: list[Path]) -> None:
    moments = read_moments(results[0])
    # Three times the counts: G goes with the square, IP and IF with the factor, their products accordingly.
    power = np.array([2, 1, 1, 4, 3, 3, 2, 2, 2, 0, 0])
    brighter = replace(moments, sums=moments.sums * 3.0**power)
    np.testing.assert_allclose(merge([moments, brighter]).g2, merge([moments]).g2, rtol=1e-12)
    summed = merge([replace(moments + brighter, n_pairs=moments.n_pairs)])
    assert (summed.g2[0] > 1.1 * merge([moments]).g2[0]).all()  # what adding them pixel by pixel would give


@pytest.mark.parametrize("empty_bins", ["excluded", "zero"])
def test_a_run_without_a_pair_at_a_delay_has_no_part_in_it(results: list[Path], empty_bins: EmptyBins) -> None:
    whole, other = read_moments(results[0]), read_moments(results[1])
    # All pairs of the second run's third delay and from the tenth on were invalid.
    n_pairs, sums = other.n_pairs.copy(), other.sums.copy()
    lacking = (np.arange(len(n_pairs)) == 2) | (np.arange(len(n_pairs)) >= 9)
    n_pairs[lacking], sums[lacking] = 0, 0.0
    found = merge([whole, replace(other, n_pairs=n_pairs, sums=sums)], empty_bins)
    alone, both = merge([whole], empty_bins), merge([whole, other], empty_bins)
    for name in ("g2", "error", "error_boost", "n_static_used", "static", "n_pairs"):
        one, two, expected = getattr(found, name), getattr(both, name), getattr(alone, name)
        np.testing.assert_allclose(one[lacking], expected[lacking], rtol=1e-12, err_msg=name)
        np.testing.assert_allclose(one[~lacking], two[~lacking], rtol=1e-12, err_msg=name)


def test_a_shorter_run_without_a_pair_leaves_the_delays_of_a_longer_one(results: list[Path]) -> None:
    long, plan = read_moments(results[0]), make_plan(100)
    n_pairs, sums = plan.n_pairs.copy(), long.sums[: plan.n_delays].copy()
    n_pairs[2], sums[2] = 0, 0.0
    found = merge([long, replace(long, plan=plan, n_pairs=n_pairs, sums=sums)], "zero")
    assert len(found.g2) == plan.n_delays < long.plan.n_delays
    np.testing.assert_allclose(found.g2[2], merge([long], "zero").g2[2], rtol=1e-12)


def test_a_delay_that_no_run_has_a_pair_of_is_undefined(results: list[Path]) -> None:
    moments = read_moments(results[0])
    n_pairs, sums = moments.n_pairs.copy(), moments.sums.copy()
    n_pairs[4], sums[4] = 0, 0.0
    found = merge([replace(moments, n_pairs=n_pairs, sums=sums)] * 2, "zero")
    assert np.isnan(found.g2[4]).all()
    assert found.n_pairs[4] == 0
    assert not found.n_static_used[4].any()
    assert np.isfinite(np.delete(found.g2, 4, axis=0)).all()


def test_the_average_is_the_mean_of_g2_and_its_error_falls(results: list[Path], tmp_path: Path) -> None:
    assert run(results[:3], tmp_path / "set_results.hdf") == 0
    found, members = open_result(tmp_path / "set_results.hdf"), [open_result(path) for path in results[:3]]
    np.testing.assert_allclose(found.g2, np.mean([one.g2 for one in members], axis=0), rtol=1e-6)
    rms = np.sqrt(np.mean([one.g2_error**2 for one in members], axis=0))
    np.testing.assert_allclose(found.g2_error, rms / np.sqrt(3), rtol=1e-5)
    assert (found.n_static_used == 9).all()
    np.testing.assert_allclose(
        found.scattering_2d, np.mean([one.scattering_2d for one in members], axis=0), rtol=1e-5, atol=1e-9
    )
    np.testing.assert_allclose(
        found.intensity_vs_time[1], np.mean([one.intensity_vs_time[1] for one in members], axis=0), rtol=1e-5
    )
    assert found.recipe.digest == members[0].recipe.digest
    assert found.labels == members[0].labels
    assert found.run == "set"


def test_the_scatter_of_repeats_is_what_the_error_says(results: list[Path]) -> None:
    members = [open_result(path) for path in results[:3]]
    n = members[0].n_pairs >= 40
    mean = np.mean([one.g2[n] for one in members], axis=0)
    pulls = [(one.g2[n] - mean) / one.g2_error[n] * np.sqrt(3 / 2) for one in members]
    assert 0.6 < np.sqrt(np.mean(np.square(pulls))) < 1.5


def test_a_shorter_run_leaves_the_delays_that_all_have(results: list[Path], tmp_path: Path) -> None:
    assert run(results, tmp_path / "a.hdf") == 0
    found, short = open_result(tmp_path / "a.hdf"), open_result(results[3])
    assert found.delay_frames.tolist() == short.delay_frames.tolist()
    assert found.intensity_vs_time.shape == (2, 390)
    np.testing.assert_array_equal(found.n_pairs, short.n_pairs)


def test_the_file_says_what_was_used_what_was_not_and_why(
    results: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contrasts = average(read_members(results)).judged.contrast
    low = float(np.sort(contrasts)[1]) - 1e-4
    assert run(results, tmp_path / "a.hdf", "--contrast", str(low), "1") == 0
    left_out = int(np.argmin(contrasts))
    assert f"R{left_out}  " in capsys.readouterr().out
    with h5py.File(tmp_path / "a.hdf") as file:
        group = file["/xpcs/average"]
        assert group["file_list"].asstr()[:].tolist() == [path.name for path in results]
        assert group["used"][:].tolist() == [number != left_out for number in range(4)]
        reasons = group["reasons"].asstr()[:].tolist()
        assert [bool(reason) for reason in reasons] == [number == left_out for number in range(4)]
        assert "is below" in reasons[left_out]
        np.testing.assert_allclose(group["limits/contrast"][:], [low, 1])
        assert np.isfinite(group["limits/baseline"][:]).all()
        assert "median absolute deviation" in group["limits"].attrs["rule"]
        np.testing.assert_allclose(group["contrast"][:], contrasts)
    report = open_result(tmp_path / "a.hdf").provenance
    assert [member["used"] for member in report["inputs"]["members"]].count(False) == 1
    stored = json.loads((tmp_path / "a.json").read_text())
    assert stored["inputs"] == report["inputs"]
    assert all(member["digest"].startswith("sha256:") for member in stored["inputs"]["members"])


def test_the_pixels_that_counted_are_those_of_the_first_run_used(results: list[Path], tmp_path: Path) -> None:
    for path in results[:2]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
        with h5py.File(tmp_path / path.name, "r+") as file:
            counted = file["/xpcs/qmap/mask"][()] > 0
            counted[:, :20] = False
            file["/xpcs/mask_used"] = counted
    assert run([tmp_path / path.name for path in results[:2]], tmp_path / "a.hdf") == 0
    np.testing.assert_array_equal(open_result(tmp_path / "a.hdf").mask, counted)


def test_the_same_members_give_the_same_bytes_and_another_file_is_not_replaced(
    results: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "a.hdf"
    assert run(results[:2], output) == 0
    first, made = output.read_bytes(), output.stat().st_mtime_ns
    assert run(results[:2], output) == 0
    assert output.stat().st_mtime_ns == made
    assert run(results[1:3], output) == 1
    assert "another file has this name" in capsys.readouterr().err
    assert output.read_bytes() == first
    assert run(results[1:3], output, "--overwrite") == 0
    assert output.read_bytes() != first


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(
    results: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(results, tmp_path / "a.hdf", "--dry-run") == 0
    assert "4 of 4 runs would be averaged" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_fewer_than_two_runs_are_no_average(
    results: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(results, tmp_path / "a.hdf", "--baseline", "1.4", "2") == 1
    told = capsys.readouterr().err
    assert "0 of 4 runs remain" in told
    assert "R0: baseline" in told
    assert run(results[:1], tmp_path / "a.hdf") == 1
    assert run(results[:2], tmp_path / "a.hdf", "--baseline", "2", "1") == 1
    assert run(results[:2], tmp_path / "a.hdf", "--baseline", "2") == 2
    assert not list(tmp_path.iterdir())


def test_runs_of_another_recipe_or_given_twice_are_refused(results: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "stride.hdf"
    raw, qmap = (results[0].parent / "R0" / name for name in ("R0.imm", "R0_qmap.hdf"))
    assert correlate([str(raw), "--qmap", str(qmap), "--output", str(other), "--stride", "2"]) == 0
    with pytest.raises(ResultError, match=r"what differs: stride") as told:
        read_members([results[0], other])
    assert str(other) in str(told.value)
    with pytest.raises(CorrelationError, match="the same file"):
        read_members([results[0], results[1], results[0]])
    assert run(results[:2], tmp_path / "a.hdf") == 0
    with pytest.raises(ResultError, match="no state"):
        read_members([tmp_path / "a.hdf", results[2]])
    slower = tmp_path / "slower.hdf"
    slower.write_bytes(results[1].read_bytes())
    with h5py.File(slower, "r+") as file:
        file["/entry/instrument/detector_1/frame_time"][...] *= 2
    with pytest.raises(ResultError, match="its frame time is"):
        read_members([results[0], slower])
    with pytest.raises(ResultError, match="No such file"):
        read_members([results[0], tmp_path / "none.hdf"])


def test_limits_decide_before_the_merge(results: list[Path]) -> None:
    members = read_members(results[:3])
    all_three = average(members)
    two = average(members, Limits(contrast=(float(np.sort(all_three.judged.contrast)[0]) + 1e-9, 1)))
    assert (len(all_three.used), len(two.used)) == (3, 2)
    assert (two.g2.n_static_used == 6).all()


def test_the_average_opens_in_the_viewer(results: list[Path], tmp_path: Path) -> None:
    assert run(results, tmp_path / "a_results.hdf") == 0
    program = (
        "import sys; from pyxpcsviewer.core.xpcs_file import XpcsFile; file = XpcsFile(sys.argv[1]); "
        "q, t, g2, error, labels = file.get_g2_data(); print(file.atype, g2.shape, file.saxs_2d.shape)"
    )
    done = viewer(program, str(tmp_path / "a_results.hdf"))
    assert done.returncode == 0, done.stderr[-2000:]
    n_delays = len(open_result(tmp_path / "a_results.hdf").delay_s)
    assert f"({n_delays}, 4)" in done.stdout
