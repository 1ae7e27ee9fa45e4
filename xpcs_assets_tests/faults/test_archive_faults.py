"""Gathering and retrieving killed at every system call and commit; archives that lost files without saying so."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from xpcs_assets.archive.archiving import archive, archive_results
from xpcs_assets.archive.bundle import read_bundle
from xpcs_assets.archive.gather import gather_runs
from xpcs_assets.archive.results_back import retrieve_results
from xpcs_assets.archive.retrieve import retrieve
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import LEASE_S, OpenBeamline
from xpcs_assets.copies.ledger import CopyState, Ledger
from xpcs_assets.errors import NotVerifiedError, RemovalRefusedError
from xpcs_assets.new_site import init
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.tape import TapePlace
from xpcs_assets.prune.witness import read_bundles
from xpcs_assets.settings import Beamline
from xpcs_assets.site import Site
from xpcs_assets.stage.staging import stage
from xpcs_assets.testing.faults import DieAt, Fault, FaultySyscalls, ShowAt, count_commits, partials_below
from xpcs_assets_tests import storage as of_one_run
from xpcs_assets_tests.faults.everywhere import Album, Onlooker, Operation, Runner, engine_at, everywhere
from xpcs_assets_tests.storage import HandClock, Storage
from xpcs_assets_tests.unit.conftest import HDF5, bare_run

RUNS = ("A001", "A002")
GATHER = {"under": "1 MB", "until": "1 GB", "wait": "1 day", "by": []}


def site_below(folder: Path) -> Path:
    """A site that can be copied elsewhere: its detector's folder is in it, and small runs are gathered."""
    home = init(folder / "prepared").home
    file = home / "beamlines" / "xpcs.yaml"
    content = yaml.safe_load(file.read_text())
    content["places"]["detector"]["root"] = "detector"
    content["pipeline"]["archive"]["bundle"] = {"gather": GATHER}
    content["pipeline"]["stage"]["also_hash"] = ["md5"]
    file.write_text(yaml.safe_dump(content))
    (home / "detector").mkdir(exist_ok=True)
    return home


@cache
def as_written(home: Path) -> tuple[Site, Beamline]:
    """A site and its beamline's settings, read once: they are the same for each process that opens it there."""
    site = Site(home)
    return site, site.beamline("xpcs")


@contextmanager
def opened(home: Path, fault: Fault | None = None, waited_s: float = 0.0) -> Iterator[OpenBeamline]:
    """The site's beamline as a process of its own opens it; every system call of its places is a step of ``fault``."""
    site, settings = as_written(home)
    beamline = OpenBeamline(site, settings)
    clock = HandClock()
    clock.advance(waited_s)
    beamline.__dict__["engine"] = engine = engine_at(site.database_url)
    beamline.__dict__["ledger"] = Ledger(engine, clock)
    if fault is not None:
        calls, plain = FaultySyscalls(fault), beamline.place

        def place(name: str) -> PosixPlace | TapePlace:
            found = plain(name)
            found.calls = calls
            return found

        beamline.place = place  # type: ignore[method-assign]
        count_commits(engine, fault)
    yield beamline
    engine.dispose()


Ends = Callable[[Callable[[OpenBeamline], object]], Runner | Onlooker]


def killed(operation: Callable[[OpenBeamline], object]) -> Runner:
    """Do the operation, and die at a step."""

    def runner(root: Path, _: Operation, number: int) -> None:
        with opened(root, DieAt(number)) as beamline:
            operation(beamline)

    return runner


def seen(operation: Callable[[OpenBeamline], object]) -> Onlooker:
    """Do the operation, and see what is left by one that dies at a change."""

    def look(root: Path, _: Operation, album: Album) -> None:
        with opened(root, ShowAt(lambda: album.take(root))) as beamline:
            operation(beamline)

    return Onlooker(look)


KILLS = [
    pytest.param(seen, id="at every change"),
    pytest.param(killed, id="at every call", marks=pytest.mark.long),
]


def staged(beamline: OpenBeamline) -> None:
    for run in RUNS:
        submit(beamline, bare_run(beamline.source_root / run))
        take(beamline, run)
        stage(beamline, run)


def on_tape(beamline: OpenBeamline) -> dict[str, bytes]:
    root = beamline.root("tape")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.tar*")}


def gather(beamline: OpenBeamline) -> None:
    assert gather_runs(beamline, RUNS).failed == {}


@pytest.mark.parametrize("ends", KILLS)
def test_f01_f02_gathering_killed_anywhere_gives_one_bundle_and_each_run_once(quick_folder: Path, ends: Ends) -> None:
    start = site_below(quick_folder)
    with opened(start) as beamline:
        staged(beamline)
        for name in beamline.settings.places:
            beamline.place(name)  # met before, as at any site that runs
    with opened(Path(shutil.copytree(start, quick_folder / "whole"))) as beamline:
        gather(beamline)
        expected = on_tape(beamline)
        assert len(expected) == 2
    recorded = 0
    for left in everywhere(start, cast("Any", None), ends(gather), at_least=10):
        with opened(left.root, waited_s=LEASE_S + 1) as beamline:
            found = on_tape(beamline)
            assert found.items() <= expected.items(), "a final name has other bytes than it should have"
            assert len(partials_below(beamline.root("tape"))) <= 1
            for bundle in beamline.ledger.bundles("xpcs", "A001"):
                read_bundle(iter([found[bundle.name]]), where=bundle.name)
                recorded += 1
            gather(beamline)
            assert on_tape(beamline) == expected
            for run in RUNS:
                assert len(beamline.ledger.bundles("xpcs", run)) == 1
                copies = [copy for copy in beamline.ledger.copies("xpcs", run) if copy.place == "tape"]
                assert [copy.state for copy in copies] == [CopyState.PRESENT]
            assert partials_below(beamline.root("tape")) == ()
    assert recorded, "no kill fell between the bundle's line in the ledger and the end"


@pytest.mark.parametrize("ends", KILLS)
@pytest.mark.parametrize("to", ["where it was staged", "another folder"])
def test_f01_f02_retrieving_killed_anywhere_ends_well(quick_folder: Path, to: str, ends: Ends) -> None:
    start = site_below(quick_folder)
    expected = {"A001.imm": b"frames", "A001_metadata.hdf": HDF5}
    with opened(start) as beamline:
        staged(beamline)
        gather(beamline)
        version = beamline.latest("A001")
        folder = beamline.staged(version)
        where = {"place": "store", "path": folder.raw.relative_to(folder.root).as_posix()}
        beamline.ledger.mark_copy("xpcs", "A001", 1, **where, state=CopyState.REMOVED, reason="removal 1")
        shutil.rmtree(folder.raw)
        shutil.rmtree(beamline.source_root / "A001")
        folder.manifest.unlink()

    def target_of(beamline: OpenBeamline) -> Path:
        return beamline.staged(version).raw if to == "where it was staged" else beamline.site.home / "out"

    def operation(beamline: OpenBeamline) -> None:
        again = None if to == "where it was staged" else target_of(beamline)
        assert retrieve(beamline, "A001", to=again).missing == {}

    for left in everywhere(start, cast("Any", None), ends(operation), at_least=10):
        with opened(left.root, waited_s=LEASE_S + 1) as beamline:
            target = target_of(beamline)
            found = files_in(target)
            assert found.items() <= expected.items(), "a final name has other bytes than it should have"
            assert len(partials_below(target)) <= 1
            if beamline.staged(version).manifest.exists() or state(beamline) is CopyState.PRESENT:
                assert found == expected
            operation(beamline)
            assert files_in(target) == expected
            assert partials_below(left.root) == ()
            if to == "where it was staged":
                assert state(beamline) is CopyState.PRESENT


@pytest.mark.parametrize("ends", KILLS)
def test_f01_f02_retrieving_results_killed_anywhere_ends_well(quick_folder: Path, ends: Ends) -> None:
    start = site_below(quick_folder)
    expected = {"A001_results.hdf": b"g2", "A001_results.json": b"report"}
    with opened(start) as beamline:
        staged(beamline)
        folder = beamline.staged(beamline.latest("A001"))
        results = folder.result("aaaa").parent
        results.mkdir(parents=True)
        for name, content in expected.items():
            (results / name).write_bytes(content)
        beamline.ledger.record_result(
            "xpcs",
            "A001",
            run_key="A001",
            version=1,
            recipe_digest="sha256:aaaa",
            path=folder.result("aaaa").relative_to(folder.root).as_posix(),
            result_digest=f"sha256:{sha256(b'g2').hexdigest()}",
            report={},
        )
        archive_results(beamline, "A001")
        shutil.rmtree(results)

    def operation(beamline: OpenBeamline) -> None:
        assert retrieve_results(beamline, "A001").missing == {}

    for left in everywhere(start, cast("Any", None), ends(operation), at_least=10):
        with opened(left.root, waited_s=LEASE_S + 1) as beamline:
            target = beamline.staged(beamline.latest("A001")).result("aaaa").parent
            assert files_in(target).items() <= expected.items(), "a final name has other bytes than it should have"
            operation(beamline)
            assert files_in(target) == expected
            assert partials_below(left.root) == ()


def state(beamline: OpenBeamline) -> CopyState:
    (copy,) = [copy for copy in beamline.ledger.copies("xpcs", "A001", 1) if copy.place == "store"]
    return copy.state


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")
    }


@pytest.mark.parametrize("end", ["cut", "end mark", "zeros"])
def test_f37_a_tape_that_has_222_of_327_files_proves_nothing(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """RAL, 2010: the mark for the end of the data stood behind file 222, and the tape said nothing."""
    many = {f"frame {number:03}.imm": bytes([number % 256]) * number for number in range(327)}
    monkeypatch.setattr(of_one_run, "FILES", many)
    storage = Storage.build(quick_folder).fill()
    (bundle,) = storage.ledger.bundles(of_one_run.BEAMLINE, of_one_run.RUN)
    file = storage.tape.root / bundle.name
    at = storage.ledger.members("tape", bundle.name)[222].offset_bytes - 512
    data = file.read_bytes()
    file.write_bytes(data[:at] + {"cut": b"", "end mark": bytes(1024), "zeros": bytes(len(data) - at)}[end])
    with pytest.raises(RemovalRefusedError, match="1 other copies are right, 2 are needed"):
        storage.prune("detector")
    with pytest.raises(RemovalRefusedError, match="its raw data are not archived and read back"):
        storage.prune("disk")
    assert all((storage.source / path).read_bytes() == content for path, content in many.items())
    assert all((storage.target.raw / path).read_bytes() == content for path, content in many.items())
    assert storage.copy("tape").state is CopyState.BAD
    storage.close()


@pytest.mark.parametrize("which", ["md5", "sha256", "size"])
@pytest.mark.parametrize("gathered", [True, False])
def test_f27_f28_a_member_counts_only_when_every_digest_and_the_size_agree(
    tmp_path: Path, which: str, gathered: bool
) -> None:
    with opened(site_below(tmp_path)) as beamline:
        staged(beamline)
        if gathered:
            gather(beamline)
        else:
            archive(beamline, "A001")
        manifest = beamline.latest("A001").manifest
        (copy,) = [copy for copy in beamline.ledger.copies("xpcs", "A001") if copy.place == "tape"]
        assert copy.path.endswith(".tar") is gathered
        tape = beamline.place("tape")
        assert len(list(read_bundles(tape, copy, manifest, lambda: None))) == 1
        one, *others = manifest.files
        assert one.kinds == ("md5",)
        changed = {
            "md5": replace(one, also=(("md5", "0" * 32),)),
            "sha256": replace(one, sha256="0" * 64),
            "size": replace(one, size_bytes=one.size_bytes + 1),
        }[which]
        with pytest.raises(NotVerifiedError, match="holds other bytes"):
            list(read_bundles(tape, copy, replace(manifest, files=(changed, *others)), lambda: None))


def test_f33_a_gathered_bundle_says_nothing_about_a_run_that_is_not_in_it(tmp_path: Path) -> None:
    with opened(site_below(tmp_path)) as beamline:
        staged(beamline)
        gather(beamline)
        (copy,) = [copy for copy in beamline.ledger.copies("xpcs", "A001") if copy.place == "tape"]
        manifest = beamline.latest("A001").manifest
        for stranger in (replace(copy, run_key="A00"), replace(copy, version=2), replace(copy, beamline="other")):
            with pytest.raises(Exception, match="2 of 2 files were not read back"):
                list(read_bundles(beamline.place("tape"), stranger, manifest, lambda: None))
