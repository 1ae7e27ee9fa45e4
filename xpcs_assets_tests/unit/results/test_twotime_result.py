"""Two-time correlation written, read back, and cut; through files, as people do it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.correlate.worker import main
from xpcs_assets.engine import twotime
from xpcs_assets.engine.twotime import TwoTime, TwotimeCorrelator
from xpcs_assets.engine.twotime_passes import bytes_needed
from xpcs_assets.errors import NotFoundError, ResultError
from xpcs_assets.results.result import Result, open_result
from xpcs_assets.results.twotime_cuts import means, window
from xpcs_assets.results.twotime_result import TwoTimeResult, open_twotime
from xpcs_assets.results.write_twotime import put_twotime
from xpcs_assets.testing.dynamics import ageing_correlation
from xpcs_assets.testing.simulate import SimulatedRun, simulate
from xpcs_assets_tests.made_results import make_result
from xpcs_assets_tests.unit.engine.reference import chunks, maps, partition_of
from xpcs_assets_tests.unit.engine.test_twotime import speckle
from xpcs_assets_tests.unit.engine.twotime_reference import g2_of, two_time

FRAME_TIME_S = make_result().frame_time_s


def made(folder: Path, twotime: TwoTime) -> TwoTimeResult:
    path = folder / "made_results.hdf"
    with h5py.File(path, "w") as file:
        put_twotime(file, twotime)
    return TwoTimeResult.of(replace(make_result(), path=path))


def mapped(n_frames: int, **options: object) -> TwoTime:
    part, _, _ = partition_of(*maps((12, 15), 3, 2, seed=1))
    correlator = TwotimeCorrelator(part, n_frames, bins=[1, 3], **options)  # type: ignore[arg-type]
    valid = np.arange(n_frames) != 20
    for chunk in chunks(speckle(n_frames, 180, 3, seed=1), valid, 50, "frames"):
        correlator.push(chunk)
    return correlator.finish()


@pytest.fixture(scope="module")
def ageing(tmp_path_factory: pytest.TempPathFactory) -> tuple[SimulatedRun, Result]:
    run = simulate(
        tmp_path_factory.mktemp("ageing"), format="eiger", frames=600, seed=7, n_dynamic=3, n_static=24,
        d_a2_per_s=1e8, ageing_time_s=0.15, mean_counts=1.0,
    )  # fmt: skip
    output = run.folder / f"{run.name}_results.hdf"
    assert main([str(run.raw), "--qmap", str(run.qmap), "--output", str(output), "--type", "twotime"]) == 0
    return run, open_result(output)


def test_the_layout_is_that_of_the_aps_engine_and_undefined_is_0_there(tmp_path: Path) -> None:
    found = mapped(63)
    made(tmp_path, found)
    with h5py.File(tmp_path / "made_results.hdf") as file:
        group = file["/xpcs/twotime"]
        assert group["processed_bins"][()].tolist() == [1, 3]
        assert group["processed_bins"].dtype == np.int32
        assert list(group["correlation_map"]) == ["c2_00001", "c2_00002"]
        c2 = group["correlation_map/c2_00002"]
        assert (c2.shape, c2.dtype, c2.compression) == ((63, 63), np.float32, "lzf")
        assert not np.tril(c2[()], -1).any()
        assert not c2[20].any()
        assert np.isfinite(c2[()]).all()
        np.testing.assert_array_equal(c2[:20, :20], found.maps[1][:20, :20])
        assert group["normalized_g2"].shape == (63, 2)
        assert group["normalized_g2_segments"].shape == (12, 5, 2)


def test_a_map_comes_back_whole_with_what_is_undefined_as_nan(tmp_path: Path) -> None:
    found = mapped(63)
    bin_ = made(tmp_path, found).bin(3)
    c2 = bin_.map()
    np.testing.assert_array_equal(c2, c2.T)
    assert np.isnan(c2[20]).all()
    assert np.isfinite(np.delete(np.delete(c2, 20, 0), 20, 1)).all()
    upper = np.triu_indices(63)
    np.testing.assert_array_equal(c2[upper], found.maps[1][upper])
    np.testing.assert_allclose(bin_.times_s(), np.arange(63) * FRAME_TIME_S)
    g2 = bin_.g2()
    np.testing.assert_allclose(g2.g2, g2_of(c2), rtol=1e-6)
    np.testing.assert_allclose(g2.error, found.error[:, 1], rtol=1e-6)
    np.testing.assert_array_equal(g2.n_pairs, found.n_pairs[:, 1])
    np.testing.assert_allclose(bin_.segments, found.segments[:, :, 1].T, rtol=1e-6)


@pytest.mark.parametrize("along", ["age", "t1"])
@pytest.mark.parametrize("whole_frames", [500, 50])
def test_cuts_are_means_over_the_pairs_of_their_age_or_t1(tmp_path: Path, along: str, whole_frames: int) -> None:
    found = mapped(200, whole_frames=whole_frames)
    bin_ = made(tmp_path, found).bin(1)
    assert len(found.levels) == (0 if whole_frames == 500 else 3)
    cut = {"age": bin_.age_cuts, "t1": bin_.fixed_t1_cuts}[along]
    cuts = cut([0.05, 0.12], 0.02)
    _, dynamic, static = partition_of(*maps((12, 15), 3, 2, seed=1))
    c2 = two_time(speckle(200, 180, 3, seed=1), np.arange(200) != 20, dynamic, static, 1)
    t1, t2 = np.indices(c2.shape) * FRAME_TIME_S
    middle = (t1 + t2) / 2 if along == "age" else t1
    for row, centre_s in enumerate(cuts.at_s):
        for lag in (0, 1, 12, 31):
            near = (middle >= centre_s - 0.01 - 1e-9) & (middle < centre_s + 0.01 - 1e-9)
            values = c2[near & (np.rint((t2 - t1) / FRAME_TIME_S) == lag)]
            column = int(np.flatnonzero(np.isclose(cuts.lag_s, lag * FRAME_TIME_S))[0])
            assert cuts.n_pairs[row, column] == np.isfinite(values).sum()
            assert cuts.g2[row, column] == pytest.approx(np.nanmean(values), rel=1e-5)
    beyond = cuts.lag_s > 0.3
    assert np.isnan(cuts.g2[0, beyond & (along == "age")]).all()


def test_the_error_of_a_cut_knows_that_neighbours_are_alike() -> None:
    random = np.random.default_rng(1)
    rows = random.normal(size=(400, 20, 130))
    smooth = (rows[:, :, :-4] + rows[:, :, 1:-3] + rows[:, :, 2:-2] + rows[:, :, 3:-1] + rows[:, :, 4:]) / 5
    for noise, least in ((rows, 0.85), (smooth, 0.85)):
        found = np.stack([means(list(one), skip=0) for one in noise])
        assert least < found[:, :, 0].std() / np.sqrt(np.mean(found[:, :, 1] ** 2)) < 1.15


def test_a_window_holds_what_lies_within_its_width_and_at_least_one_step() -> None:
    values = np.arange(10.0)
    assert window(values, 0.0, 1.0, 5.0, 3.0).tolist() == [4, 5, 6]
    assert window(values, 0.5, 1.0, 5.0, 2.0).tolist() == [4, 5]
    assert window(values, 0.0, 1.0, 5.2, 0.1).tolist() == [5]
    assert window(values, 0.0, 1.0, 20.0, 3.0).size == 0


def test_a_long_series_has_its_lags_of_all_levels_and_a_map_of_summed_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twotime, "MAP_FRAMES", 60)
    found = mapped(200, whole_frames=50)
    bin_ = made(tmp_path, found).bin(3)
    assert bin_.frames_per_bin == 4
    assert bin_.map().shape == (50, 50)
    np.testing.assert_allclose(bin_.times_s()[:2], np.array([1.5, 5.5]) * FRAME_TIME_S)
    g2 = bin_.g2()
    assert (np.diff(g2.lag_s) > 0).all()
    np.testing.assert_allclose(g2.lag_s[[0, 1, 63, 64]], np.array([0, 1, 63, 64]) * FRAME_TIME_S)
    assert g2.lag_s[-1] == pytest.approx(196 * FRAME_TIME_S)
    np.testing.assert_allclose(g2.g2[:64], found.levels[0].g2[:, 1], rtol=1e-6)


def test_a_bin_is_found_by_its_number_or_by_the_nearest_q(tmp_path: Path) -> None:
    result = make_result()
    twotime = made(tmp_path, mapped(40))
    assert twotime.bin(3).label == result.labels[2]
    assert twotime.bin(float(result.q_inv_angstrom[0]) * 1.1).number == 1
    assert twotime.bin(1.0).number == 3
    with pytest.raises(NotFoundError, match=r"no two-time map of bin 2\. There are those of 1, 3"):
        twotime.bin(2)


@pytest.mark.parametrize(("ages", "width"), [([], 0.1), ([0.1], 0.0)])
def test_a_cut_of_nothing_is_refused(tmp_path: Path, ages: list[float], width: float) -> None:
    with pytest.raises(NotFoundError, match="no such cut"):
        made(tmp_path, mapped(40)).bin(1).age_cuts(ages, width)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("processed_bins", "processed_bins: it is missing"),
        ("correlation_map/c2_00001", "c2_00001: it is missing"),
        ("bins", "names bins that are not there"),
    ],
)
def test_a_file_that_lacks_something_is_a_result_error(tmp_path: Path, spoil: str, message: str) -> None:
    made(tmp_path, mapped(40))
    path = tmp_path / "made_results.hdf"
    with h5py.File(path, "a") as file:
        if spoil == "bins":
            file["/xpcs/twotime/processed_bins"][0] = 99
        else:
            del file[f"/xpcs/twotime/{spoil}"]
    with pytest.raises(ResultError, match=message):
        TwoTimeResult.of(replace(make_result(), path=path)).bin(1).map()


def test_a_result_of_two_time_alone_opens_and_has_no_delays(ageing: tuple[SimulatedRun, Result]) -> None:
    run, result = ageing
    assert result.g2.shape == (0, 3)
    assert result.twotime_bins == (1, 2, 3)
    assert result.frame_time_s == run.truth.frame_time_s
    assert not any(fit.ok for fit in result.fit())
    bin_ = result.two_time(run.truth.q_inv_angstrom[1])
    assert bin_.number == 2
    assert bin_.map().shape == (600, 600)
    assert open_twotime(result.path).smoothing == "sqmap"


def test_bins_in_several_passes_give_the_same_maps(ageing: tuple[SimulatedRun, Result], tmp_path: Path) -> None:
    run, result = ageing
    n_pixels = [np.count_nonzero(result.dynamic_map == bin_) for bin_ in (1, 2, 3)]
    memory = bytes_needed(600, max(n_pixels), 3) + 1000
    output = tmp_path / "passes_results.hdf"
    arguments = [str(run.raw), "--qmap", str(run.qmap), "--output", str(output), "--type", "twotime"]
    assert main([*arguments, "--memory", str(memory)]) == 0
    again = open_result(output)
    assert (result.provenance["n_passes"], again.provenance["n_passes"]) == (1, 3)
    for bin_ in (1, 2, 3):
        np.testing.assert_array_equal(again.two_time(bin_).map(), result.two_time(bin_).map())


def test_maps_that_no_memory_would_hold_are_refused_with_what_to_do(
    ageing: tuple[SimulatedRun, Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = ageing
    arguments = [str(run.raw), "--qmap", str(run.qmap), "--output", str(tmp_path / "o_results.hdf")]
    assert main([*arguments, "--type", "both", "--memory", "10M"]) != 0
    assert "--twotime-dq" in capsys.readouterr().err
    assert list(tmp_path.glob("o_results.hdf*")) == []


def law_of(run: SimulatedRun, bin_: int, t1_s: np.ndarray, t2_s: np.ndarray) -> np.ndarray:
    """Mean over a bin's pixels of the law: a ring holds a range of q."""
    partition, truth = run.scene.partition, run.truth
    q = run.scene.q[partition.dynamic == bin_]
    edges = np.quantile(q**2, (np.arange(20) + 0.5) / 20)
    taus_s = 1 / (truth.d_a2_per_s * edges)
    return 1 + truth.beta_eff[bin_ - 1] * np.mean(
        [ageing_correlation(t1_s, t2_s, tau_s, truth.ageing_time_s) for tau_s in taus_s], axis=0
    )


def ages(run: SimulatedRun, result: Result) -> Iterator[tuple[float, float]]:
    """Distance from the law in stated errors, of every cut, bin and lag; and the same if the sample did not age."""
    young = replace(run, truth=replace(run.truth, ageing_time_s=1e9))
    for bin_ in (1, 2, 3):
        cuts = result.two_time(bin_).age_cuts([0.1, 0.3, 0.5], 0.1)
        for row, age_s in enumerate(cuts.at_s):
            for column in range(1, 60):
                lag_s = cuts.lag_s[column]
                age = np.linspace(age_s - 0.05, age_s + 0.05, 21)
                pair = age - lag_s / 2, age + lag_s / 2
                found, error = cuts.g2[row, column], cuts.error[row, column]
                yield (
                    (found - law_of(run, bin_, *pair).mean()) / error,
                    (found - law_of(young, bin_, *pair).mean()) / error,
                )


def test_an_ageing_sample_reproduces_its_two_time_law_within_the_errors(ageing: tuple[SimulatedRun, Result]) -> None:
    aged, young = np.array(list(ages(*ageing))).T
    assert 0.85 < np.sqrt(np.mean(aged**2)) < 1.2
    assert abs(aged.mean()) < 0.3
    assert np.sqrt(np.mean(young**2)) > 3
