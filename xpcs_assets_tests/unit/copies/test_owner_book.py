"""Whose versions of runs are, page by page, without their files."""

from __future__ import annotations

from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.runs.manifest import FileEntry, Manifest


def taken(ledger: Ledger, key: str, digit: str, owner: str, beamline: str = "b") -> None:
    manifest = Manifest.of(key, [FileEntry("a.imm", 7, digit * 64)])
    ledger.record_version(beamline, key, manifest, f"/d/{key}", {"groups": [owner]})


def test_versions_are_told_in_order_page_by_page(ledger: Ledger) -> None:
    for key, digit in (("A002", "1"), ("A001", "1"), ("A001", "2")):
        taken(ledger, key, digit, f"{key}-{digit}")
    taken(ledger, "A003", "1", "theirs", beamline="other")
    first = ledger.owned("b", limit=2)
    assert [(each.run_key, each.version, each.owner["groups"]) for each in first] == [
        *(("A001", 1, ["A001-1"]), ("A001", 2, ["A001-2"])),
    ]
    rest = ledger.owned("b", after=("A001", 2))
    assert [(each.run_key, each.version) for each in rest] == [("A002", 1)]
    assert ledger.owned("b", after=("A002", 1)) == ()


def test_one_run_can_be_asked_for(ledger: Ledger) -> None:
    for key in ("A001", "A0011"):
        taken(ledger, key, "1", "mine")
    assert [each.run_key for each in ledger.owned("b", run_key="A001")] == ["A001"]


def test_runs_with_a_step_that_was_done_are_told(ledger: Ledger) -> None:
    for key, what in (("A001", "done"), ("A002", "failed: x"), ("A003", "done")):
        ledger.note("b", key, "access", what, {})
    ledger.note("b", "A002", "plots", "done", {})
    ledger.note("other", "A002", "access", "done", {})
    assert ledger.with_step_done("b", "access", ["A001", "A002"]) == {"A001"}
