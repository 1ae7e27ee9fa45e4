"""Staging a run of a beamline: its newest version, verified, in the ledger, by one worker at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Evidence
from xpcs_assets.errors import ChangedWhileReadingError, NotFoundError, RefusedError
from xpcs_assets.runs.manifest import Manifest
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.unit.conftest import Altered, bare_run


@pytest.fixture
def run(beamline: OpenBeamline) -> Path:
    """A run that was taken."""
    folder = bare_run(beamline.source_root / "A 001")
    submit(beamline, folder)
    take(beamline, "A=20001")
    return folder


def test_a_taken_run_is_staged_under_its_key_and_version(beamline: OpenBeamline, run: Path) -> None:
    done = stage(beamline, "A=20001")
    assert done.folder.path == beamline.root("store") / "xpcs" / "A=20001" / "v1"
    assert (done.folder.raw / "A 001.imm").read_bytes() == (run / "A 001.imm").read_bytes()
    assert done.staged.bytes_moved == done.version.manifest.size_bytes
    assert Manifest.from_json(done.folder.manifest.read_text()) == done.version.manifest
    (copy,) = [copy for copy in beamline.ledger.copies("xpcs", "A=20001", 1) if copy.place == "store"]
    assert (copy.path, copy.evidence) == ("xpcs/A=20001/v1/raw", Evidence.READ_BACK)


def test_a_run_staged_twice_is_moved_once(beamline: OpenBeamline, run: Path) -> None:
    stage(beamline, "A=20001")
    again = stage(beamline, "A=20001").staged
    assert (again.bytes_moved, again.already_there) == (0, 2)
    assert len(beamline.ledger.copies("xpcs", "A=20001", 1)) == 2


def test_a_new_version_is_staged_beside_the_old_one(beamline: OpenBeamline, run: Path) -> None:
    first = stage(beamline, "A=20001").folder
    (run / "A 001.imm").write_bytes(b"other frames")
    submit(beamline, run)
    take(beamline, "A=20001")
    second = stage(beamline, "A=20001").folder
    assert (first.raw / "A 001.imm").read_bytes() == b"frames"
    assert (second.raw / "A 001.imm").read_bytes() == b"other frames"


def test_a_source_that_is_no_longer_what_was_taken_is_not_staged(beamline: OpenBeamline, run: Path) -> None:
    (run / "A 001.imm").write_bytes(b"framez")
    with pytest.raises(ChangedWhileReadingError):
        stage(beamline, "A=20001")
    assert [copy.place for copy in beamline.ledger.copies("xpcs", "A=20001", 1)] == ["detector"]


def test_a_run_that_another_worker_holds_is_refused(beamline: OpenBeamline, run: Path) -> None:
    with beamline.ledger.lease("xpcs", "A=20001", "prune", "another", 60.0), pytest.raises(RefusedError):
        stage(beamline, "A=20001")
    assert stage(beamline, "A=20001").version.version == 1


def test_a_run_that_was_never_taken_is_not_found(beamline: OpenBeamline) -> None:
    with pytest.raises(NotFoundError, match="no such run was taken"):
        stage(beamline, "A001")


def test_a_run_of_one_file_is_staged_from_the_shared_folder(altered: Altered) -> None:
    beamline = altered({"runs": {"from": {"path": "{run}.imm"}}})
    for stem in ("A001", "A002"):
        bare_run(beamline.source_root, stem)
    submit(beamline, beamline.source_root / "A001.imm")
    take(beamline, "A001")
    raw = stage(beamline, "A001").folder.raw
    assert sorted(path.name for path in raw.iterdir()) == ["A001.imm", "A001_metadata.hdf"]


def test_a_staging_folder_inside_the_source_is_refused(altered: Altered) -> None:
    beamline = altered({"places": {"store": {"kind": "posix", "root": "detector/A001/store"}}})
    submit(beamline, bare_run(beamline.source_root / "A001"))
    take(beamline, "A001")
    with pytest.raises(RefusedError, match="lie in each other"):
        stage(beamline, "A001")
