"""From raw file to result with everything that stands between: each against the definition on what it should be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from xpcs_assets.correlate.worker import main
from xpcs_assets.testing.simulate import SimulatedRun, simulate
from xpcs_assets_tests.unit.correlate.runs_made import MadeRun, assert_same, made_of, reference

Copied = Callable[[SimulatedRun], Path]
SHAPE = (48, 56)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> SimulatedRun:
    folder = tmp_path_factory.mktemp("small")
    return simulate(folder, format="eiger", frames=70, shape=SHAPE, n_dynamic=3, n_static=6, mean_counts=3, seed=5)


@pytest.fixture(scope="module")
def simulated_events(tmp_path_factory: pytest.TempPathFactory) -> SimulatedRun:
    folder = tmp_path_factory.mktemp("sparse")
    small = {"frames": 70, "shape": SHAPE, "n_dynamic": 3, "n_static": 6, "seed": 5}
    return simulate(folder, format="imm", name="sparse", mean_counts=0.02, **small)  # type: ignore[arg-type]


@pytest.fixture
def made(simulated: SimulatedRun, copied: Copied) -> MadeRun:
    run = made_of(simulated, copied(simulated))
    counts = run.counts()
    # Dead pixels are at their type's maximum; they are masked, and here they are in the way.
    run.set_counts(np.where(counts > 1000, 0, counts).astype(np.uint16))
    return run


@pytest.fixture
def sparse(simulated_events: SimulatedRun, copied: Copied) -> MadeRun:
    return made_of(simulated_events, copied(simulated_events))


def photons_of(run: SimulatedRun) -> NDArray[np.float64]:
    """Counts of an event file, (T, pixels), by the reader."""
    from xpcs_assets.readers.recognise import open_raw
    from xpcs_assets.readers.series import Events

    with open_raw(run.raw) as series:
        dense = np.zeros((series.info.n_recorded, SHAPE[0] * SHAPE[1]))
        for chunk in series.chunks(0, series.info.n_recorded):
            assert isinstance(chunk, Events)
            np.add.at(dense, (chunk.frame, chunk.pixel), chunk.count)
    return dense


# frames that do not count


def test_excluded_frames_make_no_pairs_and_are_counted_once(made: MadeRun) -> None:
    listed = made.folder / "bad.txt"
    listed.write_text("60-61 # beam lost\n\n7, 3\n")
    result = made.run("--exclude-frames", "3,10-12", "--exclude", str(listed))
    valid = np.ones(70, bool)
    valid[[3, 7, 10, 11, 12, 60, 61]] = False
    assert_same(result, reference(made.counts(), result, valid))
    assert made.report()["frames"]["invalid"] == {"excluded": 7}
    assert np.isnan(result.intensity_vs_time[1]).sum() == 7


def test_frames_in_a_beam_dump_do_not_count_and_the_others_do(made: MadeRun) -> None:
    counts = made.counts()
    counts[20:25] //= 10
    made.set_counts(counts)
    result = made.run("--beam-dump-below", "0.5")
    valid = np.ones(70, bool)
    valid[20:25] = False
    assert_same(result, reference(counts, result, valid))
    report = made.report()
    assert report["frames"]["invalid"] == {"beam dump": 5}
    assert report["flags"] == []


def test_photon_noise_that_would_be_a_beam_dump_is_flagged(sparse: MadeRun) -> None:
    sparse.run("--beam-dump-below", "0.9")
    (flag,) = sparse.report()["flags"]
    assert "standard deviations of photon noise away" in flag


def test_fewer_than_2_frames_that_count_are_an_error_with_the_reasons(
    made: MadeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(made.raw), "--qmap", str(made.qmap), "--output", str(made.folder / "out.hdf")]
    assert main([*arguments, "--exclude-frames", "0-3,5-69"]) == 1
    error = capsys.readouterr().err
    assert "1 of 70 frames count" in error
    assert "69 excluded" in error
    assert not (made.folder / "out.hdf").exists()


def test_frames_without_counts_do_not_count_when_divided_by_them(
    made: MadeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = made.counts()
    counts[4:] = 0
    made.set_counts(counts)
    made.run("--normalize", "frame")
    assert made.report()["frames"]["invalid"] == {"no counts": 66}
    assert made.report()["n_valid_frames"] == 4
    counts[1:] = 0
    made.set_counts(counts)
    arguments = [str(made.raw), "--qmap", str(made.qmap), "--output", str(made.folder / "one.hdf")]
    assert main([*arguments, "--normalize", "frame"]) == 1
    error = capsys.readouterr().err
    assert "1 of 70 frames count" in error
    assert "69 no counts" in error


def test_recorded_empty_frames_are_valid_time(made: MadeRun) -> None:
    counts = made.counts()
    counts[30:40] = 0
    made.set_counts(counts)
    result = made.run()
    assert_same(result, reference(counts, result))
    assert made.report()["frames"]["invalid"] == {}


@pytest.mark.parametrize("counted", [True, False], ids=["by the frame counter", "by the time stamps alone"])
def test_frames_that_were_never_recorded_are_invalid_time(
    counted: bool, sparse: MadeRun, simulated_events: SimulatedRun
) -> None:
    frames = frames_of_imm(sparse.raw.read_bytes())
    kept = [frame for number, frame in enumerate(frames) if number not in (20, 21, 50)]
    if not counted:
        kept = [frame[:160] + number.to_bytes(4, "little") + frame[164:] for number, frame in enumerate(kept)]
    sparse.raw.write_bytes(b"".join(kept))
    result = sparse.run()
    valid = np.ones(70, bool)
    valid[[20, 21, 50]] = False
    assert_same(result, reference(photons_of(simulated_events), result, valid))
    assert sparse.report()["frames"]["invalid"] == {"dropped": 3}


def test_a_kinetics_file_is_refused_by_name(sparse: MadeRun, capsys: pytest.CaptureFixture[str]) -> None:
    frames = frames_of_imm(sparse.raw.read_bytes())
    sparse.raw.write_bytes(b"".join(frame[:120] + b"\1\0\0\0" + frame[124:] for frame in frames))
    assert main([str(sparse.raw), "--qmap", str(sparse.qmap), "--output", str(sparse.folder / "out.hdf")]) == 1
    assert "this is a kinetics file" in capsys.readouterr().err


def frames_of_imm(content: bytes) -> list[bytes]:
    """The frames of a sparse IMM file, each with its header."""
    frames, at = [], 0
    while at < len(content):
        size = 1024 + 6 * int.from_bytes(content[at + 152 : at + 156], "little")
        frames.append(content[at : at + size])
        at += size
    return frames


def test_a_name_that_claims_more_frames_is_flagged_and_nothing_is_filled_up(made: MadeRun) -> None:
    assert "_f000070_" in made.raw.name
    counts = made.counts()[:60]
    made.set_counts(counts)
    result = made.run()
    assert_same(result, reference(counts, result))
    (flag,) = made.report()["flags"]
    assert flag.startswith("the run's name claims 70 frames, there are 60")
    with h5py.File(made.folder / "out.hdf") as file:
        assert flag in file["/xpcs/provenance/report"][()].decode()


# corrections


@pytest.fixture
def ccd(made: MadeRun) -> tuple[MadeRun, NDArray[np.float64]]:
    """A run in detector units with ten dark frames at the head; and all its frames, float64."""
    random = np.random.default_rng(3)
    photons = made.counts().astype(np.float64)
    pedestal = random.normal(200, 20, photons.shape[1])
    dark = pedestal + random.normal(0, 5, (10, photons.shape[1]))
    frames = np.rint(np.concatenate([dark, photons * 60 + pedestal + random.normal(0, 5, photons.shape)]))
    made.set_counts(frames.astype(np.uint16))
    return made, frames


def test_dark_frames_threshold_flat_and_units_are_xpcs_eigens(ccd: tuple[MadeRun, NDArray[np.float64]]) -> None:
    made, frames = ccd
    flat = np.random.default_rng(4).normal(1, 0.1, SHAPE).astype(np.float32)
    np.save(made.folder / "flat.npy", flat)
    options = ["--dark-frames", "10", "--lld", "8", "--sigma", "3", "--adu-per-photon", "60", "--round-photons"]
    result = made.run(*options, "--flat-file", str(made.folder / "flat.npy"))
    dark = frames[:10]
    value = np.maximum(frames[10:] - dark.mean(axis=0), 0)
    value[value <= 8 + 3 * dark.std(axis=0)] = 0
    value = np.rint(value / flat.ravel() / 60)
    assert made.report()["frames"]["dark"] == 10
    # What lies on a half photon may round either way in single precision.
    assert_same(result, reference(value, result), atol=3e-5)


def test_without_a_threshold_negative_values_stay_signed(ccd: tuple[MadeRun, NDArray[np.float64]]) -> None:
    made, frames = ccd
    dark = made.folder / "dark.h5"
    with h5py.File(dark, "w") as file:
        file["/dark/mean"] = frames[:10].mean(axis=0).reshape(SHAPE)
        file["/dark/std"] = frames[:10].std(axis=0).reshape(SHAPE)
    result = made.run("--dark-frames", "10", "--dark-file", str(dark))
    value = frames[10:] - frames[:10].mean(axis=0)
    assert (value < 0).any()
    assert_same(result, reference(value, result), atol=1e-5)
    negative = value.mean(axis=0) < 0
    used = (result.mask & (result.dynamic_map > 0)).ravel()
    np.testing.assert_allclose(result.intensity_vs_time[1], value[:, used].mean(axis=1), rtol=1e-4)
    assert negative.any()


def test_the_mean_of_an_unlit_region_is_taken_off_each_frame(made: MadeRun) -> None:
    counts = made.counts().reshape(-1, *SHAPE).astype(np.float64)
    drift = 100 + 10 * np.sin(np.arange(len(counts)))
    counts[:, 0:4, 0:6] = 0
    counts = np.rint(counts * 10 + drift[:, None, None])
    made.set_counts(counts.astype(np.float32))
    result = made.run("--offset-region", "0:4,0:6")
    value = counts - counts[:, 0:4, 0:6].mean(axis=(1, 2))[:, None, None]
    assert_same(result, reference(value.reshape(len(value), -1), result), atol=1e-5)


def test_pixels_without_a_flat_field_are_masked(made: MadeRun) -> None:
    plain = made.run()
    flat = np.ones(SHAPE)
    lit = np.argwhere(plain.mask & (plain.dynamic_map > 0))[::5]
    flat[lit[:, 0], lit[:, 1]] = 0
    with h5py.File(made.folder / "flat.h5", "w") as file:
        file["flatfield"] = flat
    result = made.run("--flat-file", str(made.folder / "flat.h5"), name="flat.hdf")
    assert made.report("flat.hdf")["n_pixels"] == made.report()["n_pixels"] - len(lit)
    assert made.report("flat.hdf")["n_saturated"] == 0
    assert np.array_equal(result.mask, plain.mask & (flat > 0))
    assert_same(result, reference(made.counts(), result))


def test_corrections_in_passes_within_a_memory_bound_give_the_same(ccd: tuple[MadeRun, NDArray[np.float64]]) -> None:
    made, _ = ccd
    options = ["--dark-frames", "10", "--lld", "8", "--partial-g2", "3"]
    one, many = made.run(*options), made.run(*options, "--memory", "400kB", name="many.hdf")
    assert made.report("many.hdf")["n_passes"] > 2
    np.testing.assert_allclose(one.g2, many.g2, atol=1e-9)


def test_a_threshold_on_events_leaves_events(sparse: MadeRun, simulated_events: SimulatedRun) -> None:
    counts = photons_of(simulated_events)
    result = sparse.run("--lld", "1")
    assert sparse.report()["form"] == "events"
    assert_same(result, reference(np.where(counts <= 1, 0, counts), result))


def test_a_flat_field_makes_fractions_of_events(sparse: MadeRun, simulated_events: SimulatedRun) -> None:
    flat = np.random.default_rng(4).normal(1, 0.2, SHAPE).astype(np.float32)
    np.save(sparse.folder / "flat.npy", flat)
    result = sparse.run("--flat-file", str(sparse.folder / "flat.npy"))
    assert sparse.report()["form"] == "frames"
    assert_same(result, reference(photons_of(simulated_events) / flat.ravel(), result), atol=1e-5)


# normalisation


def drifting(made: MadeRun) -> NDArray[np.float64]:
    beam = 1 + 0.3 * np.sin(np.arange(70) / 9)
    counts = np.random.default_rng(6).poisson(made.counts() * beam[:, None]).astype(np.float64)
    made.set_counts(counts.astype(np.uint16))
    return counts


def test_frames_are_divided_by_their_analysed_pixels_mean(made: MadeRun) -> None:
    counts = drifting(made)
    counts[33] = 0
    made.set_counts(counts.astype(np.uint16))
    result = made.run("--normalize", "frame", "--dq", "2")
    used = (result.mask & (result.dynamic_map > 0)).ravel()
    mean = counts[:, used].mean(axis=1)
    valid = mean > 0
    expected = reference(counts / np.where(valid, mean, 1)[:, None], result, valid)
    np.testing.assert_allclose(result.g2[:, 1], expected.g2[:, 1], atol=2e-6)
    assert np.isnan(result.g2[:, [0, 2]]).all()
    assert result.n_pairs.tolist() == expected.n_pairs
    assert made.report()["frames"]["invalid"] == {"no counts": 1}
    # The intensity is that of the beam, not what is left of it.
    np.testing.assert_allclose(result.intensity_vs_time[1], mean, rtol=1e-5)


def test_frames_are_divided_by_the_monitor_and_those_without_do_not_count(made: MadeRun) -> None:
    counts = drifting(made)
    monitor = 1000 * (1 + 0.3 * np.sin(np.arange(70) / 9))
    monitor[[5, 40]] = np.nan, 0
    made.set_metadata("/entry/monitor", monitor)
    result = made.run("--normalize", "monitor:/entry/monitor", "--begin-frame", "2", "--average", "2")
    valid = monitor[2:] > 0
    groups = counts[2:].reshape(34, 2, -1).sum(axis=1), np.where(valid, monitor[2:], 0).reshape(34, 2).sum(axis=1)
    sound = valid.reshape(34, 2).all(axis=1)
    assert_same(result, reference(groups[0] / np.where(sound, groups[1], 1)[:, None] * 1000, result, sound))
    assert made.report()["frames"]["invalid"] == {"no monitor": 2}


@pytest.mark.parametrize(("name", "said"), [("/entry/none", "no such monitor"), ("/entry/short", r"shape is (5,)")])
def test_a_monitor_that_does_not_fit_is_refused(
    made: MadeRun, name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made.set_metadata("/entry/short", np.ones(5))
    output = made.folder / "out.hdf"
    arguments = [str(made.raw), "--qmap", str(made.qmap), "--output", str(output), "--normalize", f"monitor:{name}"]
    assert main(arguments) == 1
    assert said in capsys.readouterr().err


def test_a_first_frame_beyond_the_monitor_s_last_reading_is_refused(
    made: MadeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    made.set_metadata("/entry/monitor", np.ones(70))
    arguments = [str(made.raw), "--qmap", str(made.qmap), "--output", str(made.folder / "out.hdf")]
    assert main([*arguments, "--normalize", "monitor:/entry/monitor", "--begin-frame", "90"]) == 1
    assert "0 frames make no pair" in capsys.readouterr().err


def test_events_are_divided_by_the_frames_mean_too(sparse: MadeRun, simulated_events: SimulatedRun) -> None:
    counts = photons_of(simulated_events)
    result = sparse.run("--normalize", "frame")
    used = (result.mask & (result.dynamic_map > 0)).ravel()
    expected = reference(counts / counts[:, used].mean(axis=1)[:, None], result)
    assert_same(result, expected, atol=1e-5)


def test_a_drift_is_flagged_until_it_is_taken_out(made: MadeRun) -> None:
    counts = np.random.default_rng(6).poisson(3.0, (400, SHAPE[0] * SHAPE[1]))
    made.set_counts(counts.astype(np.uint16))
    made.run()
    assert made.report()["flags"] == []
    made.set_counts((counts * (1 + 0.2 * np.linspace(-1, 1, 400))[:, None]).astype(np.uint16))
    made.run(name="drift.hdf")
    (flag,) = made.report("drift.hdf")["flags"]
    assert "--normalize frame takes it out" in flag
    made.run("--normalize", "frame", name="taken.hdf")
    assert made.report("taken.hdf")["flags"] == []


# partials, pixels, state


@pytest.mark.parametrize("kind", ["frames", "events"])
def test_partials_are_runs_cut_to_their_frames(kind: str, made: MadeRun, sparse: MadeRun) -> None:
    run = made if kind == "frames" else sparse
    run.run("--partial-g2", "4", "--kernel", kind)
    with h5py.File(run.folder / "out.hdf") as file:
        group = file["/xpcs/multitau"]
        partial, error, labels = (group[f"normalized_g2_partial{end}"][()] for end in ("", "_err", "_labels"))
        assert labels.tolist() == [17, 35, 52, 70]
        assert np.array_equal(partial[-1], group["normalized_g2"][()])
    for k, frames in enumerate(labels.tolist()[:-1]):
        cut = run.run("--end-frame", str(frames), "--kernel", kind, name=f"cut{frames}.hdf")
        n = len(cut.delay_frames)
        np.testing.assert_allclose(partial[k][:n], np.nan_to_num(cut.g2), atol=1e-6)
        np.testing.assert_allclose(error[k][:n], np.where(np.isnan(cut.g2), np.inf, cut.g2_error), atol=1e-6)
        assert not partial[k][n:].any()
        assert np.isposinf(error[k][n:]).all()


def test_the_sums_of_every_pixel_are_stored(made: MadeRun) -> None:
    counts = made.counts().astype(np.float64)
    result = made.run("--save-g2", "--exclude-frames", "12", "--memory", "1400kB", "--dq", "1-2")
    assert made.report()["n_passes"] > 1
    with h5py.File(made.folder / "out.hdf") as file:
        sums = file["/xpcs/multitau/unnormalized_G2"][()]
    assert sums.shape == (len(result.delay_s), 3, *SHAPE)
    used = result.mask & np.isin(result.dynamic_map, (1, 2)) & (result.static_map > 0)
    assert np.isnan(sums[:, :, ~used]).all()
    valid = np.ones(70, bool)
    valid[12] = False
    for row, (delay, level) in {2: (3, 0), 9: (12, 1)}.items():
        assert result.delay_frames[row] == delay
        width, lag = 2**level, delay >> level
        whole = 70 // width
        frames = counts[: whole * width].reshape(whole, width, -1).sum(axis=1)
        sound = valid[: whole * width].reshape(whole, width).all(axis=1)
        pair = sound[:-lag] & sound[lag:]
        past, future = frames[:-lag][pair] / width, frames[lag:][pair] / width
        for kind, expected in enumerate([(past * future).mean(axis=0), past.mean(axis=0), future.mean(axis=0)]):
            np.testing.assert_allclose(sums[row, kind][used], expected.reshape(SHAPE)[used], rtol=1e-6)


def test_pixels_that_do_not_fit_into_memory_are_refused(made: MadeRun, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(made.raw), "--qmap", str(made.qmap), "--output", str(made.folder / "out.hdf"), "--save-g2"]
    assert main([*arguments, "--memory", "300kB"]) == 1
    error = capsys.readouterr().err
    assert "G2, IP and IF of every pixel take" in error
    assert not (made.folder / "out.hdf").exists()


def test_pixels_with_a_masked_count_are_nan(made: MadeRun) -> None:
    counts = made.counts().copy()
    plain = made.run()
    row, column = np.argwhere(plain.mask & (plain.dynamic_map == 1))[0]
    counts.reshape(-1, *SHAPE)[40, row, column] = np.iinfo(counts.dtype).max
    made.set_counts(counts)
    made.run("--save-g2", name="sums.hdf")
    assert made.report("sums.hdf")["n_saturated"] == 1
    with h5py.File(made.folder / "sums.hdf") as file:
        assert np.isnan(file["/xpcs/multitau/unnormalized_G2"][:, :, row, column]).all()
        assert file["/xpcs/temporal_mean/saturated_pixels"][()].tolist() == [row * SHAPE[1] + column]
    pixels = {"detector": SHAPE[0] * SHAPE[1], "masked": int((~plain.mask).sum()), "saturated": 1}
    assert made.report("sums.hdf")["pixels"] == pixels
    made.run("--type", "twotime", name="maps.hdf")
    assert made.report("maps.hdf")["n_saturated"] == 1


# the time axis


def test_delays_in_seconds_are_stored_and_read(made: MadeRun) -> None:
    result = made.run("--stride", "2")
    with h5py.File(made.folder / "out.hdf") as file:
        assert np.array_equal(file["/xpcs/multitau/delay_s"][()], result.delay_s)
    np.testing.assert_allclose(result.delay_s, result.delay_frames * 2 * 1e-3)


def test_bursts_are_correlated_within_and_the_gaps_hold_no_pair(made: MadeRun) -> None:
    counts = made.counts().astype(np.float64)
    result = made.run("--frames-per-burst", "10", "--exclude-frames", "4")
    valid = np.ones(70, bool)
    valid[4] = False
    # The same with so much invalid time after each burst that nothing reaches across.
    spread, sound = np.zeros((7 * 64, counts.shape[1])), np.zeros(7 * 64, bool)
    for burst in range(7):
        spread[burst * 64 : burst * 64 + 10] = counts[burst * 10 : burst * 10 + 10]
        sound[burst * 64 : burst * 64 + 10] = valid[burst * 10 : burst * 10 + 10]
    expected = reference(spread, result, sound)
    assert result.delay_frames.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    np.testing.assert_allclose(result.g2, expected.g2[:8], atol=2e-6)
    assert result.n_pairs.tolist() == expected.n_pairs[:8]


PERIOD_S = 0.25


@pytest.fixture
def in_bursts(made: MadeRun) -> MadeRun:
    """A run of areaDetector whose time stamps tell of 7 bursts of 10 frames, ``PERIOD_S`` apart."""
    with h5py.File(made.raw, "r+") as file:
        burst, number = np.divmod(np.arange(70), 10)
        file["/entry/instrument/NDAttributes/NDArrayTimeStamp"] = 1e9 + burst * PERIOD_S + number * 1e-3
    return made


def test_time_stamps_give_the_delays_across_bursts(in_bursts: MadeRun) -> None:
    counts = in_bursts.counts().astype(np.float64)
    result = in_bursts.run("--frames-per-burst", "10", "--exclude-frames", "34")
    # A burst with a frame that does not count is not one of those that are compared.
    expected = reference(counts.reshape(7, 10, -1).sum(axis=1), result, np.arange(7) != 3)
    np.testing.assert_allclose(result.delay_s[:8], np.arange(1, 9) * 1e-3)
    np.testing.assert_allclose(result.delay_s[8:], np.array(expected.delay) * PERIOD_S)
    assert result.delay_frames[8:].tolist() == [250 * delay for delay in expected.delay]
    assert result.n_pairs[8:].tolist() == expected.n_pairs
    np.testing.assert_allclose(result.g2[8:], expected.g2, atol=2e-6)
    np.testing.assert_allclose(result.g2_error[8:], expected.error, atol=2e-6, rtol=1e-4)
    with h5py.File(in_bursts.folder / "out.hdf") as file:
        assert np.array_equal(file["/xpcs/multitau/delay_s"][()], result.delay_s)


@pytest.mark.parametrize("memory", ["1GiB", "1MiB"])
def test_partials_of_bursts_are_those_of_the_first_bursts(in_bursts: MadeRun, memory: str) -> None:
    whole = in_bursts.run("--frames-per-burst", "10", "--partial-g2", "3", "--memory", memory)
    with h5py.File(in_bursts.folder / "out.hdf") as file:
        partial = file["/xpcs/multitau/normalized_g2_partial"][()]
        assert file["/xpcs/multitau/normalized_g2_partial_labels"][()].tolist() == [20, 40, 70]
    assert partial.shape == (3, *whole.g2.shape)
    np.testing.assert_array_equal(partial[2], np.nan_to_num(whole.g2))
    for number, end in enumerate((20, 40)):
        cut = in_bursts.run("--frames-per-burst", "10", "--end-frame", str(end), name=f"{end}.hdf")
        known = np.isin(np.round(whole.delay_s, 6), np.round(cut.delay_s, 6))
        np.testing.assert_allclose(partial[number][known], np.nan_to_num(cut.g2), atol=2e-6)
        assert not partial[number][~known].any()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--begin-frame", "3"], "bursts of 10 frames are cut by begin 3"),
        (["--average", "4"], "are cut by"),
        (["--save-g2"], "bursts give g2 and its partials"),
        (["--type", "twotime"], "no two-time"),
        (["--end-frame", "9"], "9 frames make no burst of 10"),
    ],
)
def test_what_cuts_bursts_is_refused(
    made: MadeRun, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(made.raw), "--qmap", str(made.qmap), "--output", str(made.folder / "out.hdf")]
    assert main([*arguments, "--frames-per-burst", "10", *options]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--kernel", "events", "--normalize", "frame"], "--kernel events"),
        (["--kernel", "events", "--offset-region", "0:4,0:4"], "--kernel events"),
        (["--sigma", "3"], "there is no dark"),
        (["--offset-region", "0:4"], "is no region"),
        (["--offset-region", "0:4,0:99"], "is not on a detector of 48 x 56 pixels"),
        (["--exclude", "README"], "it cannot be read"),
    ],
)
def test_what_cannot_be_had_together_is_refused(
    made: MadeRun, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(made.raw), "--qmap", str(made.qmap), "--output", str(made.folder / "out.hdf"), *options]) == 1
    assert said in capsys.readouterr().err


def test_values_that_are_no_counts_are_never_taken_as_events(made: MadeRun, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(made.folder / "floats.npy", made.counts().reshape(-1, *SHAPE).astype(np.float32) - 0.5)
    output = str(made.folder / "out.hdf")
    arguments = [str(made.folder / "floats.npy"), "--qmap", str(made.qmap), "--metadata", str(made.metadata)]
    assert main([*arguments, "--output", output, "--kernel", "events"]) == 1
    assert "--kernel events" in capsys.readouterr().err


def test_the_form_of_the_engine_may_be_chosen_and_changes_nothing(made: MadeRun) -> None:
    results = [made.run("--kernel", form, name=f"{form}.hdf") for form in ("auto", "frames", "events")]
    assert [made.report(f"{form}.hdf")["form"] for form in ("auto", "frames", "events")] == [
        "frames", "frames", "events",
    ]  # fmt: skip
    assert len({result.recipe.digest for result in results}) == 1
    for result in results[1:]:
        np.testing.assert_allclose(result.g2, results[0].g2, atol=1e-9)


def test_a_result_with_invalid_frames_is_taken_as_it_is_the_second_time(
    made: MadeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        made.run("--exclude-frames", "3", "--beam-dump-below", "0.2")
    assert "was there already" in capsys.readouterr().out
