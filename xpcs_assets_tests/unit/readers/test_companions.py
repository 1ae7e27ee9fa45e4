"""Companions by their content: names differ between beamlines and say nothing."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.errors import MetadataError
from xpcs_assets.readers import metadata
from xpcs_assets.readers.companions import kind_of, raw_among, with_metadata
from xpcs_assets.readers.metadata import find_metadata

MADE = {
    "companion": "/entry/instrument/detector_1/frame_time",
    "qmap": "/qmap/dynamic_roi_map",
    "result": "/xpcs/multitau/normalized_g2",
    "tree": "/some/thing/else",
}


def hdf5(path: Path, name: str) -> Path:
    with h5py.File(path, "w") as file:
        file[name] = np.ones((2, 2))
    return path


@pytest.mark.parametrize("kind", MADE)
def test_hdf5_files_are_told_apart_by_what_is_in_them(tmp_path: Path, kind: str) -> None:
    assert kind_of(hdf5(tmp_path / "any.name", MADE[kind])) == kind


def test_old_layouts_are_known_too(tmp_path: Path) -> None:
    assert kind_of(hdf5(tmp_path / "a", "/measurement/instrument/detector/exposure_time")) == "companion"
    assert kind_of(hdf5(tmp_path / "b", "/data/dynamicMap")) == "qmap"
    assert kind_of(hdf5(tmp_path / "c", "/exchange/norm-0-g2")) == "result"


def test_a_result_is_none_of_the_things_that_were_copied_into_it(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "a", MADE["companion"])
    with h5py.File(path, "a") as file:
        file["/qmap/dynamic_roi_map"] = [1]
        file["/xpcs/multitau/normalized_g2"] = [1.0]
    assert kind_of(path) == "result"


def test_what_is_neither_hdf5_nor_documents_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.hdf").write_bytes(b"")
    (tmp_path / "b.json").write_text("{}")
    (tmp_path / "c.hdf").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 600)
    os.mkfifo(tmp_path / "pipe.h5")
    names = ("a.hdf", "b.json", "c.hdf", "gone.hdf", "pipe.h5", ".")
    assert [kind_of(tmp_path / name) for name in names] == [""] * 6


def test_an_hdf5_companion_is_no_raw_file_beside_one(tmp_path: Path) -> None:
    raw, companion = tmp_path / "A1.imm", hdf5(tmp_path / "A1_old.hdf", MADE["companion"])
    raw.write_bytes(b"frames")
    assert raw_among([companion, raw]) == [raw]
    assert raw_among([companion]) == [companion]


def test_files_with_metadata_are_listed_with_the_known_layouts_first(tmp_path: Path) -> None:
    (tmp_path / "b.dat").write_text(json.dumps([["start", {}]]))
    (tmp_path / "notes.txt").write_text("none")
    paths = [hdf5(tmp_path / f"{name}.x", inside) for name, inside in zip("aqrc", reversed(MADE.values()), strict=True)]
    assert [path.name for path in with_metadata([*paths, *tmp_path.glob("*.[dt]*")])] == ["c.x", "b.dat", "a.x"]


def beside(folder: Path, raw: str, **kinds: str) -> str | None:
    (folder / raw).write_bytes(b"frames")
    for name, kind in kinds.items():
        hdf5(folder / name.replace("__", "."), MADE[kind])
    found = find_metadata(folder / raw)
    return None if found is None else found.name


def test_metadata_of_another_name_are_found_by_content(tmp_path: Path) -> None:
    found = beside(tmp_path, "A1.imm", A1_0001__hdf="companion", A1_map__h5="qmap", weather__nxs="tree")
    assert found == "A1_0001.hdf"


def test_of_two_that_fit_equally_by_name_the_content_decides(tmp_path: Path) -> None:
    assert beside(tmp_path, "A1.imm", x_metadata__hdf="qmap", y_metadata__hdf="companion") == "y_metadata.hdf"


def test_metadata_that_bear_the_name_of_another_raw_file_are_that_ones(tmp_path: Path) -> None:
    (tmp_path / "A2.imm").write_bytes(b"frames")
    assert beside(tmp_path, "A1.imm", A2__hdf="companion") is None
    assert beside(tmp_path, "A2.imm") == "A2.hdf"


def test_two_of_other_names_that_fit_equally_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=r"x\.hdf, y\.hdf"):
        beside(tmp_path, "A1.imm", x__hdf="companion", y__hdf="companion")


def test_in_a_large_folder_only_related_names_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def look(path: Path) -> str:
        looked.append(path.name)
        return kind_of(path)

    monkeypatch.setattr(metadata, "kind_of", look)
    for number in range(40):
        hdf5(tmp_path / f"B{number}.h5", MADE["tree"])
    assert beside(tmp_path, "A1.imm", A1_x__h5="companion") == "A1_x.h5"
    assert looked == ["A1_x.h5"]


def test_the_golden_files_are_what_they_are(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "golden" / "imm_both"
    kinds = (
        {kind_of(path) for path in folder.glob("*_metadata.hdf")},
        {kind_of(path) for path in folder.glob("*_qmap.hdf")},
    )
    assert kinds == ({"companion"}, {"qmap"})
    assert {kind_of(path) for path in (folder / "boost_corr_result").glob("*.hdf")} == {"result"}
    (documents,) = (shared_data / "als-7.0.1.1").glob("*.json")
    assert kind_of(Path(shutil.copy(documents, tmp_path / "no.name"))) == "documents"
    assert {kind_of(path) for path in (shared_data / "als-7.0.1.1").glob("*.h5")} == {"frames"}


def test_a_damaged_file_is_of_some_kind_or_none(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "a.hdf", MADE["companion"])
    content = path.read_bytes()
    random = np.random.default_rng(3)
    kinds = set()
    for _ in range(150):
        spoilt = bytearray(content)
        for at in random.integers(0, len(content), 5):
            spoilt[at] = int(random.integers(0, 256))
        path.write_bytes(bytes(spoilt))
        kinds.add(kind_of(path))
    assert kinds <= {"companion", "tree", "frames", ""}
    assert "companion" in kinds
