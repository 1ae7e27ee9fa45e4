"""The run's record: nothing dropped, the asked-for fields first, and what is missing said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from xpcs_assets.describe.building import build_record
from xpcs_assets.describe.groups import GROUPS, group_of, order
from xpcs_assets.describe.record import FORMAT, Record, read_record, write_record
from xpcs_assets.errors import MetadataError
from xpcs_assets.readers.fields import read_fields
from xpcs_assets_tests.made_results import make_info, make_record, make_run


def entry(record: Record, path: str) -> Any:
    (found,) = [item for item in record.fields if item.path == path]
    return found


def test_every_leaf_of_the_metadata_is_in_the_record_once(metadata: Path) -> None:
    assert sorted(item.path for item in make_record(metadata).fields) == sorted(
        leaf.path for leaf in read_fields(metadata)
    )


def test_the_groups_scientists_asked_for_come_first_and_in_their_order(metadata: Path) -> None:
    record = make_record(metadata)
    assert tuple(record.groups) == GROUPS == ("acquisition", "detector", "source", "sample")
    assert [item.name for item in record.groups["detector"]] == [
        "detector_name",
        "count_time",
        "frame_time",
        "distance",
        "position_x",
    ]
    assert [item.name for item in record.groups["acquisition"]] == [
        "start_time",
        "attenuator_index",
        "attenuator_index",
    ]
    assert [item.name for item in record.groups["sample"]] == ["short_description", "qnw1_temperature"]
    assert [item.path for item in record.others] == ["/entry/definition", "/entry/trace", "/entry/user/cycle"]


def test_the_older_layout_has_the_same_groups() -> None:
    base = "/measurement/instrument"
    assert group_of(f"{base}/acquisition/stage_x") == "acquisition"
    assert group_of(f"{base}/detector/kinetics/first_slice") == "detector"
    assert group_of(f"{base}/source_end/current") == "source"
    assert group_of("/measurement/sample/temperature_B") == "sample"
    assert group_of("/xpcs/qmap_hdf5_filename") == "acquisition"
    fields = [f"{base}/acquisition/angle", f"{base}/acquisition/data_end", f"{base}/acquisition/data_begin"]
    assert sorted(fields, key=order) == fields[::-1]


def test_an_old_metadata_file_makes_a_complete_record(tmp_path: Path) -> None:
    path = tmp_path / "A001_metadata.hdf"
    base = "/measurement/instrument"
    values: dict[str, Any] = {
        f"{base}/detector/exposure_time": [[0.0009]],
        f"{base}/detector/exposure_period": [[0.001]],
        f"{base}/detector/distance": [[3930.0]],
        f"{base}/detector/manufacturer": "LAMBDA",
        f"{base}/detector/flatfield": np.ones((20, 30)),
        f"{base}/source_begin/energy": [[7.35]],
        f"{base}/source_begin/datetime": "Wed May  1 14:00:00 2019",
        f"{base}/acquisition/stage_x": [[np.nan]],
        "/measurement/sample/temperature_A": [[25.0]],
        "/xpcs/data_begin_todo": [[1]],
    }
    with h5py.File(path, "w") as file:
        for name, value in values.items():
            file[name] = value
    record = make_record(path)
    assert record.complete
    assert sorted(item.path for item in record.fields) == sorted(values)
    told = {item.name: (item.value, item.unit, item.shape) for item in record.fields}
    assert told["exposure_period"] == (0.001, "s", (1, 1))
    assert told["distance"] == (3930.0, "mm", (1, 1))
    assert told["energy"] == (7.35, "keV", (1, 1))
    assert told["flatfield"] == ({"shape": [20, 30], "first": 1.0, "min": 1.0, "max": 1.0}, "", (20, 30))
    assert [item.name for item in record.groups["acquisition"]] == ["data_begin_todo", "stage_x"]
    assert {item.file for item in record.fields} == {"A001_metadata.hdf"}


def test_metadata_that_a_raw_file_tells_of_itself_are_not_missing(metadata: Path) -> None:
    with h5py.File(metadata, "a") as file:
        del file["/entry/instrument/incident_beam/incident_energy"]
    info = make_info()
    assert build_record(make_run(), info=info, metadata=metadata).missing == ("the metadata tell no photon energy",)
    info.extra["energy_kev"] = 8.0
    assert build_record(make_run(), info=info, metadata=metadata).complete


def test_a_record_of_before_there_were_notes_and_drift_is_read(metadata: Path) -> None:
    content = json.loads(make_record(metadata).to_json())
    for name in ("notes", "drift", "datacite"):
        del content[name]
    for entry in (*content["others"], *(one for group in content["groups"].values() for one in group)):
        del entry["shape"], entry["file"]
    read = Record.from_json(json.dumps(content))
    assert (read.notes, read.drift, dict(read.datacite)) == ((), None, {})
    assert [item.path for item in read.fields] == [item.path for item in make_record(metadata).fields]


def test_a_unit_in_the_file_counts_and_the_layout_gives_it_where_the_file_does_not(metadata: Path) -> None:
    record = make_record(metadata)
    told = {
        name: (found.value, found.unit, found.unit_from_layout)
        for name in ("frame_time", "count_time", "distance", "position_x")
        for found in [entry(record, f"/entry/instrument/detector_1/{name}")]
    }
    assert told == {
        "frame_time": (0.001, "s", True),
        "count_time": (0.0009, "s", False),
        "distance": (9030.0, "mm", False),
        "position_x": (-229.99, "", False),
    }


def test_nan_is_null_with_a_flag_and_never_zero(metadata: Path) -> None:
    found = entry(make_record(metadata), "/entry/instrument/incident_beam/ring_current")
    assert (found.value, found.not_finite, found.unit) == (None, True, "mA")


def test_a_long_array_is_a_summary(metadata: Path) -> None:
    found = entry(make_record(metadata), "/entry/trace")
    assert found.value == {"shape": [1001], "first": 0.0, "min": 0.0, "max": 999.0}
    assert found.not_finite


def test_a_run_with_all_it_should_have_is_complete(metadata: Path) -> None:
    record = make_record(metadata)
    assert record.complete
    assert record.missing == ()
    assert record.raw == {
        "format": "imm",
        "kind": "events",
        "rows_px": 60,
        "columns_px": 80,
        "frames_recorded": 400,
        "dtype": "int16",
        "files": ["A001.imm"],
        "file_immversion": 12,
    }
    assert (record.size_bytes, record.owner.proposal, record.owner.groups) == (4096, "P-1234", ("p1234", "staff"))


def test_without_metadata_the_record_stands_and_says_so() -> None:
    record = make_record(None)
    assert not record.complete
    assert record.missing == ("there is no metadata file. Bring the run's *_metadata.hdf and submit the run again",)
    assert (record.run_key, record.fields, record.metadata_file) == ("A001_made_a0001_f000400_r00001", (), "")


def test_metadata_that_are_no_hdf5_are_named_in_the_record(tmp_path: Path) -> None:
    damaged = tmp_path / "A001_metadata.hdf"
    damaged.write_bytes(b"not HDF5")
    record = make_record(damaged)
    (reason,) = record.missing
    assert reason.startswith("the metadata file A001_metadata.hdf does not open: ")


def test_each_needed_field_that_is_absent_is_named(metadata: Path) -> None:
    with h5py.File(metadata, "a") as file:
        del file["/entry/instrument/detector_1/frame_time"]
        del file["/entry/start_time"]
    assert make_record(metadata).missing == ("the metadata tell no frame time", "the metadata tell no start time")


def test_a_needed_field_that_is_nan_counts_as_absent(metadata: Path) -> None:
    with h5py.File(metadata, "a") as file:
        file["/entry/instrument/incident_beam/incident_energy"][()] = float("nan")
    assert make_record(metadata).missing == ("the metadata tell no photon energy",)


def test_a_raw_file_that_does_not_open_is_described_with_the_reason(metadata: Path) -> None:
    record = build_record(make_run(), info=None, metadata=metadata, problems=["frame 3 is cut off"])
    assert record.missing == ("frame 3 is cut off", "the raw file does not open")
    assert record.raw == {}
    assert record.groups["detector"]


def test_what_the_raw_file_tells_may_be_not_finite(metadata: Path) -> None:
    info = make_info()
    info.extra["occupancy"] = float("nan")
    record = build_record(make_run(), info=info, metadata=metadata)
    assert json.loads(record.to_json())["raw"]["file_occupancy"] is None


def test_what_is_written_comes_back_equal(metadata: Path, tmp_path: Path) -> None:
    record = make_record(metadata)
    write_record(record, tmp_path / "v1" / "record.json")
    assert read_record(tmp_path / "v1" / "record.json") == record
    assert [path.name for path in (tmp_path / "v1").iterdir()] == ["record.json"]


def test_the_same_run_gives_the_same_bytes(metadata: Path) -> None:
    assert make_record(metadata).to_json() == make_record(metadata).to_json()


def test_a_new_record_replaces_the_old_one(metadata: Path, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(make_record(None), path)
    write_record(make_record(metadata), path)
    assert read_record(path).complete


def test_the_text_is_strict_json_that_says_its_format_and_completeness(metadata: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    content = json.loads(make_record(metadata).to_json(), parse_constant=refuse)
    assert (content["format"], content["complete"]) == (FORMAT, True)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "xpcs-assets record 1"}', '{"format": 7, "complete": 1}'])
def test_a_damaged_record_is_refused_with_its_remedy(text: str, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(MetadataError, match="Materialise the run's metadata asset again"):
        read_record(path)


def test_a_record_of_bytes_that_are_no_text_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    for content in (b"\xff\xfe", None):
        path.unlink(missing_ok=True)
        if content:
            path.write_bytes(content)
        with pytest.raises(MetadataError, match="cannot be read"):
            read_record(path)


def test_real_metadata_of_today_fill_every_group(shared_data: Path) -> None:
    (path,) = (shared_data / "golden" / "imm_both").glob("*_metadata.hdf")
    record = make_record(path)
    assert record.complete
    assert all(record.groups[name] for name in GROUPS)
    assert len(record.fields) == len(read_fields(path))
    assert Record.from_json(record.to_json()) == record
