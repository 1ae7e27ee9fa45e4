"""Small runs that wait for each other, and the bundle that they become."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import pytest

from xpcs_assets.archive.archiving import archive
from xpcs_assets.archive.gather import WAITS, due, gather_runs, waiting, waits
from xpcs_assets.archive.index import INDEX_NAME
from xpcs_assets.archive.pending import to_archive, to_gather
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.audit.looking import audit_beamline
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import CopyState, Evidence, FindingKind
from xpcs_assets.errors import NoRoomError, RefusedError, SourceDiffersError
from xpcs_assets.follow import state_of
from xpcs_assets.places.tape import TapePlace
from xpcs_assets.prune.witness import read_bundles
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.unit.archive.conftest import Gathering, clock_of, copy_on_tape, staged, tape
from xpcs_assets_tests.unit.conftest import bare_run

DAY_S = 86400.0


def size_of(beamline: OpenBeamline, run: str) -> int:
    return beamline.latest(run).manifest.size_bytes


def names_in(beamline: OpenBeamline, bundle: str) -> list[str]:
    with tarfile.open(beamline.root("tape") / bundle) as content:
        return content.getnames()


def test_small_runs_wait_until_the_oldest_has_waited_long_enough(gathering: Gathering) -> None:
    beamline = gathering()
    staged(beamline, "A001", "A002")
    assert due(beamline) == []
    assert to_archive(beamline, 10) == []
    clock_of(beamline).advance(DAY_S - 2 - 1)
    assert due(beamline) == []
    clock_of(beamline).advance(1)
    assert due(beamline) == [["A001", "A002"]]


@pytest.mark.parametrize(("more", "together"), [(1, []), (0, [["A001", "A002"]]), (-1, [["A001", "A002"]])])
def test_or_until_they_are_enough_together(gathering: Gathering, more: int, together: list[list[str]]) -> None:
    beamline = gathering(until=1)
    staged(beamline, "A001")
    enough = 2 * size_of(beamline, "A001")
    beamline.engine.dispose()
    beamline = gathering(until=enough + more)
    staged(beamline, "A001", "A002")
    assert due(beamline) == together


@pytest.mark.parametrize(("more", "small"), [(0, False), (1, True)])
def test_a_run_that_is_not_under_the_size_is_archived_at_once(gathering: Gathering, more: int, small: bool) -> None:
    beamline = gathering()
    staged(beamline, "A001")
    size_bytes = size_of(beamline, "A001")
    beamline = gathering(under=size_bytes + more)
    assert bool(waiting(beamline)) is small
    assert to_archive(beamline, 10) == ([] if small else ["A001"])


def test_gathered_runs_are_one_bundle_and_every_run_has_its_copy_in_it(gathering: Gathering) -> None:
    beamline = gathering()
    staged(beamline, "A002", "A001")
    assert gather_runs(beamline, ["A001", "A002"]).failed == {}
    (bundle,) = beamline.ledger.bundles("xpcs", "A001")
    assert beamline.ledger.bundles("xpcs", "A002") == (bundle,)
    assert [(run.run_key, run.version, run.prefix) for run in bundle.runs] == [
        ("A001", 1, "A001/v1/"),
        ("A002", 1, "A002/v1/"),
    ]
    assert bundle.name.startswith("xpcs/gathered/2-runs-raw-")
    assert sorted(tape(beamline)) == [bundle.name, f"{bundle.name}.index.json"]
    inside = [f"{run}/v1/{run}{end}" for run in ("A001", "A002") for end in (".imm", "_metadata.hdf")]
    assert names_in(beamline, bundle.name) == [*inside, INDEX_NAME]
    for run in ("A001", "A002"):
        copy = copy_on_tape(beamline, run)
        assert copy is not None
        assert (copy.path, copy.state, copy.evidence) == (bundle.name, CopyState.PRESENT, Evidence.READ_BACK)
        seen = list(read_bundles(beamline.place("tape"), copy, beamline.latest(run).manifest, lambda: None))
        assert [file.path for file in seen] == [bundle.name]
    assert due(beamline) == []
    assert to_archive(beamline, 10) == []


def test_a_gathered_run_is_archived_and_a_waiting_one_says_what_it_waits_for(gathering: Gathering) -> None:
    beamline = gathering()
    staged(beamline, "A001", "A002")
    assert waits(beamline, beamline.latest("A001"))
    waits_for = {step.asset: step.reason for step in state_of(beamline, "A001").steps}
    assert waits_for["archive"] == WAITS
    gather_runs(beamline, ["A001", "A002"])
    assert not waits(beamline, beamline.latest("A001"))
    assert archive(beamline, "A001").written == 0
    assert "archive" not in {step.asset for step in state_of(beamline, "A001").steps if step.reason == WAITS}


def test_only_runs_alike_share_a_bundle(gathering: Gathering) -> None:
    beamline = gathering(path="{cycle}/{run}/", by=["cycle"], wait=1)
    staged(beamline, "2024-1/A001", "2024-2/A002", "2024-1/A003")
    clock_of(beamline).advance(10)
    assert due(beamline) == [["A001", "A003"], ["A002"]]
    gather_runs(beamline, ["A001", "A002", "A003"])
    bundles = [name for name in tape(beamline) if name.endswith(".tar")]
    assert [Path(name).parent.as_posix() for name in bundles] == ["xpcs/A002/v1/raw", "xpcs/gathered/2024-1"]


def test_runs_of_two_proposals_do_not_share_a_bundle(gathering: Gathering) -> None:
    beamline = gathering(path="{cycle}/{run}/", proposal="p{cycle}", by=["proposal"], wait=1)
    staged(beamline, "1/A001", "2/A002", "1/A003", "1/A004")
    clock_of(beamline).advance(10)
    assert due(beamline) == [["A001", "A003", "A004"], ["A002"]]
    gather_runs(beamline, ["A001", "A002", "A003", "A004"])
    assert {Path(name).parent.as_posix() for name in tape(beamline)} == {"xpcs/gathered/p1", "xpcs/A002/v1/raw"}


def test_one_that_nobody_joins_has_a_bundle_like_any_run(gathering: Gathering) -> None:
    beamline = gathering()
    staged(beamline, "A001")
    gather_runs(beamline, ["A001"])
    assert {Path(name).parent.as_posix() for name in tape(beamline)} == {"xpcs/A001/v1/raw"}


def test_gathering_again_changes_nothing(gathering: Gathering) -> None:
    beamline = gathering()
    staged(beamline, "A001", "A002")
    gather_runs(beamline, ["A001", "A002"])
    before = tape(beamline)
    gather_runs(beamline, ["A002", "A001"])
    assert tape(beamline) == before


def test_what_comes_later_waits_anew(gathering: Gathering) -> None:
    beamline = gathering()
    staged(beamline, "A001", "A002")
    gather_runs(beamline, ["A001", "A002"])
    staged(beamline, "A003")
    clock_of(beamline).advance(DAY_S)
    assert due(beamline) == [["A003"]]


def test_two_versions_of_a_run_lie_below_prefixes_of_their_own(gathering: Gathering) -> None:
    beamline = gathering()
    staged(beamline, "A001")
    (beamline.source_root / "A001" / "A001.imm").write_bytes(b"other frames")
    submit(beamline, beamline.source_root / "A001", as_is=True)
    take(beamline, "A001")
    stage(beamline, "A001")
    gather_runs(beamline, ["A001"])
    assert [run.prefix for run in beamline.ledger.bundles("xpcs", "A001")[0].runs] == ["A001/v1/", "A001/v2/"]
    assert copy_on_tape(beamline, "A001", 1) is not None
    assert copy_on_tape(beamline, "A001", 2) is not None


def test_a_run_whose_file_rotted_is_left_out_and_keeps_nobody(gathering: Gathering) -> None:
    beamline = gathering()
    staged(beamline, "A001", "A002", "A003")
    (beamline.staged(beamline.latest("A002")).raw / "A002.imm").write_bytes(b"rotten")
    failed = gather_runs(beamline, ["A001", "A002", "A003"]).failed
    assert list(failed) == ["A002"]
    assert isinstance(failed["A002"], SourceDiffersError)
    assert copy_on_tape(beamline, "A002") is None
    (bundle,) = beamline.ledger.bundles("xpcs", "A001")
    assert [run.run_key for run in bundle.runs] == ["A001", "A003"]


def test_a_run_that_another_works_on_is_left_out(gathering: Gathering) -> None:
    beamline = gathering()
    staged(beamline, "A001", "A002")
    with beamline.ledger.lease("xpcs", "A001", "prune", "another", 60.0):
        failed = gather_runs(beamline, ["A001", "A002"]).failed
    assert isinstance(failed["A001"], RefusedError)
    assert copy_on_tape(beamline, "A001") is None
    assert copy_on_tape(beamline, "A002") is not None


def test_a_full_tape_is_nobody_s_fault(gathering: Gathering, monkeypatch: pytest.MonkeyPatch) -> None:
    beamline = gathering()
    staged(beamline, "A001", "A002")

    def full(*_: object, **__: object) -> None:
        raise NoRoomError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(TapePlace, "put", full)
        with pytest.raises(NoRoomError):
            gather_runs(beamline, ["A001", "A002"])
    gather_runs(beamline, ["A001", "A002"])
    assert len(tape(beamline)) == 2


def test_a_bundle_that_was_found_bad_is_gathered_again_under_another_name(gathering: Gathering) -> None:
    beamline = gathering()
    staged(beamline, "A001", "A002")
    gather_runs(beamline, ["A001", "A002"])
    (bundle,) = beamline.ledger.bundles("xpcs", "A001")
    (beamline.root("tape") / bundle.name).unlink()
    with pytest.raises(Exception, match="is gone"):
        archive(beamline, "A001")
    assert [each.version.run_key for each in waiting(beamline)] == ["A001", "A002"]
    gather_runs(beamline, ["A001", "A002"])
    names = [name for name in tape(beamline) if name.endswith(".tar")]
    assert len(names) == 1
    assert names[0] != bundle.name
    for run in ("A001", "A002"):
        states = {copy.path: copy.state for copy in beamline.ledger.copies("xpcs", run, 1) if copy.place == "tape"}
        assert states == {bundle.name: CopyState.LOST, names[0]: CopyState.PRESENT}


@pytest.mark.parametrize("another_joins", [False, True])
def test_f02_a_bundle_that_the_tape_has_and_the_ledger_does_not_is_used_or_told_and_its_name_never_taken(
    gathering: Gathering, monkeypatch: pytest.MonkeyPatch, another_joins: bool
) -> None:
    """The first attempt dies between tape and ledger; the next one may gather more runs, which is another bundle."""
    beamline = gathering()
    staged(beamline, "A001", "A002")
    with monkeypatch.context() as patch:
        patch.setattr("xpcs_assets.archive.archiving.record_deposit", lambda ledger, deposited: sys.exit(9))
        with pytest.raises(SystemExit):
            gather_runs(beamline, ["A001", "A002"])
    left = tape(beamline)
    (name,) = [name for name in left if name.endswith(".tar")]
    if another_joins:
        staged(beamline, "A003")
    gather_runs(beamline, ["A001", "A002", "A003"] if another_joins else ["A001", "A002"])
    now = tape(beamline)
    assert {path: now[path] for path in left} == left
    (bundle,) = beamline.ledger.bundles("xpcs", "A001")
    assert (bundle.name == name) is not another_joins
    for _ in range(2):
        audit_beamline(beamline, anyway=True)
        clock_of(beamline).advance(beamline.settings.audit.dark_after)
    found = audit_beamline(beamline, anyway=True).findings
    dark = {each.path for each in found if each.kind in {FindingKind.UNKNOWN_BUNDLE, FindingKind.DARK}}
    assert dark == (set(left) if another_joins else set())


def test_a_bundle_is_no_longer_than_allowed(gathering: Gathering) -> None:
    beamline = gathering()
    staged(beamline, "A001", "A002", "A003")
    gather_runs(beamline, ["A001", "A002"])
    longest = max(map(len, tape(beamline).values()))
    settings = beamline.settings.pipeline.archive
    assert settings is not None
    object.__setattr__(settings.bundle, "up_to", longest)
    staged(beamline, "A004", "A005")
    gather_runs(beamline, ["A003", "A004", "A005"])
    assert max(map(len, tape(beamline).values())) == longest
    assert all(copy_on_tape(beamline, f"A00{number}") for number in range(1, 6))


def test_those_that_failed_lately_or_are_busy_are_not_asked_for(gathering: Gathering) -> None:
    beamline = gathering(wait=1)
    staged(beamline, "A001", "A002", "A003")
    clock_of(beamline).advance(10)
    beamline.ledger.note("xpcs", "A001", "archive", "failed: the file rotted")
    assert to_gather(beamline, lambda run: run != "A002") == [["A003"]]


def test_without_gathering_nothing_waits(beamline: OpenBeamline) -> None:
    submit(beamline, bare_run(beamline.source_root / "A001"))
    take(beamline, "A001")
    stage(beamline, "A001")
    assert waiting(beamline) == ()
    assert due(beamline) == []
    assert gather_runs(beamline, ["A001"]).failed == {}
    assert not waits(beamline, beamline.latest("A001"))
    assert to_archive(beamline, 10) == ["A001"]
