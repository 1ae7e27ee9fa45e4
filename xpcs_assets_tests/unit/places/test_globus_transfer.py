"""Transfers between collections through the real SDK: begun once, looked at in words, never believed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.errors import CopyError, NotVerifiedError, UnreachableError
from xpcs_assets.places.globus_transfer import GlobusTransfers
from xpcs_assets.places.transfer import Item, TransferPhase
from xpcs_assets.testing.globus_transfer_server import GlobusTransferServer
from xpcs_assets_tests.globus_transfer import Hop, account_for


@pytest.fixture
def server() -> Iterator[GlobusTransferServer]:
    with GlobusTransferServer() as running:
        yield running


@pytest.fixture
def hop(server: GlobusTransferServer, tmp_path: Path) -> Iterator[Hop]:
    made = Hop.made(server, tmp_path)
    yield made
    made.transfers.close()


def only_task(server: GlobusTransferServer) -> Any:
    (task,) = server.service.tasks.values()
    return task


def test_files_arrive_as_they_are_with_their_times(hop: Hop) -> None:
    items = hop.files("a.bin", "deep/b.bin")
    os.utime(hop.source.root / "a.bin", (1e9, 1e9))
    seen = hop.transfers.look(hop.begun(items))
    assert (seen.phase, seen.reason, seen.files_skipped) == (TransferPhase.SUCCEEDED, "", 0)
    assert seen.bytes_moved == sum(item.size_bytes for item in items)
    assert hop.wrong(items) == {}
    times = [int(path.stat().st_mtime) for path in (hop.source.root / "a.bin", hop.target.root / "run" / "a.bin")]
    assert times == [10**9, 10**9]


def test_what_makes_a_transfer_safe_is_asked_for_by_name(server: GlobusTransferServer, hop: Hop) -> None:
    before = datetime.now(UTC)
    items = hop.files("a.bin")
    hop.begun(items)
    document = only_task(server).document
    asked = ("verify_checksum", "encrypt_data", "fail_on_quota_errors", "preserve_timestamp")
    assert all(document[name] is True for name in asked)
    off = (
        "skip_source_errors",
        "delete_destination_extra",
        "notify_on_succeeded",
        "notify_on_failed",
        "notify_on_inactive",
    )
    assert all(document[name] is False for name in off)
    assert (document["sync_level"], document["label"]) == (3, "run A001")
    assert timedelta(days=7) <= datetime.fromisoformat(document["deadline"]) - before < timedelta(days=7, minutes=5)
    assert document["DATA"] == [
        {
            "DATA_TYPE": "transfer_item",
            "source_path": "/data/source/a.bin",
            "destination_path": "/data/target/run/a.bin",
            "recursive": False,
            "external_checksum": items[0].sha256,
            "checksum_algorithm": "SHA256",
        }
    ]


def test_a_collection_that_cannot_compute_sha256_is_not_asked_to(
    server: GlobusTransferServer, hop: Hop, tmp_path: Path
) -> None:
    ends = hop.source.collection, replace(hop.target.collection, sha256=False)
    transfers = GlobusTransfers(account_for(server, tmp_path), *ends, deadline_s=3600)
    items = hop.files("a.bin")
    transfers.begin(transfers.new_submission(), "", items)
    transfers.close()
    document = only_task(server).document
    assert "external_checksum" not in document["DATA"][0]
    assert "checksum_algorithm" not in document["DATA"][0]
    assert document["verify_checksum"] is True
    assert datetime.fromisoformat(document["deadline"]) < datetime.now(UTC) + timedelta(hours=1, minutes=5)
    assert hop.wrong(items) == {}


def test_a_label_is_cut_to_what_the_service_takes(server: GlobusTransferServer, hop: Hop) -> None:
    hop.transfers.begin(hop.transfers.new_submission(), f" two\nlines {'x' * 200}", hop.files("a.bin"))
    assert only_task(server).document["label"] == f"two lines {'x' * 118}"


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b"])
def test_i17_no_path_leaves_the_collections_folder(server: GlobusTransferServer, hop: Hop, path: str) -> None:
    for item in (Item(path, "x", 1, "0" * 64), Item("x", path, 1, "0" * 64)):
        with pytest.raises(NotVerifiedError, match="no path inside"):
            hop.begun([item])
    assert not server.service.tasks


def test_a_name_that_is_no_text_is_refused_before_anything_is_sent(server: GlobusTransferServer, hop: Hop) -> None:
    with pytest.raises(CopyError, match="not UTF-8"):
        hop.begun([Item("\udcff", "x", 1, "0" * 64)])
    with pytest.raises(CopyError, match="nothing to move"):
        hop.begun([])
    assert not server.service.tasks


# ---- begun once ------------------------------------------------------------------------------------------------------


def test_a_submission_begins_one_task_however_often_it_is_made(server: GlobusTransferServer, hop: Hop) -> None:
    items, submission = hop.files("a.bin"), hop.transfers.new_submission()
    tasks = {hop.transfers.begin(submission, "run", items) for _ in range(3)}
    assert tasks == set(server.service.tasks)
    assert len(tasks) == 1
    assert hop.transfers.new_submission() != submission


@pytest.mark.parametrize(
    "kind", ["reset after", "500 after", "time-out after", "429", "503", "reset", "502 of a proxy"]
)
def test_a_lost_answer_is_asked_for_again_and_one_task_is_begun(
    server: GlobusTransferServer, hop: Hop, kind: str
) -> None:
    items, submission = hop.files("a.bin"), hop.transfers.new_submission()
    server.faults.add("POST", "/transfer$", kind)
    task = hop.transfers.begin(submission, "run", items)
    assert list(server.service.tasks) == [task]
    assert sum(path.endswith("/transfer") for _, path, _ in server.seen) == 2


def test_an_answer_that_stays_away_is_no_refusal_and_the_next_process_finds_the_task(
    server: GlobusTransferServer, hop: Hop, tmp_path: Path
) -> None:
    items, submission = hop.files("a.bin"), hop.transfers.new_submission()
    server.faults.add("POST", "/transfer$", "reset after", times=2)
    with pytest.raises(UnreachableError, match=r"transfer: GlobusConnectionError"):
        hop.transfers.begin(submission, "run", items)
    assert len(server.service.tasks) == 1
    other = GlobusTransfers(account_for(server, tmp_path), hop.source.collection, hop.target.collection)
    assert [other.begin(submission, "run", items)] == list(server.service.tasks)
    other.close()


def test_a_page_of_a_proxy_is_no_answer(server: GlobusTransferServer, hop: Hop) -> None:
    items, submission = hop.files("a.bin"), hop.transfers.new_submission()
    server.faults.add("POST", "/transfer$", "page of a proxy")
    with pytest.raises(UnreachableError, match="no JSON object"):
        hop.transfers.begin(submission, "run", items)


@pytest.mark.parametrize("answer", [{}, {"task_id": None}, {"task_id": ""}])
def test_an_answer_without_a_task_is_none(
    server: GlobusTransferServer, hop: Hop, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    items, submission = hop.files("a.bin"), hop.transfers.new_submission()
    monkeypatch.setattr(server, "answer", lambda *_: (200, answer))
    with pytest.raises(UnreachableError, match="has no task_id"):
        hop.transfers.begin(submission, "run", items)


# ---- looked at -------------------------------------------------------------------------------------------------------


def test_a_long_transfer_is_active_until_it_is_done(server: GlobusTransferServer, hop: Hop) -> None:
    server.service.by_hand = True
    items = hop.files("a", "b", "c")
    task = hop.begun(items)
    moved = []
    for _ in items:
        assert hop.transfers.look(task).phase is TransferPhase.ACTIVE
        server.service.advance(task, files=1)
        moved.append(hop.transfers.look(task).bytes_moved)
    assert moved == [1000, 2000, 3000]
    assert hop.transfers.look(task).phase is TransferPhase.SUCCEEDED


def test_f23_a_token_that_ends_in_mid_transfer_is_renewed_and_the_task_goes_on(
    server: GlobusTransferServer, hop: Hop
) -> None:
    server.service.by_hand = True
    items = hop.files("a", "b")
    task = hop.begun(items)
    server.service.advance(task, files=1)
    server.tokens.expire()
    assert hop.transfers.look(task).bytes_moved == 1000
    server.tokens.expire()
    server.service.advance(task)
    assert hop.transfers.look(task).phase is TransferPhase.SUCCEEDED
    assert (list(server.service.tasks), hop.wrong(items)) == ([task], {})


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("is paused", r"paused by the manager of a collection: storage is mended until noon\. Ask there"),
        ("loses its credentials", r"credentials have expired; run `globus session update`"),
        (
            "is denied",
            r"PERMISSION_DENIED.*1 fault, the last: PERMISSION_DENIED; Path not allowed\.\. Give the account",
        ),
    ],
)
def test_what_waits_for_a_person_is_paused_and_says_what_to_do(
    server: GlobusTransferServer, hop: Hop, trouble: str, said: str
) -> None:
    server.service.troubles = [trouble]
    items = hop.files("a", "b")
    task = hop.begun(items)
    seen = hop.transfers.look(task)
    assert seen.phase is TransferPhase.PAUSED
    assert re.search(said, seen.reason), seen.reason
    server.service.resume(task)
    assert hop.transfers.look(task).phase is TransferPhase.SUCCEEDED
    assert hop.wrong(items) == {}


def test_the_last_fault_is_told_whatever_came_after_it(server: GlobusTransferServer, hop: Hop) -> None:
    server.service.troubles = ["is denied"]
    task = hop.begun(hop.files("a"))
    server.service.advance(task)
    server.service.tasks[task].note("PROGRESS", "0 bytes")
    assert "2 faults, the last: PERMISSION_DENIED" in hop.transfers.look(task).reason


def test_a_file_that_left_the_source_waits_for_a_person(hop: Hop) -> None:
    items = hop.files("a", "b")
    (hop.source.root / "b").unlink()
    seen = hop.transfers.look(hop.begun(items))
    assert seen.phase is TransferPhase.PAUSED
    assert "No such file /data/source/b" in seen.reason
    assert "See whether the file still lies at the source" in seen.reason


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("fails", "ENDPOINT_ERROR: the endpoint gave up; 2 of 4 parts failed; 1 fault, the last: ENDPOINT_ERROR"),
        ("is over quota", "QUOTA_EXCEEDED: the target's quota is exceeded"),
    ],
)
def test_failed_is_never_taken_for_done(server: GlobusTransferServer, hop: Hop, trouble: str, said: str) -> None:
    server.service.troubles = [trouble]
    items = hop.files("a", "b")
    task = hop.begun(items)
    seen = hop.transfers.look(task)
    assert seen.phase is TransferPhase.FAILED
    assert said in seen.reason
    assert hop.wrong(items)


def test_a_source_of_other_bytes_fails_the_transfer(hop: Hop) -> None:
    items = hop.files("a")
    (hop.source.root / "a").write_bytes(b"changed since")
    seen = hop.transfers.look(hop.begun(items))
    assert seen.phase is TransferPhase.FAILED
    assert "EXTERNAL_CHECKSUM_MISMATCH: the checksum of /data/source/a is another" in seen.reason
    assert hop.wrong(items) == {"run/a": "missing"}


@pytest.mark.parametrize(
    ("trouble", "wrong", "said"),
    [
        ("flips a byte", "differs", ""),
        ("loses a file", "missing", ""),
        ("skips a file", "missing", "1 skipped: /data/source/a (PERMISSION_DENIED)"),
    ],
)
def test_f22_succeeded_is_not_believed_and_a_read_of_the_mounted_folder_finds_what_is_wrong(
    server: GlobusTransferServer, hop: Hop, trouble: str, wrong: str, said: str
) -> None:
    server.service.troubles = [trouble]
    items = hop.files("a", "b")
    seen = hop.transfers.look(hop.begun(items))
    assert (seen.phase, seen.reason) == (TransferPhase.SUCCEEDED, said)
    assert hop.wrong(items) == {"run/a": wrong}
    again = hop.transfers.look(hop.begun(items))
    assert (again.phase, again.files_skipped) == (TransferPhase.SUCCEEDED, 1)
    assert hop.wrong(items) == {}


@pytest.mark.parametrize("status", ["", "DREAMING", None])
def test_a_status_that_is_not_known_is_no_answer(server: GlobusTransferServer, hop: Hop, status: str | None) -> None:
    task = hop.begun(hop.files("a"))
    server.service.tasks[task].status = status  # type: ignore[assignment]
    with pytest.raises(UnreachableError, match="its status is"):
        hop.transfers.look(task)


def test_details_that_are_refused_hide_no_phase(server: GlobusTransferServer, hop: Hop) -> None:
    server.service.troubles = ["fails"]
    task = hop.begun(hop.files("a", "b"))
    server.faults.add("GET", "/event_list$", "404")
    seen = hop.transfers.look(task)
    assert seen.phase is TransferPhase.FAILED
    assert seen.reason.endswith("1 fault")


def test_a_task_that_is_not_known_is_refused(hop: Hop) -> None:
    with pytest.raises(CopyError, match="HTTP 404 TaskNotFound"):
        hop.transfers.look("00000000-0000-4000-8000-000000000000")


# ---- cancelled and probed --------------------------------------------------------------------------------------------


def test_a_cancelled_task_ends_and_cancelling_again_is_no_error(server: GlobusTransferServer, hop: Hop) -> None:
    server.service.by_hand = True
    items = hop.files("a", "b")
    task = hop.begun(items)
    server.service.advance(task, files=1)
    for _ in range(2):
        hop.transfers.cancel(task)
    seen = hop.transfers.look(task)
    assert seen.phase is TransferPhase.FAILED
    assert "CANCELED" in seen.reason
    server.service.advance(task)
    assert hop.wrong(items) == {"run/b": "missing"}


def test_a_cancel_that_is_refused_while_the_task_goes_on_is_told(server: GlobusTransferServer, hop: Hop) -> None:
    server.service.by_hand = True
    task = hop.begun(hop.files("a"))
    server.faults.add("POST", "/cancel$", "403")
    with pytest.raises(CopyError, match="cancel: HTTP 403"):
        hop.transfers.cancel(task)


def test_a_probe_asks_both_ends_and_moves_nothing(server: GlobusTransferServer, hop: Hop) -> None:
    assert hop.transfers.why_unavailable() == ""
    assert not server.service.tasks
    hop.target.root.rmdir()
    assert f"{hop.target.collection.uuid}: ls: HTTP 404" in hop.transfers.why_unavailable()
    with server.down():
        hop.transfers.close()
        assert "GlobusConnectionError" in hop.transfers.why_unavailable()
