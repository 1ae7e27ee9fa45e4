"""Putting runs into an archive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from xpcs_assets.archive.bundle import RAW, RESULTS
from xpcs_assets.archive.deposit import Bundling, deposit, record_deposit
from xpcs_assets.archive.index import INDEX_SUFFIX
from xpcs_assets.copies.ledger import Evidence
from xpcs_assets.errors import CopyError, NotVerifiedError
from xpcs_assets.places.syscalls import Syscalls
from xpcs_assets.places.tape import TapePlace
from xpcs_assets.runs.manifest import Manifest
from xpcs_assets.stage.copy import take_manifest
from xpcs_assets.testing.faults import partials_below
from xpcs_assets_tests.storage import BEAMLINE, FILES, RUN, Storage


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    storage = Storage.build(tmp_path)
    storage.take()
    storage.stage()
    yield storage
    storage.close()


def tars(storage: Storage) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(storage.tape.root.rglob("*.tar"))}


def result_of(storage: Storage, recipe: str, data: bytes) -> tuple[Manifest, Path]:
    file = storage.target.result(recipe)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return take_manifest(RUN, file.parent, [file.name]), file.parent


def test_a_deposit_is_read_back_and_recorded(storage: Storage) -> None:
    done = storage.archive()
    assert (done.members, done.written, done.evidence) == (3, 2, Evidence.READ_BACK)
    found = {path.name: sha256(data).hexdigest() for path, data in tars(storage).items()}
    recorded = storage.ledger.bundles(BEAMLINE, RUN, 1)
    assert {bundle.name.rsplit("/", 1)[1]: bundle.sha256 for bundle in recorded} == found
    assert done.size_bytes == sum(len(data) for data in tars(storage).values())
    members = [member.path for bundle in recorded for member in storage.ledger.members("tape", bundle.name)]
    assert sorted(members) == sorted(FILES)
    copy = storage.copy("tape")
    assert (copy.path, copy.evidence, copy.failure_domain) == (
        done.bundles[0].plan.folder,
        Evidence.READ_BACK,
        "tape vault",
    )


def test_the_index_lies_beside_each_bundle(storage: Storage) -> None:
    for bundle in storage.archive().bundles:
        beside = storage.tape.root / f"{BEAMLINE}/{RUN}/v1/raw/{bundle.plan.name}.index.json"
        assert beside.read_bytes() == bundle.found.index == bundle.plan.index
        assert bundle.found.index_digest == "sha256:" + sha256(bundle.plan.index).hexdigest()


def test_archiving_again_writes_nothing_and_reads_all_of_it_back(storage: Storage) -> None:
    storage.archive()
    before = {path: path.stat() for path in storage.tape.root.rglob("*")}
    read: list[int] = []
    again = deposit(storage.tape, BEAMLINE, 1, RAW, storage.manifest, storage.target.raw, on_bytes=read.append)
    third = storage.archive()
    assert third.written == 0
    assert again.written == 1  # bundled by other sizes: a bundle of another name, the old ones stay
    assert all(path.stat().st_mtime_ns == seen.st_mtime_ns for path, seen in before.items() if path.is_file())


def test_a_pruned_run_is_still_read_back(storage: Storage) -> None:
    storage.archive()
    for path in FILES:
        (storage.target.raw / path).unlink()
    assert storage.archive().members == 3


def test_results_come_as_they_are_made_and_old_ones_stay(storage: Storage) -> None:
    folder = f"{BEAMLINE}/{RUN}/v1/results"
    for recipe, data in (("aaa", b"g2"), ("bbb", b"g2"), ("aaa", b"g2")):
        record_deposit(storage.ledger, deposit(storage.tape, BEAMLINE, 1, RESULTS, *result_of(storage, recipe, data)))
    first = set(tars(storage))
    assert {path.parent for path in first} == {storage.tape.root / folder}
    deposit(storage.tape, BEAMLINE, 1, RESULTS, *result_of(storage, "aaa", b"corrected"))
    assert first < set(tars(storage))
    assert {bundle.content for bundle in storage.ledger.bundles(BEAMLINE, RUN)} == {"results"}
    assert "tape" not in {copy.place for copy in storage.ledger.copies(BEAMLINE, RUN)}


def test_a_staged_file_with_other_bytes_is_not_archived(storage: Storage) -> None:
    (storage.target.raw / "A001.imm").write_bytes(b"frames" * 4999 + b"others")
    with pytest.raises(NotVerifiedError, match=r"A001\.imm.*not what its manifest says"):
        storage.archive()
    assert all(b"others" not in data for data in tars(storage).values())
    assert storage.ledger.bundles(BEAMLINE, RUN) == ()


@pytest.mark.parametrize("bytes_outside", [FILES["sub/notes é.txt"], b"other bytes"])
def test_i17_a_link_swapped_into_the_path_of_a_staged_file_leads_nowhere(
    storage: Storage, tmp_path: Path, bytes_outside: bytes
) -> None:
    """Swapped at the last moment: when the file itself is about to be opened."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "notes é.txt").write_bytes(bytes_outside)
    sub, calls = storage.target.raw / "sub", Syscalls()
    real, opened = calls.open, []

    def swapping(name: Path | str, flags: int, mode: int = 0o644, folder: int | None = None) -> int:
        if str(name).endswith("notes é.txt") and not sub.is_symlink():
            sub.rename(sub.with_name("moved away"))
            sub.symlink_to(outside)
        descriptor = real(name, flags, mode, folder)
        opened.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        return descriptor

    calls.open = swapping  # type: ignore[method-assign]
    storage.tape.calls = calls
    storage.archive()  # what was opened is the staged file, wherever its folder is called now
    assert sub.is_symlink()
    assert not any(path.startswith(str(outside)) for path in opened)
    with pytest.raises(CopyError):
        deposit(storage.tape, BEAMLINE, 1, RAW, storage.manifest, storage.target.raw)
    assert not any(path.startswith(str(outside)) for path in opened)


def test_i17_a_staged_file_swapped_for_a_link_or_for_other_bytes_is_not_archived(storage: Storage) -> None:
    file = storage.target.raw / "A001.imm"
    (storage.root / "same").write_bytes(file.read_bytes())
    file.unlink()
    file.symlink_to(storage.root / "same")
    with pytest.raises(CopyError, match="symbolic link"):
        storage.archive()
    file.unlink()
    file.write_bytes(FILES["A001.imm"][:-1] + b"?")
    with pytest.raises(NotVerifiedError, match="not what its manifest says"):
        storage.archive()
    assert not any("A001.imm" in str(path) or b"frames" in data for path, data in tars(storage).items())
    assert partials_below(storage.tape.root) == ()


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_f37_a_bundle_that_rots_on_the_tape_is_replaced_by_one_of_another_name(storage: Storage, damage: str) -> None:
    storage.archive()
    path, data = next(iter(tars(storage).items()))
    path.write_bytes({"flip": data[:600] + b"?" + data[601:], "cut": data[:-2000], "empty": b""}[damage])
    rotten = path.read_bytes()
    done = storage.archive()
    assert done.damaged == (path.relative_to(storage.tape.root).as_posix(),)
    assert (done.written, done.members) == (1, 3)
    assert path.read_bytes() == rotten  # nothing in an archive is replaced
    assert len(tars(storage)) == 3
    assert storage.archive().written == 0


def test_a_sound_bundle_of_other_files_under_the_name_does_not_count(storage: Storage) -> None:
    (one, other) = storage.archive().bundles
    folder = storage.tape.root / f"{BEAMLINE}/{RUN}/v1/raw"
    (folder / one.plan.name).write_bytes((folder / other.plan.name).read_bytes())
    assert storage.archive().damaged == (one.plan.path,)


def test_what_is_written_now_and_comes_back_as_something_else_is_no_archive(storage: Storage) -> None:
    storage.tape = Rotting(storage.tape.root)
    with pytest.raises(NotVerifiedError, match="tape:"):
        storage.archive()
    assert storage.ledger.bundles(BEAMLINE, RUN) == ()
    storage.tape = TapePlace("tape", storage.tape.root, "tape vault")
    assert len(storage.archive().damaged) == 0  # it was the reading: what was written is found to be right


@pytest.mark.parametrize("times", [1, 2])
def test_f26_a_bundle_that_reads_differently_once_is_read_again(storage: Storage, times: int) -> None:
    """The big file has a bundle of its own: 3 bundles would be 3 reads, and the first one is wrong."""
    storage.archive()
    storage.tape = Rotting(storage.tape.root, times)
    done = storage.archive()
    assert len(done.damaged) == times - 1
    assert done.members == 3


def test_names_that_are_known_to_be_spoilt_are_not_used(storage: Storage) -> None:
    first = storage.archive().bundles[0].plan
    spoilt = [first.path, replace(first, again=1).path]
    sizes = Bundling(alone_over_bytes=1000)
    root = storage.target.raw
    done = deposit(storage.tape, BEAMLINE, 1, RAW, storage.manifest, root, sizes, spoilt=spoilt)
    assert (done.bundles[0].plan, done.written) == (replace(first, again=2), 1)
    skipped = deposit(storage.tape, BEAMLINE, 1, RAW, storage.manifest, root, sizes, skip=[first.path])
    assert len(skipped.bundles) == 1


class Rotting(TapePlace):
    """A tape of which the first ``times`` readings have a bit flipped in the first member."""

    def __init__(self, root: Path, times: int = 10**6) -> None:
        super().__init__("tape", root, "tape vault")
        self.left = times

    def read(self, path: str, offset_bytes: int = 0) -> Iterator[bytes]:
        data = bytearray(b"".join(super().read(path, offset_bytes)))
        if self.left > 0:
            self.left -= 1
            data[10] ^= 1
        yield bytes(data)


@pytest.mark.parametrize("with_bundle", [True, False])
def test_an_index_of_other_bytes_stays_is_told_and_the_bundle_takes_the_next_name(
    storage: Storage, with_bundle: bool
) -> None:
    first = storage.archive().bundles[0].plan
    bundle = storage.tape.root / first.path
    beside = bundle.with_name(bundle.name + INDEX_SUFFIX)
    beside.write_text("{}")
    if not with_bundle:
        bundle.unlink()
    done = storage.archive()
    assert (done.damaged, done.written, done.members) == ((first.path + INDEX_SUFFIX,), 1, 3)
    assert done.bundles[0].plan == replace(first, again=1)
    assert (beside.read_text(), bundle.exists()) == ("{}", with_bundle)  # nothing more is written under that name
    assert (storage.archive().written, storage.copy("tape").evidence) == (0, Evidence.READ_BACK)


@pytest.mark.parametrize("suffix", ["", INDEX_SUFFIX])
def test_a_folder_that_has_a_bundle_s_name_does_not_keep_a_run_from_the_archive(storage: Storage, suffix: str) -> None:
    first = replace(storage.archive().bundles[0].plan, again=1)
    name = storage.tape.root / (first.path + suffix)
    name.mkdir()
    root, sizes = storage.target.raw, Bundling(alone_over_bytes=1000)
    spoilt = [replace(first, again=0).path]
    done = deposit(storage.tape, BEAMLINE, 1, RAW, storage.manifest, root, sizes, spoilt=spoilt)
    assert (done.bundles[0].plan, done.damaged) == (replace(first, again=2), (first.path + suffix,))
    assert name.is_dir()
