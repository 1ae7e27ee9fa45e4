"""What is kept in the journal beside the database, in which order, and how it comes back."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import event, select, text

from xpcs_assets.copies.database import open_database, reading, writing
from xpcs_assets.copies.journal import Journal, Line
from xpcs_assets.copies.keeping import keep, replay
from xpcs_assets.copies.ledger import CopyState, Evidence, Ledger
from xpcs_assets.copies.tables import EventRow, LedgerRow
from xpcs_assets.errors import LedgerError, RefusedError
from xpcs_assets.runs.manifest import FileEntry, Manifest
from xpcs_assets.testing.faults import in_children
from xpcs_assets_tests.storage import HandClock, empty_ledger

MANIFEST = Manifest.of("r", [FileEntry("a", 1, "0" * 64)])


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def kept(url: str, journal: Journal, clock: HandClock) -> Iterator[Ledger]:
    """A ledger with a journal."""
    engine = open_database(url, journal=journal)
    yield Ledger(engine, clock)
    engine.dispose()


def tables_of(journal: Journal) -> list[str]:
    return [line.table for line in journal.lines()]


def record_copy(ledger: Ledger, place: str = "p") -> None:
    ledger.record_copy("b", "r", 1, place=place, path="x", failure_domain="f", evidence=Evidence.READ_BACK)


def test_what_the_data_cannot_tell_is_kept(kept: Ledger, journal: Journal) -> None:
    kept.record_version("b", "r", MANIFEST, "/d/r")
    record_copy(kept)
    kept.hold("b", "r", "wanted", "somebody")
    kept.release("b", "r", "somebody")
    kept.note("b", "r", "step", "done")
    kept.intend_removal("b", "r", 1, place="p", path="x", by="somebody", detail={})
    kept.note_arrival("b", "r", source="/d/r", fingerprint="f", state="taken")
    kept.take_lease("b", "r", "stage", "h", 60)
    expected = ("ledger", "run_versions", "copies", "holds", "holds", "events", "removals", "arrivals")
    assert tables_of(journal) == list(expected)
    assert [line.number for line in journal.lines()] == list(range(8))
    with reading(kept.engine) as session:
        assert session.scalars(select(LedgerRow.journal_number)).one() == 7


def test_what_was_refused_is_not_kept(kept: Ledger, journal: Journal) -> None:
    with pytest.raises(LedgerError, match=r"(?i)foreign key"):
        record_copy(kept)
    kept.note("b", "r", "step", "done")
    assert tables_of(journal) == ["ledger", "events"]


def after_a_crash(url: str, journal: Journal, operation: str) -> Ledger:
    """Hold in a process that dies at its commit, or release in one that dies right after it."""

    def child() -> None:
        engine = open_database(url, journal=journal)
        if operation == "hold":
            event.listen(engine, "commit", lambda _: os._exit(137))
            Ledger(engine).hold("b", "r", "crashed", "me")
        else:
            Journal.append = lambda _, lines, now: os._exit(137) if lines else None  # type: ignore[method-assign]
            Ledger(engine).release("b", "r", "me")

    assert in_children(child) == [137]
    return Ledger(open_database(url, journal=journal))


def test_a_hold_that_crashed_before_its_commit_stands_from_the_next_write_on(
    kept: Ledger, url: str, journal: Journal
) -> None:
    kept.note("b", "r", "step", "before")
    kept.engine.dispose()
    again = after_a_crash(url, journal, "hold")
    assert again.holds("b", "r") == ()
    again.note("b", "other", "step", "the next write")
    assert [hold.reason for hold in again.holds("b", "r")] == ["crashed"]
    again.hold("b", "r", "one more", "me")  # its number is free
    assert [hold.reason for hold in again.holds("b", "r")] == ["crashed", "one more"]
    again.engine.dispose()


def test_a_release_that_crashed_before_its_line_is_not_in_a_ledger_made_again(
    kept: Ledger, url: str, journal: Journal, tmp_path: Path
) -> None:
    kept.hold("b", "r", "wanted", "me")
    kept.engine.dispose()
    again = after_a_crash(url, journal, "release")
    assert again.holds("b", "r") == ()
    again.note("b", "r", "step", "on")
    assert journal.damage() == (f"{journal.files()[0].name}:3: line 3 follows line 1",)
    again.engine.dispose()
    (tmp_path / "made again.db").write_bytes(empty_ledger())
    engine = open_database(f"sqlite:///{tmp_path / 'made again.db'}")
    with writing(engine) as session:
        assert replay(session, journal.lines()) == ()
    assert [hold.reason for hold in Ledger(engine).holds("b", "r")] == ["wanted"]
    engine.dispose()


def test_a_journal_without_room_stops_a_hold_and_tells_of_a_release(
    kept: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.hold("b", "r", "wanted", "me")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        for writes in (lambda: kept.hold("b", "r", "never", "me"), lambda: kept.release("b", "r", "me")):
            with pytest.raises(LedgerError, match="No space left"):
                writes()
    kept.note("b", "r", "step", "the lock is free again")
    assert kept.holds("b", "r") == ()


def test_f54_a_ledger_of_yesterday_learns_of_a_hold_before_anybody_prunes(
    tmp_path: Path, journal: Journal, clock: HandClock
) -> None:
    file = tmp_path / "ledger.db"
    file.write_bytes(empty_ledger())
    engine = open_database(f"sqlite:///{file}", journal=journal)
    ledger = Ledger(engine, clock)
    ledger.note("b", "r", "step", "of yesterday")
    engine.dispose()
    yesterday = file.read_bytes()
    ledger.hold("b", "r", "since today", "a scientist")
    ledger.record_version("b", "r", MANIFEST, "/d/r")
    record_copy(ledger)
    ledger.mark_copy("b", "r", 1, place="p", path="x", state=CopyState.BAD, reason="other bytes")
    engine.dispose()
    file.write_bytes(yesterday)
    assert ledger.holds("b", "r") == ()
    lease = ledger.take_lease("b", "r", "prune", "a pruner", 60)
    with pytest.raises(RefusedError, match="since today"), ledger.guard(lease, 60):
        pytest.fail("it was removed")
    assert [copy.state for copy in ledger.copies("b", "r", 1)] == [CopyState.BAD]
    engine.dispose()


@pytest.mark.parametrize("empty", [True, False])
def test_f46_another_database_is_refused_by_every_write(
    kept: Ledger, journal: Journal, tmp_path: Path, *, empty: bool
) -> None:
    kept.hold("b", "r", "wanted", "me")
    (tmp_path / "other.db").write_bytes(empty_ledger())
    engine = open_database(f"sqlite:///{tmp_path / 'other.db'}")
    with writing(engine) as session:  # ledgers of tests are copies of one: this one has an identity of its own
        session.execute(text("UPDATE ledger SET identity = 'another'"))
    if not empty:
        Ledger(engine).note("b", "r", "step", "of another site")
    engine.dispose()
    engine = open_database(f"sqlite:///{tmp_path / 'other.db'}", journal=journal)
    other = Ledger(engine)
    for writes in (
        lambda: other.take_lease("b", "r", "prune", "h", 60),
        lambda: other.note("b", "r", "s", "w"),
        lambda: other.hold("b", "r", "w", "me"),
    ):
        with pytest.raises(LedgerError, match=r"not the ledger that this site's journal belongs to.*site\.yaml"):
            writes()
    assert tables_of(journal) == ["ledger", "holds"]
    engine.dispose()


def test_lines_of_nothing_known_are_given_back(ledger: Ledger) -> None:
    unknown = [
        Line(1, "copies", {"id": 1, "beamline": "b", "run_key": "r", "version": 1, "place": "p", "path": "x"}),
        Line(2, "promotion", {"beamline": "b", "run_key": "r", "result_digest": "d"}),
        Line(3, "no table", {}),
        Line(4, "removals", {"id": 5, "intent": 4}),
    ]
    with writing(ledger.engine) as session:
        assert replay(session, unknown) == tuple(unknown)


def test_a_promotion_comes_back(kept: Ledger, journal: Journal) -> None:
    kept.record_version("b", "r", MANIFEST, "/d/r")
    for recipe in ("one", "two"):
        kept.record_result(
            "b", "r", run_key="r", version=1, recipe_digest=recipe, path="x", result_digest=recipe, report={}
        )
    kept.promote("b", "r", "one")
    with writing(kept.engine) as session:
        session.execute(text("UPDATE results SET promoted = (recipe_digest = 'two')"))
    with writing(kept.engine) as session:
        assert replay(session, journal.lines()) == ()
    assert {each.recipe_digest: each.promoted for each in kept.results("b", "r")} == {"one": True, "two": False}


def test_a_copy_that_comes_back_takes_a_free_number(ledger: Ledger) -> None:
    ledger.record_version("b", "r", MANIFEST, "/d/r")
    record_copy(ledger)
    with writing(ledger.engine) as session:
        number = session.execute(text("SELECT id FROM copies")).scalar_one()
        row = {"beamline": "b", "run_key": "r", "version": 1, "place": "q", "path": "x", "failure_domain": "g"}
        known = {"state": "present", "reason": "", "evidence": "size", "recorded_at": 1, "verified_at": 2}
        replay(session, [Line(1, "copies", {"id": number, **row, **known})])
    record_copy(ledger, "another")
    found = [(copy.place, copy.evidence) for copy in ledger.copies("b", "r")]
    assert found == [("p", Evidence.READ_BACK), ("q", Evidence.SIZE), ("another", Evidence.READ_BACK)]


def test_a_writer_that_waits_for_the_database_does_not_hold_the_journal(kept: Ledger, journal: Journal) -> None:
    kept.note("b", "r", "step", "begun")
    waiter = threading.Thread(target=kept.note, args=("b", "r", "step", "second"))
    with writing(kept.engine) as session:
        keep(session, EventRow(beamline="b", run_key="r", at=kept.clock(), step="step", what="first", detail={}))
        waiter.start()
        for _ in range(30):
            with (journal.folder / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            time.sleep(0.01)
    waiter.join(10)
    assert not waiter.is_alive()


def test_f16_two_processes_that_record_one_copy_at_once_make_one_record(url: str, ledger: Ledger) -> None:
    ledger.record_version("b", "r", MANIFEST, "/d/r")
    ledger.engine.dispose()

    def child() -> None:
        mine = Ledger(open_database(url))
        for _ in range(20):
            record_copy(mine)

    assert in_children(child, child) == [0, 0]
    assert len(ledger.copies("b", "r", 1)) == 1


def test_a_hold_of_another_process_is_before_or_after_a_guarded_thing(
    url: str, ledger: Ledger, clock: HandClock, tmp_path: Path
) -> None:
    lease = ledger.take_lease("b", "r", "prune", "pruner", 60)
    ledger.engine.dispose()
    done = tmp_path / "done"

    def prunes() -> None:
        mine = Ledger(open_database(url), clock)
        with suppress(RefusedError):
            while True:
                with mine.guard(lease, 60), done.open("ab") as file:
                    file.write(b"x")
                time.sleep(0.001)  # SQLite's writers do not queue in turn

    def holds() -> None:
        mine = Ledger(open_database(url), clock)
        while not done.exists():
            pass
        mine.hold("b", "r", "wanted", "a scientist")
        size_bytes = done.stat().st_size  # from here on nothing guarded is done
        for _ in range(1000):
            if done.stat().st_size != size_bytes:
                raise RuntimeError

    assert in_children(prunes, holds) == [0, 0]
    assert done.stat().st_size > 0
