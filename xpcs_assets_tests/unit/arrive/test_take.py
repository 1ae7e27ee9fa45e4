"""Taking a run: the same files are the same version, others a new one, and nothing is kept of a moving target."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from xpcs_assets.arrive import source
from xpcs_assets.arrive import take as taking
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import ArrivalState, Evidence
from xpcs_assets.errors import ChangedWhileReadingError, CopyError, NotFoundError
from xpcs_assets.runs.manifest import Manifest
from xpcs_assets_tests.unit.conftest import Altered, bare_run


@pytest.fixture
def run(beamline: OpenBeamline) -> Path:
    """A run that was submitted."""
    folder = bare_run(beamline.source_root / "A001")
    submit(beamline, folder)
    return folder


def test_a_run_is_taken_with_its_manifest_and_its_copy_at_the_source(beamline: OpenBeamline, run: Path) -> None:
    done = take(beamline, "A001")
    assert (done.version.version, done.is_new, done.raw) == (1, True, ("A001.imm",))
    assert [entry.path for entry in done.version.manifest.files] == ["A001.imm", "A001_metadata.hdf"]
    (copy,) = beamline.ledger.copies("xpcs", "A001", 1)
    assert (copy.place, copy.path, copy.evidence) == ("detector", "A001", Evidence.READ_BACK)
    arrival = beamline.ledger.arrival("xpcs", "A001")
    assert arrival is not None
    assert arrival.state is ArrivalState.TAKEN


def test_the_same_files_are_the_same_version_however_often_they_are_taken(beamline: OpenBeamline, run: Path) -> None:
    first = take(beamline, "A001")
    os.utime(run / "A001.imm")
    again = take(beamline, "A001")
    assert again.version.version == first.version.version == 1
    assert not again.is_new
    assert len(beamline.ledger.versions("xpcs", "A001")) == 1


def test_rewritten_files_are_a_new_version_beside_the_old_one(beamline: OpenBeamline, run: Path) -> None:
    first = take(beamline, "A001").version
    (run / "A001.imm").write_bytes(b"other frames")
    second = take(beamline, "A001")
    assert (second.version.version, second.is_new) == (2, True)
    assert beamline.ledger.version("xpcs", "A001", 1) == first


def test_a_run_that_was_never_seen_is_not_found(beamline: OpenBeamline) -> None:
    with pytest.raises(NotFoundError, match="no such run was seen"):
        take(beamline, "A001")


def meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen right after the files were hashed."""
    original = source.take_manifest

    def hash_then(key: str, root: Path, paths: list[str], also: tuple[str, ...]) -> Manifest:
        manifest = original(key, root, paths, also)
        happens()
        return manifest

    monkeypatch.setattr(source, "take_manifest", hash_then)


@pytest.mark.parametrize("change", ["grows", "another file", "goes", "all goes"])
def test_a_run_that_changes_while_it_is_read_waits_to_be_taken_again(
    beamline: OpenBeamline, run: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    changes: dict[str, Callable[[], object]] = {
        "grows": lambda: (run / "A001.imm").write_bytes(b"frames and more"),
        "another file": lambda: (run / "A001_late.hdf").write_bytes(b"late"),
        "goes": lambda: (run / "A001.imm").unlink(),
        "all goes": lambda: shutil.rmtree(run),
    }
    meanwhile(monkeypatch, changes[change])
    with pytest.raises((ChangedWhileReadingError, NotFoundError)) as caught:
        take(beamline, "A001")
    arrival = beamline.ledger.arrival("xpcs", "A001")
    assert arrival is not None
    assert (arrival.state, arrival.attempt) == (ArrivalState.WAITING, 1)
    assert arrival.reason == str(caught.value)
    assert beamline.ledger.versions("xpcs", "A001") == ()


def test_a_file_that_vanishes_between_listing_and_reading_is_named(
    beamline: OpenBeamline, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanish(*_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", str(run / "A001.imm"))

    monkeypatch.setattr(taking, "files_of", vanish)
    with pytest.raises(ChangedWhileReadingError, match=r"A001\.imm vanished while the run was read"):
        take(beamline, "A001")
    arrival = beamline.ledger.arrival("xpcs", "A001")
    assert arrival is not None
    assert (arrival.state, arrival.attempt) == (ArrivalState.WAITING, 1)


def test_a_run_that_vanished_before_it_was_read_waits_with_that_reason(beamline: OpenBeamline, run: Path) -> None:
    shutil.rmtree(run)
    with pytest.raises(NotFoundError, match="no longer at the source"):
        take(beamline, "A001")
    arrival = beamline.ledger.arrival("xpcs", "A001")
    assert arrival is not None
    assert (arrival.state, arrival.attempt) == (ArrivalState.WAITING, 1)
    assert "no longer at the source" in arrival.reason


def test_a_run_whose_source_was_emptied_after_it_was_taken_stays_taken(beamline: OpenBeamline, run: Path) -> None:
    take(beamline, "A001")
    shutil.rmtree(run)
    with pytest.raises(NotFoundError, match="Its staged copy and archive stand"):
        take(beamline, "A001")
    arrival = beamline.ledger.arrival("xpcs", "A001")
    assert arrival is not None
    assert (arrival.state, arrival.attempt) == (ArrivalState.TAKEN, 0)


def test_a_file_that_became_a_link_is_never_followed(beamline: OpenBeamline, run: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (run / "A001.imm").unlink()
    (run / "A001.imm").symlink_to(tmp_path / "secret")
    with pytest.raises(CopyError, match="no regular file"):
        take(beamline, "A001")


def test_the_owner_comes_from_the_fields_of_the_path(altered: Altered) -> None:
    owner = {"proposal": "GUP-{experiment}", "groups": ["{experiment}", "staff"], "embargo_until": "2027-01-01"}
    changes = {"from": {"path": "{experiment}/{run}/"}, "key": "{experiment}_{run}", "owner": owner}
    beamline = altered({"runs": changes})
    submit(beamline, bare_run(beamline.source_root / "smith" / "A001"))
    assert take(beamline, "smith_A001").version.owner == {
        "proposal": "GUP-smith",
        "experiment": "",
        "groups": ["smith", "staff"],
        "embargo_until": "2027-01-01",
    }


def test_a_run_of_one_file_is_taken_with_its_companions_from_the_shared_folder(altered: Altered) -> None:
    beamline = altered({"runs": {"from": {"path": "{run}.imm"}}})
    for stem in ("A001", "A002"):
        bare_run(beamline.source_root, stem)
    submit(beamline, beamline.source_root / "A001.imm")
    done = take(beamline, "A001")
    assert [entry.path for entry in done.version.manifest.files] == ["A001.imm", "A001_metadata.hdf"]
    assert (done.version.source, beamline.ledger.copies("xpcs", "A001", 1)[0].path) == ("A001.imm", ".")
