"""Bundles that are read again: good ones have new evidence, bad ones no longer count."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from xpcs_assets.archive.archiving import archive
from xpcs_assets.archive.fixity import bundles_due, reread_bundle
from xpcs_assets.archive.gather import gather_runs
from xpcs_assets.copies.ledger import Bundle, CopyState, Evidence
from xpcs_assets.errors import CopyError
from xpcs_assets.places.tape import TapePlace
from xpcs_assets_tests.storage import BEAMLINE, RUN, Storage
from xpcs_assets_tests.unit.archive.conftest import Gathering, clock_of, copy_on_tape, staged


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    storage = Storage.build(tmp_path)
    storage.take()
    storage.stage()
    storage.archive()
    storage.clock.advance(1000)
    yield storage
    storage.close()


def bundles(storage: Storage) -> tuple[Bundle, Bundle]:
    one, other = storage.ledger.bundles(BEAMLINE, RUN, 1)
    return one, other


def file_of(storage: Storage, bundle: Bundle) -> Path:
    return storage.tape.root / bundle.name


def flip(file: Path, at: int = 1000) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 8
    file.write_bytes(data)


def test_a_sound_bundle_has_new_evidence_and_the_copy_that_of_the_oldest(storage: Storage) -> None:
    one, other = bundles(storage)
    before = storage.copy("tape").verified_at
    done = reread_bundle(storage.ledger, storage.tape, one)
    assert (done.wrong, done.size_bytes) == ("", one.size_bytes)
    assert done.bundle.verified_at == storage.clock.now
    assert storage.copy("tape").verified_at == before
    storage.clock.advance(10)
    reread_bundle(storage.ledger, storage.tape, other)
    assert storage.copy("tape").verified_at == storage.clock.now - timedelta(seconds=10)


def test_those_that_were_verified_before_a_moment_are_due_the_longest_ago_first(storage: Storage) -> None:
    one, other = bundles(storage)
    now = storage.clock.now
    assert bundles_due(storage.ledger, BEAMLINE, "tape", one.verified_at) == ()
    assert [each.name for each in bundles_due(storage.ledger, BEAMLINE, "tape", now)] == sorted([one.name, other.name])
    first = bundles_due(storage.ledger, BEAMLINE, "tape", now, limit=1)[0]
    reread_bundle(storage.ledger, storage.tape, first)
    assert [each.name for each in bundles_due(storage.ledger, BEAMLINE, "tape", now)] == [
        each.name for each in (one, other) if each.name != first.name
    ]
    assert bundles_due(storage.ledger, "another", "tape", now + timedelta(1)) == ()
    assert bundles_due(storage.ledger, BEAMLINE, "disk", now + timedelta(1)) == ()


@pytest.mark.parametrize("damage", ["flip", "cut", "other"])
def test_f25_a_bundle_that_rotted_counts_no_more_and_stays_where_it_is(storage: Storage, damage: str) -> None:
    one, other = bundles(storage)
    file = file_of(storage, one)
    if damage == "flip":
        flip(file)
    else:
        file.write_bytes(file.read_bytes()[:-1024] if damage == "cut" else file_of(storage, other).read_bytes())
    rotten = file.read_bytes()
    done = reread_bundle(storage.ledger, storage.tape, one)
    assert done.wrong
    assert (done.bundle.evidence, done.bundle.verified_at) == (Evidence.LEDGER, one.verified_at)
    assert storage.copy("tape").state is CopyState.BAD
    assert one.name in storage.copy("tape").reason
    assert file.read_bytes() == rotten
    assert [event.step for event in storage.ledger.timeline(BEAMLINE, RUN)] == ["fixity"]
    assert one.name not in {each.name for each in bundles_due(storage.ledger, BEAMLINE, "tape", storage.clock.now)}


def test_a_sound_bundle_does_not_make_a_copy_whole_whose_other_one_is_bad(storage: Storage) -> None:
    one, other = bundles(storage)
    flip(file_of(storage, one))
    reread_bundle(storage.ledger, storage.tape, one)
    reread_bundle(storage.ledger, storage.tape, other)
    assert storage.copy("tape").state is CopyState.BAD
    flip(file_of(storage, one))  # it was mended by other means
    assert reread_bundle(storage.ledger, storage.tape, one).wrong == ""
    assert storage.copy("tape").state is CopyState.PRESENT


def test_a_bundle_that_is_gone_is_lost(storage: Storage) -> None:
    one, _ = bundles(storage)
    file_of(storage, one).unlink()
    assert reread_bundle(storage.ledger, storage.tape, one).wrong == "it is gone from the archive"
    assert storage.copy("tape").state is CopyState.LOST


def test_f36_an_archive_that_cannot_be_asked_says_nothing(storage: Storage) -> None:
    one, _ = bundles(storage)
    storage.tape.root.rename(storage.root / "elsewhere")
    with pytest.raises(CopyError):
        reread_bundle(storage.ledger, TapePlace("tape", storage.tape.root, "tape vault"), one)
    assert storage.copy("tape").state is CopyState.PRESENT
    assert bundles(storage)[0].evidence is Evidence.READ_BACK


def test_f26_a_bundle_that_reads_differently_once_is_not_called_bad(storage: Storage) -> None:
    one, _ = bundles(storage)
    read: list[int] = []
    done = reread_bundle(storage.ledger, FlipsOnce(storage.tape.root), one, on_bytes=read.append)
    assert done.wrong == ""
    assert sum(read) > one.size_bytes


class FlipsOnce(TapePlace):
    """A tape whose first reading has a wrong bit."""

    def __init__(self, root: Path) -> None:
        super().__init__("tape", root, "tape vault")
        self.flipped = False

    def read(self, path: str, offset_bytes: int = 0) -> Iterator[bytes]:
        data = bytearray(b"".join(super().read(path, offset_bytes)))
        if not self.flipped:
            self.flipped = True
            data[1000] ^= 8
        yield bytes(data)


def test_a_gathered_bundle_that_rotted_is_bad_for_every_run_in_it(gathering: Gathering) -> None:
    beamline = gathering()
    staged(beamline, "A001", "A002")
    gather_runs(beamline, ["A001", "A002"])
    (bundle,) = beamline.ledger.bundles("xpcs", "A001")
    clock_of(beamline).advance(100)
    place = beamline.place("tape")
    reread_bundle(beamline.ledger, place, bundle)
    for run in ("A001", "A002"):
        copy = copy_on_tape(beamline, run)
        assert copy is not None
        assert copy.verified_at == clock_of(beamline).now
    with tarfile.open(beamline.root("tape") / bundle.name) as content:
        at = content.getmember("A002/v1/A002.imm").offset_data
    flip(beamline.root("tape") / bundle.name, at)
    reread_bundle(beamline.ledger, place, bundle)
    for run in ("A001", "A002"):
        copy = copy_on_tape(beamline, run)
        assert copy is not None
        assert copy.state is CopyState.BAD
    assert archive(beamline, "A001").written == 1  # by hand: at once, in a bundle of its own
