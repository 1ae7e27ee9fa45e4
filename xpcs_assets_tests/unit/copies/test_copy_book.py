"""The book of copies."""

from __future__ import annotations

import itertools

import pytest

from xpcs_assets.copies.ledger import Copy, CopyState, Evidence, Ledger
from xpcs_assets.errors import LedgerError, NotFoundError
from xpcs_assets.runs.manifest import FileEntry, Manifest
from xpcs_assets_tests.storage import HandClock


@pytest.fixture(autouse=True)
def run(ledger: Ledger) -> None:
    ledger.record_version("b", "r", Manifest.of("r", [FileEntry("a", 1, "0" * 64)]), "/d/r")


def record(ledger: Ledger, place: str = "disk", evidence: Evidence = Evidence.READ_BACK) -> Copy:
    return ledger.record_copy("b", "r", 1, place=place, path="b/r", failure_domain="room", evidence=evidence)


def test_evidence_is_ordered_and_the_last_two_never_count() -> None:
    ranks = [item.rank for item in (Evidence.READ_BACK, Evidence.SERVICE, Evidence.SIZE, Evidence.LEDGER)]
    assert all(better > worse for better, worse in itertools.pairwise(ranks))
    assert [item for item in Evidence if item.counts] == [Evidence.READ_BACK, Evidence.SERVICE]


def test_a_copy_recorded_again_is_one_copy_with_newer_evidence(ledger: Ledger, clock: HandClock) -> None:
    first = record(ledger, evidence=Evidence.SIZE)
    clock.advance(60)
    again = record(ledger)
    assert ledger.copies("b", "r") == (again,)
    assert (again.recorded_at, again.verified_at) == (first.recorded_at, clock.now)
    assert (again.evidence, again.state) == (Evidence.READ_BACK, CopyState.PRESENT)


def test_a_copy_that_comes_back_after_a_removal_is_young_again(ledger: Ledger, clock: HandClock) -> None:
    record(ledger)
    ledger.mark_copy("b", "r", 1, place="disk", path="b/r", state=CopyState.REMOVED, reason="removal 1")
    clock.advance(60)
    assert record(ledger).recorded_at == clock.now


def test_a_copy_that_was_only_lost_from_sight_keeps_its_age(ledger: Ledger, clock: HandClock) -> None:
    first = record(ledger)
    ledger.mark_copy("b", "r", 1, place="disk", path="b/r", state=CopyState.LOST, reason="unmounted")
    clock.advance(60)
    assert record(ledger).recorded_at == first.recorded_at


def test_marking_says_state_and_reason(ledger: Ledger) -> None:
    record(ledger)
    marked = ledger.mark_copy("b", "r", 1, place="disk", path="b/r", state=CopyState.BAD, reason="other bytes")
    assert (marked.state, marked.reason) == (CopyState.BAD, "other bytes")
    assert ledger.copies("b", "r", 1) == (marked,)
    with pytest.raises(NotFoundError, match=r"tape.*no copy of r v1"):
        ledger.mark_copy("b", "r", 1, place="tape", path="b/r", state=CopyState.BAD, reason="")


def test_a_copy_of_an_unknown_version_is_refused(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match=r"(?i)foreign key"):
        ledger.record_copy("b", "r", 9, place="p", path="x", failure_domain="", evidence=Evidence.READ_BACK)


def test_a_planner_sees_what_is_there_or_half_gone_oldest_first(ledger: Ledger, clock: HandClock) -> None:
    for version in (2, 3, 4):
        ledger.record_version("b", "r", Manifest.of("r", [FileEntry("a", version, "0" * 64)]), "/d/r")
        ledger.record_copy(
            "b", "r", version, place="disk", path=f"v{version}", failure_domain="", evidence=Evidence.SIZE
        )
        clock.advance(1)
    ledger.mark_copy("b", "r", 2, place="disk", path="v2", state=CopyState.PART_REMOVED, reason="")
    ledger.mark_copy("b", "r", 3, place="disk", path="v3", state=CopyState.REMOVED, reason="")
    assert [copy.version for copy in ledger.copies_in("disk", beamline="b")] == [2, 4]
    assert [copy.version for copy in ledger.copies_in("disk", beamline="b", limit=1)] == [2]
    assert ledger.copies_in("disk", beamline="other") == ()
    assert [copy.version for copy in ledger.copies("b", "r", 4)] == [4]
