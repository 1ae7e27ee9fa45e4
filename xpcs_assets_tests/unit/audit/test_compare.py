"""Comparing places with the ledger: dark, lost, of another size; and when nothing is concluded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from xpcs_assets.audit.compare import Compared, Limits, compare
from xpcs_assets.audit.scope import Scope
from xpcs_assets.audit.unrecorded import adopt
from xpcs_assets.copies.ledger import AuditOutcome, CopyState, FindingKind, FindingState
from xpcs_assets.errors import RefusedError
from xpcs_assets.runs.folders import ASIDE_FOLDER
from xpcs_assets_tests.storage import BEAMLINE, FILES, RUN, Storage
from xpcs_assets_tests.unit.audit.conftest import flip

WEEK_S = 7 * 86400.0
LIMITS = Limits(dark_after_s=WEEK_S, at_most_dark=0.5, at_most_lost=0.5)


def compared(scope: Scope, place: str = "disk", limits: Limits = LIMITS, *, anyway: bool = False) -> Compared:
    (found,) = [each for each in compare(scope, limits, watched="detector", anyway=anyway) if each.place == place]
    return found


def kinds(storage: Storage) -> list[FindingKind]:
    return [each.kind for each in storage.ledger.findings(BEAMLINE)]


def test_a_storage_that_agrees_has_no_findings(scope: Scope, storage: Storage) -> None:
    done = compare(scope, LIMITS, watched="detector")
    assert [(each.place, each.outcome, each.reason) for each in done] == [
        ("detector", AuditOutcome.DONE, ""),
        ("disk", AuditOutcome.DONE, ""),
        ("tape", AuditOutcome.DONE, ""),
    ]
    assert storage.ledger.findings(BEAMLINE, states=tuple(FindingState)) == ()
    assert compared(scope).counts["expected"] == len(FILES)


@pytest.mark.parametrize(
    "path",
    [
        f"{BEAMLINE}/{RUN}/v1/raw/stranger.dat",
        f"{BEAMLINE}/{RUN}/v1/results/0123456789ab/{RUN}_results.hdf",
        f"{BEAMLINE}/{RUN}/v7/note.txt",
        f"{BEAMLINE}/stray",
    ],
)
def test_a_file_that_nothing_knows_of_is_dark_once_it_was_seen_twice_a_week_apart(
    scope: Scope, storage: Storage, path: str
) -> None:
    file = storage.disk.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"?")
    compared(scope)
    assert kinds(storage) == []
    storage.clock.advance(WEEK_S - 1)
    compared(scope)
    assert kinds(storage) == []
    storage.clock.advance(1)
    compared(scope)
    (finding,) = storage.ledger.findings(BEAMLINE)
    assert (finding.kind, finding.path, finding.times_seen) == (FindingKind.DARK, path, 3)
    assert file.read_bytes() == b"?"
    file.unlink()
    storage.clock.advance(1)
    compared(scope)
    assert kinds(storage) == []


def test_some_files_of_a_removed_copy_that_came_back_are_told_as_such_and_never_stop_the_audit(
    scope: Scope, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xpcs_assets.audit.compare.FEW", 0)
    storage.prune("disk")
    for path in ("A001.imm", "sub/notes é.txt"):
        file = storage.target.raw / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(FILES[path])
    strict = Limits(dark_after_s=WEEK_S, at_most_dark=0.0, at_most_lost=0.0)
    done = compared(scope, limits=strict)
    assert (done.outcome, done.counts["unclaimed"], done.counts["dark"]) == (AuditOutcome.DONE, 2, 0)
    storage.clock.advance(WEEK_S)
    compared(scope, limits=strict)
    findings = storage.ledger.findings(BEAMLINE)
    assert {each.path.rsplit("/raw/", 1)[1] for each in findings} == {"A001.imm", "sub/notes é.txt"}
    assert all("where the copy is removed" in each.reason for each in findings)
    storage.stage()
    storage.clock.advance(1)
    compared(scope)
    assert kinds(storage) == []


def test_one_look_long_ago_and_one_after_the_file_was_away_are_no_two(scope: Scope, storage: Storage) -> None:
    file = storage.disk.root / BEAMLINE / "stray"
    for present in (True, False, True):
        file.write_bytes(b"?") if present else file.unlink()
        compared(scope)
        storage.clock.advance(WEEK_S)
    assert kinds(storage) == []


def test_a_partial_and_a_place_s_other_folders_are_not_dark(scope: Scope, storage: Storage) -> None:
    (storage.target.raw / ".abc.xpcs-partial").write_bytes(b"half")
    (storage.disk.root / "another-beamline").mkdir()
    (storage.disk.root / "another-beamline" / "file").write_bytes(b"theirs")
    for _ in range(2):
        compared(scope)
        storage.clock.advance(WEEK_S)
    assert kinds(storage) == []


def test_a_file_in_motion_is_neither_dark_nor_lost(
    scope: Scope, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    arriving = storage.disk.root / BEAMLINE / "arriving"
    stat, listed = storage.disk.stat, []

    def slow_stat(path: str) -> object:
        arriving.write_bytes(b"new")  # after the first listing, before the second
        listed.append(path)
        return stat(path)

    monkeypatch.setattr(storage.disk, "stat", slow_stat)
    compared(scope)
    assert listed
    assert storage.ledger.findings(BEAMLINE, states=tuple(FindingState)) == ()


def test_a_copy_removed_while_the_audit_looks_is_not_lost(
    scope: Scope, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = storage.disk.stat

    def while_pruned(path: str) -> object:
        copy = storage.copy("disk")
        if copy.state is CopyState.PRESENT:
            shutil.rmtree(storage.target.raw)
            storage.ledger.mark_copy(
                BEAMLINE, RUN, 1, place="disk", path=copy.path, state=CopyState.REMOVED, reason="removal 1"
            )
        return stat(path)

    monkeypatch.setattr(storage.disk, "stat", while_pruned)
    compared(scope, anyway=True)
    assert storage.copy("disk").state is CopyState.REMOVED
    assert kinds(storage) == []


def test_a_lost_and_a_cut_file_are_found_without_reading(scope: Scope, storage: Storage) -> None:
    (storage.target.raw / "A001.imm").unlink()
    compared(scope)
    assert kinds(storage) == [FindingKind.LOST]
    assert storage.copy("disk").state is CopyState.LOST
    (storage.source / "A001.imm").write_bytes(b"short")
    compared(scope)
    assert sorted(kinds(storage)) == [FindingKind.LOST, FindingKind.SIZE]
    assert storage.copy("detector").state is CopyState.BAD


def test_a_place_that_cannot_be_asked_is_told_and_its_findings_stand(scope: Scope, storage: Storage) -> None:
    (storage.target.raw / "A001.imm").unlink()
    compared(scope)
    shutil.move(storage.disk.root, storage.root / "elsewhere")
    storage.clock.advance(1)
    done = compared(scope)
    assert done.outcome is AuditOutcome.UNAVAILABLE
    assert done.reason
    assert kinds(storage) == [FindingKind.LOST]


def test_a_bundle_that_nothing_knows_of_and_one_that_is_gone(scope: Scope, storage: Storage) -> None:
    first, *_ = sorted(storage.tape.root.rglob("*.tar"))
    shutil.copy(first, first.with_name("unknown.tar"))
    first.unlink()
    compared(scope, "tape")
    storage.clock.advance(WEEK_S)
    compared(scope, "tape")
    found = {each.kind: Path(each.path).name for each in storage.ledger.findings(BEAMLINE)}
    assert found == {FindingKind.LOST_BUNDLE: first.name, FindingKind.UNKNOWN_BUNDLE: "unknown.tar"}
    assert storage.copy("tape").state is CopyState.LOST


def test_a_file_set_aside_without_a_row_is_found(scope: Scope, storage: Storage) -> None:
    file = storage.disk.root / ASIDE_FOLDER / "trash-1" / "a"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"?")
    for _ in range(2):
        compared(scope)
        storage.clock.advance(WEEK_S)
    assert kinds(storage) == [FindingKind.UNKNOWN_ASIDE]


def test_a_copy_without_a_row_is_found_read_and_recorded(scope: Scope, storage: Storage) -> None:
    shutil.copytree(storage.disk.root / BEAMLINE, storage.root / "second" / BEAMLINE)
    second = type(storage.disk)("second", storage.root / "second", "second room")
    both = Scope(BEAMLINE, storage.ledger, {**storage.places, "second": second})
    compared(both, "second", anyway=True)
    assert kinds(storage) == [FindingKind.UNRECORDED]
    assert [each.refused for each in adopt(both)] == [""]
    assert storage.copy("second").state is CopyState.PRESENT
    assert kinds(storage) == []


def test_a_copy_without_a_row_whose_bytes_are_wrong_is_not_recorded(scope: Scope, storage: Storage) -> None:
    shutil.copytree(storage.disk.root / BEAMLINE, storage.root / "second" / BEAMLINE)
    flip(next((storage.root / "second").rglob("A001.imm")))
    second = type(storage.disk)("second", storage.root / "second", "second room")
    both = Scope(BEAMLINE, storage.ledger, {**storage.places, "second": second})
    compared(both, "second", anyway=True)
    (refused,) = [each.refused for each in adopt(both)]
    assert "it is bad" in refused
    assert "second" not in {copy.place for copy in storage.ledger.copies(BEAMLINE, RUN)}


def test_a_damaged_manifest_beside_a_copy_is_found(scope: Scope, storage: Storage) -> None:
    storage.target.manifest.chmod(0o644)
    storage.target.manifest.write_text("{}", encoding="utf-8")
    compared(scope)
    assert kinds(storage) == [FindingKind.MANIFEST]


def test_a_copy_that_another_step_found_bad_is_a_finding_until_it_is_right_again(
    scope: Scope, storage: Storage
) -> None:
    copy = storage.copy("disk")
    storage.ledger.mark_copy(BEAMLINE, RUN, 1, place="disk", path=copy.path, state=CopyState.BAD, reason="a proof said")
    compared(scope)
    assert kinds(storage) == [FindingKind.BAD]
    storage.clock.advance(1)
    storage.stage()
    compared(scope)
    assert kinds(storage) == []


def test_two_audits_do_not_run_side_by_side(scope: Scope, storage: Storage) -> None:
    with (
        storage.ledger.lease(BEAMLINE, "*", "audit", "another", 3600),
        pytest.raises(RefusedError, match="another works on it"),
    ):
        compared(scope)
