from __future__ import annotations

import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import xpcs_assets
from xpcs_assets.correlate.worker import main
from xpcs_assets.errors import NoRoomError, ResultError
from xpcs_assets.results.result import open_result
from xpcs_assets.runs.folders import PARTIAL_SUFFIX
from xpcs_assets.testing.simulate import SimulatedRun


@pytest.fixture(scope="module")
def path(eiger: SimulatedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("result") / f"{eiger.name}_results.hdf"
    assert main([str(eiger.raw), "--qmap", str(eiger.qmap), "--output", str(output), "--dq", "1,3-8"]) == 0
    return output


LAYOUT = {
    "/xpcs/multitau/delay_list": ((28,), "int64"),
    "/xpcs/multitau/normalized_g2": ((28, 8), "float32"),
    "/xpcs/multitau/normalized_g2_err": ((28, 8), "float32"),
    "/xpcs/multitau/normalized_g2_err_boost": ((28, 8), "float32"),
    "/xpcs/multitau/n_static_used": ((28, 8), "int64"),
    "/xpcs/multitau/n_pairs": ((28,), "int64"),
    "/xpcs/multitau/few_pairs": ((28,), "bool"),
    "/xpcs/multitau/static_g2": ((28, 40), "float32"),
    "/xpcs/multitau/config/stride_frame": ((), "int64"),
    "/xpcs/multitau/config/avg_frame": ((), "int64"),
    "/xpcs/temporal_mean/scattering_2d": ((1, 96, 128), "float32"),
    "/xpcs/temporal_mean/saturated_pixels": ((20,), "int64"),
    "/xpcs/temporal_mean/scattering_1d": ((1, 40), "float32"),
    "/xpcs/temporal_mean/scattering_1d_segments": ((10, 40), "float32"),
    "/xpcs/spatial_mean/intensity_vs_time": ((2, 300), "float32"),
    "/xpcs/qmap/dynamic_roi_map": ((96, 128), "uint8"),
    "/xpcs/qmap/mask": ((96, 128), "bool"),
    "/entry/instrument/detector_1/frame_time": ((), "float64"),
}


@pytest.mark.parametrize("name", LAYOUT)
def test_a_dataset_of_the_layout_has_its_shape_and_type(path: Path, name: str) -> None:
    with h5py.File(path) as file:
        assert (file[name].shape, file[name].dtype.name) == LAYOUT[name]


def test_the_metadata_and_the_qmap_are_copied_whole(path: Path, eiger: SimulatedRun) -> None:
    with h5py.File(path) as result, h5py.File(eiger.metadata) as metadata, h5py.File(eiger.qmap) as qmap:
        names: list[str] = []
        metadata["entry"].visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert len(names) > 10
        for name in names:
            assert result["entry"][name][()] == metadata["entry"][name][()]
        for name, item in qmap["qmap"].items():
            assert np.array_equal(result["xpcs/qmap"][name][()], item[()])
        assert dict(result["xpcs/qmap"].attrs) == dict(qmap["qmap"].attrs)


def test_the_nxxpcs_names_are_links_to_the_same_arrays(path: Path) -> None:
    with h5py.File(path) as file:
        assert np.array_equal(file["/entry/data/g2"][()], file["/xpcs/multitau/normalized_g2"][()])
        assert isinstance(file.get("/entry/data/g2", getlink=True), h5py.SoftLink)
        assert np.array_equal(file["/entry/data/delay_difference"][()], file["/xpcs/multitau/delay_list"][()])
        assert file["/entry/instrument/masks/dynamic_roi_map"].shape == (96, 128)


def test_what_is_undefined_is_0_with_infinite_error_in_the_file_and_nan_here(path: Path) -> None:
    with h5py.File(path) as file:
        assert not file["/xpcs/multitau/normalized_g2"][:, 1].any()
        assert np.isposinf(file["/xpcs/multitau/normalized_g2_err"][:, 1]).all()
        assert not file["/xpcs/multitau/n_static_used"][:, 1].any()
    result = open_result(path)
    assert np.isnan(result.g2[:, 1]).all()
    assert np.isnan(result.g2_error[:, 1]).all()
    assert np.isfinite(result.g2[:, [0, 2, 7]]).all()


def test_arrays_carry_units_and_labels(path: Path, eiger: SimulatedRun) -> None:
    result = xpcs_assets.open(path)
    assert result.run == eiger.name
    assert result.frame_time_s == pytest.approx(eiger.truth.frame_time_s)
    np.testing.assert_allclose(result.delay_s, result.delay_frames * 1e-3)
    np.testing.assert_allclose(result.q_inv_angstrom, eiger.truth.q_inv_angstrom, rtol=0.05)
    assert result.labels[0].startswith("q = 0.0")
    assert result.labels[0].endswith("Å⁻¹")
    assert result.static_q.shape == (40,)
    assert result.mask.dtype == bool
    assert result.dynamic_map.max() == 8
    assert result.intensity_vs_time[0].tolist() == list(range(300))
    assert result.recipe.settings.dynamic_bins == "1,3-8"
    assert result.provenance["inputs"]["raw"][0]["name"] == eiger.raw.name
    assert result.n_pairs[0] == 299


def test_the_static_bins_lie_on_the_grid_of_the_maps_coordinates(path: Path) -> None:
    result = open_result(path)
    found = result.q_phi()
    with h5py.File(path) as file:
        place = file["/xpcs/qmap/static_index_mapping"][()]
        sizes = tuple(file[f"/xpcs/qmap/static_v_list_dim{axis}"].size for axis in (0, 1))
    assert found.names[0] == "q"
    assert found.mean.shape == (found.first.size, found.second.size) == sizes
    np.testing.assert_array_equal(found.mean.ravel()[place], result.scattering_1d)
    np.testing.assert_array_equal(found.first[place // sizes[1]], result.static_q)


def test_places_of_the_grid_without_a_bin_are_undefined_and_impossible_ones_refused(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.hdf"
    other.write_bytes(path.read_bytes())
    with h5py.File(other, "r+") as file:
        first = file["/xpcs/qmap/static_v_list_dim0"][()]
        del file["/xpcs/qmap/static_v_list_dim0"]
        file["/xpcs/qmap/static_v_list_dim0"] = np.append(first, 1.0)
    result = open_result(other)
    assert np.isnan(result.q_phi().mean[-1]).all()
    assert np.isfinite(result.q_phi().mean[:-1]).all()
    with h5py.File(other, "r+") as file:
        file["/xpcs/qmap/static_index_mapping"][0] = 255
    with pytest.raises(ResultError, match="no place on the grid"):
        result.q_phi()


def boost_like(path: Path, to: Path, segments: np.ndarray) -> Path:
    """A result as boost_corr leaves it: without provenance, and with other segments."""
    to.write_bytes(path.read_bytes())
    with h5py.File(to, "r+") as file:
        del file["/xpcs/provenance"]
        del file["/xpcs/temporal_mean/scattering_1d_segments"]
        file["/xpcs/temporal_mean/scattering_1d_segments"] = segments.astype(np.float32)
    return to


def test_the_segments_of_boost_corr_which_are_sums_become_means(path: Path, tmp_path: Path) -> None:
    # 300 frames make 9 segments of 32 frames; each sum is over 300.
    means = np.random.default_rng(1).uniform(0.9, 1.1, (9, 40)) * open_result(path).scattering_1d
    sums = boost_like(path, tmp_path / "sums.hdf", means * 32 / 300)
    np.testing.assert_allclose(open_result(sums).segments, means, rtol=1e-6)
    as_they_are = boost_like(path, tmp_path / "means.hdf", means)
    np.testing.assert_allclose(open_result(as_they_are).segments, means, rtol=1e-6)


def test_the_table_says_units_and_provenance_and_reads_back(path: Path, tmp_path: Path) -> None:
    result = open_result(path)
    result.to_csv(tmp_path / "g2.csv")
    lines = (tmp_path / "g2.csv").read_text(encoding="utf-8").splitlines()
    header = [line for line in lines if line.startswith("#")]
    assert any(result.recipe.digest in line for line in header)
    assert any("delay_s: s" in line for line in header)
    assert f"# bin 3: {result.labels[2]}" in header
    rows = list(csv.DictReader(lines[len(header) :]))
    np.testing.assert_array_equal([float(row["g2_3"]) for row in rows], result.g2[:, 2])
    assert rows[0]["g2_2"] == "nan"
    assert [row["few_pairs"] == "1" for row in rows] == result.few_pairs.tolist()


def test_delays_of_fewer_than_four_pairs_are_flagged_in_file_result_and_tables(path: Path) -> None:
    result = open_result(path)
    # 300 frames: the last of four delays, 256 of them, pairs 9 frames of 32 at a distance of 8.
    assert result.n_pairs[-4:].tolist() == [4, 3, 2, 1]
    assert np.flatnonzero(result.few_pairs).tolist() == [25, 26, 27]
    with h5py.File(path) as file:
        assert file["/xpcs/multitau/few_pairs"][()].tolist() == result.few_pairs.tolist()
    table = result.to_dataframe()
    assert sorted(set(table["delay_frames"][table["few_pairs"]])) == result.delay_frames[25:].tolist()
    assert all(fit.n_points == 25 for fit in result.fit() if fit.ok)


def test_fits_and_their_power_law_come_with_a_result(path: Path) -> None:
    result = open_result(path)
    fits = result.fit()
    assert [fit.ok for fit in fits][1] is False
    assert sum(fit.ok for fit in fits) >= 5
    power = result.fit_tau_q(fits)
    assert power is not None
    assert -3 < power.exponent < -1


def test_the_same_input_gives_the_same_file_but_for_the_times(path: Path, eiger: SimulatedRun, tmp_path: Path) -> None:
    again = tmp_path / path.name
    assert main([str(eiger.raw), "--qmap", str(eiger.qmap), "--output", str(again), "--dq", "1,3-8"]) == 0
    with h5py.File(path) as first, h5py.File(again) as second:
        names: list[str] = []
        first.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in names:
            one, other = first[name][()], second[name][()]
            if name == "xpcs/provenance/report":
                one, other = ({**json.loads(text), "seconds": 0} for text in (one, other))
            np.testing.assert_equal(one, other)


def test_a_file_that_is_no_result_is_refused(tmp_path: Path, eiger: SimulatedRun) -> None:
    text = tmp_path / "text.hdf"
    text.write_text("nothing")
    for wrong, word in ((tmp_path / "none.hdf", "no such"), (text, "no HDF5"), (eiger.qmap, "missing")):
        with pytest.raises(ResultError, match=f"(?i){word}"):
            open_result(wrong)


def test_a_truncated_result_is_refused(path: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.hdf"
    cut.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ResultError, match=r"cut\.hdf"):
        open_result(cut)


def test_a_result_whose_parts_do_not_fit_is_refused(path: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.hdf"
    wrong.write_bytes(path.read_bytes())
    with h5py.File(wrong, "r+") as file:
        del file["/xpcs/multitau/delay_list"]
        file["/xpcs/multitau/delay_list"] = np.arange(5)
    with pytest.raises(ResultError, match="do not fit each other"):
        open_result(wrong)


def test_a_full_disk_leaves_nothing_under_either_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xpcs_assets.results import write_result

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write_result.os, "fsync", full)
    with pytest.raises(NoRoomError, match="Make room"):
        write_result.write_atomically(tmp_path / "a.hdf", b"content")
    assert not list(tmp_path.iterdir())
    assert PARTIAL_SUFFIX not in str(list(tmp_path.iterdir()))
