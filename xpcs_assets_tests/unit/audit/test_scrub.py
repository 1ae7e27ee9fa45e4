"""Reading copies again: how much, in which order, and what is concluded."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from datetime import timedelta

import pytest

from xpcs_assets.audit.reread import Verdict
from xpcs_assets.audit.scope import Scope
from xpcs_assets.audit.scrub import Scrubbed, scrub
from xpcs_assets.copies.ledger import AuditOutcome, CopyState, Evidence, FindingKind
from xpcs_assets.errors import CopyError, RefusedError
from xpcs_assets.places.reading import Hashed
from xpcs_assets.stage.copy import take_manifest
from xpcs_assets_tests.storage import BEAMLINE, FILES, RUN, HandStopwatch, Storage
from xpcs_assets_tests.unit.audit.conftest import flip

WITHIN_S = 90 * 86400.0


def scrubbed(scope: Scope, place: str, **how: float) -> Scrubbed:
    (found,) = [each for each in scrub(scope, WITHIN_S, **how) if each.place == place]  # type: ignore[arg-type]
    return found


def more_runs(storage: Storage, count: int) -> None:
    """Runs of 1000 bytes at the detector, verified one second after the other, the first one longest ago."""
    for number in range(count):
        name = f"B{number:03d}"
        folder = storage.detector.root / name
        folder.mkdir()
        (folder / "a.imm").write_bytes(bytes([number]) * 1000)
        version = storage.ledger.record_version(BEAMLINE, name, take_manifest(name, folder, ["a.imm"]), name)
        storage.clock.advance(1)
        storage.ledger.record_copy(
            BEAMLINE, name, version.version, place="detector", path=name, failure_domain="detector room",
            evidence=Evidence.READ_BACK,
        )  # fmt: skip


def test_nothing_is_read_while_nothing_is_owed(scope: Scope, storage: Storage) -> None:
    storage.ledger.record_copy(
        BEAMLINE, RUN, 1, place="disk", path=storage.copy("disk").path, failure_domain="disk room",
        evidence=Evidence.READ_BACK,
    )  # fmt: skip
    done = scrubbed(scope, "disk")
    assert (done.read, done.outcome) == ([], AuditOutcome.DONE)
    assert storage.ledger.audits(BEAMLINE, "scrub", "disk") == ()


def test_the_longest_unverified_is_read_first_and_only_the_share_of_the_time_that_has_passed(
    scope: Scope, storage: Storage
) -> None:
    storage.ledger.mark_copy(BEAMLINE, RUN, 1, place="detector", path=RUN, state=CopyState.REMOVED, reason="")
    more_runs(storage, 9)
    storage.clock.advance(WITHIN_S / 3)
    done = scrubbed(scope, "detector")
    assert [each.path for each in done.read] == ["B000", "B001", "B002"]
    assert scrubbed(scope, "detector").read == []
    storage.clock.advance(WITHIN_S / 3)
    assert [each.path for each in scrubbed(scope, "detector").read] == ["B003", "B004", "B005"]


def test_every_copy_is_read_within_the_period_however_rarely_a_share_is_taken(scope: Scope, storage: Storage) -> None:
    more_runs(storage, 9)
    read: set[str] = set()
    for _ in range(7):
        storage.clock.advance(WITHIN_S / 6.5)
        read |= {each.path for each in scrubbed(scope, "detector").read}
    assert read == {RUN, *(f"B{number:03d}" for number in range(9))}
    assert all(
        storage.clock.now - copy.verified_at < timedelta(seconds=WITHIN_S) for copy in [storage.copy("detector")]
    )


def test_a_scrub_whose_time_is_over_says_so_and_the_next_one_goes_on(scope: Scope, storage: Storage) -> None:
    more_runs(storage, 4)
    storage.clock.advance(WITHIN_S)
    stopwatch = HandStopwatch()

    def slow(_: object) -> None:
        stopwatch.seconds += 10

    found = {each.place: each for each in scrub(scope, WITHIN_S, limit_s=15, stopwatch=stopwatch, told=slow)}
    assert found["detector"].outcome is AuditOutcome.PART
    first = [each.path for each in found["detector"].read]
    assert len(first) == 2
    again = scrubbed(scope, "detector")
    assert again.outcome is AuditOutcome.DONE
    assert set(first).isdisjoint(each.path for each in again.read)
    assert len(again.read) == 3


def test_a_good_copy_has_new_evidence_as_old_as_the_beginning_of_its_reading(scope: Scope, storage: Storage) -> None:
    storage.clock.advance(WITHIN_S)
    began = storage.clock.now
    (read,) = scrubbed(scope, "disk").read
    assert read.verdict is Verdict.RIGHT
    assert read.size_bytes == sum(map(len, FILES.values()))
    assert storage.copy("disk").verified_at == began


def test_a_verification_in_the_future_is_none(scope: Scope, storage: Storage) -> None:
    ahead = storage.clock.now + timedelta(days=400)
    storage.ledger.record_copy(
        BEAMLINE, RUN, 1, place="disk", path=storage.copy("disk").path, failure_domain="disk room",
        evidence=Evidence.READ_BACK, verified_at=ahead,
    )  # fmt: skip
    assert [each.verdict for each in scrubbed(scope, "disk").read] == [Verdict.RIGHT]
    assert storage.copy("disk").verified_at == storage.clock.now


def test_bundles_are_read_from_the_archive(scope: Scope, storage: Storage) -> None:
    storage.clock.advance(WITHIN_S)
    done = scrubbed(scope, "tape")
    assert {each.path.endswith(".tar") for each in done.read} == {True}
    assert {each.run_keys for each in done.read} == {(RUN,)}
    assert {each.verdict for each in done.read} == {Verdict.RIGHT}
    assert storage.copy("tape").verified_at == storage.clock.now


def test_a_damaged_bundle_is_found_and_the_copy_is_bad(scope: Scope, storage: Storage) -> None:
    bundle = min(storage.tape.root.rglob("*.tar"))
    flip(bundle, 700)
    storage.clock.advance(WITHIN_S)
    (bad,) = scrubbed(scope, "tape").failed
    assert bad.verdict is Verdict.BAD
    assert storage.copy("tape").state is CopyState.BAD
    (finding,) = storage.ledger.findings(BEAMLINE)
    assert (finding.kind, finding.place, finding.path) == (FindingKind.BAD_BUNDLE, "tape", bad.path)


def test_a_place_that_is_not_there_is_told_and_nothing_is_marked(scope: Scope, storage: Storage) -> None:
    storage.clock.advance(WITHIN_S)
    shutil.move(storage.disk.root, storage.root / "elsewhere")
    done = scrubbed(scope, "disk")
    assert done.outcome is AuditOutcome.UNAVAILABLE
    assert storage.copy("disk").state is CopyState.PRESENT
    assert storage.ledger.findings(BEAMLINE) == ()
    (line,) = storage.ledger.audits(BEAMLINE, "scrub", "disk")
    assert line.outcome is AuditOutcome.UNAVAILABLE
    assert line.reason
    shutil.move(storage.root / "elsewhere", storage.disk.root)
    assert [each.verdict for each in scrubbed(scope, "disk").read] == [Verdict.RIGHT]


def test_a_file_that_is_gone_is_lost_and_a_timeline_says_so(scope: Scope, storage: Storage) -> None:
    (storage.target.raw / "A001.imm").unlink()
    storage.clock.advance(WITHIN_S)
    (lost,) = scrubbed(scope, "disk").failed
    assert lost.verdict is Verdict.LOST
    assert storage.copy("disk").state is CopyState.LOST
    (finding,) = storage.ledger.findings(BEAMLINE)
    assert (finding.kind, finding.path) == (FindingKind.LOST, f"{storage.copy('disk').path}/A001.imm")
    assert storage.ledger.timeline(BEAMLINE, RUN)[-1].what == "the copy in disk is lost"


def test_a_run_that_is_being_pruned_is_left_for_the_next_scrub(scope: Scope, storage: Storage) -> None:
    storage.clock.advance(WITHIN_S)
    with storage.ledger.lease(BEAMLINE, RUN, "prune", "another", 3600):
        done = scrubbed(scope, "disk")
        assert (done.read, done.busy) == ([], [RUN])
    assert len(scrubbed(scope, "disk").read) == 1


def test_two_scrubs_do_not_read_side_by_side(scope: Scope, storage: Storage) -> None:
    with (
        storage.ledger.lease(BEAMLINE, "*", "scrub", "another", 3600),
        pytest.raises(RefusedError, match="another works on it"),
    ):
        scrub(scope, WITHIN_S)


def test_a_copy_whose_files_are_a_later_version_s_is_lost_and_not_read(scope: Scope, storage: Storage) -> None:
    (storage.source / "A001.imm").write_bytes(b"other frames")
    manifest = take_manifest(RUN, storage.source, list(FILES))
    second = storage.ledger.record_version(BEAMLINE, RUN, manifest, str(storage.source))
    storage.ledger.record_copy(
        BEAMLINE, RUN, second.version, place="detector", path=RUN, failure_domain="detector room",
        evidence=Evidence.READ_BACK,
    )  # fmt: skip
    scrub(scope, WITHIN_S)
    copies = {copy.version: copy.state for copy in storage.ledger.copies(BEAMLINE, RUN) if copy.place == "detector"}
    assert copies == {1: CopyState.LOST, 2: CopyState.PRESENT}
    assert storage.ledger.findings(BEAMLINE) == ()


def test_a_file_that_cannot_be_read_is_neither_bad_nor_lost(
    scope: Scope, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: str, also: Iterable[str] = ()) -> Hashed:
        raise CopyError("the device reports an input/output error", where=path)

    monkeypatch.setattr(storage.disk, "digest", broken)
    storage.clock.advance(WITHIN_S)
    (read,) = scrubbed(scope, "disk").failed
    assert read.verdict is Verdict.UNKNOWN
    assert storage.copy("disk").state is CopyState.PRESENT
    assert {each.kind for each in storage.ledger.findings(BEAMLINE)} == {FindingKind.UNREADABLE}
