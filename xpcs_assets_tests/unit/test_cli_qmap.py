"""``xpcs-assets qmap``: what it writes, says and refuses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from xpcs_assets import cli
from xpcs_assets.errors import MetadataError, QmapError, XpcsAssetsError
from xpcs_assets.qmaps.qmap import read_qmap
from xpcs_assets.testing.simulate import SimulatedRun, simulate

GEOMETRY = [
    *("--energy-kev", "10", "--distance-m", "4", "--pixel-size-m", "75e-6"),
    *("--beam-center", "19.5", "30.25", "--shape", "40", "60"),
]


@dataclass
class Said:
    """How the command ended and what it said."""

    code: int
    out: str
    err: str


def run(*arguments: object) -> Said:
    result = CliRunner().invoke(cli.app, ["qmap", *(str(argument) for argument in arguments)])
    if isinstance(result.exception, XpcsAssetsError):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> SimulatedRun:
    return simulate(tmp_path_factory.mktemp("runs"), format="eiger", frames=40, seed=2)


def test_the_typed_geometry_and_bins_make_a_map(tmp_path: Path) -> None:
    path = tmp_path / "q.hdf"
    said = run("--output", path, *GEOMETRY, "--dynamic", "4x2", "--static", "12x4", "--q-range", "0.0002", "0.0016")
    assert said.code == 0, said.err
    assert "direct beam at row 19.50, column 30.25; 4 m, 75 µm, 10 keV" in said.out
    qmap = read_qmap(path)
    assert (qmap.dynamic_num_pts, qmap.static_num_pts, qmap.shape) == ((4, 2), (12, 4), (40, 60))
    assert qmap.beam_centre_yx == (19.5, 30.25)
    np.testing.assert_allclose(qmap.dynamic_v_lists[0], 0.0002 + 0.00035 * np.arange(0.5, 4))
    assert qmap.blemish is not None
    assert qmap.blemish.all()
    assert len(qmap.hash) == 64


def test_metadata_and_raw_file_give_geometry_shape_and_hot_pixels(tmp_path: Path, measured: SimulatedRun) -> None:
    path, picture = tmp_path / "q.hdf", tmp_path / "q.png"
    given = ("--output", path, "--metadata", measured.metadata, "--raw", measured.raw, "--dynamic", 8)
    said = run(*given, "--preview", picture)
    assert said.code == 0, said.err
    assert "warning: the map holds 12 hot pixels" in said.err
    assert "--drop-hot" in said.err
    qmap, truth = read_qmap(path), measured.scene
    assert (qmap.shape, qmap.beam_centre_yx) == (truth.partition.shape, truth.partition.beam_centre_yx)
    assert qmap.mask.ravel()[truth.hot].all()
    assert not qmap.mask.ravel()[truth.dead].any()
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(QmapError, match="such a file already"):
        run(*given)
    said = run(*given, "--overwrite", "--drop-hot")
    assert "masked     12 hot pixels" in said.out
    assert "hot" not in said.err
    assert "pixels that never counted" in said.err  # behind the beamstop, for which no mask was given
    assert not read_qmap(path).mask.ravel()[truth.hot].any()
    said = run(*given, "--overwrite", "--drop-hot", "--mask", measured.qmap)
    assert not said.err


def test_masks_lists_and_the_beamstop_are_left_out(tmp_path: Path) -> None:
    good = np.ones((40, 60), np.bool_)
    good[3] = False
    np.save(tmp_path / "m.npy", good)
    (tmp_path / "bad.csv").write_text("row,col\n5,6\n")
    path = tmp_path / "q.hdf"
    masks = ("--mask", tmp_path / "m.npy", "--bad-pixels", tmp_path / "bad.csv", "--beamstop", 19.5, 30.25, 4)
    said = run("--output", path, *GEOMETRY, *masks)
    assert said.code == 0, said.err
    expected = good.copy()
    expected[5, 6] = False
    rows, cols = np.indices((40, 60))
    expected &= np.hypot(rows - 19.5, cols - 30.25) >= 4
    np.testing.assert_array_equal(read_qmap(path).mask, expected)


def test_meshes_and_rectangles(tmp_path: Path) -> None:
    run("--output", tmp_path / "xy.hdf", *GEOMETRY, "--axes", "x-y", "--dynamic", "3x2", "--x-range", 10, 40)
    mesh = read_qmap(tmp_path / "xy.hdf")
    assert (mesh.map_names, mesh.static_num_pts) == (("x", "y"), (3, 2))
    np.testing.assert_array_equal(np.flatnonzero(mesh.mask.any(axis=0)), np.arange(10, 40))
    corners = ("--rectangle", "0:10,40:60", "--rectangle", "30:40,0:9")
    run("--output", tmp_path / "r.hdf", *GEOMETRY, "--axes", "rectangles", *corners, "--static", "2x2")
    boxes = read_qmap(tmp_path / "r.hdf")
    assert (boxes.n_dynamic, boxes.n_static) == (2, 8)
    assert boxes.mask[:10, 40:].all()


def test_angles_typed_are_used_and_kept(tmp_path: Path) -> None:
    said = run("--output", tmp_path / "q.hdf", *GEOMETRY, "--swing", 12, 0, "--rotation", 0, 1, 0)
    assert said.code == 0, said.err
    qmap = read_qmap(tmp_path / "q.hdf")
    assert (qmap.swing_deg, qmap.rotation_deg) == ((12.0, 0.0), (0.0, 1.0, 0.0))
    assert qmap.dynamic_q is not None
    assert qmap.dynamic_q.min() > 0.9


def test_a_metadata_field_is_overruled_by_its_option(tmp_path: Path, measured: SimulatedRun) -> None:
    path = tmp_path / "q.hdf"
    run("--output", path, "--metadata", measured.metadata, "--shape", 96, 128, "--distance-m", 11.6)
    assert read_qmap(path).detector_distance_m == 11.6
    with h5py.File(measured.metadata) as file, h5py.File(tmp_path / "turned.hdf", "w") as turned:
        file.copy("entry", turned)
        turned["entry/instrument/detector_1/rotation_x"] = 3.0
    with pytest.raises(MetadataError, match="turned by 3 deg"):
        run("--output", tmp_path / "r.hdf", "--metadata", tmp_path / "turned.hdf", "--shape", 96, 128)
    with pytest.raises(QmapError, match=r"detector distance 0\.0 is not above 0"):
        run("--output", tmp_path / "r.hdf", "--metadata", measured.metadata, "--shape", 96, 128, "--distance-m", 0)
    with pytest.raises(MetadataError, match=r"pixel size 0\.0 is not above 0"):
        run("--output", tmp_path / "r.hdf", "--metadata", measured.metadata, "--shape", 96, 128, "--pixel-size-m", 0)
    assert not (tmp_path / "r.hdf").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([*GEOMETRY, "--dynamic", "4,2"], "not of the form"),
        ([*GEOMETRY, "--dynamic", "1x2x3"], "not of the form"),
        ([*GEOMETRY, "--axes", "rectangles", "--rectangle", "1:2:3,4"], "not of the form"),
        (GEOMETRY[:-3], "--shape"),
        ([*GEOMETRY, "--shape", "-1", "60"], "are no detector"),
        ([*GEOMETRY, "--shape", "1000000", "1000000"], "are no detector"),
        (GEOMETRY[2:], "--energy-kev"),
    ],
)
def test_wrong_usage_is_told_with_exit_code_2(tmp_path: Path, arguments: list[str], reason: str) -> None:
    said = run("--output", tmp_path / "q.hdf", *arguments)
    assert said.code == 2
    assert reason in said.err
    assert not list(tmp_path.iterdir())


def test_static_bins_that_would_cross_dynamic_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(QmapError, match="36 static bins do not divide 8"):
        run("--output", tmp_path / "q.hdf", *GEOMETRY, "--dynamic", 8, "--static", 36)


def test_a_shape_that_the_raw_file_contradicts_and_a_picture_of_no_kind_are_refused(
    tmp_path: Path, measured: SimulatedRun
) -> None:
    with pytest.raises(QmapError, match=r"the raw data are \(96, 128\) pixels, not \(40, 60\)"):
        run("--output", tmp_path / "q.hdf", *GEOMETRY, "--raw", measured.raw)
    with pytest.raises(QmapError, match="the picture cannot be written"):
        run("--output", tmp_path / "q.hdf", *GEOMETRY, "--preview", tmp_path / "q.xyz")


def test_a_map_and_its_picture_are_not_written_over_what_they_are_made_of(tmp_path: Path) -> None:
    mask = tmp_path / "mask.npy"
    np.save(mask, np.ones((40, 60), bool))
    before = mask.read_bytes()
    for more in (("--output", mask), ("--output", tmp_path / "q.hdf", "--preview", mask)):
        with pytest.raises(QmapError, match="the map is made of this file"):
            run(*more, *GEOMETRY, "--mask", mask, "--overwrite")
    assert mask.read_bytes() == before
