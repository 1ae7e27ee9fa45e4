"""The lists of expected fields, and files of each layout held against them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.describe.expected_fields import find_fields, judge_fields, layouts
from xpcs_assets.describe.judgement import Judge, Judgement
from xpcs_assets.errors import MetadataError
from xpcs_assets.runs.criteria import Rules
from xpcs_assets.testing.simulate import simulate


def write_old(path: Path) -> Path:
    """A file of the old layout with every field that its quality control asked for."""
    (old,) = [layout for layout in layouts() if layout.name == "Data Exchange"]
    with h5py.File(path, "w") as file:
        for field in old.fields:
            file[field.path] = np.zeros((1,) * (field.dimensions or 0))
    return path


def judged(path: Path | None, rules: Rules | None = None) -> dict[str, Judgement]:
    return {found.name: found for found in judge_fields(Judge(rules or Rules()), path)}


def test_the_old_layout_is_the_152_paths_of_its_quality_control() -> None:
    (old,) = [layout for layout in layouts() if layout.name == "Data Exchange"]
    groups = Counter(field.path.split("/")[1] for field in old.fields)
    assert groups == {"measurement": 70, "xpcs": 55, "exchange": 26, "hdf_metadata_version": 1}
    assert Counter(field.dimensions for field in old.fields) == {0: 28, 2: 122, 3: 2}
    assert len({field.path for field in old.fields}) == 152


def test_no_layout_names_a_field_twice_and_each_is_told_by_a_mark_of_its_own() -> None:
    for layout in layouts():
        paths = [field.path for field in layout.fields]
        assert len(paths) == len(set(paths))
        assert {field.level for field in layout.fields} <= {"expected", "usual"}
    marks = [layout.mark for layout in layouts()]
    assert len(marks) == len(set(marks)) == 4


def test_a_whole_old_file_has_all_its_fields(tmp_path: Path) -> None:
    found = find_fields(write_old(tmp_path / "old.hdf"))
    assert found is not None
    assert (found.layout, found.missing, found.misshapen) == ("Data Exchange", [], [])


def test_what_an_old_file_lacks_or_has_in_another_shape_is_named(tmp_path: Path) -> None:
    path = write_old(tmp_path / "old.hdf")
    with h5py.File(path, "r+") as file:
        del file["/exchange/norm-0-g2"]
        del file["/exchange/tau"]
        file["/exchange/tau"] = np.zeros(7)
        del file["/measurement/instrument/detector/lld"]
        file["/measurement/instrument/detector/lld"] = 0.0  # () for (1, 1) is read alike
    found = judged(path)
    assert found["missing_fields"].value == found["misshapen_fields"].value == 1
    assert found["missing_fields"].reason == "1 fields of Data Exchange are missing: /exchange/norm-0-g2"
    assert found["misshapen_fields"].reason.endswith(": /exchange/tau")
    assert found["missing_fields"].severity == "warn"


def test_fields_of_the_result_are_not_asked_of_metadata_alone(tmp_path: Path) -> None:
    path = write_old(tmp_path / "old.hdf")
    with h5py.File(path, "r+") as file:
        del file["/exchange"]
    assert judged(path)["missing_fields"].passed
    with h5py.File(path, "r+") as file:
        del file["/measurement/sample"]
    assert judged(path)["missing_fields"].value == 8


def test_simulated_metadata_of_today_have_what_is_expected_and_lack_what_is_usual(tmp_path: Path) -> None:
    run = simulate(tmp_path, format="imm", frames=8, shape=(32, 32), n_dynamic=2, n_static=4)
    found = judged(run.metadata)
    assert found["missing_fields"].passed
    assert found["misshapen_fields"].passed
    assert (found["missing_usual_fields"].outcome, found["missing_usual_fields"].severity) == ("not judged", "off")
    assert (found["missing_usual_fields"].value or 0) > 30
    asked = judged(run.metadata, Rules(actions={"missing_usual_fields": "quarantine"}))
    assert asked["missing_usual_fields"].outcome == "quarantine"


def test_a_field_of_today_written_as_an_empty_group_is_there(tmp_path: Path) -> None:
    run = simulate(tmp_path, format="imm", frames=8, shape=(32, 32), n_dynamic=2, n_static=4)
    with h5py.File(run.metadata, "r+") as file:
        del file["/entry/definition"], file["/entry/instrument/detector_1/distance"]
        file.create_group("/entry/definition")
    assert judged(run.metadata)["missing_fields"].reason.endswith("missing: /entry/instrument/detector_1/distance")


def test_a_beamline_may_expect_fields_of_its_own(tmp_path: Path) -> None:
    run = simulate(tmp_path, format="imm", frames=8, shape=(32, 32), n_dynamic=2, n_static=4)
    found = judged(run.metadata, Rules(fields=("/entry/sample/ph", "/entry/start_time")))
    assert found["missing_fields"].reason.endswith("missing: /entry/sample/ph")


def test_a_file_of_no_known_layout_is_not_judged_and_says_so(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.hdf", "w") as file:
        file["/something"] = 1
    (tmp_path / "A001.json").write_text("{}", encoding="utf-8")
    for path in (tmp_path / "other.hdf", tmp_path / "A001.json", None):
        assert {found.outcome for found in judged(path).values()} == {"not judged"}
    assert "other.hdf is of no layout" in judged(tmp_path / "other.hdf")["missing_fields"].reason


def test_a_file_that_does_not_open_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match="there is no such file"):
        find_fields(tmp_path / "none.hdf")


def test_real_files_of_als_and_golden_metadata_have_their_expected_fields(shared_data: Path) -> None:
    als = shared_data / "als-7.0.1.1"
    wanted = {
        als / "uncorrupted_frames__nexus16x16.h5": "ALS 7.0.1.1, NXsas",
        als / "missing_frames__ccd_data16x16_2.h5": "areaDetector",
        next((shared_data / "golden" / "imm_both").glob("*_metadata.hdf")): "APS 8-ID, NeXus",
    }
    for path, layout in wanted.items():
        found = find_fields(path)
        assert found is not None
        assert (found.layout, found.missing, found.misshapen) == (layout, [], [])
