"""Getting a run back: every file verified, from whatever copy has it, and nothing outside the target."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from xpcs_assets.archive.archiving import archive
from xpcs_assets.archive.gather import gather_runs
from xpcs_assets.archive.retrieve import ALREADY_THERE, Retrieved, retrieve
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import AsideKind, CopyState, ToAside
from xpcs_assets.errors import (
    ChangedWhileReadingError,
    ConflictingBytesError,
    CopyError,
    NotFoundError,
    NotVerifiedError,
    RefusedError,
)
from xpcs_assets.places.tape import TapePlace
from xpcs_assets.runs.folders import ASIDE_FOLDER
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.unit.archive.conftest import Gathering, staged, tape
from xpcs_assets_tests.unit.conftest import HDF5, bare_run

RUN = "A001"
FILES = {"A001.imm": b"frames", "A001_metadata.hdf": HDF5}


@pytest.fixture
def archived(beamline: OpenBeamline) -> OpenBeamline:
    """A beamline with a run that is staged, archived, and no longer at its source nor staged."""
    submit(beamline, bare_run(beamline.source_root / RUN))
    take(beamline, RUN)
    stage(beamline, RUN)
    archive(beamline, RUN)
    lose_source(beamline)
    lose_staged(beamline)
    return beamline


def lose_source(beamline: OpenBeamline) -> None:
    shutil.rmtree(beamline.source_root / RUN)


def raw(beamline: OpenBeamline) -> Path:
    return beamline.staged(beamline.latest(RUN)).raw


def lose_staged(beamline: OpenBeamline) -> None:
    where = {"place": "store", "path": str(raw(beamline).relative_to(beamline.root("store")))}
    shutil.rmtree(raw(beamline))
    beamline.ledger.mark_copy("xpcs", RUN, 1, **where, state=CopyState.REMOVED, reason="removal 1")


def bundle_of(beamline: OpenBeamline) -> Path:
    (bundle,) = [each for each in beamline.ledger.bundles("xpcs", RUN) if each.content == "raw"]
    return beamline.root("tape") / bundle.name


def damage(beamline: OpenBeamline, path: str) -> None:
    file = bundle_of(beamline)
    with tarfile.open(file) as content:
        at = content.getmember(path).offset_data
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_comes_back_to_where_it_was_staged_and_counts_again(archived: OpenBeamline) -> None:
    done = retrieve(archived, RUN)
    assert content_of(raw(archived)) == FILES
    assert (done.missing, done.bytes_moved) == ({}, sum(map(len, FILES.values())))
    assert all(origin.startswith("tape:") for origin in done.came_from.values())
    states = {copy.place: copy.state for copy in archived.ledger.copies("xpcs", RUN, 1)}
    assert states["store"] is CopyState.PRESENT
    assert archived.staged(archived.latest(RUN)).manifest.exists()
    assert "2 of 2 files retrieved" in archived.ledger.timeline("xpcs", RUN)[-1].what
    again = retrieve(archived, RUN)
    assert (set(again.came_from.values()), again.bytes_moved) == ({ALREADY_THERE}, 0)


def test_the_times_of_change_come_back_too(archived: OpenBeamline) -> None:
    retrieve(archived, RUN)
    times = {entry.path: entry.mtime_ns for entry in archived.latest(RUN).manifest.files}
    assert {path.name: path.stat().st_mtime_ns for path in raw(archived).iterdir()} == times


def test_one_file_goes_below_any_folder(archived: OpenBeamline, tmp_path: Path) -> None:
    done = retrieve(archived, RUN, ["A001.imm"], to=tmp_path / "new" / "folder")
    assert content_of(tmp_path / "new") == {"folder/A001.imm": b"frames"}
    assert list(done.came_from) == ["A001.imm"]
    assert not raw(archived).exists()


def test_some_files_at_the_staging_place_are_no_copy_yet(archived: OpenBeamline) -> None:
    retrieve(archived, RUN, ["A001.imm"])
    assert content_of(raw(archived)) == {"A001.imm": b"frames"}
    states = {copy.place: copy.state for copy in archived.ledger.copies("xpcs", RUN, 1)}
    assert states["store"] is CopyState.REMOVED


def test_staging_again_takes_it_out_of_the_archive(archived: OpenBeamline) -> None:
    done = stage(archived, RUN)
    assert content_of(raw(archived)) == FILES
    assert (done.staged.bytes_moved, done.staged.already_there) == (sum(map(len, FILES.values())), 0)


def test_staging_again_takes_what_the_source_still_has_from_there(archived: OpenBeamline) -> None:
    bare_run(archived.source_root / RUN)
    (archived.source_root / RUN / "A001.imm").unlink()
    done = retrieve(archived, RUN)
    assert done.came_from["A001_metadata.hdf"] == "detector"
    assert done.came_from["A001.imm"].startswith("tape:")


def test_a_source_whose_files_were_replaced_is_passed_over(archived: OpenBeamline) -> None:
    (bare_run(archived.source_root / RUN) / "A001.imm").write_bytes(b"others")
    done = retrieve(archived, RUN)
    assert content_of(raw(archived)) == FILES
    assert done.came_from["A001.imm"].startswith("tape:")


def test_f36_a_source_that_cannot_be_asked_is_an_error_that_says_so(archived: OpenBeamline) -> None:
    archived.place("detector")  # met once, as any site has
    archived.source_root.rename(archived.source_root.with_name("unmounted"))
    with pytest.raises(CopyError, match="is not known"):
        stage(archived, RUN)
    assert not raw(archived).exists()
    retrieve(archived, RUN)  # a person who asks for it has it from the archive
    assert content_of(raw(archived)) == FILES


def test_a_run_that_vanished_before_it_was_archived_is_still_a_failure(beamline: OpenBeamline) -> None:
    submit(beamline, bare_run(beamline.source_root / RUN))
    take(beamline, RUN)
    lose_source(beamline)
    with pytest.raises(ChangedWhileReadingError):
        stage(beamline, RUN)


def test_f27_a_damaged_member_is_never_delivered_and_does_not_keep_the_others(archived: OpenBeamline) -> None:
    damage(archived, "A001.imm")
    done = retrieve(archived, RUN)
    assert content_of(raw(archived)) == {"A001_metadata.hdf": HDF5}
    assert list(done.missing) == ["A001.imm"]
    assert "tape:" in done.missing["A001.imm"]
    states = {copy.place: copy.state for copy in archived.ledger.copies("xpcs", RUN, 1)}
    assert states["store"] is CopyState.REMOVED
    with pytest.raises(NotVerifiedError, match=r"1 of 2 files could not be had"):
        stage(archived, RUN)


def test_damage_at_another_member_does_not_keep_a_file(archived: OpenBeamline, tmp_path: Path) -> None:
    damage(archived, "A001.imm")
    assert retrieve(archived, RUN, ["A001_metadata.hdf"], to=tmp_path / "out").missing == {}


def test_what_one_bundle_has_damaged_comes_from_the_next(archived: OpenBeamline) -> None:
    first = archived.ledger.bundles("xpcs", RUN)[0]
    retrieve(archived, RUN)
    damage(archived, "A001.imm")
    where = {"place": "tape", "path": str(Path(first.name).parent), "state": CopyState.BAD, "reason": "scrub"}
    archived.ledger.mark_copy("xpcs", RUN, 1, **where)  # type: ignore[arg-type]
    assert archive(archived, RUN).written == 1
    lose_staged(archived)
    done = retrieve(archived, RUN)
    assert done.missing == {}
    assert all(first.name not in origin for origin in done.came_from.values())


def test_f26_a_member_that_reads_differently_once_is_read_again(
    archived: OpenBeamline, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = TapePlace.read
    flipped: list[str] = []

    def flips_once(self: TapePlace, path: str, offset_bytes: int = 0) -> Iterator[bytes]:
        data = bytearray(b"".join(reads(self, path, offset_bytes)))
        if not flipped:
            flipped.append(path)
            data[0] ^= 1
        yield bytes(data)

    monkeypatch.setattr(TapePlace, "read", flips_once)
    assert retrieve(archived, RUN).missing == {}
    assert content_of(raw(archived)) == FILES
    assert flipped


def test_a_bundle_is_read_once_however_many_files_are_wanted(
    archived: OpenBeamline, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = TapePlace.read
    began: list[int] = []

    def counted(self: TapePlace, path: str, offset_bytes: int = 0) -> Iterator[bytes]:
        began.append(offset_bytes)
        return reads(self, path, offset_bytes)

    monkeypatch.setattr(TapePlace, "read", counted)
    retrieve(archived, RUN)
    assert began == [512]


def test_f14_other_bytes_at_the_target_are_kept_and_told(archived: OpenBeamline, tmp_path: Path) -> None:
    (tmp_path / "A001.imm").write_bytes(b"somebody's")
    with pytest.raises(ConflictingBytesError, match=r"A001\.imm"):
        retrieve(archived, RUN, to=tmp_path)
    assert (tmp_path / "A001.imm").read_bytes() == b"somebody's"


@pytest.mark.parametrize("shape", ["link", "order", "missing", "bomb"])
def test_f33_a_bundle_that_became_something_else_gives_nothing(
    archived: OpenBeamline, tmp_path: Path, shape: str
) -> None:
    file = bundle_of(archived)
    outside = tmp_path / "outside"
    outside.write_bytes(b"frames")
    with tarfile.open(file, "w") as content:
        names = {"link": ["A001.imm"], "order": list(reversed(FILES)), "missing": ["A001_metadata.hdf"], "bomb": []}
        for name in names[shape]:
            info = tarfile.TarInfo(name)
            if shape == "link":
                info.type, info.linkname = tarfile.SYMTYPE, str(outside)
            else:
                info.size = len(FILES[name])
            content.addfile(info, io.BytesIO(FILES[name]))
    if shape == "bomb":
        with file.open("wb") as stream:
            stream.truncate(1 << 40)  # a hole of a terabyte: only as much is read as the file should have
    done = retrieve(archived, RUN, to=tmp_path / "out")
    assert content_of(tmp_path / "out") == {path: FILES[path] for path in done.came_from}
    assert "A001.imm" in done.missing
    assert outside.read_bytes() == b"frames"


@pytest.mark.parametrize("link", ["sub", "A001.imm"])
def test_f33_a_link_in_the_target_folder_is_not_followed(beamline: OpenBeamline, tmp_path: Path, link: str) -> None:
    run = bare_run(beamline.source_root / RUN)
    (run / "sub").mkdir()
    (run / "sub" / "x").write_bytes(b"deep")
    submit(beamline, run, as_is=True)
    take(beamline, RUN)
    stage(beamline, RUN)
    archive(beamline, RUN)
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    target.mkdir()
    (target / link).symlink_to(outside if link == "sub" else outside / "new")
    with pytest.raises(CopyError):
        retrieve(beamline, RUN, to=target)
    assert content_of(outside) == {}


def test_what_nobody_has_is_missing_with_every_reason(archived: OpenBeamline, tmp_path: Path) -> None:
    bundle_of(archived).unlink()
    done = retrieve(archived, RUN, to=tmp_path / "out")
    assert done.came_from == {}
    assert all("detector:" in why and "store:" in why and "tape:" in why for why in done.missing.values())


def test_a_file_that_the_run_never_had_is_refused_before_anything_is_done(archived: OpenBeamline) -> None:
    with pytest.raises(NotFoundError, match=r"no file '\.\./A001\.imm'.*A001\.imm, A001_metadata\.hdf"):
        retrieve(archived, RUN, ["A001.imm", "../A001.imm"])
    assert not raw(archived).exists()
    with pytest.raises(NotFoundError):
        retrieve(archived, RUN, version=7)


def test_a_run_that_another_works_on_is_not_staged_again(archived: OpenBeamline, tmp_path: Path) -> None:
    with archived.ledger.lease("xpcs", RUN, "prune", "another", 60.0):
        with pytest.raises(RefusedError):
            retrieve(archived, RUN)
        assert retrieve(archived, RUN, to=tmp_path / "out").missing == {}


def test_an_older_version_can_be_asked_for(archived: OpenBeamline, tmp_path: Path) -> None:
    (bare_run(archived.source_root / RUN) / "A001.imm").write_bytes(b"new frames")
    submit(archived, archived.source_root / RUN, as_is=True)
    take(archived, RUN)
    assert retrieve(archived, RUN, ["A001.imm"], version=1, to=tmp_path / "old").missing == {}
    assert content_of(tmp_path / "old") == {"A001.imm": b"frames"}


def test_a_run_comes_out_of_a_bundle_of_several(gathering: Gathering, tmp_path: Path) -> None:
    beamline = gathering()
    staged(beamline, "A001", "A002")
    gather_runs(beamline, ["A001", "A002"])
    lose_source(beamline)
    lose_staged(beamline)
    (bundle,) = [name for name in tape(beamline) if name.endswith(".tar")]
    done: Retrieved = retrieve(beamline, RUN)
    assert set(done.came_from.values()) == {f"tape:{bundle}"}
    assert content_of(raw(beamline)) == FILES


def to_trash(beamline: OpenBeamline) -> None:
    """What a removal leaves at a place that has a trash."""
    root = beamline.root("store")
    folder = raw(beamline).relative_to(root)
    moves = [
        ToAside(f"{folder}/{path}", f"{ASIDE_FOLDER}/removal-1/{folder}/{path}", len(data))
        for path, data in FILES.items()
    ]
    where = {"place": "store", "kind": AsideKind.TRASH, "files": moves}
    beamline.ledger.intend_aside("xpcs", RUN, 1, copy_path=str(folder), **where)  # type: ignore[arg-type]
    for move in moves:
        (root / move.aside_path).parent.mkdir(parents=True, exist_ok=True)
        (root / move.path).rename(root / move.aside_path)
    beamline.ledger.mark_copy(
        "xpcs", RUN, 1, place="store", path=str(folder), state=CopyState.IN_TRASH, reason="removal 1"
    )


@pytest.mark.parametrize("asked", ["retrieve", "stage"])
def test_a_run_in_the_trash_is_put_back_without_touching_the_tape(
    archived: OpenBeamline, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    retrieve(archived, RUN)
    to_trash(archived)
    monkeypatch.setattr(TapePlace, "read", lambda *_: pytest.fail("the tape was read"))
    _ = retrieve(archived, RUN) if asked == "retrieve" else stage(archived, RUN)
    assert content_of(raw(archived)) == FILES
    assert content_of(archived.root("store") / ASIDE_FOLDER) == {}
    assert {copy.state for copy in archived.ledger.copies("xpcs", RUN, 1) if copy.place == "store"} == {"present"}


def test_what_is_damaged_in_the_trash_comes_out_of_the_archive(archived: OpenBeamline, tmp_path: Path) -> None:
    retrieve(archived, RUN)
    to_trash(archived)
    next((archived.root("store") / ASIDE_FOLDER).rglob("A001.imm")).write_bytes(b"rotten")
    done = retrieve(archived, RUN, to=tmp_path / "out")
    assert done.came_from["A001_metadata.hdf"] == "store, out of its trash"
    assert done.came_from["A001.imm"].startswith("tape:")
    assert content_of(tmp_path / "out") == FILES


def test_a_dry_run_tells_what_would_come_from_where_and_does_nothing(archived: OpenBeamline, tmp_path: Path) -> None:
    bare_run(archived.source_root / RUN)
    (archived.source_root / RUN / "A001.imm").write_bytes(b"cut")
    events = archived.ledger.timeline("xpcs", RUN)
    for to in (None, tmp_path / "out"):
        told = retrieve(archived, RUN, to=to, dry_run=True)
        assert told.came_from["A001_metadata.hdf"] == "detector"
        assert told.came_from["A001.imm"].startswith("tape:")
        assert (told.missing, told.bytes_moved) == ({}, sum(map(len, FILES.values())))
    assert not (tmp_path / "out").exists()
    assert not raw(archived).exists()
    assert archived.ledger.timeline("xpcs", RUN) == events
    done = retrieve(archived, RUN)
    assert (done.came_from, done.bytes_moved) == (told.came_from, told.bytes_moved)


def test_a_dry_run_knows_what_is_there_and_refuses_as_the_real_one_does(archived: OpenBeamline, tmp_path: Path) -> None:
    (tmp_path / "A001.imm").write_bytes(b"frames")
    told = retrieve(archived, RUN, ["A001.imm"], to=tmp_path, dry_run=True)
    assert (told.came_from, told.bytes_moved) == ({"A001.imm": ALREADY_THERE}, 0)
    (tmp_path / "A001.imm").write_bytes(b"others")
    for dry_run in (True, False):
        with pytest.raises(ConflictingBytesError):
            retrieve(archived, RUN, ["A001.imm"], to=tmp_path, dry_run=dry_run)
    assert (tmp_path / "A001.imm").read_bytes() == b"others"


def test_a_dry_run_leaves_in_the_trash_what_would_be_put_back(archived: OpenBeamline) -> None:
    retrieve(archived, RUN)
    to_trash(archived)
    told = retrieve(archived, RUN, dry_run=True)
    assert (set(told.came_from.values()), told.bytes_moved) == ({"store, out of its trash"}, 0)
    assert not list(raw(archived).glob("*"))
