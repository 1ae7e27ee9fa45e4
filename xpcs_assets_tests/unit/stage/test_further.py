"""Further copies: read where they were put, from the best copy there is, and counted like any other."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import LEASE_S, OpenBeamline
from xpcs_assets.copies.ledger import CopyState, Evidence, Ledger
from xpcs_assets.errors import ConflictingBytesError, CopyError, NotVerifiedError, RefusedError
from xpcs_assets.places import ssh_rsync
from xpcs_assets.places.marker import Marker
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.prune.rules import counting
from xpcs_assets.runs.manifest import Manifest
from xpcs_assets.stage import further
from xpcs_assets.stage.further import FurtherCopy, copy_further
from xpcs_assets.stage.staging import stage
from xpcs_assets.testing.faults import partials_below
from xpcs_assets_tests.contract.place_kinds import KINDS, PlaceKind
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.conftest import Altered, bare_run

RAW = "xpcs/A001/v1/raw"


@pytest.fixture
def beamline(altered: Altered, tmp_path: Path) -> OpenBeamline:
    """A beamline with a mirror, and one staged run."""
    (tmp_path / "mirror").mkdir()
    rooms = {name: {"failure_domain": f"room of the {name}"} for name in ("detector", "store", "tape")}
    mirror = {"kind": "posix", "root": str(tmp_path / "mirror"), "failure_domain": "another town"}
    opened = altered({"places": {**rooms, "mirror": mirror}, "pipeline": {"copies": ["mirror"]}})
    submit(opened, bare_run(opened.source_root / "A001"), as_is=True)
    take(opened, "A001")
    stage(opened, "A001")
    return opened


def copied(beamline: OpenBeamline) -> FurtherCopy:
    done = copy_further(beamline, "A001", "mirror")
    assert isinstance(done, FurtherCopy)
    return done


def staged_file(beamline: OpenBeamline) -> Path:
    return beamline.root("store") / RAW / "A001.imm"


def test_a_further_copy_is_verified_whole_and_in_the_ledger(beamline: OpenBeamline) -> None:
    done = copied(beamline)
    manifest = beamline.latest("A001").manifest
    folder = beamline.root("mirror") / "xpcs" / "A001" / "v1"
    assert Manifest.from_json((folder / "manifest.json").read_text()) == manifest
    for entry in manifest.files:
        assert (folder / "raw" / entry.path).read_bytes() == (beamline.source_root / "A001" / entry.path).read_bytes()
        assert (folder / "raw" / entry.path).stat().st_mtime_ns == entry.mtime_ns
    assert (done.place, done.path, done.came_from) == ("mirror", RAW, ("store",))
    assert done.bytes_moved == manifest.size_bytes
    copy = beamline.ledger.copies("xpcs", "A001")[-1]
    assert (copy.place, copy.path, copy.evidence) == ("mirror", RAW, Evidence.READ_BACK)
    assert copy.failure_domain == "another town"
    note = (beamline.staged(beamline.latest("A001")).path / "copy.json").read_text()
    assert '"mirror"' in note, "a rebuilt ledger would not know of it"


def test_a_further_copy_counts_when_another_is_to_go(beamline: OpenBeamline) -> None:
    copied(beamline)
    copies = beamline.ledger.copies("xpcs", "A001")
    victim = next(copy for copy in copies if copy.place == "detector")
    assert {copy.place for copy in counting(victim, copies, beamline.ledger.clock())} == {"store", "mirror"}


def test_a_copy_made_again_moves_nothing_and_is_one(beamline: OpenBeamline) -> None:
    copied(beamline)
    inodes = {path: path.stat().st_ino for path in beamline.root("mirror").rglob("*")}
    again = copied(beamline)
    assert (again.bytes_moved, again.came_from) == (0, ())
    assert {path: path.stat().st_ino for path in beamline.root("mirror").rglob("*")} == inodes
    assert [copy.place for copy in beamline.ledger.copies("xpcs", "A001")] == ["detector", "store", "mirror"]


def test_what_is_rotten_in_the_staged_copy_comes_from_another_one(beamline: OpenBeamline) -> None:
    staged_file(beamline).write_bytes(b"rotten")
    assert copied(beamline).came_from == ("detector", "store")
    good = beamline.source_root / "A001" / "A001.imm"
    assert (beamline.root("mirror") / RAW / "A001.imm").read_bytes() == good.read_bytes()


def test_what_is_rotten_everywhere_is_refused_by_name_and_no_copy_is_claimed(beamline: OpenBeamline) -> None:
    staged_file(beamline).write_bytes(b"rotten")
    (beamline.source_root / "A001" / "A001.imm").write_bytes(b"rewritten")
    with pytest.raises(NotVerifiedError, match=r"1 of 2 files .* A001\.imm: store: "):
        copied(beamline)
    folder = beamline.root("mirror") / "xpcs" / "A001" / "v1"
    assert not (folder / "manifest.json").exists()
    assert not (folder / "raw" / "A001.imm").exists()
    assert "mirror" not in {copy.place for copy in beamline.ledger.copies("xpcs", "A001")}
    assert partials_below(beamline.root("mirror")) == ()


def test_other_bytes_there_stop_it_and_stay(beamline: OpenBeamline) -> None:
    theirs = beamline.root("mirror") / RAW / "A001.imm"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"theirs")
    with pytest.raises(ConflictingBytesError, match=r"A001\.imm"):
        copied(beamline)
    assert theirs.read_bytes() == b"theirs"
    assert "mirror" not in {copy.place for copy in beamline.ledger.copies("xpcs", "A001")}


def test_a_place_that_lies_about_its_writing_is_found_out(
    beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not every service reads back what it writes; what counts is a read of the copy."""
    put = PosixPlace.put

    def lies(self: PosixPlace, path: str, *rest: object, **more: object) -> object:
        written = put(self, path, *rest, **more)  # type: ignore[arg-type]
        if self.name == "mirror" and path.endswith(".imm"):
            file = self.root / path
            file.write_bytes(bytes(reversed(file.read_bytes())))
        return written

    monkeypatch.setattr(PosixPlace, "put", lies)
    with pytest.raises(NotVerifiedError, match=r"A001\.imm: it holds other bytes"):
        copied(beamline)
    assert "mirror" not in {copy.place for copy in beamline.ledger.copies("xpcs", "A001")}


def test_a_place_that_is_away_keeps_the_copy_from_being_made(beamline: OpenBeamline) -> None:
    beamline.place("mirror")
    shutil.rmtree(beamline.root("mirror"))
    beamline.root("mirror").mkdir()
    with pytest.raises(CopyError, match="unavailable"):
        copied(beamline)
    assert list(beamline.root("mirror").iterdir()) == []


def test_a_copy_comes_from_the_source_when_the_staged_one_is_gone(beamline: OpenBeamline) -> None:
    beamline.ledger.mark_copy(
        "xpcs", "A001", 1, place="store", path=RAW, state=CopyState.REMOVED, reason="it was pruned"
    )
    shutil.rmtree(beamline.root("store") / RAW)
    assert copied(beamline).came_from == ("detector",)


def test_one_worker_at_a_time_makes_a_copy(beamline: OpenBeamline) -> None:
    ledger = Ledger(beamline.engine, HandClock(beamline.ledger.clock()))
    with ledger.lease("xpcs", "A001", "copy to mirror", "another", LEASE_S), pytest.raises(RefusedError, match="works"):
        copied(beamline)
    with ledger.lease("xpcs", "A001", "copy to elsewhere", "another", LEASE_S):
        copied(beamline)


@pytest.fixture(params=["ssh", "s3"])
def kind(request: pytest.FixtureRequest) -> PlaceKind:
    """A kind of place whose bytes are elsewhere."""
    chosen = KINDS[request.param]
    if reason := chosen.why_missing():
        pytest.skip(reason)
    return chosen


@pytest.fixture
def far(beamline: OpenBeamline, kind: PlaceKind, monkeypatch: pytest.MonkeyPatch) -> OpenBeamline:
    """The same beamline, its mirror of that kind."""
    place, root = beamline.place, beamline.root("mirror")
    identity = kind.mark(root, Marker.new("mirror", "now")).identity

    def opened(name: str) -> object:
        if name != "mirror":
            return place(name)
        return kind.open(root, "another town", name=name, identity=identity)

    monkeypatch.setattr(beamline, "place", opened)
    return beamline


def there(beamline: OpenBeamline, kind: PlaceKind) -> dict[str, bytes]:
    return {path: data for path, data in kind.contents(beamline.root("mirror")).items() if path.startswith("xpcs/")}


def test_a_copy_elsewhere_is_read_there_and_made_once(far: OpenBeamline, kind: PlaceKind) -> None:
    done = copied(far)
    manifest = far.latest("A001").manifest
    expected = {f"{RAW}/{entry.path}": (far.source_root / "A001" / entry.path).read_bytes() for entry in manifest.files}
    found = there(far, kind)
    assert Manifest.from_json(found.pop("xpcs/A001/v1/manifest.json").decode()) == manifest
    assert found == expected
    assert (done.came_from, done.bytes_moved) == (("store",), manifest.size_bytes)
    assert far.ledger.copies("xpcs", "A001")[-1].evidence is Evidence.READ_BACK
    assert copied(far).bytes_moved == 0


def test_what_is_rotten_here_is_had_from_another_copy(far: OpenBeamline, kind: PlaceKind) -> None:
    staged_file(far).write_bytes(b"rotten")
    assert "detector" in copied(far).came_from
    assert there(far, kind)[f"{RAW}/A001.imm"] == (far.source_root / "A001" / "A001.imm").read_bytes()


def test_other_bytes_elsewhere_stop_it_and_stay(far: OpenBeamline, kind: PlaceKind) -> None:
    kind.plant(far.root("mirror"), f"{RAW}/A001.imm", b"theirs")
    with pytest.raises(ConflictingBytesError, match=r"A001\.imm"):
        copied(far)
    assert there(far, kind)[f"{RAW}/A001.imm"] == b"theirs"
    assert "mirror" not in {copy.place for copy in far.ledger.copies("xpcs", "A001")}


def test_rsync_moves_what_goes_to_another_machine(
    far: OpenBeamline, kind: PlaceKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[int] = []

    def push(*asked: Any) -> int:
        moved.append(ssh_rsync.push(*asked))
        return moved[-1]

    monkeypatch.setattr(further, "push", push)
    copied(far)
    assert moved == ([far.latest("A001").manifest.size_bytes] if kind is KINDS["ssh"] else [])
