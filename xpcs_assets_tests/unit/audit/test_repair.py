"""Mending: from what, in which order, and when it is refused."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest

from xpcs_assets.audit.repair import repair, to_repair
from xpcs_assets.audit.reread import Verdict, reread, settle
from xpcs_assets.audit.scope import Scope
from xpcs_assets.audit.set_aside import BadBytes, prove_bad
from xpcs_assets.copies.ledger import AsideKind, CopyState, Evidence, FindingKind
from xpcs_assets.errors import NotVerifiedError, RefusedError, RemovalRefusedError
from xpcs_assets.stage.copy import take_manifest
from xpcs_assets_tests.storage import BEAMLINE, FILES, RUN, Storage
from xpcs_assets_tests.unit.audit.conftest import flip

RAW = "A001.imm"


def look_at(scope: Scope, storage: Storage, place: str = "disk") -> Verdict:
    found = reread(scope, storage.copy(place))
    settle(scope, "verify", found)
    return found.verdict


def test_a_bad_file_is_kept_aside_and_the_good_bytes_are_put(scope: Scope, storage: Storage) -> None:
    flip(storage.target.raw / RAW)
    bad = (storage.target.raw / RAW).read_bytes()
    assert look_at(scope, storage) is Verdict.BAD
    done = repair(scope, storage.copy("disk"))
    assert storage.files_at("disk") == FILES
    assert storage.copy("disk").state is CopyState.PRESENT
    assert [path for path, _ in done.put] == [f"{storage.copy('disk').path}/{RAW}"]
    (aside,) = storage.ledger.aside(BEAMLINE, kind=AsideKind.BAD)
    assert (storage.disk.root / aside.aside_path).read_bytes() == bad
    assert done.aside == (aside.aside_path,)
    assert storage.ledger.findings(BEAMLINE) == ()
    told = [event.what for event in storage.ledger.timeline(BEAMLINE, RUN)]
    assert told[-2:] == ["the copy in disk is right again", "1 files put into disk from detector"]


def test_a_lost_file_is_put_again_with_its_time(scope: Scope, storage: Storage) -> None:
    shutil.rmtree(storage.target.raw)
    assert look_at(scope, storage) is Verdict.LOST
    done = repair(scope, storage.copy("disk"))
    assert (len(done.put), done.aside) == (len(FILES), ())
    assert storage.files_at("disk") == FILES
    entry = next(each for each in storage.manifest.files if each.path == RAW)
    assert (storage.target.raw / RAW).stat().st_mtime_ns == entry.mtime_ns


def test_the_archive_s_members_mend_a_copy_when_nothing_else_can(scope: Scope, storage: Storage) -> None:
    flip(storage.target.raw / "sub/notes é.txt")
    shutil.rmtree(storage.source)
    look_at(scope, storage)
    done = repair(scope, storage.copy("disk"))
    assert [name for _, name in done.put] == ["tape"]
    assert storage.files_at("disk") == FILES


def test_a_bad_source_is_passed_over_for_a_good_one(scope: Scope, storage: Storage) -> None:
    flip(storage.target.raw / RAW)
    flip(storage.source / RAW, at=9)
    look_at(scope, storage)
    assert [name for _, name in repair(scope, storage.copy("disk")).put] == ["tape"]
    assert storage.files_at("disk") == FILES


def test_nothing_is_touched_when_no_good_copy_is_found_and_the_alarm_is_raised(scope: Scope, storage: Storage) -> None:
    flip(storage.target.raw / RAW)
    flip(storage.source / RAW)
    for bundle in storage.tape.root.rglob("*.tar"):
        flip(bundle, 700)
    for place in ("detector", "disk", "tape"):
        assert look_at(scope, storage, place) is Verdict.BAD
    before = storage.files_at("disk"), storage.files_at("detector")
    with pytest.raises(RefusedError, match=r"no other copy has the bytes of 'A001\.imm'"):
        repair(scope, storage.copy("disk"))
    assert (storage.files_at("disk"), storage.files_at("detector")) == before
    assert storage.ledger.aside(BEAMLINE, kind=AsideKind.BAD) == ()
    assert FindingKind.NO_GOOD_COPY in {each.kind for each in storage.ledger.findings(BEAMLINE)}


def test_a_run_that_somebody_works_on_is_not_repaired(scope: Scope, storage: Storage) -> None:
    flip(storage.target.raw / RAW)
    for purpose in ("stage", "archive", "prune"):
        with (
            storage.ledger.lease(BEAMLINE, RUN, purpose, "another", 60),
            pytest.raises(RefusedError, match="another works on it"),
        ):
            repair(scope, storage.copy("disk"))
    assert len(storage.files_at("disk")[RAW]) == len(FILES[RAW])


def test_nothing_in_an_archive_is_replaced(scope: Scope, storage: Storage) -> None:
    with pytest.raises(RefusedError, match="nothing in an archive is replaced"):
        repair(scope, storage.copy("tape"))


def test_a_copy_that_was_removed_is_not_brought_back(scope: Scope, storage: Storage) -> None:
    storage.prune("detector")
    assert to_repair(scope, RUN) == ()
    with pytest.raises(RefusedError, match="the copy is removed"):
        repair(scope, storage.copy("detector"))


def test_a_place_that_is_not_mounted_is_not_repaired_into(scope: Scope, storage: Storage) -> None:
    shutil.move(storage.disk.root, storage.root / "elsewhere")
    with pytest.raises(RefusedError, match="Nothing was changed"):
        repair(scope, storage.copy("disk"))
    assert not storage.disk.root.exists()


def test_the_files_of_a_later_version_are_never_taken_for_bad_ones_of_an_earlier(
    scope: Scope, storage: Storage
) -> None:
    (storage.source / RAW).write_bytes(b"other frames")
    second = storage.ledger.record_version(BEAMLINE, RUN, take_manifest(RUN, storage.source, list(FILES)), RUN)
    storage.ledger.record_copy(
        BEAMLINE, RUN, second.version, place="detector", path=RUN, failure_domain="detector room",
        evidence=Evidence.READ_BACK,
    )  # fmt: skip
    (first,) = [copy for copy in storage.ledger.copies(BEAMLINE, RUN, 1) if copy.place == "detector"]
    with pytest.raises(RefusedError, match="its name belongs to version 2"):
        repair(scope, first)
    assert (storage.source / RAW).read_bytes() == b"other frames"


def test_a_damaged_manifest_beside_the_copy_is_kept_aside_and_put_anew(scope: Scope, storage: Storage) -> None:
    storage.target.manifest.chmod(0o644)
    storage.target.manifest.write_text("{}", encoding="utf-8")
    done = repair(scope, storage.copy("disk"))
    assert len(done.aside) == 1
    assert storage.target.manifest.read_text(encoding="utf-8") == storage.manifest.to_json()


def damage_the_ledgers_manifest(storage: Storage) -> None:
    with closing(sqlite3.connect(storage.root / "ledger.db")) as connection:
        connection.execute("UPDATE run_versions SET manifest = replace(manifest, 'A001.imm', 'A002.imm')")
        connection.commit()


def test_the_ledger_has_its_manifest_back_from_a_copy_whose_files_agree(scope: Scope, storage: Storage) -> None:
    sound = storage.manifest
    damage_the_ledgers_manifest(storage)
    with pytest.raises(NotVerifiedError, match="its own digest"):
        reread(scope, storage.copy("disk"))
    repair(scope, storage.copy("detector"))
    assert storage.manifest == sound


def test_a_manifest_whose_files_do_not_agree_is_not_taken(scope: Scope, storage: Storage) -> None:
    flip(storage.target.raw / RAW)
    damage_the_ledgers_manifest(storage)
    with pytest.raises(NotVerifiedError, match="its files do not agree with its manifest"):
        repair(scope, storage.copy("detector"))


def test_bad_bytes_are_proven_bad_before_they_are_moved(storage: Storage) -> None:
    entry = next(each for each in storage.manifest.files if each.path == RAW)
    path = f"{storage.copy('disk').path}/{RAW}"
    with pytest.raises(RemovalRefusedError, match="it holds the bytes of the manifest"):
        prove_bad(storage.disk, path, entry)
    flip(storage.target.raw / RAW)
    permit = prove_bad(storage.disk, path, entry)
    assert isinstance(permit, BadBytes)
    permit.allow("disk", path)
    with pytest.raises(RemovalRefusedError, match="the permit is for"):
        permit.allow("disk", f"{path}.other")
    flip(storage.target.raw / RAW)
    with pytest.raises(RemovalRefusedError, match="it changed since it was read"):
        permit.allow("disk", path)
