"""Staging a run of a beamline: its newest version, verified, in the ledger, by one worker at a time."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import pytest

from xpcs_assets.archive.archiving import archive
from xpcs_assets.archive.retrieve import retrieve
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import LEASE_S, OpenBeamline
from xpcs_assets.copies.ledger import Evidence, Ledger
from xpcs_assets.errors import ChangedWhileReadingError, NotFoundError, RefusedError
from xpcs_assets.runs.manifest import Manifest
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.storage import HandClock
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


@pytest.mark.parametrize("step", ["stage", "retrieve", "archive"])
def test_i16_a_worker_whose_lease_another_has_taken_over_records_nothing(
    beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    clock = HandClock()
    beamline.__dict__["ledger"] = Ledger(beamline.engine, clock)
    key = submit(beamline, bare_run(beamline.source_root / "A001")).key
    take(beamline, key)
    if step != "stage":
        stage(beamline, key)
    (act, where) = {
        "stage": (lambda: stage(beamline, key), "xpcs_assets.arrive.source.stage_run"),
        "retrieve": (lambda: retrieve(beamline, key), "xpcs_assets.archive.retrieve.Fetch.fetch"),
        "archive": (lambda: archive(beamline, key), "xpcs_assets.archive.archiving.deposit"),
    }[step]
    known, real = beamline.ledger.copies("xpcs", key), pkgutil.resolve_name(where)

    def stopped(*args: object, **options: object) -> object:
        """Done, and then stopped until the lease is over and another works on the run."""
        done = real(*args, **options)
        clock.advance(LEASE_S + 1)
        beamline.ledger.take_lease("xpcs", key, "prune", "another", 60.0)
        return done

    monkeypatch.setattr(where, stopped)
    with pytest.raises(RefusedError):
        act()
    assert beamline.ledger.copies("xpcs", key) == known
    assert beamline.ledger.bundles("xpcs", key) == ()


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
