"""The book of runs, results and timelines."""

from __future__ import annotations

import pytest

from xpcs_assets.copies.ledger import Ledger, Result
from xpcs_assets.errors import LedgerError, NotFoundError
from xpcs_assets.runs.manifest import FileEntry, Manifest
from xpcs_assets_tests.storage import HandClock


def manifest(digit: str, key: str = "r") -> Manifest:
    return Manifest.of(key, [FileEntry("a.imm", 7, digit * 64, mtime_ns=5)])


def record(ledger: Ledger, recipe: str = "sha256:r1", digest: str = "sha256:d1", key: str = "r") -> Result:
    return ledger.record_result(
        "b",
        key,
        run_key="r",
        version=1,
        recipe_digest=recipe,
        path="x.hdf",
        result_digest=digest,
        report={"seconds": 1.5},
    )


def test_the_same_files_are_the_same_version(ledger: Ledger, clock: HandClock) -> None:
    first = ledger.record_version("b", "r", manifest("1"), "/d/r", {"proposal": "p1"})
    clock.advance(5)
    assert ledger.record_version("b", "r", manifest("1"), "/d/r") == first
    assert (first.version, first.manifest, first.owner) == (1, manifest("1"), {"proposal": "p1"})


def test_other_files_are_the_next_version_and_old_ones_are_found_again(ledger: Ledger) -> None:
    ledger.record_version("b", "r", manifest("1"), "/d/r")
    assert ledger.record_version("b", "r", manifest("2"), "/d/r").version == 2
    assert ledger.record_version("b", "r", manifest("1"), "/d/r").version == 1
    assert [item.version for item in ledger.versions("b", "r")] == [1, 2]
    assert ledger.version("b", "r", 1).manifest == manifest("1")


def test_a_source_that_goes_back_to_older_files_makes_their_version_the_latest_again(ledger: Ledger) -> None:
    for digit in "121":  # the clock stands still: the order holds all the same
        ledger.record_version("b", "r", manifest(digit), "/d/r")
    latest = ledger.latest("b", "r")
    assert latest is not None
    assert latest.version == 1
    assert [run.version for run in ledger.runs("b")] == [1]
    assert [run.version for run in ledger.versions("b", "r")] == [1, 2]


def test_beamlines_do_not_see_each_other(ledger: Ledger) -> None:
    ledger.record_version("b", "r", manifest("1"), "/d/r")
    assert ledger.record_version("c", "r", manifest("2"), "/e/r").version == 1
    assert [item.beamline for item in ledger.runs("c")] == ["c"]


def test_a_run_that_was_never_taken_has_no_version(ledger: Ledger) -> None:
    assert ledger.latest("b", "r") is None
    with pytest.raises(NotFoundError, match="b/r/v1"):
        ledger.version("b", "r", 1)


def test_runs_are_listed_once_each_with_their_newest_version(ledger: Ledger, clock: HandClock) -> None:
    for key, digit in (("one", "1"), ("two", "1"), ("one", "2")):
        ledger.record_version("b", key, manifest(digit, key), f"/d/{key}")
        clock.advance(1)
    assert [(item.run_key, item.version) for item in ledger.runs("b")] == [("one", 2), ("two", 1)]
    assert len(ledger.runs("b", limit=1)) == 1


def test_a_result_recorded_twice_is_one_result(ledger: Ledger, clock: HandClock) -> None:
    ledger.record_version("b", "r", manifest("1"), "/d/r")
    record(ledger)
    clock.advance(5)
    again = record(ledger)
    assert ledger.results("b", "r") == (again,)
    assert (again.recorded_at, again.report, again.promoted) == (clock.now, {"seconds": 1.5}, False)


def test_results_are_told_apart_by_recipe_bytes_key_and_version(ledger: Ledger, clock: HandClock) -> None:
    ledger.record_version("b", "r", manifest("1"), "/d/r")
    for recipe, digest, key in (("r1", "d1", "r"), ("r2", "d1", "r"), ("r1", "d2", "r"), ("r1", "d1", "r~wide")):
        record(ledger, recipe, digest, key)
        clock.advance(1)
    assert len(ledger.results("b", "r")) == 4
    assert [item.analysis_key for item in ledger.results("b", "r", analysis_key="r~wide")] == ["r~wide"]
    assert [item.result_digest for item in ledger.results("b", "r", analysis_key="r")] == ["d2", "d1", "d1"]
    assert ledger.results("b", "r", version=2) == ()


def test_a_result_of_an_unknown_version_is_refused(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match=r"(?i)foreign key"):
        record(ledger)


def test_one_result_is_promoted_at_a_time(ledger: Ledger) -> None:
    ledger.record_version("b", "r", manifest("1"), "/d/r")
    record(ledger, "r1")
    record(ledger, "r2")
    assert ledger.promote("b", "r", "r1").promoted
    ledger.promote("b", "r", "r2")
    assert {item.recipe_digest: item.promoted for item in ledger.results("b", "r")} == {"r1": False, "r2": True}
    with pytest.raises(NotFoundError, match="no result of recipe r3"):
        ledger.promote("b", "r", "r3")


def test_a_timeline_is_in_order_and_cannot_be_rewritten(ledger: Ledger) -> None:
    from sqlalchemy import text

    from xpcs_assets.copies.database import writing

    ledger.note("b", "r", "raw_file", "taken")
    ledger.note("b", "r", "staged_copy", "staged", {"bytes": 5})
    ledger.note("b", "other", "raw_file", "taken")
    assert [(line.step, line.detail) for line in ledger.timeline("b", "r")] == [
        ("raw_file", {}),
        ("staged_copy", {"bytes": 5}),
    ]
    for change in ("UPDATE events SET what = 'lie'", "DELETE FROM events"):
        with pytest.raises(LedgerError, match="never changed"), writing(ledger.engine) as session:
            session.execute(text(change))
