from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from xpcs_assets.errors import QmapError
from xpcs_assets.qmaps.masks import disc, read_bad_pixels, read_mask
from xpcs_assets.qmaps.qmap import write_qmap
from xpcs_assets.qmaps.rings import ring_partition

SHAPE = (6, 9)
GOOD = np.ones(SHAPE, np.bool_)
GOOD[2, 5] = GOOD[0, 8] = False


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, str]:
    """The same mask in each kind of file."""
    np.save(tmp_path / "m.npy", GOOD)
    Image.fromarray(GOOD.astype(np.uint8) * 255).save(tmp_path / "m.tif")
    write_qmap(tmp_path / "m_qmap.hdf", ring_partition(SHAPE, (3, 3), 75e-6, 4.0, 10.0, GOOD, 1, 2))
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["entry/mask"] = GOOD.astype(np.float32)
    return {
        "npy": str(tmp_path / "m.npy"),
        "tif": str(tmp_path / "m.tif"),
        "qmap": str(tmp_path / "m_qmap.hdf"),
        "hdf5": f"{tmp_path / 'm.h5'}:/entry/mask",
    }


@pytest.mark.parametrize("kind", ["npy", "tif", "qmap", "hdf5"])
def test_a_mask_is_read_from_each_kind_of_file(sources: dict[str, str], kind: str) -> None:
    np.testing.assert_array_equal(read_mask(sources[kind], SHAPE), GOOD)
    np.testing.assert_array_equal(read_mask(sources[kind], SHAPE, marks_bad=True), ~GOOD)
    with pytest.raises(QmapError, match=r"shape is \(6, 9\), the detector's \(9, 6\)"):
        read_mask(sources[kind], (9, 6))


def test_a_pixel_mask_is_not_taken_for_its_opposite(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "master.h5", "w") as file:
        file["detector/pixel_mask"] = (~GOOD).astype(np.uint32) * 8
    source = f"{tmp_path / 'master.h5'}:/detector/pixel_mask"
    np.testing.assert_array_equal(read_mask(source, SHAPE, marks_bad=True), GOOD)
    with pytest.raises(QmapError, match="marks the bad pixels") as caught:
        read_mask(source, SHAPE)
    assert "--mask-marks-bad" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("gone.npy", None, "no such file"),
        ("m.npy", b"no numpy", "this is no numpy file"),
        ("m.npy", b"", "this is no numpy file"),
        ("m.tif", b"II*\0 and then nothing", "this TIFF cannot be read"),
        ("m.h5", b"no HDF5", "no HDF5 file"),
        ("m.h5:/a", b"no HDF5", "no HDF5 file"),
        ("m.edf", b"{ }", "not read from .edf files"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    source = tmp_path / name.partition(":")[0]
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(QmapError, match=reason) as caught:
        read_mask(str(tmp_path / name), SHAPE)
    assert str(source) in caught.value.where
    assert caught.value.remedy


@pytest.mark.parametrize("value", [np.zeros(5), np.full(SHAPE, "x", "S1"), h5py.Empty("f4")])
def test_a_dataset_that_is_no_mask_is_refused(tmp_path: Path, value: object) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["a"] = value
        file.create_group("b")
    for name in ("a", "b", "c"):
        with pytest.raises(QmapError) as caught:
            read_mask(f"{tmp_path / 'm.h5'}:/{name}", SHAPE)
        assert str(tmp_path / "m.h5") in caught.value.where


def test_a_numpy_file_that_would_run_code_or_claims_too_much_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([[{}]]), allow_pickle=True)
    np.save(tmp_path / "line.npy", np.zeros(4))
    for name in ("objects.npy", "line.npy"):
        with pytest.raises(QmapError, match=r"no (numpy file|mask)"):
            read_mask(str(tmp_path / name), SHAPE)


def test_lists_of_bad_pixels_name_column_and_row_in_json_and_by_heading_in_csv(tmp_path: Path) -> None:
    json_list, csv_list = tmp_path / "bad.json", tmp_path / "bad.csv"
    json_list.write_text(json.dumps({"Bad pixels": [{"Pixel": [8, 0]}, {"Pixel": [5, 2]}, {"Pixel": [5, 2]}]}))
    csv_list.write_text("col, row\n5, 2\n8, 0\n")
    for path in (json_list, csv_list):
        assert read_bad_pixels(path, SHAPE).tolist() == [8, 23]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"Bad pixels": [{"Pixel": [9, 0]}]}', "row 0, column 9 does not lie on 6 x 9"),
        ('{"Bad pixels": [{"Pixel": [1]}]}', "no list of pixels"),
        ('{"Bad pixels": [3]}', "no list of pixels"),
        ('{"pixels": []}', "no list of pixels"),
        ("[" * 100_000, "no list of pixels"),
        ("x,y\n1,2\n", "no list of pixels"),
        ("row,col\n1\n", "no list of pixels"),
        ("row,col\n1,1.5\n", "no list of pixels"),
        ("row,col\n1,nan\n", "no list of pixels"),
        ("row,col\n-1,0\n", "row -1"),
        ("\udcff", "this is no text"),
    ],
)
def test_what_is_no_list_of_pixels_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(QmapError, match=reason) as caught:
        read_bad_pixels(path, SHAPE)
    assert caught.value.where == str(path)


def test_a_list_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QmapError, match="no such file"):
        read_bad_pixels(tmp_path / "bad.json", SHAPE)


def test_a_disc_holds_the_pixels_whose_centres_are_nearer_than_its_radius() -> None:
    covered = disc((5, 7), (2.0, 3.0), 1.5)
    assert np.argwhere(covered).tolist() == [[r, c] for r in (1, 2, 3) for c in (2, 3, 4)]
    assert np.count_nonzero(disc((5, 7), (2.0, 3.0), 1.0)) == 1
