"""Borders of the proof that only a wrong rule in ``mutation`` has shown to be untried."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from xpcs_assets.errors import RemovalRefusedError
from xpcs_assets.prune.proof import RemovalProof, prove
from xpcs_assets_tests.storage import BEAMLINE, FILES, RETENTION, RUN, HandStopwatch, Storage


def prove_while(storage: Storage, happens: Callable[[], object], before_file: int) -> RemovalProof:
    """Prove that the detector's copy may go; something happens right before the file of this number is read."""
    read: list[None] = []

    def on_file() -> None:
        read.append(None)
        if len(read) == before_file:
            happens()

    others = storage.ledger.copies(BEAMLINE, RUN, 1)
    return prove(
        storage.copy("detector"),
        storage.manifest,
        others,
        storage.places,
        RETENTION,
        on_file=on_file,
        stopwatch=HandStopwatch(),
    )


def test_nothing_in_an_archive_is_proven_to_be_free_to_go(storage: Storage) -> None:
    others = storage.ledger.copies(BEAMLINE, RUN, 1)
    with pytest.raises(RemovalRefusedError, match=r"nothing is removed from an archive"):
        prove(storage.copy("tape"), storage.manifest, others, storage.places, RETENTION)


def test_files_that_lie_elsewhere_are_looked_for_there_and_nowhere_else(storage: Storage) -> None:
    entry = next(entry for entry in storage.manifest.files if entry.path == "A001.imm")
    (storage.source / "A001.imm").rename(storage.detector.root / "aside")
    others = storage.ledger.copies(BEAMLINE, RUN, 1)
    files = [("aside", entry)]
    proof = prove(storage.copy("detector"), storage.manifest, others, storage.places, RETENTION, files=files)
    assert ([file.path for file in proof.files], proof.gone) == (["aside"], ())


def largest_bundle(storage: Storage) -> Path:
    return max(storage.tape.root.rglob("*.tar"), key=lambda file: file.stat().st_size)


AFTER_THE_TAPE = len(FILES) + 2 + 1  # the victim's files, two bundles, then the first file of the staged copy


@pytest.mark.parametrize(
    ("change", "said"),
    [("cut", "changed or is gone"), ("touched", "changed or is gone"), ("away", "cannot be asked")],
)
def test_a_witness_that_changes_while_the_next_is_read_makes_no_proof(storage: Storage, change: str, said: str) -> None:
    file = largest_bundle(storage)
    changes: Mapping[str, Callable[[], object]] = {
        "cut": lambda: os.truncate(file, 100),
        "touched": lambda: os.utime(file, ns=(7, 7)),
        "away": lambda: storage.tape.root.rename(storage.root / "away"),
    }
    with pytest.raises(RemovalRefusedError) as caught:
        prove_while(storage, changes[change], AFTER_THE_TAPE)
    assert caught.value.what.startswith("tape:")
    assert caught.value.what.endswith(f"{said} since it was read")


def test_a_witness_that_stays_as_it_is_while_the_next_is_read_makes_one(storage: Storage) -> None:
    proof = prove_while(storage, lambda: None, AFTER_THE_TAPE)
    assert [witness.place for witness in proof.witnesses] == ["tape", "disk"]


def test_a_witness_that_names_no_failure_domain_is_not_enough_to_make_a_proof(storage: Storage) -> None:
    proof = prove_while(storage, lambda: None, AFTER_THE_TAPE)
    first, second = proof.witnesses
    for witnesses in ((first, replace(second, failure_domain="")), (replace(first, failure_domain=""), second)):
        with pytest.raises(RemovalRefusedError, match=r"remaining copies are too few"):
            replace(proof, witnesses=witnesses)
