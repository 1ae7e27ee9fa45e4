"""The proof: what counts as another copy, and until when."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from xpcs_assets.copies.ledger import Copy, CopyState, Evidence
from xpcs_assets.errors import RemovalRefusedError
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.syscalls import SYSCALLS
from xpcs_assets.places.tape import TapePlace
from xpcs_assets.prune.proof import VALID_FOR_S, RemovalProof, prove
from xpcs_assets.runs.manifest import Manifest
from xpcs_assets.runs.retention import Retention
from xpcs_assets_tests.storage import BEAMLINE, FILES, RETENTION, RUN, HandStopwatch, Storage

ONE = Retention(keep_for_s=1, min_copies=1, needs_archive=False)


def prove_it(storage: Storage, retention: Retention = RETENTION, **changes: object) -> RemovalProof:
    watch = changes.pop("stopwatch", HandStopwatch())
    others = changes.pop("others", storage.ledger.copies(BEAMLINE, RUN, 1))
    manifest = changes.pop("manifest", storage.manifest)
    return prove(
        storage.copy("detector"),
        manifest,
        others,
        storage.places,
        retention,
        stopwatch=watch,
        **changes,  # type: ignore[arg-type]
    )


def refusal(storage: Storage, retention: Retention = RETENTION, **changes: object) -> str:
    with pytest.raises(RemovalRefusedError) as caught:
        prove_it(storage, retention, **changes)
    return caught.value.what


def staged(storage: Storage) -> Path:
    return storage.target.raw / "A001.imm"


def bundle(storage: Storage) -> Path:
    return max(storage.tape.root.rglob("*.tar"), key=lambda path: path.stat().st_size)


def test_a_proof_names_the_witnesses_and_the_files_it_covers(storage: Storage) -> None:
    proof = prove_it(storage)
    assert {(w.place, w.failure_domain, w.evidence) for w in proof.witnesses} == {
        ("disk", "disk room", Evidence.READ_BACK),
        ("tape", "tape vault", Evidence.READ_BACK),
    }
    assert {file.path for file in proof.files} == {f"{RUN}/{path}" for path in FILES}
    assert (proof.gone, proof.kept) == ((), ())
    told = proof.to_dict()
    assert (told["size_bytes"], told["min_copies"]) == (sum(map(len, FILES.values())), 2)
    assert [witness["files"] for witness in told["witnesses"]] == [2, 3]  # two bundles; three files


def damage_staged(change: Callable[[Path], object]) -> Callable[[Storage], object]:
    return lambda storage: change(staged(storage))


def damage_bundle(change: Callable[[Path], object]) -> Callable[[Storage], object]:
    return lambda storage: change(bundle(storage))


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[700] ^= 1
    file.write_bytes(data)


def link_to_source(storage: Storage) -> None:
    staged(storage).unlink()
    staged(storage).symlink_to(storage.source / "A001.imm")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (damage_staged(lambda file: file.unlink()), "no such file"),
        (damage_staged(lambda file: os.truncate(file, 100)), "other bytes"),
        (damage_staged(lambda file: os.truncate(file, 0)), "other bytes"),
        (damage_staged(flip), "other bytes"),
        (link_to_source, "symbolic link"),
        (damage_bundle(lambda file: file.unlink()), "1 of 3 files were not read back"),
        (damage_bundle(lambda file: os.truncate(file, 9000)), "damaged"),
        (damage_bundle(lambda file: os.truncate(file, 0)), ""),
        (damage_bundle(flip), "index does not name"),
        (lambda storage: storage.disk.root.rename(storage.root / "away"), "unavailable"),
        (lambda storage: storage.tape.root.rename(storage.root / "away"), "unavailable"),
        (lambda storage: storage.places.pop("tape"), "no place 'tape'"),
    ],
)
def test_f34_f35_f36_f37_a_copy_that_is_not_whole_and_right_now_does_not_count(
    storage: Storage, damage: Callable[[Storage], object], reason: str
) -> None:
    damage(storage)
    said = refusal(storage)
    assert said.startswith("1 other copies are right, 2 are needed")
    assert reason in said


def test_f36_an_archive_that_lists_nothing_does_not_count(storage: Storage) -> None:
    bundle(storage).parent.rename(storage.root / "away")
    assert "archive's folder: it is not there" in refusal(storage)


def test_a_copy_that_cannot_be_asked_is_no_copy_and_not_called_lost(storage: Storage) -> None:
    findings: list[tuple[str, CopyState]] = []

    def note(copy: Copy, state: CopyState, _reason: str) -> None:
        findings.append((copy.place, state))

    storage.disk.root.rename(storage.root / "away")
    refusal(storage, on_finding=note)
    assert findings == []
    (storage.root / "away").rename(storage.disk.root)
    staged(storage).unlink()
    flip(bundle(storage))
    refusal(storage, on_finding=note)
    assert findings == [("tape", CopyState.BAD), ("disk", CopyState.LOST)]


def test_missing_files_of_a_copy_whose_removal_began_are_no_news(storage: Storage) -> None:
    findings: list[CopyState] = []
    staged(storage).unlink()
    others = (replace(storage.copy("disk"), state=CopyState.PART_REMOVED), storage.copy("tape"))
    said = refusal(storage, others=others, on_finding=lambda copy, state, reason: findings.append(state))
    assert ("no such file" in said, findings) == (True, [])


@pytest.mark.parametrize("state", [CopyState.REMOVED, CopyState.IN_TRASH])
def test_a_copy_that_is_gone_or_in_the_trash_is_not_even_asked(storage: Storage, state: CopyState) -> None:
    others = (replace(storage.copy("disk"), state=state), storage.copy("tape"))
    assert refusal(storage, others=others).endswith("(the ledger knows no other)")


def test_the_ledger_s_word_alone_is_nothing(storage: Storage) -> None:
    storage.ledger.record_copy(
        BEAMLINE, RUN, 1, place="disk", path="elsewhere", failure_domain="x", evidence=Evidence.READ_BACK
    )
    staged(storage).unlink()
    assert "1 other copies are right" in refusal(storage)


def test_a_copy_that_the_ledger_gave_up_counts_when_it_is_read_right(storage: Storage) -> None:
    others = [replace(copy, state=CopyState.LOST) for copy in storage.ledger.copies(BEAMLINE, RUN, 1)]
    assert len(prove_it(storage, others=others).witnesses) == 2


def test_a_copy_of_another_version_does_not_count(storage: Storage) -> None:
    others = [replace(copy, version=2) for copy in storage.ledger.copies(BEAMLINE, RUN, 1)]
    assert "another run or version" in refusal(storage, others=others)


def test_i6_copies_of_one_failure_domain_count_once_and_the_victim_s_never(storage: Storage) -> None:
    storage.places["disk"] = PosixPlace("disk", storage.disk.root, "tape vault")
    assert "'tape vault' is the victim's, or counted already" in refusal(storage)
    storage.places["disk"] = PosixPlace("disk", storage.disk.root, "detector room")
    assert "'detector room' is the victim's" in refusal(storage)


def test_i6_a_place_that_cannot_name_its_domain_does_not_count(storage: Storage) -> None:
    class Nameless(PosixPlace):
        failure_domain = ""

        def __init__(self, name: str, root: Path) -> None:
            self.name, self.root, self.calls = name, root, SYSCALLS

    storage.places["disk"] = Nameless("disk", storage.disk.root)
    assert "its failure domain ''" in refusal(storage)


def test_i6_without_a_given_domain_one_file_system_is_one_domain(storage: Storage) -> None:
    for name, place in (("detector", storage.detector), ("disk", storage.disk)):
        storage.places[name] = PosixPlace(name, place.root)
    assert "counted already" in refusal(storage)


@pytest.mark.parametrize("of", ["the victim", "another witness"])
def test_f17_a_hard_link_is_no_copy(storage: Storage, of: str) -> None:
    if of == "the victim":
        staged(storage).unlink()
        staged(storage).hardlink_to(storage.source / "A001.imm")
        others = storage.ledger.copies(BEAMLINE, RUN, 1)
    else:
        second = storage.root / "second"
        linked = second / BEAMLINE / RUN / "v1" / "raw"
        (linked / "sub").mkdir(parents=True)
        for path in FILES:
            (linked / path).hardlink_to(storage.target.raw / path)
        storage.places["second"] = PosixPlace("second", second, "second room")
        others = tuple(c for c in storage.ledger.copies(BEAMLINE, RUN, 1) if c.place != "tape")
        others += (replace(storage.copy("disk"), place="second", failure_domain="second room"),)
    assert "same file as the victim or as a copy counted already" in refusal(storage, others=others)


def test_the_victim_is_not_its_own_witness_under_any_row(storage: Storage) -> None:
    others = (storage.copy("detector"), storage.copy("detector"))
    assert "the ledger knows no other" in refusal(storage, ONE, others=others)


def test_an_archive_is_read_first_and_enough_is_enough(storage: Storage) -> None:
    proof = prove_it(storage, replace(ONE, needs_archive=True))
    assert [witness.place for witness in proof.witnesses] == ["tape"]


def test_where_an_archive_is_needed_other_copies_do_not_stand_in_for_it(storage: Storage) -> None:
    flip(bundle(storage))
    assert "no archive of it could be read back" in refusal(storage, replace(ONE, needs_archive=True))
    assert [witness.place for witness in prove_it(storage, ONE).witnesses] == ["disk"]


def test_a_victim_whose_place_is_away_is_not_proven_about(storage: Storage) -> None:
    storage.detector.root.rename(storage.root / "away")
    assert "its own place cannot be asked" in refusal(storage)


def test_an_empty_manifest_proves_nothing(storage: Storage) -> None:
    said = refusal(storage, manifest=Manifest.of(RUN, []))
    assert said.count("empty manifest proves nothing") == 2


def test_files_at_the_victim_that_are_others_are_kept_and_missing_ones_are_named(storage: Storage) -> None:
    (storage.source / "A001.imm").write_bytes(b"a newer measurement")
    (storage.source / "A001_metadata.hdf").unlink()
    proof = prove_it(storage)
    assert [file.path for file in proof.files] == [f"{RUN}/sub/notes é.txt"]
    assert proof.gone == (f"{RUN}/A001_metadata.hdf",)
    assert proof.kept == ((f"{RUN}/A001.imm", "it holds other bytes than the manifest says: 19 bytes, not 30000"),)


def test_a_file_at_the_victim_that_cannot_be_read_is_kept(storage: Storage) -> None:
    (storage.source / "A001.imm").unlink()
    (storage.source / "A001.imm").symlink_to(storage.target.raw / "A001.imm")
    ((path, reason),) = prove_it(storage).kept
    assert (path, "symbolic link" in reason) == (f"{RUN}/A001.imm", True)


def test_a_bundle_that_changes_while_it_is_read_does_not_count(storage: Storage) -> None:
    class Rewound(TapePlace):
        def read(self, path: str, offset_bytes: int = 0) -> Iterator[bytes]:
            yield from super().read(path, offset_bytes)
            os.utime(self.root / path, ns=(5, 5))

    storage.places["tape"] = Rewound("tape", storage.tape.root, "tape vault")
    assert "changed while it was read" in refusal(storage)


@pytest.mark.parametrize(("after_s", "holds"), [(-1e-9, True), (0.0, False), (1e-9, False), (1e6, False)])
def test_f41_a_proof_expires_at_its_second_and_not_before(storage: Storage, after_s: float, holds: bool) -> None:
    watch = HandStopwatch(0.0)
    proof = prove_it(storage, stopwatch=watch)
    watch.seconds = VALID_FOR_S + after_s if abs(after_s) > 1e-6 else VALID_FOR_S * (1 + after_s)
    if holds:
        proof.allow("detector", f"{RUN}/A001.imm")
    else:
        with pytest.raises(RemovalRefusedError, match="expired"):
            proof.allow("detector", f"{RUN}/A001.imm")


@pytest.mark.parametrize(
    ("place", "path"), [("disk", f"{RUN}/A001.imm"), ("detector", f"{RUN}/A001"), ("detector", "A0011/A001.imm")]
)
def test_f48_a_proof_covers_its_own_files_only(storage: Storage, place: str, path: str) -> None:
    with pytest.raises(RemovalRefusedError, match="does not cover"):
        prove_it(storage).allow(place, path)


@pytest.mark.parametrize("change", ["touched", "replaced", "gone", "away"])
def test_a_witness_that_changes_after_it_was_read_is_noticed_without_reading(storage: Storage, change: str) -> None:
    proof = prove_it(storage)
    proof.confirm(storage.places)
    file = staged(storage)
    if change == "touched":
        os.utime(file, ns=(1, 1))
    elif change == "replaced":
        file.write_bytes(FILES["A001.imm"])
    elif change == "gone":
        file.unlink()
    else:
        storage.disk.root.rename(storage.root / "away")
    with pytest.raises(RemovalRefusedError, match="cannot be asked" if change == "away" else "changed or is gone"):
        proof.confirm(storage.places)


def test_a_proof_with_too_few_witnesses_cannot_even_be_made(storage: Storage) -> None:
    proof = prove_it(storage)
    weak = tuple(replace(witness, evidence=Evidence.SIZE) for witness in proof.witnesses)
    same = tuple(replace(witness, failure_domain="one room") for witness in proof.witnesses)
    own = (proof.witnesses[0], replace(proof.witnesses[1], failure_domain=proof.victim_domain))
    for witnesses in ((), proof.witnesses[:1], weak, same, own):
        with pytest.raises(RemovalRefusedError, match="too few"):
            replace(proof, witnesses=witnesses)
    with pytest.raises(RemovalRefusedError, match="too few"):
        replace(proof, min_copies=0)


def test_a_lease_can_be_renewed_before_every_file(storage: Storage) -> None:
    calls: list[None] = []
    prove_it(storage, on_file=lambda: calls.append(None))
    assert len(calls) == 3 + 2 + 3  # the victim's files, the bundles, the staged files


def test_an_archive_may_be_a_second_tape(storage: Storage) -> None:
    storage.places["vault"] = TapePlace("vault", storage.tape.root, "other vault")
    others = (storage.copy("tape"), replace(storage.copy("tape"), place="vault", failure_domain="other vault"))
    assert "same file" in refusal(storage, others=others)


def test_a_copy_that_is_one_bundle_is_read_by_its_name(storage: Storage) -> None:
    name = bundle(storage).relative_to(storage.tape.root).as_posix()
    others = (replace(storage.copy("tape"), path=name), storage.copy("disk"))
    assert "2 of 3 files were not read back" in refusal(storage, others=others)
    alone = Manifest.of(RUN, [entry for entry in storage.manifest.files if entry.path == "A001.imm"])
    assert {witness.place for witness in prove_it(storage, others=others, manifest=alone).witnesses} == {"tape", "disk"}


def test_a_whole_bundle_of_other_bytes_than_the_manifest_s_does_not_count(storage: Storage) -> None:
    entries = [replace(entry, sha256="0" * 64) if entry.size_bytes else entry for entry in storage.manifest.files]
    said = refusal(storage, manifest=Manifest.of(RUN, entries))
    assert said.startswith("0 other copies are right")
    told = [f"tape:test-beamline/A001/v1/raw: {path!r}: it holds other bytes" for path in FILES]
    assert any(one in said for one in told)  # the bundles' names, and so which is read first, follow the files' times
