from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.errors import MetadataError
from xpcs_assets.readers.metadata import find_metadata, read_acquisition
from xpcs_assets.testing.writers import AcquisitionFacts, write_metadata
from xpcs_assets.testing.writers_hdf5 import write_areadetector

FRAME_TIME = "/entry/instrument/detector_1/frame_time"
COUNT_TIME = "/entry/instrument/detector_1/count_time"
ENERGY = "/entry/instrument/incident_beam/incident_energy"
FRAMES = "/entry/instrument/detector_1/number_of_frames"
OLD = "/measurement/instrument"


def write(path: Path, values: Mapping[str, object]) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in values.items():
            file[name] = value
    return path


def test_todays_layout_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a_metadata.hdf"
    facts = AcquisitionFacts("eiger4m", 600, 1e-3, 9e-4, 10.0, (50.0, 60.0), 75e-6, 4.0, "2026-11-20T10:00:00")
    write_metadata(path, facts)
    read = read_acquisition(path, frames_field=FRAMES)
    assert (read.frame_time_s, read.count_time_s, read.n_frames, read.energy_kev) == (1e-3, 9e-4, 600, 10.0)
    assert (read.detector_name, read.start_time, read.dark_frames) == ("eiger4m", "2026-11-20T10:00:00", 0)


def test_scalars_of_one_by_one_and_an_empty_schema_version_are_read(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.hdf", {FRAME_TIME: np.full((1, 1), 0.002), COUNT_TIME: np.full((1, 1), 0.001), ENERGY: 8.0}
    )
    with h5py.File(path, "a") as file:
        file.create_group("/entry/schema_version")
    read = read_acquisition(path)
    assert (read.frame_time_s, read.count_time_s, read.energy_kev, read.n_frames) == (0.002, 0.001, 8.0, None)
    assert (read.detector_name, read.start_time) == ("", "")


def test_the_older_layout_is_read_with_its_dark_frames(tmp_path: Path) -> None:
    values = {
        f"{OLD}/detector/exposure_period": 0.1,
        f"{OLD}/detector/exposure_time": 0.08,
        f"{OLD}/detector/manufacturer": "LAMBDA",
        f"{OLD}/source_begin/energy": 7.35,
        f"{OLD}/source_begin/datetime": "2019-01-01",
        f"{OLD}/acquisition/dark_begin": 1,
        f"{OLD}/acquisition/dark_end": 16,
        f"{OLD}/acquisition/data_begin": 17,
    }
    path = write(tmp_path / "a.hdf", {k: v if isinstance(v, str) else np.full((1, 1), v) for k, v in values.items()})
    read = read_acquisition(path)
    assert (read.frame_time_s, read.count_time_s, read.energy_kev) == (0.1, 0.08, 7.35)
    assert (read.detector_name, read.start_time, read.dark_frames) == ("LAMBDA", "2019-01-01", 16)


@pytest.mark.parametrize(
    ("begin", "end", "data_begin", "dark"),
    [(0, 0, 1, 0), (1, 1, 1, 0), (1, 10, 11, 10), (1, 20, 11, 10), (1, 10, None, 10), (np.nan, np.nan, 1, 0)],
)
def test_dark_frames_are_those_before_the_data(
    tmp_path: Path, begin: float, end: float, data_begin: int | None, dark: int
) -> None:
    values: dict[str, object] = {
        FRAME_TIME: 1.0,
        f"{OLD}/acquisition/dark_begin": begin,
        f"{OLD}/acquisition/dark_end": end,
    }
    if data_begin is not None:
        values[f"{OLD}/acquisition/data_begin"] = data_begin
    assert read_acquisition(write(tmp_path / "a.hdf", values)).dark_frames == dark


def test_dark_frames_that_are_not_at_the_head_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf", {FRAME_TIME: 1.0, "/xpcs/dark_begin": 5, "/xpcs/dark_end": 9})
    with pytest.raises(MetadataError, match="not the first"):
        read_acquisition(path)


@pytest.mark.parametrize("value", [0.0, -1e-3, np.nan, np.inf, "fast"])
def test_a_frame_time_that_is_none_names_its_field(tmp_path: Path, value: object) -> None:
    path = write(tmp_path / "a.hdf", {FRAME_TIME: value})
    with pytest.raises(MetadataError) as caught:
        read_acquisition(path)
    assert caught.value.where == f"{path}:{FRAME_TIME}"
    assert caught.value.remedy


def test_metadata_without_frame_time_name_the_field(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf", {ENERGY: 10.0})
    with pytest.raises(MetadataError, match="no frame time") as caught:
        read_acquisition(path)
    assert caught.value.where == f"{path}:{FRAME_TIME}"


@pytest.mark.parametrize("value", [0, -3, 1.5, np.nan, 1e300, "many"])
def test_a_number_of_frames_that_is_none_is_refused(tmp_path: Path, value: object) -> None:
    path = write(tmp_path / "a.hdf", {FRAME_TIME: 1.0, "/n": value})
    with pytest.raises(MetadataError) as caught:
        read_acquisition(path, frames_field="/n")
    assert caught.value.where == f"{path}:/n"


def test_a_missing_field_for_the_number_of_frames_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf", {FRAME_TIME: 1.0})
    with pytest.raises(MetadataError, match="no such field"):
        read_acquisition(path, frames_field="/entry/nowhere")


def test_a_missing_count_time_is_the_frame_time(tmp_path: Path) -> None:
    assert read_acquisition(write(tmp_path / "a.hdf", {FRAME_TIME: 0.5})).count_time_s == 0.5


def test_no_file_and_no_hdf5_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match="no such file"):
        read_acquisition(tmp_path / "gone.hdf")
    text = tmp_path / "a.hdf"
    text.write_text("no HDF5")
    with pytest.raises(MetadataError, match="no HDF5 file"):
        read_acquisition(text)


def found(folder: Path, raw: str, *others: str) -> str | None:
    for name in (raw, *others):
        (folder / name).touch()
    path = find_metadata(folder / raw)
    return None if path is None else path.name


def test_the_metadata_of_the_same_name_come_first(tmp_path: Path) -> None:
    assert found(tmp_path, "A1.h5", "A10_metadata.hdf", "A1_metadata.hdf", "A1_x_metadata.hdf") == "A1_metadata.hdf"


def test_metadata_whose_name_begins_with_the_raw_files_are_preferred(tmp_path: Path) -> None:
    assert found(tmp_path, "A1.imm", "A1_x_metadata.hdf", "Z_metadata.hdf") == "A1_x_metadata.hdf"


def test_metadata_of_a_shorter_name_belong_to_a_numbered_raw_file(tmp_path: Path) -> None:
    assert found(tmp_path, "A1_001.h5", "A1_metadata.hdf", "Z_metadata.hdf") == "A1_metadata.hdf"


def test_any_single_metadata_file_will_do(tmp_path: Path) -> None:
    assert found(tmp_path, "A1.imm", "scan_metadata.hdf") == "scan_metadata.hdf"


def test_metadata_of_another_raw_file_are_not_taken(tmp_path: Path) -> None:
    assert found(tmp_path, "A1.imm", "A2.imm", "A2_metadata.hdf") is None


def test_no_metadata_are_none(tmp_path: Path) -> None:
    assert found(tmp_path, "A1.imm", "A1_qmap.hdf") is None


def test_two_that_fit_equally_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=r"x_metadata\.hdf, y_metadata\.hdf") as caught:
        found(tmp_path, "A1.imm", "x_metadata.hdf", "y_metadata.hdf")
    assert "A1_metadata.hdf" in caught.value.remedy


def test_a_folder_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match="cannot be listed"):
        find_metadata(tmp_path / "gone" / "A1.imm")


def test_the_golden_metadata_are_found_and_read(shared_data: Path) -> None:
    (raw,) = (shared_data / "golden" / "imm_both").glob("*.imm")
    path = find_metadata(raw)
    assert path is not None
    read = read_acquisition(path)
    assert (read.frame_time_s, read.energy_kev, read.dark_frames) == (0.001, 10.0, 0)


@pytest.mark.parametrize(
    ("raw", "others"),
    [
        ("A1.bin.000", ("A1.bin.001", "A2_metadata.hdf", "A1_metadata.hdf")),
        ("A1_master.h5", ("A1_data_000001.h5", "A2_master.h5", "A2_metadata.hdf", "A1_metadata.hdf")),
        ("A1_0000.edf", ("A1_0001.edf", "A1_metadata.hdf")),
    ],
)
def test_runs_of_several_files_find_the_metadata_of_their_name(
    tmp_path: Path, raw: str, others: tuple[str, ...]
) -> None:
    assert found(tmp_path, raw, *others) == "A1_metadata.hdf"


def test_the_number_of_frames_may_stand_in_the_raw_file_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_areadetector(path, (2, 3), [(np.array([0]), np.array([1]))] * 5, frame_time_s=0.5)
    with h5py.File(path, "a") as file:
        file[FRAMES] = 8
    assert read_acquisition(path, frames_field=FRAMES).n_frames == 8
    with pytest.raises(MetadataError, match="no such field"):
        read_acquisition(path, frames_field="/entry/nowhere")


def test_a_damaged_raw_file_that_should_serve_as_metadata_is_an_error_of_the_metadata(tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    path.write_bytes(b"{\nHeaderID = 1 ;\n" + bytes(600))
    with pytest.raises(MetadataError, match="no end") as caught:
        read_acquisition(path)
    assert str(path) in caught.value.where
