"""Archiving what a run has: raw data once, results as they come, nothing replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from xpcs_assets.archive.archiving import archive
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Evidence
from xpcs_assets.errors import NotFoundError, RefusedError
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
    path.parent.mkdir(parents=True)
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
        result_digest=f"sha256:{recipe}",
        report={},
    )
    return path


def tape(beamline: OpenBeamline) -> dict[str, bytes]:
    root = beamline.root("tape")
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


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
    assert len(done.parts) == 3
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
