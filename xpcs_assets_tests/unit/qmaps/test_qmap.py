from __future__ import annotations

from dataclasses import fields
from dataclasses import replace as changed
from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.errors import QmapError
from xpcs_assets.qmaps.qmap import check_shape, copy_qmap, put_qmap, read_qmap, write_qmap
from xpcs_assets.qmaps.rings import QPartition, pixels_as_static_bins, q_of_pixels, ring_partition

SHAPE = (40, 60)
GEOMETRY = ((19.5, 30.25), 75e-6, 4.0, 10.0)


def rings(n_dynamic: int = 4, n_static: int = 12) -> QPartition:
    mask = np.ones(SHAPE, np.bool_)
    mask[:, 30] = False
    return ring_partition(SHAPE, *GEOMETRY, mask, n_dynamic, n_static, 0.0002, 0.0016)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "a_qmap.hdf"
    write_qmap(written, rings(), source_file="a.h5")
    return written


def test_a_written_map_comes_back_whole(path: Path) -> None:
    qmap, expected = read_qmap(path), rings()
    for item in fields(QPartition):
        ours, theirs = getattr(qmap, item.name), getattr(expected, item.name)
        if not item.name.endswith("v_lists"):
            ours, theirs = [ours], [theirs]
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
    assert (qmap.mask.dtype, qmap.dynamic.dtype, qmap.static.dtype) == (np.bool_, np.int32, np.int32)
    assert len(qmap.hash) == 64


def test_the_digest_is_of_the_bytes_and_the_same_map_gives_the_same(tmp_path: Path, path: Path) -> None:
    again = tmp_path / "again.hdf"
    write_qmap(again, rings(), source_file="a.h5")
    assert read_qmap(again).digest == read_qmap(path).digest
    assert read_qmap(path).digest.startswith("sha256:")
    write_qmap(again, rings(2), source_file="a.h5")
    assert read_qmap(again).digest != read_qmap(path).digest
    assert read_qmap(again).hash != read_qmap(path).hash


def test_the_file_has_what_the_viewer_needs(path: Path) -> None:
    with h5py.File(path, "r") as file:
        group = file["qmap"]
        assert {"hash", "version"} <= set(group.attrs)
        assert group["dynamic_roi_map"].dtype == np.uint8
        assert group["mask"].compression == "lzf"
        assert [name.decode() for name in group["map_units"][()]] == ["Å⁻¹", "deg"]
        assert dict(group["dynamic_v_list_dim0"].attrs) == {"name": "q", "unit": "Å⁻¹", "size": 4}


def test_rings_lie_where_their_q_says() -> None:
    partition = rings()
    q = q_of_pixels(SHAPE, *GEOMETRY)
    assert partition.dynamic_q is not None
    assert partition.static_q is not None
    for k in range(1, 5):
        inside = q[partition.dynamic == k]
        assert inside.min() >= 0.0002 + (k - 1) * 0.00035
        assert inside.max() < 0.0002 + k * 0.00035
        assert partition.dynamic_q[k - 1] == pytest.approx(0.0002 + (k - 0.5) * 0.00035)
    np.testing.assert_array_equal(partition.dynamic[partition.mask], (partition.static[partition.mask] - 1) // 3 + 1)
    np.testing.assert_allclose(partition.static_q.reshape(4, 3).mean(1), partition.dynamic_q)


def test_q_agrees_with_braggs_law() -> None:
    # 100 pixels of 0.1 mm at 1 m, 1 angstrom: q = 4 pi sin(atan(0.01) / 2)
    q = q_of_pixels((1, 101), (0, 0), 1e-4, 1.0, 12.39841984)
    assert q[0, 0] == 0
    assert q[0, 100] == pytest.approx(4 * np.pi * np.sin(np.arctan(0.01) / 2), rel=1e-12)


def test_empty_rings_have_no_number() -> None:
    mask = np.ones(SHAPE, np.bool_)
    q = q_of_pixels(SHAPE, *GEOMETRY)
    mask[(q >= 0.0006) & (q < 0.001)] = False
    partition = ring_partition(SHAPE, *GEOMETRY, mask, 7, 7, 0.0002, 0.0016)
    assert partition.dynamic_index_mapping.tolist() == [0, 1, 4, 5, 6]
    assert partition.n_dynamic == int(partition.dynamic.max()) == 5
    assert partition.dynamic_label(3) == "q = 0.0011 Å⁻¹"


def test_each_pixel_may_be_a_static_bin_of_its_own(tmp_path: Path) -> None:
    write_qmap(tmp_path / "pixels.hdf", pixels_as_static_bins(rings()))
    qmap = read_qmap(tmp_path / "pixels.hdf")
    np.testing.assert_array_equal(qmap.dynamic, rings().dynamic)
    assert qmap.n_static == np.count_nonzero(qmap.mask)
    assert np.unique(qmap.static).size == qmap.n_static + 1
    q = q_of_pixels(SHAPE, *GEOMETRY)
    assert qmap.static_q is not None
    np.testing.assert_array_equal(qmap.static_q[qmap.static[qmap.mask] - 1], q[qmap.mask])
    assert (np.diff(qmap.static_q) >= 0).all()


def test_without_edges_every_pixel_of_the_mask_is_used() -> None:
    mask = np.ones(SHAPE, np.bool_)
    partition = ring_partition(SHAPE, *GEOMETRY, mask, 3, 9)
    assert partition.mask.all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"n_static": 5}, "do not divide"),
        ({"n_dynamic": 0}, "do not divide"),
        ({"mask": np.zeros(SHAPE, np.bool_)}, "leaves no pixel"),
        ({"mask": np.ones((2, 2), np.bool_)}, "the mask is"),
        ({"q_min": 0.1, "q_max": 0.2}, "no pixel has a q"),
        ({"q_min": 0.001, "q_max": 0.001}, "no pixel has a q"),
    ],
)
def test_numbers_that_make_no_rings_are_refused(change: dict[str, object], reason: str) -> None:
    numbers = {"mask": np.ones(SHAPE, np.bool_), "n_dynamic": 2, "n_static": 4, **change}
    with pytest.raises(QmapError, match=reason):
        ring_partition(SHAPE, *GEOMETRY, **numbers)


def test_labels_name_q_and_phi_with_their_units(path: Path) -> None:
    with h5py.File(path, "a") as file:
        group = file["qmap"]
        for kind in ("dynamic", "static"):
            group[f"{kind}_num_pts"][...] = [group[f"{kind}_v_list_dim0"].size, 2]
            del group[f"{kind}_v_list_dim1"]
            group[f"{kind}_v_list_dim1"] = np.array([-90.0, 45.0])
        group["dynamic_index_mapping"][...] = [0, 1, 2, 5]
    qmap = read_qmap(path)
    assert qmap.dynamic_label(2) == "q = 0.000375 Å⁻¹, φ = 45 deg"
    assert qmap.dynamic_centre(4) == (pytest.approx(0.001075), 45.0)
    with pytest.raises(QmapError, match="no dynamic bin 5"):
        qmap.dynamic_label(5)


def test_maps_of_other_axes_have_no_q(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["qmap/map_names"][...] = ["x", "y"]
        file["qmap/map_units"][...] = ["pixel", "pixel"]
    qmap = read_qmap(path)
    assert (qmap.dynamic_q, qmap.static_q) == (None, None)
    assert qmap.dynamic_label(1).startswith("x = ")


def test_another_detectors_map_is_refused_with_both_shapes(path: Path) -> None:
    qmap = read_qmap(path)
    check_shape(qmap, SHAPE)
    with pytest.raises(QmapError, match="40 x 60 pixels, the raw data are 60 x 40"):
        check_shape(qmap, (60, 40))


def put(name: str, index: object, value: object) -> object:
    def change(group: h5py.Group) -> None:
        group[name][index] = value

    return change


def replace(name: str, value: object) -> object:
    def change(group: h5py.Group) -> None:
        del group[name]
        group[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put("mask", (0, 0), 1), "1 pixels are in the mask or in a dynamic bin, but not in both"),
        (put("static_roi_map", np.s_[19, 40:44], 0), "in a static bin, but not in both"),
        (put("static_roi_map", np.s_[19:21, :], 12), "not in both"),
        (put("beam_center_x", (), np.nan), "it is nan"),
        (put("pixel_size", (), 0.0), "0.0 is not above 0"),
        (put("energy", (), -1.0), "-1.0 is not above 0"),
        (put("dynamic_num_pts", 0, 0), r"it is \[0, 1\]"),
        (put("dynamic_index_mapping", 0, 200), "does not number"),
        (put("dynamic_v_list_dim0", 0, np.inf), "no list of 4 centres"),
        (replace("dynamic_v_list_dim0", np.zeros(3)), "no list of 4 centres"),
        (replace("dynamic_index_mapping", np.arange(3)), "the dynamic bins go to 4, their index mapping has 3"),
        (replace("mask", np.zeros(SHAPE, np.bool_)), "leaves no pixel"),
        (replace("mask", np.ones((4, 4), np.bool_)), "different shapes"),
        (replace("mask", np.ones(4, np.bool_)), r"of shape \(4,\)"),
        (replace("static_roi_map", np.ones(SHAPE)), "it is float64"),
        (replace("map_names", ["q"]), "1 names, not 2"),
        (replace("detector_distance", "far"), "it is no number"),
    ],
)
def test_a_map_that_contradicts_itself_is_refused_with_its_reason(path: Path, change: object, reason: str) -> None:
    assert callable(change)
    with h5py.File(path, "a") as file:
        change(file["qmap"])
    with pytest.raises(QmapError, match=reason) as caught:
        read_qmap(path)
    assert str(path) in caught.value.where
    assert caught.value.remedy


def test_a_static_bin_in_two_dynamic_bins_is_refused(path: Path) -> None:
    with h5py.File(path, "a") as file:
        static, dynamic = file["qmap/static_roi_map"][()], file["qmap/dynamic_roi_map"][()]
        static[dynamic == 2] = 1
        file["qmap/static_roi_map"][...] = static
    with pytest.raises(QmapError, match="static bin 1 lies in more than one"):
        read_qmap(path)


@pytest.mark.parametrize("name", ["mask", "map_units", "energy"])
def test_a_missing_dataset_is_named(path: Path, name: str) -> None:
    with h5py.File(path, "a") as file:
        del file["qmap"][name]
    with pytest.raises(QmapError) as caught:
        read_qmap(path)
    assert caught.value.where.endswith(f"/qmap/{name}")


def test_no_file_no_hdf5_and_no_group_are_refused(tmp_path: Path) -> None:
    with pytest.raises(QmapError, match="no such file"):
        read_qmap(tmp_path / "gone.hdf")
    path = tmp_path / "a.hdf"
    path.write_bytes(b"no HDF5 at all")
    with pytest.raises(QmapError, match="no HDF5 file"):
        read_qmap(path)
    with h5py.File(path, "w") as file:
        file.create_group("data")
    with pytest.raises(QmapError, match="neither a group /qmap nor an old /data"):
        read_qmap(path)


def test_angles_and_sound_pixels_are_kept_where_a_map_has_them(tmp_path: Path) -> None:
    blemish = np.ones(SHAPE, np.bool_)
    blemish[3, 4] = False
    partition = changed(rings(), rotation_deg=(1.0, -2.0, 95.0), swing_deg=(12.0, -3.0), blemish=blemish)
    write_qmap(tmp_path / "a.hdf", partition)
    qmap = read_qmap(tmp_path / "a.hdf")
    assert (qmap.rotation_deg, qmap.swing_deg) == ((1.0, -2.0, 95.0), (12.0, -3.0))
    np.testing.assert_array_equal(qmap.blemish, blemish)
    assert qmap.geometry.direct_beam_yx == pytest.approx(qmap.beam_centre_yx)
    with h5py.File(tmp_path / "a.hdf", "a") as file:
        file["qmap/swing_angle_horizontal"][...] = 90.0
    with pytest.raises(QmapError, match="turns the detector away"):
        read_qmap(tmp_path / "a.hdf")


def test_a_map_whose_static_bins_cross_dynamic_ones_is_not_written(tmp_path: Path) -> None:
    static = rings().static.copy()
    static[rings().dynamic == 2] = 1
    with h5py.File(tmp_path / "a.hdf", "w") as file, pytest.raises(QmapError, match="more than one dynamic bin"):
        put_qmap(file, changed(rings(), static=static))


def test_a_map_that_cannot_be_written_leaves_what_was_there(tmp_path: Path, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(QmapError, match="different shapes"):
        write_qmap(path, changed(rings(), mask=np.ones((2, 2), np.bool_)))
    assert path.read_bytes() == before
    with pytest.raises(QmapError, match="cannot be written"):
        write_qmap(tmp_path / "no" / "folder.hdf", rings())
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_copy_keeps_all_and_gets_the_hash_that_the_viewer_needs(tmp_path: Path, path: Path) -> None:
    with h5py.File(path, "a") as file:
        expected = file["qmap"].attrs["hash"]
        del file["qmap"].attrs["hash"]
        file["qmap/of_the_beamline"] = 3
    qmap = read_qmap(path)
    assert qmap.hash == ""
    with h5py.File(tmp_path / "result.hdf", "w") as file:
        copy_qmap(path, file.create_group("xpcs"), qmap)
        assert file["xpcs/qmap"].attrs["hash"] == expected
        assert file["xpcs/qmap/of_the_beamline"][()] == 3
        np.testing.assert_array_equal(file["xpcs/qmap/static_roi_map"][()], qmap.static)


@pytest.mark.parametrize(("run", "n_dynamic", "n_static"), [("imm_both", 8, 96), ("eiger_aging", 4, 24)])
def test_the_golden_maps_are_read(shared_data: Path, run: str, n_dynamic: int, n_static: int) -> None:
    (path,) = (shared_data / "golden" / run).glob("*_qmap.hdf")
    qmap = read_qmap(path)
    assert (qmap.shape, qmap.n_dynamic, qmap.n_static) == ((96, 128), n_dynamic, n_static)
    assert (qmap.beam_centre_yx, qmap.energy_kev) == ((50.8, 58.3), 10.0)
