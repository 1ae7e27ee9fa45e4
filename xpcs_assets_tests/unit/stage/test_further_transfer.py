"""What Globus moves: begun once over any restart, followed without waiting, and called done by a read alone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.cli import app
from xpcs_assets.copies import transfer_book
from xpcs_assets.copies.ledger import CopyState, Evidence, TransferState
from xpcs_assets.errors import ConflictingBytesError, CopyError
from xpcs_assets.follow import state_of
from xpcs_assets.places.globus_transfer import GlobusTransfers
from xpcs_assets.runs.manifest import Manifest
from xpcs_assets.site import Site
from xpcs_assets.stage.further import FurtherCopy, copy_further
from xpcs_assets.stage.further_transfer import ATTEMPTS, LONGEST_PAUSE, asset_of, look_at
from xpcs_assets.stage.moves import Waits, transfers_between
from xpcs_assets.stage.staging import StagedRun, stage
from xpcs_assets_tests.unit.stage.globus_site import GlobusSite, globus_site_at

RAW = "xpcs/A001/v1/raw"
LONG_S = LONGEST_PAUSE.total_seconds()


@pytest.fixture
def globus(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[GlobusSite]:
    """A site of collections with one run that was taken."""
    with globus_site_at(site.home, monkeypatch, ("eagle",)) as made:
        made.taken()
        yield made


@pytest.fixture
def staged(globus: GlobusSite) -> GlobusSite:
    """The same, the run staged."""
    assert isinstance(stage(globus.beamline, "A001"), Waits)
    assert isinstance(stage(globus.beamline, "A001"), StagedRun)
    globus.server.service.tasks.clear()
    return globus


def sent(globus: GlobusSite) -> FurtherCopy | Waits:
    return copy_further(globus.beamline, "A001", "eagle")


def waits(globus: GlobusSite) -> str:
    """What a further copy waits for that is not there yet."""
    done = sent(globus)
    assert isinstance(done, Waits)
    return done.reason


def states(globus: GlobusSite) -> list[TransferState]:
    return [each.state for each in globus.transfers() if each.purpose == "copy"]


def is_whole(globus: GlobusSite) -> bool:
    """The copy has every byte, its manifest and its row."""
    root = globus.home / "eagle"
    manifest = globus.beamline.latest("A001").manifest
    same = all(
        (root / RAW / entry.path).read_bytes() == (globus.home / "detector" / "A001" / entry.path).read_bytes()
        for entry in manifest.files
    )
    told = Manifest.from_json((root / "xpcs/A001/v1/manifest.json").read_text()) == manifest
    return same and told and is_claimed(globus)


def is_claimed(globus: GlobusSite) -> bool:
    found = [copy for copy in globus.beamline.ledger.copies("xpcs", "A001") if copy.place == "eagle"]
    assert all(copy.evidence is Evidence.READ_BACK for copy in found)
    return bool(found)


def test_a_run_is_staged_by_a_transfer_without_waiting_for_it(globus: GlobusSite) -> None:
    globus.server.service.by_hand = True
    first = stage(globus.beamline, "A001")
    assert isinstance(first, Waits)
    assert "transfer detector to store" in first.reason
    (transfer,) = globus.transfers()
    assert (transfer.state, transfer.purpose, transfer.task) == (TransferState.ACTIVE, "stage", globus.tasks[0].task_id)
    assert asset_of(globus.beamline, transfer) == "staged_copy"
    assert isinstance(stage(globus.beamline, "A001"), Waits)
    globus.server.service.advance(transfer.task)
    done = stage(globus.beamline, "A001")
    assert isinstance(done, StagedRun)
    assert done.staged.bytes_moved == done.version.manifest.size_bytes
    assert Manifest.from_json(done.folder.manifest.read_text()) == done.version.manifest
    assert [copy.place for copy in globus.beamline.ledger.copies("xpcs", "A001")] == ["detector", "store"]
    assert [each.state for each in globus.transfers()] == [TransferState.DONE]
    again = stage(globus.beamline, "A001")
    assert isinstance(again, StagedRun)
    assert (again.staged.bytes_moved, len(globus.tasks)) == (0, 1)


def test_a_further_copy_is_read_where_it_arrived_and_recorded(staged: GlobusSite) -> None:
    waits(staged)
    assert not is_claimed(staged)
    done = sent(staged)
    assert isinstance(done, FurtherCopy)
    assert (done.path, done.came_from, done.bytes_moved) == (RAW, ("store",), done.version.manifest.size_bytes)
    assert is_whole(staged)
    assert states(staged) == [TransferState.DONE]
    assert isinstance(sent(staged), FurtherCopy)
    assert len(staged.tasks) == 1


@pytest.mark.parametrize("fault", ["reset", "reset after"])
def test_a_lost_answer_to_the_beginning_begins_nothing_twice(staged: GlobusSite, fault: str) -> None:
    staged.server.faults.add("POST", "/transfer$", fault, times=2)
    waits(staged)
    (transfer,) = staged.beamline.ledger.transfers_under_way("xpcs")
    assert (transfer.state, transfer.task) == (TransferState.INTENDED, "")
    staged.restart()
    for _ in range(3):
        if isinstance(sent(staged), FurtherCopy):
            break
    assert is_whole(staged)
    assert (len(staged.tasks), states(staged)) == (1, [TransferState.DONE])


@pytest.mark.parametrize("call", ["begin", "look"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_f23_a_process_that_dies_at_any_call_is_followed_by_one_that_finds_the_transfer(
    staged: GlobusSite, monkeypatch: pytest.MonkeyPatch, call: str, when: str
) -> None:
    real = getattr(GlobusTransfers, call)

    def dies(*asked: object) -> None:
        if when == "after":
            real(*asked)
        raise KeyboardInterrupt

    if call == "look":
        waits(staged)
    with monkeypatch.context() as patched:
        patched.setattr(GlobusTransfers, call, dies)
        with pytest.raises(KeyboardInterrupt):
            sent(staged)
    staged.restart()
    for _ in range(3):
        if isinstance(sent(staged), FurtherCopy):
            break
    assert is_whole(staged)
    assert (len(staged.tasks), states(staged)) == (1, [TransferState.DONE])


@pytest.mark.parametrize("step", ["record_copy", "put", "change_transfer"])
def test_a_process_that_dies_when_it_has_arrived_is_repeated(
    staged: GlobusSite, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    waits(staged)
    owner = type(staged.beamline.place("eagle")) if step == "put" else type(staged.beamline.ledger)
    calls = 0
    real = getattr(owner, step)

    def dies(*asked: object, **more: object) -> object:
        nonlocal calls
        calls += 1
        if step != "change_transfer" or calls > 1:
            raise KeyboardInterrupt
        return real(*asked, **more)

    with monkeypatch.context() as patched:
        patched.setattr(owner, step, dies)
        with pytest.raises(KeyboardInterrupt):
            sent(staged)
    staged.restart()
    assert isinstance(sent(staged), FurtherCopy)
    assert is_whole(staged)
    assert (len(staged.tasks), states(staged)) == (1, [TransferState.DONE])


@pytest.mark.parametrize("trouble", ["skips a file", "loses a file", "flips a byte"])
def test_f22_succeeded_with_a_file_that_is_not_right_is_a_failure_and_sent_again(
    staged: GlobusSite, trouble: str
) -> None:
    staged.server.service.troubles = [trouble]
    waits(staged)
    told = waits(staged)
    assert "A001" in told
    assert "though the service says that it succeeded" in told
    assert not is_claimed(staged)
    assert states(staged) == [TransferState.FAILED, TransferState.INTENDED]
    assert "not before" in waits(staged), "a pause comes first"
    assert len(staged.tasks) == 1
    staged.clock.advance(LONG_S)
    waits(staged)
    assert isinstance(sent(staged), FurtherCopy)
    assert is_whole(staged)
    assert len(staged.tasks[-1].document["DATA"]) == 1, "what is right is not sent again"
    assert [each.attempt for each in staged.transfers() if each.purpose == "copy"] == [1, 2]


def test_attempts_end_and_a_person_begins_them_anew(staged: GlobusSite) -> None:
    staged.server.service.troubles = ["fails"] * ATTEMPTS
    for _ in range(ATTEMPTS - 1):
        waits(staged)
        assert "the endpoint gave up" in waits(staged)
        staged.clock.advance(LONG_S)
    waits(staged)
    with pytest.raises(CopyError, match=f"{ATTEMPTS} transfers failed, the last: .*the endpoint gave up"):
        sent(staged)
    assert states(staged) == [TransferState.FAILED] * ATTEMPTS
    assert staged.beamline.ledger.transfers_under_way("xpcs") == ()
    waits(staged)
    assert isinstance(sent(staged), FurtherCopy)
    assert is_whole(staged)


def test_f23_why_a_paused_transfer_waits_is_told_of_its_run(staged: GlobusSite) -> None:
    staged.server.service.troubles = ["loses its credentials"]
    waits(staged)
    assert "credentials have expired" in waits(staged)
    (transfer,) = staged.beamline.ledger.transfers_under_way("xpcs")
    assert transfer.state is TransferState.PAUSED
    step = next(step for step in state_of(staged.beamline, "A001").steps if step.asset == "copy_in_eagle")
    assert step.state == "waiting"
    assert "is paused: its credentials have expired" in step.reason
    told = CliRunner().invoke(app, ["why", "xpcs", "A001", "--home", str(staged.home)]).output
    assert re.search(r"waits +copy_in_eagle: transfer store to eagle \(task .*credentials have\s+expired", told)
    staged.server.service.resume(transfer.task)
    assert isinstance(sent(staged), FurtherCopy)
    assert is_whole(staged)


def test_other_bytes_at_the_target_are_never_handed_to_a_service_that_writes_over_them(staged: GlobusSite) -> None:
    theirs = staged.home / "eagle" / RAW / "A001.imm"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"theirs")
    with pytest.raises(ConflictingBytesError, match=r"A001\.imm"):
        sent(staged)
    assert (theirs.read_bytes(), staged.tasks, states(staged)) == (b"theirs", [], [])


def test_a_copy_that_rotted_after_its_transfer_is_not_written_over(staged: GlobusSite) -> None:
    waits(staged)
    sent(staged)
    rotten = staged.home / "eagle" / RAW / "A001.imm"
    rotten.write_bytes(b"rotten")
    with pytest.raises(ConflictingBytesError):
        sent(staged)
    assert (rotten.read_bytes(), len(staged.tasks)) == (b"rotten", 1)


def test_f23_what_is_wanted_while_globus_is_down_is_known_and_done_later(staged: GlobusSite) -> None:
    staged.server.faults.add("GET", "/submission_id$", "503", times=4)
    waits(staged)
    (transfer,) = staged.beamline.ledger.transfers_under_way("xpcs")
    assert (transfer.state, transfer.task) == (TransferState.INTENDED, "")
    staged.restart()
    staged.clock.advance(60)
    for _ in range(4):
        if isinstance(sent(staged), FurtherCopy):
            break
    assert is_whole(staged)
    assert states(staged) == [TransferState.CANCELLED, TransferState.DONE]


def test_a_consent_that_lacks_fails_by_its_name_and_is_tried_again_when_asked(staged: GlobusSite) -> None:
    collection = next(each for each in staged.server.service.collections.values() if each.folder.name == "eagle")
    collection.wants_consent, staged.server.consents_refused = True, True
    with pytest.raises(CopyError, match="data_access"):
        sent(staged)
    assert (states(staged), staged.tasks) == ([TransferState.FAILED], [])
    staged.server.consents_refused = False
    waits(staged)
    assert isinstance(sent(staged), FurtherCopy)
    assert is_whole(staged)


def test_a_transfer_that_nobody_wants_any_more_is_ended(staged: GlobusSite) -> None:
    staged.server.service.by_hand = True
    waits(staged)
    (transfer,) = staged.beamline.ledger.transfers_under_way("xpcs")
    file = staged.home / "beamlines" / "xpcs.yaml"
    file.write_text(file.read_text().replace("copies:\n  - eagle", "copies: []"), encoding="utf-8")
    beamline: OpenBeamline = staged.restart()
    with transfers_between(beamline, beamline.place("store"), beamline.place("eagle")) as service:
        assert look_at(beamline, transfer, service) is False
    assert staged.tasks[0].status == "FAILED"
    assert states(staged) == [TransferState.CANCELLED]


def test_a_transfer_that_is_looked_at_tells_how_far_it_is(staged: GlobusSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_book, "PROGRESS_SHARE", 0)
    staged.server.service.by_hand = True
    waits(staged)
    beamline = staged.beamline
    (transfer,) = beamline.ledger.transfers_under_way("xpcs")
    with transfers_between(beamline, beamline.place("store"), beamline.place("eagle")) as service:
        staged.server.service.advance(transfer.task, files=1)
        assert look_at(beamline, transfer, service) is False
        (seen,) = beamline.ledger.transfers_under_way("xpcs")
        assert 0 < seen.bytes_moved < seen.bytes_total
        staged.server.service.advance(transfer.task)
        assert look_at(beamline, seen, service) is True
    (seen,) = beamline.ledger.transfers_under_way("xpcs")
    assert seen.state is TransferState.VERIFYING


def test_the_next_attempt_takes_the_files_from_where_they_still_are(staged: GlobusSite) -> None:
    staged.server.service.troubles = ["fails"]
    waits(staged)
    waits(staged)
    path = {"place": "store", "path": RAW}
    staged.beamline.ledger.mark_copy("xpcs", "A001", 1, **path, state=CopyState.REMOVED, reason="it was pruned")
    for file in (staged.home / "store" / RAW).iterdir():
        file.unlink()
    staged.clock.advance(LONG_S)
    assert "transfer detector to eagle" in waits(staged)
    done = sent(staged)
    assert isinstance(done, FurtherCopy)
    assert done.came_from == ("detector",)
    assert is_whole(staged)
    assert staged.transfers()[-1].source == "detector"
