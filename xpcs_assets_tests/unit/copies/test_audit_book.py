"""Findings and audits: what is noticed, opened, closed and written down."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from xpcs_assets.copies.database import writing
from xpcs_assets.copies.ledger import AuditOutcome, Finding, FindingKind, FindingState, Ledger
from xpcs_assets.errors import LedgerError, RefusedError
from xpcs_assets.runs.manifest import FileEntry, Manifest
from xpcs_assets_tests.storage import HandClock

DAY_S = 86400.0


def see(ledger: Ledger, path: str = "a", **more: float) -> Finding:
    return ledger.see_finding("b", FindingKind.DARK, place="disk", path=path, reason="why", **more)  # type: ignore[arg-type]


def test_a_finding_is_open_at_once_unless_it_must_be_seen_again(ledger: Ledger, clock: HandClock) -> None:
    assert see(ledger).state is FindingState.OPEN
    assert see(ledger, "b", open_after_s=DAY_S).state is FindingState.NOTICED
    clock.advance(DAY_S - 1)
    assert see(ledger, "b", open_after_s=DAY_S).state is FindingState.NOTICED
    clock.advance(1)
    opened = see(ledger, "b", open_after_s=DAY_S)
    assert (opened.state, opened.times_seen) == (FindingState.OPEN, 3)
    assert opened.changed_at == clock.now
    assert [each.path for each in ledger.findings("b")] == ["a", "b"]


def test_a_closed_finding_that_comes_back_begins_anew(ledger: Ledger, clock: HandClock) -> None:
    see(ledger, open_after_s=DAY_S)
    clock.advance(DAY_S)
    assert [each.state for each in ledger.close_findings("b", [FindingKind.DARK])] == [FindingState.CLOSED]
    again = see(ledger, open_after_s=DAY_S)
    assert (again.state, again.times_seen, again.first_seen) == (FindingState.NOTICED, 1, clock.now)


def test_only_what_a_look_did_not_see_is_closed(ledger: Ledger, clock: HandClock) -> None:
    see(ledger, "gone")
    clock.advance(1)
    began = clock.now
    see(ledger, "there")
    ledger.see_finding("b", FindingKind.DARK, place="tape", path="elsewhere", reason="")
    closed = ledger.close_findings("b", [FindingKind.DARK], place="disk", seen_before=began)
    assert [each.path for each in closed] == ["gone"]
    assert {each.path for each in ledger.findings("b")} == {"there", "elsewhere"}


def test_findings_of_two_versions_and_two_beamlines_are_their_own(ledger: Ledger) -> None:
    for beamline, version in (("b", 1), ("b", 2), ("c", 1)):
        ledger.see_finding(
            beamline, FindingKind.BAD, place="disk", path="a", run_key="r", version=version, reason="flipped"
        )
    ledger.close_findings("b", [FindingKind.BAD], run_key="r", version=1)
    assert [each.version for each in ledger.findings("b")] == [2]
    assert len(ledger.findings("c", run_key="r")) == 1


def test_changes_since_a_moment_are_found(ledger: Ledger, clock: HandClock) -> None:
    see(ledger, "old")
    clock.advance(1)
    see(ledger, "old")
    see(ledger, "new")
    assert [each.path for each in ledger.findings("b", changed_since=clock.now)] == ["new"]


def test_an_audit_s_line_is_never_changed_or_deleted(ledger: Ledger, clock: HandClock) -> None:
    began = clock.now
    clock.advance(5)
    line = ledger.record_audit("b", "scrub", "disk", AuditOutcome.DONE, began_at=began, counts={"read": 3})
    assert (line.began_at, line.ended_at, line.counts) == (began, clock.now, {"read": 3})
    for change in ("UPDATE audits SET outcome = 'done'", "DELETE FROM audits"):
        with pytest.raises(LedgerError, match="never changed or deleted"), writing(ledger.engine) as session:
            session.execute(text(change))
    assert ledger.audits("b", "scrub", "disk") == (line,)
    assert ledger.audits("b", "audit") == ()


def test_the_last_audit_comes_first(ledger: Ledger, clock: HandClock) -> None:
    for outcome in (AuditOutcome.PART, AuditOutcome.DONE):
        ledger.record_audit("b", "scrub", "disk", outcome, began_at=clock.now)
    assert [each.outcome for each in ledger.audits("b", "scrub", limit=1)] == [AuditOutcome.DONE]


def test_only_the_recorded_manifest_of_a_version_is_restored(ledger: Ledger) -> None:
    manifest = Manifest.of("r", [FileEntry("a", 1, "0" * 64)])
    ledger.record_version("b", "r", manifest, "r")
    other = Manifest.of("r", [FileEntry("a", 2, "0" * 64)])
    with pytest.raises(RefusedError, match="it is not the manifest of this version"):
        ledger.restore_manifest("b", "r", 1, other)
    ledger.restore_manifest("b", "r", 1, manifest)
    assert ledger.version("b", "r", 1).manifest == manifest
