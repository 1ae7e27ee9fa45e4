from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpcs_assets.errors import QmapError
from xpcs_assets.qmaps.geometry import Geometry
from xpcs_assets.qmaps.geometry_fields import read_geometry
from xpcs_assets.qmaps.partition_maps import Bins, Rectangle, q_phi_partition, rectangle_partition, x_y_partition
from xpcs_assets.qmaps.qmap import read_qmap
from xpcs_assets.qmaps.qpartition import QPartition, check_bins

SHAPE = (40, 60)
GEOMETRY = Geometry(SHAPE, (19.5, 30.25), 75e-6, 4.0, 10.0)
ALL = np.ones(SHAPE, np.bool_)


def bin_of(partition: QPartition, row: int, col: int) -> tuple[int, int]:
    """Where in the grid of dynamic bins a pixel lies."""
    natural = int(partition.dynamic_index_mapping[partition.dynamic[row, col] - 1])
    first, second = divmod(natural, partition.dynamic_num_pts[1])
    return first, second


def test_rings_are_cut_into_sectors_and_numbered_ring_by_ring() -> None:
    partition = q_phi_partition(GEOMETRY, ALL, Bins(2, 6, 0.0002, 0.0016), Bins(4, 8))
    check_bins(partition)
    assert (partition.dynamic_num_pts, partition.static_num_pts) == ((2, 4), (6, 8))
    np.testing.assert_allclose(partition.dynamic_v_lists[1], [-135, -45, 45, 135])
    assert bin_of(partition, 22, 25) == (0, 0)
    assert bin_of(partition, 22, 36) == (0, 1)
    assert bin_of(partition, 17, 36) == (0, 2)
    assert bin_of(partition, 10, 20) == (1, 3)
    assert partition.dynamic_label(2) == "q = 0.00055 Å⁻¹, φ = -45 deg"


def test_logarithmic_rings_have_equal_ratios_and_geometric_centres() -> None:
    partition = q_phi_partition(GEOMETRY, ALL, Bins(3, 6, 0.0002, 0.0016, "log"))
    np.testing.assert_allclose(partition.dynamic_v_lists[0], 0.0002 * 2 ** np.array([0.5, 1.5, 2.5]))
    q, _ = GEOMETRY.q_and_phi()
    inside = q[partition.dynamic == 2]
    assert 0.0004 <= inside.min() < inside.max() < 0.0008
    np.testing.assert_allclose(partition.static_v_lists[0][:2], 0.0002 * 2 ** np.array([0.25, 0.75]))


def test_without_edges_logarithmic_rings_begin_beside_the_beam() -> None:
    centred = Geometry(SHAPE, (20.0, 30.0), 75e-6, 4.0, 10.0)
    partition = q_phi_partition(centred, ALL, Bins(2, 2, spacing="log"))
    assert partition.dynamic[20, 30] == 0
    assert np.count_nonzero(partition.mask) == ALL.size - 1


def test_a_sector_may_lie_across_180_deg() -> None:
    partition = q_phi_partition(GEOMETRY, ALL, Bins(), Bins(2, 2, 135.0, 225.0))
    np.testing.assert_allclose(partition.dynamic_v_lists[1], [157.5, 202.5])
    assert (partition.dynamic[18, 2], partition.dynamic[21, 2]) == (1, 2)
    assert partition.dynamic[20, 50] == 0


def test_a_mesh_covers_the_mask_to_the_edges_of_its_pixels() -> None:
    mask = np.zeros(SHAPE, np.bool_)
    mask[10:30, 20:50] = True
    partition = x_y_partition(GEOMETRY, mask, Bins(3, 6), Bins(2, 2))
    np.testing.assert_array_equal(partition.mask, mask)
    np.testing.assert_allclose(partition.dynamic_v_lists[0], [24.5, 34.5, 44.5])
    np.testing.assert_allclose(partition.dynamic_v_lists[1], [14.5, 24.5])
    assert (np.bincount(partition.dynamic.ravel())[1:] == 100).all()
    assert bin_of(partition, 29, 20) == (0, 1)
    assert (partition.dynamic_q, partition.map_units) == (None, ("pixel", "pixel"))


def test_rectangles_are_dynamic_bins_at_the_q_of_their_pixels() -> None:
    shapes = [Rectangle(0, 10, 40, 60), Rectangle(30, 40, 0, 9)]
    partition = rectangle_partition(GEOMETRY, ALL, shapes, (3, 2))
    check_bins(partition)
    assert (partition.n_dynamic, partition.n_static) == (2, 12)
    q, _ = GEOMETRY.q_and_phi()
    assert partition.dynamic_q is not None
    np.testing.assert_allclose(partition.dynamic_q, [q[:10, 40:].mean(), q[30:, :9].mean()])
    assert (np.bincount(partition.static.ravel())[7:] == 15).all()
    assert partition.static[30, 0] != partition.static[30, 3] != partition.static[35, 3]


@pytest.mark.parametrize(
    ("rectangles", "split", "reason"),
    [
        ([], (1, 1), "there is no rectangle"),
        ([Rectangle(0, 41, 0, 5)], (1, 1), "do not lie on 40 x 60 pixels"),
        ([Rectangle(5, 5, 0, 5)], (1, 1), "do not lie on"),
        ([Rectangle(0, 5, 0, 5), Rectangle(4, 9, 4, 9)], (1, 1), "rectangle 2 overlaps another"),
        ([Rectangle(0, 5, 0, 5)], (6, 1), "is not cut in"),
        ([Rectangle(0, 5, 0, 5), Rectangle(20, 25, 0, 5)], (1, 1), "rectangle 2 has no pixel in the mask"),
    ],
)
def test_rectangles_that_make_no_bins_are_refused(
    rectangles: list[Rectangle], split: tuple[int, int], reason: str
) -> None:
    mask = ALL.copy()
    mask[20:25] = False
    with pytest.raises(QmapError, match=reason):
        rectangle_partition(GEOMETRY, mask, rectangles, split)


@pytest.mark.parametrize(
    ("q", "phi", "reason"),
    [
        (Bins(4, 10), Bins(), "10 static bins do not divide 4 dynamic bins of q"),
        (Bins(4, 2), Bins(), "do not divide"),
        (Bins(), Bins(2, 3), "do not divide 2 dynamic bins of phi"),
        (Bins(low=0.0, high=1.0, spacing="log"), Bins(), r"no pixel has a q in \[0\.0, 1\.0\)"),
        (Bins(low=0.5, high=0.6), Bins(), "no pixel has a q"),
        (Bins(low=0.001, high=0.0005), Bins(), "no pixel has a q"),
        (Bins(low=float("nan")), Bins(), "no pixel has a q"),
        (Bins(), Bins(low=-200.0, high=200.0), "makes no sectors"),
        (Bins(), Bins(spacing="log"), "makes no sectors"),
        (Bins(1, 1 << 25), Bins(), "are too many"),
        (Bins(1, 1 << 14), Bins(1, 1 << 14), "are too many"),
    ],
)
def test_numbers_that_make_no_bins_are_refused(q: Bins, phi: Bins, reason: str) -> None:
    with pytest.raises(QmapError, match=reason):
        q_phi_partition(GEOMETRY, ALL, q, phi)


def test_masks_that_do_not_fit_and_logarithmic_meshes_are_refused() -> None:
    with pytest.raises(QmapError, match="the mask is"):
        q_phi_partition(GEOMETRY, np.ones((2, 2), np.bool_), Bins())
    with pytest.raises(QmapError, match="leaves no pixel"):
        x_y_partition(GEOMETRY, ~ALL, Bins(), Bins())
    with pytest.raises(QmapError, match="no logarithmic"):
        x_y_partition(GEOMETRY, ALL, Bins(spacing="log"), Bins())
    two = np.zeros(SHAPE, np.bool_)
    two[19, [33, 5]] = True
    with pytest.raises(QmapError, match="of q and phi together"):
        q_phi_partition(GEOMETRY, two, Bins(low=0.0, high=0.0005), Bins(low=170.0, high=190.0))


def test_a_circle_is_one_wherever_it_begins() -> None:
    first = 152.50355319439035
    assert (first + 360) - first > 360, "by rounding"
    check_bins(q_phi_partition(GEOMETRY, np.ones(SHAPE, np.bool_), Bins(2, 2), Bins(4, 4, first, first + 360)))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1 << 16),
    dynamic=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    times=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    spacing=st.sampled_from(["linear", "log"]),
    first=st.floats(-180, 180),
)
def test_whatever_the_mask_each_pixel_has_its_bins_and_none_crosses(
    seed: int, dynamic: tuple[int, int], times: tuple[int, int], spacing: str, first: float
) -> None:
    mask = np.random.default_rng(seed).random(SHAPE) < 0.2
    q = Bins(dynamic[0], dynamic[0] * times[0], spacing=spacing)
    partition = q_phi_partition(GEOMETRY, mask, q, Bins(dynamic[1], dynamic[1] * times[1], first, first + 360))
    check_bins(partition)
    np.testing.assert_array_equal(partition.mask, mask)
    assert (np.diff(partition.static_index_mapping) > 0).all()


@pytest.mark.parametrize("run", ["imm_both", "eiger_aging", "rigaku3m"])
def test_the_golden_maps_come_out_of_their_own_geometry(shared_data: Path, run: str) -> None:
    folder = shared_data / "golden" / run
    (of_map,), (of_metadata,) = folder.glob("*_qmap.hdf"), folder.glob("*_metadata.hdf")
    golden = read_qmap(of_map)
    geometry = read_geometry(of_metadata, golden.shape)
    _, phi = geometry.q_and_phi()
    used = phi[golden.mask]
    made = q_phi_partition(
        geometry,
        golden.mask,
        Bins(golden.dynamic_num_pts[0], golden.static_num_pts[0]),
        Bins(golden.dynamic_num_pts[1], golden.static_num_pts[1], used.min(), np.nextafter(used.max(), 999)),
    )
    np.testing.assert_array_equal(made.dynamic, golden.dynamic)
    np.testing.assert_array_equal(made.static, golden.static)
    np.testing.assert_array_equal(made.static_index_mapping, golden.static_index_mapping)
    for ours, theirs in zip(made.static_v_lists, golden.static_v_lists, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
