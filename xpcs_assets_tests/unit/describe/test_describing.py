"""Describing a staged run: the record lies beside it, and damaged data are said in it and stop nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.describe.describing import describe
from xpcs_assets.errors import NotFoundError
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.unit.conftest import Drop


def staged(beamline: OpenBeamline, folder: Path) -> None:
    submit(beamline, folder, as_is=True)
    take(beamline, folder.name)
    stage(beamline, folder.name)


def test_the_record_of_a_run_lies_beside_its_staged_copy(beamline: OpenBeamline, drop: Drop) -> None:
    staged(beamline, drop(beamline))
    record, path = describe(beamline, "A001")
    assert path == beamline.root("store") / "xpcs" / "A001" / "v1" / "record.json"
    stored = json.loads(path.read_text())
    assert (stored["run_key"], stored["version"]) == ("A001", 1)
    assert record.metadata_file.endswith("A001_metadata.hdf")
    assert record.raw
    assert record.groups


def test_describing_again_writes_the_same_record(beamline: OpenBeamline, drop: Drop) -> None:
    staged(beamline, drop(beamline))
    _, path = describe(beamline, "A001")
    before = path.read_bytes()
    describe(beamline, "A001")
    assert path.read_bytes() == before


def no_hdf5(folder: Path) -> object:
    return (folder / "A001_metadata.hdf").write_bytes(b"not at all HDF5")


def cut_short(folder: Path) -> object:
    return (folder / "A001.imm").write_bytes((folder / "A001.imm").read_bytes()[:1500])


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "raw file cut short": (cut_short, "A001.imm"),
    "raw file of zeros": (lambda folder: (folder / "A001.imm").write_bytes(b"\0" * 3000), "A001.imm"),
    "metadata that are no HDF5": (no_hdf5, "A001_metadata.hdf"),
    "no metadata": (lambda folder: (folder / "A001_metadata.hdf").unlink(), "metadata"),
    "no raw file": (lambda folder: (folder / "A001.imm").unlink(), "raw file"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_is_described_with_what_is_wrong(beamline: OpenBeamline, drop: Drop, damage: str) -> None:
    folder = drop(beamline)
    spoil, named = DAMAGE[damage]
    spoil(folder)
    staged(beamline, folder)
    record, path = describe(beamline, "A001")
    assert path.is_file()
    assert any(named in reason for reason in record.missing), record.missing


def test_a_run_that_is_not_staged_is_not_described(beamline: OpenBeamline, drop: Drop) -> None:
    submit(beamline, drop(beamline))
    take(beamline, "A001")
    with pytest.raises(NotFoundError, match="not staged"):
        describe(beamline, "A001")


def test_metadata_of_every_kind_beside_the_raw_file_are_in_the_record(beamline: OpenBeamline, drop: Drop) -> None:
    folder = drop(beamline)
    documents = [["start", {"uid": "s1", "plan_name": "count", "time": 1.5}], ["stop", {"exit_status": "success"}]]
    (folder / "scan.dat").write_text(json.dumps(documents))
    with h5py.File(folder / "weather.nx5", "w") as file:
        file["/room/temperature"] = 21.5
    shutil.copy(folder / "A001_metadata.hdf", folder / "again.nxs")
    staged(beamline, folder)
    record, _ = describe(beamline, "A001")
    by_path = {entry.path: entry for entry in record.fields}
    assert (by_path["/bluesky/start/plan_name"].value, by_path["/bluesky/start/plan_name"].file) == (
        "count",
        "scan.dat",
    )
    assert by_path["/bluesky/start/time"].unit == "s"
    assert by_path["/room/temperature"].file == "weather.nx5"
    assert by_path["/entry/start_time"].file == "A001_metadata.hdf"
    assert by_path["/again.nxs/entry/start_time"].file == "again.nxs"
    assert record.complete
    assert not any(path.startswith("/qmap") for path in by_path)


def test_an_old_companion_is_known_by_its_content_under_any_name(beamline: OpenBeamline, drop: Drop) -> None:
    folder = drop(beamline)
    (folder / "A001_metadata.hdf").rename(folder / "A001_0001-0060.hdf")
    staged(beamline, folder)
    record, _ = describe(beamline, "A001")
    assert record.raw["format"] == "imm"
    assert record.metadata_file == "A001_0001-0060.hdf"
    assert record.complete


def test_documents_alone_are_metadata_too(beamline: OpenBeamline, drop: Drop) -> None:
    folder = drop(beamline)
    (folder / "A001_metadata.hdf").unlink()
    (folder / "documents.json").write_text('[["start", {"time": 1.5}], ["stop", {}]]')
    staged(beamline, folder)
    record, _ = describe(beamline, "A001")
    assert not any("no metadata file" in reason for reason in record.missing)
    assert "the metadata tell no frame time" in record.missing


def test_what_was_left_out_of_the_metadata_is_noted_and_the_record_stays_complete(
    beamline: OpenBeamline, drop: Drop
) -> None:
    folder = drop(beamline)
    with h5py.File(folder / "A001_metadata.hdf", "a") as file:
        file["/entry/up"] = h5py.SoftLink("/entry")
        file["/entry/log"] = "x" * 20_000
    (folder / "cut.json").write_text('[["start", {"time": 1.5}], ["st')
    staged(beamline, folder)
    record, _ = describe(beamline, "A001")
    assert record.complete
    assert record.notes[0].startswith("cut.json: 1 documents are damaged")
    assert record.notes[1].startswith("2 fields are not here whole, such as /entry/log: a text of 20000 characters")


def test_a_real_run_of_als_7011_needs_no_other_metadata_than_its_own(beamline: OpenBeamline, shared_data: Path) -> None:
    folder = beamline.source_root / "A001"
    folder.mkdir(parents=True)
    shutil.copy(shared_data / "als-7.0.1.1" / "uncorrupted_frames__nexus16x16.h5", folder / "A001.h5")
    staged(beamline, folder)
    record, _ = describe(beamline, "A001")
    assert record.complete, record.missing
    by_path = {entry.path: entry for entry in record.fields}
    base = "/entry1/instrument_1"
    exposure = by_path[f"{base}/detector_1/count_time"]
    assert (exposure.value, exposure.unit, exposure.unit_from_layout) == (5000.0, "ms", True)
    energy = by_path[f"{base}/labview_data/beamline_energy"]
    assert (energy.unit, energy.shape, energy.value["min"]) == ("eV", (71,), pytest.approx(715, abs=1))
    assert by_path[f"{base}/labview_data/LS_LLHTA"] in record.groups["sample"]
    assert by_path[f"{base}/labview_data/det_translate"] in record.groups["detector"]
    assert energy in record.groups["source"]
    assert by_path["/entry1/start_time"] in record.groups["acquisition"]


def test_real_frames_and_documents_of_als_7011_make_one_record(beamline: OpenBeamline, shared_data: Path) -> None:
    folder = beamline.source_root / "A001"
    folder.mkdir(parents=True)
    shutil.copy(shared_data / "als-7.0.1.1" / "missing_frames__ccd_data16x16_2.h5", folder / "A001.h5")
    shutil.copy(shared_data / "als-7.0.1.1" / "missing_frames__labview_2.json", folder / "labview.json")
    staged(beamline, folder)
    record, _ = describe(beamline, "A001")
    assert record.raw["frames_recorded"] == 539
    (sample,) = [entry for entry in record.groups["sample"] if entry.path == "/bluesky/start/sample_name"]
    assert sample.value == "2TH_90deg_2D_area_scan 2"
    assert "the metadata tell no photon energy" not in record.missing
    assert "the metadata tell no start time" not in record.missing
