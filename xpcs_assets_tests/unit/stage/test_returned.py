"""Results that go back: whole, read again, one folder a recipe, one name a version, and never written over."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import ConflictingBytesError, NotFoundError, NotVerifiedError
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.stage.returned import return_results
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.unit.conftest import Altered, bare_run


@pytest.fixture
def beamline(altered: Altered, tmp_path: Path) -> OpenBeamline:
    """A beamline whose results go back to a disk of their own, with one staged run."""
    (tmp_path / "back").mkdir()
    path = "{run}/{analysis_key}/{recipe}/"
    opened = altered(
        {
            "places": {"back": {"kind": "posix", "root": str(tmp_path / "back")}},
            "pipeline": {"return_results": {"to": "back", "path": path}},
        }
    )
    staged(opened)
    return opened


def staged(beamline: OpenBeamline) -> None:
    submit(beamline, bare_run(beamline.source_root / "A001"), as_is=True)
    take(beamline, "A001")
    stage(beamline, "A001")


def made(beamline: OpenBeamline, content: bytes = b"g2", *, recipe: str = "multitau-ab", key: str = "A001") -> Path:
    """A result file that the ledger knows, with its report."""
    folder = beamline.staged(beamline.latest(key))
    path = folder.result(recipe)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    report = {"result_digest": digest, "recipe_digest": f"sha256:{recipe}"}
    folder.report(recipe).write_text(json.dumps(report), encoding="utf-8")
    beamline.ledger.record_result(
        "xpcs",
        key,
        run_key="A001",
        version=folder.version,
        recipe_digest=report["recipe_digest"],
        path=str(path.relative_to(folder.root)),
        result_digest=digest,
        report={**report, "reused": False},
    )
    return path


def back(beamline: OpenBeamline, path: str) -> bytes:
    return (beamline.root("back") / path).read_bytes()


def test_a_result_and_its_report_go_where_the_beamline_file_says(beamline: OpenBeamline) -> None:
    source = made(beamline)
    done = return_results(beamline, "A001")
    assert done.path == "A001/A001/multitau-ab/A001_results.hdf"
    assert done.report == "A001/A001/multitau-ab/A001_results.json"
    assert (back(beamline, done.path), back(beamline, done.report)) == (
        source.read_bytes(),
        source.with_suffix(".json").read_bytes(),
    )
    assert done.size_bytes == source.stat().st_size + source.with_suffix(".json").stat().st_size
    assert return_results(beamline, "A001") == done, "done again it is the same"


def test_another_recipe_and_another_key_have_places_of_their_own(beamline: OpenBeamline) -> None:
    paths = set()
    for recipe, key in (("multitau-ab", "A001"), ("twotime-cd", "A001"), ("multitau-ab", "A001~wide")):
        made(beamline, recipe=recipe, key=key)
        paths.add(return_results(beamline, key).path)
    assert len(paths) == 3
    assert all(back(beamline, path) == b"g2" for path in paths)


def test_a_later_version_of_the_run_has_another_name(beamline: OpenBeamline) -> None:
    made(beamline)
    first = return_results(beamline, "A001")
    (beamline.source_root / "A001" / "more.txt").write_text("measured again")
    take(beamline, "A001")
    stage(beamline, "A001")
    made(beamline, b"another g2")
    second = return_results(beamline, "A001")
    assert second.path == "A001/A001/multitau-ab/A001_v2_results.hdf"
    assert (back(beamline, first.path), back(beamline, second.path)) == (b"g2", b"another g2")


@pytest.mark.parametrize("suffix", [".hdf", ".json"])
def test_other_bytes_there_are_kept(beamline: OpenBeamline, suffix: str) -> None:
    made(beamline)
    theirs = (beamline.root("back") / "A001/A001/multitau-ab/A001_results").with_suffix(suffix)
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"theirs")
    with pytest.raises(ConflictingBytesError):
        return_results(beamline, "A001")
    assert theirs.read_bytes() == b"theirs"


def test_a_result_that_is_not_what_was_recorded_does_not_go_back(beamline: OpenBeamline) -> None:
    made(beamline).write_bytes(b"rotten")
    with pytest.raises(NotVerifiedError):
        return_results(beamline, "A001")
    assert [path for path in (beamline.root("back") / "A001").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("text", ['{"result_digest": "sha256:00"}', "[]", "no JSON"])
def test_a_report_of_another_result_does_not_go_back(beamline: OpenBeamline, text: str) -> None:
    made(beamline).with_suffix(".json").write_text(text, encoding="utf-8")
    with pytest.raises(NotVerifiedError, match="the report is not the one of this result"):
        return_results(beamline, "A001")


def test_a_place_that_lies_about_its_writing_is_found_out(
    beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(beamline)
    digest = PosixPlace.digest

    def other(self: PosixPlace, path: str, *also: object) -> object:
        return digest(self, ".xpcs-assets-place" if self.name == "back" else path, *also)  # type: ignore[arg-type]

    monkeypatch.setattr(PosixPlace, "digest", other)
    with pytest.raises(NotVerifiedError, match="what came back is not what was sent"):
        return_results(beamline, "A001")


def test_without_a_result_nothing_goes_back(beamline: OpenBeamline) -> None:
    with pytest.raises(NotFoundError, match="there is no result"):
        return_results(beamline, "A001")


def test_a_beamline_that_returns_nothing_says_so(altered: Altered) -> None:
    with pytest.raises(NotFoundError, match="no result goes back"):
        return_results(altered({}), "A001")
