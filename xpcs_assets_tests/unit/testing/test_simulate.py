from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import h5py
import numpy as np
import pytest

from xpcs_assets.errors import QmapError, RefusedError
from xpcs_assets.qmaps.qmap import check_shape, read_qmap
from xpcs_assets.readers.metadata import find_metadata, read_acquisition
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.readers.series import Events, RawSeries
from xpcs_assets.testing.scene import Format, photons
from xpcs_assets.testing.simulate import FRAMES_FIELD, SimulatedRun, simulate

FORMATS: tuple[Format, ...] = get_args(Format)
SMALL = (64, 72)
RAW_FILES = {
    "rigaku3m": [f".bin.00{module}" for module in range(6)],
    "dectris": ["_master.h5", "_data_000001.h5"],
    "npy": [".npy", ".json", "_mask.npy"],
}


def counts_of(series: RawSeries, pixel: np.ndarray, n_frames: int) -> np.ndarray:
    """Counts of some pixels, (frames, pixels), with small chunks."""
    counts = np.zeros((n_frames, pixel.size), np.int64)
    column = np.full(series.info.shape[0] * series.info.shape[1], -1)
    column[pixel] = np.arange(pixel.size)
    for chunk in series.chunks(0, n_frames, max_bytes=1 << 20):
        if isinstance(chunk, Events):
            assert (column[chunk.pixel] >= 0).all()
            counts[chunk.frame, column[chunk.pixel]] = chunk.count
        else:
            counts[chunk.begin : chunk.end] = chunk.counts[:, pixel]
    return counts


def frames_of(run: SimulatedRun) -> np.ndarray:
    """Counts of the lit pixels by the simulator itself, (frames, pixels)."""
    counts = np.zeros((run.truth.frames_recorded, run.sample.pixel.size), np.int64)
    for row, (pixel, count) in zip(counts, photons(run.sample), strict=True):
        row[np.searchsorted(run.sample.pixel, pixel)] = count
    return counts


def small(folder: Path, kind: Format, **options: object) -> SimulatedRun:
    options = {"frames": 40, "shape": None if kind.startswith("rigaku") else SMALL, **options}
    return simulate(folder, format=kind, **options)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_reads_back_as_the_very_photons(tmp_path: Path, kind: Format) -> None:
    run = small(tmp_path, kind)
    with open_raw(run.raw) as series:
        assert series.info.n_recorded == 40
        assert series.info.shape == run.scene.partition.shape
        counts = counts_of(series, run.sample.pixel, 40)
    np.testing.assert_array_equal(counts, frames_of(run))
    assert counts.sum() > 1000


@pytest.mark.parametrize("kind", FORMATS)
def test_a_run_lies_on_disk_as_at_the_beamline(tmp_path: Path, kind: Format) -> None:
    run = small(tmp_path, kind, seed=7)
    assert run.name == "A007_sim_a0001_f000040_r00001"
    assert run.raw.parent == run.folder == tmp_path / run.name
    names = {path.name.removeprefix(run.name) for path in run.folder.iterdir()}
    assert names == {*RAW_FILES.get(kind, (run.raw.suffix,)), "_metadata.hdf", "_qmap.hdf", "_truth.json"}
    assert find_metadata(run.raw) == run.metadata
    acquisition = read_acquisition(run.metadata, frames_field=FRAMES_FIELD)
    assert (acquisition.frame_time_s, acquisition.n_frames) == (run.truth.frame_time_s, 40)
    qmap = read_qmap(run.qmap)
    check_shape(qmap, run.scene.partition.shape)
    truth = json.loads((run.folder / f"{run.name}_truth.json").read_text())
    assert truth["tau_q_s"] == run.truth.tau_q_s
    assert len(truth["tau_q_s"]) == len(truth["beta_eff"]) == qmap.n_dynamic


def test_the_same_seed_gives_the_same_photons_in_every_format(tmp_path: Path) -> None:
    sparse, eiger = (small(tmp_path / kind, kind, seed=5) for kind in ("imm", "eiger"))
    np.testing.assert_array_equal(frames_of(sparse), frames_of(eiger))
    assert frames_of(sparse).sum() != frames_of(small(tmp_path / "other", "imm", seed=6)).sum()


@pytest.mark.parametrize("kind", ["imm", "rigaku500k"])
def test_pixels_have_the_mean_and_the_law_asked_for(tmp_path: Path, kind: Format) -> None:
    run = small(tmp_path, kind, frames=500, mean_counts=0.4, beta=0.3, seed=2)
    partition = run.scene.partition
    counts = frames_of(run).astype(np.float64)
    bins = partition.dynamic.ravel()[run.sample.pixel]
    assert counts[:, bins > 0].mean() == pytest.approx(0.4, rel=0.02)
    q = run.scene.q.ravel()[run.sample.pixel]
    for k in range(1, partition.n_dynamic + 1):
        chosen = bins == k
        rate, q_k = run.sample.rate[chosen], q[chosen]
        # Brute force, each pixel by its own known rate: no normalisation comes in between.
        g2 = (counts[:-1, chosen] * counts[1:, chosen]).mean(axis=0).sum() / (rate**2).sum()
        decay = np.exp(-2 * run.truth.d_a2_per_s * run.truth.frame_time_s * q_k**2)
        expected = 1 + 0.3 * (decay * rate**2).sum() / (rate**2).sum()
        assert g2 == pytest.approx(expected, rel=0.03)
        assert decay.mean() == pytest.approx(np.exp(-2 * run.truth.frame_time_s / run.truth.tau_q_s[k - 1]), rel=0.02)


def test_the_truth_is_one_over_d_q_squared(tmp_path: Path) -> None:
    run = small(tmp_path, "imm", d_a2_per_s=5e6)
    q = np.array(run.truth.q_inv_angstrom)
    np.testing.assert_allclose(run.truth.tau_q_s, 1 / (5e6 * q**2), rtol=0.02)
    assert (np.diff(run.truth.tau_q_s) < 0).all()
    default = small(tmp_path / "default", "imm")
    assert max(default.truth.tau_q_s) == pytest.approx(40 * 1e-3 / 20)


def test_bad_pixels_and_beamstop_are_outside_the_map(tmp_path: Path) -> None:
    run = small(tmp_path, "eiger")
    mask = run.scene.partition.mask.ravel()
    assert not mask[run.scene.hot].any()
    assert not mask[run.scene.dead].any()
    y, x = run.scene.partition.beam_centre_yx
    assert not run.scene.partition.mask[round(y), round(x)]
    with open_raw(run.raw) as series:
        counts = counts_of(series, np.r_[run.scene.hot, run.scene.dead], 40)
    assert counts[:, : run.scene.hot.size].mean() > 20
    assert (counts[:, run.scene.hot.size :] == -1).all()


def test_dark_frames_come_first_and_are_named_in_the_metadata(tmp_path: Path) -> None:
    run = small(tmp_path, "imm-dense", dark_frames=6)
    acquisition = read_acquisition(run.metadata, frames_field=FRAMES_FIELD)
    assert (acquisition.dark_frames, acquisition.n_frames) == (6, 46)
    with open_raw(run.raw) as series:
        assert series.info.n_recorded == run.truth.frames_recorded == 46
        counts = counts_of(series, run.sample.pixel, 46)
    assert counts[:6].mean() < 0.05
    assert counts[6:].mean() > 0.3


@pytest.mark.parametrize("kind", ["imm", "eiger", "rigaku500k"])
def test_frames_that_were_never_recorded_are_not_in_the_file(tmp_path: Path, kind: Format) -> None:
    run = small(tmp_path, kind, missing_tail=10)
    assert run.name.split("_")[3] == "f000040"
    assert read_acquisition(run.metadata, frames_field=FRAMES_FIELD).n_frames == 40
    with open_raw(run.raw) as series:
        assert series.info.n_recorded == run.truth.frames_recorded == 30


def test_the_metadata_have_what_the_viewer_needs(tmp_path: Path) -> None:
    run = small(tmp_path, "lambda")
    with h5py.File(run.metadata, "r") as file:
        for name in (
            "start_time",
            "instrument/detector_1/frame_time",
            "instrument/detector_1/count_time",
            "instrument/incident_beam/incident_energy",
        ):
            assert file[f"/entry/{name}"].shape == ()
        assert file["/entry/instrument/detector_1/frame_time"].attrs["units"] == "s"


def test_a_run_is_never_written_over(tmp_path: Path) -> None:
    run = small(tmp_path, "imm")
    before = run.raw.read_bytes()
    with pytest.raises(RefusedError, match="there already"):
        small(tmp_path, "imm")
    assert run.raw.read_bytes() == before


@pytest.mark.parametrize(
    "options",
    [
        {"frames": 0},
        {"missing_tail": 40},
        {"missing_tail": -1},
        {"dark_frames": -1},
        {"beta": 0.0},
        {"mean_counts": 0.0},
        {"frame_time_s": -1.0},
        {"substeps": 0},
        {"drift": 2.0},
        {"leak_hot": -1},
    ],
)
def test_numbers_that_make_no_run_are_refused(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(RefusedError, match="make no run") as caught:
        small(tmp_path, "imm", **options)
    assert caught.value.remedy
    assert not list(tmp_path.iterdir())


def test_a_rigaku_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="rigaku500k has"):
        simulate(tmp_path, format="rigaku500k", frames=10, shape=(64, 64))


def test_rings_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(QmapError, match="do not divide"):
        small(tmp_path, "imm", n_dynamic=8, n_static=12)


def test_the_counts_follow_a_drifting_beam(tmp_path: Path) -> None:
    run = small(tmp_path, "imm", frames=300, drift=0.5, mean_counts=1.0)
    bins = run.scene.partition.dynamic.ravel()[run.sample.pixel]
    per_frame = frames_of(run)[:, bins > 0].mean(axis=1)
    assert per_frame[-60:].mean() / per_frame[:60].mean() == pytest.approx(1.2 / 0.8, rel=0.05)
    assert run.truth.drift == 0.5


def test_leaked_hot_pixels_are_in_the_map_and_named_in_the_truth(tmp_path: Path) -> None:
    run = small(tmp_path, "imm", leak_hot=3)
    leaked = run.truth.leaked_hot
    assert len(leaked) == 3
    assert run.scene.partition.mask.ravel()[leaked].all()
    assert frames_of(run)[:, np.searchsorted(run.sample.pixel, leaked)].mean() > 20
    assert len(set(run.sample.pixel.tolist())) == run.sample.pixel.size


@pytest.mark.parametrize("kind", ["imm", "imm-dense", "areadetector"])
def test_dropped_frames_are_not_in_the_file_and_known_as_invalid(tmp_path: Path, kind: Format) -> None:
    run = small(tmp_path, kind, dropped=5)
    lost = run.truth.dropped
    assert len(lost) == 5
    assert run.truth.frames_recorded == 35
    with open_raw(run.raw) as series:
        assert series.info.n_recorded == 40
        valid = np.concatenate([chunk.valid for chunk in series.chunks(0, 40)])
    assert np.flatnonzero(~valid).tolist() == lost


def test_frames_without_numbers_cannot_be_dropped(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="eiger does not number its frames"):
        small(tmp_path, "eiger", dropped=2)
    with pytest.raises(RefusedError, match="39 of 40 frames"):
        small(tmp_path, "imm", dropped=39)
    assert not list(tmp_path.iterdir())


def test_what_no_fit_tells_is_null_in_the_truth(tmp_path: Path) -> None:
    run = small(tmp_path, "imm", frames=3)
    truth = json.loads((run.folder / f"{run.name}_truth.json").read_text(), parse_constant=pytest.fail)
    assert truth["tau_fit_s"] == [None] * len(run.truth.tau_q_s)


@pytest.mark.parametrize("name", ["a/b", "..", "/a"])
def test_a_name_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="no name of a run"):
        simulate(tmp_path / "in", format="imm", frames=4, name=name)
    assert list(tmp_path.iterdir()) == []
