"""The folders by which people get at a run: a version's own, and those that its results went back to."""

from __future__ import annotations

from pathlib import Path

from xpcs_assets.access.gates import gates_of
from xpcs_assets.access.keeper import settle_run
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import FindingKind
from xpcs_assets.settings import ReturnResults
from xpcs_assets.stage.returned import return_results
from xpcs_assets_tests.unit.access.conftest import ACCESS, copied, opened
from xpcs_assets_tests.unit.conftest import Altered
from xpcs_assets_tests.unit.stage.test_returned import made


def folders(beamline: OpenBeamline) -> list[tuple[str, str]]:
    versions = beamline.ledger.owned("xpcs", run_key="A001")
    return [(gate.place, gate.folder) for owned in versions for gate in gates_of(beamline, owned)]


def with_results(altered: Altered, tmp_path: Path) -> OpenBeamline:
    opened(altered, tmp_path)
    (tmp_path / "back").mkdir()
    back = {"kind": "posix", "root": str(tmp_path / "back"), "access": ACCESS}
    returned = {"to": "back", "path": "{run}/{analysis_key}/{recipe}/"}
    return altered({"places": {"back": back}, "pipeline": {"return_results": returned}})


def test_each_version_has_its_folder_in_each_place(guarded: OpenBeamline) -> None:
    copied(guarded)
    (guarded.source_root / "A001" / "A001.imm").write_bytes(b"other frames")
    take(guarded, "A001")
    stores = [("store", "xpcs/A001/v1"), ("mirror", "xpcs/A001/v1"), ("store", "xpcs/A001/v2")]
    assert folders(guarded) == [*stores, ("mirror", "xpcs/A001/v2")]


def test_results_that_went_back_are_guarded_by_the_runs_own_folder(altered: Altered, tmp_path: Path) -> None:
    beamline = with_results(altered, tmp_path)
    copied(beamline)
    made(beamline)
    made(beamline, b"other", recipe="multitau-cd")
    return_results(beamline, "A001")
    assert folders(beamline) == [("store", "xpcs/A001/v1"), ("mirror", "xpcs/A001/v1"), ("back", "A001/A001")]
    done = settle_run(beamline, "A001")
    assert all(found.is_right for found in done)
    assert (beamline.root("back") / "A001" / "A001").stat().st_mode & 0o007 == 0
    assert (beamline.root("back") / "A001").stat().st_mode & 0o005 == 0o005


def test_a_folder_that_the_ledger_cannot_name_is_a_finding_and_keeps_no_other(altered: Altered, tmp_path: Path) -> None:
    beamline = with_results(altered, tmp_path)
    copied(beamline)
    made(beamline)
    return_results(beamline, "A001")
    with beamline.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE run_versions SET manifest = '{}'")
    done = settle_run(beamline, "A001")
    assert [found.is_right for found in done] == [True, True, False]
    (finding,) = beamline.ledger.findings("xpcs", kinds=[FindingKind.ACCESS])
    assert finding.place == "back"


def test_the_folder_of_one_run_alone() -> None:
    assert ReturnResults(to="back").own_folder == 1
    assert ReturnResults(to="back", path="{run}/a-{analysis_key}/{recipe}").own_folder == 2
    assert ReturnResults(to="back", path="{run}/{recipe}").own_folder == 0
