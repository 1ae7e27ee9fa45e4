"""Two results are the same when every dataset is, whatever the seconds they took."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.errors import ResultError
from xpcs_assets.results import same
from xpcs_assets.results.same import content_digests, differences


@pytest.fixture
def result(tmp_path: Path) -> Path:
    path = tmp_path / "first.hdf"
    with h5py.File(path, "w") as file:
        file["/xpcs/multitau/normalized_g2"] = np.array([[1.25, np.nan], [1.0, np.inf]], "f4")
        file["/xpcs/multitau/delay_list"] = np.arange(4)
        file["/xpcs/multitau/config/gpu_id"] = -1
        file["/xpcs/multitau/config/smooth"] = "none"
        file["/xpcs/labels"] = np.array(["q1", "q2"], object)
        file["/xpcs/provenance/report"] = json.dumps({"seconds": 1.5})
        file["/xpcs/provenance/recipe_digest"] = "sha256:1"
        file["/entry/data/g2"] = h5py.SoftLink("/xpcs/multitau/normalized_g2")
        file["/entry/data/raw"] = h5py.ExternalLink("raw.h5", "/x")
        file["/entry/data"].attrs["NX_class"] = "NXdata"
        file["/entry/empty"] = h5py.Empty("f8")
        file["/entry/self"] = file["/entry"]
    return path


def changed(result: Path, change: Callable[[h5py.File], object]) -> Path:
    other = Path(shutil.copy(result, result.with_name("second.hdf")))
    with h5py.File(other, "a") as file:
        change(file)
    return other


def put(file: h5py.File, name: str, value: object) -> None:
    del file[name]
    file[name] = value


SAME: dict[str, Callable[[h5py.File], object]] = {
    "nothing": lambda file: None,
    "the seconds it took": lambda file: put(file, "/xpcs/provenance/report", json.dumps({"seconds": 99})),
    "the device's number": lambda file: put(file, "/xpcs/multitau/config/gpu_id", 0),
    "packed otherwise": lambda file: (
        file.__delitem__("/xpcs/multitau/delay_list"),
        file.create_dataset("/xpcs/multitau/delay_list", data=np.arange(4), chunks=(2,), compression="lzf"),
    ),
}


@pytest.mark.parametrize("what", SAME)
def test_what_does_not_count_makes_no_difference(result: Path, what: str) -> None:
    other = changed(result, SAME[what])
    assert differences(result, other) == []
    assert content_digests(result) == content_digests(other)


G2 = "/xpcs/multitau/normalized_g2"
OTHER: dict[str, tuple[Callable[[h5py.File], object], str, str]] = {
    "a number": (
        lambda file: file[G2].__setitem__((0, 0), 1.5),
        G2,
        "1 of 4 values differ, by 0.25 at most",
    ),
    "nan for a number": (lambda file: file[G2].__setitem__((0, 0), np.nan), G2, "1 of 4 values differ, by 0 at most"),
    "a type": (
        lambda file: put(file, "/xpcs/multitau/delay_list", np.arange(4.0)),
        "/xpcs/multitau/delay_list",
        "int64 (4,) became float64 (4,)",
    ),
    "a shape": (
        lambda file: put(file, "/xpcs/multitau/delay_list", np.arange(5)),
        "/xpcs/multitau/delay_list",
        "int64 (4,) became int64 (5,)",
    ),
    "a text": (lambda file: put(file, "/xpcs/labels", np.array(["q1", "q3"], object)), "/xpcs/labels", "another value"),
    "where texts end": (
        lambda file: put(file, "/xpcs/labels", np.array(["q1q", "2"], object)),
        "/xpcs/labels",
        "another value",
    ),
    "an attribute": (
        lambda file: file["/entry/data"].attrs.__setitem__("NX_class", "NXlog"),
        "/entry/data@NX_class",
        "another value",
    ),
    "a link": (
        lambda file: put(file, "/entry/data/g2", h5py.SoftLink("/xpcs/labels")),
        "/entry/data/g2",
        "another value",
    ),
    "an external link": (
        lambda file: put(file, "/entry/data/raw", h5py.ExternalLink("other.h5", "/x")),
        "/entry/data/raw",
        "another value",
    ),
    "one less": (lambda file: file.__delitem__("/xpcs/labels"), "/xpcs/labels", "only in the first"),
    "one more": (lambda file: file.__setitem__("/xpcs/more", 1), "/xpcs/more", "only in the second"),
    "the recipe": (
        lambda file: put(file, "/xpcs/provenance/recipe_digest", "sha256:2"),
        "/xpcs/provenance/recipe_digest",
        "another value",
    ),
}


@pytest.mark.parametrize("what", OTHER)
def test_each_difference_is_named(result: Path, what: str) -> None:
    change, name, said = OTHER[what]
    (found,) = differences(result, changed(result, change))
    assert (found.name, found.what) == (name, said)


def test_large_datasets_are_compared_piece_by_piece(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content_digests(result)
    monkeypatch.setattr(same, "_SLAB_BYTES", 8)
    assert content_digests(result) == before
    other = changed(result, lambda file: file["/xpcs/multitau/delay_list"].__setitem__(3, 7))
    (found,) = differences(result, other)
    assert (found.what, found.largest) == ("1 of 4 values differ, by 4 at most", 4.0)


def test_a_file_that_is_no_result_is_refused(tmp_path: Path, result: Path) -> None:
    (tmp_path / "no.hdf").write_bytes(b"no")
    with pytest.raises(ResultError, match="no HDF5"):
        differences(result, tmp_path / "no.hdf")
