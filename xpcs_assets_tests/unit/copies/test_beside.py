"""The note beside a version's manifest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xpcs_assets.copies.beside import FILE_NAME, Note, report_beside, write_note
from xpcs_assets.copies.ledger import Evidence, Ledger
from xpcs_assets.errors import NotFoundError, NotVerifiedError
from xpcs_assets.runs.folders import VersionFolder
from xpcs_assets.runs.manifest import FileEntry, Manifest


@pytest.fixture
def folder(ledger: Ledger, tmp_path: Path) -> VersionFolder:
    """The folder of a version with a copy and two results, one of them with its report beside it."""
    found = VersionFolder(tmp_path / "store", "b", "r", 1)
    found.path.mkdir(parents=True)
    ledger.record_version("b", "r", Manifest.of("r", [FileEntry("a", 1, "0" * 64)]), "/d/r\udcff", {"proposal": "p"})
    ledger.record_copy("b", "r", 1, place="store", path="b/r/v1", failure_domain="f", evidence=Evidence.READ_BACK)
    for recipe, report in (("one", {"frames": 5}), ("two", {"frames": 6})):
        path = found.result(recipe)
        path.parent.mkdir(parents=True)
        found.report(recipe).write_text(json.dumps({"frames": 5}), encoding="utf-8")
        ledger.record_result(
            *("b", "r"),
            run_key="r",
            version=1,
            recipe_digest=recipe,
            path=str(path.relative_to(found.root)),
            result_digest=recipe,
            report=report,
        )
    return found


def read(folder: VersionFolder) -> Note:
    return Note.from_json((folder.path / FILE_NAME).read_bytes(), where="here")


def test_a_note_has_what_manifest_and_reports_lack(ledger: Ledger, folder: VersionFolder) -> None:
    write_note(ledger.engine, folder)
    note = read(folder)
    assert (note.version["source"], note.version["owner"]) == ("/d/r\udcff", {"proposal": "p"})
    assert "manifest" not in note.version
    assert [(copy["place"], copy["evidence"]) for copy in note.copies] == [("store", "read-back hash")]
    assert [result.get("report") for result in note.results] == [None, {"frames": 6}]
    assert note.bundles == ()


def test_a_note_is_written_anew(ledger: Ledger, folder: VersionFolder) -> None:
    write_note(ledger.engine, folder)
    ledger.record_copy("b", "r", 1, place="tape", path="t", failure_domain="g", evidence=Evidence.READ_BACK)
    write_note(ledger.engine, folder)
    assert [copy["place"] for copy in read(folder).copies] == ["store", "tape"]
    assert {path.name for path in folder.path.iterdir()} == {FILE_NAME, "results"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text.replace("read-back hash", "size"), "own digest"),
        (lambda text: text.replace("note 1", "note 9"), "own digest"),
        (lambda text: text[:-20], "cannot be read"),
        (lambda text: "[]", "cannot be read"),
    ],
)
def test_a_damaged_note_is_told(ledger: Ledger, folder: VersionFolder, change: object, told: str) -> None:
    write_note(ledger.engine, folder)
    text = (folder.path / FILE_NAME).read_text("utf-8")
    with pytest.raises(NotVerifiedError, match=told):
        Note.from_json(change(text), where="here")  # type: ignore[operator]


def test_a_folder_that_is_away_is_told(ledger: Ledger, folder: VersionFolder) -> None:
    with pytest.raises(NotFoundError, match="away"):
        write_note(ledger.engine, VersionFolder(folder.root / "away", "b", "r", 1))


@pytest.mark.parametrize("content", [b"", b"\xff", b"[1]"])
def test_what_is_no_report_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    assert report_beside(tmp_path / "x.hdf") is None
    assert report_beside(tmp_path / "y.hdf") is None
