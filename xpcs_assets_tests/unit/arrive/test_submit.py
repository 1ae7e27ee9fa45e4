"""Runs submitted by hand: once, only inside the watched folder, and incomplete ones only when asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xpcs_assets.arrive.candidates import Candidate
from xpcs_assets.arrive.submit import matches, submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import ArrivalState
from xpcs_assets.errors import NotFoundError, RefusedError, SettingsError
from xpcs_assets_tests.unit.conftest import Altered, bare_run


def test_a_submitted_run_waits_to_be_taken(beamline: OpenBeamline) -> None:
    run = bare_run(beamline.source_root / "A 001")
    done = submit(beamline, run)
    assert (done.key, done.known) == ("A=20001", False)
    arrival = beamline.ledger.arrival("xpcs", done.key)
    assert arrival is not None
    assert (arrival.state, arrival.source, arrival.name) == (ArrivalState.SUBMITTED, "A 001", "A 001")


def test_a_run_submitted_twice_is_one_run(beamline: OpenBeamline) -> None:
    run = bare_run(beamline.source_root / "A001")
    first = submit(beamline, run)
    by_a_file_of_it = submit(beamline, run / "A001.imm")
    assert by_a_file_of_it == first
    (arrival,) = beamline.ledger.arrivals("xpcs")
    assert arrival.attempt == 0


def test_a_run_that_was_taken_is_known(beamline: OpenBeamline) -> None:
    run = bare_run(beamline.source_root / "A001")
    submit(beamline, run)
    take(beamline, "A001")
    assert submit(beamline, run).known
    (arrival,) = beamline.ledger.arrivals("xpcs")
    assert arrival.state is ArrivalState.TAKEN


def test_a_run_that_was_rewritten_is_submitted_anew(beamline: OpenBeamline) -> None:
    run = bare_run(beamline.source_root / "A001")
    submit(beamline, run)
    take(beamline, "A001")
    (run / "A001.imm").write_bytes(b"other frames")
    assert not submit(beamline, run).known
    assert take(beamline, "A001").version.version == 2


def test_a_run_that_failed_to_be_taken_is_a_new_request_when_submitted_again(beamline: OpenBeamline) -> None:
    run = bare_run(beamline.source_root / "A001")
    submit(beamline, run)
    beamline.ledger.retake("xpcs", "A001", "it changed")
    submit(beamline, run)
    (arrival,) = beamline.ledger.arrivals("xpcs")
    assert (arrival.state, arrival.attempt) == (ArrivalState.SUBMITTED, 2)


def test_a_run_outside_the_watched_folder_is_refused(beamline: OpenBeamline, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not below the watched folder"):
        submit(beamline, bare_run(tmp_path / "elsewhere" / "A001"))
    assert beamline.ledger.arrivals("xpcs") == ()


def test_a_path_that_is_not_there_is_said(beamline: OpenBeamline) -> None:
    with pytest.raises(NotFoundError, match="there is no such run"):
        submit(beamline, beamline.source_root / "A001")


def test_an_incomplete_run_is_refused_with_the_reason_and_taken_as_it_is_when_asked(beamline: OpenBeamline) -> None:
    run = bare_run(beamline.source_root / "A001")
    (run / "A001_metadata.hdf").unlink()
    with pytest.raises(RefusedError, match=r"no file matches '\*_metadata\.hdf'.*--as-is"):
        submit(beamline, run)
    assert submit(beamline, run, as_is=True).key == "A001"
    assert take(beamline, "A001").version.version == 1


def test_an_empty_run_is_refused_even_as_it_is(beamline: OpenBeamline) -> None:
    run = beamline.source_root / "A001"
    run.mkdir()
    with pytest.raises(RefusedError, match="no file of a run is there"):
        submit(beamline, run, as_is=True)


def test_a_refused_word_is_refused_even_as_it_is(altered: Altered) -> None:
    beamline = altered({"runs": {"refuse": ["secret"]}})
    with pytest.raises(RefusedError, match="its path holds 'secret'"):
        submit(beamline, bare_run(beamline.source_root / "secret1"), as_is=True)


def test_a_name_that_is_no_utf8_is_refused_even_as_it_is(beamline: OpenBeamline) -> None:
    folder = os.fsencode(beamline.source_root) + b"/d\xfcse"
    os.mkdir(folder)  # noqa: PTH102 - the name is bytes
    bare_run(Path(os.fsdecode(folder)), "raw")
    with pytest.raises(RefusedError, match="no UTF-8"):
        submit(beamline, Path(os.fsdecode(folder)), as_is=True)


def test_a_run_that_cannot_be_listed_is_refused_with_the_cause(
    beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bare_run(beamline.source_root / "A001")

    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(run))

    monkeypatch.setattr("xpcs_assets.arrive.submit.files_of", fail)
    with pytest.raises(RefusedError, match="cannot be read: Permission denied"):
        submit(beamline, run)


def test_two_runs_that_the_key_does_not_tell_apart_are_never_one(altered: Altered) -> None:
    beamline = altered({"runs": {"from": {"path": "{cycle}/{run}/"}, "key": "{run}"}})
    first, second = (bare_run(beamline.source_root / cycle / "A001") for cycle in ("2026-1", "2026-2"))
    submit(beamline, first)
    for dry_run in (True, False):
        with pytest.raises(RefusedError, match=r"run key 'A001' already belongs to 2026-1/A001"):
            submit(beamline, second, dry_run=dry_run)
    assert [match.reason for match in matches(beamline, 10)] == ["", "its key 'A001' is that of 2026-1/A001"]


def test_check_shows_no_more_runs_than_asked_for(beamline: OpenBeamline) -> None:
    for number in range(5):
        bare_run(beamline.source_root / f"A{number}")
    assert [match.key for match in matches(beamline, 3)] == ["A0", "A1", "A2"]


def test_check_says_of_a_candidate_without_a_key_why(beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = Candidate("refused-1", beamline.source_root / "gone", r"d\xfcse/A001", reason="no UTF-8")
    monkeypatch.setattr("xpcs_assets.arrive.submit.find", lambda *_: [odd])
    assert [match.reason for match in matches(beamline, 3)] == ["no UTF-8"]
