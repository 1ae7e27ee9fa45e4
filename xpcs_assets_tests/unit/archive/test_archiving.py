"""Archiving what a run has: raw data once, results as they come, nothing replaced."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from xpcs_assets.archive.archiving import archive, archive_results
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import CopyState, Evidence
from xpcs_assets.copies.pending import unarchived
from xpcs_assets.errors import CopyError, NotFoundError, NotVerifiedError, RefusedError
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.tape import TapePlace
from xpcs_assets.runs.folders import PARTIAL_SUFFIX
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.unit.conftest import Altered, bare_run


@pytest.fixture
def run(beamline: OpenBeamline) -> str:
    """A run that was taken and staged."""
    submit(beamline, bare_run(beamline.source_root / "A001"))
    take(beamline, "A001")
    stage(beamline, "A001")
    return "A001"


def result(beamline: OpenBeamline, recipe: str, content: bytes) -> Path:
    """A result that the ledger knows, with files beside it that are not to be kept."""
    folder = beamline.staged(beamline.latest("A001"))
    path = folder.result(recipe)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    for name in (path.name + ".lock", path.name + PARTIAL_SUFFIX):
        (path.parent / name).write_bytes(b"for a while")
    beamline.ledger.record_result(
        "xpcs",
        "A001",
        run_key="A001",
        version=1,
        recipe_digest=f"sha256:{recipe}",
        path=str(path.relative_to(folder.root)),
        result_digest=f"sha256:{sha256(content).hexdigest()}",
        report={},
    )
    return path


def tape(beamline: OpenBeamline) -> dict[str, bytes]:
    root = beamline.root("tape")
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.tar*")}


def test_raw_data_are_archived_and_read_back(beamline: OpenBeamline, run: str) -> None:
    done = archive(beamline, run)
    assert done.version.version == 1
    assert done.results == ()
    (copy,) = [copy for copy in beamline.ledger.copies("xpcs", run, 1) if copy.place == "tape"]
    assert copy.evidence is Evidence.READ_BACK
    assert tape(beamline)


def test_archiving_again_changes_nothing_on_tape(beamline: OpenBeamline, run: str) -> None:
    archive(beamline, run)
    before = tape(beamline)
    archive(beamline, run)
    assert tape(beamline) == before


def test_a_version_that_was_superseded_before_it_was_archived_is_archived_all_the_same(
    beamline: OpenBeamline, run: str
) -> None:
    source = beamline.source_root / "A001"
    raw = next(source.glob("*.imm"))
    raw.write_bytes(raw.read_bytes() + b"rewritten")
    submit(beamline, source, as_is=True)
    take(beamline, run)
    stage(beamline, run)
    done = archive(beamline, run)
    assert done.version.version == 2
    assert [each.version for bundle in beamline.ledger.bundles("xpcs", run) for each in bundle.runs] == [1, 2]


def test_each_recipes_result_is_added_and_nothing_is_replaced(beamline: OpenBeamline, run: str) -> None:
    archive(beamline, run)
    before = tape(beamline)
    result(beamline, "aaaa", b"a result")
    result(beamline, "bbbb", b"another result")
    done = archive(beamline, run)
    assert len(done.results) == 2
    assert len(done.bundles) == 3
    assert done.written == 2
    after = tape(beamline)
    assert {name: after[name] for name in before} == before
    assert any(b"another result" in content for content in after.values())


def test_locks_and_partial_files_are_not_archived(beamline: OpenBeamline, run: str) -> None:
    result(beamline, "aaaa", b"a result")
    archive(beamline, run)
    assert not any(b"for a while" in content for content in tape(beamline).values())


def test_a_result_folder_that_the_ledger_does_not_know_is_left_alone(beamline: OpenBeamline, run: str) -> None:
    stranger = beamline.staged(beamline.latest("A001")).result("cccc")
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"half a result")
    assert archive(beamline, run).results == ()


@pytest.mark.parametrize("archived_before", [False, True])
def test_f25_a_result_that_rotted_since_it_was_recorded_is_never_archived(
    beamline: OpenBeamline, run: str, archived_before: bool
) -> None:
    path = result(beamline, "aaaa", b"a result")
    if archived_before:
        archive(beamline, run)
    path.write_bytes(b"A result")
    with pytest.raises(NotVerifiedError, match="not the one that was recorded"):
        archive(beamline, run)
    assert not any(b"A result" in content for content in tape(beamline).values())
    assert run in {copy.run_key for copy in beamline.ledger.copies("xpcs", run) if copy.place == "tape"}


def test_a_result_that_is_gone_before_it_was_archived_is_an_error_and_none_afterwards(
    beamline: OpenBeamline, run: str
) -> None:
    path = result(beamline, "aaaa", b"a result")
    path.unlink()
    with pytest.raises(NotVerifiedError, match="gone"):
        archive(beamline, run)
    path.write_bytes(b"a result")
    archive(beamline, run)
    path.unlink()
    assert archive(beamline, run).written == 0


def test_a_result_that_was_made_anew_under_its_name_is_archived_and_the_one_before_not_asked_for(
    beamline: OpenBeamline, run: str
) -> None:
    result(beamline, "aaaa", b"a result")
    result(beamline, "aaaa", b"a better result")
    done = archive(beamline, run)
    assert len(done.results) == 1
    assert unarchived(beamline.engine, "xpcs", staged_in="store", archive="tape") == ()


def test_a_run_that_is_not_staged_is_not_archived(beamline: OpenBeamline) -> None:
    submit(beamline, bare_run(beamline.source_root / "A001"))
    take(beamline, "A001")
    with pytest.raises(NotFoundError, match="not staged"):
        archive(beamline, "A001")


def test_a_beamline_without_archive_says_so(altered: Altered) -> None:
    beamline = altered({"pipeline": {"archive": None}})
    with pytest.raises(NotFoundError, match="no archive step"):
        archive(beamline, "A001")


def test_a_run_that_another_worker_holds_is_refused(beamline: OpenBeamline, run: str) -> None:
    with beamline.ledger.lease("xpcs", run, "prune", "another", 60.0), pytest.raises(RefusedError):
        archive(beamline, run)
    assert tape(beamline) == {}


def readings(beamline: OpenBeamline) -> list[str]:
    """Paths that are read from the tape from now on."""
    read: list[str] = []
    place = beamline.place

    def watched(name: str) -> PosixPlace | TapePlace:
        found = place(name)
        if isinstance(found, TapePlace):
            reads = found.read

            def counted(path: str, offset_bytes: int = 0) -> Iterator[bytes]:
                read.append(path)
                return reads(path, offset_bytes)

            found.read = counted  # type: ignore[method-assign]
        return found

    beamline.place = watched  # type: ignore[method-assign]
    return read


def test_what_was_read_back_is_not_read_again_when_a_result_comes(beamline: OpenBeamline, run: str) -> None:
    archive(beamline, run)
    result(beamline, "aaaa", b"a result")
    read = readings(beamline)
    done = archive(beamline, run)
    assert [path.split("/")[3] for path in read] == ["results"]
    assert (done.written, len(done.bundles), done.files) == (1, 2, 3)
    read.clear()
    assert archive(beamline, run).written == 0
    assert read == []


@pytest.mark.parametrize(("damage", "state"), [("gone", CopyState.LOST), ("longer", CopyState.BAD)])
def test_a_bundle_that_the_archive_no_longer_has_as_it_was_is_an_error_and_is_archived_again(
    beamline: OpenBeamline, run: str, damage: str, state: CopyState
) -> None:
    archive(beamline, run)
    (name,) = [name for name in tape(beamline) if name.endswith(".tar")]
    file = beamline.root("tape") / name
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes() + bytes(512))
    with pytest.raises(NotVerifiedError, match=r"is gone|bytes and had"):
        archive(beamline, run)
    (copy,) = [copy for copy in beamline.ledger.copies("xpcs", run, 1) if copy.place == "tape"]
    assert copy.state is state
    assert any(event.step == "fixity" for event in beamline.ledger.timeline("xpcs", run))
    done = archive(beamline, run)
    assert done.written == 1
    assert name not in {bundle.name for bundle in done.bundles}
    (copy,) = [copy for copy in beamline.ledger.copies("xpcs", run, 1) if copy.place == "tape"]
    assert copy.state is CopyState.PRESENT


def test_an_archive_that_cannot_be_asked_changes_nothing(beamline: OpenBeamline, run: str) -> None:
    archive(beamline, run)
    root = beamline.root("tape")
    root.rename(root.with_name("elsewhere"))
    with pytest.raises(CopyError):
        archive(beamline, run)
    root.with_name("elsewhere").rename(root)
    (copy,) = [copy for copy in beamline.ledger.copies("xpcs", run, 1) if copy.place == "tape"]
    assert copy.state is CopyState.PRESENT
    assert archive(beamline, run).written == 0


def test_a_copy_that_was_called_bad_is_read_again_before_it_counts(beamline: OpenBeamline, run: str) -> None:
    archive(beamline, run)
    (copy,) = [copy for copy in beamline.ledger.copies("xpcs", run, 1) if copy.place == "tape"]
    where = {"place": "tape", "path": copy.path, "state": CopyState.BAD, "reason": "other bytes"}
    beamline.ledger.mark_copy("xpcs", run, 1, **where)  # type: ignore[arg-type]
    read = readings(beamline)
    assert archive(beamline, run).written == 0  # it is sound after all
    assert len(read) == 1
    file = beamline.root("tape") / read[0]
    file.write_bytes(file.read_bytes().replace(b"frames", b"flames"))
    beamline.ledger.mark_copy("xpcs", run, 1, **where)  # type: ignore[arg-type]
    assert archive(beamline, run).written == 1
    states = {copy.state for copy in beamline.ledger.copies("xpcs", run, 1) if copy.place == "tape"}
    assert states == {CopyState.PRESENT}


def test_results_alone_can_be_archived(beamline: OpenBeamline, run: str) -> None:
    result(beamline, "aaaa", b"a result")
    done = archive_results(beamline, run)
    assert {bundle.content for bundle in done.bundles} == {"results"}
    assert "tape" not in {copy.place for copy in beamline.ledger.copies("xpcs", run)}


def test_a_copy_whose_bundles_were_recorded_before_a_crash_is_recorded_without_reading(
    beamline: OpenBeamline, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(type(beamline.ledger), "record_copy", lambda *_, **__: None)
        archive(beamline, run)
    assert "tape" not in {copy.place for copy in beamline.ledger.copies("xpcs", run)}
    read = readings(beamline)
    archive(beamline, run)
    assert "tape" in {copy.place for copy in beamline.ledger.copies("xpcs", run)}
    assert read == []
