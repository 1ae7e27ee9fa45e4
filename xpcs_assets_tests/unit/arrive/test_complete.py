"""Why a run that has stopped changing is not complete, in words that say what to bring."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from xpcs_assets.arrive.candidates import files_of, locate
from xpcs_assets.arrive.complete import has_marker, raw_files, why_not
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import RawDataError
from xpcs_assets.testing.simulate import FRAMES_FIELD, simulate
from xpcs_assets_tests.unit.conftest import Altered, Drop, bare_run


def reason(beamline: OpenBeamline, name: str = "A001") -> str:
    root = beamline.source_root
    candidate = locate(beamline.settings, root, root / name)
    return why_not(beamline.settings, candidate, files_of(beamline.settings, candidate, root))


def test_a_simulated_run_is_complete(beamline: OpenBeamline, drop: Drop) -> None:
    drop(beamline)
    assert reason(beamline) == ""


def test_a_run_without_raw_file_waits_for_it(beamline: OpenBeamline) -> None:
    run = bare_run(beamline.source_root / "A001")
    (run / "A001.imm").unlink()
    assert reason(beamline) == "no raw file is there yet"


def test_a_run_without_an_expected_file_waits_for_it(beamline: OpenBeamline) -> None:
    run = bare_run(beamline.source_root / "A001")
    (run / "A001_metadata.hdf").unlink()
    assert reason(beamline) == "no file matches '*_metadata.hdf', which every run of this beamline has"


@pytest.mark.parametrize("name", ["A001.imm", "A001_metadata.hdf"])
def test_a_file_of_zero_bytes_is_not_complete(beamline: OpenBeamline, name: str) -> None:
    run = bare_run(beamline.source_root / "A001")
    (run / name).write_bytes(b"")
    assert reason(beamline) == f"{name!r} has zero bytes"


@pytest.mark.parametrize("name", ["A001_metadata.hdf", "extra.h5", "extra.H5", "sub/extra.nxs"])
def test_hdf5_that_is_no_hdf5_is_said_to_be_none(beamline: OpenBeamline, name: str) -> None:
    run = bare_run(beamline.source_root / "A001")
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_bytes(b"this is a text of more than eight bytes")
    assert reason(beamline) == f"{name!r} is no HDF5 file"


def test_hdf5_cut_short_is_not_complete(beamline: OpenBeamline) -> None:
    run = bare_run(beamline.source_root / "A001")
    file = run / "A001_metadata.hdf"
    file.write_bytes(file.read_bytes()[:100])
    assert reason(beamline) == "'A001_metadata.hdf' does not open as HDF5, or is being written"


HOLD = """
import h5py, sys
file = h5py.File(sys.argv[1], "w")
file["x"] = [1, 2]
file.flush()
print("held", flush=True)
sys.stdin.readline()
file.close()
"""


def test_hdf5_that_another_process_is_writing_is_not_complete_until_it_is_closed(beamline: OpenBeamline) -> None:
    run = bare_run(beamline.source_root / "A001")
    command = [sys.executable, "-c", HOLD, str(run / "A001.h5")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "held\n"
        held = reason(beamline)
        writer.communicate("close\n")
    assert held == "'A001.h5' does not open as HDF5, or is being written"
    assert reason(beamline) == ""


def test_a_file_that_vanishes_while_it_is_looked_at_is_a_reason_and_no_error(
    beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare_run(beamline.source_root / "A001")

    def vanish(path: Path) -> bool:
        raise RawDataError("the file has vanished", where=path)

    monkeypatch.setattr("xpcs_assets.readers.hdf5.being_written", vanish)
    assert "the file has vanished" in reason(beamline)


@pytest.mark.parametrize("missing", [0, 5])
def test_a_run_waits_for_the_frames_that_its_metadata_promise(altered: Altered, missing: int) -> None:
    changes = {"frames_from": FRAMES_FIELD, "from": {"complete_when": {"frames_recorded": True}}}
    beamline = altered({"runs": changes})
    simulate(beamline.source_root, format="imm", name="A001", frames=30, shape=(16, 16), missing_tail=missing)
    assert reason(beamline) == ("25 of 30 frames are recorded" if missing else "")


def test_metadata_that_promise_no_frames_are_said_with_the_setting_to_mend(altered: Altered) -> None:
    changes = {"frames_from": "/entry/nothing", "from": {"complete_when": {"frames_recorded": True}}}
    beamline = altered({"runs": changes})
    simulate(beamline.source_root, format="imm", name="A001", frames=30, shape=(16, 16))
    assert "runs.frames_from" in reason(beamline) or "/entry/nothing" in reason(beamline)


def test_a_raw_file_that_is_damaged_says_so_where_frames_are_counted(altered: Altered, drop: Drop) -> None:
    changes = {"frames_from": FRAMES_FIELD, "from": {"complete_when": {"frames_recorded": True}}}
    beamline = altered({"runs": changes})
    run = drop(beamline)
    (run / "A001.imm").write_bytes(b"too short")
    assert str(run / "A001.imm") in reason(beamline)


def test_only_the_marker_that_is_named_counts(altered: Altered) -> None:
    beamline = altered({"runs": {"from": {"complete_when": {"marker": ".done"}}}})
    run = bare_run(beamline.source_root / "A001")
    candidate = locate(beamline.settings, beamline.source_root, run)
    assert not has_marker(beamline.settings, candidate)
    (run / ".done").touch()
    assert has_marker(beamline.settings, candidate)


def test_without_a_configured_marker_there_is_none(beamline: OpenBeamline) -> None:
    run = bare_run(beamline.source_root / "A001")
    assert not has_marker(beamline.settings, locate(beamline.settings, beamline.source_root, run))


def test_companions_are_no_raw_files(beamline: OpenBeamline, drop: Drop) -> None:
    drop(beamline)
    root = beamline.source_root
    files = files_of(beamline.settings, locate(beamline.settings, root, root / "A001"), root)
    assert len(files) == 4
    assert raw_files(root / "A001", files) == ["A001.imm"]


def test_metadata_that_have_a_raw_file_s_name_are_known_by_what_is_in_them(beamline: OpenBeamline) -> None:
    run = bare_run(beamline.source_root / "A001")
    with h5py.File(run / "A001.hdf", "w") as file:  # before A001.imm in every list
        file["/measurement/instrument/detector/exposure_time"] = 0.1
    root = beamline.source_root
    files = files_of(beamline.settings, locate(beamline.settings, root, run), root)
    assert raw_files(run, files) == ["A001.imm"]


def test_an_hdf5_file_is_looked_into_and_never_changed(beamline: OpenBeamline) -> None:
    run = bare_run(beamline.source_root / "A001")
    with h5py.File(run / "A001.h5", "w") as file:
        file["x"] = [1, 2, 3]
    before = (run / "A001.h5").read_bytes()
    assert reason(beamline) == ""
    assert (run / "A001.h5").read_bytes() == before
