"""Faults of the copies while nobody asks for them, and of what looks after them: killed, flipped, spoofed, swapped."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from xpcs_assets.audit.compare import Limits, compare
from xpcs_assets.audit.repair import repair
from xpcs_assets.audit.reread import Verdict, reread, settle
from xpcs_assets.audit.scope import Scope
from xpcs_assets.audit.scrub import scrub
from xpcs_assets.copies.ledger import AsideKind, AuditOutcome, CopyState, Evidence, FindingKind, FindingState
from xpcs_assets.errors import NotVerifiedError, RefusedError, RemovalRefusedError
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.reading import Hashed
from xpcs_assets.runs.manifest import Manifest
from xpcs_assets_tests.faults.everywhere import (
    Killed,
    Runner,
    everywhere,
    killed_at_a_name,
    killed_at_any,
    prepared,
    reopened,
    whole_or_absent,
)
from xpcs_assets_tests.storage import BEAMLINE, FILES, RUN, Storage
from xpcs_assets_tests.unit.audit.conftest import flip, scope_of

RAW = "A001.imm"
WITHIN_S = 30 * 86400.0
LIMITS = Limits(dark_after_s=3600.0, at_most_dark=0.1, at_most_lost=0.1)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    storage = Storage.build(tmp_path).fill()
    yield storage
    storage.close()


@pytest.fixture
def scope(storage: Storage) -> Scope:
    return scope_of(storage)


def kinds(storage: Storage) -> set[FindingKind]:
    return {each.kind for each in storage.ledger.findings(BEAMLINE)}


def bytes_below(storage: Storage) -> dict[Path, bytes]:
    files = [path for place in ("detector", "disk", "tape") for path in (storage.root / place).rglob("*")]
    return {path: path.read_bytes() for path in files if path.is_file()}


def test_f25_a_bit_flipped_at_rest_is_found_within_the_period_and_repaired(scope: Scope, storage: Storage) -> None:
    flip(storage.target.raw / RAW, at=12345)
    bad = (storage.target.raw / RAW).read_bytes()
    for _ in range(31):
        scrub(scope, WITHIN_S)
        storage.clock.advance(86400)
    assert storage.copy("disk").state is CopyState.BAD
    assert kinds(storage) == {FindingKind.BAD}
    repair(scope, storage.copy("disk"))
    assert storage.copy("disk").state is CopyState.PRESENT
    assert storage.files_at("disk") == FILES
    (aside,) = storage.ledger.aside(BEAMLINE, kind=AsideKind.BAD)
    assert (storage.disk.root / aside.aside_path).read_bytes() == bad
    assert kinds(storage) == set()


def test_f26_a_bit_flipped_on_one_reading_is_counted_and_no_bad_record(
    scope: Scope, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, flips = storage.disk.digest, [f"{storage.copy('disk').path}/{RAW}"]

    def once_wrong(path: str, also: Iterable[str] = ()) -> Hashed:
        found = digest(path, also)
        if path in flips:
            flips.remove(path)
            return replace(found, sha256="0" * 64)
        return found

    monkeypatch.setattr(storage.disk, "digest", once_wrong)
    storage.clock.advance(WITHIN_S)
    (done,) = [each for each in scrub(scope, WITHIN_S) if each.place == "disk"]
    assert flips == []
    assert [each.verdict for each in done.read] == [Verdict.RIGHT]
    assert storage.copy("disk").state is CopyState.PRESENT
    assert kinds(storage) == set()
    (line,) = storage.ledger.audits(BEAMLINE, "scrub", "disk")
    assert line.counts["flips"] == 1
    assert "wrong when read once" in storage.ledger.timeline(BEAMLINE, RUN)[-1].what


def test_f27_the_right_size_with_the_wrong_checksum_is_bad(scope: Scope, storage: Storage) -> None:
    (storage.target.raw / RAW).write_bytes(b"x" * len(FILES[RAW]))
    found = reread(scope, storage.copy("disk"))
    assert found.verdict is Verdict.BAD
    settle(scope, "verify", found)
    assert storage.copy("disk").state is CopyState.BAD


@pytest.mark.parametrize("text", ["", "{", "{}", "spoofed"])
def test_f29_a_damaged_or_spoofed_manifest_is_found_freezes_the_run_and_comes_back_from_an_agreeing_copy(
    scope: Scope, storage: Storage, text: str
) -> None:
    sound = storage.manifest
    stored = Manifest("A002", sound.files).to_json() if text == "spoofed" else text
    with closing(sqlite3.connect(storage.root / "ledger.db")) as connection:
        connection.execute("UPDATE run_versions SET manifest = ?", (stored,))
        connection.commit()
    compare(scope, LIMITS, watched="detector")
    assert kinds(storage) == {FindingKind.MANIFEST}
    with pytest.raises((NotVerifiedError, RemovalRefusedError)):
        storage.prune("detector")
    assert storage.files_at("detector") == FILES
    storage.clock.advance(WITHIN_S)
    scrub(scope, WITHIN_S)
    assert {copy.state for copy in storage.ledger.copies(BEAMLINE, RUN)} == {CopyState.PRESENT}
    repair(scope, storage.copy("disk"))
    assert storage.manifest == sound
    storage.clock.advance(1)
    compare(scope, LIMITS, watched="detector")
    assert kinds(storage) == set()


def test_f30_all_copies_bad_at_once_is_an_alarm_and_nothing_is_repaired(scope: Scope, storage: Storage) -> None:
    for file in (storage.target.raw / RAW, storage.source / RAW):
        flip(file)
    for bundle in storage.tape.root.rglob("*.tar"):
        flip(bundle, 1500)
    storage.clock.advance(WITHIN_S)
    scrub(scope, WITHIN_S)
    assert {copy.state for copy in storage.ledger.copies(BEAMLINE, RUN)} == {CopyState.BAD}
    assert FindingKind.NO_GOOD_COPY in kinds(storage)
    before = {
        path: path.read_bytes() for path in storage.root.rglob("*") if path.is_file() and "ledger" not in path.name
    }
    for place in ("disk", "detector"):
        with pytest.raises(RefusedError, match="no other copy has the bytes"):
            repair(scope, storage.copy(place))
    after = {
        path: path.read_bytes() for path in storage.root.rglob("*") if path.is_file() and "ledger" not in path.name
    }
    assert after == before


@pytest.mark.parametrize("also", [(("blake9", "00"),), (("md5", "00"),)])
def test_f31_a_digest_of_an_unknown_kind_or_a_wrong_one_never_counts(
    storage: Storage, also: tuple[tuple[str, str], ...]
) -> None:
    files = tuple(replace(entry, also=also) for entry in storage.manifest.files)
    with closing(sqlite3.connect(storage.root / "ledger.db")) as connection:
        connection.execute("UPDATE run_versions SET manifest = ?", (replace(storage.manifest, files=files).to_json(),))
        connection.commit()
    before = storage.copy("disk")
    found = reread(scope_of(storage), before)
    assert found.verdict is (Verdict.UNKNOWN if also[0][0] == "blake9" else Verdict.BAD)
    settle(scope_of(storage), "verify", found)
    assert storage.copy("disk").verified_at == before.verified_at


def test_f31_a_manifest_without_a_checksum_verifies_nothing(scope: Scope, storage: Storage) -> None:
    files = tuple(replace(entry, sha256="") for entry in storage.manifest.files)
    bare = Manifest(RUN, files)
    version = storage.ledger.record_version(BEAMLINE, RUN, bare, RUN)
    copy = storage.ledger.record_copy(
        BEAMLINE, RUN, version.version, place="detector", path=RUN, failure_domain="d", evidence=Evidence.LEDGER
    )
    assert reread(scope, copy).verdict is Verdict.UNKNOWN


def test_f52_too_much_dark_or_lost_stops_the_audit_and_nothing_is_recorded(scope: Scope, storage: Storage) -> None:
    swapped = storage.disk.root.with_name("other disk")
    storage.disk.root.rename(swapped)
    for number in range(12):
        file = storage.disk.root / BEAMLINE / f"other{number}" / "v1" / "raw" / "data"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"of another site")
    for _ in range(2):
        (done,) = [each for each in compare(scope, LIMITS, watched="detector") if each.place == "disk"]
        assert done.outcome is AuditOutcome.STOPPED
        assert "12 of 12 files look dark" in done.reason
        assert "3 of 3 files look lost" in done.reason
        storage.clock.advance(LIMITS.dark_after_s)
    assert storage.ledger.findings(BEAMLINE, states=tuple(FindingState)) == ()
    assert storage.copy("disk").state is CopyState.PRESENT
    assert [line.outcome for line in storage.ledger.audits(BEAMLINE, "audit", "disk")] == [AuditOutcome.STOPPED] * 2


def test_f52_an_empty_mount_point_is_unavailable_and_never_empty(storage: Storage) -> None:
    marked = PosixPlace("disk", storage.disk.root, "disk room", identity="0" * 32)
    shutil.rmtree(storage.disk.root)
    storage.disk.root.mkdir()
    scope = Scope(BEAMLINE, storage.ledger, {**storage.places, "disk": marked})
    storage.clock.advance(WITHIN_S)
    (audited,) = [each for each in compare(scope, LIMITS, watched="detector", anyway=True) if each.place == "disk"]
    (scrubbed,) = [each for each in scrub(scope, WITHIN_S) if each.place == "disk"]
    assert audited.outcome is scrubbed.outcome is AuditOutcome.UNAVAILABLE
    assert storage.copy("disk").state is CopyState.PRESENT
    assert storage.ledger.findings(BEAMLINE, states=tuple(FindingState)) == ()


BAD_BYTES = b"y" * len(FILES[RAW])


def damaged(storage: Storage) -> None:
    """One file of the copy on the disk is bad and known to be, another one is lost."""
    storage.fill()
    (storage.target.raw / RAW).chmod(0o644)
    (storage.target.raw / RAW).write_bytes(BAD_BYTES)
    (storage.target.raw / "A001_metadata.hdf").unlink()
    settle(scope_of(storage), "verify", reread(scope_of(storage), storage.copy("disk")))


def mend(storage: Storage) -> None:
    repair(scope_of(storage), storage.copy("disk"))


def ends_well(killed: Killed) -> CopyState:
    """Look at what a killed repair left, and do it again; the state that it left."""
    storage = reopened(killed.root)
    left = storage.copy("disk").state
    assert storage.files_at("disk").get(RAW) in {None, BAD_BYTES, FILES[RAW]}
    assert BAD_BYTES in {path.read_bytes() for path in storage.disk.root.rglob("*.imm")}
    assert storage.files_at("detector") == FILES
    if left is CopyState.PRESENT:
        assert storage.files_at("disk") == FILES
    mend(storage)
    assert storage.files_at("disk") == FILES
    assert storage.copy("disk").state is CopyState.PRESENT
    asides = storage.ledger.aside(BEAMLINE, kind=AsideKind.BAD)
    assert [(storage.disk.root / each.aside_path).read_bytes() for each in asides] == [BAD_BYTES]
    assert storage.ledger.findings(BEAMLINE) == ()
    storage.close()
    return left


STEPS = [killed_at_a_name, pytest.param(killed_at_any, marks=pytest.mark.long)]


@pytest.mark.parametrize("runner", STEPS)
def test_a_repair_killed_anywhere_and_done_again_ends_well(quick_folder: Path, runner: Runner) -> None:
    states = {ends_well(killed) for killed in everywhere(prepared(quick_folder, damaged), mend, runner)}
    assert states == {CopyState.BAD, CopyState.PRESENT}


@pytest.mark.long
def test_a_scrub_killed_anywhere_marks_nothing_wrong_and_the_next_one_finds_all(quick_folder: Path) -> None:
    def prepare(storage: Storage) -> None:
        storage.fill()
        (storage.target.raw / RAW).chmod(0o644)
        (storage.target.raw / RAW).write_bytes(BAD_BYTES)

    def look(storage: Storage) -> None:
        storage.clock.advance(WITHIN_S)
        scrub(scope_of(storage), WITHIN_S)

    for killed in everywhere(prepared(quick_folder, prepare), look, killed_at_any):
        storage = reopened(killed.root)
        assert storage.copy("disk").state in {CopyState.PRESENT, CopyState.BAD}
        assert storage.copy("detector").state is storage.copy("tape").state is CopyState.PRESENT
        assert whole_or_absent(storage, "detector")
        storage.clock.advance(2 * WITHIN_S)
        look(storage)
        assert storage.copy("disk").state is CopyState.BAD
        assert {each.kind for each in storage.ledger.findings(BEAMLINE)} == {FindingKind.BAD}
        storage.close()
