"""Messages that say that runs are complete: each run once, nothing that may not be taken, and no word lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import ArrivalState
from xpcs_assets.errors import InputError, NotFoundError, SettingsError
from xpcs_assets.intake.parked import one_of, parked, settle
from xpcs_assets.intake.taking import Said, take_document, take_files
from xpcs_assets_tests.unit.conftest import Altered, bare_run


@pytest.fixture
def run(beamline: OpenBeamline) -> Path:
    return bare_run(beamline.source_root / "A001")


def submitted(beamline: OpenBeamline) -> list[str]:
    return [one.run_key for one in beamline.ledger.arrivals("xpcs") if one.state is ArrivalState.SUBMITTED]


@pytest.mark.parametrize("given", ["absolute", "relative", "a list", "the same twice"])
def test_the_files_that_a_message_names_are_submitted_once(beamline: OpenBeamline, run: Path, given: str) -> None:
    path = "A001" if given == "relative" else str(run)
    paths: Any = {"a list": [path], "the same twice": [path, path]}.get(given, path)
    assert take_files(beamline, {"file_path": paths}) == (Said(path, "A001"),)
    assert submitted(beamline) == ["A001"]


def test_a_run_that_was_taken_is_known(beamline: OpenBeamline, run: Path) -> None:
    take_files(beamline, {"file_path": "A001"})
    take(beamline, "A001")
    assert take_files(beamline, {"file_path": "A001", "is_export_control": False})[0].known


def test_export_controlled_files_are_refused_and_that_is_kept(beamline: OpenBeamline, run: Path) -> None:
    said = take_files(beamline, {"file_path": ["A001", "A002"], "is_export_control": True})
    assert [(one.file_path, one.key, "export-controlled" in one.reason) for one in said] == [
        ("A001", "", True),
        ("A002", "", True),
    ]
    assert submitted(beamline) == []
    assert all(one_of(beamline, one.parked).is_export_control for one in said)


def test_one_path_that_is_refused_does_not_keep_the_others(beamline: OpenBeamline, run: Path, tmp_path: Path) -> None:
    said = take_files(beamline, {"file_path": [str(tmp_path), "A001", "../x", "A002"]})
    assert [one.key for one in said] == ["", "A001", "", ""]
    assert [one.file_path for one in parked(beamline)] == [str(tmp_path), "../x", "A002"]


def test_the_same_refusal_again_is_one_entry_that_counts(beamline: OpenBeamline) -> None:
    names = {take_files(beamline, {"file_path": "A002"})[0].parked for _ in range(3)}
    (one,) = parked(beamline)
    assert (names, one.times, "there is no such run" in one.reason) == ({one.name}, 3, True)


def test_refusals_that_come_at_the_same_moment_are_all_kept(beamline: OpenBeamline) -> None:
    paths = [f"A{number:03}" for number in range(40)]
    assert beamline.ledger is not None  # opened by one thread, as the endpoint does
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda path: take_files(beamline, {"file_path": path}), paths))
    assert sorted(one.file_path for one in parked(beamline)) == paths


def test_what_a_person_has_settled_waits_no_longer_until_it_comes_again(beamline: OpenBeamline) -> None:
    (said,) = take_files(beamline, {"file_path": "A002"})
    settle(beamline, said.parked, "dismissed: a test", "an operator")
    assert parked(beamline) == ()
    with pytest.raises(NotFoundError):
        settle(beamline, said.parked, "dismissed: twice", "an operator")
    take_files(beamline, {"file_path": "A002"})
    assert [(one.name, one.times) for one in parked(beamline)] == [(said.parked, 1)]


@pytest.mark.parametrize(
    "message",
    [
        None, [], "A001", {}, {"file_path": None}, {"file_path": ""}, {"file_path": []}, {"file_path": [1]},
        {"file_path": "a\0b"}, {"file_path": "A001", "is_export_control": "yes"}, {"file_path": "A001", "force": True},
        {"file_path": ["x"] * 10_001},
    ],
)  # fmt: skip
def test_a_message_that_cannot_be_understood_does_nothing(beamline: OpenBeamline, run: Path, message: Any) -> None:
    with pytest.raises(InputError):
        take_files(beamline, message)
    assert (submitted(beamline), parked(beamline)) == ([], ())


@pytest.fixture
def scanning(altered: Altered) -> OpenBeamline:
    opened = altered({"runs": {"from": {"documents": "{folder}/{scan_name}"}}})
    bare_run(opened.source_root / "A001")
    return opened


def start_of(beamline: OpenBeamline, **entries: Any) -> dict[str, Any]:
    return {"uid": "5e-1", "scan_id": 7, "folder": str(beamline.source_root), "scan_name": "A001", **entries}


def test_the_stop_of_a_scan_that_ended_well_submits_its_run(scanning: OpenBeamline) -> None:
    assert take_document(scanning, "start", start_of(scanning)) is None
    assert take_document(scanning, "descriptor", {"run_start": "5e-1"}) is None
    said = take_document(scanning, "stop", {"run_start": "5e-1", "exit_status": "success"})
    assert said == Said(str(scanning.source_root / "A001"), "A001")
    again = take_document(scanning, "stop", {"run_start": "5e-1", "exit_status": "success"})
    assert (again, submitted(scanning)) == (said, ["A001"])


@pytest.mark.parametrize("status", ["abort", "fail", None])
def test_a_scan_that_did_not_end_well_submits_nothing(scanning: OpenBeamline, status: str | None) -> None:
    take_document(scanning, "start", start_of(scanning))
    assert take_document(scanning, "stop", {"run_start": "5e-1", "exit_status": status}) is None
    assert submitted(scanning) == []


def test_a_scan_without_the_entries_of_the_path_is_kept_with_that_reason(scanning: OpenBeamline) -> None:
    take_document(scanning, "start", start_of(scanning, scan_name=None))
    said = take_document(scanning, "stop", {"run_start": "5e-1", "exit_status": "success"})
    assert said is not None
    assert said.reason == "its start document has no scan_name"
    assert one_of(scanning, said.parked).file_path == "scan 5e-1"


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("stop", {"run_start": "unseen", "exit_status": "success"}),
        ("start", {"uid": "../x"}),
        ("start", []),
        ("stop", {}),
    ],
)
def test_a_document_that_cannot_be_understood_is_refused(scanning: OpenBeamline, name: str, document: Any) -> None:
    with pytest.raises(InputError):
        take_document(scanning, name, document)


def test_a_beamline_without_a_path_for_documents_takes_none(beamline: OpenBeamline) -> None:
    with pytest.raises(SettingsError, match=r"runs\.from\.documents"):
        take_document(beamline, "start", {"uid": "x"})


def test_the_start_document_is_kept_with_its_run_once(scanning: OpenBeamline) -> None:
    start = start_of(scanning)
    take_document(scanning, "start", start)
    for _ in range(2):
        take_document(scanning, "stop", {"run_start": start["uid"], "exit_status": "success"})
    (key,) = submitted(scanning)
    noted = [event.detail for event in scanning.ledger.timeline("xpcs", key) if event.step == "scan"]
    assert noted == [{"start": start}]
