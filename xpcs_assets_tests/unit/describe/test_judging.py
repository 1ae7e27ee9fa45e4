"""A run is judged from its staged copy or its source, by the beamline's rules, and the verdict is noted."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import pytest

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.correlate.worker import main
from xpcs_assets.describe.judgement import Quality
from xpcs_assets.describe.judging import judge_raw, judge_result, note, raw_quality
from xpcs_assets.errors import NotFoundError
from xpcs_assets.results.result import open_result
from xpcs_assets.runs.criteria import RAW
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.unit.conftest import Altered, Drop

UNUSUAL = {"quality": {"action": {"missing_usual_fields": "warn"}, "limits": {"undefined_share": -1}}}


def taken(beamline: OpenBeamline, drop: Drop) -> Path:
    folder = drop(beamline)
    submit(beamline, folder)
    take(beamline, "A001")
    return folder


def test_a_run_is_judged_at_its_source_and_then_in_its_staged_copy(beamline: OpenBeamline, drop: Drop) -> None:
    folder = taken(beamline, drop)
    assert judge_raw(beamline, beamline.latest("A001")).reasons == []
    stage(beamline, "A001")
    shutil.rmtree(folder)
    assert judge_raw(beamline, beamline.latest("A001")).reasons == []
    shutil.rmtree(beamline.staged(beamline.latest("A001")).path)
    with pytest.raises(NotFoundError, match=r"neither staged nor at the source.*retrieve"):
        judge_raw(beamline, beamline.latest("A001"))
    assert raw_quality(beamline, beamline.latest("A001")) is None


def test_the_beamline_s_rules_hold_for_raw_data_and_results(altered: Altered, drop: Drop, tmp_path: Path) -> None:
    beamline = altered(UNUSUAL)
    taken(beamline, drop)
    (reason,) = judge_raw(beamline, beamline.latest("A001")).reasons
    assert "missing that are usual" in reason
    stage(beamline, "A001")
    version = beamline.latest("A001")
    raw = beamline.staged(version).raw
    output = tmp_path / "o.hdf"
    assert main([str(raw / "A001.imm"), "--qmap", str(raw / "A001_qmap.hdf"), "--output", str(output)]) == 0
    result = open_result(output)
    frames, g2 = judge_result(beamline, version, result, result.fit())
    assert {each.name: each.passed for each in frames.judgements}["distance_deviation"] is True
    assert g2.quarantining == ["0% of all g2 points are undefined"]


def test_metadata_with_a_raw_files_name_are_not_taken_for_the_raw_file(
    beamline: OpenBeamline, drop: Drop, tmp_path: Path
) -> None:
    folder = drop(beamline)
    with h5py.File(folder / "A000_positions.h5", "w") as file:  # comes first by name
        file["/entry/instrument/incident_beam/incident_energy"] = 7.0
    submit(beamline, folder)
    take(beamline, "A001")
    version = beamline.latest("A001")
    assert judge_raw(beamline, version).reasons == []
    stage(beamline, "A001")
    raw = beamline.staged(version).raw
    output = tmp_path / "o.hdf"
    assert main([str(raw / "A001.imm"), "--qmap", str(raw / "A001_qmap.hdf"), "--output", str(output)]) == 0
    result = open_result(output)
    frames, _ = judge_result(beamline, version, result, result.fit())
    assert {each.name: each.passed for each in frames.judgements}["distance_deviation"] is True


def test_metadata_that_do_not_open_quarantine_and_do_not_raise(beamline: OpenBeamline, drop: Drop) -> None:
    folder = drop(beamline)
    (folder / "A001_metadata.hdf").write_bytes(b"\x89HDF\r\n\x1a\n nothing")
    submit(beamline, folder, as_is=True)
    take(beamline, "A001")
    quality = judge_raw(beamline, beamline.latest("A001"))
    assert quality.serious
    assert "A001_metadata.hdf" in quality.quarantining[0]


def test_a_verdict_is_in_the_timeline_of_the_run_under_its_own_key(beamline: OpenBeamline, drop: Drop) -> None:
    taken(beamline, drop)
    note(beamline, "A001~wide", RAW, Quality(()))
    event = beamline.ledger.timeline("xpcs", "A001")[-1]
    assert (event.step, event.what, event.detail["partition"]) == (RAW, "passed", "A001~wide")
