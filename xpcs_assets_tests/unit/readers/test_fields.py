from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.errors import MetadataError
from xpcs_assets.readers import fields_hdf5
from xpcs_assets.readers.metadata import Field, read_fields


def fields_of(path: Path) -> dict[str, Field]:
    fields = read_fields(path)
    assert len({field.path for field in fields}) == len(fields)
    json.dumps([field.to_dict() for field in fields], allow_nan=False)
    return {field.path: field for field in fields}


@pytest.fixture
def rich(tmp_path: Path) -> Path:
    path = tmp_path / "a_metadata.hdf"
    with h5py.File(path, "w") as file:
        file["/entry/time"] = 0.5
        file["/entry/time"].attrs["units"] = "s"
        file["/entry/temperature"] = np.full((1, 1), 25.0)
        file["/entry/temperature"].attrs["unit"] = b"degC"
        file["/entry/temperature"].attrs["calibrated"] = "yes"
        file["/entry/name"] = "Å"
        file["/entry/bytes"] = np.bytes_(b"8-ID")
        file["/entry/latin"] = np.bytes_(b"\xb5m")
        file["/entry/flag"] = True
        file["/entry/ring"] = np.array([1.0, np.nan, 3.0])
        file["/entry/bad"] = np.nan
        file["/entry/list"] = np.array([b"a", b"b"])
        file["/entry/large"] = np.r_[np.nan, np.arange(100.0)].reshape(101, 1)
        file["/entry/many"] = np.array([b"x"] * 100)
        file["/entry/nothing"] = h5py.Empty("f8")
        file["/entry/none"] = np.zeros((0, 3))
        file["/entry/record"] = np.array([(1, 2.5)], dtype=[("n", "i4"), ("x", "f8")])
        file["/entry/complex"] = 1 + 2j
        file.create_group("/entry/schema_version")
        file["/entry/again"] = h5py.SoftLink("/entry/time")
        file["/entry/broken"] = h5py.SoftLink("/nowhere")
        file["/entry/loop"] = h5py.SoftLink("/entry")
        file["/entry"].attrs["NX_class"] = "NXentry"
    return path


def test_scalars_come_plain_with_their_units(rich: Path) -> None:
    fields = fields_of(rich)
    assert fields["/entry/time"] == Field("/entry/time", 0.5, "s", "float64", shape=())
    assert (fields["/entry/temperature"].value, fields["/entry/temperature"].unit) == (25.0, "degC")
    assert [fields[f"/entry/{name}"].value for name in ("name", "bytes", "flag")] == ["Å", "8-ID", True]


def test_nan_is_kept_as_none_with_a_flag(rich: Path) -> None:
    fields = fields_of(rich)
    assert (fields["/entry/bad"].value, fields["/entry/bad"].not_finite) == (None, True)
    assert (fields["/entry/ring"].value, fields["/entry/ring"].not_finite) == ([1.0, None, 3.0], True)
    assert not fields["/entry/time"].not_finite


def test_large_arrays_are_summarised(rich: Path) -> None:
    fields = fields_of(rich)
    assert fields["/entry/large"].value == {"shape": [101, 1], "first": None, "min": 0.0, "max": 99.0}
    assert fields["/entry/large"].not_finite
    assert fields["/entry/many"].value == {"shape": [100], "first": "x"}
    assert fields["/entry/list"].value == ["a", "b"]


def test_nothing_is_dropped(rich: Path) -> None:
    fields = fields_of(rich)
    assert fields["/entry/schema_version"].dtype == "group"
    assert (fields["/entry/nothing"].value, fields["/entry/none"].value) == (None, [])
    assert fields["/entry/record"].value == {"n": 1, "x": 2.5}
    assert fields["/entry/complex"].value == {"real": 1.0, "imaginary": 2.0}
    assert fields["/entry/latin"].value == "\\xb5m"
    assert fields["/entry@NX_class"].value == "NXentry"
    assert fields["/entry/temperature@calibrated"].value == "yes"


def test_links_are_followed_once_and_broken_ones_noted(rich: Path) -> None:
    fields = fields_of(rich)
    assert fields["/entry/again"].value == 0.5
    assert fields["/entry/broken"].dtype == "link"
    assert fields["/entry/broken"].note
    assert fields["/entry/loop"].note


def test_a_file_that_does_not_open_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf"
    path.write_bytes(b"no")
    with pytest.raises(MetadataError, match="no HDF5"):
        read_fields(path)


def test_every_leaf_of_the_golden_metadata_is_listed(shared_data: Path) -> None:
    (path,) = (shared_data / "golden" / "imm_both").glob("*_metadata.hdf")
    leaves: list[str] = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, node: leaves.append(f"/{name}") if isinstance(node, h5py.Dataset) else None)
    assert set(leaves) <= set(fields_of(path))
    assert fields_of(path)["/entry/instrument/detector_1/frame_time"].unit == "s"


def test_links_into_other_files_are_listed_and_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf"
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["/x"] = 42
    with h5py.File(path, "w") as file:
        file["/entry/other"] = h5py.ExternalLink("secret.h5", "/x")
        file["/entry/hidden"] = h5py.SoftLink("/entry/other")
    found = fields_of(path)
    for name in ("other", "hidden"):
        assert found[f"/entry/{name}"].value is None
        assert "secret.h5" in found[f"/entry/{name}"].note


def test_a_stack_of_images_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf"
    with h5py.File(path, "w") as file:
        file.create_dataset("/entry/data/data", shape=(100, 64, 64), dtype="u2", chunks=(1, 64, 64))
    (field,) = (field for name, field in fields_of(path).items() if name == "/entry/data/data")
    assert field.value == {"shape": [100, 64, 64]}
    assert "stack" in field.note


def test_of_a_large_file_texts_are_read_whose_own_list_is_sound(rich: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fields_of(rich)
    monkeypatch.setattr(fields_hdf5, "_MAX_SCANNED_BYTES", 10)
    after = fields_of(rich)
    assert after["/entry/name"].value == "Å"
    assert after["/entry/bytes"].value == "8-ID"
    changed = {name for name in before if before[name].value != after[name].value}
    # Texts of attributes have no place that could be looked at.
    assert changed
    assert all("@" in name and "sound" in after[name].note for name in changed)
