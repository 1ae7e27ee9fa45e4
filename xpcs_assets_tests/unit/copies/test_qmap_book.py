"""The book of q-maps: versions in order, never changed; taken back with a reason; and the results made of them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from xpcs_assets.copies.database import open_database
from xpcs_assets.copies.journal import Journal
from xpcs_assets.copies.ledger import Ledger, QmapVersion
from xpcs_assets.errors import NotFoundError
from xpcs_assets.runs.manifest import Manifest
from xpcs_assets_tests.storage import HandClock, empty_ledger

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


def recorded(
    ledger: Ledger,
    version: int,
    digest: str = "sha256:aa",
    *,
    name: str = "standard",
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
) -> QmapVersion | None:
    return ledger.record_qmap(
        "b", name, version, digest=digest, path=f"qmaps/b/{name}/v{version}.hdf",
        valid_from=valid_from, valid_until=valid_until, note="a note", by="an operator",
    )  # fmt: skip


def test_a_version_comes_back_as_it_was_recorded(ledger: Ledger, clock: HandClock) -> None:
    made = recorded(ledger, 1, valid_from=NOON)
    assert made == QmapVersion(
        "b", "standard", 1, "sha256:aa", "qmaps/b/standard/v1.hdf", NOON, None, "a note", "an operator", clock()
    )
    assert (ledger.qmaps("b", "standard"), ledger.qmaps("b", "other"), ledger.qmaps("c", "standard")) == (
        (made,),
        (),
        (),
    )
    assert str(made) == "standard v1"


def test_numbers_follow_each_other_and_one_that_is_taken_is_not_given_again(ledger: Ledger) -> None:
    first = recorded(ledger, 1)
    assert recorded(ledger, 1, "sha256:bb") is None
    assert recorded(ledger, 3, "sha256:bb") is None
    assert ledger.qmaps("b", "standard") == (first,)
    assert recorded(ledger, 2, "sha256:bb") is not None
    assert recorded(ledger, 1, name="other") is not None
    assert [version.version for version in ledger.qmaps("b", "standard")] == [1, 2]
    assert ledger.qmap_names("b") == ("other", "standard")
    assert ledger.qmap_names("c") == ()


def test_of_two_who_record_the_same_number_at_once_one_has_it(url: str) -> None:
    got: list[QmapVersion | None] = []

    def record(digest: str) -> None:
        engine = open_database(url)
        got.append(recorded(Ledger(engine), 1, digest))
        engine.dispose()

    threads = [threading.Thread(target=record, args=(f"sha256:{k}",)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [version for version in got if version is not None]
    engine = open_database(url)
    assert Ledger(engine).qmaps("b", "standard") == (winner,)
    engine.dispose()


@pytest.mark.parametrize(
    ("after_s", "valid"), [(-1, False), (0, True), (3599, True), (3600, False)], ids=["before", "from", "last", "until"]
)
def test_a_version_is_for_times_from_the_first_on_and_before_the_second(
    ledger: Ledger, after_s: float, valid: bool
) -> None:
    made = recorded(ledger, 1, valid_from=NOON, valid_until=NOON + timedelta(hours=1))
    assert made is not None
    assert made.is_valid_at(NOON + timedelta(seconds=after_s)) is valid


def test_open_ends_are_for_all_times(ledger: Ledger) -> None:
    made = recorded(ledger, 1)
    assert made is not None
    assert made.is_valid_at(datetime.min.replace(tzinfo=UTC))
    assert made.is_valid_at(datetime.max.replace(tzinfo=UTC))


def test_a_version_that_was_withdrawn_stays_so_for_the_first_reason(ledger: Ledger, clock: HandClock) -> None:
    recorded(ledger, 1)
    recorded(ledger, 2)
    clock.advance(60)
    gone = ledger.withdraw_qmap("b", "standard", 1, "wrong beam centre", "an operator")
    at = clock()
    clock.advance(60)
    assert ledger.withdraw_qmap("b", "standard", 1, "once more", "another") == gone
    assert (gone.stands, gone.withdrawn_at, gone.withdrawn_by) == (False, at, "an operator")
    assert gone.withdrawn_because == "wrong beam centre"
    assert [version.stands for version in ledger.qmaps("b", "standard")] == [False, True]


@pytest.mark.parametrize("version", [0, 2])
def test_a_version_that_there_is_not_cannot_be_withdrawn(ledger: Ledger, version: int) -> None:
    recorded(ledger, 1)
    with pytest.raises(NotFoundError, match="no such version of a q-map"):
        ledger.withdraw_qmap("b", "standard", version, "why", "who")


def test_the_results_of_a_map_are_counted_and_the_newest_named(ledger: Ledger, clock: HandClock) -> None:
    for k in range(4):
        manifest = Manifest(f"A{k}", ())
        ledger.record_version("b", f"A{k}", manifest, "source")
        digest = "sha256:aa" if k else "sha256:bb"
        ledger.record_result(
            "b", f"A{k}", run_key=f"A{k}", version=1, recipe_digest=f"sha256:{k}", path="r.hdf",
            result_digest="sha256:r", report={"recipe": {"qmap_digest": digest}},
        )  # fmt: skip
        clock.advance(1)
    count, newest = ledger.results_with_qmap("b", "sha256:aa", 2)
    assert (count, [result.run_key for result in newest]) == (3, ["A3", "A2"])
    assert ledger.results_with_qmap("b", "sha256:cc", 2) == (0, ())
    assert ledger.results_with_qmap("c", "sha256:aa", 2) == (0, ())


def test_a_map_is_no_run(ledger: Ledger) -> None:
    recorded(ledger, 1)
    assert (ledger.runs("b"), ledger.arrivals("b")) == ((), ())


def test_a_ledger_that_lost_its_last_writes_has_them_back_from_the_journal(tmp_path: Path, clock: HandClock) -> None:
    file, journal = tmp_path / "ledger.db", Journal(tmp_path / "journal")
    file.write_bytes(empty_ledger())
    engine = open_database(f"sqlite:///{file}", journal=journal)
    recorded(Ledger(engine, clock), 1)
    engine.dispose()
    before = file.read_bytes()
    engine = open_database(f"sqlite:///{file}", journal=journal)
    ledger = Ledger(engine, clock)
    recorded(ledger, 2, "sha256:bb")
    ledger.withdraw_qmap("b", "standard", 1, "wrong", "an operator")
    expected = ledger.qmaps("b", "standard")
    engine.dispose()
    for left in tmp_path.glob("ledger.db*"):
        left.unlink()
    file.write_bytes(before)
    engine = open_database(f"sqlite:///{file}", journal=journal)
    ledger = Ledger(engine, clock)
    ledger.note("b", "A001", "any", "a write")
    assert ledger.qmaps("b", "standard") == expected
    engine.dispose()
