"""Old q-maps, written here as pySimpleMask wrote them until February 2025; no file of a beamline is at hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.errors import QmapError
from xpcs_assets.qmaps.geometry import Geometry
from xpcs_assets.qmaps.partition_maps import Bins, q_phi_partition
from xpcs_assets.qmaps.qmap import copy_qmap, read_qmap
from xpcs_assets.qmaps.qmap_old import with_geometry
from xpcs_assets.qmaps.qpartition import QPartition

SHAPE = (40, 60)
GEOMETRY = Geometry(SHAPE, (19.5, 30.25), 75e-6, 4.0, 10.0)


def partition() -> QPartition:
    """Rings and sectors, of which one ring has no pixel."""
    mask = np.ones(SHAPE, np.bool_)
    q, _ = GEOMETRY.q_and_phi()
    mask[(q >= 0.0006) & (q < 0.001)] = False
    return q_phi_partition(GEOMETRY, mask, Bins(4, 8, 0.0002, 0.0018), Bins(2, 4))


def write_old(path: Path, source: QPartition, *, numbers_empty: bool = False) -> None:
    """Write a map as ``/data``; empty bins are NaN without a number, or numbered like the others."""
    kinds = {
        "d": ("dynamicMap", source.dynamic, source.dynamic_index_mapping, source.dynamic_v_lists),
        "s": ("staticMap", source.static, source.static_index_mapping, source.static_v_lists),
    }
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data["mask"] = source.mask
        data["x0"], data["y0"] = source.beam_centre_yx[1], source.beam_centre_yx[0]
        data.create_dataset("Version", (1,), dtype=h5py.vlen_dtype(np.int32))[0] = [5]
        data.create_group("Maps")["map1name"] = "q"
        for letter, (name, bins, mapping, (q, phi)) in kinds.items():
            grid_q, grid_phi = (axis.ravel() for axis in np.meshgrid(q, phi, indexing="ij"))
            if numbers_empty:
                data[name] = np.concatenate([[0], mapping + 1])[bins].astype(np.uint32)
            else:
                empty = np.setdiff1d(np.arange(grid_q.size), mapping)
                grid_q[empty] = grid_phi[empty] = np.nan
                data[name] = bins.astype(np.uint32)
            data[f"{letter}qval"], data[f"{letter}phival"] = grid_q[None], grid_phi[None]
            data[f"{letter}noq"], data[f"{letter}nophi"] = np.array([[q.size]]), np.array([[phi.size]])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "old_qmap.h5"
    write_old(written, partition())
    return written


@pytest.mark.parametrize("numbers_empty", [False, True])
def test_an_old_map_is_the_same_map(tmp_path: Path, numbers_empty: bool) -> None:
    write_old(tmp_path / "old.h5", partition(), numbers_empty=numbers_empty)
    qmap, expected = read_qmap(tmp_path / "old.h5"), partition()
    assert (qmap.n_dynamic, qmap.n_static) == (6, 24)
    for name in ("mask", "dynamic", "static", "dynamic_index_mapping", "static_index_mapping"):
        np.testing.assert_array_equal(getattr(qmap, name), getattr(expected, name))
    for ours, theirs in zip(qmap.static_v_lists, expected.static_v_lists, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert qmap.dynamic_label(6) == expected.dynamic_label(6)
    assert qmap.dynamic_num_pts == (4, 2)
    assert (qmap.beam_centre_yx, qmap.hash) == ((19.5, 30.25), "")


def test_what_the_file_does_not_say_is_unknown_until_the_geometry_is_given(path: Path) -> None:
    qmap = read_qmap(path)
    assert all(math.isnan(value) for value in (qmap.pixel_size_m, qmap.detector_distance_m, qmap.energy_kev))
    other = Geometry(SHAPE, (1.0, 2.0), 55e-6, 3.0, 8.0)
    filled = with_geometry(qmap, other)
    assert (filled.pixel_size_m, filled.detector_distance_m, filled.energy_kev) == (55e-6, 3.0, 8.0)
    assert filled.beam_centre_yx == (19.5, 30.25)
    assert filled.digest == qmap.digest


def test_a_result_gets_an_old_map_in_todays_layout(tmp_path: Path, path: Path) -> None:
    qmap = with_geometry(read_qmap(path), GEOMETRY)
    with h5py.File(tmp_path / "today.hdf", "w") as file:
        copy_qmap(path, file, qmap)
        assert len(file["qmap"].attrs["hash"]) == 64
    again = read_qmap(tmp_path / "today.hdf")
    np.testing.assert_array_equal(again.static, qmap.static)
    np.testing.assert_array_equal(again.dynamic_index_mapping, qmap.dynamic_index_mapping)
    assert (again.detector_distance_m, again.map_names) == (4.0, ("q", "phi"))


def test_ranges_that_only_the_maps_leave_out_are_left_out(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["data/mask"][...] = True
        static = file["data/staticMap"][()]
        static[:10] = 0
        file["data/staticMap"][...] = static
    qmap, expected = read_qmap(path), partition()
    assert not qmap.mask[:10].any()
    np.testing.assert_array_equal(qmap.mask[10:], expected.mask[10:])


def put(name: str, value: object) -> Callable[[h5py.Group], None]:
    def change(group: h5py.Group) -> None:
        del group[name]
        group[name] = value

    return change


def poke(name: str, index: object, value: object) -> Callable[[h5py.Group], None]:
    def change(group: h5py.Group) -> None:
        group[name][index] = value

    return change


@pytest.mark.parametrize(
    ("change", "name", "reason"),
    [
        (put("dynamicMap", np.ones(SHAPE, "S1")), "dynamicMap", "it is"),
        (put("staticMap", np.ones((3, 3), np.uint32)), "staticMap", "its shape is"),
        (put("staticMap", np.full(SHAPE, 0.5)), "staticMap", "no number of a bin"),
        (put("staticMap", np.full(SHAPE, -1)), "staticMap", "no number of a bin"),
        (poke("dynamicMap", (19, 34), 1 << 29), "dynamicMap", "the lists hold 6 centres"),
        (poke("dynamicMap", np.s_[:], 0), "dynamicMap", "its bins go to 0"),
        (poke("dqval", np.s_[:], np.nan), "dynamicMap", "the lists hold 0 centres"),
        (put("dqval", np.zeros((1, 5))), "dqval", "5 values for 4 x 2 bins"),
        (put("dqval", "q"), "dqval", "it is"),
        (poke("sqval", (0, 0), 0.001), "sqval", "no grid"),
        (poke("sqval", (0, 0), 44.5), "sqval", "these are pixels"),
        (put("snoq", 2.5), "snoq", "2.5 is no number of bins"),
        (put("snoq", 0), "snoq", "0.0 is not above 0"),
        (put("y0", np.inf), "y0", "it is inf"),
    ],
)
def test_what_does_not_say_which_bin_is_which_is_refused(
    path: Path, change: Callable[[h5py.Group], None], name: str, reason: str
) -> None:
    with h5py.File(path, "a") as file:
        change(file["data"])
    with pytest.raises(QmapError, match=reason) as caught:
        read_qmap(path)
    assert caught.value.where == f"{path}:/data/{name}"
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["mask", "staticMap", "dphival", "snoq"])
def test_a_missing_dataset_is_named(path: Path, name: str) -> None:
    with h5py.File(path, "a") as file:
        del file["data"][name]
    with pytest.raises(QmapError) as caught:
        read_qmap(path)
    assert caught.value.where == f"{path}:/data/{name}"


def test_a_static_bin_in_two_dynamic_bins_is_refused(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["data/staticMap"][...] = np.where(partition().mask, 1, 0)
    with pytest.raises(QmapError, match="static bin 1 lies in more than one"):
        read_qmap(path)
