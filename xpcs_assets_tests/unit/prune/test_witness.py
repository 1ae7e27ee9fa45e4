"""Asking the places: what is read of a copy in an archive, and what then is no witness."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from xpcs_assets.errors import CopyError, NotVerifiedError
from xpcs_assets.places.place import Place, Presence, Stat
from xpcs_assets.places.tape import TapePlace
from xpcs_assets.prune.witness import SeenFile, inodes_of, read_bundles
from xpcs_assets.runs.manifest import Manifest
from xpcs_assets_tests.storage import RUN, Storage


def read(storage: Storage, place: Place | None = None, manifest: Manifest | None = None) -> tuple[SeenFile, ...]:
    tape = place or storage.tape
    return tuple(read_bundles(tape, storage.copy("tape"), manifest or storage.manifest, lambda: None))


def bundles(storage: Storage) -> list[Path]:
    return sorted(storage.tape.root.rglob("*.tar"))


def test_a_file_that_lies_in_two_bundles_is_read_in_both_and_counts_once(storage: Storage) -> None:
    first = bundles(storage)[0]
    shutil.copy(first, first.with_name("Z-archived-again.tar"))
    assert [file.path for file in read(storage)] == [
        path.relative_to(storage.tape.root).as_posix() for path in bundles(storage)
    ]


def test_a_damaged_bundle_is_no_harm_where_another_holds_its_files(storage: Storage) -> None:
    first = bundles(storage)[0]
    shutil.copy(first, first.with_name("Z-archived-again.tar"))
    os.truncate(first, 600)
    assert first.relative_to(storage.tape.root).as_posix() not in {file.path for file in read(storage)}


def test_of_several_damaged_bundles_the_first_is_told(storage: Storage) -> None:
    for bundle in bundles(storage):
        os.truncate(bundle, 600)
    with pytest.raises(NotVerifiedError) as caught:
        read(storage)
    assert caught.value.where == f"tape:{bundles(storage)[0].relative_to(storage.tape.root)}"


def test_of_several_bundles_of_other_bytes_the_first_is_told(storage: Storage) -> None:
    entries = [replace(entry, sha256="0" * 64) for entry in storage.manifest.files]
    with pytest.raises(NotVerifiedError, match="other bytes") as caught:
        read(storage, manifest=Manifest.of(RUN, entries))
    assert caught.value.where == f"tape:{bundles(storage)[0].relative_to(storage.tape.root)}"


def test_one_number_on_two_disks_is_not_one_file(storage: Storage) -> None:
    file = read(storage)[0]
    elsewhere = SeenFile(file.path, replace(file.signature, device=file.signature.device + 1))
    assert len(inodes_of([file, elsewhere, file])) == 2


def test_a_bundle_that_can_be_read_but_not_asked_about_is_no_witness(storage: Storage) -> None:
    class Silent(TapePlace):
        def stat(self, path: str) -> Stat:
            return Stat(Presence.UNKNOWN, reason=f"no answer about {path}")

    with pytest.raises(CopyError, match="changed while it was read"):
        read(storage, Silent("tape", storage.tape.root, "tape vault"))
