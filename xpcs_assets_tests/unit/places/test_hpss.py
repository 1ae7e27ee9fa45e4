"""Asking HPSS by jobs: found again after crashes, believed by their report alone, and nothing taken for absent."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from xpcs_assets.compute.backend import Phase, Seen
from xpcs_assets.errors import (
    ConflictingBytesError,
    CopyError,
    NotFoundError,
    NotVerifiedError,
    RemovalRefusedError,
    SourceDiffersError,
    UnderWayError,
)
from xpcs_assets.places.hpss_scratch import REQUEST
from xpcs_assets.places.place import Presence
from xpcs_assets_tests.hpss import Vault


def bundle_of(data: bytes) -> bytes:
    """A tar file with one member."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as bundle:
        member = tarfile.TarInfo("a.imm")
        member.size = len(data)
        bundle.addfile(member, io.BytesIO(data))
    return written.getvalue()


BUNDLE = bundle_of(b"frames" * 1000)
INDEX = b'{"members": []}'
PATH, INDEX_PATH = "xpcs/A001/a.tar", "xpcs/A001/a.tar.index.json"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault.build(tmp_path / "vault", tmp_path / "home")


def put(vault: Vault) -> bool:
    return vault.place().put_bundle(PATH, [BUNDLE], INDEX_PATH, INDEX)


def names(vault: Vault) -> list[str]:
    """What lies in HPSS, partials without their random word."""
    found = [path.name for path in vault.root.rglob("*") if path.is_file()]
    return sorted("partial" if name.endswith(".xpcs-partial") else name for name in found)


def test_one_job_stores_a_bundle_and_its_index_and_reads_both_back(vault: Vault) -> None:
    assert put(vault) is True
    assert not put(vault)
    (job,) = vault.backend.jobs().values()
    assert job.name.startswith("xpcs-hpss-store-")
    assert (job.words[1:3], job.resources.queue) == (("-m", "xpcs_assets.places.hpss_job"), "")
    assert ((vault.root / PATH).read_bytes(), (vault.root / INDEX_PATH).read_bytes()) == (BUNDLE, INDEX)
    assert b"".join(vault.place().read(PATH)) == BUNDLE
    assert len(vault.backend.jobs()) == 1  # what it read back is what is read
    assert vault.hpss.said("hsi -q put")[0].split()[-1].endswith(".xpcs-partial")


def test_a_bundle_that_is_there_already_is_read_back_and_not_put_again(vault: Vault) -> None:
    for path, data in ((PATH, BUNDLE), (INDEX_PATH, INDEX)):
        (vault.root / path).parent.mkdir(parents=True, exist_ok=True)
        (vault.root / path).write_bytes(data)
    assert put(vault) is False
    assert vault.hpss.said("hsi -q put") == []


@pytest.mark.parametrize(("path", "told"), [(PATH, "the name is taken"), (INDEX_PATH, "its index is there")])
def test_a_name_that_is_taken_stays_and_is_told_again_without_another_job(vault: Vault, path: str, told: str) -> None:
    (vault.root / path).parent.mkdir(parents=True)
    (vault.root / path).write_bytes(b"other")
    for _ in range(2):
        with pytest.raises(ConflictingBytesError, match=told) as caught:
            put(vault)
        assert caught.value.where == f"here:{path}"
    assert (len(vault.backend.jobs()), vault.hpss.said("hsi -q put"), names(vault)) == (1, [], [Path(path).name])


@pytest.mark.parametrize("fault", ["put_lies", "put_truncates", "put_flips"])
def test_what_hsi_put_badly_and_called_well_never_gets_its_name(vault: Vault, fault: str) -> None:
    vault.hpss.go_wrong(**{fault: 1})
    with pytest.raises(NotVerifiedError, match="what came back from HPSS is not what was put there"):
        put(vault)
    assert set(names(vault)) <= {"partial"}
    assert put(vault)  # another job does it anew
    assert names(vault) == sorted(
        [*(["partial"] if fault != "put_lies" else []), "a.tar", "a.tar.idx", Path(INDEX_PATH).name]
    )


def test_a_listing_tells_files_from_what_dead_jobs_left(vault: Vault) -> None:
    vault.hpss.go_wrong(put_flips=1)
    with pytest.raises(NotVerifiedError):
        put(vault)
    put(vault)
    found = vault.place().list()
    assert found.files == (PATH, INDEX_PATH)  # what htar made for itself is not told
    assert [name.endswith(".xpcs-partial") for name in found.others] == [True]


def test_one_read_that_differs_says_nothing_about_the_tape(vault: Vault) -> None:
    vault.hpss.go_wrong(get_flips=1)
    assert put(vault)
    assert b"".join(vault.place().read(PATH)) == BUNDLE


def test_a_file_that_came_short_is_not_given(vault: Vault) -> None:
    put(vault)
    vault.asking.forget(vault.asking.key("fetch", PATH))
    vault.hpss.go_wrong(get_truncates=1)
    with pytest.raises(CopyError, match=r"brought 5120 of 10240 bytes"):
        vault.place().digest(PATH)
    assert vault.place().digest(PATH).size_bytes == 10240


def test_bytes_that_change_in_scratch_are_not_given_for_those_of_hpss(vault: Vault) -> None:
    put(vault)
    file, _ = vault.place().fetch(PATH)
    file.write_bytes(b"x" * 10240)
    with pytest.raises(CopyError, match="changed in scratch"):
        vault.place().digest(PATH)
    assert b"".join(vault.place().read(PATH)) == BUNDLE


def test_while_hpss_is_down_everything_is_unknown_and_nothing_is_absent(vault: Vault) -> None:
    vault.hpss.go_wrong(down=True)
    place = vault.place()
    assert (place.stat(PATH).presence, place.list().presence) == (Presence.UNKNOWN, Presence.UNKNOWN)
    assert "maintenance" in place.stat(PATH).reason
    assert "maintenance" in place.why_unavailable()
    for asking in (lambda: put(vault), lambda: place.digest(PATH), lambda: place.failure_domain):
        with pytest.raises(CopyError, match="maintenance"):
            asking()
    vault.hpss.go_wrong()
    assert place.stat(PATH).presence is Presence.NO
    with pytest.raises(NotFoundError):
        place.digest(PATH)


def test_without_its_program_hpss_is_unknown(vault: Vault) -> None:
    asking = replace(vault.asking, hands=replace(vault.asking.hands, hsi=""))
    from xpcs_assets.places.hpss_job import do

    vault.backend.holds = True
    vault.asking = asking
    assert vault.place().stat(PATH).is_under_way
    (job,) = vault.backend.jobs().values()
    do(Path(job.words[-1]))
    assert (vault.place().stat(PATH).presence, "cannot be run" in vault.place().stat(PATH).reason) == (
        Presence.UNKNOWN,
        False,  # it is asked again
    )


# ---- jobs that wait, are lost, or lie -----------------------------------------------------------------------------


def test_a_process_that_died_between_handing_over_and_noting_finds_its_job(vault: Vault) -> None:
    vault.backend.holds = True
    vault.backend.is_down_at_submit = "taken"
    with pytest.raises(UnderWayError, match="does not answer"):
        put(vault)
    vault.backend.is_down_at_submit = ""
    with pytest.raises(UnderWayError, match="HPSS job 1 of cluster is not done yet"):
        put(vault)
    vault.backend.finish("1")
    assert (put(vault), len(vault.backend.jobs())) == (True, 1)


def test_a_submission_that_was_lost_is_made_again(vault: Vault) -> None:
    vault.backend.is_down_at_submit = "lost"
    with pytest.raises(UnderWayError):
        put(vault)
    vault.backend.is_down_at_submit = ""
    assert put(vault)


@pytest.mark.parametrize(
    ("seen", "error", "told"),
    [
        (Seen(Phase.ENDED, 0, "COMPLETED"), CopyError, r"ended without a report \(COMPLETED, exit code 0\)"),
        (Seen(Phase.ENDED, None, "TIMEOUT", is_too_big=True), CopyError, r"without a report \(TIMEOUT\)"),
        (Seen(Phase.ENDED, 1, "FAILED"), CopyError, "exit code 1"),
        (Seen(Phase.FORGOTTEN), CopyError, "forgotten"),
        (Seen(Phase.ENDED, None, "NODE_FAIL", is_lost=True), UnderWayError, "NODE_FAIL.*another is asked for"),
    ],
)
def test_a_job_that_ended_without_a_report_did_nothing_that_counts(
    vault: Vault, seen: Seen, error: type[CopyError], told: str
) -> None:
    vault.backend.holds = True
    with pytest.raises(UnderWayError):
        put(vault)
    vault.backend.say("1", seen)
    with pytest.raises(error, match=told) as caught:
        put(vault)
    assert type(caught.value) is error
    vault.backend.holds = False
    assert (put(vault), len(vault.backend.jobs())) == (True, 2)


def test_a_report_may_take_its_time_to_be_seen(vault: Vault) -> None:
    vault.asking = replace(vault.asking, hands=replace(vault.asking.hands, settle_s=60.0))
    vault.backend.holds = True
    with pytest.raises(UnderWayError):
        put(vault)
    vault.backend.say("1", Seen(Phase.ENDED, 0, "COMPLETED"))
    with pytest.raises(UnderWayError, match="not done yet"):
        put(vault)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"job": "another", "failed": "", "sha256": "0"}'])
def test_what_is_no_report_of_the_very_job_is_not_believed(vault: Vault, text: str) -> None:
    vault.backend.holds = True
    with pytest.raises(UnderWayError):
        put(vault)
    (request_file,) = vault.asking.scratch.folder.rglob(REQUEST)
    request = json.loads(request_file.read_text())
    (request_file.parent / request["report"]).write_text(text)
    with pytest.raises(UnderWayError):
        put(vault)


def test_a_silent_scheduler_is_waited_for_and_one_that_refuses_is_told(vault: Vault) -> None:
    vault.backend.is_down = True
    with pytest.raises(UnderWayError, match="cluster does not answer"):
        put(vault)
    assert vault.place().stat(PATH).is_under_way
    vault.backend.is_down = False
    vault.backend.refuses = "Invalid qos specification"
    with pytest.raises(CopyError, match="Invalid qos"):
        put(vault)
    vault.backend.refuses = ""
    assert put(vault)


def test_a_place_whose_job_is_under_way_is_as_available_as_its_scheduler(vault: Vault) -> None:
    vault.backend.holds = True
    assert vault.place().why_unavailable() == ""
    vault.backend.unavailable = "no partition of it is up"
    assert vault.place().why_unavailable() == "no partition of it is up"


def test_no_more_jobs_than_may_be_and_nothing_is_written_for_one_that_waits_for_its_turn(vault: Vault) -> None:
    vault.asking = replace(vault.asking, hands=replace(vault.asking.hands, max_jobs=2))
    vault.backend.holds = True
    place = vault.place()
    assert [place.stat(path).is_under_way for path in ("a", "b", "c")] == [True, True, True]
    assert len(vault.backend.jobs()) == 2

    def never() -> Iterator[bytes]:
        raise AssertionError("it was read")
        yield b""

    with pytest.raises(UnderWayError, match="2 HPSS jobs of cluster are not done yet, as many as may be"):
        place.put_bundle(PATH, never(), INDEX_PATH, INDEX)
    vault.backend.say("1", Seen(Phase.FORGOTTEN))  # a job that is lost takes nobody's turn
    with pytest.raises(UnderWayError, match="HPSS job 3"):
        put(vault)


def test_scratch_that_jobs_do_not_see_is_told(vault: Vault) -> None:
    def seen(path: str) -> str:
        raise ValueError(f"{path} lies below none of /cfs")

    vault.asking = replace(vault.asking, hands=replace(vault.asking.hands, seen=seen))
    with pytest.raises(CopyError, match="not seen by the jobs of cluster"):
        put(vault)


# ---- scratch --------------------------------------------------------------------------------------------------------


def test_an_answer_counts_for_its_time_and_is_then_swept(vault: Vault) -> None:
    put(vault)
    assert vault.place().stat(PATH).presence is Presence.YES
    asked = len(vault.backend.jobs())
    later = replace(vault.asking.scratch, now=lambda: time.time() + 3601)
    vault.asking = replace(vault.asking, scratch=later)
    (vault.root / PATH).unlink()
    assert vault.place().stat(PATH).presence is Presence.NO
    assert len(vault.backend.jobs()) == asked + 1
    assert [path for path in later.folder.rglob("*") if path.name.startswith("data")] == []


def test_an_answer_that_goes_out_of_date_while_it_is_asked_for_begins_nothing(vault: Vault) -> None:
    with pytest.raises(UnderWayError, match="too old"):
        vault.asking.ask("store-x", "store", PATH, {"sha256": "", "index": None, "identity": None})
    assert vault.backend.jobs() == {}


def test_what_was_brought_goes_when_it_was_read_and_recorded(vault: Vault) -> None:
    put(vault)
    file, _ = vault.place().fetch(PATH)
    vault.place().settle([PATH])
    assert not file.exists()
    assert b"".join(vault.place().read(PATH, 512)) == BUNDLE[512:]  # brought again


def test_what_was_poured_and_never_asked_for_is_swept(vault: Vault) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise SourceDiffersError("the file is not what its manifest says")

    with pytest.raises(SourceDiffersError):
        vault.place().put_bundle(PATH, broken(), INDEX_PATH, INDEX)
    assert vault.place().sweep() == 0
    later = replace(vault.asking.scratch, now=lambda: time.time() + 3601)
    assert later.sweep() == 1
    assert vault.backend.jobs() == {}


def test_scratch_that_is_away_is_told(vault: Vault) -> None:
    vault.asking = replace(vault.asking, scratch=replace(vault.asking.scratch, folder=vault.root / "away"))
    assert vault.place().stat(PATH).presence is Presence.UNKNOWN
    with pytest.raises(CopyError, match="scratch folder is not there"):
        put(vault)


# ---- what is never done ---------------------------------------------------------------------------------------------


class Everything:
    """Allows all."""

    def allow(self, place: str, path: str) -> None:
        pass


def test_nothing_is_removed_from_hpss(vault: Vault) -> None:
    put(vault)
    for going in (
        lambda: vault.place().remove(PATH, Everything()),
        lambda: vault.place().set_aside(PATH, "trash", Everything()),
        lambda: vault.place().put_back("a", PATH),
    ):
        with pytest.raises(RemovalRefusedError):
            going()
    assert (vault.root / PATH).exists()
    assert not any(" rm" in line for line in vault.hpss.said())


@pytest.mark.parametrize("path", ["a b", "a;rm", "-r", "a:b", "é", 'a"b', "a*"])
def test_what_hsi_would_read_as_something_else_is_never_said_to_it(vault: Vault, path: str) -> None:
    with pytest.raises(CopyError, match="no name for hsi"):
        vault.place().put(path, [b"x"])
    assert vault.place().stat(path).presence is Presence.UNKNOWN
    assert (vault.backend.jobs(), vault.hpss.said()) == ({}, [])


def test_htar_is_asked_for_few_members_with_plain_names_alone(vault: Vault) -> None:
    put(vault)
    assert vault.place().take_out(PATH, ["a b"]) is None
    assert vault.place().take_out(PATH, [f"f{n}" for n in range(201)]) is None
    assert vault.hpss.said("htar -x") == []
