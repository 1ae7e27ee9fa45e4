"""Names that a result must not take: nothing that was read, and nothing of somebody else's, is written over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xpcs_assets.correlate import average_command, merge_command, worker
from xpcs_assets.errors import ConflictingBytesError
from xpcs_assets.results.output_name import check_output, check_report
from xpcs_assets.results.provenance import REPORT_FORMAT
from xpcs_assets.testing.simulate import simulate


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "run.h5"
    path.write_bytes(b"photons")
    return path


def test_a_name_of_its_own_is_free(raw: Path) -> None:
    check_output(raw.with_name("run_results.hdf"), [raw])


def test_an_input_is_refused_under_its_own_name_and_under_others(raw: Path) -> None:
    link, hard = raw.with_name("link.h5"), raw.with_name("hard.h5")
    link.symlink_to(raw)
    hard.hardlink_to(raw)
    for output in (raw, raw.parent / "." / "run.h5", link, hard):
        with pytest.raises(ConflictingBytesError, match="read for it") as caught:
            check_output(output, [raw])
        assert "Give another --output" in str(caught.value)


def test_an_input_is_refused_where_the_report_would_lie(raw: Path) -> None:
    sidecar = raw.with_name("run.json")
    sidecar.write_text('{"frame_time_s": 0.001}')
    with pytest.raises(ConflictingBytesError, match=r"run\.json"):
        check_output(raw.with_name("run.hdf"), [raw, sidecar])


@pytest.mark.parametrize("name", ["out.json", "out.lock"])
def test_a_result_cannot_have_the_name_of_its_own_report_or_lock(raw: Path, name: str) -> None:
    with pytest.raises(ConflictingBytesError, match=r"Give another --output, such as out\.hdf"):
        check_output(raw.with_name(name), [raw])


@pytest.mark.parametrize("content", ['{"frame_time_s": 0.001}', "[1, 2]", "3", '{"format": "another 1"}'])
def test_a_report_is_not_written_over_somebody_else_s_json(tmp_path: Path, content: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(content)
    with pytest.raises(ConflictingBytesError, match="is no report of xpcs-assets"):
        check_report(path)
    assert path.read_text() == content


@pytest.mark.parametrize("content", [json.dumps({"format": REPORT_FORMAT}), '{"format": "xpcs-as', ""])
def test_a_report_is_written_over_an_older_or_broken_one(tmp_path: Path, content: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(content)
    check_report(path)


def test_a_report_that_is_not_there_may_be_written(tmp_path: Path) -> None:
    check_report(tmp_path / "run.json")


def test_no_command_writes_over_what_it_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = simulate(tmp_path, format="npy", frames=20, name="r")
    before = {path: path.read_bytes() for path in run.raw.parent.iterdir()}
    correlate = [str(run.raw), "--qmap", str(run.qmap), "--overwrite", "--output"]
    for output in (run.raw, run.qmap, run.metadata, run.raw.with_suffix(".hdf")):
        assert worker.main([*correlate, str(output)]) == 1
    result = str(tmp_path / "result.hdf")
    assert worker.main([*correlate, result]) == 0
    made = Path(result).read_bytes()
    assert average_command.main([result, result, "--overwrite", "--output", result]) == 1
    assert merge_command.main([result, "--overwrite", "--output", result]) == 1
    assert Path(result).read_bytes() == made
    assert {path: path.read_bytes() for path in run.raw.parent.iterdir()} == before
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 6
    assert all("Give another --output" in line for line in told)
